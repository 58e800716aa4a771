//! Inline requests: a line of words as a person types it, with the servers' quoting (`sdssplitargs`).
//!
//! Rare, so it may allocate. The words become an ordinary request before anything else looks at them.

use super::request::ProtocolError;
use super::write;
use std::borrow::Cow;

/// The words of a line (line end included or not). None for a blank line: skip it.
///
/// `"…"` knows `\n \r \t \b \a \xHH` and takes any other byte behind a backslash as it is; `'…'` knows `\'`. A closing
/// quote must be followed by a space or the end. Source: <https://redis.io/docs/latest/develop/reference/protocol-spec/>
/// (inline commands) and `sds.c`. A NUL byte is an ordinary byte here; a server would wait for ever.
pub fn split(line: &[u8]) -> Result<Vec<Vec<u8>>, ProtocolError> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let mut rest = line.strip_suffix(b"\r").unwrap_or(line);
    let mut words = Vec::new();
    loop {
        while let [first, tail @ ..] = rest
            && is_space(*first)
        {
            rest = tail;
        }
        if rest.is_empty() {
            return Ok(words);
        }
        let (word, tail) = word(rest)?;
        words.push(word);
        rest = tail;
    }
}

/// Appends the words as an ordinary request (an array of bulk strings).
pub fn encode(args: &[Vec<u8>], out: &mut Vec<u8>) {
    write::command(out, args);
}

/// C's `isspace`.
#[inline]
pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

/// The first word of a line that does not start with a space, and what is behind it.
fn word(line: &[u8]) -> Result<(Vec<u8>, &[u8]), ProtocolError> {
    let mut word = Vec::new();
    let mut rest = line;
    loop {
        rest = match rest {
            // Not the whole of `isspace`: so do the servers.
            [] | [b' ' | b'\n' | b'\r' | b'\t', ..] => return Ok((word, rest)),
            [b'"', tail @ ..] => {
                let tail = double_quoted(tail, &mut word)?;
                return Ok((word, tail));
            }
            [b'\'', tail @ ..] => {
                let tail = single_quoted(tail, &mut word)?;
                return Ok((word, tail));
            }
            [byte, tail @ ..] => {
                word.push(*byte);
                tail
            }
        };
    }
}

/// From behind an opening `"`; returns what is behind the closing one.
fn double_quoted<'a>(line: &'a [u8], word: &mut Vec<u8>) -> Result<&'a [u8], ProtocolError> {
    let mut rest = line;
    loop {
        rest = match rest {
            [] => return Err(UNBALANCED),
            [b'"', tail @ ..] => return closed(tail),
            [b'\\', b'x', high, low, tail @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                word.push(hex(*high) << 4 | hex(*low));
                tail
            }
            [b'\\', escaped, tail @ ..] => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                tail
            }
            [byte, tail @ ..] => {
                word.push(*byte);
                tail
            }
        };
    }
}

/// From behind an opening `'`; returns what is behind the closing one.
fn single_quoted<'a>(line: &'a [u8], word: &mut Vec<u8>) -> Result<&'a [u8], ProtocolError> {
    let mut rest = line;
    loop {
        rest = match rest {
            [] => return Err(UNBALANCED),
            [b'\'', tail @ ..] => return closed(tail),
            [b'\\', b'\'', tail @ ..] => {
                word.push(b'\'');
                tail
            }
            [byte, tail @ ..] => {
                word.push(*byte);
                tail
            }
        };
    }
}

fn closed(rest: &[u8]) -> Result<&[u8], ProtocolError> {
    match rest {
        [byte, ..] if !is_space(*byte) => Err(UNBALANCED),
        rest => Ok(rest),
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'a'..=b'f' => digit - b'a' + 10,
        b'A'..=b'F' => digit - b'A' + 10,
        _ => digit.wrapping_sub(b'0'),
    }
}

const UNBALANCED: ProtocolError = ProtocolError(Cow::Borrowed(
    "ERR Protocol error: unbalanced quotes in request",
));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_split_as_the_servers_split_it() {
        let cases: &[(&str, &[&str])] = &[
            ("PING\r\n", &["PING"]),
            ("PING\n", &["PING"]),
            ("PING", &["PING"]),
            ("PING\r\r\n", &["PING"]),
            ("\x0bPING\n", &["PING"]),
            ("PING\x0b\n", &["PING\x0b"]),
            ("  SET  a\tb \r\n", &["SET", "a", "b"]),
            ("\r\n", &[]),
            ("  \n", &[]),
            ("", &[]),
            ("\"\" ''\n", &["", ""]),
            ("PING \"a\\x41\\n\\q\\\"\"\n", &["PING", "aA\nq\""]),
            (
                "PING \"\\r\\t\\b\\a\\\\\\xzz\"",
                &["PING", "\r\t\x08\x07\\xzz"],
            ),
            ("PING 'a\\'b\\n'\n", &["PING", "a'b\\n"]),
            ("PING a\"b c\"\n", &["PING", "ab c"]),
            ("PING a'b c' d\n", &["PING", "ab c", "d"]),
            ("PING \\x41\n", &["PING", "\\x41"]),
            ("PING \"a\"\x0b\n", &["PING", "a"]),
            ("PING a\0b\n", &["PING", "a\0b"]),
        ];
        for (line, expected) in cases {
            let words = split(line.as_bytes()).unwrap();
            let words: Vec<&str> = words
                .iter()
                .map(|word| std::str::from_utf8(word).unwrap())
                .collect();
            assert_eq!(&words, expected, "{line:?}");
        }
    }

    #[test]
    fn a_hexadecimal_escape_is_any_byte() {
        assert_eq!(
            split(b"\"\\xff\\x00\\xAb\"\n"),
            Ok(vec![vec![255, 0, 0xab]])
        );
    }

    #[test]
    fn quotes_that_do_not_close_are_refused() {
        for line in [
            "\"PING\n",
            "'PING\n",
            "'PI'x\n",
            "\"\"x\n",
            "\"a\\\"\n",
            "\"\\",
        ] {
            assert_eq!(split(line.as_bytes()), Err(UNBALANCED), "{line:?}");
        }
    }

    #[test]
    fn words_become_an_ordinary_request() {
        let mut out = Vec::new();
        encode(&split(b"GET 'a b'\n").unwrap(), &mut out);
        assert_eq!(out, b"*2\r\n$3\r\nGET\r\n$3\r\na b\r\n");
    }
}
