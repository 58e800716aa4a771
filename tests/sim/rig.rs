//! A hub without sockets: how one is made, and what `worker/{client,node}.rs` do, over sockets of plain memory.
//!
//! Everything that knows how a hub, an identity or a topology is put together stands here, once.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use slotcar::clock::Now;
use slotcar::command::lookup::CommandTable;
use slotcar::command::together::Rule;
use slotcar::config::limits::Limits;
use slotcar::config::{Logins, ReadFrom, UnknownOutcome};
use slotcar::downstream::local::{Address, Databases, Face, Identity};
use slotcar::resp::reply::ReplyLimits;
use slotcar::resp::request::RequestLimits;
use slotcar::route::naming::Naming;
use slotcar::route::part::{LinkId, SessionId};
use slotcar::route::scan::ScanBook;
use slotcar::route::verdict::RetryLimits;
use slotcar::topology::{Endpoint, Keyspace, Member, ShardSpec, Slot, SlotRange, Topology};
use slotcar::upstream::backoff::BackoffLimits;
use slotcar::upstream::handshake::Greeting;
use slotcar::upstream::link::LinkDown;
use slotcar::worker::hub::{self, Hub, Served, Settings, Socket as _, Straight};

/// What one read may bring.
const READ_BYTES: usize = 64 * 1024;

/// A hub with everything at its default but these.
#[allow(dead_code, reason = "not for every test that has this rig")]
pub(crate) fn hub(
    unknown_outcome: UnknownOutcome,
    limits: Limits,
    hold_max: std::time::Duration,
    commands: &Arc<CommandTable>,
    seed: u64,
) -> Hub {
    hub_keeping(&[], unknown_outcome, limits, hold_max, commands, seed)
}

/// The same, with rules of what is kept together.
pub(crate) fn hub_keeping(
    rules: &[Rule],
    unknown_outcome: UnknownOutcome,
    limits: Limits,
    hold_max: std::time::Duration,
    commands: &Arc<CommandTable>,
    seed: u64,
) -> Hub {
    let settings = settings(rules, unknown_outcome, limits, hold_max, seed);
    hub_with(settings, commands)
}

/// A hub before one server that counts what a cluster with these rules would refuse.
#[allow(dead_code, reason = "not for every test that has this rig")]
pub(crate) fn auditing_hub(rules: &[Rule], databases: u32) -> Hub {
    let limits = Limits::default();
    let settings = Settings {
        keyspace: Keyspace::Whole,
        audit_databases: Some(databases),
        audit_rules: rules.to_vec(),
        ..settings(&[], UnknownOutcome::Error, limits, Duration::ZERO, 1)
    };
    hub_with(settings, &Arc::new(CommandTable::new()))
}

#[expect(
    clippy::disallowed_types,
    reason = "the hub shares its scan book with other workers"
)]
pub(crate) fn hub_with(settings: Settings, commands: &Arc<CommandTable>) -> Hub {
    let book = ScanBook::new(settings.limits.scan_tokens_max, settings.seed);
    Hub::new(
        Arc::new(settings),
        commands.clone(),
        face(Logins::Anybody),
        Arc::new(std::sync::Mutex::new(book)),
    )
}

/// Everything at its default but these.
pub(crate) fn settings(
    rules: &[Rule],
    unknown_outcome: UnknownOutcome,
    limits: Limits,
    hold_max: std::time::Duration,
    seed: u64,
) -> Settings {
    Settings {
        audit_rules: Vec::new(),
        slow_after: None,
        sample_every: 0,
        retry: RetryLimits {
            hold_max,
            redirects_max: limits.redirects_max,
            pause_min: limits.refused_pause_min,
            pause_max: limits.refused_pause_max,
        },
        unknown_outcome,
        memory_max: 0,
        backoff: BackoffLimits {
            min: limits.dial_backoff_min,
            max: limits.dial_backoff_max,
        },
        keyspace: Keyspace::Hashed,
        naming: Naming::new(rules, 1).map(Arc::new),
        read_from: ReadFrom::Primary,
        read_own_writes: Duration::ZERO,
        zone: None,
        audit_databases: None,
        greeting: Greeting {
            user: None,
            password: None,
            reads_replicas: false,
            client_name: "slotcar".into(),
        },
        request: RequestLimits::default(),
        reply: ReplyLimits::default(),
        run_id: "0".repeat(40),
        process_id: 1,
        port: 6379,
        clients_max: 10_000,
        client_idle_timeout: None,
        started_at: Duration::ZERO,
        workers: 1,
        doors: Arc::default(),
        worker: 0,
        seed,
        limits,
    }
}

/// Redis 7.0.
pub(crate) fn face(logins: Logins) -> Face {
    Face {
        server: "redis".into(),
        version: "7.0.15".into(),
        databases: Databases::default(),
        logins,
    }
}

pub(crate) fn identity(id: u64, now: Now) -> Identity {
    let tcp = |port| Address::Tcp(SocketAddr::from(([127, 0, 0, 1], port)));
    let port = 40_000 + u16::try_from(id).expect("few clients");
    Identity::new(id, tcp(port), tcp(6379), true, now)
}

/// One primary, its replicas and its slot ranges, ends included.
pub(crate) struct ShardPlan {
    pub(crate) primary: Endpoint,
    pub(crate) replicas: Vec<Endpoint>,
    pub(crate) ranges: Vec<(u16, u16)>,
}

pub(crate) fn topology(version: u64, shards: Vec<ShardPlan>) -> Topology {
    let range = |(first, last)| {
        SlotRange::new(
            Slot::new(first).expect("a slot"),
            Slot::new(last).expect("a slot"),
        )
    };
    let spec = |plan: ShardPlan| ShardSpec {
        primary: Some(Member::at(plan.primary)),
        replicas: plan.replicas.into_iter().map(Member::at).collect(),
        ranges: plan
            .ranges
            .into_iter()
            .map(|r| range(r).expect("an ascending range"))
            .collect(),
    };
    let topology =
        Topology::new(shards.into_iter().map(spec).collect()).expect("ranges that do not overlap");
    topology.with_version(version)
}

/// slotcar's end of a connection.
pub(crate) struct Socket {
    /// What has arrived, one read each.
    arrived: VecDeque<Vec<u8>>,
    /// The peer sends nothing more.
    pub(crate) eof: bool,
    /// How many bytes it takes until the peer has taken some.
    pub(crate) room: usize,
    /// What slotcar has written and nobody has looked at.
    pub(crate) taken: Vec<u8>,
    /// slotcar has been told that there was no room: it is to be woken when there is.
    wants_writing: bool,
}

impl Default for Socket {
    fn default() -> Self {
        Self {
            arrived: VecDeque::new(),
            eof: false,
            room: usize::MAX,
            taken: Vec::new(),
            wants_writing: false,
        }
    }
}

impl Socket {
    /// Bytes arrive. True: there are some, which is an event.
    pub(crate) fn arrive(&mut self, bytes: &[u8]) -> bool {
        if !bytes.is_empty() {
            self.arrived.push_back(bytes.to_vec());
        }
        !bytes.is_empty()
    }

    /// The peer sends nothing more: an event.
    pub(crate) fn end(&mut self) {
        self.eof = true;
    }

    /// The peer takes this many bytes more. True: slotcar has waited for that, so it is an event.
    pub(crate) fn make_room(&mut self, room: usize) -> bool {
        self.room = room;
        room > 0 && std::mem::take(&mut self.wants_writing)
    }

    /// Takes as much of these bytes as there is room for.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> usize {
        self.write(&[IoSlice::new(bytes)]).unwrap_or(0)
    }

    /// Whether slotcar has left something unread.
    pub(crate) fn has_unread(&self) -> bool {
        !self.arrived.is_empty()
    }
}

impl hub::Socket for Socket {
    fn may_read(&self) -> bool {
        self.eof || !self.arrived.is_empty()
    }

    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Some(mut bytes) = self.arrived.pop_front() else {
            return match self.eof {
                true => Ok(0),
                false => Err(io::ErrorKind::WouldBlock.into()),
            };
        };
        let n = bytes.len().min(buf.len());
        buf[..n].copy_from_slice(&bytes[..n]);
        if n < bytes.len() {
            self.arrived.push_front(bytes.split_off(n));
        }
        Ok(n)
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut written = 0;
        for slice in slices {
            let step = slice.len().min(self.room);
            self.taken.extend_from_slice(&slice[..step]);
            written += step;
            if self.room != usize::MAX {
                self.room -= step;
            }
        }
        if written == 0 {
            self.wants_writing = true;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(written)
    }
}

/// What a worker does when a client's socket has something to read. True: the connection is to be closed.
pub(crate) fn read_client(hub: &mut Hub, now: Now, id: SessionId, socket: &mut Socket) -> bool {
    let mut buf = vec![0; READ_BYTES];
    match hub.read_client(now, id, socket, &mut buf) {
        Served::Waits => false,
        Served::HasMore => serve_client(hub, now, id, socket),
        Served::Over | Served::Told => true,
    }
}

/// What a worker does when it is told that a client is to be served, or when its socket has room again. True: the connection
/// is to be closed.
pub(crate) fn serve_client(hub: &mut Hub, now: Now, id: SessionId, socket: &mut Socket) -> bool {
    let mut buf = vec![0; READ_BYTES];
    loop {
        match hub.serve_client(now, id, socket, &mut buf) {
            Served::Waits => return false,
            Served::HasMore => {}
            Served::Over | Served::Told => return true,
        }
    }
}

/// What a worker does when a link's socket has something to read.
pub(crate) fn read_link(
    hub: &mut Hub,
    now: Now,
    id: LinkId,
    socket: &mut Socket,
    straight: Straight<'_>,
) -> Option<LinkDown> {
    let mut buf = vec![0; READ_BYTES];
    while socket.may_read() {
        if let Err(down) = hub.read_link(now, id, socket, &mut buf, straight) {
            return Some(down);
        }
    }
    None
}

/// What a worker does when it is told that a link has something to write, or when its socket has room again.
pub(crate) fn write_link(
    hub: &mut Hub,
    now: Now,
    id: LinkId,
    socket: &mut Socket,
) -> Option<LinkDown> {
    hub.write_link(now, id, socket).err()
}
