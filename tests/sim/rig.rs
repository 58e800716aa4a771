//! A hub without sockets: how one is made, and the pumps of `worker/{client,node}.rs` over sockets of plain memory.
//!
//! Everything that knows how a hub, an identity or a topology is put together stands here, once.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::sync::Arc;

use slotcar::clock::Now;
use slotcar::command::lookup::CommandTable;
use slotcar::config::UnknownOutcome;
use slotcar::config::limits::Limits;
use slotcar::downstream::local::{Address, Face, Identity};
use slotcar::resp::reply::ReplyLimits;
use slotcar::resp::request::RequestLimits;
use slotcar::route::part::{LinkId, SessionId};
use slotcar::route::scan::ScanBook;
use slotcar::route::verdict::RetryLimits;
use slotcar::topology::{Endpoint, Member, ShardSpec, Slot, SlotRange, Topology};
use slotcar::upstream::backoff::BackoffLimits;
use slotcar::upstream::handshake::Greeting;
use slotcar::upstream::link::LinkDown;
use slotcar::worker::hub::{Hub, Settings};

/// As in `worker/{client,node}.rs`.
const SLICES_MAX: usize = 32;

/// A hub with everything at its default but these.
#[expect(
    clippy::disallowed_types,
    reason = "the hub shares its scan book with other workers"
)]
pub(crate) fn hub(
    unknown_outcome: UnknownOutcome,
    limits: Limits,
    hold_max: std::time::Duration,
    commands: &Arc<CommandTable>,
    seed: u64,
) -> Hub {
    let settings = Settings {
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
        greeting: Greeting {
            user: None,
            password: None,
            client_name: "slotcar".into(),
        },
        request: RequestLimits::default(),
        reply: ReplyLimits::default(),
        run_id: "0".repeat(40),
        process_id: 1,
        port: 6379,
        clients_max: 10_000,
        client_idle_timeout: None,
        doors: Arc::default(),
        seed,
        limits,
    };
    let book = ScanBook::new(settings.limits.scan_tokens_max, seed);
    let face = Face {
        server: "redis".into(),
        version: "7.0.15".into(),
        required_password: None,
    };
    Hub::new(
        Arc::new(settings),
        commands.clone(),
        face,
        Arc::new(std::sync::Mutex::new(book)),
    )
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
    /// slotcar has been told that nothing was there to read: it is to be woken when there is.
    wants_reading: bool,
    /// slotcar has been told that there was no room: it is to be woken when there is.
    wants_writing: bool,
}

enum Read {
    Bytes(Vec<u8>),
    Eof,
    Pending,
}

impl Default for Socket {
    fn default() -> Self {
        Self {
            arrived: VecDeque::new(),
            eof: false,
            room: usize::MAX,
            taken: Vec::new(),
            wants_reading: false,
            wants_writing: false,
        }
    }
}

impl Socket {
    /// Bytes arrive. True: whoever serves the socket is woken.
    pub(crate) fn arrive(&mut self, bytes: &[u8]) -> bool {
        if bytes.is_empty() {
            return false;
        }
        self.arrived.push_back(bytes.to_vec());
        std::mem::take(&mut self.wants_reading)
    }

    /// The peer sends nothing more. True: whoever serves the socket is woken.
    pub(crate) fn end(&mut self) -> bool {
        self.eof = true;
        std::mem::take(&mut self.wants_reading)
    }

    /// The peer takes this many bytes more. True: whoever serves the socket is woken.
    pub(crate) fn make_room(&mut self, room: usize) -> bool {
        self.room = room;
        room > 0 && std::mem::take(&mut self.wants_writing)
    }

    /// Whether slotcar has left something unread.
    pub(crate) fn has_unread(&self) -> bool {
        !self.arrived.is_empty()
    }

    fn read(&mut self) -> Read {
        match self.arrived.pop_front() {
            Some(bytes) => Read::Bytes(bytes),
            None if self.eof => Read::Eof,
            None => {
                self.wants_reading = true;
                Read::Pending
            }
        }
    }

    /// None: it would block.
    fn write(&mut self, slices: &[IoSlice<'_>]) -> Option<usize> {
        let mut written = 0;
        for slice in slices {
            let step = slice.len().min(self.room);
            self.taken.extend_from_slice(&slice[..step]);
            written += step;
            if self.room != usize::MAX {
                self.room -= step;
            }
        }
        self.wants_writing |= written == 0;
        (written > 0).then_some(written)
    }
}

/// What `worker/client.rs` does when a session's task runs. True: the connection is to be closed.
pub(crate) fn pump_client(hub: &mut Hub, now: Now, id: SessionId, socket: &mut Socket) -> bool {
    let may_run = |hub: &Hub| hub.session(id).is_some_and(|s| s.may_run(hub.limits()));
    let ended = loop {
        hub.on_client_ready(now, id);
        let closed = read_client(hub, now, id, socket);
        let could_run = may_run(hub);
        write_client(hub, now, id, socket);
        let Some(session) = hub.session(id) else {
            break true;
        };
        if session.cut || closed || session.is_finished() {
            break true;
        }
        if could_run || !may_run(hub) {
            break false;
        }
    };
    hub.on_client_polled(id, true);
    ended
}

fn read_client(hub: &mut Hub, now: Now, id: SessionId, socket: &mut Socket) -> bool {
    while hub.session(id).is_some_and(|s| s.wants_input(hub.limits())) {
        match socket.read() {
            Read::Pending => return false,
            Read::Bytes(bytes) => hub.on_client_bytes(now, id, &bytes),
            Read::Eof => {
                let Some(session) = hub.session_mut(id) else {
                    return true;
                };
                return session.hang_up();
            }
        }
    }
    false
}

fn write_client(hub: &mut Hub, now: Now, id: SessionId, socket: &mut Socket) {
    while let Some(session) = hub.session(id).filter(|session| !session.out.is_empty()) {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let used = session.out.slices(&mut slices);
        match socket.write(&slices[..used]) {
            Some(n) => hub.on_client_written(now, id, n),
            None => return,
        }
    }
}

/// The first half of what `worker/node.rs` does when a link's task runs.
pub(crate) fn read_link(
    hub: &mut Hub,
    now: Now,
    id: LinkId,
    socket: &mut Socket,
) -> Option<LinkDown> {
    hub.on_link_polled(id, true);
    loop {
        match socket.read() {
            Read::Pending => return None,
            Read::Eof => return Some(LinkDown::Lost("closed by the node".into())),
            Read::Bytes(bytes) => hub.on_node_bytes(now, id, &bytes),
        }
    }
}

/// The second half: nothing more is to be done for this link until something is told.
pub(crate) fn write_link(hub: &mut Hub, id: LinkId, socket: &mut Socket) -> Option<LinkDown> {
    let down = loop {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let written = match hub.link_output(id, &mut slices) {
            None => break Some(LinkDown::Retired),
            Some(0) => break None,
            Some(used) => socket.write(&slices[..used]),
        };
        match written {
            Some(n) => hub.on_link_written(id, n),
            None => break None,
        }
    };
    hub.on_link_polled(id, false);
    down
}
