//! Slow things on their own thread: learning who serves which slot, watching that they do.
//!
//! Owns one thread with its own runtime. Publishes immutable snapshots; takes hints, which may be lost.
//! Nothing here is on the way of a request, and nothing here is shared but [`Published`].
//! Decisions are pure (`refresh`, `decide`, `scout`, `budget`, `probe::Health`); `cluster` moves the bytes and the time.

mod ask;
mod budget;
mod cluster;
mod decide;
mod facts;
mod failure;
mod info;
mod probe;
mod random;
mod refresh;
mod replicas;
mod scout;
mod sentinel;
#[cfg(test)]
mod stampede;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock::Now;
use crate::command::lookup::CommandTable;
use crate::command::rules::Rules;
use crate::config::Secret;
use crate::net::{ClientTls, Names};
use crate::route::readers::Readers;
use crate::topology::{Endpoint, Slot, Topology};

pub use facts::{ClusterInfo, NodeFacts};
pub use failure::AskFailure;
pub use info::{NodeInfo, NodeInfos};
pub use replicas::ReplicaReads;
pub use wire::{Dialer, Wire, decode, within};

/// What everybody else sees of the control thread.
#[derive(Clone, Debug)]
pub struct Control {
    pub published: Arc<Published>,
    pub hints: HintSender,
    changes: watch::Receiver<u64>,
}

impl Control {
    /// Changes whenever something has been published, whatever it was.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }
}

/// The newest snapshots. [`Control::changes`] tells when there are newer ones.
#[derive(Debug)]
pub struct Published {
    /// [`Topology::empty`] until a node has answered.
    pub topology: ArcSwap<Topology>,
    /// [`NodeFacts::default`] until a primary has answered.
    pub facts: ArcSwap<NodeFacts>,
    /// Those that slotcar brings along, and those that a node has told of.
    pub commands: ArcSwap<CommandTable>,
    /// Why the last round brought nothing; empty if it did.
    pub trouble: ArcSwap<String>,
    /// Newer with every round, without being announced.
    pub status: ArcSwap<Status>,
    /// Primaries that do not answer probes.
    pub suspects: ArcSwap<BTreeSet<Endpoint>>,
    /// How the nodes are that may be read from, if replicas are.
    pub readers: ArcSwap<Readers>,
    /// What nodes say of themselves, if they are asked; newer without being announced.
    pub infos: ArcSwap<NodeInfos>,
}

impl Default for Published {
    fn default() -> Self {
        Self {
            topology: ArcSwap::from_pointee(Topology::empty()),
            facts: ArcSwap::default(),
            commands: ArcSwap::default(),
            trouble: ArcSwap::default(),
            status: ArcSwap::default(),
            suspects: ArcSwap::default(),
            readers: ArcSwap::default(),
            infos: ArcSwap::default(),
        }
    }
}

impl Published {
    /// How the learning goes, in numbers for `INFO` and metrics. One load of each part: cheap, and not exactly one moment.
    pub fn learning(&self, now: Now) -> Learning {
        let status = self.status.load();
        Learning {
            rounds: status.rounds,
            changes: status.changes,
            failovers: status.failovers,
            agreed_age: status.agreed_at.map(|at| now.since(at)),
            suspects: self.suspects.load().len(),
        }
    }
}

/// See [`Published::learning`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learning {
    /// Rounds of questions that have ended. `rounds >= changes`
    pub rounds: u64,
    /// Topologies published.
    pub changes: u64,
    /// Those among them in which a replica had become a primary.
    pub failovers: u64,
    /// Since nodes last agreed on a topology, changed or not; `None`: they never have.
    pub agreed_age: Option<Duration>,
    /// Primaries that do not answer probes.
    pub suspects: usize,
}

/// How the learning goes, for people.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Rounds of questions that have ended. `rounds >= changes`
    pub rounds: u64,
    /// Topologies published.
    pub changes: u64,
    /// Those among them in which a replica had become a primary.
    pub failovers: u64,
    /// When nodes last agreed on a topology, changed or not.
    pub agreed_at: Option<Now>,
    pub changed_at: Option<Now>,
    /// Known nodes and seeds whose last answer was none, and why.
    pub failures: BTreeMap<Endpoint, Failed>,
}

/// The last question to a node had no good answer.
#[derive(Clone, Debug)]
pub struct Failed {
    pub why: AskFailure,
    pub at: Now,
}

/// Something that was noticed on the way of requests and may mean that the topology has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// A node said so.
    Moved { slot: Slot, to: Endpoint },
    /// A connection that worked was closed or broke.
    LinkLost(Endpoint),
    /// A connection could not be opened.
    DialFailed(Endpoint),
    /// The node answered CLUSTERDOWN, LOADING, MASTERDOWN or READONLY.
    Refused(Endpoint),
    /// The node does not answer the control thread's own probe.
    ProbeFailed(Endpoint),
    /// A Sentinel says that there is another primary.
    Announced,
}

/// Hands hints to the control thread. Never blocks; drops what does not fit: one refresh serves many hints.
#[derive(Clone, Debug)]
pub struct HintSender(mpsc::Sender<Hint>);

impl HintSender {
    /// A sender and where its hints arrive.
    pub fn channel() -> (Self, mpsc::Receiver<Hint>) {
        let (sender, receiver) = mpsc::channel(HINTS_MAX);
        (Self(sender), receiver)
    }

    pub fn send(&self, hint: Hint) {
        // Full: a refresh is due anyway. Closed: the process is ending.
        let _ = self.0.try_send(hint);
    }
}

/// Where to learn from and how.
#[derive(Clone, Debug)]
pub struct Source {
    /// At least one; may change. Names are resolved anew each time.
    pub seeds: Seeds,
    pub kind: SourceKind,
    /// For the nodes.
    pub credentials: Option<Credentials>,
    /// What our connections are called there. Empty: nothing.
    pub client_name: String,
    /// For the nodes.
    pub tls: Option<ClientTls>,
    /// How often each node is asked how it is; none: never.
    pub info_interval: Option<Duration>,
    /// Whether replicas are read from, and which; none: they are not.
    pub replica_reads: Option<ReplicaReads>,
    /// What clients may not use.
    pub rules: Arc<Rules>,
    /// Between two probes of one primary, and how long its answer may take; `None`: no probes.
    pub probe_interval: Option<Duration>,
    pub timings: Timings,
    pub names: Names,
}

impl Source {
    /// A cluster, without credentials, with probes.
    pub fn new(seeds: Vec<Endpoint>) -> Self {
        let probe_interval = Some(Duration::from_millis(500));
        Self {
            seeds: Arc::new(ArcSwap::from_pointee(seeds)),
            kind: SourceKind::Cluster,
            credentials: None,
            client_name: String::new(),
            tls: None,
            info_interval: None,
            replica_reads: None,
            rules: Arc::default(),
            probe_interval,
            timings: Timings::default(),
            names: Names::default(),
        }
    }
}

/// Whom to ask first. Clones share what is stored.
pub type Seeds = Arc<ArcSwap<Vec<Endpoint>>>;

/// What the seeds are, and so how they are asked.
#[derive(Clone, Debug)]
pub enum SourceKind {
    /// Nodes of a cluster, which know all others.
    Cluster,
    /// Sentinels, which know the primary of this name.
    Sentinel {
        master_name: Arc<str>,
        /// For the Sentinels.
        credentials: Option<Credentials>,
        tls: Option<ClientTls>,
    },
    /// The only server that there is.
    Server,
}

/// What a node is told in AUTH.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// `None`: the node's default user.
    pub user: Option<String>,
    pub password: Secret,
}

/// The manners of the control thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timings {
    /// Between two refreshes that nothing asked for, ± 20 %.
    pub refresh_period: Duration,
    /// Least time from the end of one refresh to the next. `<= refresh_gap_max`
    pub refresh_gap_min: Duration,
    /// Most time from the end of a refresh to the next while there is fresh trouble.
    pub refresh_gap_max: Duration,
    /// For one node: resolving, connecting and answering.
    pub ask_timeout: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            refresh_period: Duration::from_secs(30),
            refresh_gap_min: Duration::from_millis(100),
            refresh_gap_max: Duration::from_millis(500),
            ask_timeout: Duration::from_secs(1),
        }
    }
}

/// Starts the control thread. It tries until a seed answers, and goes on until it is stopped.
///
/// # Errors
/// No seed is given, or the system gives no thread or no event queue.
pub fn start(source: Source) -> io::Result<(Control, ControlThread)> {
    if source.seeds.load().is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "no seed to learn the topology from",
        ));
    }
    let (hints, hints_arriving) = HintSender::channel();
    let (publisher, published, changes) = Publisher::new(source.rules.clone());
    let (stop, stopped) = oneshot::channel();
    let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
    let body = move || {
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build_local(LocalOptions::default());
        match runtime {
            Ok(runtime) => {
                let _ = ready.send(Ok(()));
                runtime.block_on(cluster::run(source, publisher, hints_arriving, stopped));
                // A name that is still being resolved must not hold up the end.
                runtime.shutdown_background();
            }
            Err(error) => {
                let _ = ready.send(Err(error));
            }
        }
    };
    let span = tracing::Span::current();
    let thread = std::thread::Builder::new()
        .name("control".to_owned())
        .spawn(move || span.in_scope(body))?;
    is_ready.recv().map_err(io::Error::other)??;
    let thread = ControlThread {
        stop: Some(stop),
        thread: Some(thread),
    };
    Ok((
        Control {
            published,
            changes,
            hints,
        },
        thread,
    ))
}

/// The running control thread. Dropping it stops it.
#[derive(Debug)]
pub struct ControlThread {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ControlThread {
    /// Ends the thread and waits until it has.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for ControlThread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The writing side of [`Published`].
struct Publisher {
    published: Arc<Published>,
    rules: Arc<Rules>,
    changes: watch::Sender<u64>,
}

impl Publisher {
    fn new(rules: Arc<Rules>) -> (Self, Arc<Published>, watch::Receiver<u64>) {
        let published = Arc::new(Published::default());
        let commands = CommandTable::new().restricted(&rules, b"");
        published.commands.store(Arc::new(commands));
        let (changes, changes_seen) = watch::channel(0);
        (
            Self {
                published: Arc::clone(&published),
                rules,
                changes,
            },
            published,
            changes_seen,
        )
    }

    fn topology(&self, topology: Arc<Topology>) {
        self.published.topology.store(topology);
        self.announce();
    }

    fn suspects(&self, suspects: BTreeSet<Endpoint>) {
        self.published.suspects.store(Arc::new(suspects));
        self.announce();
    }

    fn readers(&self, readers: Readers) {
        self.published.readers.store(Arc::new(readers));
        self.announce();
    }

    /// `commands`: a node's reply to `COMMAND`; empty if it gave none.
    fn server(&self, facts: NodeFacts, commands: &[u8]) {
        let known = self.published.commands.load();
        let learnt = known.learn(commands).restricted(&self.rules, commands);
        self.published.commands.store(Arc::new(learnt));
        if self.rules.needs_categories() && !commands.starts_with(b"*") {
            tracing::warn!(
                "the nodes do not tell their commands: categories that are denied or allowed are known in part only"
            );
        }
        // Last: who sees new facts finds their commands.
        self.published.facts.store(Arc::new(facts));
        self.announce();
    }

    fn trouble(&self, trouble: String) {
        if **self.published.trouble.load() != trouble {
            self.published.trouble.store(Arc::new(trouble));
            self.announce();
        }
    }

    fn status(&self, status: Status) {
        self.published.status.store(Arc::new(status));
    }

    fn announce(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}

/// Hints that may wait: more than all workers can have to say while one refresh is going on.
const HINTS_MAX: usize = 256;
