//! What a session has queued since `MULTI`, and how it is dealt out to the nodes at `EXEC`.
//!
//! Pure. Requests with keys of one slot make one block; a request that concerns several nodes ends all blocks before it,
//! so that on each node everything runs in the order in which it was queued.

use std::collections::HashMap;

use crate::command::{Counts, Flags, Local, Merge, Names, Row, Script, Subscription};
use crate::resp::reply::Reply;
use crate::resp::write;
use crate::route::naming::replies::Named;
use crate::topology::Slot;

/// The requests between `MULTI` and `EXEC`.
#[derive(Debug, Default)]
pub struct Transaction {
    bytes: Vec<u8>,
    queued: Vec<Queued>,
    /// The slot that all keys must be in, and the key that says so. None: no key yet, or the transaction may be split.
    home: Option<(Slot, Box<[u8]>)>,
    /// Places among the replies of its only block, and the databases that are selected there.
    selects: Vec<(usize, u32)>,
    /// The database that it has selected, where those are names of keys.
    pub database_of_names: Option<u32>,
    /// A request was refused: `EXEC` will be, too.
    refused: bool,
}

/// A request that waits for `EXEC`.
#[derive(Debug)]
struct Queued {
    row: &'static Row,
    start: usize,
    place: Place,
}

/// Where a queued request is executed.
#[derive(Debug)]
pub enum Place {
    /// It has no keys: with the others.
    Anywhere,
    At(Slot),
    Here(Local),
    /// `UNWATCH`: EXEC does it anyway.
    Nowhere,
    /// In parts: where each goes and what it says there; for each key the part that has it.
    Dealt {
        merge: Merge,
        parts: Vec<(Slot, Vec<u8>)>,
        key_parts: Vec<u16>,
    },
}

/// What one node executes at once.
#[derive(Debug)]
pub struct Block {
    pub slot: Slot,
    pub bytes: Vec<u8>,
    pub requests: u32,
    /// The row of one of its requests, if all of them only read: it may be executed twice.
    pub reads_only: Option<&'static Row>,
    /// Names of scripts that its requests run: the node has to know them beforehand.
    pub scripts: Vec<Box<[u8]>>,
    /// The row of its only request, if that does not wait.
    pub alone: Option<&'static Row>,
    /// Places of requests whose answers name keys.
    pub names: Vec<Named>,
}

/// Where the reply to a queued request comes from.
#[derive(Debug)]
pub enum Source {
    /// The next item of this block's reply.
    Block(usize),
    /// This request, executed here.
    Here {
        local: Local,
        request: Vec<u8>,
    },
    Ok,
    /// The next item of this block's reply, a count of receivers at the node of this slot; only we know ours.
    Receivers {
        block: usize,
        slot: Slot,
        kind: Subscription,
        channel: Box<[u8]>,
    },
    /// The next items of these blocks' replies.
    Merged {
        merge: Merge,
        blocks: Vec<usize>,
        key_parts: Vec<u16>,
    },
}

/// A transaction dealt out: blocks in the order in which they are sent, sources in the order of the requests.
#[derive(Debug, Default)]
pub struct Dealt {
    pub blocks: Vec<Block>,
    pub sources: Vec<Source>,
}

impl Transaction {
    /// Bytes that wait for `EXEC`.
    pub fn bytes_queued(&self) -> usize {
        self.bytes.capacity()
    }

    /// `home`: the slot and the key that are watched.
    pub fn new(home: Option<(Slot, Box<[u8]>)>) -> Self {
        Self {
            home,
            ..Self::default()
        }
    }

    pub fn len(&self) -> usize {
        self.queued.len()
    }

    pub fn is_empty(&self) -> bool {
        self.queued.is_empty()
    }

    /// Bytes of the queued requests.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub fn refuse(&mut self) {
        self.refused = true;
    }

    pub fn is_refused(&self) -> bool {
        self.refused
    }

    /// The key whose slot all others must have, if `slot` is another one; from now on it is `slot`, if there was none.
    pub fn disagrees(&mut self, slot: Slot, key: &[u8]) -> Option<&[u8]> {
        let (home, home_key) = self.home.get_or_insert_with(|| (slot, key.into()));
        (*home != slot).then_some(home_key)
    }

    /// The next request to be queued is a `SELECT` of this database, for a node.
    pub fn select(&mut self, database: u32) {
        let at_node = |queued: &&Queued| !matches!(queued.place, Place::Here(_) | Place::Nowhere);
        let place = self.queued.iter().filter(at_node).count();
        self.selects.push((place, database));
    }

    /// What it selects: the place among the replies of its only block, and the database.
    pub fn selects(&self) -> &[(usize, u32)] {
        &self.selects
    }

    pub fn queue(&mut self, row: &'static Row, request: &[u8], place: Place) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(request);
        self.queued.push(Queued { row, start, place });
    }

    /// The names of the first two commands in different slots, if there are two.
    pub fn first_split(&self) -> Option<(&'static str, &'static str)> {
        let slots = |queued: &Queued| match &queued.place {
            Place::At(slot) => Some(*slot),
            Place::Dealt { parts, .. } => parts.first().map(|(slot, _)| *slot),
            Place::Anywhere | Place::Here(_) | Place::Nowhere => None,
        };
        let mut keyed = self.queued.iter().filter(|queued| slots(queued).is_some());
        let first = keyed.next()?;
        if matches!(first.place, Place::Dealt { .. }) {
            return Some((first.row.name, first.row.name));
        }
        let other = keyed.find(|other| {
            slots(other) != slots(first) || matches!(other.place, Place::Dealt { .. })
        })?;
        Some((first.row.name, other.row.name))
    }

    /// Whether a script or a function is among what it runs.
    pub fn runs_scripts(&self) -> bool {
        let mut rows = self.queued.iter().map(|queued| queued.row);
        rows.any(Row::answers_as_it_likes)
    }

    /// Deals the requests out. `first`: the slot of a block that comes first in any case; `any`: where requests without
    /// keys go if nothing else says so.
    pub fn deal(mut self, first: Option<Slot>, any: Slot) -> Dealt {
        let mut dealer = Dealer::default();
        if let Some(slot) = first {
            dealer.block(slot);
        }
        let keyed = |queued: &Queued| match &queued.place {
            Place::At(slot) => Some(*slot),
            Place::Anywhere | Place::Here(_) | Place::Nowhere | Place::Dealt { .. } => None,
        };
        let home = first
            .or_else(|| self.queued.iter().find_map(keyed))
            .unwrap_or(any);
        let mut end = self.bytes.len();
        let mut ranges: Vec<_> = (self.queued.iter().rev())
            .map(|queued| queued.start..std::mem::replace(&mut end, queued.start))
            .collect();
        ranges.reverse();
        for (queued, range) in self.queued.drain(..).zip(ranges) {
            let request = self.bytes.get(range).unwrap_or_default();
            dealer.deal(queued.row, queued.place, request, home);
        }
        dealer.dealt
    }
}

#[derive(Default)]
struct Dealer {
    dealt: Dealt,
    /// The blocks that still take requests.
    open: HashMap<Slot, usize>,
}

impl Dealer {
    fn deal(&mut self, row: &'static Row, place: Place, request: &[u8], home: Slot) {
        let source = match place {
            Place::Anywhere => self.whole(home, row, request),
            Place::At(slot) => self.whole(slot, row, request),
            Place::Nowhere => Source::Ok,
            Place::Here(local) => Source::Here {
                local,
                request: request.to_vec(),
            },
            Place::Dealt {
                merge,
                parts,
                key_parts,
            } => {
                // Not by slot but by node: what was queued for other slots of the node comes before and after.
                let everywhere = key_parts.is_empty();
                if everywhere {
                    self.open.clear();
                }
                let blocks = parts
                    .iter()
                    .map(|(slot, bytes)| self.put(*slot, row, bytes))
                    .collect();
                if everywhere {
                    self.open.clear();
                }
                Source::Merged {
                    merge,
                    blocks,
                    key_parts,
                }
            }
        };
        self.dealt.sources.push(source);
    }

    fn whole(&mut self, slot: Slot, row: &'static Row, request: &[u8]) -> Source {
        let block = self.put(slot, row, request);
        let argument = |at| {
            Reply::new(request)
                .items()
                .nth(at)
                .and_then(|arg| arg.text())
        };
        if let Script::Sha(at) = row.script
            && let (Some(sha), Some(block)) =
                (argument(usize::from(at)), self.dealt.blocks.get_mut(block))
        {
            block.scripts.push(sha.into());
        }
        match (row.counts, argument(1)) {
            (Some(Counts::Receivers(kind)), Some(channel)) => Source::Receivers {
                block,
                slot,
                kind,
                channel: channel.into(),
            },
            (Some(_) | None, _) => Source::Block(block),
        }
    }

    fn put(&mut self, slot: Slot, row: &'static Row, request: &[u8]) -> usize {
        let index = self.block(slot);
        if let Some(block) = self.dealt.blocks.get_mut(index) {
            let reads = row.reads_only().then_some(row);
            block.reads_only = match block.requests {
                0 => reads,
                _ => block.reads_only.and(reads),
            };
            // One that waits must not; and a count is made right in one place.
            let stands_alone = !row.flags.contains(Flags::BLOCKING) && row.counts.is_none();
            block.alone = (block.requests == 0 && stands_alone).then_some(row);
            block.bytes.extend_from_slice(request);
            let place = block.requests as usize;
            let speaks = (row.script != Script::None).then_some(Names::Script);
            let names = row.names.or(speaks);
            let names = names.map(|names| Named::new(place, names, request));
            block.names.extend(names);
            block.requests += 1;
        }
        index
    }

    fn block(&mut self, slot: Slot) -> usize {
        let blocks = &mut self.dealt.blocks;
        *self.open.entry(slot).or_insert_with(|| {
            blocks.push(Block {
                slot,
                bytes: Vec::new(),
                requests: 0,
                reads_only: None,
                alone: None,
                scripts: Vec::new(),
                names: Vec::new(),
            });
            blocks.len() - 1
        })
    }
}

impl Block {
    /// Writes the block as a node gets it, atomic: `requests + 2` replies.
    pub fn write(&self, out: &mut Vec<u8>) {
        write::command(out, &["MULTI"]);
        out.extend_from_slice(&self.bytes);
        write::command(out, &["EXEC"]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::lookup::CommandTable;

    /// Queues `name@place` words; places: a slot, `any`, `here`, `all` (slots 1 and 2), `1+2` (by key).
    fn transaction(words: &str) -> Transaction {
        let table = CommandTable::new();
        let slot = |text: &str| Slot::new(text.parse().unwrap()).unwrap();
        let mut made = Transaction::default();
        for word in words.split(' ') {
            let (name, place) = word.split_once('@').unwrap();
            let dealt = |slots: Vec<&str>, key_parts| Place::Dealt {
                merge: Merge::Sum,
                parts: (slots.into_iter())
                    .map(|at| (slot(at), format!("{name} ").into_bytes()))
                    .collect(),
                key_parts,
            };
            let place = match place {
                "any" => Place::Anywhere,
                "here" => Place::Here(Local::Ping),
                "all" => dealt(vec!["1", "2"], Vec::new()),
                keys if keys.contains('+') => dealt(keys.split('+').collect(), vec![0, 1]),
                at => Place::At(slot(at)),
            };
            made.queue(
                table.row(name).unwrap(),
                format!("{name} ").as_bytes(),
                place,
            );
        }
        made
    }

    #[test]
    fn requests_of_a_slot_make_a_block_and_what_concerns_every_node_ends_all() {
        let cases = [
            ("get@5 set@5 time@any", None, "5:get set time", ""),
            ("time@any get@5 ping@here", None, "5:time get", ""),
            ("time@any", None, "9:time", ""),
            ("ping@here", None, "", ""),
            ("ping@here", Some(7), "7:", ""),
            ("get@5 get@6 get@5", None, "5:get get|6:get", "get get"),
            ("get@5 time@any", Some(7), "7:time|5:get", ""),
            (
                "get@1 dbsize@all get@1",
                None,
                "1:get|1:dbsize|2:dbsize|1:get",
                "get dbsize",
            ),
            (
                "get@1 del@1+2 get@2",
                None,
                "1:get del|2:del get",
                "get del",
            ),
        ];
        for (words, first, expected, pair) in cases {
            let made = transaction(words);
            let split = made.first_split().map(|(a, b)| format!("{a} {b}"));
            if pair.contains(' ') {
                assert_eq!(split.as_deref(), Some(pair), "{words}");
            } else {
                assert_eq!(split, None, "{words}");
            }
            let dealt = made.deal(first.and_then(Slot::new), Slot::new(9).unwrap());
            let show = |block: &Block| {
                let text = String::from_utf8(block.bytes.clone()).unwrap();
                assert_eq!(
                    text.split_whitespace().count(),
                    block.requests as usize,
                    "{words}"
                );
                format!("{}:{}", block.slot.get(), text.trim_end())
            };
            let shown: Vec<String> = dealt.blocks.iter().map(show).collect();
            assert_eq!(shown.join("|"), expected, "{words}");
            assert_eq!(dealt.sources.len(), words.split(' ').count(), "{words}");
        }
    }

    #[test]
    fn a_block_is_repeated_only_if_all_of_it_reads() {
        let reads = |words| {
            let dealt = transaction(words).deal(None, Slot::FIRST);
            dealt.blocks[0].reads_only.map(|row| row.name)
        };
        assert_eq!(reads("get@1 strlen@1"), Some("strlen"));
        assert_eq!(reads("get@1 set@1"), None);
        assert_eq!(reads("set@1 get@1"), None);
        assert_eq!(reads("time@any"), None);
    }

    #[test]
    fn a_second_slot_is_named_by_its_keys() {
        let mut made = Transaction::new(None);
        let slot = |n| Slot::new(n).unwrap();
        assert_eq!(made.disagrees(slot(1), b"a"), None);
        assert_eq!(made.disagrees(slot(1), b"b"), None);
        assert_eq!(made.disagrees(slot(2), b"c"), Some(&b"a"[..]));
        let mut watched = Transaction::new(Some((slot(3), (*b"w").into())));
        assert_eq!(watched.disagrees(slot(1), b"a"), Some(&b"w"[..]));
    }
}
