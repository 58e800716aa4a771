//! One worker per core: a hub, and the loop that moves its bytes. Nothing is shared between workers on the data path.
//!
//! A turn of the loop (`Worker::turn`) reads every socket that has something, then writes: to each client all replies
//! that are due, to each node what all clients have asked of it. It waits for nothing but its sockets and its bell.

pub mod accept;
mod client;
pub mod errands;
pub mod hub;
mod node;
mod sockets;

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mio::{Events, Poll, Token, Waker};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::{oneshot, watch};

use self::accept::{Accepted, Door};
use self::errands::{Dialed, Errand, Errands};
use self::hub::report::{Detail, Report};
use self::hub::{Ask, Asked, Hub, Live, Told};
use self::sockets::Sockets;
use crate::clock::{self, Now};
use crate::config::Logins;
use crate::control::{HintSender, NodeFacts, Published};
use crate::downstream::local::{Databases, Face};
use crate::memory::{Gauge, Pressure};
use crate::route::part::{LinkId, SessionId};

/// Bytes that one read may bring; one buffer serves every socket.
const READ_BYTES: usize = 64 * 1024;

/// What one look at the sockets may bring; the rest comes with the next one.
const EVENTS_MAX: usize = 1024;

/// How often a turn looks again for requests that can join those of a busy node.
const LOOKS_MAX: usize = 3;

/// How often held parts are looked at, while there are any, and whether all clients have left, when they should.
const TICK: Duration = Duration::from_millis(10);

/// The timer's resolution.
const TIMER_MIN: Duration = Duration::from_millis(1);

/// Connections that wait for one worker to take them.
const WAITING_MAX: usize = 128;

/// Questions that wait for one worker.
const QUESTIONS_MAX: usize = 16;

/// A worker and everything that is its own.
pub struct Worker {
    hub: Hub,
    poll: Poll,
    /// When the sockets were looked at last.
    now: Now,
    read_buf: Box<[u8]>,
    clients: Sockets,
    nodes: Sockets,
    /// Whose sockets had more than one read brings.
    unread: Vec<Name>,
    /// Empty between turns: kept for their memory.
    woken_clients: Vec<SessionId>,
    woken_links: Vec<LinkId>,
    hopes: Hopes,
    /// When links that are connected must have been greeted, in that order.
    greeted_until: VecDeque<(Now, LinkId)>,
    /// When time was last looked after.
    ticked: Now,
    stop: Option<Stop>,
    pressure: Pressure,
    gauge: Gauge,
    live: watch::Receiver<Live>,
    /// Where sessions begin.
    databases: Databases,
    /// Whom clients have to be.
    logins: Logins,
    hints: HintSender,
    shared: Arc<Shared>,
    errands: Errands,
    bell: Bell,
    accepted: mpsc::Receiver<Accepted>,
    dialed: UnboundedSender<Dialed>,
    dials: UnboundedReceiver<Dialed>,
    questions: mpsc::Receiver<Question>,
    /// All workers, and which of them this one is.
    desks: (Desks, usize),
    /// What the others know of what they have been asked.
    told: (UnboundedSender<Asked>, UnboundedReceiver<Asked>),
    published: Arc<Published>,
    changes: watch::Receiver<u64>,
    /// What the hub knows of the nodes.
    learnt: Option<Arc<NodeFacts>>,
}

/// What the rest of the process sees of a worker.
#[derive(Debug, Default)]
pub struct Shared {
    /// Connections that are open or on their way here.
    pub sessions: AtomicUsize,
}

/// Makes a worker look at what others have for it.
#[derive(Clone)]
pub struct Bell(Arc<Waker>);

impl Bell {
    fn ring(&self) {
        // The worker has ended if it fails.
        drop(self.0.wake());
    }
}

/// Where a worker is asked about itself.
#[derive(Clone)]
pub struct Desk {
    sender: mpsc::Sender<Question>,
    bell: Bell,
}

/// Those of all workers of a service, once all of them are there.
pub type Desks = Arc<OnceLock<Vec<Desk>>>;

enum Question {
    /// About itself.
    Report {
        detail: Detail,
        answer: oneshot::Sender<Box<Report>>,
    },
    /// By another worker, on behalf of a client.
    Tell {
        ask: Ask,
        answer: oneshot::Sender<Told>,
    },
}

impl Desk {
    /// What it says, in its turn. None: the worker has ended.
    pub async fn ask(&self, detail: Detail) -> Option<Box<Report>> {
        let (answer, answered) = oneshot::channel();
        let question = Question::Report { detail, answer };
        self.sender.send(question).await.ok()?;
        self.bell.ring();
        answered.await.ok()
    }

    /// What it knows of this, in its turn. None: the worker has ended.
    async fn tell(&self, ask: Ask) -> Option<Told> {
        let (answer, answered) = oneshot::channel();
        let question = Question::Tell { ask, answer };
        self.sender.send(question).await.ok()?;
        self.bell.ring();
        answered.await.ok()
    }
}

/// What became of the clients that were there when a worker was told to stop.
#[derive(Clone, Copy, Debug, Default)]
pub struct Drained {
    /// They had got all that they had asked for, or left by themselves.
    pub served_out: usize,
    /// Something of theirs was still under way when time was up.
    pub cut: usize,
}

/// What a worker is given.
pub struct Setup {
    pub hub: Hub,
    pub published: Arc<Published>,
    pub changes: watch::Receiver<u64>,
    pub hints: HintSender,
    pub errands: Errands,
    /// All workers, and which of them this one will be.
    pub desks: (Desks, usize),
    pub live: watch::Receiver<Live>,
    /// Where sessions begin.
    pub databases: Databases,
    /// Whom clients have to be.
    pub logins: Logins,
}

/// How far a worker has come that was told to stop.
struct Stop {
    clients: usize,
    /// When nothing more is read from those who never pause.
    reads_until: Option<Now>,
    until: Now,
}

/// Whether it is worth to look at the sockets once more within a turn: after one look in vain the next turn does without, after
/// several the next three.
#[derive(Default)]
struct Hopes {
    in_vain: u8,
    turns_without: u8,
}

impl Hopes {
    fn allow(&mut self) -> bool {
        let is_due = self.turns_without == 0;
        self.turns_without = self.turns_without.saturating_sub(1);
        is_due
    }

    fn note(&mut self, found: bool) {
        self.in_vain = if found {
            0
        } else {
            (2 * self.in_vain + 1).min(3)
        };
        self.turns_without = self.in_vain;
    }
}

/// Whose event it is.
#[derive(Clone, Copy)]
enum Name {
    Bell,
    Client(u32),
    Node(u32),
}

impl Name {
    fn token(self) -> Token {
        Token(match self {
            Self::Bell => usize::MAX,
            Self::Client(index) => (index as usize) << 1,
            Self::Node(index) => (index as usize) << 1 | 1,
        })
    }

    fn of(Token(token): Token) -> Self {
        match u32::try_from(token >> 1) {
            Err(_) => Self::Bell,
            Ok(index) if token & 1 == 0 => Self::Client(index),
            Ok(index) => Self::Node(index),
        }
    }
}

/// What slotcar appears to be, given what the nodes are, with these databases.
pub fn face(facts: &NodeFacts, databases: Databases, logins: Logins) -> Face {
    Face {
        databases,
        server: facts.server.clone(),
        version: facts.shown_version().to_owned(),
        logins,
    }
}

impl Worker {
    /// A worker, to be [run](Self::run) on a thread of its own, the way to it, and where it is asked.
    ///
    /// # Errors
    /// When the system gives no epoll instance.
    pub fn new(setup: Setup) -> io::Result<(Self, Door, Desk)> {
        let Setup {
            hub,
            published,
            changes,
            hints,
            errands,
            desks,
            mut live,
            databases,
            logins,
        } = setup;
        let gauge = Gauge::new(live.borrow_and_update().memory_max);
        let poll = Poll::new()?;
        let bell = Bell(Arc::new(Waker::new(poll.registry(), Name::Bell.token())?));
        let shared = Arc::new(Shared::default());
        let (sender, accepted) = mpsc::channel(WAITING_MAX);
        let (dialed, dials) = mpsc::unbounded_channel();
        let door = Door::new(sender, bell.clone(), shared.clone());
        let (sender, questions) = mpsc::channel(QUESTIONS_MAX);
        let desk = Desk {
            sender,
            bell: bell.clone(),
        };
        let worker = Self {
            hub,
            poll,
            now: clock::now(),
            read_buf: vec![0; READ_BYTES].into_boxed_slice(),
            clients: Sockets::default(),
            nodes: Sockets::default(),
            unread: Vec::new(),
            woken_clients: Vec::new(),
            woken_links: Vec::new(),
            hopes: Hopes::default(),
            greeted_until: VecDeque::new(),
            ticked: Now::ZERO,
            stop: None,
            pressure: Pressure::default(),
            gauge,
            live,
            databases,
            logins,
            hints,
            shared,
            errands,
            bell,
            accepted,
            dialed,
            dials,
            questions,
            desks,
            told: mpsc::unbounded_channel(),
            published,
            changes,
            learnt: None,
        };
        Ok((worker, door, desk))
    }

    /// Serves until the way here is closed and all sessions have been served out, or `grace` is over.
    ///
    /// # Errors
    /// When the system does not tell of sockets any more.
    pub fn run(mut self, grace: Duration) -> io::Result<Drained> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        self.take_published();
        loop {
            self.turn(&mut events)?;
            if self.stop.is_none() && self.accepted.is_closed() && self.accepted.is_empty() {
                self.stop(grace);
            }
            if let Some(drained) = self.drained() {
                if let Some(audit) = self.hub.audit() {
                    tracing::info!(worker = self.hub.number(), "{}", audit.report().summary());
                }
                return Ok(drained);
            }
        }
    }

    /// Looks at the sockets, and does what follows.
    fn turn(&mut self, events: &mut Events) -> io::Result<()> {
        self.look(events, self.patience())?;
        let began = self.now;
        self.read_on();
        self.serve_clients();
        // Who has just got a reply often asks again at once. A node that is busy can wait for that; an idle one does not.
        for _ in 0..LOOKS_MAX {
            if !(self.hub.adds_to_links() && self.hopes.allow()) {
                break;
            }
            self.look(events, Some(Duration::ZERO))?;
            self.hopes.note(!events.is_empty());
            if events.is_empty() {
                break;
            }
            self.serve_clients();
        }
        self.now = clock::now();
        self.hub.note_turn(self.now.since(began));
        self.write_links();
        // Links that have room again let sessions go on.
        self.serve_clients();
        self.dial_links();
        for hint in self.hub.effects().hints.drain(..) {
            self.hints.send(hint);
        }
        self.ask_others();
        self.tick();
        Ok(())
    }

    /// Reads from every socket that the system names, within `patience`.
    fn look(&mut self, events: &mut Events, patience: Option<Duration>) -> io::Result<()> {
        match self.poll.poll(events, patience) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => events.clear(),
            polled => polled?,
        }
        self.now = clock::now();
        for event in &*events {
            match Name::of(event.token()) {
                Name::Client(index) => self.on_client_event(index, event),
                Name::Node(index) => self.on_node_event(index, event),
                Name::Bell => self.answer_bell(),
            }
        }
        Ok(())
    }

    /// Goes on with those whose turn was over before all was read.
    fn read_on(&mut self) {
        for name in std::mem::take(&mut self.unread) {
            match name {
                Name::Client(index) => {
                    if let Some(generation) = self.clients.at(index).map(|s| s.generation()) {
                        self.serve_client(SessionId { index, generation });
                    }
                }
                Name::Node(index) => {
                    if let Some(generation) = self.nodes.at(index).map(|s| s.generation()) {
                        self.read_link(LinkId { index, generation });
                    }
                }
                Name::Bell => {}
            }
        }
    }

    /// Takes what others have for this worker.
    fn answer_bell(&mut self) {
        while let Ok(dialed) = self.dials.try_recv() {
            self.on_dialed(dialed);
        }
        while let Ok(accepted) = self.accepted.try_recv() {
            self.on_arrival(accepted);
        }
        for _ in 0..QUESTIONS_MAX {
            let Ok(question) = self.questions.try_recv() else {
                break;
            };
            // Whoever asked may have gone.
            match question {
                Question::Report { detail, answer } => {
                    drop(answer.send(Box::new(self.hub.report(detail))));
                }
                Question::Tell { ask, answer } => {
                    drop(answer.send(self.hub.tell_of(self.now, None, &ask)));
                }
            }
        }
        if !self.questions.is_empty() {
            // The sockets come first.
            self.bell.ring();
        }
        while let Ok(asked) = self.told.1.try_recv() {
            self.hub.on_told_by_all(self.now, asked);
        }
        if self.live.has_changed().unwrap_or(false) {
            self.take_live();
        }
        if self.changes.has_changed().unwrap_or(false) {
            self.take_published();
        }
    }

    /// Has the other workers asked what clients want to know.
    fn ask_others(&mut self) {
        for asked in self.hub.effects().asks.drain(..) {
            let (desks, mine) = &self.desks;
            let others = desks.get().into_iter().flatten().enumerate();
            let others = others.filter(|(at, _)| at != mine);
            self.errands.send(Errand::Ask {
                asked,
                others: others.map(|(_, desk)| desk.clone()).collect(),
                answer: self.told.0.clone(),
                bell: self.bell.clone(),
            });
        }
    }

    /// How long nothing has to be done but what sockets and the bell say. None: for ever.
    fn patience(&self) -> Option<Duration> {
        if !self.unread.is_empty() || self.hub.has_effects() {
            return Some(Duration::ZERO);
        }
        let at = self.next_tick()?;
        // Rounded up, or the last millisecond would be spent asking.
        Some(at.since(self.now).max(TIMER_MIN))
    }

    /// When time must be looked after again.
    fn next_tick(&self) -> Option<Now> {
        let often = self.hub.has_held() || self.stop.is_some();
        let greeting = self.greeted_until.front().map(|(until, _)| *until);
        let checks = [
            self.hub.deadline(),
            greeting,
            often.then_some(self.ticked + TICK),
        ];
        checks.into_iter().flatten().min()
    }

    /// Looks after what is due.
    fn tick(&mut self) {
        let Some(at) = self.next_tick() else {
            return;
        };
        if at.max(self.ticked + TIMER_MIN) > self.now {
            return;
        }
        self.ticked = self.now;
        self.expire_greetings();
        self.hub.on_timer(self.now);
        self.look_at_memory();
        if let Some(stop) = &mut self.stop
            && stop.reads_until.is_some_and(|until| until <= self.now)
        {
            stop.reads_until = None;
            self.hub.on_stop_reading();
        }
    }

    /// Looks how much memory is used: where bytes come in.
    fn look_at_memory(&mut self) {
        let pressure = self.gauge.pressure();
        if std::mem::replace(&mut self.pressure, pressure) != pressure || pressure != Pressure::None
        {
            self.hub.on_memory(self.now, pressure);
        }
    }

    /// Takes a changed configuration.
    fn take_live(&mut self) {
        let live = self.live.borrow_and_update().clone();
        self.gauge = Gauge::new(live.memory_max);
        self.hub.on_live(self.now, &live);
    }

    /// Takes what the control plane publishes.
    fn take_published(&mut self) {
        self.changes.mark_unchanged();
        let published = self.published.clone();
        self.learn(&published);
        self.hub.on_trouble(&published.trouble.load());
        // The topology first: who was suspected and serves nothing in it is given up.
        self.hub.on_topology(self.now, &published.topology.load());
        self.hub.on_suspects(self.now, &published.suspects.load());
        self.hub.on_readers(self.now, &published.readers.load());
    }

    /// Takes what the nodes are and which commands they have, if that is new.
    fn learn(&mut self, published: &Published) {
        let facts = published.facts.load_full();
        let known = self.learnt.as_ref();
        if known.is_none_or(|known| !Arc::ptr_eq(known, &facts)) {
            let commands = published.commands.load_full();
            self.hub
                .on_node_facts(commands, face(&facts, self.databases, self.logins.clone()));
            self.learnt = Some(facts);
        }
    }

    /// Ends every session from now on when nothing of its client's is under way; after half of the grace, nothing more is
    /// read from those who never pause.
    fn stop(&mut self, grace: Duration) {
        self.stop = Some(Stop {
            clients: self.shared.sessions.load(Ordering::Relaxed),
            reads_until: Some(self.now + grace / 2),
            until: self.now + grace,
        });
        self.clients.doubt_all();
        self.hub.on_stop();
    }

    /// What has become of the clients, once all of them have left or their time is over.
    fn drained(&self) -> Option<Drained> {
        let stop = self.stop.as_ref()?;
        let is_left = self.shared.sessions.load(Ordering::Relaxed) == 0;
        if !(is_left && self.hub.is_owed_nothing()) && self.now < stop.until {
            return None;
        }
        let cut = self.hub.load().sessions;
        Some(Drained {
            served_out: stop.clients.saturating_sub(cut),
            cut,
        })
    }
}
