//! Which of several nodes' views is believed. Pure.
//!
//! A changed view needs a majority of the nodes asked, or one node that has seen a later epoch than we have, or that
//! made our epoch itself: a failover and every migrated slot begin with a new epoch, which others hear of while they
//! vote, before it has changed anything. An epoch that is over is not believed.
//! Only what is said of slots and primaries is voted on: nodes differ in the replicas they list.

use std::sync::Arc;

use crate::topology::Topology;

/// What one node said.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) topology: Topology,
    /// The latest epoch it has heard of; `None` if it does not say.
    pub(super) epoch: Option<u64>,
    /// The epoch of its shard's last change. `own_epoch <= epoch`
    pub(super) own_epoch: Option<u64>,
    /// Whether it thinks that the cluster works; `None` if it does not say.
    pub(super) state_ok: Option<bool>,
    /// Its own id: a node that is asked under two names has one vote.
    pub(super) node_id: Option<Arc<str>>,
}

impl View {
    fn covered(&self) -> usize {
        crate::topology::SLOT_COUNT - self.topology.uncovered()
    }
}

/// What is believed so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    pub(super) topology: &'a Topology,
    /// The latest epoch that a node with this view has heard of.
    pub(super) epoch: u64,
}

/// The state of a round of questions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ballot<'a> {
    pub(super) known: Option<Known<'a>>,
    /// Nodes asked whose silence counts as a vote for nothing. `electorate >= votes.len() + pending`
    pub(super) electorate: usize,
    /// Nodes that may still answer.
    pub(super) pending: usize,
    pub(super) votes: &'a [View],
    /// No node has been heard that knows our epoch, and that for long: the cluster was made anew.
    pub(super) epoch_forgotten: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Another answer may decide.
    Wait,
    /// This vote's view is the new one.
    Changed(usize),
    /// What is known is confirmed.
    Unchanged,
    Undecided(Undecided),
}

/// Why a round ended without a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Undecided {
    NoAnswer,
    NoMajority,
    /// A majority speaks of an epoch that is over.
    Outdated,
    /// Only nodes of a cluster that shares no node with the known one.
    Strangers,
}

pub(super) fn decide(ballot: Ballot<'_>) -> Decision {
    let parties = parties(ballot.votes);
    let strength = |party: &Vec<usize>| {
        let first = party.first().and_then(|vote| ballot.votes.get(*vote));
        (
            party.len(),
            first.map_or(0, View::covered),
            epoch_of(party, ballot.votes),
        )
    };
    let Some(lead) = parties.iter().max_by_key(|party| strength(party)) else {
        return ballot.end(Undecided::NoAnswer);
    };
    let majority = lead.len() * 2 > ballot.electorate;
    let chosen = choose(lead, ballot);
    let Some(known) = ballot.known else {
        let enough = majority || ballot.pending == 0;
        return if enough {
            Decision::Changed(chosen)
        } else {
            Decision::Wait
        };
    };
    if let Some(newer) = newer(known, ballot.votes) {
        return Decision::Changed(newer);
    }
    let Some(view) = ballot.votes.get(chosen) else {
        return ballot.end(Undecided::NoAnswer);
    };
    if majority && view.topology.same_view(known.topology) {
        return Decision::Unchanged;
    }
    let outdated = epoch_of(lead, ballot.votes).is_some_and(|epoch| epoch < known.epoch);
    if outdated && !(ballot.epoch_forgotten && view.state_ok != Some(false)) {
        return ballot.end(Undecided::Outdated);
    }
    let heals = ballot.pending == 0 && view.topology.uncovered() < known.topology.uncovered();
    if majority || heals {
        return Decision::Changed(chosen);
    }
    ballot.end(Undecided::NoMajority)
}

impl Ballot<'_> {
    fn end(&self, why: Undecided) -> Decision {
        if self.pending > 0 {
            Decision::Wait
        } else {
            Decision::Undecided(why)
        }
    }
}

/// The votes, as indices, grouped by what they say of slots and primaries.
fn parties(votes: &[View]) -> Vec<Vec<usize>> {
    let mut parties: Vec<Vec<usize>> = Vec::new();
    for (index, view) in votes.iter().enumerate() {
        let agrees = |party: &&mut Vec<usize>| {
            let first = party.first().and_then(|vote| votes.get(*vote));
            first.is_some_and(|first| first.topology.same_primaries(&view.topology))
        };
        match parties.iter_mut().find(agrees) {
            Some(party) => party.push(index),
            None => parties.push(vec![index]),
        }
    }
    parties
}

/// The latest epoch that anyone of this party has heard of.
fn epoch_of(party: &[usize], votes: &[View]) -> Option<u64> {
    party
        .iter()
        .filter_map(|vote| votes.get(*vote)?.epoch)
        .max()
}

/// Whose list of replicas and hosts stands for the party: the most common; then the one we have; then
/// the one with the most hosts that the cluster itself announced; then the first.
fn choose(party: &[usize], ballot: Ballot<'_>) -> usize {
    let rank = |vote: &&usize| {
        let topology = &ballot.votes.get(**vote)?.topology;
        let same = |other: &&usize| {
            ballot
                .votes
                .get(**other)
                .is_some_and(|view| view.topology.same_view(topology))
        };
        let as_known = ballot
            .known
            .is_some_and(|known| known.topology.same_view(topology));
        let announced = topology
            .nodes()
            .iter()
            .filter(|node| node.announced)
            .count();
        Some((party.iter().filter(same).count(), as_known, announced))
    };
    party.iter().rev().max_by_key(rank).copied().unwrap_or(0)
}

/// A view of a later epoch, or of who made the latest, that a working cluster could have.
fn newer(known: Known<'_>, votes: &[View]) -> Option<usize> {
    let is_news = |view: &View| {
        // Nodes differ in the replicas they list: that is for the majority.
        let made_it = view.own_epoch == view.epoch && !view.topology.same_primaries(known.topology);
        let is_news = |epoch| epoch > known.epoch || epoch == known.epoch && made_it;
        view.epoch.is_some_and(is_news)
    };
    let believable = |view: &View| {
        is_news(view)
            && view.state_ok != Some(false)
            && view.topology.uncovered() <= known.topology.uncovered()
            && !view.topology.same_view(known.topology)
    };
    let candidates = votes
        .iter()
        .enumerate()
        .filter(|(_, view)| believable(view));
    candidates
        .max_by_key(|(_, view)| (view.epoch, view.covered()))
        .map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::refresh::tests::{Layout, cluster};

    fn view(layout: Layout, epoch: u64, state_ok: bool) -> View {
        View {
            topology: cluster(layout),
            epoch: Some(epoch),
            own_epoch: Some(1),
            state_ok: Some(state_ok),
            node_id: None,
        }
    }

    struct Case<'a> {
        known: Option<(Layout<'a>, u64)>,
        /// Nodes asked; those that have not voted and are not pending have failed.
        asked: usize,
        pending: usize,
        votes: &'a [(Layout<'a>, u64, bool)],
        expected: Decision,
    }

    #[track_caller]
    fn check(case: &Case<'_>) {
        let known = case.known.map(|(layout, epoch)| (cluster(layout), epoch));
        let votes: Vec<View> = case
            .votes
            .iter()
            .map(|(layout, epoch, ok)| view(layout, *epoch, *ok))
            .collect();
        let ballot = Ballot {
            known: known.as_ref().map(|(topology, epoch)| Known {
                topology,
                epoch: *epoch,
            }),
            electorate: case.asked,
            pending: case.pending,
            votes: &votes,
            epoch_forgotten: false,
        };
        assert_eq!(decide(ballot), case.expected, "{:?}", case.votes);
    }

    const OLD: Layout<'_> = &[("a", &["b"]), ("c", &["d"])];
    const NEW: Layout<'_> = &[("b", &["a"]), ("c", &["d"])];
    const OTHER: Layout<'_> = &[("a", &["b"]), ("d", &["c"])];
    const HALF: Layout<'_> = &[("a", &["b"]), ("?", &["d"])];
    const FEWER_REPLICAS: Layout<'_> = &[("b", &[]), ("c", &["d"])];

    #[test]
    fn a_changed_view_needs_a_majority_of_the_nodes_asked() {
        let known = Some((OLD, 5));
        for (asked, pending, votes, expected) in [
            (3, 2, &[(NEW, 5, true)][..], Decision::Wait),
            (
                3,
                1,
                &[(NEW, 5, true), (NEW, 5, true)],
                Decision::Changed(0),
            ),
            (3, 1, &[(OLD, 5, true), (NEW, 5, true)], Decision::Wait),
            (3, 1, &[(OLD, 5, true), (OLD, 5, true)], Decision::Unchanged),
            (
                3,
                0,
                &[(OLD, 5, true), (NEW, 5, true), (NEW, 5, true)],
                Decision::Changed(1),
            ),
            (
                3,
                0,
                &[(NEW, 5, true)],
                Decision::Undecided(Undecided::NoMajority),
            ),
            (
                3,
                0,
                &[(OLD, 5, true)],
                Decision::Undecided(Undecided::NoMajority),
            ),
            (
                3,
                0,
                &[(OLD, 5, true), (NEW, 5, true), (OTHER, 5, true)],
                Decision::Undecided(Undecided::NoMajority),
            ),
            (
                2,
                0,
                &[(OLD, 5, true), (NEW, 5, true)],
                Decision::Undecided(Undecided::NoMajority),
            ),
            (1, 0, &[(NEW, 5, true)], Decision::Changed(0)),
            (3, 0, &[], Decision::Undecided(Undecided::NoAnswer)),
            (3, 3, &[], Decision::Wait),
        ] {
            check(&Case {
                known,
                asked,
                pending,
                votes,
                expected,
            });
        }
    }

    #[test]
    fn a_later_epoch_is_believed_of_one_node_if_its_cluster_works() {
        let known = Some((OLD, 5));
        for (votes, expected) in [
            (&[(NEW, 6, true)][..], Decision::Changed(0)),
            (&[(NEW, 6, false)], Decision::Wait),
            (&[(HALF, 6, true)], Decision::Wait),
            (&[(OLD, 6, true)], Decision::Wait),
            (&[(OTHER, 6, true), (NEW, 7, true)], Decision::Changed(1)),
        ] {
            check(&Case {
                known,
                asked: 3,
                pending: 1,
                votes,
                expected,
            });
        }
    }

    #[test]
    fn who_won_the_latest_election_is_believed_though_its_voters_know_the_epoch() {
        let old = cluster(OLD);
        for (epoch, own_epoch, expected) in [
            (7, Some(7), Decision::Changed(2)),
            (7, Some(3), Decision::Wait),
            (7, None, Decision::Wait),
            (6, Some(6), Decision::Wait),
        ] {
            let winner = View {
                own_epoch,
                ..view(NEW, epoch, true)
            };
            let voter = view(OLD, 7, true);
            let votes = [voter.clone(), voter, winner];
            let ballot = Ballot {
                known: Some(Known {
                    topology: &old,
                    epoch: 7,
                }),
                electorate: 6,
                pending: 1,
                votes: &votes,
                epoch_forgotten: false,
            };
            assert_eq!(decide(ballot), expected, "{epoch} {own_epoch:?}");
        }
    }

    #[test]
    fn a_minority_that_missed_the_failover_does_not_undo_it() {
        let known = Some((NEW, 6));
        for (pending, votes, expected) in [
            (1, &[(OLD, 5, true), (OLD, 5, true)][..], Decision::Wait),
            (
                0,
                &[(OLD, 5, true), (OLD, 5, false)],
                Decision::Undecided(Undecided::Outdated),
            ),
            (
                0,
                &[(OLD, 5, false), (OLD, 5, false), (NEW, 6, true)],
                Decision::Undecided(Undecided::Outdated),
            ),
        ] {
            check(&Case {
                known,
                asked: 3,
                pending,
                votes,
                expected,
            });
        }
    }

    #[test]
    fn at_the_start_whoever_answers_is_believed() {
        for (pending, votes, expected) in [
            (2, &[(OLD, 5, true)][..], Decision::Wait),
            (0, &[(OLD, 5, true)], Decision::Changed(0)),
            (0, &[(OLD, 5, false)], Decision::Changed(0)),
            (1, &[(OLD, 5, true), (OLD, 5, true)], Decision::Changed(0)),
            (0, &[(HALF, 9, true), (OLD, 5, true)], Decision::Changed(1)),
            (0, &[(OLD, 5, true), (HALF, 9, true)], Decision::Changed(0)),
            (0, &[(OLD, 5, true), (NEW, 6, true)], Decision::Changed(1)),
        ] {
            check(&Case {
                known: None,
                asked: 3,
                pending,
                votes,
                expected,
            });
        }
    }

    #[test]
    fn more_covered_slots_win_when_votes_tie() {
        for (known, votes, expected) in [
            (
                HALF,
                &[(HALF, 5, true), (OLD, 5, true)][..],
                Decision::Changed(1),
            ),
            (
                OLD,
                &[(HALF, 5, true), (OLD, 5, true)],
                Decision::Undecided(Undecided::NoMajority),
            ),
        ] {
            check(&Case {
                known: Some((known, 5)),
                asked: 2,
                pending: 0,
                votes,
                expected,
            });
        }
    }

    #[test]
    fn nodes_that_list_other_replicas_still_agree() {
        let votes = [(FEWER_REPLICAS, 5, true), (NEW, 5, true), (NEW, 5, true)];
        check(&Case {
            known: Some((OLD, 5)),
            asked: 3,
            pending: 0,
            votes: &votes,
            expected: Decision::Changed(1),
        });
        check(&Case {
            known: Some((NEW, 5)),
            asked: 3,
            pending: 0,
            votes: &votes,
            expected: Decision::Unchanged,
        });
        let votes = [(FEWER_REPLICAS, 5, true), (NEW, 5, true)];
        check(&Case {
            known: Some((NEW, 5)),
            asked: 3,
            pending: 0,
            votes: &votes,
            expected: Decision::Unchanged,
        });
    }

    #[test]
    fn an_earlier_epoch_is_believed_when_nobody_knows_ours_any_more() {
        let (known, vote) = (cluster(NEW), view(OLD, 1, true));
        let votes = [vote.clone(), vote];
        let known = Some(Known {
            topology: &known,
            epoch: 6,
        });
        let ballot = Ballot {
            known,
            electorate: 3,
            pending: 0,
            votes: &votes,
            epoch_forgotten: true,
        };
        assert_eq!(decide(ballot), Decision::Changed(0));
    }
}
