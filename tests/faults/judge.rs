//! Compares what clients saw with what is allowed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::client::{Gap, Kind, Meaning, Op};
use crate::load::Seen;
use crate::table::{Check, seconds};

/// Something that was done to one shard.
pub struct Fault {
    pub name: String,
    pub shard: usize,
    pub from: Instant,
    /// A write that was sent until then may have gone to the node that does not answer any more.
    pub until: Instant,
    /// How much longer than the cluster's own gap that of a client may be.
    pub slack: Duration,
    pub cost: Cost,
}

/// What a fault may cost.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// No error at all.
    Nothing,
    /// Writes that were in flight may end as unknown.
    InFlight,
    /// That, and what the node had acknowledged in its last moment and told to nobody.
    LastMoment,
}

impl Fault {
    /// A fault that begins now.
    pub fn now(name: impl Into<String>, shard: usize, slack: Duration) -> Fault {
        let from = Instant::now();
        Fault {
            name: name.into(),
            shard,
            from,
            until: from,
            slack,
            cost: Cost::LastMoment,
        }
    }

    /// Nothing is in flight to that node from `later` after this moment on.
    pub fn over_after(mut self, later: Duration) -> Fault {
        self.until = Instant::now() + later;
        self
    }

    pub fn costing(mut self, cost: Cost) -> Fault {
        self.cost = cost;
        self
    }
}

/// What rows with an election are judged by: clients wait as long as the cluster needs, and a little longer. The faults
/// are in the order in which they were made.
pub fn faults(seen: &Seen, faults: &[Fault]) -> Vec<Check> {
    judged(seen, faults, |election, fault| {
        let basis = format!(
            "(election {} + {})",
            seconds(election),
            seconds(fault.slack)
        );
        (election + fault.slack, basis)
    })
}

/// The same where nobody may wait longer than `limit`, whatever the cluster needs.
pub fn faults_within(seen: &Seen, faults: &[Fault], limit: Duration) -> Vec<Check> {
    judged(seen, faults, |election, _| {
        (limit, format!("(directly {})", seconds(election)))
    })
}

/// `limit` makes the allowed gap, and what it is made of, from the gap of those who ask the nodes.
fn judged(
    seen: &Seen,
    faults: &[Fault],
    limit: impl Fn(Duration, &Fault) -> (Duration, String),
) -> Vec<Check> {
    let mut checks = vec![wrong_replies(seen), read_errors(seen)];
    for (index, fault) in faults.iter().enumerate() {
        let next = faults.get(index + 1).map_or(seen.ended, |next| next.from);
        let mut told = |check: Check| {
            let what = format!("{}: {}", fault.name, check.what);
            checks.push(Check { what, ..check });
        };
        told(write_errors(seen, fault, next));
        let election = longest(seen.direct_gaps(), fault.from, next);
        let gap = longest(seen.client_gaps(), fault.from, next);
        let (allowed, basis) = limit(election, fault);
        let waits = seen.waits(fault.from, next);
        told(Check::time("longest gap", gap, allowed, &basis).with(waits));
    }
    checks.push(other_errors(seen, faults));
    checks.push(losses(seen, faults));
    checks
}

pub fn wrong_replies(seen: &Seen) -> Check {
    let own = seen.troubles(Op::is_wrong);
    let direct = seen.direct.iter().flat_map(|direct| direct.wrong.clone());
    Check::none("wrong replies", own.into_iter().chain(direct).collect())
}

pub fn read_errors(seen: &Seen) -> Check {
    let found = seen.troubles(|op| op.kind != Kind::Write && !op.is_good() && !op.is_wrong());
    Check::none("errors of reads", found)
}

fn write_errors(seen: &Seen, fault: &Fault, next: Instant) -> Check {
    let failed = |op: &Op| op.is_unknown() && (fault.from..next).contains(&op.done);
    let allowed = match fault.cost {
        Cost::Nothing => 0,
        Cost::InFlight | Cost::LastMoment => in_flight(seen, fault),
    };
    let found = seen.troubles(failed);
    let check = Check::at_most("writes of unknown outcome", found.len(), allowed);
    Check {
        allowed: format!("{} in flight", check.allowed),
        ..check.with(found)
    }
}

/// Clients who had a write under way to the shard at some time of the fault.
fn in_flight(seen: &Seen, fault: &Fault) -> usize {
    let under_way = |op: &Op| {
        op.kind == Kind::Write
            && op.shard == Some(fault.shard)
            && op.sent <= fault.until
            && op.done >= fault.from
    };
    let concerned = |ops: &[Op]| ops.iter().any(under_way);
    let clients = seen.clients.iter();
    clients.filter(|client| concerned(&client.log.ops)).count()
}

/// Errors of writes that do not say that the outcome is unknown, or that came before anything was done.
fn other_errors(seen: &Seen, faults: &[Fault]) -> Check {
    let first = faults.first().map_or(seen.ended, |fault| fault.from);
    let found = seen.troubles(|op| {
        let failed = op.kind == Kind::Write && !op.is_good() && !op.is_wrong();
        failed && (!op.is_unknown() || op.done < first)
    });
    Check::none("other errors of writes", found)
}

/// Acknowledged increments that are gone. A replica may lack what was acknowledged in the last moment before a fault;
/// how much, is luck, of which the direct client of the shard is one sample.
pub fn losses(seen: &Seen, faults: &[Fault]) -> Check {
    let lost = seen.lost();
    let direct = seen.lost_directly();
    let crashes = faults.iter();
    let crashes = crashes.filter(|fault| fault.cost == Cost::LastMoment);
    let last_moment = |op: &Op| {
        op.kind == Kind::Write
            && op.is_good()
            && crashes.clone().any(|fault| {
                op.shard == Some(fault.shard)
                    && op.done + REPLICATION_LAG >= fault.from
                    && op.done <= fault.from + KILLING
            })
    };
    let fresh = seen.ops().filter(|op| last_moment(op)).count();
    let check = Check::at_most(LOST, lost, direct + fresh);
    Check {
        allowed: format!("{} (directly {direct}, just acked {fresh})", check.allowed),
        ..check
    }
}

/// The longest of the gaps that ended in this time.
pub fn longest(gaps: impl Iterator<Item = Gap>, from: Instant, next: Instant) -> Duration {
    gaps.filter(|gap| (from..next).contains(&gap.to))
        .map(|gap| gap.to - gap.from)
        .max()
        .unwrap_or_default()
}

/// The 99th percentile of how long these took; none, no time.
pub fn p99(times: impl Iterator<Item = Duration>) -> Duration {
    let mut times: Vec<Duration> = times.collect();
    times.sort_unstable();
    times
        .get(times.len() * 99 / 100)
        .copied()
        .unwrap_or_default()
}

/// How often each error text was seen, with numbers and addresses left out.
pub fn texts(seen: &Seen) -> Vec<(String, Meaning, usize)> {
    let mut counts: BTreeMap<String, (Meaning, usize)> = BTreeMap::new();
    for op in seen.ops() {
        if let crate::client::End::Error(text) = &op.end {
            let shape = text
                .chars()
                .map(|c| if c.is_ascii_digit() { '#' } else { c });
            let mut shape: String = shape.collect();
            while shape.contains("##") {
                shape = shape.replace("##", "#");
            }
            let count = counts.entry(shape).or_insert((Meaning::of(text), 0));
            count.1 += 1;
        }
    }
    counts
        .into_iter()
        .map(|(text, (meaning, count))| (text, meaning, count))
        .collect()
}

impl Seen {
    pub fn ops(&self) -> impl Iterator<Item = &Op> {
        self.clients.iter().flat_map(|client| &client.log.ops)
    }

    /// Who met what, of the requests chosen.
    pub fn troubles(&self, chosen: impl Fn(&Op) -> bool) -> Vec<String> {
        let mut found = Vec::new();
        for client in &self.clients {
            for op in client.log.ops.iter().filter(|op| chosen(op)) {
                if let Some(trouble) = op.trouble() {
                    let at = (op.done - self.started).as_secs_f64();
                    found.push(format!("{at:.3} s {}: {trouble}", client.name));
                }
            }
        }
        found
    }

    pub fn client_gaps(&self) -> impl Iterator<Item = Gap> {
        let clients = self.clients.iter();
        clients.flat_map(|client| client.log.gaps.iter().copied())
    }

    /// Who waited for how long in this time, the longest first.
    fn waits(&self, from: Instant, next: Instant) -> Vec<String> {
        let mut waits = Vec::new();
        for client in &self.clients {
            let gap = longest(client.log.gaps.iter().copied(), from, next);
            waits.push((gap, client.name.clone()));
        }
        waits.sort();
        let waits = waits.into_iter().rev();
        waits
            .map(|(gap, name)| format!("{name}: {}", seconds(gap)))
            .collect()
    }

    pub fn direct_gaps(&self) -> impl Iterator<Item = Gap> {
        self.direct
            .iter()
            .flat_map(|direct| direct.gaps.iter().copied())
    }

    pub fn lost(&self) -> usize {
        total(self.counters.iter().map(|counter| counter.lost))
    }

    pub fn lost_directly(&self) -> usize {
        total(self.direct.iter().map(|direct| direct.counter.lost))
    }
}

fn total(lost: impl Iterator<Item = i64>) -> usize {
    usize::try_from(lost.sum::<i64>()).expect("losses are positive")
}

pub const LOST: &str = "acknowledged increments lost";
/// A primary sends to its replica what it has executed before it waits for more; this is plenty.
const REPLICATION_LAG: Duration = Duration::from_millis(10);
/// A kill takes effect within this time.
const KILLING: Duration = Duration::from_millis(5);
