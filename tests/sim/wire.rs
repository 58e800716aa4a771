//! RESP as the tests see it: values in, values out, written apart from the product's own scanners.

/// One RESP value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Simple(Vec<u8>),
    Error(Vec<u8>),
    Integer(i64),
    Bulk(Vec<u8>),
    /// `$-1`, `*-1` and `_`.
    Null(&'static str),
    /// An array, map, set or push, by its first byte.
    Items(u8, Vec<Value>),
}

/// A whole request at the start of `buf`: its arguments and its length.
pub(crate) fn cut_request(buf: &[u8]) -> Option<(Vec<Vec<u8>>, usize)> {
    match cut_value(buf)? {
        (Value::Items(b'*', items), len) => {
            let words = items.into_iter().map(|item| match item {
                Value::Bulk(bytes) => bytes,
                other => panic!("a request is made of bulk strings, not {other:?}"),
            });
            Some((words.collect(), len))
        }
        (other, _) => panic!("a request is an array, not {other:?}"),
    }
}

/// A whole value at the start of `buf`, and its length.
pub(crate) fn cut_value(buf: &[u8]) -> Option<(Value, usize)> {
    let end = buf.windows(2).position(|pair| pair == b"\r\n")?;
    let (kind, line) = (buf[0], &buf[1..end]);
    let at = end + 2;
    let number = || -> i64 {
        String::from_utf8_lossy(line)
            .parse()
            .unwrap_or_else(|_| panic!("no number in {line:?}"))
    };
    let value = match kind {
        b'+' => Value::Simple(line.to_vec()),
        b'-' => Value::Error(line.to_vec()),
        b':' => Value::Integer(number()),
        b'_' => Value::Null("_"),
        b'$' if number() < 0 => Value::Null("$-1"),
        b'*' if number() < 0 => Value::Null("*-1"),
        b'$' => {
            let len = usize::try_from(number()).unwrap();
            let body = buf.get(at..at + len)?;
            assert_eq!(
                buf.get(at + len..at + len + 2)?,
                b"\r\n",
                "a bulk string ends in a line end"
            );
            return Some((Value::Bulk(body.to_vec()), at + len + 2));
        }
        b'*' | b'~' | b'>' => return items(buf, kind, at, number()),
        b'%' => return items(buf, kind, at, number() * 2),
        other => panic!("no RESP type starts with {:?}", char::from(other)),
    };
    Some((value, at))
}

fn items(buf: &[u8], kind: u8, mut at: usize, count: i64) -> Option<(Value, usize)> {
    let mut items = Vec::new();
    for _ in 0..count {
        let (item, len) = cut_value(buf.get(at..).filter(|rest| !rest.is_empty())?)?;
        items.push(item);
        at += len;
    }
    Some((Value::Items(kind, items), at))
}

impl Value {
    pub(crate) fn bulk(bytes: impl AsRef<[u8]>) -> Self {
        Self::Bulk(bytes.as_ref().to_vec())
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let mut line = |kind: u8, text: &[u8]| {
            out.push(kind);
            out.extend_from_slice(text);
            out.extend_from_slice(b"\r\n");
        };
        match self {
            Self::Simple(text) => line(b'+', text),
            Self::Error(text) => line(b'-', text),
            Self::Integer(n) => line(b':', n.to_string().as_bytes()),
            Self::Null(text) => line(text.as_bytes()[0], &text.as_bytes()[1..]),
            Self::Bulk(bytes) => {
                line(b'$', bytes.len().to_string().as_bytes());
                out.extend_from_slice(bytes);
                out.extend_from_slice(b"\r\n");
            }
            Self::Items(kind, items) => {
                let count = if *kind == b'%' {
                    items.len() / 2
                } else {
                    items.len()
                };
                line(*kind, count.to_string().as_bytes());
                items.iter().for_each(|item| item.write(out));
            }
        }
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }
}

/// The bytes of a request.
pub(crate) fn request(words: &[impl AsRef<[u8]>]) -> Vec<u8> {
    Value::Items(b'*', words.iter().map(Value::bulk).collect()).to_bytes()
}
