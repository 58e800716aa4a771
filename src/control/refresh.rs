//! When to learn the topology anew, whom to ask, and what the answers come to. Pure.
//!
//! One round at a time. The first hint starts one at once; while hints keep coming or trouble lasts, the gaps
//! grow, with jitter, so that thousands of processes do not ask a broken cluster to death.
//! Invariant: at most `ASKED_MAX` questions per round, and `refresh_gap_min` between two rounds.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::decide::{Ballot, Decision, Known, Undecided, View, decide};
use super::random::Random;
use super::{Hint, Timings};
use crate::clock::Now;
use crate::topology::{Endpoint, Topology};

pub(super) struct Refresh {
    timings: Timings,
    random: Random,
    seeds: Vec<Endpoint>,
    known: Option<Arc<Topology>>,
    /// The latest epoch that a node with the known view has heard of.
    epoch: u64,
    /// Since when answers only speak of earlier epochs.
    outdated_since: Option<Now>,
    /// Nodes that did not help when last asked, and how often in a row. Only known nodes and seeds.
    failures: HashMap<Endpoint, u32>,
    round: Option<Round>,
    rounds: u64,
    /// A round is due as soon as `not_before` allows.
    wanted: bool,
    not_before: Now,
    periodic_at: Now,
    ended_at: Now,
    hinted_at: Option<Now>,
    /// Rounds without a calm between them; the gaps grow with it.
    streak: u32,
    /// A MOVED has shortened a gap since the last calm.
    hastened: bool,
    /// A primary does not answer probes.
    suspicion: bool,
}

/// Questions that are out.
struct Round {
    number: u64,
    pending: Vec<Endpoint>,
    electorate: usize,
    votes: Vec<View>,
}

/// What a round came to.
#[derive(Debug)]
pub(super) enum Outcome {
    Changed(Arc<Topology>),
    Unchanged,
    Undecided(Undecided),
}

impl Refresh {
    /// The first round is due at once.
    pub(super) fn new(now: Now, seeds: Vec<Endpoint>, timings: Timings, random: Random) -> Self {
        Self {
            timings,
            random,
            seeds,
            known: None,
            epoch: 0,
            outdated_since: None,
            failures: HashMap::new(),
            round: None,
            rounds: 0,
            wanted: true,
            not_before: now,
            periodic_at: now,
            ended_at: now,
            hinted_at: None,
            streak: 0,
            hastened: false,
            suspicion: false,
        }
    }

    pub(super) fn on_hint(&mut self, now: Now, hint: &Hint) {
        if self.is_known_already(hint) {
            return;
        }
        if !self.hinted_lately(now) {
            self.streak = 0;
            self.hastened = false;
        }
        self.hinted_at = Some(now);
        self.wanted = true;
        // After a failover the first MOVED is the news that was waited for; the gaps have grown meanwhile.
        if matches!(hint, Hint::Moved { .. }) && !self.hastened {
            self.hastened = true;
            self.not_before = self
                .not_before
                .min(self.ended_at + self.timings.refresh_gap_min);
        }
    }

    /// `suspicion`: a primary does not answer probes. Until it does, or is primary no more, rounds go on.
    pub(super) fn on_suspicion(&mut self, suspicion: bool) {
        self.suspicion = suspicion;
        self.wanted |= suspicion;
    }

    /// The nodes to ask now, if a round is due, and the round's number. Each must be answered with [`Self::on_answer`].
    pub(super) fn take_round(&mut self, now: Now) -> Option<(u64, Vec<Endpoint>)> {
        if self.deadline().is_none_or(|due| now < due) {
            return None;
        }
        self.wanted = false;
        self.rounds += 1;
        let asked = self.choose();
        self.round = Some(Round {
            number: self.rounds,
            pending: asked.clone(),
            electorate: asked.len(),
            votes: Vec::new(),
        });
        Some((self.rounds, asked))
    }

    /// A node of the round with this number answered, or did not. Late answers are ignored.
    pub(super) fn on_answer(
        &mut self,
        now: Now,
        number: u64,
        from: &Endpoint,
        answer: Result<View, ()>,
    ) -> Option<Outcome> {
        let round = self.round.as_mut().filter(|round| round.number == number)?;
        let place = round.pending.iter().position(|pending| pending == from)?;
        round.pending.swap_remove(place);
        match answer {
            Ok(view) => {
                self.failures.remove(from);
                round.on_vote(view);
            }
            Err(()) => {
                let failures = self.failures.entry(from.clone()).or_insert(0);
                *failures = failures.saturating_add(1);
                // A node that stays silent has left; who answers must not wait for its vote for ever.
                if *failures > 1 {
                    round.electorate -= 1;
                }
            }
        }
        self.count_votes(now)
    }

    /// When [`Self::take_round`] has something to do; `None` while a round is going on.
    pub(super) fn deadline(&self) -> Option<Now> {
        let due = if self.wanted {
            self.not_before.min(self.periodic_at)
        } else {
            self.periodic_at
        };
        self.round.is_none().then_some(due)
    }

    /// Whether this is a known node or a seed.
    pub(super) fn concerns(&self, endpoint: &Endpoint) -> bool {
        self.seeds.contains(endpoint)
            || self
                .known
                .as_ref()
                .is_some_and(|topology| topology.index_of(endpoint).is_some())
    }

    fn count_votes(&mut self, now: Now) -> Option<Outcome> {
        let epoch_forgotten = self
            .outdated_since
            .is_some_and(|since| now.since(since) >= FORGOTTEN_AFTER);
        let round = self.round.as_ref()?;
        let decision = decide(Ballot {
            known: self.known.as_deref().map(|topology| Known {
                topology,
                epoch: self.epoch,
            }),
            electorate: round.electorate,
            pending: round.pending.len(),
            votes: &round.votes,
            epoch_forgotten,
        });
        match decision {
            Decision::Wait => None,
            Decision::Changed(vote) => Some(self.end_with_change(now, vote)),
            Decision::Unchanged => {
                let heard = round.votes.iter().filter_map(|view| view.epoch).max();
                self.epoch = self.epoch.max(heard.unwrap_or(0));
                self.outdated_since = None;
                self.end(now, false);
                Some(Outcome::Unchanged)
            }
            Decision::Undecided(why) => {
                match why {
                    Undecided::Outdated => self.outdated_since = self.outdated_since.or(Some(now)),
                    Undecided::NoMajority => self.outdated_since = None,
                    Undecided::NoAnswer => {}
                }
                self.end(now, true);
                Some(Outcome::Undecided(why))
            }
        }
    }

    fn end_with_change(&mut self, now: Now, vote: usize) -> Outcome {
        let votes = self
            .round
            .take()
            .map(|round| round.votes)
            .unwrap_or_default();
        let Some(view) = votes.get(vote) else {
            self.end(now, true);
            return Outcome::Undecided(Undecided::NoAnswer);
        };
        let agreeing = || {
            votes
                .iter()
                .filter(|other| other.topology.same_primaries(&view.topology))
        };
        self.epoch = agreeing().filter_map(|view| view.epoch).max().unwrap_or(0);
        self.outdated_since = None;
        let version = self.known.as_ref().map_or(0, |topology| topology.version()) + 1;
        let topology = Arc::new(view.topology.clone().with_version(version));
        self.known = Some(Arc::clone(&topology));
        let seeds = &self.seeds;
        self.failures.retain(|endpoint, _| {
            seeds.contains(endpoint) || topology.index_of(endpoint).is_some()
        });
        // What one node alone said is worth a second opinion.
        let confirmed = agreeing().count() > 1 || topology.nodes().len() == 1;
        self.end(now, !confirmed);
        Outcome::Changed(topology)
    }

    /// Plans what comes after a round. `again`: it is not to be the last for long.
    fn end(&mut self, now: Now, again: bool) {
        self.round = None;
        let uncovered = self
            .known
            .as_ref()
            .is_some_and(|topology| topology.uncovered() > 0);
        let trouble = again || uncovered || self.suspicion;
        self.wanted |= trouble;
        self.ended_at = now;
        self.not_before = now + self.gap();
        self.streak = if trouble || self.hinted_lately(now) {
            self.streak.saturating_add(1)
        } else {
            0
        };
        self.periodic_at = now
            + self
                .random
                .around(self.timings.refresh_period, PERIOD_JITTER_PERCENT);
    }

    fn gap(&mut self) -> Duration {
        let Timings {
            refresh_gap_min: least,
            refresh_gap_max: most,
            ..
        } = self.timings;
        let patience = match (self.streak < PATIENT_AFTER_ROUNDS, &self.known) {
            (true, _) => 1,
            (false, None) => PATIENCE_AT_START,
            (false, Some(_)) => PATIENCE,
        };
        let most = most * patience;
        let grown = least.saturating_mul(2_u32.saturating_pow(self.streak.saturating_add(1)));
        self.random.between(least, grown.min(most))
    }

    /// Known nodes that answered when last asked (or never were), then such seeds, then the rest.
    fn choose(&mut self) -> Vec<Endpoint> {
        let nodes = self
            .known
            .iter()
            .flat_map(|topology| topology.nodes())
            .map(|node| &node.endpoint);
        let mut ranked: Vec<(u8, &Endpoint)> = Vec::new();
        for (rank, endpoint) in nodes
            .map(|node| (0, node))
            .chain(self.seeds.iter().map(|seed| (1, seed)))
        {
            let rank = if self.failures.contains_key(endpoint) {
                2
            } else {
                rank
            };
            ranked.push((rank, endpoint));
        }
        self.random.shuffle(&mut ranked);
        ranked.sort_by_key(|(rank, _)| *rank);
        let mut chosen: Vec<Endpoint> = Vec::with_capacity(ASKED_MAX);
        for (_, endpoint) in ranked {
            if chosen.len() < ASKED_MAX && !chosen.contains(endpoint) {
                chosen.push(endpoint.clone());
            }
        }
        chosen
    }

    fn is_known_already(&self, hint: &Hint) -> bool {
        match hint {
            Hint::Moved { slot, to } => {
                let owner = self
                    .known
                    .as_ref()
                    .and_then(|topology| topology.owner_node(*slot));
                owner.is_some_and(|owner| owner.endpoint == *to)
            }
            Hint::LinkLost(_) | Hint::DialFailed(_) | Hint::Refused(_) | Hint::ProbeFailed(_) => {
                false
            }
        }
    }

    fn hinted_lately(&self, now: Now) -> bool {
        self.hinted_at.is_some_and(|at| now.since(at) <= CALM)
    }
}

impl Round {
    fn on_vote(&mut self, view: View) {
        let voted = |vote: &View| vote.node_id.is_some() && vote.node_id == view.node_id;
        if self.votes.iter().any(voted) {
            self.electorate -= 1;
        } else {
            self.votes.push(view);
        }
    }
}

/// Nodes asked in one round: the least number that has a majority when one of them is the one that died.
const ASKED_MAX: usize = 3;

/// Of the period between refreshes that nothing asked for.
const PERIOD_JITTER_PERCENT: u32 = 20;

/// So long without a hint, and the next one is served at once.
const CALM: Duration = Duration::from_secs(3);

/// Trouble that lasted so many rounds, about a quarter of a minute, is no failover: gaps are multiplied.
const PATIENT_AFTER_ROUNDS: u32 = 50;

const PATIENCE: u32 = 4;

/// Less while nothing is known at all: there is nothing to do but ask.
const PATIENCE_AT_START: u32 = 2;

/// Longer than a partition that a failover is made of: twice the default node timeout of 15 s.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30);

#[cfg(test)]
pub(super) mod tests;
