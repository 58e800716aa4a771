//! One RESP value with its exact shape: `$-1`, `*-1` and `_` are three things here, unlike in `support::Value`.

use std::fmt;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Frame {
    /// What fits on a line, nulls included, as it came: `+OK`, `:1`, `$-1`, `_`.
    Line(String),
    /// `$`, `=` or `!`, and the bytes.
    Bulk(char, Vec<u8>),
    /// `*`, `~`, `>`, `%` or `|`, and the elements; keys and values of a map take turns.
    Many(char, Vec<Frame>),
}

impl Frame {
    /// The first value in `bytes` and its length; `None` if it is not there to its end. Panics when malformed.
    pub(crate) fn parse(bytes: &[u8]) -> Option<(Frame, usize)> {
        let end = bytes.windows(2).position(|two| two == b"\r\n")?;
        let line = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut used = end + 2;
        let kind = line.chars().next().expect("a line that is not empty");
        let count = || {
            let number: i64 = line[1..].parse().expect("a length");
            usize::try_from(number).ok()
        };
        let frame = match kind {
            '$' | '=' | '!' => match count() {
                None => Frame::Line(line),
                Some(length) => {
                    let content = bytes.get(used..used + length + 2)?;
                    used += length + 2;
                    Frame::Bulk(kind, content[..length].to_vec())
                }
            },
            '*' | '~' | '>' | '%' | '|' => match count() {
                None => Frame::Line(line),
                Some(length) => {
                    let each = if "%|".contains(kind) { 2 } else { 1 };
                    let mut items = Vec::new();
                    for _ in 0..length * each {
                        let (item, length) = Frame::parse(&bytes[used..])?;
                        used += length;
                        items.push(item);
                    }
                    Frame::Many(kind, items)
                }
            },
            '+' | '-' | ':' | ',' | '#' | '(' | '_' => Frame::Line(line),
            _ => panic!("malformed RESP: {line}"),
        };
        Some((frame, used))
    }

    /// Whether the server sends this without being asked: a published message, an invalidation, a line of MONITOR.
    pub(crate) fn is_message(&self) -> bool {
        match self {
            Frame::Line(line) => line
                .strip_prefix('+')
                .is_some_and(|text| text.starts_with(|c: char| c.is_ascii_digit())),
            Frame::Bulk(..) => false,
            Frame::Many('>', items) => !items.first().is_some_and(|name| {
                let name = name.text();
                name.ends_with("subscribe") || name == "pong"
            }),
            Frame::Many(_, items) => match items.as_slice() {
                [name, _, _] => matches!(name.text().as_str(), "message" | "smessage"),
                [name, _, _, _] => name.text() == "pmessage",
                _ => false,
            },
        }
    }

    /// The content of a string, and nothing for other kinds.
    pub(crate) fn text(&self) -> String {
        match self {
            Frame::Bulk(_, bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Frame::Line(line) => line.strip_prefix('+').unwrap_or_default().to_owned(),
            Frame::Many(..) => String::new(),
        }
    }

    /// RESP3's sets and maps in one order.
    pub(crate) fn in_one_order(self) -> Frame {
        match self {
            Frame::Many(kind, items) => {
                let items: Vec<Frame> = items.into_iter().map(Frame::in_one_order).collect();
                let each = match kind {
                    '%' => 2,
                    '~' => 1,
                    _ => return Frame::Many(kind, items),
                };
                Frame::Many(kind, sorted(&items, each))
            }
            other => other,
        }
    }

    /// The elements of an array sorted too.
    pub(crate) fn unordered(self) -> Frame {
        match self {
            Frame::Many(kind @ ('*' | '>'), items) => Frame::Many(kind, sorted(&items, 1)),
            other => other,
        }
    }
}

fn sorted(items: &[Frame], each: usize) -> Vec<Frame> {
    let mut groups: Vec<&[Frame]> = items.chunks(each).collect();
    groups.sort_by_cached_key(|group| group.first().map(ToString::to_string));
    groups.concat()
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Frame::Line(line) => write!(f, "{line}"),
            Frame::Bulk('$', bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
            Frame::Bulk(kind, bytes) => write!(f, "{kind}\"{}\"", bytes.escape_ascii()),
            Frame::Many(kind, items) => {
                let items: Vec<String> = items.iter().map(ToString::to_string).collect();
                write!(f, "{kind}[{}]", items.join(" "))
            }
        }
    }
}
