//! The event loop of a simulated run: whose turn it is, what arrives when, and what must be true at the end.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use slotcar::clock::Now;
use slotcar::command::lookup::CommandTable;
use slotcar::config::UnknownOutcome;
use slotcar::config::limits::Limits;
use slotcar::route::part::{LinkId, SessionId};
use slotcar::topology::{Endpoint, Topology};
use slotcar::upstream::link::LinkDown;
use slotcar::worker::hub::{Hub, Load};

use crate::client::{Client, Scanned};
use crate::cluster::{Cluster, STABLE_KEYS, TAGS};
use crate::ledger::{Ledger, Number};
use crate::random::Random;
use crate::rig;
use crate::scenario::Scenario;
use crate::trouble::Act;
use crate::wires::{Wire, WireState};

/// Times are in nanoseconds since the start of a run.
pub(crate) const MICRO: u64 = 1000;
pub(crate) const MILLI: u64 = 1000 * MICRO;
/// As in `worker/mod.rs`.
const TICK: u64 = 10 * MILLI;
/// After the last trouble everything must be answered within this time.
const DIAL_TIMEOUT: u64 = 1000 * MILLI;
const PATIENCE: u64 = 5000 * MILLI;
const HOLD_MAX: Duration = Duration::from_secs(15);

pub(crate) struct World {
    scenario: Scenario,
    pub(crate) leaving: bool,
    /// Replies pass through before they are whole: clients may be closed in the middle of one.
    may_tear: bool,
    pub(crate) random: Random,
    pub(crate) now: u64,
    /// Milliseconds between two things that go wrong, at most.
    pub(crate) pace: u64,
    /// From then on nothing new goes wrong.
    pub(crate) settles_at: u64,
    pub(crate) cluster: Cluster,
    pub(crate) wires: Vec<Wire>,
    events: BinaryHeap<Reverse<(u64, u64, usize)>>,
    /// Events by their number; a slab would forget their order.
    queued: BTreeMap<usize, Event>,
    event_count: usize,
    pub(crate) hub: Hub,
    clients: Vec<Client>,
    ledger: Ledger,
    next_number: Number,
    ticking: bool,
    refreshing: bool,
    published: Option<Topology>,
    version: u64,
    /// Nodes that do not answer the control plane.
    silent: BTreeSet<Endpoint>,
    suspects: BTreeSet<Endpoint>,
    /// When each tag's slot last was in a migration, or a change was not known everywhere.
    moved_at: Vec<u64>,
    scans: usize,
    told: bool,
}

#[derive(Debug)]
pub(crate) enum Event {
    /// A task that was woken runs.
    Session(SessionId),
    Link(LinkId),
    ClientAsks(usize),
    ClientBytes(usize),
    ClientReads(usize),
    Dialed(usize),
    ToNode(usize),
    ToSlotcar(usize),
    /// The socket of a wire has room again.
    Room(usize),
    Broken(usize),
    Tick,
    Refresh,
    Publish(Box<Topology>),
    Act(Act),
}

/// What came of runs.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    requests: usize,
    pub(crate) redirections: usize,
    /// Requests that ran before an older one because they were on their way when that was refused.
    pub(crate) exempt: usize,
    pub(crate) unknown: usize,
    pub(crate) expired: usize,
    /// Parts that were held, and sent again.
    pub(crate) held: u64,
    pub(crate) resent: u64,
    pub(crate) longest: Duration,
    scans: usize,
}

impl Summary {
    pub(crate) fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.redirections += other.redirections;
        self.exempt += other.exempt;
        self.unknown += other.unknown;
        self.expired += other.expired;
        self.held += other.held;
        self.resent += other.resent;
        self.longest = self.longest.max(other.longest);
        self.scans += other.scans;
    }
}

impl World {
    pub(crate) fn new(scenario: Scenario, seed: u64, told: bool) -> Self {
        static COMMANDS: OnceLock<Arc<CommandTable>> = OnceLock::new();
        let commands = COMMANDS.get_or_init(|| Arc::new(CommandTable::new()));
        let mut random = Random::new(seed);
        let mut limits = Limits::default();
        if random.chance(30) {
            limits.session_requests_in_flight_max = random.pick(&[1, 2, 7]);
        }
        if random.chance(30) {
            limits.session_output_bytes_soft = random.pick(&[1, 50, 500]);
        }
        if random.chance(30) {
            limits.link_queue_bytes_soft = random.pick(&[1, 100, 1000]);
        }
        if random.chance(30) {
            limits.link_queue_requests_max = random.pick(&[1, 3, 10]);
        }
        if random.chance(30) {
            limits.reply_straight_bytes_min = random.pick(&[1, 10, 30]);
        }
        if random.chance(30) {
            limits.reply_kept_bytes_max = random.pick(&[1, 10, 100]);
        }
        let (shards, mut replicas) = (random.pick(&[2, 3, 3, 4]), random.pick(&[0, 1, 1, 2]));
        if scenario != Scenario::Mix {
            replicas = replicas.max(1);
        }
        Self {
            scenario,
            leaving: false,
            may_tear: limits.reply_kept_bytes_max < Limits::default().reply_kept_bytes_max,
            hub: rig::hub(UnknownOutcome::Error, limits, HOLD_MAX, commands, seed),
            cluster: Cluster::new(shards, replicas),
            pace: random.pick(&[30, 100, 300]),
            settles_at: random.between(300, 3000) * MILLI,
            random,
            now: 0,
            wires: Vec::new(),
            events: BinaryHeap::new(),
            queued: BTreeMap::new(),
            event_count: 0,
            clients: Vec::new(),
            ledger: Ledger::default(),
            next_number: 0,
            ticking: false,
            refreshing: false,
            published: None,
            version: 0,
            silent: BTreeSet::new(),
            suspects: BTreeSet::new(),
            moved_at: vec![0; TAGS],
            scans: 0,
            told,
        }
    }

    pub(crate) fn run(mut self) -> Summary {
        let topology = self.cluster.topology(0, 1);
        self.publish(topology);
        for _ in 0..=self.random.below(5) {
            self.connect();
        }
        self.plan(self.scenario);
        let mut idle = 0;
        while idle == 0 || self.now < idle + PATIENCE {
            let Some(Reverse((at, _, index))) = self.events.pop() else {
                break;
            };
            self.now = at;
            let event = self.queued.remove(&index).expect("an event happens once");
            self.happen(event);
            self.settle();
            if self.now >= self.settles_at && idle == 0 {
                idle = self.calm();
            }
        }
        self.check()
    }

    pub(crate) fn told(&self, story: impl FnOnce() -> String) {
        if self.told {
            println!("{:>9} us  {}", self.now / MICRO, story());
        }
    }

    pub(crate) fn at(&mut self, time: u64, event: Event) {
        self.event_count += 1;
        self.events
            .push(Reverse((time, self.event_count as u64, self.event_count)));
        self.queued.insert(self.event_count, event);
    }

    fn soon(&mut self, event: Event) {
        let delay = self.delay();
        self.at(self.now + delay, event);
    }

    fn delay(&mut self) -> u64 {
        match self.random.below(10) {
            0..7 => self.random.between(10, 300) * MICRO,
            7..9 => self.random.between(0, 3000) * MICRO,
            _ => self.random.between(0, 30_000) * MICRO,
        }
    }

    fn clock(&self) -> Now {
        Now::at(Duration::from_nanos(self.now))
    }

    /// When the last trouble is over; 0: it is not yet.
    fn calm(&mut self) -> u64 {
        let all_up = self
            .cluster
            .nodes
            .iter()
            .all(|n| n.up && !n.paused && n.trouble.is_none() && n.cut_until <= self.now);
        let no_migration = self
            .cluster
            .slots
            .iter()
            .all(|slot| slot.migrating_to.is_none());
        if all_up && no_migration && self.cluster.all_agree() {
            self.told(|| "all is well from here on".into());
            self.soon(Event::Refresh);
            return self.now;
        }
        0
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Session(id) => self.run_session(id, rig::serve_client),
            Event::Link(id) => {
                let wire = self
                    .wires
                    .iter()
                    .position(|w| w.id == id && w.state != WireState::Closed);
                wire.into_iter().for_each(|wire| self.run_link(wire));
            }
            Event::ClientAsks(client) => self.client_asks(client),
            Event::ClientBytes(client) => self.client_bytes(client),
            Event::ClientReads(client) => self.client_reads(client),
            Event::Dialed(wire) => self.dialed(wire),
            Event::ToNode(wire) => self.deliver_to_node(wire),
            Event::ToSlotcar(wire) => self.deliver_to_slotcar(wire),
            Event::Room(wire) => {
                let room = self.random.pick(&[1, 20, 200, usize::MAX]);
                if self.wires[wire].socket.make_room(room) {
                    self.run_link(wire);
                }
            }
            Event::Broken(wire) => {
                if self.wires[wire].state == WireState::Broken {
                    self.wires[wire].socket.end();
                    self.run_link(wire);
                }
            }
            Event::Tick => {
                self.ticking = false;
                self.hub.on_timer(self.clock());
            }
            Event::Refresh => {
                self.refreshing = false;
                let delay = self.random.between(0, 40) * MILLI;
                self.publish_view_of_some_node(delay);
            }
            Event::Publish(topology) => self.publish(*topology),
            Event::Act(act) => self.act(act),
        }
        self.note_moves();
    }

    /// Does what the hub wants done, as `worker/mod.rs` does.
    fn settle(&mut self) {
        let effects = std::mem::take(self.hub.effects());
        // Now and then something else happens first.
        let late = if self.random.chance(10) {
            self.random.between(0, 500) * MICRO
        } else {
            0
        };
        effects
            .sessions
            .into_iter()
            .for_each(|id| self.at(self.now + late, Event::Session(id)));
        effects
            .links
            .into_iter()
            .for_each(|id| self.at(self.now + late, Event::Link(id)));
        for (id, endpoint) in effects.dials {
            self.dial(id, &endpoint);
        }
        if !effects.hints.is_empty() {
            self.refresh_soon();
        }
        if self.hub.has_held() && !std::mem::replace(&mut self.ticking, true) {
            self.at(self.now + TICK, Event::Tick);
        }
    }

    fn publish(&mut self, topology: Topology) {
        // The control plane publishes what has changed.
        if self
            .published
            .as_ref()
            .is_some_and(|known| known.same_view(&topology))
        {
            return;
        }
        self.version += 1;
        let topology = topology.with_version(self.version);
        self.told(|| format!("published: {topology:?}"));
        self.hub.on_topology(self.clock(), &topology);
        self.published = Some(topology);
        self.publish_suspects();
    }

    /// Of the primaries only, as in `control/cluster.rs`.
    fn publish_suspects(&mut self) {
        let primaries = self.published.iter().flat_map(Topology::primary_nodes);
        let silent = primaries
            .map(|node| &node.endpoint)
            .filter(|at| self.silent.contains(at));
        let suspects: BTreeSet<Endpoint> = silent.cloned().collect();
        if suspects != self.suspects {
            self.told(|| format!("suspects: {suspects:?}"));
            self.suspects = suspects;
            self.hub.on_suspects(self.clock(), &self.suspects);
        }
    }

    pub(crate) fn note_pulse(&mut self, node: usize, awake: bool) {
        let endpoint = self.cluster.nodes[node].endpoint.clone();
        if awake {
            self.silent.remove(&endpoint);
        } else {
            self.silent.insert(endpoint);
            self.refresh_soon();
        }
        self.publish_suspects();
    }

    fn refresh_soon(&mut self) {
        if !std::mem::replace(&mut self.refreshing, true) {
            let delay = self.random.between(1, 150) * MILLI;
            self.at(self.now + delay, Event::Refresh);
        }
    }

    pub(crate) fn publish_view_of_some_node(&mut self, delay: u64) {
        let nodes = self.cluster.nodes.iter().enumerate();
        let awake: Vec<usize> = nodes
            .filter(|(index, n)| n.up && !n.paused && !self.is_cut(*index))
            .map(|(index, _)| index)
            .collect();
        if awake.is_empty() {
            self.refreshing = true;
            return self.at(self.now + 100 * MILLI, Event::Refresh);
        }
        let node = self.random.pick(&awake);
        let topology = self.cluster.topology(node, 1);
        self.at(self.now + delay, Event::Publish(Box::new(topology)));
        // The round after this one sees what this one was too early for.
        if !self.cluster.all_agree() && !std::mem::replace(&mut self.refreshing, true) {
            self.at(self.now + delay + 100 * MILLI, Event::Refresh);
        }
    }

    fn note_moves(&mut self) {
        let agree = self.cluster.all_agree();
        for (tag, at) in self.moved_at.iter_mut().enumerate() {
            if !agree || self.cluster.slots[tag].migrating_to.is_some() {
                *at = self.now;
            }
        }
    }

    // ── clients ─────────────────────────────────────────────────────────────────────────────────────────────────

    fn connect(&mut self) {
        let index = self.clients.len();
        let session = self
            .hub
            .on_accept(rig::identity(index as u64 + 1, self.clock()));
        let window = self.random.pick(&[usize::MAX, usize::MAX, 4096, 64]);
        self.clients
            .push(Client::new(index, session, window, &mut self.random));
        self.soon(Event::ClientAsks(index));
    }

    fn client_asks(&mut self, index: usize) {
        let now = self.clock();
        let client = &mut self.clients[index];
        if client.gone {
            return;
        }
        let pipeline = if self.random.chance(60) {
            1
        } else {
            1 + self.random.below(12)
        };
        for _ in 0..pipeline.min(client.to_ask) {
            client.ask(
                now,
                &mut self.random,
                &mut self.ledger,
                &mut self.next_number,
            );
        }
        self.at(self.now, Event::ClientBytes(index));
        if self.random.chance(1) {
            self.told(|| format!("client {index} leaves"));
            self.client_leaves(index);
            return self.connect();
        }
        if self.clients[index].to_ask > 0 {
            let think = self.random.pick(&[0, 1, 20, 100]);
            let think = self.random.between(0, think * MILLI);
            self.at(self.now + think, Event::ClientAsks(index));
        }
    }

    fn client_leaves(&mut self, index: usize) {
        let id = self.clients[index].session;
        self.clients[index].leave();
        let now = self.clock();
        self.hub.on_client_gone(now, id);
    }

    /// Some of what a client has sent arrives.
    fn client_bytes(&mut self, index: usize) {
        let client = &mut self.clients[index];
        if client.gone || client.outbox.is_empty() {
            return;
        }
        let n = some_of(client.outbox.len(), &mut self.random);
        let bytes: Vec<u8> = client.outbox.drain(..n).collect();
        let rest = !client.outbox.is_empty();
        client.socket.arrive(&bytes);
        self.run_session(self.clients[index].session, rig::read_client);
        if rest {
            self.soon(Event::ClientBytes(index));
        }
    }

    fn client_reads(&mut self, index: usize) {
        let now = self.clock();
        let client = &mut self.clients[index];
        if client.gone || client.socket.taken.is_empty() {
            return;
        }
        let n = some_of(client.socket.taken.len(), &mut self.random);
        let bytes: Vec<u8> = client.socket.taken.drain(..n).collect();
        let room = client.socket.room.saturating_add(n);
        let woken = client.socket.make_room(room);
        let rest = !client.socket.taken.is_empty();
        let scans = client.receive(now, &bytes, &mut self.ledger, HOLD_MAX);
        if woken {
            self.run_session(self.clients[index].session, rig::serve_client);
        }
        if rest {
            self.soon(Event::ClientReads(index));
        }
        scans.iter().for_each(|scan| self.check_scan(scan));
    }

    /// `run`: reads from it, or serves it.
    fn run_session(
        &mut self,
        id: SessionId,
        run: fn(&mut Hub, Now, SessionId, &mut rig::Socket) -> bool,
    ) {
        let now = self.clock();
        let Some(client) = self
            .clients
            .iter_mut()
            .find(|client| client.session == id && !client.gone)
        else {
            return;
        };
        let had = client.socket.taken.len();
        let ended = run(&mut self.hub, now, id, &mut client.socket);
        let (index, has) = (client.index, client.socket.taken.len());
        if ended && self.leaving {
            return self.left_by_slotcar(index);
        }
        if ended {
            // In the middle of a reply whose node is lost.
            assert!(
                self.may_tear,
                "client {index}: slotcar has closed its connection"
            );
            return self.client_leaves(index);
        }
        if had == 0 && has > 0 {
            self.soon(Event::ClientReads(index));
        }
    }

    /// slotcar has closed a connection: the client reads what is there, and nothing may have been sent that it has no answer to.
    fn left_by_slotcar(&mut self, index: usize) {
        let now = self.clock();
        let client = &mut self.clients[index];
        let bytes = std::mem::take(&mut client.socket.taken);
        client.receive(now, &bytes, &mut self.ledger, HOLD_MAX);
        for number in client.unanswered_numbers() {
            assert!(
                self.ledger.was_never_sent(number),
                "client {index}: #{number} was sent and not answered"
            );
        }
        self.client_leaves(index);
    }

    pub(crate) fn is_cut(&self, node: usize) -> bool {
        let node = self.cluster.nodes.get(node);
        node.is_some_and(|node| self.now < node.cut_until)
    }

    // ── links ───────────────────────────────────────────────────────────────────────────────────────────────────

    fn dial(&mut self, id: LinkId, endpoint: &Endpoint) {
        let node = self
            .cluster
            .node_at(endpoint)
            .filter(|_| !self.random.chance(2));
        // A node that does not exist refuses, later.
        self.wires.push(Wire::new(id, node.unwrap_or(usize::MAX)));
        self.soon(Event::Dialed(self.wires.len() - 1));
    }

    fn dialed(&mut self, wire: usize) {
        let (id, node) = (self.wires[wire].id, self.wires[wire].node);
        if self.wires[wire].state != WireState::Dialing {
            return;
        }
        if self.is_cut(node) && !std::mem::replace(&mut self.wires[wire].dial_is_late, true) {
            return self.at(self.now + DIAL_TIMEOUT, Event::Dialed(wire));
        }
        let is_there = self.cluster.nodes.get(node).is_some_and(|node| node.up);
        if is_there && !self.is_cut(node) {
            self.hub.on_dialed(id);
            self.wires[wire].state = WireState::Open;
            self.run_link(wire);
        } else {
            self.wires[wire].state = WireState::Closed;
            self.hub
                .on_link_down(self.clock(), id, &LinkDown::Dial("refused".into()));
        }
    }

    fn run_link(&mut self, index: usize) {
        let now = self.clock();
        let wire = &mut self.wires[index];
        if matches!(wire.state, WireState::Dialing | WireState::Closed) {
            return;
        }
        if self.random.chance(5) {
            wire.socket.make_room(self.random.pick(&[0, 5, 50]));
        }
        self.ledger.step += 1;
        let mut has_read = Vec::new();
        let clients = &mut self.clients;
        let mut straight = |session: SessionId, bytes: &[u8]| {
            let client = clients.iter_mut().find(|c| c.session == session && !c.gone);
            let client = client.expect("a client that is there");
            if client.socket.taken.is_empty() {
                has_read.push(client.index);
            }
            client.socket.take(bytes)
        };
        let read = rig::read_link(&mut self.hub, now, wire.id, &mut wire.socket, &mut straight);
        has_read
            .into_iter()
            .for_each(|client| self.soon(Event::ClientReads(client)));
        let wire = &mut self.wires[index];
        if read.is_some() {
            wire.close(&mut self.ledger);
        }
        self.ledger.step += 1;
        let down = read.or_else(|| rig::write_link(&mut self.hub, now, wire.id, &mut wire.socket));
        wire.take_written(&mut self.ledger);
        let (has_room, has_bytes) = (wire.socket.room == usize::MAX, !wire.to_node.is_empty());
        if let Some(down) = down {
            if wire.state != WireState::Closed {
                wire.close(&mut self.ledger);
            }
            self.hub.on_link_down(now, wire.id, &down);
            return;
        }
        if !has_room {
            self.soon(Event::Room(index));
        }
        if has_bytes {
            self.soon(Event::ToNode(index));
        }
    }

    fn deliver_to_node(&mut self, index: usize) {
        if self.waits_for_cut(index, Event::ToNode(index)) {
            return;
        }
        let wire = &mut self.wires[index];
        if wire.state != WireState::Open || wire.to_node.is_empty() {
            return;
        }
        wire.arrive_at_node(some_of(wire.to_node.len(), &mut self.random));
        let rest = !wire.to_node.is_empty();
        self.serve(index);
        if rest {
            self.soon(Event::ToNode(index));
        }
    }

    fn serve(&mut self, index: usize) {
        let wire = &mut self.wires[index];
        if wire.state == WireState::Open
            && !self.cluster.nodes[wire.node].paused
            && wire.serve(&mut self.cluster, &mut self.ledger, &mut self.random)
        {
            self.soon(Event::ToSlotcar(index));
        }
    }

    pub(crate) fn deliver_to_slotcar(&mut self, index: usize) {
        if self.waits_for_cut(index, Event::ToSlotcar(index)) {
            return;
        }
        let wire = &mut self.wires[index];
        if matches!(wire.state, WireState::Dialing | WireState::Closed)
            || wire.to_slotcar.is_empty()
        {
            return;
        }
        let n = some_of(wire.to_slotcar.len(), &mut self.random);
        let woken = wire.arrive_at_slotcar(n, &mut self.ledger);
        let rest = !wire.to_slotcar.is_empty();
        if woken {
            self.run_link(index);
        }
        if rest {
            self.soon(Event::ToSlotcar(index));
        }
    }

    /// Whether the bytes of a wire wait until its node can be reached again; `then` is what happens with them.
    fn waits_for_cut(&mut self, index: usize, then: Event) -> bool {
        let node = self.wires[index].node;
        let is_cut = self.is_cut(node);
        if is_cut {
            let delay = self.delay();
            self.at(self.cluster.nodes[node].cut_until + delay, then);
        }
        is_cut
    }

    pub(crate) fn open_wires(&self) -> Vec<usize> {
        (0..self.wires.len())
            .filter(|&wire| self.wires[wire].state == WireState::Open)
            .collect()
    }

    /// The node's end of a connection goes: perhaps after it has executed what was there, and has said something.
    pub(crate) fn break_wire(&mut self, index: usize) {
        if self.random.chance(50) {
            let all = self.wires[index].to_node.len();
            self.wires[index].arrive_at_node(all);
            self.serve(index);
        }
        let said = self.wires[index].to_slotcar.len();
        let kept = if self.random.chance(50) {
            self.random.below(said + 1)
        } else {
            0
        };
        self.wires[index].lose(kept);
        self.soon(Event::ToSlotcar(index));
        let delay = self.delay();
        self.at(self.now + delay, Event::Broken(index));
    }

    pub(crate) fn resume(&mut self, node: usize) {
        self.cluster.nodes[node].paused = false;
        // It has been out of the cluster: it serves nothing before it has heard of a successor.
        self.cluster.hear(node);
        for wire in self.open_wires() {
            if self.wires[wire].node == node {
                self.serve(wire);
            }
        }
    }

    // ── what must be true ───────────────────────────────────────────────────────────────────────────────────────

    /// Every key that was there throughout is returned, unless its slot changed hands meanwhile.
    fn check_scan(&mut self, scan: &Scanned) {
        self.scans += 1;
        let from = u64::try_from(scan.from.since_start().as_nanos()).unwrap();
        for tag in (0..TAGS).filter(|tag| self.moved_at[*tag] + 1000 * MILLI < from) {
            for key in (0..STABLE_KEYS).map(|key| format!("{{t{tag}}}k{key}")) {
                assert!(
                    scan.seen.contains(key.as_bytes()),
                    "SCAN since {from} has missed {key}: {:?}",
                    scan.seen
                );
            }
        }
    }

    fn check(mut self) -> Summary {
        for client in self.clients.iter().filter(|client| !client.gone) {
            let waits = client.oldest_unanswered();
            assert!(
                client.to_ask == 0,
                "client {} has not asked all",
                client.index
            );
            assert_eq!(
                client.unanswered(),
                0,
                "client {}: no answer to what it asked at {waits:?}",
                client.index
            );
            assert!(client.socket.taken.is_empty() && !client.socket.has_unread());
        }
        self.ledger.check();
        let mut counted: BTreeMap<Vec<u8>, (i64, i64)> = BTreeMap::new();
        for (key, (acknowledged, unknown)) in self.clients.iter().flat_map(|client| &client.counted)
        {
            let sum = counted.entry(key.clone()).or_default();
            *sum = (sum.0 + acknowledged, sum.1 + unknown);
        }
        for (key, (acknowledged, unknown)) in counted {
            let (name, is) = (
                String::from_utf8_lossy(&key).into_owned(),
                self.cluster.counter(&key),
            );
            assert!(
                (acknowledged..=acknowledged + unknown).contains(&is),
                "{name} is {is} after {acknowledged} acknowledged and {unknown} unknown increments"
            );
        }
        assert_eq!(self.hub.requests_in_flight(), 0);
        assert!(
            !self.hub.has_held(),
            "a lane is left: {:?}",
            self.hub.load()
        );
        for index in 0..self.clients.len() {
            if !self.clients[index].gone {
                self.client_leaves(index);
            }
        }
        let links = self.hub.link_count();
        assert_eq!(
            self.hub.load(),
            Load {
                links,
                ..Load::default()
            }
        );
        assert!(links <= 2 * self.cluster.nodes.len(), "{links} links");
        Summary {
            requests: self.ledger.len(),
            redirections: self.ledger.redirections,
            exempt: self.ledger.exempt,
            unknown: self.ledger.unknown,
            expired: self.ledger.expired,
            held: self.hub.counters().held,
            resent: self.hub.counters().resent,
            longest: self.ledger.longest,
            scans: self.scans,
        }
    }
}

/// All, or a part: frames are torn anywhere.
fn some_of(len: usize, random: &mut Random) -> usize {
    if random.chance(60) {
        len
    } else {
        1 + random.below(len)
    }
}
