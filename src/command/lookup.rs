//! From the words of a request to its row, without a look at anything else and without allocating.
//!
//! A name is folded to lower case in two machine words, which are the key of a small open-addressed table;
//! only long names are compared once more. Subcommands are few: they are searched one by one.

use std::ops::Range;

use super::{Flags, Row, table};
use crate::resp::request::Request;

/// Every command that slotcar knows: the rows of [`table`] and those learnt from a node.
/// Immutable; [`CommandTable::learn`] makes a new one.
#[derive(Clone, Debug)]
pub struct CommandTable {
    /// Positions in `commands`, at where their names hash to or the next free place; [`FREE`] or
    /// `< commands.len()`. A power of two, at least half of them free, so that every search ends.
    places: Box<[u16]>,
    commands: Vec<Command>,
    subcommands: Vec<Subcommand>,
    learnt: usize,
}

/// What a request's words name.
#[derive(Clone, Copy, Debug)]
pub enum Lookup {
    /// The command, or the subcommand if it has some and the request goes on.
    Row(&'static Row),
    UnknownCommand,
    /// The container.
    UnknownSubcommand(&'static Row),
}

#[derive(Clone, Debug)]
struct Command {
    name: Folded,
    row: &'static Row,
    /// In `CommandTable::subcommands`.
    subcommands: Range<usize>,
}

#[derive(Clone, Debug)]
struct Subcommand {
    /// Of what follows the bar.
    name: Folded,
    text: &'static str,
    row: &'static Row,
}

impl CommandTable {
    /// The rows that slotcar brings along.
    pub fn new() -> Self {
        Self::of(table::rows(), 0)
    }

    /// A table of these rows, `learnt` of which are not from [`table`]. Containers may come in any order;
    /// of several rows with one name the first counts. No more than [`FREE`] commands, subcommands aside.
    pub(super) fn of(rows: impl Iterator<Item = &'static Row>, learnt: usize) -> Self {
        let (mut subs, tops): (Vec<_>, Vec<_>) = rows.partition(|row| row.name.contains('|'));
        subs.sort_by_key(|row| container_of(row));
        debug_assert!(tops.len() < usize::from(FREE));
        let places = (tops.len() * 2).next_power_of_two();
        let mut made = Self {
            places: vec![FREE; places].into(),
            commands: Vec::new(),
            subcommands: Vec::with_capacity(subs.len()),
            learnt,
        };
        for row in tops {
            made.insert(row, &subs);
        }
        made
    }

    /// The row of a request; container and subcommand are told apart as a server does it.
    #[inline]
    pub fn lookup(&self, request: Request<'_>) -> Lookup {
        let Some(command) = self.command(request.arg(0)) else {
            return Lookup::UnknownCommand;
        };
        if !command.row.flags.contains(Flags::CONTAINER) {
            return Lookup::Row(command.row);
        }
        match request.get(1) {
            None => Lookup::Row(command.row),
            Some(name) => match self.subcommand(command, name) {
                Some(row) => Lookup::Row(row),
                None => Lookup::UnknownSubcommand(command.row),
            },
        }
    }

    /// The row with this name, `config|get` for a subcommand, in any case.
    pub fn row(&self, name: &str) -> Option<&'static Row> {
        let (top, sub) = match name.split_once('|') {
            None => (name, None),
            Some((top, sub)) => (top, Some(sub)),
        };
        let command = self.command(top.as_bytes())?;
        match sub {
            None => Some(command.row),
            Some(sub) => self.subcommand(command, sub.as_bytes()),
        }
    }

    /// All rows, subcommands after all commands.
    pub fn rows(&self) -> impl Iterator<Item = &'static Row> + '_ {
        let commands = self.commands.iter().map(|command| command.row);
        commands.chain(self.subcommands.iter().map(|sub| sub.row))
    }

    /// How many rows are learnt.
    pub fn learnt(&self) -> usize {
        self.learnt
    }

    /// `subs` are sorted by their containers.
    fn insert(&mut self, row: &'static Row, subs: &[&'static Row]) {
        let name = Folded::new(row.name.as_bytes());
        let Err(place) = self.search(row.name.as_bytes(), name) else {
            return;
        };
        let start = self.subcommands.len();
        let first = subs.partition_point(|sub| container_of(sub) < row.name);
        let subs = subs.iter().skip(first);
        for &sub in subs.take_while(|sub| container_of(sub) == row.name) {
            if let Some((_, text)) = sub.name.split_once('|') {
                let name = Folded::new(text.as_bytes());
                let row = sub;
                self.subcommands.push(Subcommand { name, text, row });
            }
        }
        let position = u16::try_from(self.commands.len());
        if let (Some(free), Ok(position)) = (self.places.get_mut(place), position) {
            *free = position;
        }
        self.commands.push(Command {
            name,
            row,
            subcommands: start..self.subcommands.len(),
        });
    }

    #[inline]
    fn command(&self, name: &[u8]) -> Option<&Command> {
        self.search(name, Folded::new(name)).ok()
    }

    /// The command with this name, or the place where it would have to be.
    #[inline]
    fn search(&self, name: &[u8], folded: Folded) -> Result<&Command, usize> {
        let mask = self.places.len() - 1;
        let mut place = folded.hash() & mask;
        while let Some(command) = self
            .places
            .get(place)
            .and_then(|&position| self.commands.get(usize::from(position)))
        {
            if command.name.is_same(command.row.name, folded, name) {
                return Ok(command);
            }
            place = (place + 1) & mask;
        }
        Err(place)
    }

    fn subcommand(&self, command: &Command, name: &[u8]) -> Option<&'static Row> {
        let subs = self.subcommands.get(command.subcommands.clone())?;
        let folded = Folded::new(name);
        let is_it = |sub: &&Subcommand| sub.name.is_same(sub.text, folded, name);
        subs.iter().find(is_it).map(|sub| sub.row)
    }
}

impl Default for CommandTable {
    fn default() -> Self {
        Self::new()
    }
}

/// The name of a subcommand's container.
fn container_of(sub: &Row) -> &'static str {
    sub.name
        .split_once('|')
        .map_or("", |(container, _)| container)
}

/// A name's length and bytes of it in lower case, which together tell apart all names up to
/// [`FOLDED_LEN`] bytes: the first eight and the last eight, or what there is of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Folded {
    first: u64,
    last: u64,
    len: usize,
}

impl Folded {
    #[inline]
    fn new(name: &[u8]) -> Self {
        let (first, last) = match name {
            [] => (0, 0),
            [one] => (u64::from(*one), 0),
            [one, two] => (u64::from(*one), u64::from(*two)),
            [one, two, three] => (u64::from(*one) | u64::from(*two) << 8, u64::from(*three)),
            [_, _, _, _, ..] => ends_of(name),
        };
        Self {
            first: lower_case(first),
            last: lower_case(last),
            len: name.len(),
        }
    }

    /// Whether `known`, which was folded to this, is `name`, which is folded to `other`.
    #[inline]
    fn is_same(self, known: &str, other: Self, name: &[u8]) -> bool {
        let fits = name.len() <= FOLDED_LEN;
        self == other && (fits || known.as_bytes().eq_ignore_ascii_case(name))
    }

    #[inline]
    fn hash(self) -> usize {
        let mixed = self.first ^ self.last.rotate_left(29) ^ self.len as u64;
        (mixed.wrapping_mul(MIX) >> 40) as usize
    }
}

/// The first and the last eight bytes; of a name of four to seven bytes, four each. They may overlap.
#[inline]
fn ends_of(name: &[u8]) -> (u64, u64) {
    let eight = name.first_chunk::<8>().zip(name.last_chunk::<8>());
    if let Some((first, last)) = eight {
        return (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
    }
    let four = name.first_chunk::<4>().zip(name.last_chunk::<4>());
    let (first, last) = four.unwrap_or((&[0; 4], &[0; 4]));
    let word = |bytes: &[u8; 4]| u64::from(u32::from_le_bytes(*bytes));
    (word(first), word(last))
}

/// Eight bytes at a time: the sums carry into a byte's top bit from `A` on, and from past `Z` on; where
/// only the first does, and the byte is ASCII, the bit for lower case is set.
#[inline]
const fn lower_case(bytes: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const TOP: u64 = 0x80 * EACH;
    let ascii = bytes & !TOP;
    let from_a = ascii + (0x80 - b'A' as u64) * EACH;
    let past_z = ascii + (0x7f - b'Z' as u64) * EACH;
    let upper = (from_a ^ past_z) & !bytes & TOP;
    bytes | upper >> 2
}

/// Up to this length nothing of a name is left out of [`Folded`].
const FOLDED_LEN: usize = 16;
/// No command is here.
const FREE: u16 = u16::MAX;
/// 2^64 divided by the golden ratio: spreads neighbouring names (Knuth, TAOCP 6.4).
const MIX: u64 = 0x9E37_79B9_7F4A_7C15;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::testing::Words;

    fn name_of(words: &[&[u8]]) -> String {
        match CommandTable::new().lookup(Words::of(words).request()) {
            Lookup::Row(row) => row.name.to_owned(),
            Lookup::UnknownCommand => "unknown".to_owned(),
            Lookup::UnknownSubcommand(container) => format!("unknown of {}", container.name),
        }
    }

    #[test]
    fn a_request_is_known_by_its_words_in_any_case() {
        let cases: &[(&[&[u8]], &str)] = &[
            (&[b"GET", b"k"], "get"),
            (&[b"gEt"], "get"),
            (&[b"GEORADIUSBYMEMBER_RO"], "georadiusbymember_ro"),
            (&[b"georadiusbymember_rx"], "unknown"),
            (&[b"CONFIG", b"Get", b"x"], "config|get"),
            (&[b"config"], "config"),
            (&[b"config", b"nope"], "unknown of config"),
            (&[b"config", b""], "unknown of config"),
            (&[b"config|get", b"x"], "unknown"),
            (&[b"COMMAND"], "command"),
            (&[b"command", b"DOCS"], "command|docs"),
            (&[b"get\0"], "unknown"),
            (&[b"ge"], "unknown"),
            (&[b""], "unknown"),
            (&[], "unknown"),
            (&[b"@GET"], "unknown"),
            (&["GÉT".as_bytes()], "unknown"),
            (&[b"JSON.MGET", b"k"], "json.mget"),
        ];
        for (words, expected) in cases {
            assert_eq!(name_of(words), *expected, "{words:?}");
        }
    }

    #[test]
    fn only_capital_letters_are_folded() {
        for byte in 0..=u8::MAX {
            for len in [1, 2, 3, 5, 8, 16, 20] {
                let name = vec![byte; len];
                let lower = Folded::new(&name.to_ascii_lowercase());
                assert_eq!(Folded::new(&name), lower, "{byte} {len}");
                let same = lower == Folded::new(&vec![b'z'; len]);
                assert_eq!(same, byte.eq_ignore_ascii_case(&b'z'), "{byte} {len}");
            }
        }
    }

    #[test]
    fn every_row_is_found_by_its_name() {
        let table = CommandTable::new();
        for row in table::rows() {
            let found = table.row(row.name).expect(row.name);
            assert!(std::ptr::eq(found, row), "two rows are called {}", row.name);
        }
        assert_eq!(table.rows().count(), table::rows().count());
        assert!(table.row("config|nope").is_none());
        assert!(table.row("nope|get").is_none());
    }
}
