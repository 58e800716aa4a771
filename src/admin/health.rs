//! Whether a service can do what it is there for: every slot is served by a primary that answers. Pure.
//!
//! A failover that requests are held through is no reason to be unready: the app notices nothing, and if all instances became unready
//! at once nobody would be served. So trouble counts once it has lasted longer than requests are held.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::clock::Now;
use crate::topology::{Endpoint, SlotRange, Topology};

/// The state of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Health {
    /// What is wrong now, one line each; empty: nothing.
    pub(super) trouble: Vec<String>,
    since: Option<Now>,
    /// There has been a topology.
    pub(super) started: bool,
    /// There has been no trouble once: before that, none is waited out.
    was_well: bool,
}

impl Health {
    /// Takes in how things are; `why`: why there is no topology, if it is known.
    pub(super) fn update(
        &mut self,
        now: Now,
        topology: &Topology,
        suspects: &BTreeSet<Endpoint>,
        why: &str,
    ) {
        self.started |= !topology.is_empty();
        self.trouble = trouble(topology, suspects, why);
        self.was_well |= self.trouble.is_empty();
        self.since = match self.trouble.as_slice() {
            [] => None,
            [..] => self.since.or(Some(now)),
        };
    }

    /// Why it is not ready; empty: it is. `hold`: how long requests are held.
    pub(super) fn unready(&self, now: Now, hold: Duration) -> &[String] {
        let lasts = self.since.is_some_and(|since| now.since(since) >= hold);
        if lasts || !self.was_well {
            &self.trouble
        } else {
            &[]
        }
    }
}

fn trouble(topology: &Topology, suspects: &BTreeSet<Endpoint>, why: &str) -> Vec<String> {
    if topology.is_empty() {
        let why = if why.is_empty() {
            "nobody has answered yet"
        } else {
            why
        };
        return vec![format!("no topology: {why}")];
    }
    let silent = topology
        .primary_nodes()
        .filter(|node| suspects.contains(&node.endpoint));
    let mut trouble: Vec<String> = silent
        .map(|node| format!("primary {} does not answer", node.endpoint))
        .collect();
    let unserved = unserved(topology);
    if !unserved.is_empty() {
        let ranges: Vec<String> = unserved.iter().map(ToString::to_string).collect();
        trouble.push(format!("slots without a primary: {}", ranges.join(", ")));
    }
    trouble
}

/// Slots that nobody serves.
pub(super) fn unserved(topology: &Topology) -> Vec<SlotRange> {
    let mut served: Vec<SlotRange> = topology
        .shards()
        .iter()
        .filter(|shard| shard.primary.is_some())
        .flat_map(|shard| shard.ranges.iter().copied())
        .collect();
    served.sort_unstable();
    SlotRange::gaps(&served)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{Member, ShardSpec, Slot};

    fn topology(ranges: &[(u16, u16)]) -> Topology {
        let slot = |n| Slot::new(n).expect("a slot");
        let specs = (1..).zip(ranges).map(|(port, &(first, last))| ShardSpec {
            primary: Some(Member::at(Endpoint::new("n", port))),
            replicas: Vec::new(),
            ranges: vec![SlotRange::new(slot(first), slot(last)).expect("a range")],
        });
        Topology::new(specs.collect()).expect("disjoint")
    }

    #[test]
    fn trouble_counts_when_it_has_lasted_as_long_as_requests_are_held_and_is_over_at_once() {
        let hold = Duration::from_secs(15);
        let at = |secs| Now::at(Duration::from_secs(secs));
        let whole = topology(&[(0, 8191), (8192, 16383)]);
        let (nobody, second) = (BTreeSet::new(), BTreeSet::from([Endpoint::new("n", 2)]));
        let mut health = Health::default();
        health.update(at(0), &Topology::empty(), &nobody, "");
        assert_eq!(
            health.unready(at(0), hold),
            ["no topology: nobody has answered yet"]
        );
        health.update(at(1), &whole, &nobody, "");
        assert!(health.unready(at(1), hold).is_empty());
        health.update(at(2), &whole, &second, "");
        health.update(at(16), &whole, &second, "");
        assert!(health.unready(at(16), hold).is_empty());
        assert_eq!(
            health.unready(at(17), hold),
            ["primary n:2 does not answer"]
        );
        health.update(at(18), &whole, &nobody, "");
        assert!(health.unready(at(18), hold).is_empty());
    }

    #[test]
    fn slots_that_nobody_serves_are_named() {
        let mut health = Health::default();
        let holey = topology(&[(1, 99), (200, 300)]);
        health.update(Now::ZERO, &holey, &BTreeSet::new(), "");
        assert_eq!(
            health.trouble,
            ["slots without a primary: 0, 100-199, 301-16383"]
        );
    }
}
