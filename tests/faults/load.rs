//! The clients of a row: 16 that increment and read back, each on keys of its own, and 4 that only read, all through
//! slotcar; and one for each shard that asks the nodes directly.
//!
//! Three of four clients stay at one shard, so that trouble at one is seen to leave the others alone; the fourth goes
//! from shard to shard.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::client::{Client, End, value_of};
use crate::direct::Direct;
use crate::ledger::{APART, Counter};
use crate::nodes::{Guide, Nodes};
use crate::support::{Conn, slot_of, wait_until};

pub struct Load {
    switch: Arc<Switch>,
    guide: Arc<RwLock<Guide>>,
    clients: Vec<JoinHandle<(Client, Vec<Counter>)>>,
    direct: Vec<JoinHandle<Direct>>,
    /// The keys of the clients of slotcar, with their shards.
    keys: Vec<(String, usize)>,
    pub started: Instant,
}

/// What everybody saw, and what they know of their counters.
pub struct Seen {
    pub clients: Vec<Client>,
    pub counters: Vec<Counter>,
    pub direct: Vec<Direct>,
    pub started: Instant,
    pub ended: Instant,
}

/// Whether clients are to work, to pause, or to end.
#[derive(Default)]
pub struct Switch {
    state: AtomicU8,
    /// How many are pausing.
    quiet: AtomicUsize,
}

/// Keys by the shard that owns them.
pub struct Keys {
    name: String,
    /// The shard of each slot: primaries in the order of their first slot.
    shard_of: Vec<usize>,
    pub shards: usize,
    next: usize,
}

/// What one client works with.
enum Job {
    Write(Vec<Counter>),
    Read(Vec<(String, usize)>),
}

impl Load {
    /// `name` is part of every key. `keep_all`: of everything that is asked, or only of trouble, a note is kept.
    pub fn start(name: &str, slotcar: SocketAddr, behind: &dyn Nodes, keep_all: bool) -> Load {
        let mut keys = Keys::new(name, behind);
        let jobs: Vec<Job> = (0..WRITERS + READERS)
            .map(|client| match client {
                writer if writer < WRITERS => Job::Write(counters(&mut keys, writer)),
                reader => Job::Read(values(&mut keys, reader)),
            })
            .collect();
        let measures: Vec<Counter> = (0..keys.shards)
            .map(|shard| Counter::new(keys.take(shard), shard, base(WRITERS + shard, 0)))
            .collect();
        store(behind, &keys, &jobs, &measures);
        let keys = jobs.iter().flat_map(Job::keys).collect();
        let switch = Arc::new(Switch::default());
        let guide = Arc::new(RwLock::new(behind.guide()));
        let clients = jobs.into_iter().enumerate().map(|(index, job)| {
            let client = Client::new(format!("{name}-{index}"), slotcar, keep_all);
            let switch = switch.clone();
            std::thread::spawn(move || play(client, job, &switch))
        });
        let clients = clients.collect();
        let direct = measures.into_iter().map(|counter| {
            let (direct, switch) = (Direct::new(counter, guide.clone()), switch.clone());
            std::thread::spawn(move || direct.run(&switch))
        });
        let direct = direct.collect();
        Load {
            switch,
            guide,
            clients,
            direct,
            keys,
            started: Instant::now(),
        }
    }

    /// What clients of slotcar use of a shard.
    pub fn keys_of(&self, shard: usize) -> Vec<String> {
        let keys = self.keys.iter().filter(|(_, of)| *of == shard);
        keys.map(|(key, _)| key.clone()).collect()
    }

    /// Nodes came or went: the direct clients have to know.
    pub fn look_at(&self, behind: &dyn Nodes) {
        *self.guide.write().unwrap() = behind.guide();
    }

    /// Returns when nobody has anything in flight. The connections stay.
    pub fn pause(&self) {
        self.switch.pause(self.clients.len() + self.direct.len());
    }

    pub fn resume(&self) {
        self.switch.resume();
    }

    /// Clients do not come back when their connection ends.
    pub fn let_go(&self) {
        self.switch.state.store(LET_GO, Ordering::Release);
    }

    /// Waits for the answers that are due.
    pub fn stop(self) -> Seen {
        self.switch.stop();
        let (clients, counters): (Vec<Client>, Vec<Vec<Counter>>) = self
            .clients
            .into_iter()
            .map(|client| client.join().expect("a client's thread"))
            .unzip();
        let direct = self
            .direct
            .into_iter()
            .map(|direct| direct.join().expect("a direct client's thread"))
            .collect();
        Seen {
            clients,
            counters: counters.into_iter().flatten().collect(),
            direct,
            started: self.started,
            ended: Instant::now(),
        }
    }
}

impl Seen {
    /// Compares what is known of the counters with what the nodes store now.
    pub fn settle(&mut self, behind: &dyn Nodes) -> Vec<String> {
        let owners = behind.owners();
        let mut wrong = Vec::new();
        let direct = self.direct.iter_mut().map(|direct| &mut direct.counter);
        for counter in self.counters.iter_mut().chain(direct) {
            let slot = usize::from(slot_of(&counter.key));
            let stored = behind.conn(owners[slot]).ok(&["GET", &counter.key]);
            let number = stored.bytes().map(String::from_utf8_lossy);
            match number.and_then(|text| text.parse().ok()) {
                Some(number) => wrong.extend(counter.on_value(number).err()),
                None => wrong.push(format!("{} is {stored:?} in the end", counter.key)),
            }
        }
        wrong
    }
}

impl Switch {
    /// Returns when `all` who have this switch are quiet.
    pub fn pause(&self, all: usize) {
        self.state.store(QUIET, Ordering::Release);
        wait_until("all pause", END_LIMIT, || {
            self.quiet.load(Ordering::Acquire) == all
        });
    }

    pub fn resume(&self) {
        self.state.store(RUN, Ordering::Release);
    }

    pub fn stop(&self) {
        self.state.store(STOP, Ordering::Release);
    }

    pub fn is_stopped(&self) -> bool {
        self.state.load(Ordering::Acquire) == STOP
    }

    /// Waits as long as there should be quiet; whether there was any.
    pub fn wait_quiet(&self) -> bool {
        if self.state.load(Ordering::Acquire) != QUIET {
            return false;
        }
        self.quiet.fetch_add(1, Ordering::AcqRel);
        while self.state.load(Ordering::Acquire) == QUIET {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.quiet.fetch_sub(1, Ordering::AcqRel);
        true
    }

    fn lets_go(&self) -> bool {
        self.state.load(Ordering::Acquire) == LET_GO
    }
}

impl Keys {
    pub fn new(name: &str, behind: &dyn Nodes) -> Keys {
        let owners = behind.owners();
        let mut primaries = Vec::new();
        let shard_of = owners.iter().map(|owner| {
            let known = primaries.iter().position(|primary| primary == owner);
            known.unwrap_or_else(|| {
                primaries.push(*owner);
                primaries.len() - 1
            })
        });
        Keys {
            name: name.to_owned(),
            shard_of: shard_of.collect(),
            shards: primaries.len(),
            next: 0,
        }
    }

    /// A key of that shard that nobody else has.
    pub fn take(&mut self, shard: usize) -> String {
        loop {
            self.next += 1;
            let key = format!("{}:{}", self.name, self.next);
            if self.shard_of(&key) == shard {
                return key;
            }
        }
    }

    fn shard_of(&self, key: &str) -> usize {
        self.shard_of[usize::from(slot_of(key))]
    }
}

impl Job {
    fn keys(&self) -> Vec<(String, usize)> {
        match self {
            Job::Write(counters) => counters
                .iter()
                .map(|counter| (counter.key.clone(), counter.shard))
                .collect(),
            Job::Read(values) => values.clone(),
        }
    }
}

fn counters(keys: &mut Keys, client: usize) -> Vec<Counter> {
    shards_of(client, keys.shards)
        .enumerate()
        .map(|(index, shard)| Counter::new(keys.take(shard), shard, base(client, index)))
        .collect()
}

fn values(keys: &mut Keys, client: usize) -> Vec<(String, usize)> {
    shards_of(client, keys.shards)
        .cycle()
        .take(VALUES)
        .map(|shard| (keys.take(shard), shard))
        .collect()
}

/// The shards whose keys a client uses.
fn shards_of(client: usize, shards: usize) -> impl Iterator<Item = usize> + Clone {
    let roams = client % 4 == 3;
    let first = client % 4;
    (0..shards).filter(move |shard| roams || *shard == first % shards)
}

/// Where a counter starts.
fn base(client: usize, index: usize) -> i64 {
    i64::try_from(1 + client * 8 + index).expect("a small number") * APART
}

/// Stores what is to be read, at the nodes and at their replicas.
fn store(behind: &dyn Nodes, keys: &Keys, jobs: &[Job], measures: &[Counter]) {
    let mut requests = vec![Vec::new(); keys.shards];
    let mut set = |key: &str, shard: usize, value: String| {
        requests[shard].push(vec!["SET".to_owned(), key.to_owned(), value]);
    };
    for counter in measures {
        set(&counter.key, counter.shard, counter.known.to_string());
    }
    for job in jobs {
        match job {
            Job::Write(counters) => counters
                .iter()
                .for_each(|counter| set(&counter.key, counter.shard, counter.known.to_string())),
            Job::Read(values) => values
                .iter()
                .for_each(|(key, shard)| set(key, *shard, value_of(key))),
        }
    }
    for (shard, primary) in behind.primaries().into_iter().enumerate() {
        let mut conn: Conn = behind.conn(primary);
        for reply in conn.pipeline(&requests[shard]) {
            assert!(reply.is_ok(), "SET at shard {shard}: {reply:?}");
        }
        let replicas = conn.ok(&["WAIT", "1", "5000"]).int();
        assert!(replicas >= 1, "no replica of shard {shard} took part");
    }
}

fn play(mut client: Client, job: Job, switch: &Switch) -> (Client, Vec<Counter>) {
    let (mut counters, values) = match job {
        Job::Write(counters) => (counters, Vec::new()),
        Job::Read(values) => (Vec::new(), values),
    };
    for round in 0_usize.. {
        if switch.is_stopped() {
            break;
        }
        if switch.wait_quiet() {
            client.log.resume();
        }
        if round % 8 == 7 {
            client.echo();
        } else if let Some((key, shard)) = values.get(round % values.len().max(1)) {
            client.read(key, *shard);
        } else {
            // Each is incremented, then read back.
            let counter = round / 2 % counters.len();
            let counter = &mut counters[counter];
            match round % 2 {
                0 => client.increment(counter),
                _ => client.read_back(counter),
            }
        }
        if client.is_cut_off() {
            if switch.lets_go() {
                break;
            }
            std::thread::sleep(RECONNECT_PAUSE);
        }
        std::thread::sleep(PAUSE);
    }
    client.leave();
    (client, counters)
}

impl Client {
    /// Its newest request ended with the connection.
    fn is_cut_off(&self) -> bool {
        let last = self.log.ops.last();
        !self.is_connected() && last.is_some_and(|op| matches!(op.end, End::Closed { .. }))
    }
}

const WRITERS: usize = 16;
const READERS: usize = 4;
const VALUES: usize = 30;
/// Between two requests of a client, so that two cores have room for clients, slotcar and six servers.
const PAUSE: Duration = Duration::from_millis(2);
const RECONNECT_PAUSE: Duration = Duration::from_millis(20);
const END_LIMIT: Duration = Duration::from_secs(45);
const RUN: u8 = 0;
const QUIET: u8 = 1;
const LET_GO: u8 = 2;
const STOP: u8 = 3;
