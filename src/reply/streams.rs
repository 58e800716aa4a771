//! The entries of several streams, read at several nodes, as one server would have said them.

use std::sync::Arc;

use crate::resp::Proto;
use crate::resp::reply::{Kind, Reply};
use crate::resp::write;

/// Writes the entries of all streams in the order of `names`; false, and nothing is written, if there are none.
/// `part_of`: for each name, which of `answers` has it. None of the answers is an error.
pub fn merge(
    names: &[Arc<[u8]>],
    part_of: &[usize],
    answers: &[Vec<u8>],
    proto: Proto,
    out: &mut Vec<u8>,
) -> bool {
    let mut parts: Vec<_> = answers
        .iter()
        .map(|frame| streams(frame, proto).into_iter().peekable())
        .collect();
    // A node names its streams in the order in which it was asked, and no others: whatever else comes is left out.
    let asked = names.iter().zip(part_of);
    let found: Vec<Stream<'_>> = asked
        .filter_map(|(name, &part)| {
            let part = parts.get_mut(part)?;
            part.next_if(|stream| stream.name == Some(&**name))
        })
        .collect();
    if found.is_empty() {
        return false;
    }
    match proto {
        Proto::Resp2 => write::array(out, found.len()),
        Proto::Resp3 => write::map(out, proto, found.len()),
    }
    for stream in found {
        out.extend_from_slice(&stream.bytes);
    }
    true
}

struct Stream<'a> {
    name: Option<&'a [u8]>,
    /// As it stands in the reply: in RESP2 an array of two, in RESP3 two values.
    bytes: Vec<u8>,
}

/// None where the reply is not what this protocol has for streams.
fn streams(frame: &[u8], proto: Proto) -> Vec<Stream<'_>> {
    let reply = Reply::new(frame);
    let items: Vec<Reply<'_>> = reply.items().collect();
    match (proto, reply.kind()) {
        (Proto::Resp3, Kind::Map) => {
            let pairs = items.chunks_exact(2);
            pairs
                .map(|pair| Stream {
                    name: pair.first().and_then(Reply::text),
                    bytes: pair
                        .iter()
                        .flat_map(|value| value.bytes())
                        .copied()
                        .collect(),
                })
                .collect()
        }
        (Proto::Resp2, Kind::Array) => {
            let arrays = items.into_iter();
            arrays
                .map(|array| Stream {
                    name: array.items().next().and_then(|name| name.text()),
                    bytes: array.bytes().to_vec(),
                })
                .collect()
        }
        (Proto::Resp2 | Proto::Resp3, _) => Vec::new(),
    }
}

/// The id of the entry in the reply to a request for the last entry; `None` if there is no entry.
pub fn last_id(frame: &[u8]) -> Option<&[u8]> {
    let entry = Reply::new(frame).items().next()?;
    entry.items().next()?.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_stand_in_the_order_of_the_request_and_those_without_entries_are_left_out() {
        let names: Vec<Arc<[u8]>> = ["a", "b", "c", "d"]
            .map(|name| name.as_bytes().into())
            .into();
        let entry = |name: &str| format!("$1\r\n{name}\r\n*0\r\n");
        let (a, b, c) = (entry("a"), entry("b"), entry("c"));
        let cases = [
            (
                Proto::Resp2,
                vec![
                    format!("*2\r\n*2\r\n{a}*2\r\n{c}"),
                    format!("*1\r\n*2\r\n{b}"),
                ],
                format!("*3\r\n*2\r\n{a}*2\r\n{b}*2\r\n{c}"),
            ),
            (
                Proto::Resp3,
                vec![format!("%2\r\n{a}{c}"), format!("%1\r\n{b}")],
                format!("%3\r\n{a}{b}{c}"),
            ),
            (
                Proto::Resp2,
                vec![format!("*1\r\n*2\r\n{c}"), "*-1\r\n".into()],
                format!("*1\r\n*2\r\n{c}"),
            ),
            (
                Proto::Resp3,
                vec!["_\r\n".into(), format!("%1\r\n{b}")],
                format!("%1\r\n{b}"),
            ),
            (
                Proto::Resp2,
                vec!["*-1\r\n".into(), "*-1\r\n".into()],
                String::new(),
            ),
            // A node that answers what it was not asked.
            (
                Proto::Resp2,
                vec![format!("*2\r\n*2\r\n{a}*2\r\n{b}"), format!("%1\r\n{b}")],
                format!("*1\r\n*2\r\n{a}"),
            ),
            (
                Proto::Resp3,
                vec![format!("*1\r\n*2\r\n{a}"), "+what\r\n".into()],
                String::new(),
            ),
        ];
        for (proto, answers, expected) in cases {
            let answers: Vec<Vec<u8>> = answers.into_iter().map(String::into_bytes).collect();
            let mut out = Vec::new();
            let any = merge(&names, &[0, 1, 0, 1], &answers, proto, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), expected);
            assert_eq!(any, !expected.is_empty());
        }
    }

    #[test]
    fn the_last_entry_has_an_id() {
        assert_eq!(
            last_id(b"*1\r\n*2\r\n$3\r\n5-1\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n"),
            Some(&b"5-1"[..])
        );
        assert_eq!(last_id(b"*0\r\n"), None);
    }
}
