//! Collects the replies to the parts of one request and writes the one reply that a single server would have given.
//!
//! Knows the shapes of replies and nothing of where they came from. A gather is reused: after the first few requests of
//! a kind it allocates nothing for sums and for replies in key order. It copies what it must keep into one arena; a sum
//! needs no bytes at all. Invariant: `missing` is the number of parts whose reply has not been put in.

use std::collections::HashSet;
use std::ops::Range;

use crate::command::Merge;
use crate::resp::Proto;
use crate::resp::reply::{Kind, Reply, parse_i64};
use crate::resp::write;

use super::info::{self, ServerFace};
use super::{errors, latency, stats};

/// Collects the replies of one request at a time: [`start`](Self::start), [`on_reply`](Self::on_reply) once for each
/// part in any order, [`finish`](Self::finish).
#[derive(Debug)]
pub struct Gather {
    merge: Merge,
    parts: Vec<Part>,
    missing: usize,
    /// For each key of the request, the part that asked for it.
    key_parts: Vec<u16>,
    items_max: usize,
    arena: Vec<u8>,
    /// Items of aggregates, each a frame in the arena, in order of arrival.
    items: Vec<Range<usize>>,
    /// Sums or minima, one for each place in the reply.
    numbers: Vec<i64>,
    /// What the first aggregate is: array, set or map.
    shape: Kind,
    /// Some reply had a shape that the merge cannot use.
    odd: bool,
}

/// What one part left behind.
#[derive(Clone, Debug, Default)]
struct Part {
    state: State,
    /// The reply in the arena, where the merge wants whole replies.
    frame: Range<usize>,
    /// The items that came from this part.
    items: Range<usize>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Missing,
    Succeeded,
    Failed,
}

impl Default for Gather {
    fn default() -> Self {
        Self {
            merge: Merge::AsIs,
            parts: Vec::new(),
            missing: 0,
            key_parts: Vec::new(),
            items_max: usize::MAX,
            arena: Vec::new(),
            items: Vec::new(),
            numbers: Vec::new(),
            shape: Kind::Array,
            odd: false,
        }
    }
}

impl Gather {
    /// Bytes of replies that wait for the others.
    pub fn held_bytes(&self) -> usize {
        self.arena.capacity()
    }

    /// Begins a request of `parts` parts. `key_parts` says for each key, in request order, which part asks for it;
    /// only [`Merge::KeyOrder`] looks at it. `key_parts[i] < parts`
    pub fn start(&mut self, merge: Merge, parts: usize, key_parts: &[u16]) {
        debug_assert!(key_parts.iter().all(|&part| usize::from(part) < parts));
        self.reset();
        self.merge = merge;
        self.missing = parts;
        self.parts.resize(parts, Part::default());
        self.key_parts.extend_from_slice(key_parts);
    }

    /// Keeps at most this many items of a list that is cut by count (`SLOWLOG GET n`). To be called after `start`.
    pub fn limit_items(&mut self, items_max: usize) {
        self.items_max = items_max;
    }

    /// How the parts of this request are merged.
    pub fn merge(&self) -> Merge {
        self.merge
    }

    /// Whether the merged reply will show the face that [`Gather::finish`] is given.
    pub fn shows_face(&self) -> bool {
        self.merge == Merge::Info
    }

    /// Takes the reply to one part, a complete frame. True when all parts have answered.
    pub fn on_reply(&mut self, part: usize, frame: &[u8]) -> bool {
        debug_assert!(
            self.parts
                .get(part)
                .is_some_and(|p| p.state == State::Missing)
        );
        let reply = Reply::new(frame);
        let failed = reply.is_error();
        let first_item = self.items.len();
        let kept = if failed {
            self.keep(frame)
        } else {
            self.take(part, reply)
        };
        let items = first_item..self.items.len();
        if let Some(entry) = self
            .parts
            .get_mut(part)
            .filter(|p| p.state == State::Missing)
        {
            let state = if failed {
                State::Failed
            } else {
                State::Succeeded
            };
            *entry = Part {
                state,
                frame: kept,
                items,
            };
            self.missing = self.missing.saturating_sub(1);
        }
        self.missing == 0
    }

    /// Writes the merged reply in the spelling of `proto`, which is the one the parts came in, and forgets the request.
    pub fn finish(&mut self, proto: Proto, face: &ServerFace<'_>, out: &mut Vec<u8>) {
        debug_assert_eq!(self.missing, 0);
        if let Some(error) = self.error() {
            out.extend_from_slice(error);
        } else if self.odd || !self.merged(proto, face, out) {
            write::error(out, errors::UNEXPECTED_REPLY);
        }
        self.reset();
        self.shrink();
    }

    /// Takes what the merge needs of a reply that is no error; the range is the reply's copy, empty if none is needed.
    fn take(&mut self, part: usize, reply: Reply<'_>) -> Range<usize> {
        match self.merge {
            Merge::AllSucceeded if part != 0 => {}
            Merge::AsIs
            | Merge::AllSucceeded
            | Merge::OneSucceeded
            | Merge::RandomNonNull
            | Merge::Info
            | Merge::FunctionStats
            | Merge::HotKeys
            | Merge::MemoryDoctor
            | Merge::MemoryMallocStats
            | Merge::MemoryStats
            | Merge::LatencyDoctor
            | Merge::LatencyGraph
            | Merge::LatencyHistogram
            | Merge::LatencyHistory
            | Merge::LatencyLatest => return self.keep(reply.bytes()),
            Merge::Sum => self.count_in(std::iter::once(reply), i64::saturating_add),
            Merge::Receivers => {
                let number = reply.items().nth(1).unwrap_or(reply);
                self.count_in(std::iter::once(number), i64::saturating_add);
            }
            Merge::Min => self.count_in(std::iter::once(reply), i64::min),
            // A logical AND of zeros and ones is their minimum.
            Merge::MinEach | Merge::AndEach => self.count_in(reply.items(), i64::min),
            Merge::MapSum => self.take_counts(reply),
            Merge::Concat | Merge::ConcatDistinct | Merge::KeyOrder | Merge::SlowlogGet => {
                self.take_items(reply)
            }
        }
        0..0
    }

    /// Joins numbers with those of the parts before, place by place.
    fn count_in<'a>(
        &mut self,
        replies: impl Iterator<Item = Reply<'a>>,
        join: impl Fn(i64, i64) -> i64,
    ) {
        let first = self.numbers.is_empty();
        let mut places = 0;
        for (place, reply) in replies.enumerate() {
            places = place + 1;
            match (reply.integer(), self.numbers.get_mut(place)) {
                (Some(n), Some(sofar)) => *sofar = join(*sofar, n),
                (Some(n), None) if first => self.numbers.push(n),
                (Some(_), None) | (None, _) => self.odd = true,
            }
        }
        self.odd |= places != self.numbers.len();
    }

    /// `name count name count …`, the same names from every part.
    fn take_counts(&mut self, reply: Reply<'_>) {
        let first = self.items.is_empty();
        if first {
            self.shape = reply.kind();
            for name in reply.items().step_by(2) {
                let kept = self.keep(name.bytes());
                self.items.push(kept);
            }
        }
        self.count_in(reply.items().skip(1).step_by(2), i64::saturating_add);
    }

    fn take_items(&mut self, reply: Reply<'_>) {
        if self.items.is_empty() {
            self.shape = reply.kind();
        }
        let fits = match reply.kind() {
            Kind::Array | Kind::Set => true,
            // Its pairs must stay together: no other merge sees to that.
            Kind::Map => self.merge == Merge::Concat,
            Kind::Simple
            | Kind::Error
            | Kind::Integer
            | Kind::Bulk
            | Kind::Null
            | Kind::Boolean
            | Kind::Double
            | Kind::BigNumber
            | Kind::BlobError
            | Kind::Verbatim
            | Kind::Push
            | Kind::Malformed => false,
        };
        if !fits || reply.kind() != self.shape {
            self.odd = true;
            return;
        }
        for item in reply.items() {
            let kept = self.keep(item.bytes());
            self.items.push(kept);
        }
    }

    fn keep(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.arena.len();
        self.arena.extend_from_slice(bytes);
        start..self.arena.len()
    }

    /// The error that is the reply, if one is: that of the first part that has one, unless the merge forgives errors.
    fn error(&self) -> Option<&[u8]> {
        match self.merge {
            // A graph is drawn by the nodes that have samples; a script runs on one node at most.
            Merge::LatencyGraph | Merge::RandomNonNull | Merge::OneSucceeded
                if self.successes().next().is_some() =>
            {
                None
            }
            // The message has been published or not; who else listens is worth no error.
            Merge::Receivers => {
                let published = self.parts.first().filter(|p| p.state == State::Failed);
                published.and_then(|part| self.arena.get(part.frame.clone()))
            }
            Merge::OneSucceeded => {
                let telling = self.errors().find(|error| !error.starts_with(b"-NOTBUSY"));
                telling.or_else(|| self.errors().next())
            }
            Merge::AsIs
            | Merge::AllSucceeded
            | Merge::Sum
            | Merge::Min
            | Merge::MinEach
            | Merge::AndEach
            | Merge::Concat
            | Merge::ConcatDistinct
            | Merge::SlowlogGet
            | Merge::KeyOrder
            | Merge::MapSum
            | Merge::Info
            | Merge::RandomNonNull
            | Merge::FunctionStats
            | Merge::HotKeys
            | Merge::MemoryDoctor
            | Merge::MemoryMallocStats
            | Merge::MemoryStats
            | Merge::LatencyDoctor
            | Merge::LatencyGraph
            | Merge::LatencyHistogram
            | Merge::LatencyHistory
            | Merge::LatencyLatest => self.errors().next(),
        }
    }

    fn errors(&self) -> impl Iterator<Item = &[u8]> {
        let failed = self.parts.iter().filter(|part| part.state == State::Failed);
        failed.filter_map(|part| self.arena.get(part.frame.clone()))
    }

    fn successes(&self) -> impl Iterator<Item = Reply<'_>> + Clone {
        let succeeded = self
            .parts
            .iter()
            .filter(|part| part.state == State::Succeeded);
        succeeded
            .filter_map(|part| self.arena.get(part.frame.clone()))
            .map(Reply::new)
    }

    /// Writes the reply of parts that are all usable; false if they turn out not to be, with nothing written.
    fn merged(&mut self, proto: Proto, face: &ServerFace<'_>, out: &mut Vec<u8>) -> bool {
        match self.merge {
            Merge::AsIs | Merge::AllSucceeded | Merge::OneSucceeded | Merge::HotKeys => {
                self.first_that(out, |_| true)
            }
            Merge::RandomNonNull => self.first_that(out, |reply| !reply.is_null()),
            Merge::FunctionStats => self.first_that(out, stats::runs_a_script),
            Merge::Sum | Merge::Min | Merge::Receivers => {
                write::integer(out, self.numbers.first().copied().unwrap_or(0));
                true
            }
            Merge::MinEach | Merge::AndEach => {
                write::array(out, self.numbers.len());
                self.numbers.iter().for_each(|&n| write::integer(out, n));
                true
            }
            Merge::MapSum => self.counts(out),
            Merge::Concat => {
                self.header(self.items.len(), out);
                self.copy_items(self.items.iter(), out);
                true
            }
            Merge::ConcatDistinct => self.distinct_items(out),
            Merge::KeyOrder => self.in_key_order(out),
            Merge::SlowlogGet => self.newest_first(out),
            Merge::Info => {
                let text = info::merge(self.successes().filter_map(|reply| reply.text()), face);
                write::verbatim(out, proto, b"txt", text);
                true
            }
            Merge::MemoryDoctor
            | Merge::MemoryMallocStats
            | Merge::LatencyDoctor
            | Merge::LatencyGraph => {
                write::verbatim(out, proto, b"txt", stats::texts(self.successes()));
                true
            }
            Merge::MemoryStats => stats::memory(self.successes(), proto, out),
            Merge::LatencyHistogram => latency::histogram(self.successes(), proto, out),
            Merge::LatencyHistory => latency::history(self.successes(), out),
            Merge::LatencyLatest => latency::latest(self.successes(), out),
        }
    }

    /// The first reply that is wanted, or simply the first.
    fn first_that(&self, out: &mut Vec<u8>, wanted: impl Fn(&Reply<'_>) -> bool) -> bool {
        let chosen = self
            .successes()
            .find(wanted)
            .or_else(|| self.successes().next());
        out.extend_from_slice(chosen.as_ref().map(Reply::bytes).unwrap_or_default());
        chosen.is_some()
    }

    fn counts(&self, out: &mut Vec<u8>) -> bool {
        self.header(self.numbers.len() * 2, out);
        for (name, &count) in self.items.iter().zip(&self.numbers) {
            self.copy_items(std::iter::once(name), out);
            write::integer(out, count);
        }
        true
    }

    /// Each item once, in the order of first appearance.
    fn distinct_items(&self, out: &mut Vec<u8>) -> bool {
        let mut seen = HashSet::with_capacity(self.items.len());
        let fresh: Vec<_> = self
            .items
            .iter()
            .filter(|item| seen.insert(self.arena.get((*item).clone())))
            .collect();
        self.header(fresh.len(), out);
        self.copy_items(fresh.into_iter(), out);
        true
    }

    /// Each part's items are in the order in which its keys stand in the request.
    fn in_key_order(&mut self, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        write::array(out, self.key_parts.len());
        for &part in &self.key_parts {
            let next = self
                .parts
                .get_mut(usize::from(part))
                .and_then(|part| part.items.next());
            let item = next
                .and_then(|item| self.items.get(item))
                .and_then(|item| self.arena.get(item.clone()));
            let Some(item) = item else {
                out.truncate(start);
                return false;
            };
            out.extend_from_slice(item);
        }
        true
    }

    /// Entries `id timestamp …`, each node's newest first.
    fn newest_first(&mut self, out: &mut Vec<u8>) -> bool {
        let mut items = std::mem::take(&mut self.items);
        items.sort_by_cached_key(|item| {
            let entry = Reply::new(self.arena.get(item.clone()).unwrap_or_default());
            std::cmp::Reverse(entry.items().nth(1).and_then(|at| at.integer()))
        });
        items.truncate(self.items_max);
        self.header(items.len(), out);
        self.copy_items(items.iter(), out);
        self.items = items;
        true
    }

    /// The head of an aggregate like those of the parts; `count` counts a map's keys and values.
    fn header(&self, count: usize, out: &mut Vec<u8>) {
        if self.shape == Kind::Map {
            write::map(out, Proto::Resp3, count / 2);
        } else if self.shape == Kind::Set {
            write::set(out, Proto::Resp3, count);
        } else {
            write::array(out, count);
        }
    }

    fn copy_items<'a>(&self, items: impl Iterator<Item = &'a Range<usize>>, out: &mut Vec<u8>) {
        for item in items {
            out.extend_from_slice(self.arena.get(item.clone()).unwrap_or_default());
        }
    }

    fn reset(&mut self) {
        self.parts.clear();
        self.missing = 0;
        self.key_parts.clear();
        self.items_max = usize::MAX;
        self.arena.clear();
        self.items.clear();
        self.numbers.clear();
        self.shape = Kind::Array;
        self.odd = false;
    }

    /// One large reply must not hold its memory for ever.
    fn shrink(&mut self) {
        if self.arena.capacity() > ARENA_KEPT_BYTES_MAX {
            self.arena = Vec::new();
        }
        if self.items.capacity() > ITEMS_KEPT_MAX {
            self.items = Vec::new();
        }
        if self.key_parts.capacity() > ITEMS_KEPT_MAX {
            self.key_parts = Vec::new();
        }
        if self.parts.capacity() > ITEMS_KEPT_MAX {
            self.parts = Vec::new();
        }
    }
}

/// How many entries `SLOWLOG GET` wants, by its argument: ten if there is none, all if it is negative.
pub fn slowlog_items_max(count: Option<&[u8]>) -> usize {
    let count = count.map_or(Some(10), parse_i64).unwrap_or(-1);
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// What an idle gather keeps of its arena: room for an `MGET` of a hundred small values.
const ARENA_KEPT_BYTES_MAX: usize = 64 * 1024;
/// What an idle gather keeps of its lists.
const ITEMS_KEPT_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    /// Merges `replies`, the reply of each part, after putting them in from the last to the first.
    fn merged(
        gather: &mut Gather,
        merge: Merge,
        key_parts: &[u16],
        proto: Proto,
        replies: &[&str],
    ) -> String {
        gather.start(merge, replies.len(), key_parts);
        for (part, reply) in replies.iter().enumerate().rev() {
            assert_eq!(gather.on_reply(part, reply.as_bytes()), part == 0);
        }
        let mut out = Vec::new();
        gather.finish(proto, &ServerFace::default(), &mut out);
        String::from_utf8(out).unwrap()
    }

    fn check(merge: Merge, replies: &[&str], expected: &str) {
        check_in(Proto::Resp2, merge, replies, expected);
    }

    fn check_in(proto: Proto, merge: Merge, replies: &[&str], expected: &str) {
        let text = merged(&mut Gather::default(), merge, &[], proto, replies);
        assert_eq!(text, expected, "{merge:?} of {replies:?}");
    }

    #[test]
    fn whatever_the_parts_are_one_whole_frame_comes_of_them() {
        let odd = format!("-{}\r\n", errors::UNEXPECTED_REPLY);
        let map = "%1\r\n+a\r\n:1\r\n";
        let cases: &[(Merge, &[&str], &str)] = &[
            (Merge::Concat, &[map, map], "%2\r\n+a\r\n:1\r\n+a\r\n:1\r\n"),
            (Merge::Concat, &["*1\r\n:1\r\n", map], &odd),
            (Merge::Concat, &[map, "*1\r\n:1\r\n"], &odd),
            (Merge::Concat, &[map, "~1\r\n:1\r\n"], &odd),
            (
                Merge::ConcatDistinct,
                &["%1\r\n+a\r\n+a\r\n", "%0\r\n"],
                &odd,
            ),
            (Merge::SlowlogGet, &[map, map], &odd),
            (Merge::Concat, &["*-1\r\n", "*0\r\n"], &odd),
        ];
        for (merge, replies, expected) in cases {
            check_in(Proto::Resp3, *merge, replies, expected);
        }
    }

    #[test]
    fn simple_merges_are_those_of_the_response_policies() {
        let err = "-ERR a\r\n";
        check(Merge::AsIs, &["$1\r\nx\r\n"], "$1\r\nx\r\n");
        check(Merge::AllSucceeded, &["+OK\r\n", "+OK\r\n"], "+OK\r\n");
        check(Merge::AllSucceeded, &["+OK\r\n", err, "-ERR b\r\n"], err);
        check(Merge::Sum, &[":1\r\n", ":-4\r\n", ":10\r\n"], ":7\r\n");
        check(Merge::Sum, &[":1\r\n", err], err);
        check(
            Merge::Sum,
            &["+what\r\n", ":1\r\n"],
            "-ERR slotcar: a node's reply to a part of this request makes no sense\r\n",
        );
        let numsub = "*2\r\n$1\r\nc\r\n:2\r\n";
        check(Merge::Receivers, &[":3\r\n", numsub, err], ":5\r\n");
        check(Merge::Receivers, &[err, numsub], err);
        check(Merge::Min, &[":3\r\n", ":1\r\n", ":2\r\n"], ":1\r\n");
        check(
            Merge::MinEach,
            &["*2\r\n:1\r\n:5\r\n", "*2\r\n:2\r\n:3\r\n"],
            "*2\r\n:1\r\n:3\r\n",
        );
        check(
            Merge::AndEach,
            &["*2\r\n:1\r\n:1\r\n", "*2\r\n:1\r\n:0\r\n"],
            "*2\r\n:1\r\n:0\r\n",
        );
        check(
            Merge::OneSucceeded,
            &["-NOTBUSY no\r\n", "+OK\r\n", err],
            "+OK\r\n",
        );
        check(
            Merge::OneSucceeded,
            &["-NOTBUSY no\r\n", "-UNKILLABLE x\r\n"],
            "-UNKILLABLE x\r\n",
        );
        check(
            Merge::OneSucceeded,
            &["-NOTBUSY no\r\n", "-NOTBUSY no\r\n"],
            "-NOTBUSY no\r\n",
        );
        check(
            Merge::Concat,
            &[
                "*1\r\n$1\r\na\r\n",
                "*0\r\n",
                "*2\r\n$1\r\nb\r\n$1\r\nc\r\n",
            ],
            "*3\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\na\r\n",
        );
        check(Merge::Concat, &["*1\r\n$1\r\na\r\n", err], err);
        check(
            Merge::ConcatDistinct,
            &["*1\r\n$1\r\na\r\n", "*2\r\n$1\r\nb\r\n$1\r\na\r\n"],
            "*2\r\n$1\r\nb\r\n$1\r\na\r\n",
        );
        check(
            Merge::MapSum,
            &[
                "*4\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n:0\r\n",
                "*4\r\n$1\r\na\r\n:2\r\n$1\r\nb\r\n:5\r\n",
            ],
            "*4\r\n$1\r\na\r\n:3\r\n$1\r\nb\r\n:5\r\n",
        );
        check(Merge::MapSum, &["*0\r\n", "*0\r\n"], "*0\r\n");
        check(
            Merge::RandomNonNull,
            &["$-1\r\n", "$1\r\nk\r\n", "$-1\r\n"],
            "$1\r\nk\r\n",
        );
        check(Merge::RandomNonNull, &["$-1\r\n", "$-1\r\n"], "$-1\r\n");
    }

    #[test]
    fn aggregates_keep_the_type_that_the_nodes_gave_them() {
        let sets = ["~1\r\n+a\r\n", "~1\r\n+b\r\n"];
        check_in(Proto::Resp3, Merge::Concat, &sets, "~2\r\n+b\r\n+a\r\n");
        let maps = ["%1\r\n+a\r\n:1\r\n", "%1\r\n+b\r\n:2\r\n"];
        check_in(
            Proto::Resp3,
            Merge::Concat,
            &maps,
            "%2\r\n+b\r\n:2\r\n+a\r\n:1\r\n",
        );
    }

    #[test]
    fn values_come_back_in_the_order_of_their_keys() {
        let mut gather = Gather::default();
        let replies = [
            "*2\r\n$1\r\na\r\n$-1\r\n",
            "*1\r\n$1\r\nb\r\n",
            "*2\r\n$1\r\nc\r\n$1\r\nd\r\n",
        ];
        let expected = "*5\r\n$1\r\nb\r\n$1\r\na\r\n$1\r\nc\r\n$-1\r\n$1\r\nd\r\n";
        for _ in 0..2 {
            let text = merged(
                &mut gather,
                Merge::KeyOrder,
                &[1, 0, 2, 0, 2],
                Proto::Resp2,
                &replies,
            );
            assert_eq!(text, expected);
        }
        let short = merged(
            &mut gather,
            Merge::KeyOrder,
            &[0, 0],
            Proto::Resp2,
            &["*1\r\n$1\r\na\r\n"],
        );
        assert!(short.starts_with("-ERR slotcar:"), "{short}");
        let failed = merged(
            &mut gather,
            Merge::KeyOrder,
            &[0, 1],
            Proto::Resp2,
            &["*1\r\n$1\r\na\r\n", "-LOADING x\r\n"],
        );
        assert_eq!(failed, "-LOADING x\r\n");
    }

    #[test]
    fn a_reused_gather_allocates_nothing_for_values_in_key_order() {
        let mut gather = Gather::default();
        let replies = ["*2\r\n$1\r\na\r\n$-1\r\n", "*1\r\n$1\r\nb\r\n"];
        let mut capacities = Vec::new();
        for _ in 0..3 {
            merged(
                &mut gather,
                Merge::KeyOrder,
                &[1, 0, 0],
                Proto::Resp2,
                &replies,
            );
            capacities.push((
                gather.arena.capacity(),
                gather.items.capacity(),
                gather.parts.capacity(),
            ));
        }
        assert_eq!(capacities.first(), capacities.last());
        let large = format!("*1\r\n$100000\r\n{}\r\n", "x".repeat(100_000));
        merged(&mut gather, Merge::KeyOrder, &[0], Proto::Resp2, &[&large]);
        assert_eq!(gather.arena.capacity(), 0);
    }

    #[test]
    fn the_slow_log_is_newest_first_and_no_longer_than_asked_for() {
        let entry = |id: u32, at: u32| format!("*3\r\n:{id}\r\n:{at}\r\n:7\r\n");
        let a = format!("*2\r\n{}{}", entry(1, 30), entry(0, 10));
        let b = format!("*2\r\n{}{}", entry(9, 20), entry(8, 5));
        let mut gather = Gather::default();
        gather.start(Merge::SlowlogGet, 2, &[]);
        gather.limit_items(slowlog_items_max(Some(b"3")));
        gather.on_reply(0, a.as_bytes());
        gather.on_reply(1, b.as_bytes());
        let mut out = Vec::new();
        gather.finish(Proto::Resp2, &ServerFace::default(), &mut out);
        let expected = format!("*3\r\n{}{}{}", entry(1, 30), entry(9, 20), entry(0, 10));
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        assert_eq!(slowlog_items_max(None), 10);
        assert_eq!(slowlog_items_max(Some(b"-1")), usize::MAX);
    }

    #[test]
    fn a_running_script_is_seen_wherever_it_runs() {
        let idle = "*4\r\n$14\r\nrunning_script\r\n$-1\r\n$7\r\nengines\r\n*0\r\n";
        let busy =
            "*4\r\n$14\r\nrunning_script\r\n*2\r\n$4\r\nname\r\n$1\r\nf\r\n$7\r\nengines\r\n*0\r\n";
        check(Merge::FunctionStats, &[idle, busy, idle], busy);
        check(Merge::FunctionStats, &[idle, idle], idle);
    }

    #[test]
    fn texts_that_differ_stand_one_after_another() {
        let replies = ["=5\r\ntxt:a\r\n", "=5\r\ntxt:b\r\n", "=5\r\ntxt:a\r\n"];
        check_in(
            Proto::Resp3,
            Merge::MemoryDoctor,
            &replies,
            "=7\r\ntxt:a\nb\r\n",
        );
        check(
            Merge::LatencyGraph,
            &["-ERR No samples\r\n", "$1\r\ng\r\n"],
            "$1\r\ng\r\n",
        );
        check(
            Merge::LatencyDoctor,
            &["-NOPERM no\r\n", "$1\r\ng\r\n"],
            "-NOPERM no\r\n",
        );
    }

    #[test]
    fn memory_is_summed_and_its_ratios_computed_again() {
        let part = |total: u32, keys: u32, db: &str| {
            format!("%5\r\n+total.allocated\r\n:{total}\r\n+startup.allocated\r\n:10\r\n+keys.count\r\n:{keys}\r\n\
                +keys.bytes-per-key\r\n:9\r\n+peak.percentage\r\n,50\r\n").replacen("%5", if db.is_empty() { "%6" } else { "%7" }, 1)
                + "+peak.allocated\r\n:200\r\n" + db
        };
        let replies = [part(90, 1, "+db.0\r\n%1\r\n+m\r\n:4\r\n"), part(110, 4, "")];
        let expected = "%7\r\n$15\r\ntotal.allocated\r\n:200\r\n$17\r\nstartup.allocated\r\n:20\r\n$10\r\nkeys.count\r\n:5\r\n\
            $18\r\nkeys.bytes-per-key\r\n:36\r\n$15\r\npeak.percentage\r\n,50\r\n$14\r\npeak.allocated\r\n:400\r\n$4\r\ndb.0\r\n%1\r\n$1\r\nm\r\n:4\r\n";
        let replies: Vec<&str> = replies.iter().map(String::as_str).collect();
        check_in(Proto::Resp3, Merge::MemoryStats, &replies, expected);
    }

    #[test]
    fn latencies_are_merged_sample_by_sample() {
        let command = |calls: u32, buckets: &str| {
            format!(
                "*2\r\n$3\r\nget\r\n*4\r\n$5\r\ncalls\r\n:{calls}\r\n$14\r\nhistogram_usec\r\n{buckets}"
            )
        };
        let a = command(3, "*4\r\n:1\r\n:1\r\n:4\r\n:3\r\n");
        let b = command(5, "*4\r\n:2\r\n:4\r\n:8\r\n:5\r\n");
        let both = command(8, "*8\r\n:1\r\n:1\r\n:2\r\n:5\r\n:4\r\n:7\r\n:8\r\n:8\r\n");
        check(Merge::LatencyHistogram, &[&a, &b], &both);
        check(
            Merge::LatencyHistory,
            &[
                "*2\r\n*2\r\n:10\r\n:5\r\n*2\r\n:30\r\n:1\r\n",
                "*2\r\n*2\r\n:20\r\n:7\r\n*2\r\n:30\r\n:9\r\n",
            ],
            "*3\r\n*2\r\n:10\r\n:5\r\n*2\r\n:20\r\n:7\r\n*2\r\n:30\r\n:9\r\n",
        );
        check(
            Merge::LatencyLatest,
            &[
                "*1\r\n*4\r\n$1\r\ne\r\n:10\r\n:5\r\n:50\r\n",
                "*2\r\n*4\r\n$1\r\ne\r\n:20\r\n:6\r\n:7\r\n*4\r\n$1\r\nf\r\n:1\r\n:2\r\n:3\r\n",
            ],
            "*2\r\n*4\r\n$1\r\ne\r\n:20\r\n:6\r\n:50\r\n*4\r\n$1\r\nf\r\n:1\r\n:2\r\n:3\r\n",
        );
        check(
            Merge::LatencyHistory,
            &["*1\r\n:1\r\n"],
            "-ERR slotcar: a node's reply to a part of this request makes no sense\r\n",
        );
    }
}
