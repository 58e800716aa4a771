//! What a request that waits for one of several keys tries at each of them without waiting, and what makes up for it.
//!
//! Source: <https://redis.io/docs/latest/commands/blpop/> and the other commands that wait.

use super::Row;
use crate::resp::request::Request;
use crate::resp::write;

/// What a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    List,
    SortedSet,
    Stream,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::List, Self::SortedSet, Self::Stream];

    /// The command that says how much there is at a key, and only reads.
    pub const fn size_command(self) -> &'static str {
        match self {
            Self::List => "llen",
            Self::SortedSet => "zcard",
            Self::Stream => "xlen",
        }
    }
}

/// How what was taken becomes the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is the reply.
    AsIs,
    /// The key, then the element.
    KeyAndElement,
    /// The key, then the items.
    KeyAndItems,
}

/// The end of a list that elements are taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Left,
    Right,
}

/// How what was taken is put back where it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Back {
    ToList(End),
    /// The scores say where.
    ToSortedSet,
}

impl Back {
    pub const fn command(self) -> &'static str {
        match self {
            Self::ToList(End::Left) => "lpush",
            Self::ToList(End::Right) => "rpush",
            Self::ToSortedSet => "zadd",
        }
    }
}

/// How a request takes something from one of its keys without waiting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub kind: Kind,
    /// The command that takes it.
    pub command: &'static str,
    pub answer: Answer,
    pub back: Back,
    /// Whether the number of keys stands before the key.
    counted: bool,
    /// The arguments after the key.
    tail: Vec<Box<[u8]>>,
}

impl Attempt {
    /// `None`: what it does cannot be done at one key after the other.
    pub fn of(row: &Row, request: Request<'_>) -> Option<Self> {
        let (kind, command, answer, back) = match row.name {
            "blpop" => (
                Kind::List,
                "lpop",
                Answer::KeyAndElement,
                Back::ToList(End::Left),
            ),
            "brpop" => (
                Kind::List,
                "rpop",
                Answer::KeyAndElement,
                Back::ToList(End::Right),
            ),
            "blmpop" => (
                Kind::List,
                "lmpop",
                Answer::AsIs,
                Back::ToList(Self::end(request)),
            ),
            "bzpopmin" => (
                Kind::SortedSet,
                "zpopmin",
                Answer::KeyAndItems,
                Back::ToSortedSet,
            ),
            "bzpopmax" => (
                Kind::SortedSet,
                "zpopmax",
                Answer::KeyAndItems,
                Back::ToSortedSet,
            ),
            "bzmpop" => (Kind::SortedSet, "zmpop", Answer::AsIs, Back::ToSortedSet),
            _ => return None,
        };
        let counted = answer == Answer::AsIs;
        let tail = if counted {
            Self::after_keys(request)
        } else {
            Vec::new()
        };
        Some(Self {
            kind,
            command,
            answer,
            back,
            counted,
            tail,
        })
    }

    /// Writes the try at one key.
    pub fn write(&self, key: &[u8], out: &mut Vec<u8>) {
        write::command_header(out, 2 + usize::from(self.counted) + self.tail.len());
        write::bulk(out, self.command.to_ascii_uppercase());
        if self.counted {
            write::bulk(out, b"1");
        }
        write::bulk(out, key);
        for argument in &self.tail {
            write::bulk(out, argument);
        }
    }

    /// `BLMPOP timeout numkeys key … LEFT|RIGHT [COUNT n]`: all after the keys.
    fn after_keys(request: Request<'_>) -> Vec<Box<[u8]>> {
        let keys = std::str::from_utf8(request.arg(2)).ok();
        let keys = keys.and_then(|text| text.parse::<usize>().ok());
        let first = keys.map_or(request.len(), |keys| keys.saturating_add(3));
        (first..request.len())
            .map(|at| request.arg(at).into())
            .collect()
    }

    #[cfg(test)]
    pub(crate) fn for_test(answer: Answer, back: Back) -> Self {
        Self {
            kind: Kind::List,
            command: "lpop",
            answer,
            back,
            counted: false,
            tail: Vec::new(),
        }
    }

    fn end(request: Request<'_>) -> End {
        let tail = Self::after_keys(request);
        match tail.first() {
            Some(word) if word.eq_ignore_ascii_case(b"right") => End::Right,
            Some(_) | None => End::Left,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::lookup::{CommandTable, Lookup};
    use crate::command::testing::Words;

    #[test]
    fn every_command_that_takes_from_one_of_several_keys_has_a_try_that_does_not_wait() {
        let cases = [
            ("BLPOP a b 5", "LPOP k", "llen", "lpush"),
            ("BRPOP a b 0", "RPOP k", "llen", "rpush"),
            ("BZPOPMIN a b 0", "ZPOPMIN k", "zcard", "zadd"),
            ("BZPOPMAX a b 0", "ZPOPMAX k", "zcard", "zadd"),
            ("BLMPOP 1 2 a b LEFT", "LMPOP 1 k LEFT", "llen", "lpush"),
            (
                "BLMPOP 1 2 a b right COUNT 3",
                "LMPOP 1 k right COUNT 3",
                "llen",
                "rpush",
            ),
            (
                "BZMPOP 0.5 2 a b MAX COUNT 3",
                "ZMPOP 1 k MAX COUNT 3",
                "zcard",
                "zadd",
            ),
        ];
        let table = CommandTable::new();
        for (line, tries, looks, puts_back) in cases {
            let words = Words::new(line);
            let Lookup::Row(row) = table.lookup(words.request()) else {
                panic!("no row for {line}");
            };
            let attempt = Attempt::of(row, words.request()).unwrap();
            let (mut out, mut expected) = (Vec::new(), Vec::new());
            attempt.write(b"k", &mut out);
            write::command(&mut expected, &tries.split(' ').collect::<Vec<_>>());
            assert_eq!(out, expected, "{line}");
            assert_eq!(attempt.kind.size_command(), looks, "{line}");
            assert_eq!(attempt.back.command(), puts_back, "{line}");
            for name in [attempt.command, looks, puts_back] {
                assert!(table.row(name).is_some(), "{name}");
            }
        }
    }

    #[test]
    fn what_needs_two_keys_at_once_has_none() {
        let table = CommandTable::new();
        for line in ["BLMOVE a b LEFT LEFT 0", "BRPOPLPUSH a b 0"] {
            let words = Words::new(line);
            let Lookup::Row(row) = table.lookup(words.request()) else {
                panic!("no row for {line}");
            };
            assert_eq!(Attempt::of(row, words.request()), None, "{line}");
        }
    }
}
