//! A hub in a steady state, without sockets: the same requests of the same clients, answered by the same replies, round
//! after round. What a round costs is what the pure path costs: cut, look up, plan, link, reply, drain.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use slotcar::clock::Now;
use slotcar::command::lookup::CommandTable;
use slotcar::command::together::Rule;
use slotcar::config::UnknownOutcome;
use slotcar::config::limits::Limits;
use slotcar::resp::request::{RequestLimits, RequestScan, Scanned};
use slotcar::resp::write;
use slotcar::route::part::{LinkId, SessionId};
use slotcar::topology::Endpoint;
use slotcar::worker::hub::{Hub, Live, Served, Socket};

use crate::rig::{self, ShardPlan};

const CLIENTS: u64 = 50;
const NOW: Now = Now::ZERO;

const AS_USUAL: Live = Live {
    hold_max: Duration::from_secs(15),
    unknown_outcome: UnknownOutcome::Error,
    memory_max: 0,
    clients_max: 10_000,
    client_idle_timeout: None,
    read_own_writes: Duration::ZERO,
    slow_after: Some(Duration::from_millis(10)),
    sample_every: 128,
};

/// One load: what each client sends in a round.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Requests that a client sends at once.
    pub(crate) pipeline: usize,
    pub(crate) kind: Kind,
    pub(crate) value_bytes: usize,
    /// What is kept together, if anything.
    rule: Option<&'static str>,
    /// As it is by default: some requests are looked at closely, which allocates.
    sampled: bool,
}

#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Get,
    Set,
    /// Of ten keys.
    Mget,
    /// Of ten keys.
    Mset,
}

pub(crate) const CASES: [Case; 9] = [
    Case::new("get", Kind::Get, 1, 64),
    Case::new("set", Kind::Set, 1, 64),
    Case::new("get_p16", Kind::Get, 16, 64),
    Case::new("set_p16", Kind::Set, 16, 64),
    Case::new("mget10", Kind::Mget, 1, 64),
    Case::new("mset10", Kind::Mset, 1, 64),
    Case::new("get16k", Kind::Get, 1, 16 * 1024),
    Case::new("set16k", Kind::Set, 1, 16 * 1024),
    Case::new("get_together", Kind::Get, 1, 64).together("key:*"),
];

#[allow(dead_code, reason = "not for the test of allocations")]
pub(crate) const SAMPLED: Case = Case {
    sampled: true,
    ..Case::new("get_sampled", Kind::Get, 1, 64)
};

impl Case {
    const fn new(name: &'static str, kind: Kind, pipeline: usize, value_bytes: usize) -> Self {
        Self {
            name,
            pipeline,
            kind,
            value_bytes,
            rule: None,
            sampled: false,
        }
    }

    /// With keys that a rule fits.
    const fn together(self, rule: &'static str) -> Self {
        Self {
            rule: Some(rule),
            ..self
        }
    }

    /// Requests in one round.
    pub(crate) fn requests(&self) -> usize {
        self.pipeline * usize::try_from(CLIENTS).expect("few")
    }

    fn request(&self, number: u64, out: &mut Vec<u8>) {
        let value = vec![b'x'; self.value_bytes];
        let key = |n: u64| format!("key:{:012}", number * 10 + n).into_bytes();
        let mut words: Vec<Vec<u8>> = Vec::new();
        match self.kind {
            Kind::Get => words.extend([b"GET".to_vec(), key(0)]),
            Kind::Set => words.extend([b"SET".to_vec(), key(0), value]),
            Kind::Mget => {
                words.push(b"MGET".to_vec());
                words.extend((0..10).map(key));
            }
            Kind::Mset => {
                words.push(b"MSET".to_vec());
                (0..10).for_each(|n| words.extend([key(n), value.clone()]));
            }
        }
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        write::command(out, &words);
    }
}

/// A hub, and what goes in and out in each round.
pub(crate) struct Steady {
    hub: Hub,
    /// What each client sends.
    clients: Vec<(SessionId, Vec<u8>)>,
    /// What each link's node says.
    replies: Vec<(LinkId, Vec<u8>)>,
    /// Bytes that clients get in a round.
    out_bytes: usize,
    /// Of this round, those that went straight from where they were read.
    straight_bytes: usize,
}

impl Steady {
    /// With links that are open, after a few rounds.
    pub(crate) fn new(case: &Case) -> Self {
        let rules = case.rule.map(|rule| Rule::parse(rule).expect("a rule"));
        let mut hub = rig::hub_keeping(
            rules.as_slice(),
            UnknownOutcome::Error,
            Limits::default(),
            Duration::from_secs(15),
            &Arc::new(CommandTable::new()),
            1,
        );
        if case.sampled {
            hub.on_live(NOW, &AS_USUAL);
        }
        let thirds = [(0, 5460), (5461, 10922), (10923, 16383)];
        let shard = |(port, range)| ShardPlan {
            primary: Endpoint::new("10.0.0.1", port),
            replicas: Vec::new(),
            ranges: vec![range],
        };
        let shards = (7000..).zip(thirds).map(shard).collect();
        hub.on_topology(NOW, &rig::topology(1, shards));
        let clients = (0..CLIENTS).map(|number| {
            let mut bytes = Vec::new();
            for n in 0..case.pipeline as u64 {
                case.request(number * 16 + n, &mut bytes);
            }
            (hub.on_accept(rig::identity(number, NOW)), bytes)
        });
        let mut steady = Self {
            clients: clients.collect(),
            hub,
            replies: Vec::new(),
            out_bytes: 0,
            straight_bytes: 0,
        };
        steady.open(case);
        (0..5).for_each(|_| steady.round());
        steady
    }

    /// One round: every client asks, every node answers, everybody gets what it is owed.
    pub(crate) fn round(&mut self) {
        self.ask();
        self.straight_bytes = 0;
        let Self { hub, replies, .. } = self;
        let mut written = std::mem::take(&mut hub.effects().links);
        for id in written.drain(..) {
            hub.write_link(NOW, id, &mut Sink::default())
                .expect("a link");
        }
        hub.effects().links = written;
        for (id, bytes) in replies {
            let mut straight = |_: SessionId, bytes: &[u8]| {
                self.straight_bytes += bytes.len();
                bytes.len()
            };
            hub.on_node_bytes(NOW, *id, bytes, &mut straight);
        }
        let got = self.serve_clients() + self.straight_bytes;
        assert_eq!(got, self.out_bytes, "the same replies in each round");
        assert_eq!(self.hub.requests_in_flight(), 0);
    }

    fn ask(&mut self) {
        let Self { hub, clients, .. } = self;
        for (id, bytes) in clients {
            hub.on_client_bytes(NOW, *id, bytes);
        }
    }

    /// The first round: links are dialled and greeted, and each node's replies are made up.
    fn open(&mut self, case: &Case) {
        self.ask();
        let hub = &mut self.hub;
        for (id, _) in std::mem::take(&mut hub.effects().dials) {
            hub.on_dialed(id);
            let greeted = b"+PONG\r\n+OK\r\n";
            hub.on_node_bytes(NOW, id, greeted, &mut |_, _| 0);
            let mut asked = Sink {
                kept: Some(Vec::new()),
                ..Sink::default()
            };
            hub.write_link(NOW, id, &mut asked).expect("a link");
            let asked = asked.kept.expect("kept");
            self.replies.push((id, answers(&asked, case.value_bytes)));
        }
        hub.effects().links.clear();
        for (id, bytes) in &self.replies {
            hub.on_node_bytes(NOW, *id, bytes, &mut |_, _| 0);
        }
        self.out_bytes = self.serve_clients();
        assert_eq!(self.hub.requests_in_flight(), 0, "{}", case.name);
    }

    fn serve_clients(&mut self) -> usize {
        let (hub, mut socket) = (&mut self.hub, Sink::default());
        let mut sessions = std::mem::take(&mut hub.effects().sessions);
        for id in sessions.drain(..) {
            let served = hub.serve_client(NOW, id, &mut socket, &mut []);
            assert_eq!(served, Served::Waits);
        }
        hub.effects().sessions = sessions;
        socket.bytes
    }
}

/// A socket that has nothing to read, takes everything, and counts it.
#[derive(Default)]
struct Sink {
    bytes: usize,
    kept: Option<Vec<u8>>,
}

impl Socket for Sink {
    fn may_read(&self) -> bool {
        false
    }

    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let len = slices.iter().map(|slice| slice.len()).sum();
        self.bytes += len;
        if let Some(kept) = &mut self.kept {
            slices
                .iter()
                .for_each(|slice| kept.extend_from_slice(slice));
        }
        Ok(len)
    }
}

/// What a node says to these requests.
fn answers(mut asked: &[u8], value_bytes: usize) -> Vec<u8> {
    let (limits, mut scan, mut out) = (RequestLimits::default(), RequestScan::new(), Vec::new());
    let value = vec![b'x'; value_bytes];
    while let Ok(Scanned::Multibulk(len)) = scan.advance(asked, &limits) {
        let name = scan.args().first().expect("a name");
        match &asked[name.start as usize..name.end as usize] {
            b"GET" => write::bulk(&mut out, &value),
            b"MGET" => {
                write::array(&mut out, scan.args().len() - 1);
                (1..scan.args().len()).for_each(|_| write::bulk(&mut out, &value));
            }
            _ => out.extend_from_slice(b"+OK\r\n"),
        }
        scan.reset();
        asked = &asked[len..];
    }
    out
}
