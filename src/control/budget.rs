//! How many connections may be opened: so many per second, and a burst of a few more. Pure.
//!
//! A bucket of tokens, kept as the moment when it will be full again. Every connection that the control thread opens, to
//! whatever node and for whatever purpose, takes a token; links have their own backoff.

use std::time::Duration;

use crate::clock::Now;

#[derive(Clone, Debug)]
pub(super) struct Budget {
    /// Between two connections once the burst is used up.
    interval: Duration,
    /// When all tokens are back.
    full_at: Now,
}

impl Budget {
    /// For a cluster of `nodes` nodes.
    pub(super) fn new(nodes: usize) -> Self {
        let mut budget = Self {
            interval: Duration::ZERO,
            full_at: Now::ZERO,
        };
        budget.set_nodes(nodes);
        budget
    }

    /// The cluster has so many nodes now.
    pub(super) fn set_nodes(&mut self, nodes: usize) {
        let per_second = u32::try_from(nodes).unwrap_or(u32::MAX).max(DIALS_MIN);
        self.interval = Duration::from_secs(1) / per_second;
    }

    /// Takes a token; returns how long to wait before it may be used.
    pub(super) fn take(&mut self, now: Now) -> Duration {
        let full_at = self.full_at.max(now);
        self.full_at = full_at + self.interval;
        full_at
            .since(now)
            .saturating_sub(self.interval * (BURST_DIALS - 1))
    }
}

/// Connections per second: as many as the cluster has nodes, so that each sees about one per second and process, and
/// no less than a round of questions and a probe take.
const DIALS_MIN: u32 = 5;

/// Connections at once after a calm: a round of questions, probes and scouts of a small cluster.
const BURST_DIALS: u32 = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_burst_it_is_so_many_per_second_and_a_calm_brings_the_burst_back() {
        for (nodes, per_second) in [(0, 5), (6, 6), (100, 100)] {
            let mut budget = Budget::new(nodes);
            let start = Now::at(Duration::from_secs(100));
            let waits: Vec<Duration> = (0..BURST_DIALS + per_second * 3)
                .map(|_| budget.take(start))
                .collect();
            let at_once = waits.iter().filter(|wait| wait.is_zero()).count();
            assert_eq!(at_once, BURST_DIALS as usize, "{nodes} nodes");
            let last = waits.last().unwrap().as_secs_f64();
            assert!((last - 3.0).abs() < 0.01, "{nodes} nodes: {last}");
            let calm = start + Duration::from_secs(60);
            assert_eq!(budget.take(calm), Duration::ZERO);
        }
    }
}
