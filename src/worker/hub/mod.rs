//! Where sessions and links meet: one hub per worker, and all of a worker's state. Pure.
//!
//! The driver puts bytes in (`on_*`) and takes bytes out ([`Hub::serve_client`], [`Hub::write_link`]); the hub says whom to serve, whom to
//! dial and what the control plane should know ([`Effects`]). It opens a seat for every request, queues one part on each link
//! concerned, and gives every answer to the ticket that is the oldest of its link.
//!
//! Invariants: a part is in exactly one place (a link's queue, a lane, or answered); a session's parts for one
//! slot are never on two links at once, unless they were all on one before a node refused the first of them.

mod answer;
mod arrive;
mod audit;
mod block;
mod bound;
mod facts;
mod fault;
mod lease;
mod leave;
mod links;
mod local;
mod logins;
mod measures;
mod monitor;
mod names;
mod others;
mod owners;
mod place;
mod pubsub;
mod readers;
pub mod report;
mod request;
mod scan;
mod scripts;
mod select;
mod send;
mod serve;
mod shed;
mod short;
mod slow;
mod spread;
mod spread_read;
mod standing;
mod tracking;
mod transaction;
mod trouble;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use slab::Slab;

pub use self::arrive::Straight;
pub use self::facts::{Counters, DoorCounts, Load};
pub use self::measures::Stages;
pub use self::others::{Ask, Asked, Told};
use self::owners::Owners;
pub use self::serve::{Served, Socket};
pub use self::slow::Slow;
use crate::audit::Audit;
use crate::clock::Now;
use crate::command::keys::KeyList;
use crate::command::lookup::CommandTable;
use crate::command::together::Rule;
use crate::config::limits::Limits;
use crate::config::{Logins, ReadFrom, UnknownOutcome};
use crate::control::Hint;
use crate::downstream::local::{Face, Identity};
use crate::downstream::session::Session;
use crate::measure::Tally;
use crate::net::Pool;
use crate::reply::gather::Gather;
use crate::resp::reply::ReplyLimits;
use crate::resp::request::{RequestLimits, RequestScan};
use crate::route::hold::Lanes;
use crate::route::naming::Naming;
use crate::route::part::{LinkId, SessionId};
use crate::route::scan::ScanBook;
use crate::route::scripts::Scripts;
use crate::route::split::Splitter;
use crate::route::verdict::RetryLimits;
use crate::topology::{Endpoint, Keyspace, Slot, Topology};
use crate::upstream::backoff::BackoffLimits;
use crate::upstream::handshake::Greeting;
use crate::upstream::link::Link;

/// Buffers kept for whoever has something to say next; idle sessions and links have none. Of each kind.
const SPARE_BYTES_MAX: usize = 1024 * 1024;
const SPARE_BUFFER_BYTES_MAX: usize = 64 * 1024;

/// What may change while a hub works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// How long requests are held.
    pub hold_max: Duration,
    pub unknown_outcome: UnknownOutcome,
    /// Bytes that the process may have; 0: as many as it wants.
    pub memory_max: usize,
    pub clients_max: u64,
    /// How long a client may ask for nothing. None: for ever.
    pub client_idle_timeout: Option<Duration>,
    /// How long a session reads at the primary what it has written.
    pub read_own_writes: Duration,
    /// What takes longer is remembered. None: nothing is.
    pub slow_after: Option<Duration>,
    /// One of so many requests is sampled; 0: none.
    pub sample_every: u32,
}

/// What a hub is told at its start; of it only what is [`Live`] changes.
#[derive(Clone, Debug)]
pub struct Settings {
    pub limits: Limits,
    pub request: RequestLimits,
    pub reply: ReplyLimits,
    pub retry: RetryLimits,
    pub unknown_outcome: UnknownOutcome,
    /// Bytes that the process may have; 0: as many as it wants.
    pub memory_max: usize,
    pub backoff: BackoffLimits,
    pub greeting: Greeting,
    /// [`Keyspace::Whole`]: one server is behind, which also has databases.
    pub keyspace: Keyspace,
    /// Under which names keys are stored, if under others than the app's.
    pub naming: Option<Arc<Naming>>,
    pub read_from: ReadFrom,
    /// How long a session reads at the primary what it has written.
    pub read_own_writes: Duration,
    /// What takes longer is remembered. None: nothing is.
    pub slow_after: Option<Duration>,
    /// One of so many requests is sampled; 0: none.
    pub sample_every: u32,
    /// Where we are.
    pub zone: Option<String>,
    /// The databases of the cluster for which the app's requests are looked at, if they are.
    pub audit_databases: Option<u32>,
    /// Under these rules. Nothing is stored by them: the names stay as they are.
    pub audit_rules: Vec<Rule>,
    /// What `INFO` shows: 40 hexadecimal digits, the first listener's port, the limit of clients.
    pub run_id: String,
    pub process_id: u32,
    pub port: u16,
    pub clients_max: u64,
    /// How long a client may ask for nothing. None: for ever.
    pub client_idle_timeout: Option<Duration>,
    /// Unix time at [`Now::ZERO`].
    pub started_at: Duration,
    /// How many there are.
    pub workers: usize,
    /// Of the process: shared by all workers.
    pub doors: Arc<DoorCounts>,
    /// Which worker of the process this is, for the log.
    pub worker: usize,
    /// Seeds whatever is random here.
    pub seed: u64,
}

/// All state of one worker.
#[derive(Debug)]
pub struct Hub {
    settings: Arc<Settings>,
    commands: Arc<CommandTable>,
    face: Face,
    sessions: Slab<Session>,
    links: Slab<LinkPlace>,
    /// Links of nodes that have left, and since when.
    retiring: Vec<(LinkId, Now)>,
    generations: u32,
    owners: Owners,
    lanes: Lanes,
    shortage: shed::Shortage,
    /// Something is held, or was a moment ago.
    hold: Option<trouble::Hold>,
    oldest: trouble::Oldest,
    read_nodes: readers::ReadNodes,
    logins: logins::Logins,
    scripts: Scripts,
    gathers: Slab<Gather>,
    spare_gathers: Vec<Gather>,
    /// When sessions that wait for something have waited for as long as they want to.
    waits: BTreeSet<(Now, SessionId)>,
    /// By slot: what makes a key of it.
    wait_keys: BTreeMap<Slot, u32>,
    /// Pairs of commands whose transactions have been split.
    splits_seen: BTreeSet<(&'static str, &'static str)>,
    spread: spread::Spread,
    /// Sessions that nodes tell something by themselves, and when their links are to be looked at.
    standing: BTreeSet<SessionId>,
    standing_check: Option<Now>,
    /// When the pools of leased links are to be looked at.
    idle_check: Option<Now>,
    /// When idle clients are to be looked for.
    idle_clients_check: Option<Now>,
    pubsub: pubsub::PubSub,
    splitter: Splitter,
    keys: KeyList,
    part_bytes: Vec<u8>,
    names: names::Scratch,
    audit: Option<Box<Audit>>,
    /// Requests need no look at who says them, nor other names, and nobody counts what they are.
    runs_as_it_is: bool,
    script_names: names::ScriptNames,
    scan: RequestScan,
    /// The bytes that are being run, if they are many and were kept.
    whole_input: Option<Bytes>,
    #[expect(
        clippy::disallowed_types,
        reason = "SCAN tokens are good at every worker; one short lock per SCAN"
    )]
    scan_book: Arc<std::sync::Mutex<ScanBook>>,
    /// Why there is no topology yet.
    trouble: String,
    pause: Option<local::Pause>,
    /// Told to stop: sessions end when nothing of theirs is under way.
    stops: bool,
    /// How many parts have been placed: the newest one's `seq`.
    placed: u64,
    /// Buffers for what clients are told, and for what nodes are asked and say: they differ in size.
    pool: Pool,
    link_pool: Pool,
    random: u64,
    effects: Effects,
    counters: Counters,
    tally: Tally,
    measures: measures::Measures,
}

#[derive(Debug)]
struct LinkPlace {
    generation: u32,
    wake_noted: bool,
    link: Link,
}

impl LinkPlace {
    fn id(&self, index: usize) -> LinkId {
        LinkId {
            index: u32::try_from(index).unwrap_or(u32::MAX),
            generation: self.generation,
        }
    }
}

/// A table has become so much emptier than it is large that its memory should go back. True for few of the
/// lengths on the way down: giving back looks at the whole table.
pub(super) fn leaves_room(len: usize, capacity: usize) -> bool {
    (len == 0 || len.is_power_of_two()) && capacity > 64.max(len * 4)
}

/// What the driver should do after it has put something in.
#[derive(Debug, Default)]
pub struct Effects {
    /// Sessions with something to write, to read on, or to close: for [`Hub::serve_client`].
    pub sessions: Vec<SessionId>,
    /// Links with something to write, or that have ended: for [`Hub::write_link`].
    pub links: Vec<LinkId>,
    pub dials: Vec<(LinkId, Endpoint)>,
    pub hints: Vec<Hint>,
    /// For [`Hub::tell_of`] of the other workers, and then [`Hub::on_told_by_all`].
    pub asks: Vec<Asked>,
}

impl Effects {
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
            && self.links.is_empty()
            && self.dials.is_empty()
            && self.hints.is_empty()
            && self.asks.is_empty()
    }
}

impl Hub {
    #[expect(
        clippy::disallowed_types,
        reason = "SCAN tokens are good at every worker"
    )]
    pub fn new(
        settings: Arc<Settings>,
        commands: Arc<CommandTable>,
        face: Face,
        scan_book: Arc<std::sync::Mutex<ScanBook>>,
    ) -> Self {
        Self {
            random: settings.seed | 1,
            runs_as_it_is: runs_as_it_is(&settings, &face),
            commands,
            face,
            scan_book,
            sessions: Slab::new(),
            links: Slab::new(),
            retiring: Vec::new(),
            generations: 0,
            owners: Owners::new(),
            lanes: Lanes::default(),
            shortage: shed::Shortage::default(),
            hold: None,
            oldest: trouble::Oldest::default(),
            read_nodes: readers::ReadNodes::default(),
            logins: logins::Logins::default(),
            scripts: Scripts::new(settings.limits.script_bytes_max),
            gathers: Slab::new(),
            spare_gathers: Vec::new(),
            waits: BTreeSet::new(),
            wait_keys: BTreeMap::new(),
            splits_seen: BTreeSet::new(),
            spread: spread::Spread::default(),
            standing: BTreeSet::new(),
            standing_check: None,
            idle_check: None,
            idle_clients_check: None,
            pubsub: pubsub::PubSub::default(),
            splitter: Splitter::default(),
            keys: KeyList::default(),
            part_bytes: Vec::new(),
            names: names::Scratch::default(),
            audit: audit::of(&settings),
            script_names: names::ScriptNames::default(),
            scan: RequestScan::new(),
            whole_input: None,
            trouble: String::new(),
            pause: None,
            stops: false,
            placed: 0,
            pool: Pool::new(SPARE_BYTES_MAX, SPARE_BUFFER_BYTES_MAX),
            link_pool: Pool::new(SPARE_BYTES_MAX, SPARE_BUFFER_BYTES_MAX),
            effects: Effects::default(),
            counters: Counters::default(),
            tally: Tally::default(),
            measures: measures::Measures::new(&settings),
            settings,
        }
    }

    /// A client has connected.
    pub fn on_accept(&mut self, mut identity: Identity) -> SessionId {
        identity.db = self.face.databases.first;
        identity.authenticated = !matches!(self.face.logins, Logins::Listed(_));
        self.expect_idle_clients(identity.created);
        self.generations = self.generations.wrapping_add(1);
        let created = identity.created;
        let index = self
            .sessions
            .insert(Session::new(self.generations, identity));
        let id = SessionId {
            index: u32::try_from(index).unwrap_or(u32::MAX),
            generation: self.generations,
        };
        self.begin_as_nobody(created, id);
        id
    }

    /// The client is gone, or its connection has been closed. What it had sent is executed all the same, but nothing
    /// goes on waiting for it.
    pub fn on_client_gone(&mut self, now: Now, id: SessionId) {
        if self.session(id).is_none() {
            return;
        }
        if self.standing.remove(&id) && self.end_block(id).is_none() {
            self.let_links_finish(id);
        }
        self.end_block(id);
        self.forget_audited(id);
        let mut session = self.sessions.remove(id.index as usize);
        if leaves_room(self.sessions.len(), self.sessions.capacity()) {
            self.sessions.shrink_to_fit();
        }
        self.free_gathers(&session);
        let before = session.logging_in.take().map(|failed| failed.before);
        for user in before.into_iter().chain([session.identity.login]) {
            self.leave_user(now, user);
        }
        self.end_subscriptions(now, id, session.subscriptions.take());
        self.end_own_links(now, &mut session);
        self.tend_watches(now);
    }

    /// A new topology has been published.
    pub fn on_topology(&mut self, now: Now, topology: &Topology) {
        if topology.version() == self.owners.version() {
            // What redirections have taught since is newer.
            return;
        }
        let gone = self.owners.replace(topology);
        gone.iter()
            .for_each(|node| self.measures.forget_node(*node));
        self.choose_readers();
        self.retire_links(now, &gone);
        let abandoned = self.owners.abandoned();
        self.drop_links(now, &abandoned);
        self.on_owners_changed(now);
        self.ask_whether_open(now);
    }

    /// These nodes do not answer the control plane's probes: nothing new is sent to them until they do.
    pub fn on_suspects(&mut self, now: Now, suspects: &BTreeSet<Endpoint>) {
        let recovered = self.owners.note_suspects(now, suspects);
        self.skip_brief(now);
        if recovered {
            self.lanes.end_pauses();
            self.release_held(now);
        }
    }

    /// The nodes have said what they are: the commands that there are, and what we appear to be because of it.
    pub fn on_node_facts(&mut self, commands: Arc<CommandTable>, face: Face) {
        self.commands = commands;
        self.runs_as_it_is = runs_as_it_is(&self.settings, &face);
        self.face = face;
    }

    /// The configuration has changed.
    pub fn on_live(&mut self, now: Now, live: &Live) {
        let settings = Arc::make_mut(&mut self.settings);
        let Live {
            hold_max,
            unknown_outcome,
            memory_max,
            clients_max,
            client_idle_timeout,
            read_own_writes,
            slow_after,
            sample_every,
        } = *live;
        settings.retry.hold_max = hold_max;
        settings.unknown_outcome = unknown_outcome;
        settings.memory_max = memory_max;
        settings.clients_max = clients_max;
        settings.client_idle_timeout = client_idle_timeout;
        settings.read_own_writes = read_own_writes;
        self.measures.take_live(slow_after, sample_every);
        self.idle_clients_check = client_idle_timeout.map(|_| now);
    }

    /// Why the cluster's topology cannot be learnt; empty if it can.
    pub fn on_trouble(&mut self, why: &str) {
        why.clone_into(&mut self.trouble);
    }

    /// Time has passed.
    pub fn on_timer(&mut self, now: Now) {
        self.expire_held(now);
        self.give_up_silent(now);
        self.check_oldest(now);
        self.expire_retiring(now);
        self.release_held(now);
        self.expire_waits(now);
        self.expire_idle(now);
        self.expire_watches(now);
        self.expire_standing(now);
        self.expire_subscribing(now);
        self.look_after_ears(now);
        self.tend_topics(now);
        self.end_pause_if_over(now);
        self.look_after_hold(now);
        self.close_idle_clients(now);
        self.expire_users(now);
    }

    /// When [`Hub::on_timer`] has something to do if nothing else happens, held parts aside: [`Hub::has_held`].
    pub fn deadline(&self) -> Option<Now> {
        let wait = self.waits.first().map(|(at, _)| *at);
        let checks = [
            self.idle_check,
            self.idle_clients_check,
            self.standing_check,
            self.watches_end(),
            self.trouble_ends(),
            self.shortage.check,
            self.logins.check,
            self.pubsub.deadline(),
        ];
        wait.into_iter().chain(checks.into_iter().flatten()).min()
    }

    /// Whether the driver has something to do.
    pub fn has_effects(&self) -> bool {
        !self.effects.is_empty()
    }

    /// What the driver should do now.
    pub fn effects(&mut self) -> &mut Effects {
        &mut self.effects
    }

    pub fn session(&self, id: SessionId) -> Option<&Session> {
        self.sessions
            .get(id.index as usize)
            .filter(|s| s.generation == id.generation)
    }

    pub fn session_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.sessions
            .get_mut(id.index as usize)
            .filter(|s| s.generation == id.generation)
    }

    /// Which worker of the process this is.
    pub fn number(&self) -> usize {
        self.settings.worker
    }

    pub fn limits(&self) -> &Limits {
        &self.settings.limits
    }

    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Requests that have no answer yet.
    pub fn requests_in_flight(&self) -> usize {
        self.sessions.iter().map(|(_, s)| s.replies.len()).sum()
    }

    /// xorshift64*: spreads dials and choices; nothing secret depends on it.
    fn random(&mut self) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
}

fn runs_as_it_is(settings: &Settings, face: &Face) -> bool {
    settings.naming.is_none() && settings.audit_databases.is_none() && !face.asks_for_logins()
}
