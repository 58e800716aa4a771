//! A model of a cluster in virtual time, asked by a `Refresh`.

use std::collections::HashSet;

use super::*;
use crate::topology::{Member, ShardSpec, Slot, SlotRange};

/// Primary and replicas of each shard; slots are split evenly. Primary `?`: unknown. `host=id` or, with the host as
/// its id, `host`.
pub(in crate::control) type Layout<'a> = &'a [(&'a str, &'a [&'a str])];

pub(in crate::control) fn cluster(layout: Layout<'_>) -> Topology {
    let width = 16_384 / u16::try_from(layout.len()).unwrap();
    let spec = |(index, (primary, replicas)): (usize, &(&str, &[&str]))| {
        let first = width * u16::try_from(index).unwrap();
        let last = if index + 1 == layout.len() {
            16_383
        } else {
            first + width - 1
        };
        let range = SlotRange::new(Slot::new(first).unwrap(), Slot::new(last).unwrap()).unwrap();
        ShardSpec {
            primary: (*primary != "?").then(|| member(primary)),
            replicas: replicas.iter().map(|replica| member(replica)).collect(),
            ranges: vec![range],
        }
    };
    Topology::new(layout.iter().enumerate().map(spec).collect()).unwrap()
}

fn member(text: &str) -> Member {
    let (host, id) = text.split_once('=').unwrap_or((text, text));
    Member {
        id: id.into(),
        ..Member::at(at(host))
    }
}

fn at(host: &str) -> Endpoint {
    Endpoint::new(host, 1)
}

const BEFORE: Layout<'_> = &[("a", &["b"]), ("c", &["d"]), ("e", &["f"])];
const AFTER: Layout<'_> = &[("b", &[]), ("c", &["d"]), ("e", &["f"])];

/// Answers take a millisecond; the dead refuse as fast, the silent time out.
struct Model {
    now: Now,
    refresh: Refresh,
    /// Deaf nodes neither answer nor refuse.
    silent: HashSet<Endpoint>,
    dead: HashSet<Endpoint>,
    /// What nodes say, `views[0]` if nothing else is set, and since when.
    view: View,
    own_views: HashMap<Endpoint, View>,
    /// Answers on their way.
    coming: Vec<(Now, u64, Endpoint)>,
    asks: Vec<(Now, Endpoint)>,
    changes: Vec<(Now, Arc<Topology>)>,
}

impl Model {
    fn new(seeds: &[&str], seed: u64) -> Self {
        let seeds = seeds.iter().map(|host| at(host)).collect();
        Self {
            now: Now::ZERO,
            refresh: Refresh::new(Now::ZERO, seeds, Timings::default(), Random::new(seed)),
            silent: HashSet::new(),
            dead: HashSet::new(),
            view: view(BEFORE, 6),
            own_views: HashMap::new(),
            coming: Vec::new(),
            asks: Vec::new(),
            changes: Vec::new(),
        }
    }

    /// Past the start: the cluster is known and calm.
    fn settled(seed: u64) -> Self {
        let mut model = Self::new(&["a", "c", "e"], seed);
        model.run_for(Duration::from_secs(60), |_, _| {});
        assert_eq!(model.changes.len(), 1);
        model.asks.clear();
        model.changes.clear();
        model
    }

    /// One step is a millisecond; `act` may change the world before each.
    fn run_for(&mut self, time: Duration, mut act: impl FnMut(&mut Self, Duration)) {
        let start = self.now;
        while self.now.since(start) < time {
            act(self, self.now.since(start));
            self.step();
            self.now = self.now + Duration::from_millis(1);
        }
    }

    fn step(&mut self) {
        let now = self.now;
        if let Some((round, asked)) = self.refresh.take_round(now) {
            assert!(!asked.is_empty() && asked.len() <= ASKED_MAX);
            for node in asked {
                let delay = if self.silent.contains(&node) { 1000 } else { 1 };
                self.asks.push((now, node.clone()));
                self.coming
                    .push((now + Duration::from_millis(delay), round, node));
            }
        }
        let (due, coming) = self.coming.drain(..).partition(|(at, _, _)| *at <= now);
        self.coming = coming;
        for (_, round, node) in due {
            let answer = self.answer(&node);
            if let Some(Outcome::Changed(topology)) =
                self.refresh.on_answer(now, round, &node, answer)
            {
                self.changes.push((now, topology));
            }
        }
    }

    fn answer(&self, node: &Endpoint) -> Result<View, Unheard> {
        if self.silent.contains(node) || self.dead.contains(node) {
            return Err(Unheard::Silent);
        }
        Ok(View {
            node_id: Some(node.to_string().into()),
            ..self.own_views.get(node).unwrap_or(&self.view).clone()
        })
    }

    fn hint(&mut self, hint: &Hint) {
        self.refresh.on_hint(self.now, hint);
    }
}

fn view(layout: Layout<'_>, epoch: u64) -> View {
    View {
        topology: cluster(layout),
        epoch: Some(epoch),
        own_epoch: Some(1),
        state_ok: Some(true),
        node_id: None,
    }
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn it_starts_at_once_and_then_asks_every_half_minute() {
    for seed in 0..20 {
        let mut model = Model::new(&["a", "c", "e"], seed);
        model.run_for(Duration::from_secs(300), |_, _| {});
        assert_eq!(model.changes.len(), 1);
        assert!(model.changes[0].0 < Now::at(millis(10)));
        let rounds = model.asks.len() / ASKED_MAX;
        assert!((9..=13).contains(&rounds), "{rounds} rounds in 300 s");
    }
}

#[test]
fn one_seed_alive_among_dead_ones_is_enough() {
    for seed in 0..20 {
        for silent in [false, true] {
            let mut model = Model::new(&["x1", "x2", "x3", "x4", "a"], seed);
            for host in ["x1", "x2", "x3", "x4"] {
                if silent {
                    model.silent.insert(at(host))
                } else {
                    model.dead.insert(at(host))
                };
            }
            model.run_for(Duration::from_secs(4), |_, _| {});
            let started = model.changes.first().map(|(at, _)| at.since(Now::ZERO));
            assert!(
                started.is_some_and(|after| after < millis(3500)),
                "silent {silent}: {started:?}"
            );
        }
    }
}

#[test]
fn while_no_seed_answers_it_keeps_trying_every_second_or_so() {
    let mut model = Model::new(&["a"], 1);
    model.dead.insert(at("a"));
    model.run_for(Duration::from_secs(600), |_, _| {});
    let longest = model
        .asks
        .windows(2)
        .map(|pair| pair[1].0.since(pair[0].0))
        .max();
    assert!(
        longest.is_some_and(|gap| gap <= millis(1010)),
        "{longest:?}"
    );
    assert!(model.asks.len() < 2000, "{}", model.asks.len());
    model.dead.clear();
    model.run_for(millis(1010), |_, _| {});
    assert_eq!(model.changes.len(), 1);
}

#[test]
fn the_first_hint_is_served_at_once_and_a_storm_is_throttled() {
    for seed in 0..20 {
        let mut model = Model::settled(seed);
        let start = model.now;
        model.run_for(Duration::from_secs(10), |model, _| {
            model.hint(&Hint::LinkLost(at("a")))
        });
        assert!(model.asks[0].0.since(start) <= millis(1));
        let gaps = model
            .asks
            .chunks(ASKED_MAX)
            .map(|round| round[0].0)
            .collect::<Vec<_>>();
        assert!(
            gaps.windows(2)
                .all(|pair| pair[1].since(pair[0]) >= millis(100))
        );
        // The mean gap is 0.3 s once it has grown.
        assert!(
            (25..=45).contains(&gaps.len()),
            "{} rounds for 10,000 hints",
            gaps.len()
        );
    }
}

#[test]
fn a_storm_that_never_ends_is_asked_about_ever_less() {
    let mut model = Model::settled(1);
    model.run_for(Duration::from_secs(120), |model, _| {
        model.hint(&Hint::DialFailed(at("a")))
    });
    model.asks.clear();
    model.run_for(Duration::from_secs(100), |model, _| {
        model.hint(&Hint::DialFailed(at("a")))
    });
    let rounds = model.asks.len() / ASKED_MAX;
    // The mean gap is 1.05 s: a third of the rounds that fresh trouble gets.
    assert!((70..=120).contains(&rounds), "{rounds} rounds in 100 s");
}

#[test]
fn a_failover_is_learned_soon_after_the_nodes_agree() {
    let mut slowest = Duration::ZERO;
    for seed in 0..50 {
        for silent in [false, true] {
            let mut model = Model::settled(seed);
            let start = model.now;
            if silent {
                model.silent.insert(at("a"))
            } else {
                model.dead.insert(at("a"))
            };
            model.run_for(Duration::from_secs(8), |model, elapsed| {
                if elapsed.as_millis() % 500 == 0 {
                    model.hint(&Hint::DialFailed(at("a")));
                }
                if elapsed == millis(4000) {
                    model.view = view(AFTER, 7);
                }
            });
            assert_eq!(model.changes.len(), 1);
            assert!(model.changes[0].1.same_view(&cluster(AFTER)));
            slowest = slowest.max(model.changes[0].0.since(start + millis(4000)));
        }
    }
    assert!(slowest <= millis(600), "{slowest:?}");
}

#[test]
fn the_first_moved_of_a_failover_cuts_the_waiting_short() {
    for seed in 0..50 {
        let mut model = Model::settled(seed);
        model.dead.insert(at("a"));
        model.refresh.on_suspicion(true);
        model.run_for(millis(6500), |model, elapsed| {
            if elapsed.as_millis() % 500 == 0 {
                model.hint(&Hint::DialFailed(at("a")));
            }
        });
        model.view = view(AFTER, 7);
        let promoted = model.now;
        model.hint(&Hint::Moved {
            slot: Slot::new(0).unwrap(),
            to: at("b"),
        });
        model.run_for(millis(200), |_, _| {});
        assert_eq!(model.changes.len(), 1);
        assert!(model.changes[0].0.since(promoted) <= millis(103));
    }
}

/// The Sentinel that leads says it first, and the others do not know it yet.
#[test]
fn each_announcement_cuts_the_waiting_short() {
    for seed in 0..50 {
        let mut model = Model::settled(seed);
        model.dead.insert(at("a"));
        model.refresh.on_suspicion(true);
        model.hint(&Hint::Announced);
        model.run_for(millis(6500), |model, elapsed| {
            if elapsed.as_millis() % 500 == 0 {
                model.hint(&Hint::DialFailed(at("a")));
            }
        });
        model.view = view(AFTER, 7);
        let promoted = model.now;
        model.hint(&Hint::Announced);
        model.run_for(millis(200), |_, _| {});
        assert_eq!(model.changes.len(), 1);
        assert!(model.changes[0].0.since(promoted) <= millis(103));
    }
}

#[test]
fn without_hints_a_suspect_keeps_it_asking_until_the_failover() {
    let mut model = Model::settled(3);
    model.silent.insert(at("a"));
    model.refresh.on_suspicion(true);
    model.run_for(Duration::from_secs(20), |model, elapsed| {
        if elapsed == Duration::from_secs(15) {
            model.view = view(AFTER, 7);
        }
    });
    assert_eq!(model.changes.len(), 1);
    assert!(model.asks.len() / ASKED_MAX < 60);
    model.refresh.on_suspicion(false);
    model.asks.clear();
    model.run_for(Duration::from_secs(20), |_, _| {});
    assert!(model.asks.len() <= 2 * ASKED_MAX, "{}", model.asks.len());
}

#[test]
fn a_minority_cannot_change_the_view_back_or_elsewhere() {
    for seed in 0..5 {
        let mut model = Model::settled(seed);
        model.view = view(AFTER, 7);
        model.hint(&Hint::LinkLost(at("a")));
        model.run_for(Duration::from_secs(5), |_, _| {});
        assert_eq!(model.changes.len(), 1);
        // a and d live on the other side of a partition and still believe in what was; one of them works.
        model.own_views.insert(at("a"), view(BEFORE, 6));
        model.own_views.insert(
            at("d"),
            View {
                state_ok: Some(false),
                ..view(BEFORE, 6)
            },
        );
        model.run_for(Duration::from_secs(100), |model, _| {
            model.hint(&Hint::LinkLost(at("c")))
        });
        assert_eq!(model.changes.len(), 1, "{:?}", model.changes);
    }
}

#[test]
fn a_node_under_two_names_has_one_vote() {
    let mut model = Model::settled(1);
    model.hint(&Hint::LinkLost(at("a")));
    let (round, asked) = model.refresh.take_round(model.now).unwrap();
    let same_node = || {
        Ok(View {
            node_id: Some("one".into()),
            ..view(AFTER, 6)
        })
    };
    for name in &asked[..2] {
        assert!(
            model
                .refresh
                .on_answer(model.now, round, name, same_node())
                .is_none()
        );
    }
    let outcome = model
        .refresh
        .on_answer(model.now, round, &asked[2], Err(Unheard::Silent));
    assert!(
        matches!(outcome, Some(Outcome::Undecided(Undecided::NoMajority))),
        "{outcome:?}"
    );
}

#[test]
fn when_all_addresses_are_new_a_seed_is_believed() {
    const MOVED: Layout<'_> = &[("g=a", &["h=b"]), ("i=c", &["j=d"]), ("k=e", &["l=f"])];
    for seed in 0..20 {
        let mut model = Model::new(&["seed"], seed);
        model.run_for(Duration::from_secs(60), |_, _| {});
        model.changes.clear();
        model.dead.extend(["a", "b", "c", "d", "e", "f"].map(at));
        model.view = view(MOVED, 6);
        model.hint(&Hint::LinkLost(at("a")));
        model.run_for(Duration::from_secs(5), |_, _| {});
        assert!(
            model
                .changes
                .last()
                .is_some_and(|(_, topology)| topology.same_view(&cluster(MOVED)))
        );
    }
}

#[test]
fn a_cluster_that_was_made_anew_is_believed_after_a_while() {
    let mut model = Model::settled(1);
    model.view = view(AFTER, 1);
    model.hint(&Hint::LinkLost(at("a")));
    // The same nodes, of which nobody remembers our epoch: a backup, or a partition that ends.
    model.run_for(Duration::from_secs(25), |_, _| {});
    assert_eq!(model.changes.len(), 0);
    model.run_for(Duration::from_secs(15), |_, _| {});
    assert_eq!(model.changes.len(), 1);
}

#[test]
fn two_halves_of_a_cluster_are_heard_until_one_of_them_has_elected_and_then_only_that_one() {
    const OURS: Layout<'_> = &[("a", &["b"]), ("d", &["c"]), ("e", &["f"])];
    const THEIRS: Layout<'_> = &[("b", &["a"]), ("c", &["d"]), ("e", &["f"])];
    for seed in 0..20 {
        let mut model = Model::settled(seed);
        // In the epoch that both know nothing can have changed: what they say differs all the same.
        for (host, layout) in [
            ("a", OURS),
            ("b", OURS),
            ("e", OURS),
            ("c", THEIRS),
            ("d", THEIRS),
            ("f", THEIRS),
        ] {
            let view = View {
                state_ok: Some(false),
                ..view(layout, 6)
            };
            model.own_views.insert(at(host), view);
        }
        let run = |model: &mut Model| {
            model.run_for(Duration::from_secs(10), |model, _| {
                model.hint(&Hint::LinkLost(at("a")));
            });
        };
        run(&mut model);
        for host in ["c", "d", "f"] {
            model.own_views.insert(at(host), view(THEIRS, 9));
        }
        run(&mut model);
        let known = |model: &Model| model.refresh.known.clone().unwrap();
        let elected = known(&model);
        assert!(elected.same_primaries(&cluster(THEIRS)));
        run(&mut model);
        assert_eq!(known(&model).version(), elected.version());
    }
}

#[test]
fn addresses_that_another_cluster_has_taken_over_are_not_believed_while_any_old_node_answers() {
    const FOREIGN: Layout<'_> = &[("a=x", &["b=y"]), ("c=z", &[])];
    for seed in 0..20 {
        let mut model = Model::settled(seed);
        // Even with a later epoch, and most of our addresses.
        for host in ["a", "b", "c", "d"] {
            model.own_views.insert(at(host), view(FOREIGN, 99));
        }
        model.run_for(Duration::from_secs(60), |model, elapsed| {
            if elapsed.as_millis() % 1000 == 0 {
                model.hint(&Hint::LinkLost(at("a")));
            }
        });
        assert_eq!(model.changes.len(), 0);
        // Then the last two are gone, too.
        model.own_views.insert(at("e"), view(FOREIGN, 99));
        model.dead.insert(at("f"));
        let gone = model.now;
        model.hint(&Hint::LinkLost(at("e")));
        model.run_for(Duration::from_secs(8), |_, _| {});
        let (changed_at, topology) = model.changes.last().unwrap();
        assert!(changed_at.since(gone) >= STRANGERS_AFTER - millis(500));
        assert!(topology.same_view(&cluster(FOREIGN)));
        assert_eq!(topology.version(), 2);
    }
}

#[test]
fn a_rebuilt_cluster_is_believed_when_nobody_of_the_old_one_answers() {
    const REBUILT: Layout<'_> = &[("g", &["h"]), ("i", &["j"]), ("k", &["l"])];
    for seed in 0..20 {
        let mut model = Model::new(&["seed"], seed);
        model.run_for(Duration::from_secs(60), |_, _| {});
        model.changes.clear();
        model.dead.extend(["a", "b", "c", "d", "e", "f"].map(at));
        // Its epochs begin anew.
        model.view = view(REBUILT, 1);
        let gone = model.now;
        model.hint(&Hint::LinkLost(at("a")));
        model.run_for(Duration::from_secs(10), |_, _| {});
        let (changed_at, topology) = model.changes.last().unwrap();
        let after = changed_at.since(gone);
        assert!(
            after >= STRANGERS_AFTER && after <= STRANGERS_AFTER + millis(3000),
            "{after:?}"
        );
        assert!(topology.same_view(&cluster(REBUILT)));
    }
}

#[test]
fn the_word_of_who_was_elected_is_not_undone_by_those_who_have_not_heard() {
    for seed in 0..50 {
        let mut model = Model::settled(seed);
        model.silent.insert(at("a"));
        model.refresh.on_suspicion(true);
        // All have voted in epoch 7, only b knows the result.
        model.view = view(BEFORE, 7);
        model.run_for(millis(1000), |_, _| {});
        let elected = View {
            own_epoch: Some(7),
            ..view(AFTER, 7)
        };
        model.own_views.insert(at("b"), elected);
        let now = model.now;
        model.refresh.on_herald(now, at("b"));
        model.run_for(millis(10), |_, _| {});
        assert_eq!(model.changes.len(), 1);
        assert!(model.changes[0].1.same_view(&cluster(AFTER)));
        model.run_for(millis(1500), |_, _| {});
        model.view = view(AFTER, 7);
        model.run_for(millis(5000), |_, _| {});
        assert_eq!(model.changes.len(), 1, "back and forth");
    }
}

#[test]
fn what_this_machine_could_not_ask_counts_against_no_node() {
    let mut model = Model::settled(1);
    for _ in 0..3 {
        model.hint(&Hint::LinkLost(at("a")));
        model.now = model.now + Duration::from_secs(1);
        let (round, asked) = model.refresh.take_round(model.now).unwrap();
        let answer = |node| {
            model
                .refresh
                .on_answer(model.now, round, node, Err(Unheard::NotAsked))
        };
        let outcomes: Vec<Option<Outcome>> = asked.iter().map(answer).collect();
        assert!(
            matches!(outcomes[2], Some(Outcome::Undecided(Undecided::NoAnswer))),
            "{outcomes:?}"
        );
        assert!(model.refresh.failures.is_empty());
    }
}

#[test]
fn a_node_whose_answer_is_still_out_is_not_asked_again_while_there_are_others() {
    let mut model = Model::settled(1);
    model.silent.insert(at("a"));
    let mut asked = 0;
    model.run_for(millis(950), |model, _| {
        model.hint(&Hint::LinkLost(at("a")));
        asked = model
            .asks
            .iter()
            .filter(|(_, node)| *node == at("a"))
            .count();
    });
    assert!(asked <= 1, "asked {asked} times");
}

#[test]
fn a_moved_that_is_known_already_asks_nothing() {
    let mut model = Model::settled(1);
    let asked = model.asks.len();
    model.run_for(millis(100), |model, _| {
        model.hint(&Hint::Moved {
            slot: Slot::new(0).unwrap(),
            to: at("a"),
        })
    });
    assert_eq!(model.asks.len(), asked);
}

#[test]
fn uncovered_slots_are_asked_about_again_soon() {
    let mut model = Model::new(&["a", "c", "e"], 1);
    model.view = view(&[("a", &["b"]), ("?", &["d"]), ("e", &["f"])], 6);
    model.run_for(Duration::from_secs(10), |_, _| {});
    model.view = view(BEFORE, 6);
    model.run_for(millis(1100), |_, _| {});
    assert_eq!(model.changes.len(), 2);
}
