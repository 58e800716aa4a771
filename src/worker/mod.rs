//! One worker per core: a hub, and the tasks that move its bytes. Nothing is shared between workers on the data path.
//!
//! Every task runs on the worker's own thread and takes turns in the order in which it was woken: all sessions
//! that one `epoll_wait` made readable run before the links that they queue on, so one write per link
//! carries what all of them asked.

pub mod accept;
mod client;
pub mod hub;
mod node;

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::{Notify, mpsc};

use self::accept::Accepted;
use self::hub::Hub;
use crate::clock::{self, Now};
use crate::control::{HintSender, NodeFacts, Published};
use crate::downstream::local::Face;
use crate::route::part::{LinkId, SessionId};

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
    session_wakers: RefCell<Vec<Option<Waker>>>,
    link_wakers: RefCell<Vec<Option<Waker>>>,
    /// The timer has to look again when it is to wake up.
    timer: Notify,
    wakes: Cell<Wakes>,
    hints: HintSender,
    shared: Arc<Shared>,
    /// What the hub knows of the nodes.
    learnt: RefCell<Option<Arc<NodeFacts>>>,
}

/// What the rest of the process sees of a worker.
#[derive(Debug, Default)]
pub struct Shared {
    /// Connections that are open or on their way here.
    pub sessions: AtomicUsize,
}

/// What a worker's thread is given.
pub struct Setup {
    pub hub: Hub,
    pub published: Arc<Published>,
    pub changes: tokio::sync::watch::Receiver<u64>,
    pub hints: HintSender,
    pub accepted: mpsc::Receiver<Accepted>,
    pub shared: Arc<Shared>,
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

/// Runs a worker until its acceptor is gone and its sessions have been answered, or `grace` is over.
pub async fn run(setup: Setup, grace: Duration) {
    let Setup {
        hub,
        published,
        mut changes,
        hints,
        mut accepted,
        shared,
    } = setup;
    let worker = Rc::new(Worker {
        hub: RefCell::new(hub),
        read_buf: RefCell::new(vec![0; READ_BYTES].into_boxed_slice()),
        session_wakers: RefCell::default(),
        link_wakers: RefCell::default(),
        timer: Notify::new(),
        wakes: Cell::default(),
        hints,
        shared,
        learnt: RefCell::default(),
    });
    tokio::task::spawn_local(tick(worker.clone()));
    worker.take_published(&published);
    loop {
        tokio::select! {
            biased;
            connection = accepted.recv() => match connection {
                Some(connection) => client::start(&worker, connection),
                None => break,
            },
            changed = changes.changed() => match changed {
                Ok(()) => worker.take_published(&published),
                Err(_) => break,
            },
        }
    }
    worker.drain(grace).await;
}

impl Worker {
    /// Does what the hub wants done after something was put in. Call with the hub free.
    fn settle(self: &Rc<Self>) {
        let mut hub = self.hub.borrow_mut();
        self.set_timer(&hub);
        if hub.effects().is_empty() {
            return;
        }
        for id in hub.effects().sessions.drain(..) {
            wake(&self.session_wakers, id.index);
        }
        for id in hub.effects().links.drain(..) {
            wake(&self.link_wakers, id.index);
        }
        for (id, endpoint) in hub.effects().dials.drain(..) {
            tokio::task::spawn_local(node::run(self.clone(), id, endpoint));
        }
        for hint in hub.effects().hints.drain(..) {
            self.hints.send(hint);
        }
    }

    /// Wakes the timer if it sleeps for longer than the hub wants.
    fn set_timer(&self, hub: &Hub) {
        let too_late = match self.wakes.get() {
            Wakes::Often => false,
            Wakes::Never => hub.has_held() || hub.deadline().is_some(),
            Wakes::At(set) => hub.has_held() || hub.deadline().is_some_and(|at| at < set),
        };
        if too_late {
            self.timer.notify_one();
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

    /// Waits until every request that has been read is answered.
    async fn drain(&self, grace: Duration) {
        let deadline = clock::now() + grace;
        while self.hub.borrow().requests_in_flight() > 0 && clock::now() < deadline {
            tokio::time::sleep(TICK).await;
        }
    }

    fn register(wakers: &RefCell<Vec<Option<Waker>>>, index: u32, waker: &Waker) {
        let index = index as usize;
        let mut wakers = wakers.borrow_mut();
        if wakers.len() <= index {
            wakers.resize(index + 1, None);
        }
        if let Some(place) = wakers.get_mut(index)
            && !place.as_ref().is_some_and(|w| w.will_wake(waker))
        {
            *place = Some(waker.clone());
        }
    }

    fn register_session(&self, id: SessionId, waker: &Waker) {
        Self::register(&self.session_wakers, id.index, waker);
    }

    fn register_link(&self, id: LinkId, waker: &Waker) {
        Self::register(&self.link_wakers, id.index, waker);
    }

    fn note_session_ended(&self) {
        self.shared.sessions.fetch_sub(1, Ordering::Relaxed);
    }
}

fn wake(wakers: &RefCell<Vec<Option<Waker>>>, index: u32) {
    if let Some(Some(waker)) = wakers.borrow().get(index as usize) {
        waker.wake_by_ref();
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
                worker.hub.borrow_mut().on_timer(clock::now());
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
