//! The model: a cluster, a thousand sidecars, and what the nodes see of them. A priority queue of events, no clock.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Now;
use crate::config::limits::Limits;
use crate::control::budget::Budget;
use crate::control::decide::View;
use crate::control::probe::{self, Health, Pulse};
use crate::control::random::Random;
use crate::control::refresh::tests::{Layout, cluster};
use crate::control::refresh::{Outcome, Refresh, Unheard};
use crate::control::scout::{Question, Said, Scouts};
use crate::control::{Hint, Timings};
use crate::topology::{Endpoint, Topology};
use crate::upstream::backoff::{Backoff, BackoffLimits};

pub(super) const SIDECARS: usize = 1000;
pub(super) const BEFORE: Layout<'_> = &[("a", &["b"]), ("c", &["d"]), ("e", &["f"])];
pub(super) const AFTER: Layout<'_> = &[("b", &[]), ("c", &["d"]), ("e", &["f"])];
pub(super) const NODES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const PROBE_INTERVAL: Duration = Duration::from_millis(500);
pub(super) const MILLISECOND: Duration = Duration::from_millis(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Up,
    /// Refuses connections.
    Dead,
    /// Takes connections and answers nothing.
    Silent,
}

/// What a node sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Seen {
    Connection,
    /// A connection that the system of a dead process refuses.
    Refused,
    Topology,
    Scout,
    Ping,
}

/// What a connection is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Purpose {
    View { round: u64, keep: bool },
    Scout { by_epoch: bool },
    Ping,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// Something of `refresh` or `scout` is due.
    Tick,
    Dial(usize, Purpose),
    /// The answer to a question, or its absence.
    Ends(usize, Purpose, bool),
    /// The probe of a node, unless another has been planned since this number.
    Probe(usize, u32),
    LinkLost(usize),
    LinkDial(usize),
}

pub(super) struct Sidecar {
    refresh: Refresh,
    scouts: Scouts,
    budget: Budget,
    random: Random,
    known: Option<Arc<Topology>>,
    pub(super) suspects: BTreeSet<Endpoint>,
    kept: Vec<usize>,
    probes: HashMap<usize, Health>,
    probes_planned: u32,
    next_probes: HashMap<usize, u32>,
    probe_wires: BTreeSet<usize>,
    pub(super) links: BTreeSet<usize>,
    backoffs: HashMap<usize, Backoff>,
    /// The earliest tick that is scheduled.
    tick_at: Option<Now>,
    pub(super) changed_at: Vec<Now>,
}

pub(super) struct World {
    pub(super) now: Now,
    states: [State; NODES.len()],
    pub(super) view: View,
    /// The replica that has become primary.
    pub(super) promoted: Option<usize>,
    pub(super) sidecars: Vec<Sidecar>,
    events: BinaryHeap<Reverse<(Now, usize, Event)>>,
    /// By tenth of a second.
    seen: BTreeMap<(Seen, usize), BTreeMap<u64, u64>>,
}

fn endpoint(node: usize) -> Endpoint {
    Endpoint::new(NODES[node], 1)
}

fn node_of(endpoint: &Endpoint) -> usize {
    let place = NODES.iter().position(|host| *host == &*endpoint.host);
    place.unwrap()
}

pub(super) fn view(layout: Layout<'_>, epoch: u64) -> View {
    View {
        topology: cluster(layout),
        epoch: Some(epoch),
        own_epoch: None,
        state_ok: Some(true),
        node_id: None,
    }
}

impl World {
    /// Sidecars that start within this time.
    pub(super) fn starting_within(spread: Duration) -> Self {
        let mut random = Random::new(7);
        let mut world = Self {
            now: Now::ZERO,
            states: [State::Up; NODES.len()],
            view: view(BEFORE, 6),
            promoted: None,
            sidecars: Vec::new(),
            events: BinaryHeap::new(),
            seen: BTreeMap::new(),
        };
        for index in 0..SIDECARS {
            let start = Now::ZERO + random.between(Duration::ZERO, spread);
            let seeds = [0, 2, 4].map(endpoint).to_vec();
            let mut fork = || Random::new(random.next());
            world.sidecars.push(Sidecar {
                refresh: Refresh::new(start, seeds, Timings::default(), fork()),
                scouts: Scouts::new(fork()),
                budget: Budget::new(0),
                random: fork(),
                known: None,
                suspects: BTreeSet::new(),
                kept: Vec::new(),
                probes: HashMap::new(),
                probes_planned: 0,
                next_probes: HashMap::new(),
                probe_wires: BTreeSet::new(),
                links: BTreeSet::new(),
                backoffs: HashMap::new(),
                tick_at: None,
                changed_at: Vec::new(),
            });
            world.schedule_tick(index);
        }
        world
    }

    /// Past the start, calm, and nothing in step.
    pub(super) fn settled() -> Self {
        let mut world = Self::starting_within(Duration::from_secs(30));
        world.run_for(Duration::from_secs(40));
        world.forget();
        world
    }

    pub(super) fn forget(&mut self) {
        self.seen.clear();
        self.sidecars
            .iter_mut()
            .for_each(|sidecar| sidecar.changed_at.clear());
    }

    pub(super) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(Reverse((at, _, _))) = self.events.peek()
            && *at <= end
        {
            let Some(Reverse((at, index, event))) = self.events.pop() else {
                return;
            };
            self.now = at.max(self.now);
            self.handle(index, event);
            self.schedule_tick(index);
        }
        self.now = end;
    }

    fn at(&mut self, after: Duration, index: usize, event: Event) {
        self.events.push(Reverse((self.now + after, index, event)));
    }

    fn schedule_tick(&mut self, index: usize) {
        let sidecar = &mut self.sidecars[index];
        let due = sidecar.refresh.deadline().into_iter();
        let Some(due) = due.chain(sidecar.scouts.deadline()).min() else {
            return;
        };
        if sidecar.tick_at.is_none_or(|at| due < at || at < self.now) {
            sidecar.tick_at = Some(due);
            self.at(due.since(self.now), index, Event::Tick);
        }
    }

    fn count(&mut self, seen: Seen, node: usize) {
        let tenth = u64::try_from(self.now.since_start().as_millis() / 100).unwrap();
        let tenths = self.seen.entry((seen, node)).or_default();
        *tenths.entry(tenth).or_default() += 1;
    }

    fn count_dial(&mut self, node: usize) {
        match self.states[node] {
            State::Dead => self.count(Seen::Refused, node),
            State::Up | State::Silent => self.count(Seen::Connection, node),
        }
    }

    pub(super) fn set(&mut self, state: State, nodes: &[usize]) {
        for &node in nodes {
            self.states[node] = state;
            if state != State::Dead {
                continue;
            }
            for index in 0..SIDECARS {
                let sidecar = &mut self.sidecars[index];
                sidecar.kept.retain(|kept| *kept != node);
                let delay = sidecar.random.between(Duration::ZERO, 20 * MILLISECOND);
                if sidecar.links.remove(&node) {
                    self.at(delay, index, Event::LinkLost(node));
                }
                // The end of a probe's connection is noticed at once.
                if self.sidecars[index].probe_wires.remove(&node) {
                    self.plan_probe(delay, index, node);
                }
            }
        }
    }

    fn handle(&mut self, index: usize, event: Event) {
        match event {
            Event::Tick => self.begin(index),
            Event::Dial(node, purpose) => {
                self.count_dial(node);
                self.ask(index, node, purpose);
            }
            Event::Ends(node, purpose, answered) => self.end(index, node, purpose, answered),
            Event::Probe(node, number) => self.probe(index, node, number),
            Event::LinkLost(node) => {
                self.hint(index, &Hint::LinkLost(endpoint(node)));
                self.dial_link(index, node);
            }
            Event::LinkDial(node) => self.dial_link(index, node),
        }
    }

    /// As `cluster::Driver::begin`.
    fn begin(&mut self, index: usize) {
        let now = self.now;
        let sidecar = &mut self.sidecars[index];
        let round = sidecar.refresh.take_round(now);
        let troubled = sidecar.refresh.is_troubled(now);
        let due = sidecar.scouts.take_due(now);
        if !troubled {
            sidecar.kept.clear();
        }
        if let Some((round, asked)) = round {
            for node in asked {
                let keep = troubled && self.sidecars[index].refresh.knows(&node);
                self.exchange(index, node_of(&node), Purpose::View { round, keep });
            }
        }
        for (replica, question) in due {
            let by_epoch = question == Question::Epoch;
            self.exchange(index, node_of(&replica), Purpose::Scout { by_epoch });
        }
    }

    /// As `ask::Asker::exchange`.
    fn exchange(&mut self, index: usize, node: usize, purpose: Purpose) {
        let sidecar = &mut self.sidecars[index];
        if let Some(place) = sidecar.kept.iter().position(|kept| *kept == node) {
            sidecar.kept.swap_remove(place);
            return self.ask(index, node, purpose);
        }
        let wait = sidecar.budget.take(self.now);
        self.at(wait, index, Event::Dial(node, purpose));
    }

    fn ask(&mut self, index: usize, node: usize, purpose: Purpose) {
        let (seen, patience) = match purpose {
            Purpose::View { .. } => (Seen::Topology, Duration::from_secs(1)),
            Purpose::Scout { .. } => (Seen::Scout, Duration::from_secs(1)),
            Purpose::Ping => (Seen::Ping, PROBE_INTERVAL),
        };
        let state = self.states[node];
        if state != State::Dead {
            self.count(seen, node);
        }
        let after = match state {
            State::Up | State::Dead => MILLISECOND,
            State::Silent => patience,
        };
        self.at(after, index, Event::Ends(node, purpose, state == State::Up));
    }

    fn end(&mut self, index: usize, node: usize, purpose: Purpose, answered: bool) {
        let now = self.now;
        let vote = if answered {
            Ok(View {
                node_id: Some(NODES[node].into()),
                own_epoch: self.view.epoch.filter(|_| self.promoted == Some(node)),
                ..self.view.clone()
            })
        } else {
            Err(Unheard::Silent)
        };
        let said = match (answered, self.promoted == Some(node)) {
            (false, _) => Said::Nothing,
            (true, true) => Said::Primary,
            (true, false) => Said::Replica,
        };
        let sidecar = &mut self.sidecars[index];
        match purpose {
            Purpose::View { round, keep } => {
                if answered && keep {
                    sidecar.kept.push(node);
                }
                let outcome = sidecar.refresh.on_answer(now, round, &endpoint(node), vote);
                if let Some(Outcome::Changed(topology)) = outcome {
                    self.on_change(index, topology);
                }
            }
            Purpose::Scout { .. } => {
                if answered {
                    sidecar.kept.push(node);
                }
                if sidecar.scouts.on_answer(now, &endpoint(node), said) {
                    sidecar.refresh.on_herald(now, endpoint(node));
                }
            }
            Purpose::Ping => self.end_probe(index, node, answered),
        }
    }

    /// As `cluster::Driver::on_change`, and as a worker with traffic for every slot.
    fn on_change(&mut self, index: usize, topology: Arc<Topology>) {
        let sidecar = &mut self.sidecars[index];
        sidecar.changed_at.push(self.now);
        sidecar.budget.set_nodes(topology.nodes().len());
        sidecar.known = Some(Arc::clone(&topology));
        let primaries: BTreeSet<usize> = topology
            .primary_nodes()
            .map(|node| node_of(&node.endpoint))
            .collect();
        sidecar.probes.retain(|node, _| primaries.contains(node));
        sidecar.probe_wires.retain(|node| primaries.contains(node));
        let suspects = sidecar.suspects.clone();
        let still = suspects
            .into_iter()
            .filter(|suspect| primaries.contains(&node_of(suspect)));
        self.set_suspects(index, still.collect());
        for node in primaries {
            let sidecar = &mut self.sidecars[index];
            if let Entry::Vacant(probe) = sidecar.probes.entry(node) {
                probe.insert(Health::default());
                let delay = sidecar.random.between(Duration::ZERO, PROBE_INTERVAL);
                self.plan_probe(delay, index, node);
            }
            if !self.sidecars[index].links.contains(&node) {
                self.at(Duration::ZERO, index, Event::LinkDial(node));
            }
        }
    }

    fn set_suspects(&mut self, index: usize, suspects: BTreeSet<Endpoint>) {
        let now = self.now;
        let sidecar = &mut self.sidecars[index];
        sidecar.refresh.on_suspicion(!suspects.is_empty());
        let epoch = sidecar.refresh.epoch();
        if let Some(known) = &sidecar.known {
            sidecar.scouts.watch(now, known, &suspects, epoch);
        }
        sidecar.suspects = suspects;
    }

    fn hint(&mut self, index: usize, hint: &Hint) {
        self.sidecars[index].refresh.on_hint(self.now, hint);
    }

    fn plan_probe(&mut self, after: Duration, index: usize, node: usize) {
        let sidecar = &mut self.sidecars[index];
        sidecar.probes_planned += 1;
        let number = sidecar.probes_planned;
        sidecar.next_probes.insert(node, number);
        self.at(after, index, Event::Probe(node, number));
    }

    fn probe(&mut self, index: usize, node: usize, number: u32) {
        let sidecar = &mut self.sidecars[index];
        let is_next = sidecar.next_probes.get(&node) == Some(&number);
        if !is_next || !sidecar.probes.contains_key(&node) {
            return;
        }
        if sidecar.probe_wires.remove(&node) {
            return self.ask(index, node, Purpose::Ping);
        }
        let wait = sidecar.budget.take(self.now);
        self.at(wait, index, Event::Dial(node, Purpose::Ping));
    }

    /// As `probe::Probe::run`.
    fn end_probe(&mut self, index: usize, node: usize, answered: bool) {
        let sidecar = &mut self.sidecars[index];
        let Some(health) = sidecar.probes.get_mut(&node) else {
            return;
        };
        let change = health.on_probe(answered);
        let pause = if answered {
            sidecar.probe_wires.insert(node);
            sidecar
                .random
                .between(PROBE_INTERVAL * 4 / 5, PROBE_INTERVAL)
        } else {
            let pause = health.pause(PROBE_INTERVAL);
            sidecar.random.around(pause, probe::PAUSE_JITTER_PERCENT)
        };
        self.plan_probe(pause, index, node);
        let mut suspects = self.sidecars[index].suspects.clone();
        match change {
            None => return,
            Some(Pulse::Silent) => {
                suspects.insert(endpoint(node));
                self.hint(index, &Hint::ProbeFailed(endpoint(node)));
            }
            Some(Pulse::Alive) => {
                suspects.remove(&endpoint(node));
                self.at(Duration::ZERO, index, Event::LinkDial(node));
            }
        }
        self.set_suspects(index, suspects);
    }

    /// As a worker's hub: nothing is dialled that is suspected or serves nothing, and not before the backoff is over.
    fn dial_link(&mut self, index: usize, node: usize) {
        let (now, state) = (self.now, self.states[node]);
        let sidecar = &mut self.sidecars[index];
        let serves = sidecar.known.as_ref().is_some_and(|topology| {
            topology
                .primary_nodes()
                .any(|primary| primary.endpoint == endpoint(node))
        });
        if !serves || sidecar.links.contains(&node) || sidecar.suspects.contains(&endpoint(node)) {
            return;
        }
        let backoff = sidecar.backoffs.entry(node).or_default();
        if let Some(at) = backoff.wait_until(now) {
            return self.at(at.since(now), index, Event::LinkDial(node));
        }
        self.count_dial(node);
        let sidecar = &mut self.sidecars[index];
        if state == State::Up {
            sidecar.links.insert(node);
            sidecar.backoffs.remove(&node);
            return;
        }
        let Limits {
            dial_backoff_min: min,
            dial_backoff_max: max,
            ..
        } = Limits::default();
        let random = u32::try_from(sidecar.random.below(u64::from(u32::MAX))).unwrap();
        let backoff = sidecar.backoffs.entry(node).or_default();
        backoff.on_failure(now, &BackoffLimits { min, max }, random);
        self.hint(index, &Hint::DialFailed(endpoint(node)));
        self.at(MILLISECOND, index, Event::LinkDial(node));
    }

    /// What the node that sees most sees in its busiest second, and all nodes together in all the time.
    pub(super) fn peak_and_total(&self, seen: Seen) -> (u64, u64) {
        let per_node = (0..NODES.len()).map(|node| self.peak_and_total_at(seen, node));
        per_node.fold((0, 0), |(peak, total), at| (peak.max(at.0), total + at.1))
    }

    fn peak_and_total_at(&self, seen: Seen, node: usize) -> (u64, u64) {
        let Some(tenths) = self.seen.get(&(seen, node)) else {
            return (0, 0);
        };
        let second = |start: &u64| tenths.range(start..&(start + 10)).map(|(_, n)| n).sum();
        let peak = tenths.keys().map(second).max().unwrap_or(0);
        (peak, tenths.values().sum())
    }

    /// Times from `since` to the last change, sorted; panics unless everybody has heard of one.
    pub(super) fn delays(&self, since: Now) -> Vec<Duration> {
        let last = |sidecar: &Sidecar| sidecar.changed_at.last().unwrap().since(since);
        let mut delays: Vec<Duration> = self.sidecars.iter().map(last).collect();
        delays.sort();
        delays
    }

    /// Prints a line per kind; fails where a peak per node and second is more than its bound.
    #[track_caller]
    pub(super) fn check(&self, what: &str, bounds: [(Seen, u64); 5]) {
        for (seen, most) in bounds {
            let (peak, total) = self.peak_and_total(seen);
            let peaks = [0, 1, 2, 3, 4, 5].map(|node| self.peak_and_total_at(seen, node).0);
            println!(
                "{what}: {seen:?}: per node and second at most {peaks:?} (bound {most}), {total} in all"
            );
            assert!(peak <= most, "{what}: {seen:?}: {peak}/s, at most {most}");
        }
    }
}
