//! The piece of a request that one node gets, and the ids that say whose it is.

use bitflags::bitflags;

use crate::clock::Now;
use crate::command::Row;
use crate::resp::Proto;
use crate::topology::Slot;

/// A node as one worker knows it: an index that stays the same for an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u32);

/// One client connection of a worker. The generation tells a later session in the same place from an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId {
    pub index: u32,
    pub generation: u32,
}

/// A name that sessions of a worker are subscribed to. Numbers are used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub u32);

/// Who gets an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    pub session: SessionId,
    /// Which seat of the session, counted from its first request (wrapping).
    pub seat: u32,
    /// Which part of the seat's request.
    pub part: u16,
}

/// Where a part wants to go, wherever that is served now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// The primary of this slot.
    Slot(Slot),
    /// This node and no other.
    Node(NodeId),
}

impl Target {
    /// Whether no other node will do.
    pub fn is_node(self) -> bool {
        matches!(self, Self::Node(_))
    }
}

/// As whom a link is logged in at its node. Numbers of users are not used again while anything is left of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(pub u32);

impl UserId {
    /// As the configuration has it: slotcar itself.
    pub const SLOTCAR: Self = Self(0);
    /// Has said nothing: the nodes' user `default`.
    pub const NOBODY: Self = Self(1);
}

/// What all requests on one link have in common: requests that differ in it take different links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Profile {
    /// Of the answers.
    pub proto: Proto,
    pub user: UserId,
    /// As `SELECT` counts them; a cluster has none but 0.
    pub database: u32,
}

impl Profile {
    /// In database 0.
    pub fn new(proto: Proto, user: UserId) -> Self {
        Self {
            proto,
            user,
            database: 0,
        }
    }
}

/// Which of a node's links a part takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The one that all sessions share.
    Shared,
    /// As `Shared` in everything, but the session's own: the node remembers what the session reads.
    Tracked,
    /// One that only its session uses for a while.
    Own,
    /// The worker's one that says when a key changes.
    Watch,
    /// The session's own link to the node, as it is now: what the part relies on is known there and nowhere else.
    Pinned,
}

/// A request that waits for several keys, in the order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaiterId(pub u64);

/// A key that somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub u64);

/// What an answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A seat waits for it.
    Answer(Ticket),
    /// A try of a request that waits for several keys: the n-th part of it.
    Try(WaiterId, u16),
    /// The n-th look at a key that somebody waits for; the node says from then on when it changes.
    Look(KeyId, u64),
    /// Something that was taken for a client who left goes back.
    PutBack,
    /// A node is asked for a topic.
    Listen(TopicId),
    /// Nobody waits for it: `ASKING` before a redirected part.
    Swallow,
}

bitflags! {
    /// Why the answer to a part is looked at.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Noted: u8 {
        /// One of the few that tell what all of them are like.
        const SAMPLED = 1;
        /// It had to wait for long before it was sent.
        const LATE = 2;
        /// In flight at a node that does not serve its slot, any more or yet: later parts of the slot wait for it.
        const MISPLACED = 4;
        /// A transaction with a `SELECT` in it: its link is brought back behind it.
        const SELECTS = 8;
        /// A block whose answers name keys, at places that the session knows.
        const NAMES = 16;
    }
}

/// The piece of a request that one node gets, without its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    pub purpose: Purpose,
    pub target: Target,
    pub row: &'static Row,
    /// Of its link.
    pub profile: Profile,
    pub way: Way,
    /// How many replies it gets: a block of several requests is one part, and its last reply is the answer.
    pub replies: u32,
    /// Its place among all parts of the worker, from 1; 0 before it has been placed. Lanes are in this order.
    pub seq: u64,
    /// When it was placed first. None: nobody wants to know.
    pub since: Option<Now>,
    /// When it was first held or resent. None: it goes its first way.
    pub troubled_since: Option<Now>,
    /// How often it has been redirected.
    pub redirects: u16,
    /// How often it had to pause, or was lost with its link.
    pub refusals: u8,
    /// How often a node was told its script.
    pub heals: u8,
    /// Nothing is as good an answer as a late one: it is never held.
    pub brief: bool,
    /// Sent with `ASKING` to a node that imports the slot.
    pub asking: bool,
    /// It only reads, and was sent to a node that need not be its slot's primary.
    pub elsewhere: bool,
    /// Why its answer is looked at, if it is.
    pub noted: Noted,
}

impl Part {
    pub fn new(ticket: Ticket, target: Target, row: &'static Row, profile: Profile) -> Self {
        Self::with(Purpose::Answer(ticket), target, row, profile)
    }

    /// A part whose answer is for something else than a seat.
    pub fn with(purpose: Purpose, target: Target, row: &'static Row, profile: Profile) -> Self {
        Self {
            purpose,
            target,
            row,
            profile,
            way: Way::Shared,
            replies: 1,
            seq: 0,
            since: None,
            troubled_since: None,
            redirects: 0,
            refusals: 0,
            heals: 0,
            brief: false,
            asking: false,
            elsewhere: false,
            noted: Noted::empty(),
        }
    }

    /// Whether it is in flight at a node that does not serve its slot.
    pub fn is_misplaced(&self) -> bool {
        self.noted.contains(Noted::MISPLACED)
    }

    /// Whether it may be taken back before it has left: not what belongs to a part that stays, or the other way round.
    pub fn may_be_recalled(&self) -> bool {
        !self.asking && self.purpose != Purpose::Swallow
    }

    /// Whether its answer, if that is no error, goes to its seat as it is, and nobody needs its bytes for anything else.
    pub fn may_pass(&self) -> bool {
        let is_needed = Noted::MISPLACED | Noted::SELECTS | Noted::NAMES;
        !self.noted.intersects(is_needed) && !self.row.is_overheard()
    }

    /// Whether that answer means nothing to anybody else.
    pub fn is_plain(&self) -> bool {
        self.noted.is_empty() && self.troubled_since.is_none() && !self.row.is_overheard()
    }

    /// Whether parts follow one another on this way: what is sent again must not be overtaken.
    pub fn is_pipelined(&self) -> bool {
        matches!(self.way, Way::Shared | Way::Tracked)
    }

    /// The same part on another way.
    pub fn by(self, way: Way) -> Self {
        Self { way, ..self }
    }
}

/// One connection of a worker to a node. The generation tells a later link in the same place from an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkId {
    pub index: u32,
    pub generation: u32,
}
