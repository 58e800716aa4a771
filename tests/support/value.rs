//! One RESP2 or RESP3 value, read from a blocking stream.
//! Deliberately the plainest decoder there can be: the oracle for what slotcar sends.

use std::fmt;
use std::io::{self, BufRead, Error, ErrorKind};

#[derive(Clone, PartialEq)]
pub enum Value {
    /// `$-1`, `*-1` and `_`.
    Nil,
    Simple(String),
    /// `-ERR …` and RESP3's blob error, without the sign.
    Error(String),
    Int(i64),
    Bulk(Vec<u8>),
    Array(Vec<Value>),
    Map(Vec<(Value, Value)>),
    Set(Vec<Value>),
    Push(Vec<Value>),
    /// As it was spelled.
    Double(String),
    Bool(bool),
    BigNumber(String),
    /// `txt:…` and the like, with its three letters.
    Verbatim(Vec<u8>),
}

impl Value {
    pub fn read(from: &mut impl BufRead) -> io::Result<Value> {
        let line = read_line(from)?;
        let (kind, rest) = line
            .split_first()
            .ok_or_else(|| malformed("an empty line"))?;
        Ok(match kind {
            b'+' => Value::Simple(text(rest)),
            b'-' => Value::Error(text(rest)),
            b':' => Value::Int(number(rest)?),
            b',' => Value::Double(text(rest)),
            b'(' => Value::BigNumber(text(rest)),
            b'#' => Value::Bool(rest == b"t"),
            b'_' => Value::Nil,
            b'$' => read_bulk(from, rest)?.map_or(Value::Nil, Value::Bulk),
            b'=' => read_bulk(from, rest)?.map_or(Value::Nil, Value::Verbatim),
            b'!' => read_bulk(from, rest)?.map_or(Value::Nil, |bytes| Value::Error(text(&bytes))),
            b'*' => read_many(from, rest, 1)?.map_or(Value::Nil, Value::Array),
            b'~' => read_many(from, rest, 1)?.map_or(Value::Nil, Value::Set),
            b'>' => read_many(from, rest, 1)?.map_or(Value::Nil, Value::Push),
            b'%' => read_many(from, rest, 2)?.map_or(Value::Nil, |flat| Value::Map(pairs(flat))),
            b'|' => {
                read_many(from, rest, 2)?;
                Value::read(from)?
            }
            _ => return Err(malformed(&text(&line))),
        })
    }

    /// The bytes of any kind of string; `None` for other kinds.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Bulk(bytes) => Some(bytes),
            Value::Verbatim(bytes) => Some(bytes.get(4..).unwrap_or_default()),
            Value::Simple(text) | Value::Double(text) | Value::BigNumber(text) => {
                Some(text.as_bytes())
            }
            Value::Nil
            | Value::Error(_)
            | Value::Int(_)
            | Value::Array(_)
            | Value::Map(_)
            | Value::Set(_)
            | Value::Push(_)
            | Value::Bool(_) => None,
        }
    }

    /// The text of any kind of string; panics for other kinds.
    pub fn text(&self) -> String {
        let bytes = self.bytes();
        text(bytes.unwrap_or_else(|| panic!("expected a string, got {self:?}")))
    }

    pub fn int(&self) -> i64 {
        match self {
            Value::Int(number) => *number,
            other => panic!("expected an integer, got {other:?}"),
        }
    }

    /// The elements of an array, set or push; panics for other kinds.
    pub fn list(&self) -> &[Value] {
        match self {
            Value::Array(list) | Value::Set(list) | Value::Push(list) => list,
            other => panic!("expected an array, got {other:?}"),
        }
    }

    /// The elements of a list as texts, sorted.
    pub fn sorted_texts(&self) -> Vec<String> {
        let mut texts: Vec<String> = self.list().iter().map(Value::text).collect();
        texts.sort();
        texts
    }

    /// The entries of a map, whether spelled as a map (RESP3) or as a flat array (RESP2).
    pub fn entries(&self) -> Vec<(Value, Value)> {
        match self {
            Value::Map(entries) => entries.clone(),
            flat => pairs(flat.list().to_vec()),
        }
    }

    pub fn is_ok(&self) -> bool {
        *self == Value::Simple("OK".to_owned())
    }

    /// The text of an error reply.
    pub fn error(&self) -> Option<&str> {
        match self {
            Value::Error(text) => Some(text),
            _ => None,
        }
    }

    /// The first error in this value, however deep.
    pub fn any_error(&self) -> Option<&str> {
        match self {
            Value::Error(text) => Some(text),
            Value::Array(list) | Value::Set(list) | Value::Push(list) => {
                list.iter().find_map(Value::any_error)
            }
            Value::Map(entries) => entries
                .iter()
                .find_map(|(key, value)| key.any_error().or_else(|| value.any_error())),
            _ => None,
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Nil => write!(f, "nil"),
            Value::Simple(text) => write!(f, "+{text}"),
            Value::Error(text) => write!(f, "-{text}"),
            Value::Int(number) => write!(f, ":{number}"),
            Value::Double(text) => write!(f, ",{text}"),
            Value::BigNumber(text) => write!(f, "({text}"),
            Value::Bool(yes) => write!(f, "#{yes}"),
            Value::Bulk(bytes) | Value::Verbatim(bytes) if bytes.len() > 200 => {
                write!(f, "<{} bytes>", bytes.len())
            }
            Value::Bulk(bytes) | Value::Verbatim(bytes) => {
                write!(f, "\"{}\"", bytes.escape_ascii())
            }
            Value::Array(list) => f.debug_list().entries(list).finish(),
            Value::Set(list) => f.debug_set().entries(list).finish(),
            Value::Push(list) => f.debug_tuple("push").field(list).finish(),
            Value::Map(entries) => f
                .debug_map()
                .entries(entries.iter().map(|(key, value)| (key, value)))
                .finish(),
        }
    }
}

fn read_line(from: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    from.read_until(b'\n', &mut line)?;
    match line.strip_suffix(b"\r\n") {
        Some(content) => Ok(content.to_vec()),
        None => Err(Error::new(ErrorKind::UnexpectedEof, "closed by the peer")),
    }
}

fn read_bulk(from: &mut impl BufRead, len: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let Ok(len) = usize::try_from(number(len)?) else {
        return Ok(None);
    };
    let mut bytes = vec![0; len + 2];
    from.read_exact(&mut bytes)?;
    if bytes.split_off(len) != b"\r\n" {
        return Err(malformed("a bulk string that does not end where it should"));
    }
    Ok(Some(bytes))
}

fn read_many(from: &mut impl BufRead, len: &[u8], each: usize) -> io::Result<Option<Vec<Value>>> {
    let Ok(len) = usize::try_from(number(len)?) else {
        return Ok(None);
    };
    (0..len * each)
        .map(|_| Value::read(from))
        .collect::<io::Result<_>>()
        .map(Some)
}

fn pairs(flat: Vec<Value>) -> Vec<(Value, Value)> {
    let mut flat = flat.into_iter();
    std::iter::from_fn(|| Some((flat.next()?, flat.next()?))).collect()
}

fn number(digits: &[u8]) -> io::Result<i64> {
    text(digits)
        .parse()
        .map_err(|_| malformed(&format!("not a number: {}", digits.escape_ascii())))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn malformed(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("malformed RESP: {what}"))
}
