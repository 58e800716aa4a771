//! A whole hub between clients and nodes that do what the script says: bytes from both, links that open and end, time,
//! topologies. No panic; every request is answered or its session has ended; nothing is kept beyond its limit.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use slotcar::clock::Now;
use slotcar::command::lookup::CommandTable;
use slotcar::config::limits::Limits;
use slotcar::config::{Logins, UnknownOutcome};
use slotcar::downstream::local::{Databases, Face};
use slotcar::resp::reply::{ReplyLimits, ReplyScan, ReplyScanned};
use slotcar::resp::request::{RequestLimits, RequestScan, Scanned};
use slotcar::route::part::{LinkId, SessionId};
use slotcar::topology::{Endpoint, Topology};
use slotcar::upstream::link::LinkDown;
use slotcar::worker::hub::{Hub, Load};

use super::Script;
use super::rig::{self, ShardPlan, Socket};

pub(crate) fn run(data: &[u8]) {
    let mut script = Script(data);
    let mut stage = Stage::new(&mut script);
    for _ in 0..STEPS_MAX {
        if script.is_over() {
            break;
        }
        stage.act(&mut script);
        stage.settle();
        stage.check();
    }
    stage.end();
}

struct Stage {
    hub: Hub,
    now: Now,
    limits: Limits,
    version: u64,
    clients: Vec<Client>,
    connected: u64,
    wires: Vec<Wire>,
}

struct Client {
    id: SessionId,
    socket: Socket,
    /// Looks for the end of what slotcar has said.
    scan: ReplyScan,
    said: Vec<u8>,
}

struct Wire {
    id: LinkId,
    socket: Socket,
    dialed: bool,
    /// What the node has read and not answered.
    asked: Vec<u8>,
}

impl Stage {
    fn new(script: &mut Script<'_>) -> Self {
        static COMMANDS: OnceLock<Arc<CommandTable>> = OnceLock::new();
        let commands = COMMANDS.get_or_init(|| Arc::new(CommandTable::new()));
        let limits = limits(script.byte());
        Self {
            hub: rig::hub(UnknownOutcome::Error, limits.clone(), HOLD_MAX, commands, 1),
            now: Now::at(Duration::from_secs(1)),
            limits,
            version: 0,
            clients: Vec::new(),
            connected: 0,
            wires: Vec::new(),
        }
    }

    fn act(&mut self, script: &mut Script<'_>) {
        match script.below(20) {
            0 => self.connect(script),
            1..=4 => {
                let request = script.pick(REQUESTS);
                self.client_sends(script, |out, _| out.extend(inline(request)));
            }
            5 => self.client_sends(script, |out, script| out.extend(script.chunk())),
            6 => self.client_sends(script, |out, script| {
                let words: Vec<&[u8]> = (0..1 + script.below(5)).map(|_| script.chunk()).collect();
                slotcar::resp::write::command(out, &words);
            }),
            7 => self.client_leaves(script),
            8 => self.client_reads(script),
            9 => self.dials_end(script.below(4) == 0),
            10 | 11 => self.nodes_answer(script),
            12 => self.node_says(script, |out, script| out.extend(script.chunk())),
            13 | 14 => {
                let reply = script.pick(REPLIES);
                self.node_says(script, |out, _| out.extend(reply));
            }
            15 => self.link_ends(script),
            16 => self.time_passes(Duration::from_millis(script.number().into())),
            17 => self.publish(script),
            18 => self.suspect(script),
            _ => self.learn(script),
        }
    }

    // ── clients ─────────────────────────────────────────────────────────────────────────────────────────────────

    fn connect(&mut self, script: &mut Script<'_>) {
        if self.clients.len() == CLIENTS_MAX {
            return;
        }
        self.connected += 1;
        let id = self
            .hub
            .on_accept(rig::identity(self.connected % 1000, self.now));
        if let Some(session) = self.hub.session_mut(id) {
            session.splits_transactions = script.below(2) == 0;
        }
        self.clients.push(Client {
            id,
            socket: Socket::default(),
            scan: ReplyScan::new(),
            said: Vec::new(),
        });
    }

    fn client_sends(
        &mut self,
        script: &mut Script<'_>,
        write: impl FnOnce(&mut Vec<u8>, &mut Script<'_>),
    ) {
        if self.clients.is_empty() {
            self.connect(script);
        }
        let index = script.below(self.clients.len());
        let mut bytes = Vec::new();
        write(&mut bytes, script);
        if self.clients[index].socket.arrive(&bytes) {
            self.run_client(index, rig::read_client);
        }
    }

    /// Says that it sends nothing more, or is gone.
    fn client_leaves(&mut self, script: &mut Script<'_>) {
        if self.clients.is_empty() {
            return;
        }
        let index = script.below(self.clients.len());
        if script.below(2) == 0 {
            self.client_ends(index);
        } else {
            self.clients[index].socket.end();
            self.run_client(index, rig::read_client);
        }
    }

    fn client_ends(&mut self, index: usize) {
        let client = self.clients.remove(index);
        self.hub.on_client_gone(self.now, client.id);
    }

    /// Has room for everything, or for a few bytes.
    fn client_reads(&mut self, script: &mut Script<'_>) {
        if self.clients.is_empty() {
            return;
        }
        let index = script.below(self.clients.len());
        let room = script.pick(&[usize::MAX, 0, 1, 100]);
        if self.clients[index].socket.make_room(room) {
            self.run_client(index, rig::serve_client);
        }
    }

    /// `run`: reads from it, or serves it.
    fn run_client(
        &mut self,
        index: usize,
        run: fn(&mut Hub, Now, SessionId, &mut rig::Socket) -> bool,
    ) {
        let client = &mut self.clients[index];
        let ended = run(&mut self.hub, self.now, client.id, &mut client.socket);
        client.said.append(&mut client.socket.taken);
        client.check();
        if ended {
            self.client_ends(index);
        }
    }

    // ── nodes ───────────────────────────────────────────────────────────────────────────────────────────────────

    fn dials_end(&mut self, fail: bool) {
        let waiting: Vec<usize> = (0..self.wires.len())
            .filter(|at| !self.wires[*at].dialed)
            .collect();
        for at in waiting.into_iter().rev() {
            if fail {
                self.end_link(at, LinkDown::Dial("refused".into()));
            } else {
                self.wires[at].dialed = true;
                self.hub.on_dialed(self.wires[at].id);
                self.run_link(at);
            }
        }
    }

    /// All nodes answer what they were asked: with what is expected, or all with the same.
    fn nodes_answer(&mut self, script: &mut Script<'_>) {
        let reply = match script.below(4) {
            0 => Some(script.pick(REPLIES)),
            _ => None,
        };
        for at in (0..self.wires.len()).rev() {
            let bytes = self.wires[at].answers(reply);
            if self.wires[at].socket.arrive(&bytes) {
                self.run_link(at);
            }
        }
    }

    fn node_says(
        &mut self,
        script: &mut Script<'_>,
        write: impl FnOnce(&mut Vec<u8>, &mut Script<'_>),
    ) {
        if self.wires.is_empty() {
            return;
        }
        let at = script.below(self.wires.len());
        let mut bytes = Vec::new();
        write(&mut bytes, script);
        if self.wires[at].dialed && self.wires[at].socket.arrive(&bytes) {
            self.run_link(at);
        }
    }

    fn link_ends(&mut self, script: &mut Script<'_>) {
        if !self.wires.is_empty() {
            let at = script.below(self.wires.len());
            self.end_link(at, LinkDown::Lost("closed by the node".into()));
        }
    }

    fn end_link(&mut self, at: usize, why: LinkDown) {
        let wire = self.wires.remove(at);
        self.hub.on_link_down(self.now, wire.id, &why);
    }

    /// Those that there are now.
    fn lose_links(&mut self) {
        for wire in std::mem::take(&mut self.wires) {
            let why = LinkDown::Dial("refused".into());
            self.hub.on_link_down(self.now, wire.id, &why);
            self.settle();
        }
    }

    fn run_link(&mut self, at: usize) {
        let wire = &mut self.wires[at];
        let clients = &mut self.clients;
        let mut straight = |session: SessionId, bytes: &[u8]| {
            let client = clients.iter_mut().find(|client| client.id == session);
            let client = client.expect("a client that is there");
            client.socket.take(bytes)
        };
        let (hub, socket) = (&mut self.hub, &mut wire.socket);
        let read = rig::read_link(hub, self.now, wire.id, socket, &mut straight);
        let down =
            read.or_else(|| rig::write_link(&mut self.hub, self.now, wire.id, &mut wire.socket));
        wire.asked.append(&mut wire.socket.taken);
        if let Some(down) = down {
            self.end_link(at, down);
        }
    }

    // ── the control thread ──────────────────────────────────────────────────────────────────────────────────────

    fn publish(&mut self, script: &mut Script<'_>) {
        self.version += 1;
        let topology = topology(script).with_version(self.version);
        self.hub.on_topology(self.now, &topology);
    }

    fn suspect(&mut self, script: &mut Script<'_>) {
        let chosen = script.byte();
        let suspects = (0..NODES)
            .filter(|node| chosen & 1 << node != 0)
            .map(node)
            .collect();
        self.hub.on_suspects(self.now, &suspects);
    }

    fn learn(&mut self, script: &mut Script<'_>) {
        let face = Face {
            server: "valkey".into(),
            version: script.pick(&["7.0.0", "8.0.1", "9.1", "", "x"]).into(),
            databases: Databases::default(),
            logins: Logins::Anybody,
        };
        self.hub.on_node_facts(Arc::new(CommandTable::new()), face);
        self.hub.on_trouble("nobody answers");
    }

    fn time_passes(&mut self, time: Duration) {
        self.now = self.now + time;
        self.hub.on_timer(self.now);
    }

    // ── what follows ────────────────────────────────────────────────────────────────────────────────────────────

    /// Runs whoever was woken until nobody is.
    fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let effects = std::mem::take(self.hub.effects());
            if effects.is_empty() {
                return;
            }
            for (id, endpoint) in effects.dials {
                assert!(!endpoint.host.is_empty());
                self.wires.push(Wire::new(id));
            }
            for id in effects.sessions {
                if let Some(index) = self.clients.iter().position(|client| client.id == id) {
                    self.run_client(index, rig::serve_client);
                }
            }
            for id in effects.links {
                let wire = self
                    .wires
                    .iter()
                    .position(|wire| wire.id == id && wire.dialed);
                wire.into_iter().for_each(|at| self.run_link(at));
            }
        }
        panic!("it never comes to rest");
    }

    /// What holds at any time.
    fn check(&self) {
        let load = self.hub.load();
        assert_eq!(load.sessions, self.clients.len());
        assert!(load.links <= self.wires.len());
        assert!(load.held <= self.limits.hold_requests_max);
        assert!(load.held_bytes <= self.limits.hold_bytes_max);
        assert!(load.gathers <= self.hub.requests_in_flight() + ABANDONED_GATHERS);
    }

    fn is_at_rest(&self) -> bool {
        self.hub.requests_in_flight() == 0 && !self.hub.has_held()
    }

    /// Nodes are lost, none can be reached, clients read: in the end all is answered and nothing is left.
    fn end(&mut self) {
        for index in (0..self.clients.len()).rev() {
            self.clients[index].socket.make_room(usize::MAX);
            self.run_client(index, rig::serve_client);
        }
        self.settle();
        let (mut waited, mut before) = (Duration::ZERO, (0, 0));
        while waited < PATIENCE && (!self.wires.is_empty() || !self.is_at_rest()) {
            self.lose_links();
            self.time_passes(PAUSE);
            self.settle();
            let now = (self.hub.counters().requests, self.hub.requests_in_flight());
            // One after another may have to wait for as long as it wants to.
            waited = if now == before { waited + PAUSE } else { PAUSE };
            before = now;
        }
        for client in &self.clients {
            let session = self.hub.session(client.id).expect("its session");
            let waits = session.blocked.is_some() || session.standing.is_some();
            assert!(
                waits || session.replies.is_empty() || self.hub.has_held(),
                "no answer: {session:?}"
            );
        }
        for index in (0..self.clients.len()).rev() {
            self.client_ends(index);
            self.settle();
        }
        self.lose_links();
        self.lose_links();
        let load = self.hub.load();
        assert_eq!(Load { links: 0, ..load }, Load::default());
    }
}

impl Client {
    /// What slotcar says is RESP, whatever the nodes said.
    fn check(&mut self) {
        while !self.said.is_empty() {
            match self.scan.advance(&self.said, &ReplyLimits::default()) {
                Ok(ReplyScanned::Complete(len)) => drop(self.said.drain(..len)),
                Ok(ReplyScanned::Wants(_)) => return,
                Err(error) => panic!("{error}: {}", self.said.escape_ascii()),
            }
        }
    }
}

impl Wire {
    fn new(id: LinkId) -> Self {
        Self {
            id,
            socket: Socket::default(),
            dialed: false,
            asked: Vec::new(),
        }
    }

    /// Replies to every whole request that the node was sent: `reply`, or one that could be right.
    fn answers(&mut self, reply: Option<&[u8]>) -> Vec<u8> {
        let (mut out, mut at) = (Vec::new(), 0);
        let mut scan = RequestScan::new();
        while let Ok(Scanned::Multibulk(len)) =
            scan.advance(&self.asked[at..], &RequestLimits::default())
        {
            let request = scan.request(&self.asked[at..at + len]);
            let name = request.name().to_ascii_uppercase();
            out.extend_from_slice(reply.unwrap_or_else(|| likely_reply(&name)));
            at += len;
        }
        self.asked.drain(..at);
        out
    }
}

/// A reply of the kind that a server gives.
fn likely_reply(name: &[u8]) -> &'static [u8] {
    match name {
        b"MULTI" | b"ASKING" | b"SET" | b"MSET" | b"WATCH" | b"HELLO" => b"+OK\r\n",
        b"PING" => b"+PONG\r\n",
        b"EXEC" => b"*1\r\n+OK\r\n",
        b"MGET" => b"*1\r\n$1\r\nv\r\n",
        b"BLPOP" => b"*2\r\n$1\r\na\r\n$1\r\nv\r\n",
        b"SCAN" => b"*2\r\n$1\r\n7\r\n*1\r\n$1\r\nk\r\n",
        b"SUBSCRIBE" => b">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n",
        b"PSUBSCRIBE" => b">3\r\n$10\r\npsubscribe\r\n$1\r\np\r\n:1\r\n",
        b"SSUBSCRIBE" => b">3\r\n$10\r\nssubscribe\r\n$1\r\ns\r\n:1\r\n",
        b"UNSUBSCRIBE" => b">3\r\n$11\r\nunsubscribe\r\n$1\r\nc\r\n:0\r\n",
        b"CLIENT" | b"DEL" | b"DBSIZE" | b"WAIT" | b"PUBLISH" => b":1\r\n",
        b"INFO" => b"$22\r\n# Server\r\nredis_mode:x\r\n",
        _ => b"$1\r\nv\r\n",
    }
}

/// A line as it is typed, as a request.
fn inline(line: &str) -> Vec<u8> {
    let words: Vec<&str> = line.split(' ').collect();
    let mut out = Vec::new();
    slotcar::resp::write::command(&mut out, &words);
    out
}

/// The ordinary limits, or ones that are met at once.
fn limits(chosen: u8) -> Limits {
    let mut limits = Limits::default();
    if chosen & 1 != 0 {
        limits.session_requests_in_flight_max = 2;
        limits.session_output_bytes_soft = 40;
    }
    if chosen & 2 != 0 {
        limits.link_queue_bytes_soft = 60;
        limits.link_queue_requests_max = 3;
    }
    if chosen & 4 != 0 {
        limits.hold_bytes_max = 200;
        limits.hold_requests_max = 3;
    }
    if chosen & 8 != 0 {
        limits.session_output_bytes_max = 400;
        limits.subscriber_output_bytes_soft = 60;
        limits.subscriber_output_bytes_max = 200;
        limits.transaction_bytes_max = 80;
        limits.blocked_input_bytes_max = 40;
    }
    if chosen & 4 != 0 {
        limits.reply_straight_bytes_min = 1;
        limits.reply_kept_bytes_max = 20;
    }
    if chosen & 16 != 0 {
        limits.idle_links_max = 1;
        limits.awaited_keys_max = 2;
        limits.script_bytes_max = 30;
        limits.scan_tokens_max = 1;
    }
    limits
}

fn node(number: u16) -> Endpoint {
    Endpoint::new("10.0.0.1", 7000 + number)
}

/// One to three shards; the last slots may belong to nobody.
fn topology(script: &mut Script<'_>) -> Topology {
    let shards = 1 + u16::from(script.byte() % 3);
    let (first, gap) = (u16::from(script.byte() % 3), script.below(8) == 0);
    let width = 16384 / shards;
    let shards = (0..shards).map(|shard| {
        let from = shard * width;
        let to = if gap {
            from + width - 100
        } else {
            from + width - 1
        };
        let last = if shard + 1 == shards && !gap {
            16383
        } else {
            to
        };
        ShardPlan {
            primary: node((first + shard) % NODES),
            replicas: vec![node((first + shard + 3) % NODES)],
            ranges: vec![(from, last)],
        }
    });
    rig::topology(1, shards.collect())
}

const REQUESTS: &[&str] = &[
    "GET a",
    "SET a v",
    "SET b v",
    "INCR c",
    "MGET a b c",
    "MSET a 1 b 2",
    "DEL a b",
    "MULTI",
    "EXEC",
    "DISCARD",
    "WATCH a",
    "UNWATCH",
    "SUBSCRIBE c",
    "PSUBSCRIBE p",
    "SSUBSCRIBE s",
    "UNSUBSCRIBE",
    "UNSUBSCRIBE c",
    "PUBLISH c m",
    "SPUBLISH s m",
    "BLPOP a 0",
    "BLPOP a b 1",
    "BLPOP a b 0",
    "BLMOVE a {a}b LEFT RIGHT 0",
    "XREAD BLOCK 0 STREAMS a b $ $",
    "XREAD BLOCK 5 STREAMS a 0-0",
    "WAIT 1 100",
    "WAITAOF 1 1 0",
    "HELLO 3",
    "HELLO 2",
    "HELLO",
    "CLIENT TRACKING ON",
    "CLIENT TRACKING OFF",
    "CLIENT TRACKING ON BCAST PREFIX a",
    "CLIENT CACHING YES",
    "CLIENT REPLY OFF",
    "CLIENT REPLY SKIP",
    "CLIENT REPLY ON",
    "CLIENT LIST",
    "CLIENT KILL TYPE normal",
    "CLIENT PAUSE 100",
    "CLIENT UNPAUSE",
    "CLIENT UNBLOCK 1",
    "CLIENT UNBLOCK 1 ERROR",
    "MONITOR",
    "RESET",
    "QUIT",
    "SCAN 0",
    "SCAN 7 MATCH x COUNT 1",
    "DBSIZE",
    "KEYS *",
    "INFO",
    "FLUSHALL",
    "EVAL x 1 a",
    "EVALSHA 0123456789012345678901234567890123456789 1 a",
    "SCRIPT LOAD x",
    "SCRIPT FLUSH",
    "RANDOMKEY",
    "PING",
    "SELECT 0",
    "COMMAND COUNT",
    "CONFIG GET x",
    "CONFIG SET x y",
    "CLUSTER INFO",
    "ASKING",
    "READONLY",
    "RENAME a b",
    "PUBSUB CHANNELS",
    "PUBSUB NUMSUB c",
    "SLOWLOG GET",
    "LATENCY DOCTOR",
    "PSUBSCRIBE __keyspace@0__:*",
    "PUNSUBSCRIBE",
    "SUNSUBSCRIBE",
    "BZPOPMIN a b 0",
    "BLMPOP 0 2 a b LEFT",
    "GET",
    "NONSENSE x",
    "AUTH x",
    "SHUTDOWN",
    "FUNCTION STATS",
    "MEMORY STATS",
    "DEBUG SLEEP 1",
];

const REPLIES: &[&[u8]] = &[
    b"+OK\r\n",
    b"+QUEUED\r\n",
    b":1\r\n",
    b"$-1\r\n",
    b"*-1\r\n",
    b"_\r\n",
    b"*0\r\n",
    b"$1\r\nv\r\n",
    b"*2\r\n$1\r\na\r\n$1\r\nv\r\n",
    b"%1\r\n$1\r\na\r\n:1\r\n",
    b"-ERR no\r\n",
    b"-MOVED 15495 10.0.0.1:7001\r\n",
    b"-MOVED 15495 10.0.0.1:7000\r\n",
    b"-MOVED 3300 :7002\r\n",
    b"-MOVED 3300 ?:7002\r\n",
    b"-MOVED 99999 x:1\r\n",
    b"-MOVED 1 elsewhere:0\r\n",
    b"-ASK 15495 10.0.0.1:7001\r\n",
    b"-ASK 3300 elsewhere:1\r\n",
    b"-TRYAGAIN x\r\n",
    b"-CLUSTERDOWN x\r\n",
    b"-LOADING x\r\n",
    b"-READONLY x\r\n",
    b"-MASTERDOWN x\r\n",
    b"-NOSCRIPT x\r\n",
    b"-EXECABORT x\r\n",
    b"-NOAUTH x\r\n",
    b"-UNBLOCKED force\r\n",
    b">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n",
    b">3\r\n$11\r\nunsubscribe\r\n$1\r\nc\r\n:0\r\n",
    b">3\r\n$12\r\nsunsubscribe\r\n$1\r\ns\r\n:0\r\n",
    b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n",
    b">4\r\n$8\r\npmessage\r\n$1\r\np\r\n$1\r\nc\r\n$1\r\nm\r\n",
    b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n",
    b">2\r\n$10\r\ninvalidate\r\n_\r\n",
    b"*2\r\n$1\r\n0\r\n*0\r\n",
    b"*2\r\n$20\r\n18446744073709551615\r\n*1\r\n$1\r\nk\r\n",
    b"$40\r\n",
    b"*3\r\n+a\r\n",
];

const STEPS_MAX: usize = 400;
const CLIENTS_MAX: usize = 4;
const NODES: u16 = 6;
const HOLD_MAX: Duration = Duration::from_secs(2);
/// Without progress: longer than any pause, wait or silence that a script can ask for.
const PATIENCE: Duration = Duration::from_secs(200);
const PAUSE: Duration = Duration::from_millis(2500);
/// Wakes until nobody has anything to do.
const ROUNDS_MAX: usize = 500;
/// Gathers whose session has just ended.
const ABANDONED_GATHERS: usize = 0;
