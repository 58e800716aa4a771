//! When to learn the topology anew, whom to ask, and what the answers come to. Pure.
//!
//! One round at a time. The first hint starts one at once; while hints keep coming or trouble lasts, the gaps
//! grow, with jitter, so that thousands of processes do not ask a broken cluster to death.
//! Invariant: at most `ASKED_MAX` questions per round, and `refresh_gap_min` between two rounds, unless a replica that has
//! become primary (`scout`) brings news, which it does once.

use std::collections::{HashMap, HashSet};
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
    /// As `seeds`, but nobody has configured them: Sentinels name each other.
    learnt_seeds: Vec<Endpoint>,
    /// Nodes know the topology, too.
    asks_nodes: bool,
    known: Option<Arc<Topology>>,
    /// Of the newest topology; 0 before the first.
    version: u64,
    /// The latest epoch that a node with the known view has heard of.
    epoch: u64,
    /// Since when answers only speak of earlier epochs.
    outdated_since: Option<Now>,
    /// Since when only nodes of another cluster answer.
    strangers_since: Option<Now>,
    /// What one node's word has replaced, and when: others may not have heard of it.
    replaced: Option<(Arc<Topology>, Now)>,
    /// Nodes that did not help when last asked, and how often in a row. Only known nodes and seeds.
    failures: HashMap<Endpoint, u32>,
    /// Nodes that have been asked, in this round or an earlier one, and have not answered.
    open: Vec<Endpoint>,
    /// A replica that says that it is primary: the next to be asked.
    herald: Option<Endpoint>,
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
    /// Views of another cluster: addresses are given away again, and names too.
    strangers: Vec<View>,
}

/// Why a node has no vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unheard {
    /// It did not answer, or not to the question.
    Silent,
    /// It could not be asked, for a reason on this side.
    NotAsked,
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
            learnt_seeds: Vec::new(),
            asks_nodes: true,
            known: None,
            version: 0,
            epoch: 0,
            outdated_since: None,
            strangers_since: None,
            replaced: None,
            failures: HashMap::new(),
            open: Vec::new(),
            herald: None,
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

    /// The topology is asked of the seeds alone.
    pub(super) fn ask_seeds_only(&mut self) {
        self.asks_nodes = false;
    }

    /// The seeds have changed.
    pub(super) fn set_seeds(&mut self, seeds: Vec<Endpoint>) {
        self.seeds = seeds;
    }

    /// These may be asked as well as the seeds.
    pub(super) fn learn_seeds(&mut self, learnt: Vec<Endpoint>) {
        self.learnt_seeds = learnt;
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
        // After a failover the first MOVED is the news that was waited for; the gaps have grown meanwhile. Of announcements, which are few, each
        // may be: the Sentinel that leads knows it before the others do.
        let is_news = match hint {
            Hint::Moved { .. } => !std::mem::replace(&mut self.hastened, true),
            Hint::Announced => true,
            Hint::LinkLost(_) | Hint::DialFailed(_) | Hint::Refused(_) | Hint::ProbeFailed(_) => {
                false
            }
        };
        if is_news {
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

    /// A replica of a silent primary says that it is a primary now. What others have said until now is out of date.
    pub(super) fn on_herald(&mut self, now: Now, herald: Endpoint) {
        self.round = None;
        self.herald = Some(herald);
        self.hinted_at = Some(now);
        self.streak = 0;
        self.wanted = true;
        self.not_before = now;
    }

    /// The nodes to ask now, if a round is due, and the round's number. Each must be answered with [`Self::on_answer`].
    pub(super) fn take_round(&mut self, now: Now) -> Option<(u64, Vec<Endpoint>)> {
        if self.deadline().is_none_or(|due| now < due) {
            return None;
        }
        self.wanted = false;
        self.rounds += 1;
        let asked = self.choose();
        self.open.extend(asked.iter().cloned());
        self.round = Some(Round {
            number: self.rounds,
            pending: asked.clone(),
            electorate: asked.len(),
            votes: Vec::new(),
            strangers: Vec::new(),
        });
        Some((self.rounds, asked))
    }

    /// A node of the round with this number answered, or did not. Of answers that come too late only that counts.
    pub(super) fn on_answer(
        &mut self,
        now: Now,
        number: u64,
        from: &Endpoint,
        answer: Result<View, Unheard>,
    ) -> Option<Outcome> {
        if let Some(place) = self.open.iter().position(|open| open == from) {
            self.open.swap_remove(place);
        }
        let is_stranger = answer.as_ref().is_ok_and(|view| self.is_stranger(view));
        let unheard = match &answer {
            // Who lives at this address now can be of no help.
            Ok(_) if is_stranger => Some(Unheard::Silent),
            Ok(_) => None,
            Err(unheard) => Some(*unheard),
        };
        let failures = self.note_answer(from, unheard);
        let round = self.round.as_mut().filter(|round| round.number == number)?;
        let place = round.pending.iter().position(|pending| pending == from)?;
        round.pending.swap_remove(place);
        match answer {
            Ok(view) if is_stranger => {
                round.electorate -= 1;
                round.strangers.push(view);
            }
            Ok(view) => {
                self.strangers_since = None;
                round.on_vote(view);
            }
            // A node that stays silent has left; who answers must not wait for its vote for ever.
            Err(Unheard::Silent) if failures > 1 => round.electorate -= 1,
            Err(Unheard::Silent | Unheard::NotAsked) => {}
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
        self.seeds().any(|seed| seed == endpoint) || self.knows(endpoint)
    }

    /// Whether this is a known node.
    pub(super) fn knows(&self, endpoint: &Endpoint) -> bool {
        self.known
            .as_ref()
            .is_some_and(|topology| topology.index_of(endpoint).is_some())
    }

    /// The latest epoch that a node with the known view has heard of; 0: none.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether more rounds will follow soon.
    pub(super) fn is_troubled(&self, now: Now) -> bool {
        self.wanted || self.suspicion || self.hinted_lately(now)
    }

    /// Whether a view shares no node with the known one.
    fn is_stranger(&self, view: &View) -> bool {
        let known = self.known.as_deref();
        known.is_some_and(|known| !have_common_node(known, &view.topology))
    }

    /// Returns how often in a row this node has not helped.
    fn note_answer(&mut self, from: &Endpoint, unheard: Option<Unheard>) -> u32 {
        match unheard {
            None => {
                self.failures.remove(from);
                0
            }
            Some(Unheard::NotAsked) => 0,
            Some(Unheard::Silent) => {
                let failures = self.failures.entry(from.clone()).or_insert(0);
                *failures = failures.saturating_add(1);
                *failures
            }
        }
    }

    fn count_votes(&mut self, now: Now) -> Option<Outcome> {
        let epoch_forgotten = self
            .outdated_since
            .is_some_and(|since| now.since(since) >= FORGOTTEN_AFTER);
        self.let_strangers_vote(now);
        let round = self.round.as_ref()?;
        let strangers = !round.strangers.is_empty();
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
            Decision::Changed(vote) if self.is_relapse(now, vote) => {
                Some(self.end_undecided(now, Undecided::NoMajority))
            }
            Decision::Changed(vote) => Some(self.end_with_change(now, vote)),
            Decision::Unchanged => {
                let heard = round.votes.iter().filter_map(|view| view.epoch).max();
                self.epoch = self.epoch.max(heard.unwrap_or(0));
                self.outdated_since = None;
                self.end(now, false);
                Some(Outcome::Unchanged)
            }
            Decision::Undecided(Undecided::NoAnswer) if strangers => {
                Some(self.end_undecided(now, Undecided::Strangers))
            }
            Decision::Undecided(why) => Some(self.end_undecided(now, why)),
        }
    }

    /// When nobody of the known cluster has answered for long while others do, the cluster was made anew.
    fn let_strangers_vote(&mut self, now: Now) {
        let believed = self
            .strangers_since
            .is_some_and(|since| now.since(since) >= STRANGERS_AFTER);
        let Some(round) = &mut self.round else { return };
        if believed && round.pending.is_empty() && round.votes.is_empty() {
            let views = std::mem::take(&mut round.strangers);
            round.electorate += views.len();
            views.into_iter().for_each(|view| round.on_vote(view));
            self.known = None;
        }
    }

    /// Whether a vote's view is the one that a single node's word has just replaced: the others will hear of it.
    fn is_relapse(&self, now: Now, vote: usize) -> bool {
        let view = self.round.as_ref().and_then(|round| round.votes.get(vote));
        let (Some((replaced, at)), Some(view)) = (&self.replaced, view) else {
            return false;
        };
        now.since(*at) < SETTLED_AFTER
            && view.epoch.is_some_and(|epoch| epoch <= self.epoch)
            && view.topology.same_primaries(replaced)
    }

    fn end_undecided(&mut self, now: Now, why: Undecided) -> Outcome {
        match why {
            Undecided::Outdated => self.outdated_since = self.outdated_since.or(Some(now)),
            Undecided::NoMajority => self.outdated_since = None,
            Undecided::Strangers => self.strangers_since = self.strangers_since.or(Some(now)),
            Undecided::NoAnswer => {}
        }
        self.end(now, true);
        Outcome::Undecided(why)
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
        self.strangers_since = None;
        self.version += 1;
        let topology = Arc::new(view.topology.clone().with_version(self.version));
        let before = self.known.replace(Arc::clone(&topology));
        let (seeds, learnt) = (&self.seeds, &self.learnt_seeds);
        self.failures.retain(|endpoint, _| {
            let is_seed = seeds.contains(endpoint) || learnt.contains(endpoint);
            is_seed || topology.index_of(endpoint).is_some()
        });
        // What one node alone said is worth a second opinion.
        let confirmed = agreeing().count() > 1 || topology.nodes().len() == 1;
        self.replaced = before.filter(|_| !confirmed).map(|before| (before, now));
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

    /// Who brought news; known nodes that answered when last asked (or never were), then such seeds, then the rest.
    fn choose(&mut self) -> Vec<Endpoint> {
        let herald = self.herald.take();
        let known = self.known.iter().filter(|_| self.asks_nodes);
        let nodes = known.flat_map(|topology| topology.nodes());
        let nodes = nodes.map(|node| (1, &node.endpoint));
        let seeds = self.seeds.iter().chain(&self.learnt_seeds);
        let seeds = seeds.map(|seed| (2, seed));
        let rank = |(rank, endpoint)| {
            let no_help = self.failures.contains_key(endpoint) || self.open.contains(endpoint);
            (if no_help { 3 } else { rank }, endpoint)
        };
        let mut ranked: Vec<(u8, &Endpoint)> = nodes.chain(seeds).map(rank).collect();
        ranked.extend(herald.iter().map(|herald| (0, herald)));
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

    fn seeds(&self) -> impl Iterator<Item = &Endpoint> {
        self.seeds.iter().chain(&self.learnt_seeds)
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
            Hint::LinkLost(_)
            | Hint::DialFailed(_)
            | Hint::Refused(_)
            | Hint::ProbeFailed(_)
            | Hint::Announced => false,
        }
    }

    fn hinted_lately(&self, now: Now) -> bool {
        self.hinted_at.is_some_and(|at| now.since(at) <= CALM)
    }
}

/// Whether a node of one cluster, by its id, is part of the other.
fn have_common_node(one: &Topology, other: &Topology) -> bool {
    let ids: HashSet<&str> = one.nodes().iter().map(|node| &*node.id).collect();
    other.nodes().iter().any(|node| ids.contains(&*node.id))
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

/// So long must nobody of the known cluster have answered while others did: longer than all nodes take to restart together.
const STRANGERS_AFTER: Duration = Duration::from_secs(5);

/// By then every node has heard of a failover: it is told at once, and again with every ping, one per second.
const SETTLED_AFTER: Duration = Duration::from_secs(2);

#[cfg(test)]
pub(super) mod tests;
