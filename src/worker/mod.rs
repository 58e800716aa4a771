//! One worker per core: a hub, and the tasks that move its bytes. Nothing is shared between workers on the data path.
//!
//! Every task runs on the worker's own thread and takes turns in the order in which it was woken: all sockets
//! that one `epoll_wait` made readable are read before the settler writes what came of it.

pub mod accept;
mod client;
pub mod hub;
mod node;
mod settle;
mod sockets;

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::{Notify, mpsc};

use self::accept::Accepted;
use self::hub::Hub;
use self::settle::Settler;
use self::sockets::Sockets;
use crate::clock::{self, Now};
use crate::control::{HintSender, NodeFacts, Published};
use crate::downstream::local::Face;
use crate::memory::{Gauge, Pressure};
use crate::route::part::SessionId;

/// Bytes that one read may bring; one buffer per worker serves every socket.
const READ_BYTES: usize = 64 * 1024;

/// How often held parts are looked at, while there are any.
const TICK: Duration = Duration::from_millis(10);

/// The timer's resolution.
const TIMER_MIN: Duration = Duration::from_millis(1);

/// A worker, as its own tasks see it.
pub(crate) struct Worker {
    hub: RefCell<Hub>,
    read_buf: RefCell<Box<[u8]>>,
    clients: Sockets,
    nodes: Sockets,
    settler: Settler,
    /// The timer has to look again when it is to wake up.
    timer: Notify,
    /// It has been told to stop: sessions end when nothing of theirs is under way.
    stops: Cell<bool>,
    wakes: Cell<Wakes>,
    hints: HintSender,
    shared: Arc<Shared>,
    gauge: Gauge,
    pressure: Cell<Pressure>,
    /// What the hub knows of the nodes.
    learnt: RefCell<Option<Arc<NodeFacts>>>,
}

/// What the rest of the process sees of a worker.
#[derive(Debug, Default)]
pub struct Shared {
    /// Connections that are open or on their way here.
    pub sessions: AtomicUsize,
}

/// What became of the clients that were there when a worker was told to stop.
#[derive(Clone, Copy, Debug, Default)]
pub struct Drained {
    /// They had got all that they had asked for, or left by themselves.
    pub served_out: usize,
    /// Something of theirs was still under way when time was up.
    pub cut: usize,
}

/// What a worker's thread is given.
pub struct Setup {
    pub hub: Hub,
    pub published: Arc<Published>,
    pub changes: tokio::sync::watch::Receiver<u64>,
    pub hints: HintSender,
    pub accepted: mpsc::Receiver<Accepted>,
    pub shared: Arc<Shared>,
    pub gauge: Gauge,
}

/// The runtime of one worker.
///
/// # Errors
/// When the system gives no epoll instance.
pub fn runtime() -> io::Result<LocalRuntime> {
    Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build_local(LocalOptions::default())
}

/// What slotcar appears to be, given what the nodes are.
pub fn face(facts: &NodeFacts) -> Face {
    Face {
        server: facts.server.clone(),
        version: facts.shown_version().to_owned(),
        required_password: None,
    }
}

/// Runs a worker until its acceptors are gone and its sessions have been served out, or `grace` is over.
pub async fn run(setup: Setup, grace: Duration) -> Drained {
    let Setup {
        hub,
        published,
        changes,
        hints,
        mut accepted,
        shared,
        gauge,
    } = setup;
    let worker = Rc::new(Worker {
        hub: RefCell::new(hub),
        read_buf: RefCell::new(vec![0; READ_BYTES].into_boxed_slice()),
        clients: Sockets::default(),
        nodes: Sockets::default(),
        settler: Settler::default(),
        timer: Notify::new(),
        stops: Cell::new(false),
        wakes: Cell::default(),
        hints,
        shared,
        gauge,
        pressure: Cell::default(),
        learnt: RefCell::default(),
    });
    tokio::task::spawn_local(settle::run(worker.clone()));
    tokio::task::spawn_local(tick(worker.clone()));
    tokio::task::spawn_local(follow(worker.clone(), published, changes));
    while let Some(connection) = accepted.recv().await {
        client::start(&worker, connection);
    }
    worker.drain(grace).await
}

/// Takes what the control plane publishes.
async fn follow(
    worker: Rc<Worker>,
    published: Arc<Published>,
    mut changes: tokio::sync::watch::Receiver<u64>,
) {
    worker.take_published(&published);
    while changes.changed().await.is_ok() {
        worker.take_published(&published);
    }
}

impl Worker {
    /// Looks how much memory is used: where bytes come in.
    fn look_at_memory(&self, hub: &mut Hub) {
        let pressure = self.gauge.pressure();
        if self.pressure.replace(pressure) != pressure || pressure != Pressure::None {
            hub.on_memory(clock::now(), pressure);
        }
    }

    fn take_published(self: &Rc<Self>, published: &Published) {
        {
            let mut hub = self.hub.borrow_mut();
            self.learn(published, &mut hub);
            hub.on_trouble(&published.trouble.load());
            // The topology first: who was suspected and serves nothing in it is given up.
            hub.on_topology(clock::now(), &published.topology.load());
            hub.on_suspects(clock::now(), &published.suspects.load());
        }
        self.settle();
    }

    /// Takes what the nodes are and which commands they have, if that is new.
    fn learn(&self, published: &Published, hub: &mut Hub) {
        let facts = published.facts.load_full();
        let is_new = self
            .learnt
            .borrow()
            .as_ref()
            .is_none_or(|known| !Arc::ptr_eq(known, &facts));
        if is_new {
            let commands = published.commands.load();
            hub.on_node_facts(commands.as_deref().map_or(&[], |reply| reply), face(&facts));
            *self.learnt.borrow_mut() = Some(facts);
        }
    }

    /// Ends every session when nothing of its client's is under way; after half of the grace, nothing more is read from
    /// those who never pause.
    async fn drain(self: &Rc<Self>, grace: Duration) -> Drained {
        let clients = self.shared.sessions.load(Ordering::Relaxed);
        let start = clock::now();
        self.stops.set(true);
        self.hub.borrow_mut().on_stop();
        self.settle();
        if !self.is_left_by(start + grace / 2).await {
            self.hub.borrow_mut().on_stop_reading();
            self.settle();
            self.is_left_by(start + grace).await;
        }
        let cut = self.hub.borrow().load().sessions;
        Drained {
            served_out: clients.saturating_sub(cut),
            cut,
        }
    }

    /// Waits until nobody is here and nobody is owed anything; false: not before that moment.
    async fn is_left_by(&self, deadline: Now) -> bool {
        loop {
            let is_empty = self.shared.sessions.load(Ordering::Relaxed) == 0;
            if is_empty && self.hub.borrow().is_owed_nothing() {
                return true;
            }
            if clock::now() >= deadline {
                return false;
            }
            tokio::time::sleep(TICK).await;
        }
    }

    /// A session ends; returns how long its socket should stay open for what its client has not read yet. What was
    /// written long ago has been read.
    fn leave(self: &Rc<Self>, id: SessionId) -> Duration {
        let now = clock::now();
        let mut hub = self.hub.borrow_mut();
        let linger = hub.limits().linger_timeout;
        let quiet = hub
            .session(id)
            .map(|session| now.since(session.identity.last_active));
        hub.on_client_gone(now, id);
        drop(hub);
        self.clients.remove(id.index, id.generation);
        self.settle();
        linger.saturating_sub(quiet.unwrap_or_default())
    }

    fn note_session_ended(&self) {
        self.shared.sessions.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Tells the hub that time has passed: often while something is held, else when it wants to know.
async fn tick(worker: Rc<Worker>) {
    loop {
        let wakes = Wakes::wanted(&worker.hub.borrow());
        worker.wakes.set(wakes);
        let sleep = match wakes {
            Wakes::Never => {
                worker.timer.notified().await;
                continue;
            }
            Wakes::Often => TICK,
            Wakes::At(at) => at.since(clock::now()).max(TIMER_MIN),
        };
        tokio::select! {
            () = tokio::time::sleep(sleep) => {
                let mut hub = worker.hub.borrow_mut();
                hub.on_timer(clock::now());
                worker.look_at_memory(&mut hub);
                drop(hub);
                worker.settle();
            }
            () = worker.timer.notified() => {}
        }
    }
}

/// When the timer wakes up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Wakes {
    /// Nothing waits for time to pass.
    #[default]
    Never,
    At(Now),
    /// Every [`TICK`]: something is held.
    Often,
}

impl Wakes {
    fn wanted(hub: &Hub) -> Self {
        match hub.deadline() {
            _ if hub.has_held() => Self::Often,
            Some(at) => Self::At(at),
            None => Self::Never,
        }
    }
}
