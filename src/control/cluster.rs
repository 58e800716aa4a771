//! Learns the topology of a cluster: asks the nodes that `refresh` and `scout` choose, publishes what is decided.
//!
//! Moves bytes and time for `refresh`, `scout`, `decide` and `probe`, and decides nothing itself.
//! Connections are closed when their question is answered, unless there is trouble. Logs changes of state, not attempts.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::ask::Asker;
use super::decide::{Undecided, View};
use super::facts::{Lesson, learn};
use super::probe::{Finding, Probes, Pulse};
use super::random::Random;
use super::refresh::{Outcome, Refresh, Unheard};
use super::replicas::{Heard, Replicas};
use super::scout::{Said, Scouts};
use super::sentinel::{STATIONS, Stations, listen};
use super::wire::{Dialer, within};
use super::{
    AskFailure, Failed, Hint, NodeFacts, Publisher, Seeds, Source, SourceKind, Status, Timings,
};
use crate::clock::{Now, now};
use crate::topology::{Endpoint, SLOT_COUNT, Topology};

/// Runs until `stop` is sent or dropped. Needs a runtime that can `spawn_local`.
pub(super) async fn run(
    source: Source,
    publisher: Publisher,
    mut hints: mpsc::Receiver<Hint>,
    mut stop: oneshot::Receiver<()>,
) {
    let (mut driver, mut findings, mut heard) = Driver::new(source, publisher);
    let mut announced = driver.listen_to_sentinels();
    loop {
        driver.begin(now());
        let pause = driver.pause(now());
        tokio::select! {
            _ = &mut stop => return,
            Some(hint) = hints.recv() => driver.on_hint(&hint),
            Some(hint) = announced.recv() => driver.on_hint(&hint),
            Some(said) = heard.recv() => driver.on_heard(said),
            Some(finding) = findings.recv() => driver.on_finding(finding),
            Some(Ok(answer)) = driver.asks.join_next() => driver.on_answer(answer),
            Some(Ok((replica, said))) = driver.reports.join_next() => driver.on_report(&replica, said),
            Some(Ok(lesson)) = driver.lessons.join_next() => driver.on_lesson(lesson),
            () = sleep(pause) => {}
        }
    }
}

struct Driver {
    kind: SourceKind,
    seeds: Seeds,
    seeds_used: Arc<Vec<Endpoint>>,
    stations: Stations,
    /// Ends with it.
    _infos: JoinSet<()>,
    listeners: JoinSet<()>,
    refresh: Refresh,
    scouts: Scouts,
    publisher: Publisher,
    dialer: Dialer,
    asker: Rc<Asker>,
    timings: Timings,
    asks: JoinSet<Answer>,
    reports: JoinSet<(Endpoint, Said)>,
    lessons: JoinSet<Result<Option<Lesson>, AskFailure>>,
    /// When to ask again what kind of server this is; `None` before there is a topology and while a lesson is on.
    lesson_at: Option<Now>,
    lessons_failed: usize,
    /// The first topology, until the first lesson has ended: clients are served by what the nodes are.
    unpublished: Option<Arc<Topology>>,
    /// What the last lesson said.
    learned: Option<NodeFacts>,
    probes: Probes,
    replicas: Replicas,
    suspects: BTreeSet<Endpoint>,
    status: Status,
    /// Rounds without a result in a row.
    undecided: u32,
    /// The log says that the topology cannot be learned.
    warned: bool,
    random: Random,
}

/// A task that asks, if an interval is given.
fn ask_how_nodes_are(
    publisher: &Publisher,
    dialer: &Dialer,
    kind: &SourceKind,
    interval: Option<Duration>,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    if let Some(interval) = interval {
        let published = Arc::clone(&publisher.published);
        let (dialer, kind) = (dialer.clone(), kind.clone());
        tasks.spawn_local(super::info::watch(published, dialer, kind, interval));
    }
    tasks
}

/// How one question ended.
struct Answer {
    round: u64,
    from: Endpoint,
    result: Result<View, AskFailure>,
}

impl Driver {
    fn new(
        source: Source,
        publisher: Publisher,
    ) -> (Self, mpsc::Receiver<Finding>, mpsc::Receiver<Heard>) {
        let Source {
            seeds,
            kind,
            credentials,
            client_name,
            tls,
            probe_interval,
            timings,
            names,
            replica_reads,
            info_interval,
            // The publisher follows them.
            rules: _,
        } = source;
        let dialer = Dialer::new(credentials, &client_name, names, tls);
        let (probes, findings) = Probes::new(probe_interval, dialer.clone());
        let (replicas, heard) = Replicas::new(replica_reads, dialer.clone());
        let infos = ask_how_nodes_are(&publisher, &dialer, &kind, info_interval);
        let stations = Stations::default();
        let first = seeds.load_full();
        stations.set(first.to_vec());
        let mut refresh = Refresh::new(
            now(),
            first.to_vec(),
            timings.clone(),
            Random::from_system(),
        );
        if !matches!(kind, SourceKind::Cluster) {
            refresh.ask_seeds_only();
        }
        let asker = Asker::new(&kind, dialer.clone(), timings.ask_timeout);
        let driver = Self {
            seeds_used: first,
            seeds,
            stations,
            _infos: infos,
            listeners: JoinSet::new(),
            refresh,
            scouts: Scouts::new(Random::from_system()),
            publisher,
            asker: Rc::new(asker),
            kind,
            dialer,
            timings,
            asks: JoinSet::new(),
            reports: JoinSet::new(),
            lessons: JoinSet::new(),
            lesson_at: None,
            lessons_failed: 0,
            unpublished: None,
            learned: None,
            probes,
            replicas,
            suspects: BTreeSet::new(),
            status: Status::default(),
            undecided: 0,
            warned: false,
            random: Random::from_system(),
        };
        (driver, findings, heard)
    }

    /// Begins to listen to Sentinels, if there are any; what they say comes out of the returned end.
    fn listen_to_sentinels(&mut self) -> mpsc::Receiver<Hint> {
        let (news, announced) = mpsc::channel(1);
        if let SourceKind::Sentinel {
            master_name,
            credentials,
            tls,
        } = &self.kind
        {
            for _ in 0..STATIONS {
                self.listeners.spawn_local(listen(
                    self.stations.clone(),
                    self.dialer.for_others(credentials.clone(), tls.clone()),
                    self.timings.ask_timeout,
                    Arc::clone(master_name),
                    news.clone(),
                ));
            }
        }
        announced
    }

    /// Sentinels name each other.
    fn learn_sentinels(&mut self, seed: &Endpoint) {
        let learnt = self.asker.sentinels.take();
        if learnt.is_empty() {
            return;
        }
        self.refresh.learn_seeds(learnt.clone());
        let all = std::iter::once(seed.clone()).chain(learnt);
        self.stations.set(all.collect());
    }

    /// Others may be asked from now on than so far.
    fn take_seeds(&mut self) {
        let seeds = self.seeds.load();
        if !Arc::ptr_eq(&seeds, &self.seeds_used) {
            self.seeds_used = Arc::clone(&seeds);
            self.stations.set(seeds.to_vec());
            self.refresh.set_seeds(seeds.to_vec());
        }
    }

    /// Starts what is due.
    fn begin(&mut self, now: Now) {
        self.take_seeds();
        if let Some((round, asked)) = self.refresh.take_round(now) {
            debug!(round, ?asked, "asking for the topology");
            let troubled = self.refresh.is_troubled(now);
            for from in asked {
                // A seed of a cluster is a name, which may mean another node each time.
                let is_steady =
                    self.refresh.knows(&from) || !matches!(self.kind, SourceKind::Cluster);
                let keep = troubled && is_steady;
                let asker = Rc::clone(&self.asker);
                self.asks.spawn_local(async move {
                    let result = asker.view(&from, keep).await;
                    Answer {
                        round,
                        from,
                        result,
                    }
                });
            }
        }
        for (replica, question) in self.scouts.take_due(now) {
            let asker = Rc::clone(&self.asker);
            self.reports.spawn_local(async move {
                let said = asker.scout(&replica, question).await;
                (replica, said)
            });
        }
        if !self.refresh.is_troubled(now) {
            self.asker.calm();
        }
        if self.lesson_at.is_some_and(|at| at <= now) {
            self.lesson_at = None;
            self.begin_lesson();
        }
    }

    /// Until [`Self::begin`] has something to do, if nothing else happens.
    fn pause(&self, now: Now) -> Duration {
        let due = self
            .refresh
            .deadline()
            .into_iter()
            .chain(self.scouts.deadline())
            .chain(self.lesson_at)
            .chain(self.asker.keeps_any().then(|| now + CALM_CHECK))
            .min();
        due.map_or(PAUSE_MAX, |due| due.since(now).min(PAUSE_MAX))
    }

    fn on_hint(&mut self, hint: &Hint) {
        debug!(?hint, "hint");
        self.refresh.on_hint(now(), hint);
    }

    fn on_answer(
        &mut self,
        Answer {
            round,
            from,
            result,
        }: Answer,
    ) {
        let now = now();
        let vote = match result {
            Ok(view) => {
                self.learn_sentinels(&from);
                self.status.failures.remove(&from);
                Ok(view)
            }
            Err(why) => {
                debug!(node = %from, error = %why, "no topology");
                let unheard = if matches!(why, AskFailure::Local(_)) {
                    Unheard::NotAsked
                } else {
                    Unheard::Silent
                };
                self.status
                    .failures
                    .insert(from.clone(), Failed { why, at: now });
                Err(unheard)
            }
        };
        if let Some(outcome) = self.refresh.on_answer(now, round, &from, vote) {
            self.on_outcome(now, outcome);
        }
    }

    fn on_report(&mut self, replica: &Endpoint, said: Said) {
        let now = now();
        if self.scouts.on_answer(now, replica, said) {
            debug!(node = %replica, "a replica has become primary");
            self.refresh.on_herald(now, replica.clone());
        }
    }

    fn on_outcome(&mut self, now: Now, outcome: Outcome) {
        self.status.rounds += 1;
        match outcome {
            Outcome::Changed(topology) => {
                self.on_agreement(now);
                self.on_change(now, topology);
            }
            Outcome::Unchanged => self.on_agreement(now),
            Outcome::Undecided(why) => self.on_disagreement(why),
        }
        let Self {
            refresh, status, ..
        } = self;
        status
            .failures
            .retain(|endpoint, _| refresh.concerns(endpoint));
        self.publisher.status(self.status.clone());
    }

    fn on_agreement(&mut self, now: Now) {
        self.status.agreed_at = Some(now);
        self.publisher.trouble(String::new());
        self.undecided = 0;
        if std::mem::take(&mut self.warned) {
            info!(event = "topology", "the topology can be learned again");
        }
    }

    fn on_disagreement(&mut self, why: Undecided) {
        let problem = match why {
            Undecided::NoAnswer => "no node answers",
            Undecided::NoMajority => "too few nodes agree",
            Undecided::Outdated => "only nodes with an outdated view answer",
            Undecided::Strangers => "only nodes of another cluster answer",
        };
        let reasons = self.status.failures.iter().take(REASONS_MAX);
        let reasons: Vec<String> = reasons
            .map(|(node, failed)| format!("{node}: {}", failed.why))
            .collect();
        self.undecided += 1;
        // Nodes learn of a change one after another: a round without a majority is no news.
        let lasts = self.undecided >= UNDECIDED_TO_WARN || self.status.changes == 0;
        if lasts && !std::mem::replace(&mut self.warned, true) {
            warn!(
                event = "topology",
                error = reasons.join("; "),
                "cannot learn the topology: {problem}"
            );
        }
        self.publisher.trouble(match reasons.as_slice() {
            [] => problem.to_owned(),
            _ => format!("{problem}; {}", reasons.join("; ")),
        });
    }

    fn on_change(&mut self, now: Now, topology: Arc<Topology>) {
        self.status.changes += 1;
        self.status.changed_at = Some(now);
        self.dialer.set_nodes(topology.nodes().len());
        self.probes.watch(&topology);
        self.replicas.watch(&topology);
        let primary = topology.primary_nodes().next();
        self.asker
            .primary
            .replace(primary.map(|node| node.endpoint.clone()));
        if self.learned.is_none() && self.lessons_failed == 0 {
            self.unpublished = Some(Arc::clone(&topology));
        } else {
            self.publish(&topology);
        }
        let primary = |endpoint: &Endpoint| {
            topology
                .primary_nodes()
                .any(|node| node.endpoint == *endpoint)
        };
        let suspects = self
            .suspects
            .iter()
            .filter(|suspect| primary(suspect))
            .cloned()
            .collect();
        self.set_suspects(now, &topology, suspects);
        if self.lessons.is_empty() {
            self.lesson_at = Some(now);
        }
    }

    fn on_heard(&mut self, heard: Heard) {
        if self.replicas.on_heard(heard) {
            self.publisher.readers(self.replicas.readers().clone());
        }
    }

    fn on_finding(&mut self, Finding { endpoint, pulse }: Finding) {
        let now = now();
        let topology = self.topology();
        // The probe of a node that has just lost its place may have had a last word.
        if !topology
            .primary_nodes()
            .any(|node| node.endpoint == endpoint)
        {
            return;
        }
        let slots = topology.slots_of(&endpoint);
        let mut suspects = self.suspects.clone();
        match pulse {
            Pulse::Silent => {
                warn!(event = "node_down", node = %endpoint, slots, "primary does not answer");
                self.refresh
                    .on_hint(now, &Hint::ProbeFailed(endpoint.clone()));
                suspects.insert(endpoint);
            }
            Pulse::Alive => {
                info!(event = "node_up", node = %endpoint, slots, "primary answers again");
                suspects.remove(&endpoint);
            }
        }
        self.set_suspects(now, &topology, suspects);
    }

    fn set_suspects(&mut self, now: Now, topology: &Topology, suspects: BTreeSet<Endpoint>) {
        self.refresh.on_suspicion(!suspects.is_empty());
        if matches!(self.kind, SourceKind::Cluster) {
            let epoch = self.refresh.epoch();
            self.scouts.watch(now, topology, &suspects, epoch);
        }
        if suspects != self.suspects {
            self.suspects = suspects.clone();
            self.publisher.suspects(suspects);
        }
    }

    /// The log names what clients are served by, not before they are.
    fn publish(&mut self, topology: &Arc<Topology>) {
        let before = self.publisher.published.topology.load_full();
        let (shards, nodes) = (topology.shards().len(), topology.nodes().len());
        let covered = SLOT_COUNT - topology.uncovered();
        if before.is_empty() {
            info!(
                event = "topology",
                shards, nodes, covered, "topology learned"
            );
        } else {
            let difference = before.difference(topology);
            let is_failover = !difference.promoted.is_empty();
            self.status.failovers += u64::from(is_failover);
            let event = if is_failover { "failover" } else { "topology" };
            info!(
                event,
                shards, nodes, covered, "topology changed: {difference}"
            );
        }
        self.publisher.topology(Arc::clone(topology));
    }

    /// The newest, published or about to be.
    fn topology(&self) -> Arc<Topology> {
        let published = || self.publisher.published.topology.load_full();
        self.unpublished.clone().unwrap_or_else(published)
    }

    /// Asks the primary of the first slots, so that a mixed cluster does not look different each time; if that fails, the next.
    fn begin_lesson(&mut self) {
        let topology = self.topology();
        let primaries: Vec<&Endpoint> = topology
            .primary_nodes()
            .map(|node| &node.endpoint)
            .collect();
        let turn = self
            .lessons_failed
            .checked_rem(primaries.len())
            .unwrap_or(0);
        let Some(teacher) = primaries.get(turn).map(|endpoint| (*endpoint).clone()) else {
            return;
        };
        drop(primaries);
        drop(topology);
        let known = self.learned.clone();
        let (dialer, patience) = (self.dialer.clone(), self.timings.ask_timeout);
        self.lessons.spawn_local(async move {
            dialer.turn().await;
            let lesson = async {
                let mut wire = dialer.dial(&teacher, patience).await?;
                learn(&mut wire, known.as_ref()).await
            };
            within(patience * LESSON_PATIENCE, lesson).await
        });
    }

    fn on_lesson(&mut self, result: Result<Option<Lesson>, AskFailure>) {
        let pause = match result {
            Ok(lesson) => {
                if let Some(Lesson { facts, commands }) = lesson {
                    info!(
                        server = facts.server,
                        version = facts.shown_version(),
                        "server"
                    );
                    self.learned = Some(facts.clone());
                    self.publisher.server(facts, &commands);
                }
                self.lessons_failed = 0;
                self.timings.refresh_period
            }
            Err(why) => {
                if self.lessons_failed == 0 {
                    info!(error = %why, "cannot learn what kind of server this is");
                }
                self.lessons_failed += 1;
                let growth = u32::try_from(self.lessons_failed).unwrap_or(u32::MAX);
                self.timings
                    .refresh_gap_max
                    .saturating_mul(growth)
                    .min(self.timings.refresh_period)
            }
        };
        if let Some(topology) = self.unpublished.take() {
            self.publish(&topology);
        }
        self.lesson_at = Some(now() + self.random.around(pause, LESSON_JITTER_PERCENT));
    }
}

/// The loop turns at least so often, whatever is due.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// How soon after the end of all trouble the connections that it took are closed.
const CALM_CHECK: Duration = Duration::from_secs(1);

/// Nodes that are named in a line about what is wrong.
const REASONS_MAX: usize = 8;

/// Times the patience of one question: `COMMAND` is long.
const LESSON_PATIENCE: u32 = 3;

/// Rounds without a result that are worth a warning.
const UNDECIDED_TO_WARN: u32 = 3;

const LESSON_JITTER_PERCENT: u32 = 20;
