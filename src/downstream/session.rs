//! The state of one client connection: what it sent and we have not run yet, its seats, its output.

use bytes::BytesMut;

use super::local::Identity;
use super::replies::Replies;
use super::standing::Standing;
use super::subscriptions::Subscriptions;
use super::transaction::Transaction;
use super::written::Written;
use crate::clock::Now;
use crate::command::Local;
use crate::command::class::Class;
use crate::config::limits::Limits;
use crate::net::OutBuf;
use crate::resp::request::{RequestLimits, RequestScan};
use crate::route::naming::replies::Named;
use crate::route::part::{LinkId, SessionId, Ticket, UserId, WaiterId};
use crate::topology::Slot;

/// One client connection.
#[derive(Debug)]
pub struct Session {
    pub generation: u32,
    pub identity: Identity,
    pub replies: Replies,
    pub out: OutBuf,
    /// Bytes that were read and not run: the beginning of a request, or requests that must wait.
    pub input: BytesMut,
    /// How far `input`'s first request has been scanned.
    pub scan: Option<Box<RequestScan>>,
    /// Requests wait in `input` until something leaves, or until what `wait` says.
    pub stalled: bool,
    pub wait: Wait,
    /// The database that it was in before the one that it is about to be in, until the server has agreed.
    pub database_before: Option<u32>,
    /// It is about to be somebody else, if the node agrees.
    pub logging_in: Option<Box<LoggingIn>>,
    /// What the transaction that is executed selects: the place among its replies, and the database.
    pub selecting: Option<Box<[(usize, u32)]>>,
    /// Blocks under way whose answers name keys, if names are mapped.
    pub naming: Option<Box<Vec<NamingBlock>>>,
    /// The client wants no reply to the request that is run (`CLIENT REPLY`).
    pub silent: bool,
    /// Of the request that is run.
    pub class: Class,
    /// `MULTI` has been said.
    pub transaction: Option<Box<Transaction>>,
    pub watch: Option<Box<Watch>>,
    /// Transactions over several slots are split instead of refused.
    pub splits_transactions: bool,
    /// It waits for one request's answer and for nothing else.
    pub blocked: Option<Box<Blocked>>,
    /// What it has written lately, if replicas are read from.
    pub written: Option<Box<Written>>,
    /// What nodes tell it by themselves.
    pub standing: Option<Box<Standing>>,
    /// What it is subscribed to, if anything.
    pub subscriptions: Option<Box<Subscriptions>>,
    /// Links that only this session uses at the moment.
    pub own_links: Vec<LinkId>,
    /// The client sends nothing more; what it has sent is still run and answered.
    pub ended: bool,
    /// No further request is run; the connection ends when all replies have left.
    pub closing: bool,
    /// Too much waits for this client: the connection ends at once.
    pub cut: bool,
    /// The driver has been told that there is something to do.
    pub wake_noted: bool,
}

/// A client has said who it is, and a node is asked whether that is so.
#[derive(Debug)]
pub struct LoggingIn {
    /// Who it is if not.
    pub before: UserId,
    /// `AUTH` or `HELLO`, to be answered if the node agrees.
    pub local: Local,
    pub request: Box<[u8]>,
}

/// A block of a transaction that is answered with names of keys.
#[derive(Debug)]
pub struct NamingBlock {
    pub seat: u32,
    pub part: u16,
    /// Where among its answers.
    pub places: Vec<Named>,
}

/// What the next request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    Nothing,
    /// Everything before it has been answered.
    Answers,
    /// A link that this session's requests went to has too much to write.
    Link,
    /// `CLIENT PAUSE` ends.
    Pause,
    /// There is memory again.
    Memory,
}

/// Keys of one slot that the next transaction depends on.
#[derive(Debug)]
pub struct Watch {
    pub slot: Slot,
    /// The first of them.
    pub key: Box<[u8]>,
    pub count: u32,
    /// Where they are watched. None: the node has not said so yet, or it is `lost`.
    pub link: Option<LinkId>,
    /// Watched at a node that imports the slot.
    pub asking: bool,
    /// Nobody watches any more: they count as changed.
    pub lost: bool,
}

/// A request that waits until there is something for it.
#[derive(Debug)]
pub struct Blocked {
    pub ticket: Ticket,
    /// When the client has waited long enough. None: never.
    pub deadline: Option<Now>,
    /// When the request went where it waits now.
    pub placed: Now,
    /// It waits here and not at a node: for keys of several slots.
    pub over: Option<WaiterId>,
}

impl Blocked {
    pub fn new(ticket: Ticket, deadline: Option<Now>, now: Now) -> Self {
        Self {
            ticket,
            deadline,
            placed: now,
            over: None,
        }
    }

    /// The same for a request that waits for keys of several slots.
    pub fn over(self, waiter: WaiterId) -> Self {
        let over = Some(waiter);
        Self { over, ..self }
    }
}

impl Session {
    /// The database in which the next request names keys, where databases are names.
    pub fn database_of_names(&self) -> u32 {
        let selected = self.transaction.as_ref();
        let selected = selected.and_then(|transaction| transaction.database_of_names);
        selected.unwrap_or(self.identity.db_of_names)
    }

    pub fn new(generation: u32, identity: Identity) -> Self {
        Self {
            generation,
            identity,
            replies: Replies::default(),
            out: OutBuf::default(),
            input: BytesMut::new(),
            scan: None,
            stalled: false,
            wait: Wait::Nothing,
            database_before: None,
            logging_in: None,
            selecting: None,
            naming: None,
            silent: false,
            class: Class::default(),
            transaction: None,
            watch: None,
            splits_transactions: false,
            blocked: None,
            written: None,
            standing: None,
            subscriptions: None,
            own_links: Vec::new(),
            ended: false,
            closing: false,
            cut: false,
            wake_noted: false,
        }
    }

    /// The session's id, given its place.
    pub fn id(&self, index: usize) -> SessionId {
        SessionId {
            index: u32::try_from(index).unwrap_or(u32::MAX),
            generation: self.generation,
        }
    }

    /// What its requests may claim: `usual`, once it has logged in.
    #[inline]
    pub fn request_limits<'a>(&self, usual: &'a RequestLimits) -> &'a RequestLimits {
        if self.identity.authenticated {
            usual
        } else {
            &RequestLimits::UNAUTHENTICATED
        }
    }

    /// Whether another request may be run now.
    pub fn may_run(&self, limits: &Limits) -> bool {
        !self.closing
            && match self.wait {
                Wait::Nothing => true,
                Wait::Answers => self.replies.is_empty(),
                Wait::Link | Wait::Pause | Wait::Memory => false,
            }
            && self.replies.len() < limits.session_requests_in_flight_max
            && self.out.len() + self.replies.held_bytes() < limits.session_output_bytes_soft
    }

    /// Whether more bytes should be read from the client. One that waits is read to see whether it is still there.
    pub fn wants_input(&self, limits: &Limits) -> bool {
        let waits_for_more =
            self.blocked.is_some() && self.input.len() < limits.blocked_input_bytes_max;
        !self.ended && (waits_for_more || (!self.stalled && self.may_run(limits)))
    }

    /// Bytes that are kept because of this client, here.
    pub fn footprint(&self) -> usize {
        let queued = self.transaction.as_ref().map_or(0, |t| t.bytes_queued());
        self.input.capacity() + self.out.len() + self.replies.held_bytes() + queued
    }

    /// Whether it is in the servers' subscribed mode.
    pub fn is_subscribed(&self) -> bool {
        let mine = self.subscriptions.as_ref();
        mine.is_some_and(|mine| mine.is_subscribed())
    }

    /// Whether it ends as soon as its client has hung up: as at a server, nobody waits or listens then.
    pub fn is_left(&self) -> bool {
        self.blocked.is_some() || self.subscriptions.is_some()
    }

    /// Nothing is under way: what came has been answered, and the answers are written. A client that waits for something
    /// can be left at any time, as by a server that stops.
    pub fn is_quiet(&self, has_read_all: bool) -> bool {
        let has_all = self.replies.is_empty() && !self.stalled && self.input.is_empty();
        self.out.is_empty() && ((has_all && has_read_all) || self.blocked.is_some())
    }

    /// Since when its client has neither asked for anything nor taken a reply, if nothing is to come from us.
    pub fn idle_since(&self) -> Option<Now> {
        let monitors = self.standing.as_ref().is_some_and(|mine| mine.monitors);
        let listens = self.subscriptions.is_some() || monitors;
        let is_owed = !self.replies.is_empty() || (self.stalled && self.out.is_empty());
        (!listens && !is_owed).then_some(self.identity.last_active)
    }

    /// Everything that was owed has been written: the connection can end.
    pub fn is_finished(&self) -> bool {
        let is_answered =
            (self.closing || (self.ended && !self.stalled)) && self.replies.is_empty();
        (is_answered || self.replies.closes()) && self.out.is_empty()
    }
}
