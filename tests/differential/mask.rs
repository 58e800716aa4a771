//! What may differ in every run: ids, times, addresses, and what a client costs in memory.

use std::collections::HashMap;

use crate::frame::Frame;

/// The script's connections by their client id.
pub(crate) type Names = HashMap<String, String>;

/// `request` is what was asked for.
pub(crate) fn masked(frame: Frame, request: &[Vec<u8>], names: &Names) -> Frame {
    let word = |at: usize| {
        let word = request.get(at).map(|word| word.to_ascii_uppercase());
        String::from_utf8(word.unwrap_or_default()).unwrap_or_default()
    };
    let frame = greeting(mapped(frame, &|one| listed(one, names)));
    match (word(0).as_str(), word(1).as_str()) {
        ("CLIENT", "ID" | "GETREDIR" | "TRACKINGINFO") => mapped(frame, &|one| id(one, names)),
        ("TIME", _) => mapped(frame, &|one| match one {
            Frame::Bulk(..) => Frame::Line("<time>".to_owned()),
            other => other,
        }),
        _ => frame,
    }
}

/// A line of MONITOR, `+1339518083.107412 [0 127.0.0.1:60866] "keys" "*"`, or that a redirection is broken, with an id.
pub(crate) fn masked_message(frame: Frame, names: &Names) -> Frame {
    match &frame {
        Frame::Many('>', items) if items.len() == 2 => mapped(frame, &|one| id(one, names)),
        Frame::Line(line) => match line.split_once("] ") {
            Some((head, request)) if head.ends_with(" lua") => {
                Frame::Line(format!("+<time> [lua] {request}"))
            }
            Some((_, request)) => Frame::Line(format!("+<time> [<address>] {request}")),
            None => frame,
        },
        _ => frame,
    }
}

/// Of a line of CLIENT LIST the fields that say something of the connection's state.
pub(crate) fn client_line(line: &str, names: &Names) -> String {
    let fields = line.split_whitespace().filter_map(|field| {
        let (field, value) = field.split_once('=')?;
        let value = match field {
            "id" | "redir" => names.get(value).map_or(value, String::as_str),
            _ => value,
        };
        // Versions differ in whether they have these at all.
        let is_unset =
            (field.starts_with("lib-") && value.is_empty()) || (field, value) == ("watch", "0");
        (STATE.contains(&field) && !is_unset).then(|| format!("{field}={value}"))
    });
    fields.collect::<Vec<_>>().join(" ")
}

/// What CLIENT LIST and CLIENT INFO say.
fn listed(frame: Frame, names: &Names) -> Frame {
    match frame {
        Frame::Bulk(kind, bytes) if is_a_list(&bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let text = text.strip_prefix("txt:").unwrap_or(&text);
            let mut lines: Vec<String> =
                text.lines().map(|line| client_line(line, names)).collect();
            lines.sort();
            Frame::Bulk(kind, lines.join("\n").into_bytes())
        }
        other => other,
    }
}

fn is_a_list(bytes: &[u8]) -> bool {
    bytes.starts_with(b"id=") || bytes.starts_with(b"txt:id=")
}

fn id(frame: Frame, names: &Names) -> Frame {
    let name = match &frame {
        Frame::Line(line) => line.strip_prefix(':').and_then(|id| names.get(id)),
        Frame::Bulk(..) | Frame::Many(..) => None,
    };
    match name {
        Some(name) => Frame::Line(format!(":{name}")),
        None => frame,
    }
}

/// The id in what HELLO says, in an EXEC too: the value behind `id` in a map, or in the flat array that RESP2 has for it.
fn greeting(frame: Frame) -> Frame {
    let Frame::Many(kind, items) = frame else {
        return frame;
    };
    let is_greeting = items.first().is_some_and(|item| item.text() == "server");
    let mut items: Vec<Frame> = items.into_iter().map(greeting).collect();
    let key = items.iter().position(|item| item.text() == "id");
    if let Some(at) = key.filter(|_| is_greeting) {
        items[at + 1] = Frame::Line("<id>".to_owned());
    }
    Frame::Many(kind, items)
}

/// Applies `mask` to everything that is not an array.
fn mapped(frame: Frame, mask: &dyn Fn(Frame) -> Frame) -> Frame {
    match frame {
        Frame::Many(kind, items) => {
            let items = items.into_iter().map(|item| mapped(item, mask)).collect();
            Frame::Many(kind, items)
        }
        other => mask(other),
    }
}

const STATE: &[&str] = &[
    "id", "name", "flags", "db", "sub", "psub", "ssub", "multi", "watch", "cmd", "user", "redir",
    "resp", "lib-name", "lib-ver",
];
