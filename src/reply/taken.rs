//! What a try has taken: the reply that it becomes, or the request that puts it back.

use crate::command::attempt::{Answer, Attempt, Back};
use crate::resp::reply::Reply;
use crate::resp::write;

/// Whether a try has found nothing.
pub fn is_nothing(frame: &[u8]) -> bool {
    let reply = Reply::new(frame);
    reply.is_null() || reply.count() == Some(0)
}

/// Writes the reply of the request that waited: `taken` as the node said it, in the same protocol.
pub fn write_answer(answer: Answer, key: &[u8], taken: &[u8], out: &mut Vec<u8>) {
    let reply = Reply::new(taken);
    match answer {
        Answer::AsIs => out.extend_from_slice(taken),
        Answer::KeyAndElement => {
            write::array(out, 2);
            write::bulk(out, key);
            out.extend_from_slice(reply.bytes());
        }
        Answer::KeyAndItems => {
            write::array(out, 1 + reply.count().unwrap_or(0));
            write::bulk(out, key);
            reply
                .items()
                .for_each(|item| out.extend_from_slice(item.bytes()));
        }
    }
}

/// Writes the request that puts back what was taken from `key`; false if nothing can be made of `taken`.
pub fn write_back(attempt: &Attempt, key: &[u8], taken: &[u8], out: &mut Vec<u8>) -> bool {
    let reply = Reply::new(taken);
    let items: Vec<Reply<'_>> = match attempt.answer {
        Answer::KeyAndElement => vec![reply],
        Answer::KeyAndItems => reply.items().collect(),
        // The key, then what was taken.
        Answer::AsIs => reply
            .items()
            .nth(1)
            .into_iter()
            .flat_map(|taken| taken.items())
            .collect(),
    };
    let mut words: Vec<Option<&[u8]>> = Vec::new();
    match (attempt.back, attempt.answer) {
        // The last that was taken goes back first.
        (Back::ToList(_), _) => words.extend(items.iter().rev().map(Reply::text)),
        (Back::ToSortedSet, Answer::KeyAndItems) => {
            words.extend(items.iter().rev().map(Reply::text))
        }
        (Back::ToSortedSet, Answer::AsIs | Answer::KeyAndElement) => {
            for pair in items {
                let pair: Vec<Reply<'_>> = pair.items().collect();
                words.extend(pair.iter().rev().map(Reply::text));
            }
        }
    }
    let words: Option<Vec<&[u8]>> = words.into_iter().collect();
    let Some(words) = words.filter(|words| !words.is_empty()) else {
        return false;
    };
    write::command_header(out, 2 + words.len());
    write::bulk(out, attempt.back.command().to_ascii_uppercase());
    write::bulk(out, key);
    words.iter().for_each(|word| write::bulk(out, word));
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::attempt::End;

    fn attempt(answer: Answer, back: Back) -> Attempt {
        Attempt::for_test(answer, back)
    }

    #[test]
    fn what_was_taken_becomes_the_reply_of_the_request_that_waited() {
        let cases: [(Answer, &str, &str); 4] = [
            (
                Answer::KeyAndElement,
                "$1\r\nx\r\n",
                "*2\r\n$1\r\nk\r\n$1\r\nx\r\n",
            ),
            (
                Answer::KeyAndItems,
                "*2\r\n$1\r\nm\r\n$1\r\n1\r\n",
                "*3\r\n$1\r\nk\r\n$1\r\nm\r\n$1\r\n1\r\n",
            ),
            (
                Answer::KeyAndItems,
                "*2\r\n$1\r\nm\r\n,1.5\r\n",
                "*3\r\n$1\r\nk\r\n$1\r\nm\r\n,1.5\r\n",
            ),
            (
                Answer::AsIs,
                "*2\r\n$1\r\nk\r\n*0\r\n",
                "*2\r\n$1\r\nk\r\n*0\r\n",
            ),
        ];
        for (answer, taken, expected) in cases {
            let mut out = Vec::new();
            write_answer(answer, b"k", taken.as_bytes(), &mut out);
            assert_eq!(
                out.escape_ascii().to_string(),
                expected.as_bytes().escape_ascii().to_string()
            );
        }
    }

    #[test]
    fn nothing_is_nothing_in_every_spelling() {
        for nothing in ["$-1\r\n", "*-1\r\n", "_\r\n", "*0\r\n"] {
            assert!(is_nothing(nothing.as_bytes()), "{nothing}");
        }
        assert!(!is_nothing(b"$0\r\n\r\n"));
    }

    #[test]
    fn what_was_taken_goes_back_to_where_it_was() {
        let left = Back::ToList(End::Left);
        let right = Back::ToList(End::Right);
        let cases: [(Answer, Back, &str, Option<&str>); 7] = [
            (
                Answer::KeyAndElement,
                left,
                "$1\r\nx\r\n",
                Some("LPUSH k x"),
            ),
            (
                Answer::KeyAndElement,
                right,
                "$1\r\nx\r\n",
                Some("RPUSH k x"),
            ),
            (
                Answer::AsIs,
                left,
                "*2\r\n$1\r\nk\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n",
                Some("LPUSH k b a"),
            ),
            (
                Answer::KeyAndItems,
                Back::ToSortedSet,
                "*2\r\n$1\r\nm\r\n,1.5\r\n",
                Some("ZADD k 1.5 m"),
            ),
            (
                Answer::AsIs,
                Back::ToSortedSet,
                "*2\r\n$1\r\nk\r\n*2\r\n*2\r\n$1\r\nm\r\n$1\r\n1\r\n*2\r\n$1\r\nn\r\n$1\r\n2\r\n",
                Some("ZADD k 1 m 2 n"),
            ),
            (Answer::AsIs, left, "*2\r\n$1\r\nk\r\n*0\r\n", None),
            (Answer::KeyAndElement, left, ":1\r\n", None),
        ];
        for (answer, back, taken, expected) in cases {
            let (mut out, mut again) = (Vec::new(), Vec::new());
            let written = write_back(&attempt(answer, back), b"k", taken.as_bytes(), &mut out);
            if let Some(expected) = expected {
                write::command(&mut again, &expected.split(' ').collect::<Vec<_>>());
            }
            assert_eq!(written, expected.is_some(), "{taken}");
            assert_eq!(out, again, "{taken}");
        }
    }
}
