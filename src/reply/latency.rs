//! Merges of the `LATENCY` replies that are numbers: histogram, history, latest.
//!
//! Rare requests: these merges allocate. All functions return false, with nothing written, for a reply of another shape.

use std::collections::BTreeMap;

use crate::resp::Proto;
use crate::resp::reply::{Kind, Reply};
use crate::resp::write;

use super::named::Named;
use super::stats::pairs;

/// `LATENCY HISTOGRAM`: calls are summed, and so are the cumulative counts of each bucket.
/// A server leaves out a bucket in which nothing fell; its count is then that of the bucket before.
pub(super) fn histogram<'a>(
    replies: impl Iterator<Item = Reply<'a>>,
    proto: Proto,
    out: &mut Vec<u8>,
) -> bool {
    let mut commands: Named<&[u8], Calls> = Named::default();
    for reply in replies {
        if !matches!(reply.kind(), Kind::Map | Kind::Array) {
            return false;
        }
        for (name, facts) in pairs(reply) {
            commands.join(name, Calls::read(facts), Calls::join);
        }
    }
    let commands = commands.into_entries();
    write::map(out, proto, commands.len());
    for (name, calls) in commands {
        write::bulk(out, name);
        calls.write(proto, out);
    }
    true
}

/// `LATENCY HISTORY`: pairs of second and worst milliseconds, oldest first; of one second the worst.
pub(super) fn history<'a>(replies: impl Iterator<Item = Reply<'a>>, out: &mut Vec<u8>) -> bool {
    let mut samples: BTreeMap<i64, i64> = BTreeMap::new();
    for sample in replies.flat_map(|reply| reply.items()) {
        let [Some(second), Some(millis)] = integers(sample) else {
            return false;
        };
        let worst = samples.entry(second).or_insert(millis);
        *worst = millis.max(*worst);
    }
    let kept = samples.len().min(HISTORY_MAX);
    write::array(out, kept);
    for (second, millis) in samples
        .into_iter()
        .rev()
        .take(kept)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
    {
        write::array(out, 2);
        write::integer(out, second);
        write::integer(out, millis);
    }
    true
}

/// `LATENCY LATEST`: for each event name, second, milliseconds, worst milliseconds; newer servers add sum and count.
pub(super) fn latest<'a>(replies: impl Iterator<Item = Reply<'a>>, out: &mut Vec<u8>) -> bool {
    let mut events: Named<&[u8], Vec<i64>> = Named::default();
    for event in replies.flat_map(|reply| reply.items()) {
        let mut items = event.items();
        let Some(name) = items.next().and_then(|name| name.text()) else {
            return false;
        };
        let numbers: Vec<i64> = items.filter_map(|item| item.integer()).collect();
        events.join(name, numbers, |known, numbers| join_event(known, &numbers));
    }
    let events = events.into_entries();
    write::array(out, events.len());
    for (name, numbers) in events {
        write::array(out, 1 + numbers.len());
        write::bulk(out, name);
        numbers.into_iter().for_each(|n| write::integer(out, n));
    }
    true
}

/// The calls of one command.
struct Calls {
    calls: i64,
    /// Upper bound in microseconds, calls up to there.
    buckets: BTreeMap<i64, i64>,
}

impl Calls {
    fn read(facts: Reply<'_>) -> Self {
        let mut read = Self {
            calls: 0,
            buckets: BTreeMap::new(),
        };
        for (name, value) in pairs(facts) {
            match name {
                b"calls" => read.calls = value.integer().unwrap_or(0),
                b"histogram_usec" => read.buckets = buckets(value),
                _ => {}
            }
        }
        read
    }

    fn join(&mut self, other: Self) {
        self.calls = self.calls.saturating_add(other.calls);
        let bounds: Vec<i64> = self
            .buckets
            .keys()
            .chain(other.buckets.keys())
            .copied()
            .collect();
        let upto = |buckets: &BTreeMap<i64, i64>, bound| {
            buckets.range(..=bound).next_back().map_or(0, |(_, &n)| n)
        };
        self.buckets = bounds
            .into_iter()
            .map(|bound| {
                (
                    bound,
                    upto(&self.buckets, bound).saturating_add(upto(&other.buckets, bound)),
                )
            })
            .collect();
    }

    fn write(&self, proto: Proto, out: &mut Vec<u8>) {
        write::map(out, proto, 2);
        write::bulk(out, b"calls");
        write::integer(out, self.calls);
        write::bulk(out, b"histogram_usec");
        write::map(out, proto, self.buckets.len());
        for (&bound, &count) in &self.buckets {
            write::integer(out, bound);
            write::integer(out, count);
        }
    }
}

fn buckets(map: Reply<'_>) -> BTreeMap<i64, i64> {
    let mut items = map.items().filter_map(|item| item.integer());
    std::iter::from_fn(|| Some((items.next()?, items.next()?))).collect()
}

/// The newer sample stands, with the worst of both; whatever follows is summed.
fn join_event(known: &mut [i64], new: &[i64]) {
    let newer = new.first() > known.first();
    for (place, (known, &new)) in known.iter_mut().zip(new).enumerate() {
        match place {
            0 | 1 if newer => *known = new,
            0 | 1 => {}
            2 => *known = new.max(*known),
            _ => *known = known.saturating_add(new),
        }
    }
}

fn integers<const N: usize>(reply: Reply<'_>) -> [Option<i64>; N] {
    let mut items = reply.items();
    std::array::from_fn(|_| items.next().and_then(|item| item.integer()))
}

/// What a server keeps of an event. Source: `LATENCY_TS_LEN`.
const HISTORY_MAX: usize = 160;
