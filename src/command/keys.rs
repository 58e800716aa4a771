//! Where the keys of a request are.
//!
//! Finds what the servers' own routing finds: a request whose keys a server could not tell (a count that is
//! no number, more keys than arguments) has none here either, goes to any primary and gets that server's
//! words. The one exception are requests that would be split: see [`KeyError`].

use super::{Begin, Find, Flags, KeySpec, Row, Split};
use crate::resp::request::Request;

/// The arguments of one request that are keys, in the order of the key specifications. Kept and reused:
/// finding keys does not allocate once it has grown.
#[derive(Clone, Debug, Default)]
pub struct KeyList {
    at: Vec<u32>,
}

impl KeyList {
    /// An empty list.
    pub const fn new() -> Self {
        Self { at: Vec::new() }
    }

    /// The argument numbers; 0 would be the name.
    pub fn as_slice(&self) -> &[u32] {
        &self.at
    }

    /// The argument numbers.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = usize> + '_ {
        self.at.iter().map(|&at| at as usize)
    }

    /// How many keys.
    pub fn len(&self) -> usize {
        self.at.len()
    }

    /// Whether the request has no keys.
    pub fn is_empty(&self) -> bool {
        self.at.is_empty()
    }

    /// This one argument.
    pub fn set_only(&mut self, at: usize) {
        self.at.clear();
        self.push_range(at, at, 1);
    }

    /// In the order in which they come in the request, each once.
    pub fn sort(&mut self) {
        self.at.sort_unstable();
        self.at.dedup();
    }

    /// `from`, `from + step`, … up to `last`, which exist.
    fn push_range(&mut self, from: usize, last: usize, step: usize) {
        let range = (from..=last).step_by(step.max(1));
        self.at.extend(range.map_while(|at| u32::try_from(at).ok()));
    }
}

/// A request that cannot be dealt out by key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// A value is missing: `MSET a 1 b`. The server's words are [`super::check::wrong_arity`].
    WrongArity,
}

/// Puts the keys of `request` into `out`. No keys is no error: such a request goes to any primary.
///
/// # Errors
/// Only for rows with a [`Row::shape`]: the arguments do not come out even.
pub fn find_keys(row: &Row, request: Request<'_>, out: &mut KeyList) -> Result<(), KeyError> {
    out.at.clear();
    if let Some(shape) = row.shape
        && !comes_out_even(shape, request.len())
    {
        return Err(KeyError::WrongArity);
    }
    for spec in row.keys {
        if find(spec, request, out).is_none() {
            out.at.clear();
            break;
        }
    }
    Ok(())
}

/// Whether this request may wait at the node: BLPOP always, XREAD only with `BLOCK`.
pub fn blocks(row: &Row, request: Request<'_>) -> bool {
    row.flags.contains(Flags::BLOCKING)
        && match row.keys {
            [
                KeySpec {
                    begin: Begin::Keyword { word, .. },
                    ..
                },
            ] => has_block_option(request, word),
            _ => true,
        }
}

/// Adds the keys of one specification. `None`: the request is malformed, and none of its arguments counts
/// as a key.
fn find(spec: &KeySpec, request: Request<'_>, out: &mut KeyList) -> Option<()> {
    let len = request.len();
    let begin = match spec.begin {
        Begin::Index(at) => Some(usize::from(at)),
        Begin::Keyword { word, from } => after_keyword(request, word, from),
        Begin::SortStore => after_last_store(request, 2, &[b"store"], &SORT_OPTIONS),
        Begin::GeoStore => after_last_store(request, 5, &[b"store", b"storedist"], &[]),
        Begin::MigrateKeys => return find_migrate_keys(request, out),
    };
    let Some(begin) = begin.filter(|&begin| begin < len) else {
        return Some(());
    };
    match spec.find {
        Find::Range { last, step, limit } => {
            let last = range_end(begin, len, last, usize::from(limit))?;
            out.push_range(begin, last, usize::from(step));
        }
        Find::KeyNum {
            count_at,
            first,
            step,
        } => {
            let count = number(request.get(begin + usize::from(count_at))?)?;
            let (first, step) = (begin + usize::from(first), usize::from(step));
            let last = count
                .checked_sub(1)?
                .checked_mul(step)?
                .checked_add(first)?;
            if last >= len {
                return None;
            }
            out.push_range(first, last, step);
        }
    }
    Some(())
}

/// The last argument of a range that begins at `begin`, both below `len`.
fn range_end(begin: usize, len: usize, last: i32, limit: usize) -> Option<usize> {
    if limit > 1 {
        let rest = len - begin;
        return rest.is_multiple_of(limit).then(|| begin + rest / limit - 1);
    }
    let distance = usize::try_from(last.unsigned_abs()).ok()?;
    let end = if last < 0 {
        len.checked_sub(distance)?
    } else {
        begin + distance
    };
    (begin <= end && end < len).then_some(end)
}

/// The argument after the first `word` from `from` on.
fn after_keyword(request: Request<'_>, word: &str, from: i16) -> Option<usize> {
    let is_word = |at: &usize| request.arg(*at).eq_ignore_ascii_case(word.as_bytes());
    let (len, distance) = (request.len(), usize::from(from.unsigned_abs()));
    let at = if from < 0 {
        (1..=len.checked_sub(distance)?).rev().find(is_word)
    } else {
        (distance..len).find(is_word)
    };
    at.map(|at| at + 1)
}

/// The argument after the last of `words` from `from` on; `options` have arguments that are skipped.
fn after_last_store(
    request: Request<'_>,
    from: usize,
    words: &[&[u8]],
    options: &[(&[u8], usize)],
) -> Option<usize> {
    let mut found = None;
    let mut at = from;
    while at + 1 < request.len() {
        let arg = request.arg(at);
        if words.iter().any(|word| arg.eq_ignore_ascii_case(word)) {
            found = Some(at + 1);
            at += 1;
        }
        at += 1 + arguments_of(arg, options);
    }
    found
}

/// MIGRATE has one key at 3, or, if that is empty, all that follow `KEYS`.
fn find_migrate_keys(request: Request<'_>, out: &mut KeyList) -> Option<()> {
    let len = request.len();
    let mut at = 6;
    while at < len && !request.arg(at).eq_ignore_ascii_case(b"keys") {
        at += 1 + arguments_of(request.arg(at), &MIGRATE_OPTIONS);
    }
    let keys_given = at < len;
    match (keys_given, request.get(3)?.is_empty()) {
        (false, _) => out.push_range(3, 3, 1),
        (true, true) => out.push_range(at + 1, len - 1, 1),
        (true, false) => return None,
    }
    Some(())
}

/// Whether `BLOCK` is among the options before `word`. Options with an argument hide it.
fn has_block_option(request: Request<'_>, word: &str) -> bool {
    let mut at = 1;
    while let Some(arg) = request.get(at) {
        if arg.eq_ignore_ascii_case(b"block") {
            return true;
        }
        if arg.eq_ignore_ascii_case(word.as_bytes()) {
            return false;
        }
        at += 1 + arguments_of(arg, &XREAD_OPTIONS);
    }
    false
}

/// How many arguments the option `arg` has.
fn arguments_of(arg: &[u8], options: &[(&[u8], usize)]) -> usize {
    let option = options
        .iter()
        .find(|(name, _)| arg.eq_ignore_ascii_case(name));
    option.map_or(0, |(_, count)| *count)
}

/// Whether `len` arguments, the name included, can be dealt out.
const fn comes_out_even(shape: Split, len: usize) -> bool {
    match shape {
        Split::Keys => len >= 2,
        Split::KeysThenLast => len >= 3,
        Split::KeyValues | Split::Triples => len > 1 && (len - 1).is_multiple_of(shape.group()),
    }
}

/// A decimal number as the servers' `string2ll` takes it: no sign, no leading zero, no space.
fn number(text: &[u8]) -> Option<usize> {
    match text {
        [b'0'] => Some(0),
        [b'1'..=b'9', ..] if text.len() <= 18 => text.iter().try_fold(0_usize, |sum, byte| {
            let digit = byte.is_ascii_digit().then(|| usize::from(byte - b'0'))?;
            Some(sum * 10 + digit)
        }),
        _ => None,
    }
}

const SORT_OPTIONS: [(&[u8], usize); 3] = [(b"limit", 2), (b"get", 1), (b"by", 1)];
const MIGRATE_OPTIONS: [(&[u8], usize); 2] = [(b"auth", 1), (b"auth2", 2)];
const XREAD_OPTIONS: [(&[u8], usize); 5] = [
    (b"count", 1),
    (b"group", 2),
    (b"claim", 1),
    (b"maxcount", 1),
    (b"maxsize", 1),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::lookup::{CommandTable, Lookup};
    use crate::command::testing::Words;

    fn keys_of(line: &str) -> Result<Vec<usize>, KeyError> {
        let words = Words::new(line);
        let Lookup::Row(row) = CommandTable::new().lookup(words.request()) else {
            panic!("no row for {line}");
        };
        let mut out = KeyList::new();
        find_keys(row, words.request(), &mut out)?;
        Ok(out.iter().collect())
    }

    #[test]
    fn keys_are_where_the_server_looks_for_them() {
        let cases: &[(&str, &[usize])] = &[
            ("GET k", &[1]),
            ("MGET a b c", &[1, 2, 3]),
            ("MSET a 1 b 2", &[1, 3]),
            ("LCS a b LEN", &[1, 2]),
            ("BITOP AND d a b", &[2, 3, 4]),
            ("OBJECT ENCODING k", &[2]),
            ("MEMORY USAGE k SAMPLES 5", &[2]),
            ("BLPOP a b 0", &[1, 2]),
            ("EVAL s 2 a b c", &[3, 4]),
            ("EVAL s 0 a", &[]),
            ("EVAL s 3 a b", &[]),
            ("EVAL s -1 a b", &[]),
            ("EVAL s many a", &[]),
            ("EVAL s 99999999999999999999 a", &[]),
            ("ZUNIONSTORE d 2 a b WEIGHTS 1 2", &[1, 3, 4]),
            ("ZUNIONSTORE d 0 a", &[]),
            ("LMPOP 2 a b LEFT COUNT 2", &[2, 3]),
            ("MSETEX 2 a 1 b 2 EX 3", &[2, 4]),
            ("XREAD COUNT 2 STREAMS a b 0 0", &[4, 5]),
            ("XREAD STREAMS a b 0", &[]),
            ("XREADGROUP GROUP STREAMS c COUNT 1 streams k >", &[7]),
            ("SORT k", &[1]),
            ("SORT k BY store GET store LIMIT store store", &[1]),
            ("SORT k STORE a STORE b", &[1, 5]),
            ("SORT_RO k BY nosort", &[1]),
            ("GEORADIUS k 0 0 1 km STORE a STOREDIST b", &[1, 9]),
            ("GEORADIUSBYMEMBER k store 1 km COUNT 1 STORE d", &[1, 8]),
            ("MIGRATE h 1 k 0 9 COPY", &[3]),
            ("MIGRATE h 1 \"\" 0 9 AUTH keys KEYS a b", &[9, 10]),
            ("MIGRATE h 1 k 0 9 KEYS a", &[]),
            ("PFMERGE d", &[1]),
            ("SSUBSCRIBE a b", &[1, 2]),
            ("JSON.MGET a b $.x", &[1, 2]),
            ("JSON.MSET a $ 1 b $ 2", &[1, 4]),
            ("TIME", &[]),
        ];
        for (line, expected) in cases {
            assert_eq!(keys_of(line).as_deref(), Ok(*expected), "{line}");
        }
    }

    #[test]
    fn a_request_that_does_not_come_out_even_is_an_error() {
        for line in ["MSET a 1 b", "JSON.MSET a $ 1 b $"] {
            assert_eq!(keys_of(line), Err(KeyError::WrongArity), "{line}");
        }
    }

    #[test]
    fn a_fixed_key_is_known_without_a_search() {
        let cases = [
            ("GET k", Some(1)),
            ("HSET k f v", Some(1)),
            ("OBJECT FREQ k", Some(2)),
            ("MGET k", None),
            ("DEL k", None),
            ("SORT k", None),
            ("TIME", None),
            ("EVAL s 1 k", None),
        ];
        let table = CommandTable::new();
        for (line, expected) in cases {
            let words = Words::new(line);
            let Lookup::Row(row) = table.lookup(words.request()) else {
                panic!("no row for {line}");
            };
            assert_eq!(row.first_key(), expected, "{line}");
        }
    }

    #[test]
    fn a_stream_read_waits_only_if_it_says_so() {
        let cases = [
            ("BLPOP k 0", true),
            ("LPOP k", false),
            ("XREAD STREAMS block 0", false),
            ("XREAD BLOCK 0 STREAMS k $", true),
            ("XREAD COUNT block STREAMS k 0", false),
            ("XREADGROUP GROUP block block STREAMS k >", false),
            ("XREADGROUP GROUP g c COUNT 1 block 5 STREAMS k >", true),
        ];
        let table = CommandTable::new();
        for (line, expected) in cases {
            let words = Words::new(line);
            let Lookup::Row(row) = table.lookup(words.request()) else {
                panic!("no row for {line}");
            };
            assert_eq!(blocks(row, words.request()), expected, "{line}");
        }
    }
}
