//! Looks into one complete reply without copying or decoding it.
//!
//! Never recursive, never panics: where the bytes are not RESP, there is simply nothing to see.

pub use super::grammar::parse_i64;
pub use super::reply_scan::{ReplyError, ReplyLimits, ReplyScan, ReplyScanned};

use super::grammar::{Follow, Shape, find_line_end, plain_length};

/// What a reply is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Simple,
    Error,
    Integer,
    Bulk,
    Array,
    /// `_`, `$-1` or `*-1`.
    Null,
    Boolean,
    Double,
    BigNumber,
    BlobError,
    Verbatim,
    Map,
    Set,
    Push,
    /// Not RESP.
    Malformed,
}

/// One reply, its attributes skipped.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    bytes: &'a [u8],
    head: Head<'a>,
}

/// The header line of one value.
#[derive(Clone, Copy, Debug)]
struct Head<'a> {
    kind: Kind,
    /// What stands in the line behind the type.
    text: &'a [u8],
    follow: Follow,
    /// Bytes of the line, its end included.
    len: usize,
}

/// The values in an aggregate, those of a map as key, value, key, value, … Ends early where the bytes are not RESP.
#[derive(Clone, Debug)]
pub struct Items<'a> {
    rest: &'a [u8],
    left: u64,
}

/// A frame that answers no request.
#[inline]
pub fn is_push(frame: &[u8]) -> bool {
    frame.first() == Some(&b'>')
}

impl<'a> Reply<'a> {
    /// `frame`: one complete reply, as [`ReplyScan`] cut it.
    #[inline]
    pub fn new(frame: &'a [u8]) -> Reply<'a> {
        let mut bytes = frame;
        loop {
            let head = Head::read(bytes).unwrap_or(MALFORMED);
            let Follow::Attribute(count) = head.follow else {
                return Reply { bytes, head };
            };
            bytes = values_end(bytes, head.len, count)
                .and_then(|end| bytes.get(end..))
                .unwrap_or_default();
        }
    }

    #[inline]
    pub fn kind(&self) -> Kind {
        self.head.kind
    }

    /// The reply's own bytes, without attributes in front of it.
    #[inline]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// What comes before the values of an aggregate.
    pub fn head(&self) -> &'a [u8] {
        self.bytes.get(..self.head.len).unwrap_or_default()
    }

    #[inline]
    pub fn is_error(&self) -> bool {
        matches!(self.head.kind, Kind::Error | Kind::BlobError)
    }

    #[inline]
    pub fn is_null(&self) -> bool {
        self.head.kind == Kind::Null
    }

    /// The text of an error, without `-` and line end.
    #[inline]
    pub fn error(&self) -> Option<&'a [u8]> {
        if self.head.kind == Kind::BlobError {
            return self.body();
        }
        (self.head.kind == Kind::Error).then_some(self.head.text)
    }

    /// The first word of an error: `MOVED`, `ERR`, …
    pub fn error_code(&self) -> Option<&'a [u8]> {
        self.error()?.split(|byte| *byte == b' ').next()
    }

    /// The number of a `:`; for digits in a string there is [`parse_i64`].
    #[inline]
    pub fn integer(&self) -> Option<i64> {
        if self.head.kind != Kind::Integer {
            return None;
        }
        parse_i64(self.head.text)
    }

    /// The content of a simple string, a bulk string, a verbatim string (without its `txt:`), a double or a big number.
    pub fn text(&self) -> Option<&'a [u8]> {
        match self.head.kind {
            Kind::Simple | Kind::Double | Kind::BigNumber => Some(self.head.text),
            Kind::Bulk => self.body(),
            Kind::Verbatim => self.body()?.get(VERBATIM_FORMAT_LEN..),
            Kind::Error
            | Kind::Integer
            | Kind::Array
            | Kind::Null
            | Kind::Boolean
            | Kind::BlobError
            | Kind::Map
            | Kind::Set
            | Kind::Push
            | Kind::Malformed => None,
        }
    }

    /// The values that an aggregate says it has (a pair is two). More a claim than a fact: no reason to reserve memory.
    #[inline]
    pub fn count(&self) -> Option<usize> {
        match self.head.follow {
            Follow::Values(count) => usize::try_from(count).ok(),
            Follow::Nothing | Follow::Bytes(_) | Follow::Attribute(_) => None,
        }
    }

    /// The values of an aggregate; none for anything else.
    pub fn items(&self) -> Items<'a> {
        Items {
            rest: self.bytes.get(self.head.len..).unwrap_or_default(),
            left: match self.head.follow {
                Follow::Values(count) => count,
                Follow::Nothing | Follow::Bytes(_) | Follow::Attribute(_) => 0,
            },
        }
    }

    fn body(&self) -> Option<&'a [u8]> {
        let Follow::Bytes(length) = self.head.follow else {
            return None;
        };
        let end = self.head.len.checked_add(usize::try_from(length).ok()?)?;
        self.bytes.get(self.head.len..end)
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Reply<'a>;

    fn next(&mut self) -> Option<Reply<'a>> {
        self.left = self.left.checked_sub(1)?;
        let item = self.cut();
        if item.is_none() {
            self.left = 0;
        }
        item
    }
}

impl<'a> Items<'a> {
    fn cut(&mut self) -> Option<Reply<'a>> {
        let head = Head::read(self.rest)?;
        let end = match head.follow {
            Follow::Nothing => head.len,
            Follow::Bytes(length) => body_end(head.len, length)?,
            Follow::Values(count) => values_end(self.rest, head.len, count)?,
            Follow::Attribute(count) => values_end(self.rest, head.len, count.checked_add(1)?)?,
        };
        let (bytes, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        Some(match head.follow {
            Follow::Attribute(_) => Reply::new(bytes),
            Follow::Nothing | Follow::Bytes(_) | Follow::Values(_) => Reply { bytes, head },
        })
    }
}

impl<'a> Head<'a> {
    /// `None` where the bytes do not start with a whole header line.
    #[inline]
    fn read(bytes: &'a [u8]) -> Option<Head<'a>> {
        let [first, line @ ..] = bytes else {
            return None;
        };
        let shape = Shape::of(*first)?;
        let (follow, line_len) = match shape {
            Shape::Line => (Follow::Nothing, find_line_end(line, 0).ok()?),
            Shape::Blob | Shape::List | Shape::Pairs | Shape::Attribute => {
                let (number, len) = length(line)?;
                (shape.follow(*first, number)?, len)
            }
        };
        Some(Head {
            kind: kind(*first, follow),
            text: line.get(..line_len)?,
            follow,
            len: 1 + line_len + 2,
        })
    }
}

/// The number in a header line, and the line's length without its end.
#[inline]
fn length(line: &[u8]) -> Option<(i64, usize)> {
    if let Some((number, taken)) = plain_length(line) {
        return Some((i64::from(number), taken - 2));
    }
    let end = find_line_end(line, 0).ok()?;
    Some((parse_i64(line.get(..end)?)?, end))
}

#[inline]
fn kind(first: u8, follow: Follow) -> Kind {
    match first {
        b'+' => Kind::Simple,
        b'-' => Kind::Error,
        b':' => Kind::Integer,
        b'$' | b'*' if follow == Follow::Nothing => Kind::Null,
        b'$' => Kind::Bulk,
        b'*' => Kind::Array,
        b'_' => Kind::Null,
        b'#' => Kind::Boolean,
        b',' => Kind::Double,
        b'(' => Kind::BigNumber,
        b'!' => Kind::BlobError,
        b'=' => Kind::Verbatim,
        b'%' => Kind::Map,
        b'~' => Kind::Set,
        b'>' => Kind::Push,
        _ => Kind::Malformed,
    }
}

/// Where `count` values that start at `from` end, attributes included. A counter is all it takes: an aggregate is as many
/// values more.
fn values_end(bytes: &[u8], from: usize, count: u64) -> Option<usize> {
    let mut pos = from;
    let mut open = count;
    while open > 0 {
        let head = Head::read(bytes.get(pos..)?)?;
        pos += head.len;
        match head.follow {
            Follow::Nothing => open -= 1,
            Follow::Bytes(length) => {
                pos = body_end(pos, length)?;
                open -= 1;
            }
            Follow::Values(count) => open = (open - 1).checked_add(count)?,
            Follow::Attribute(count) => open = open.checked_add(count)?,
        }
    }
    (pos <= bytes.len()).then_some(pos)
}

/// Where a body that starts at `start` ends, line end included.
#[inline]
fn body_end(start: usize, length: u64) -> Option<usize> {
    let length = usize::try_from(length).ok()?;
    start.checked_add(length)?.checked_add(2)
}

const MALFORMED: Head<'static> = Head {
    kind: Kind::Malformed,
    text: &[],
    follow: Follow::Nothing,
    len: 0,
};
/// `txt:`
const VERBATIM_FORMAT_LEN: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn reply(frame: &[u8]) -> Reply<'_> {
        let scanned = ReplyScan::new().advance(frame, &ReplyLimits::default());
        assert_eq!(scanned, Ok(ReplyScanned::Complete(frame.len())));
        Reply::new(frame)
    }

    #[test]
    fn every_type_has_its_kind_and_text() {
        let cases: &[(&str, Kind, Option<&str>)] = &[
            ("+OK\r\n", Kind::Simple, Some("OK")),
            ("-ERR a b\r\n", Kind::Error, None),
            (":12\r\n", Kind::Integer, None),
            ("$3\r\nfoo\r\n", Kind::Bulk, Some("foo")),
            ("$0\r\n\r\n", Kind::Bulk, Some("")),
            ("$-1\r\n", Kind::Null, None),
            ("*-1\r\n", Kind::Null, None),
            ("_\r\n", Kind::Null, None),
            ("#t\r\n", Kind::Boolean, None),
            (",1.5\r\n", Kind::Double, Some("1.5")),
            (
                "(3492890328409238509324850943850943825024385\r\n",
                Kind::BigNumber,
                Some("3492890328409238509324850943850943825024385"),
            ),
            ("!5\r\nERR x\r\n", Kind::BlobError, None),
            ("=8\r\ntxt:some\r\n", Kind::Verbatim, Some("some")),
            ("=1\r\nx\r\n", Kind::Verbatim, None),
            ("*0\r\n", Kind::Array, None),
            ("%1\r\n+a\r\n:1\r\n", Kind::Map, None),
            ("~1\r\n+a\r\n", Kind::Set, None),
            (">1\r\n+a\r\n", Kind::Push, None),
        ];
        for &(frame, kind, text) in cases {
            let reply = reply(frame.as_bytes());
            assert_eq!(reply.kind(), kind, "{frame:?}");
            assert_eq!(reply.text(), text.map(str::as_bytes), "{frame:?}");
            assert_eq!(reply.is_null(), kind == Kind::Null, "{frame:?}");
            assert_eq!(reply.bytes(), frame.as_bytes());
            assert_eq!(is_push(frame.as_bytes()), kind == Kind::Push);
        }
    }

    #[test]
    fn an_error_has_a_text_and_a_code() {
        let cases: &[(&str, &str, &str)] = &[
            ("-MOVED 1 a:1\r\n", "MOVED 1 a:1", "MOVED"),
            ("-ERR\r\n", "ERR", "ERR"),
            ("-\r\n", "", ""),
            ("!11\r\nSYNTAX oh\r\n\r\n", "SYNTAX oh\r\n", "SYNTAX"),
            ("|1\r\n+a\r\n*1\r\n+b\r\n-ERR x\r\n", "ERR x", "ERR"),
        ];
        for &(frame, text, code) in cases {
            let reply = reply(frame.as_bytes());
            assert!(reply.is_error());
            assert_eq!(reply.error(), Some(text.as_bytes()), "{frame:?}");
            assert_eq!(reply.error_code(), Some(code.as_bytes()), "{frame:?}");
        }
        assert_eq!(reply(b"+ERR\r\n").error_code(), None);
    }

    #[test]
    fn an_integer_is_a_number() {
        assert_eq!(reply(b":-5\r\n").integer(), Some(-5));
        assert_eq!(reply(b":abc\r\n").integer(), None);
        assert_eq!(reply(b"$1\r\n5\r\n").integer(), None);
    }

    #[test]
    fn an_aggregate_gives_its_values_one_by_one() {
        let frame =
            b"*4\r\n|1\r\n+k\r\n+v\r\n$1\r\na\r\n*2\r\n:1\r\n*0\r\n%1\r\n+x\r\n~1\r\n:2\r\n_\r\n";
        let items: Vec<String> = reply(frame)
            .items()
            .map(|item| item.bytes().escape_ascii().to_string())
            .collect();
        assert_eq!(
            items,
            [
                "$1\\r\\na\\r\\n",
                "*2\\r\\n:1\\r\\n*0\\r\\n",
                "%1\\r\\n+x\\r\\n~1\\r\\n:2\\r\\n",
                "_\\r\\n"
            ]
        );
        assert_eq!(reply(frame).count(), Some(4));
        let map = reply(b"%2\r\n+a\r\n:1\r\n+b\r\n:2\r\n");
        assert_eq!((map.count(), map.items().count()), (Some(4), 4));
        assert_eq!(reply(b"$1\r\na\r\n").count(), None);
        assert_eq!(reply(b"$1\r\na\r\n").items().count(), 0);
        assert_eq!(reply(b"*-1\r\n").count(), None);
    }

    #[test]
    fn what_is_not_resp_shows_nothing() {
        for frame in [
            "",
            "x",
            "+a",
            "$3\r\n",
            "$3\r\nab",
            "|1\r\n+a\r\n",
            "|9",
            "*?\r\n",
        ] {
            let reply = Reply::new(frame.as_bytes());
            assert_eq!(reply.text(), None, "{frame:?}");
            assert_eq!(reply.error(), None, "{frame:?}");
            assert_eq!(reply.items().count(), 0, "{frame:?}");
        }
        let cut = Reply::new(b"*4294967296\r\n+a\r\n$5\r\nab");
        assert_eq!(cut.items().count(), 1);
        let overflow = format!("*2\r\n*{0}\r\n*{0}\r\n", i64::MAX);
        assert_eq!(Reply::new(overflow.as_bytes()).items().count(), 0);
    }
}
