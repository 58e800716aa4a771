//! One connection to a node, from the dial to its end.
//!
//! Parts may be queued from the moment a link exists; their first byte leaves only after the node has
//! accepted the greeting, so a node that refuses us has executed nothing.

use std::io::IoSlice;

use super::handshake::{Greeted, Greeting, Handshake, Login};
use super::queue::{Orphan, Queue};
use crate::clock::Now;
use crate::measure::Histogram;
use crate::resp::reply::{ReplyError, ReplyLimits, ReplyScan, ReplyScanned};
use crate::route::part::{NodeId, Part, Profile, SessionId, Ticket};

/// Whose requests a link takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Those of all sessions.
    Shared,
    /// Those of one session for a while; of none at the moment: it is clean, and anybody's next.
    Leased(Option<SessionId>),
    /// Looks at keys that somebody waits for; the node says when they change.
    Watch,
    /// Subscriptions, on behalf of all sessions.
    Ear,
}

/// What a link is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Requests,
    /// As `Requests`; and the node remembers what is read here.
    Tracks,
    /// Takes what the node tells about another link.
    Invalidations,
    /// Tells what the node executes.
    Monitors,
}

/// One link.
#[derive(Debug)]
pub struct Link {
    pub node: NodeId,
    pub profile: Profile,
    pub used: Use,
    pub role: Role,
    /// A request that ends the greeting, and must not be refused.
    pub set_up: Option<Box<[u8]>>,
    /// Its session relies on its state (a watch): it stays leased though it owes nothing.
    pub kept: bool,
    /// What the node calls it, if the greeting asked.
    pub client_id: Option<i64>,
    /// The error by which the node refuses to say when keys change.
    pub refused: Option<Box<[u8]>>,
    /// The first error among the replies to the oldest part, which is a block.
    pub block_error: Option<Box<[u8]>>,
    state: State,
    queue: Queue,
    scan: ReplyScan,
    /// The beginning of a reply whose end has not arrived, less what has been passed on.
    torn: Vec<u8>,
    /// At least so many bytes more.
    wants: usize,
    /// Who gets the oldest part's reply piece by piece, as it arrives.
    pub passing: Option<Passing>,
    /// Its oldest answer comes late: look at it, and at those behind it.
    pub is_late: bool,
    /// Sessions that stopped reading because this link's queue is full.
    pub waiting_sessions: Vec<SessionId>,
    /// The node is not part of the topology any more: close once everything is answered.
    pub retiring: bool,
}

/// A reply that passes through while it arrives.
#[derive(Clone, Copy, Debug)]
pub struct Passing {
    pub ticket: Ticket,
    /// Bytes of it that have been passed on.
    pub bytes: usize,
}

#[derive(Debug)]
enum State {
    Dialing,
    Greeting {
        handshake: Handshake,
        out: Vec<u8>,
        written: usize,
    },
    Open,
}

/// Why a link ended or must end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkDown {
    /// Could not be connected.
    Dial(String),
    /// This machine lacks something for a connection: descriptors, ports, memory. Says nothing about the node.
    Local(String),
    /// The node refused the greeting in these words.
    Refused(String),
    /// The node refused, in these words, what this link was to be set up for.
    NotSetUp(String),
    /// The socket was closed or failed.
    Lost(String),
    /// The node sent what is no answer to anything that was asked.
    Desync(&'static str),
    /// We ended it: the node left the topology.
    Retired,
}

/// A reply whose end has not arrived.
#[derive(Debug)]
pub struct Torn {
    pub bytes: Vec<u8>,
    /// At least so many bytes more.
    pub wants: usize,
}

/// One thing cut from what a node sent.
#[derive(Debug)]
pub enum Cut {
    /// A whole reply of this many bytes.
    Reply(usize),
    /// The rest is the beginning of something.
    Partial,
}

impl Link {
    pub fn new(node: NodeId, profile: Profile, used: Use) -> Self {
        Self {
            node,
            profile,
            used,
            role: Role::Requests,
            set_up: None,
            kept: false,
            client_id: None,
            refused: None,
            block_error: None,
            state: State::Dialing,
            queue: Queue::default(),
            scan: ReplyScan::new(),
            torn: Vec::new(),
            wants: 0,
            passing: None,
            is_late: false,
            waiting_sessions: Vec::new(),
            retiring: false,
        }
    }

    /// `login`: of its profile's user, unless that is slotcar itself or has said nothing.
    pub fn on_dialed(&mut self, greeting: &Greeting, login: Option<&Login>) {
        let mut out = Vec::new();
        let asks_id = matches!(self.used, Use::Leased(_));
        let mut handshake = Handshake::start(greeting, login, self.profile, asks_id, &mut out);
        if self.used == Use::Watch {
            handshake.also(&[b"CLIENT", b"TRACKING", b"ON"], &mut out);
        }
        if let Some(set_up) = &self.set_up {
            handshake.end_with(set_up, &mut out);
        }
        self.state = State::Greeting {
            handshake,
            out,
            written: 0,
        };
    }

    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }

    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    pub fn queue_mut(&mut self) -> &mut Queue {
        &mut self.queue
    }

    pub fn takes_requests(&self) -> bool {
        matches!(self.role, Role::Requests | Role::Tracks)
    }

    /// The session that has leased it.
    pub fn owner(&self) -> Option<SessionId> {
        match self.used {
            Use::Shared | Use::Watch | Use::Ear => None,
            Use::Leased(owner) => owner,
        }
    }

    /// Whether there are bytes that the socket should take.
    pub fn has_output(&self) -> bool {
        match &self.state {
            State::Dialing => false,
            State::Greeting { out, written, .. } => *written < out.len(),
            State::Open => self.queue.unsent_bytes() > 0,
        }
    }

    /// Fills `slices` with what the socket should take and says how many it used.
    pub fn output<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        match &self.state {
            State::Dialing => 0,
            State::Open => self.queue.unsent(slices),
            State::Greeting { out, written, .. } => match (slices.first_mut(), out.get(*written..))
            {
                (Some(slice), Some(rest)) if !rest.is_empty() => {
                    *slice = IoSlice::new(rest);
                    1
                }
                (Some(_) | None, Some(_) | None) => 0,
            },
        }
    }

    /// Notes that the socket took `n` bytes; the rest as [`Queue::note_written`].
    pub fn on_written(&mut self, n: usize, now: Now, late_before: Now, waits: &mut Histogram) {
        match &mut self.state {
            State::Dialing => debug_assert!(n == 0, "nothing is written before the dial"),
            State::Greeting { written, .. } => *written += n,
            State::Open => self.queue.note_written(n, now, late_before, waits),
        }
    }

    /// Takes a reply while the greeting is under way; None: the reply is for a part.
    pub fn on_greeting_reply(&mut self, frame: &[u8]) -> Option<Greeted> {
        let State::Greeting { handshake, .. } = &mut self.state else {
            return None;
        };
        let greeted = handshake.on_reply(frame);
        if greeted == Greeted::Done {
            self.client_id = handshake.client_id();
            self.refused = handshake.refused().map(Into::into);
            self.state = State::Open;
        }
        Some(greeted)
    }

    /// Looks for the end of the reply that starts at `buf`'s first byte.
    pub fn cut(&mut self, buf: &[u8], limits: &ReplyLimits) -> Result<Cut, ReplyError> {
        match self.scan.advance(buf, limits)? {
            ReplyScanned::Complete(len) => {
                self.scan.reset();
                Ok(Cut::Reply(len))
            }
            ReplyScanned::Wants(more) => {
                self.wants = more;
                Ok(Cut::Partial)
            }
        }
    }

    /// Bytes that are kept of a reply whose end has not arrived.
    pub fn torn_bytes(&self) -> usize {
        self.torn.capacity()
    }

    /// How many bytes more the last [`Link::cut`] wanted at least.
    pub fn wants(&self) -> usize {
        self.wants
    }

    /// The beginning of a reply whose end has not arrived, if there is one, to be put back with [`Link::keep_torn`].
    pub fn take_torn(&mut self) -> Option<Torn> {
        (!self.torn.is_empty()).then(|| Torn {
            bytes: std::mem::take(&mut self.torn),
            wants: self.wants,
        })
    }

    pub fn keep_torn(&mut self, bytes: Vec<u8>) {
        self.torn = bytes;
    }

    /// Whether a frame that begins so is the reply to a request, and no error.
    pub fn takes_reply(&self, beginning: &[u8]) -> bool {
        let is_reply = !matches!(beginning.first(), Some(b'-' | b'>') | None);
        is_reply && self.is_open() && self.block_error.is_none()
    }

    /// The same, if nobody wants to look at it.
    pub fn takes_plain_reply(&self, beginning: &[u8]) -> bool {
        self.takes_reply(beginning) && !self.is_late
    }

    /// How many of the bytes of a torn reply need not be seen again.
    pub fn settled(&self, buffered: usize) -> usize {
        self.scan.settled(buffered)
    }

    /// These bytes leave the buffer: returns how many.
    pub fn forget_settled(&mut self, buffered: usize) -> usize {
        let settled = self.settled(buffered);
        self.scan.forget(settled);
        settled
    }

    /// Ends the link: everything it owes comes out, oldest first.
    pub fn into_orphans(mut self) -> (Vec<Orphan>, Vec<SessionId>) {
        (self.queue.take_all(), self.waiting_sessions)
    }

    pub fn push_with(&mut self, part: Part, write: impl FnOnce(&mut Vec<u8>)) {
        self.queue.push_with(part, write);
    }
}
