//! Requests that wait for keys of several slots, which no node can wait for: the wiring of [`crate::route::await_keys`].
//!
//! One link per node says when a key that somebody waits for has changed. What there is then is taken by a request that does
//! not wait, on the shared link and by the rules of every other request. What is taken for a client who has left
//! meanwhile is put back.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::Hub;
use super::place::Body;
use super::spread_read::Reading;
use crate::clock::Now;
use crate::command::Row;
use crate::command::attempt::{Attempt, Kind};
use crate::command::keys::KeyList;
use crate::command::streams::Streams;
use crate::command::timeout::{self, Patience, Unit};
use crate::downstream::replies::Seat;
use crate::downstream::session::Blocked;
use crate::reply::{errors, taken};
use crate::resp::reply::Reply;
use crate::resp::request::Request;
use crate::resp::{Proto, write};
use crate::route::await_keys::{AwaitKeys, Seen, Tried, Wish};
use crate::route::part::{
    KeyId, LinkId, NodeId, Part, Profile, Purpose, SessionId, Target, Ticket, UserId, WaiterId, Way,
};
use crate::topology::Slot;
use crate::upstream::link::{Link, Use};

/// All requests of a worker that wait for keys of several slots.
#[derive(Debug, Default)]
pub(super) struct Spread {
    pub(super) waits: AwaitKeys,
    pub(super) requests: HashMap<WaiterId, Waiting>,
    /// Tries in flight whose clients wait no more.
    left: HashMap<WaiterId, Trying>,
    /// The links that say when keys change.
    links: HashMap<NodeId, LinkId>,
    /// When the links are closed if nobody waits until then.
    close_at: Option<Now>,
    /// How often slots had changed hands when it was last looked.
    moves: u64,
}

/// One such request.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) ticket: Ticket,
    pub(super) profile: Profile,
    /// Its time is up: the answer that is on its way decides.
    pub(super) expired: bool,
    pub(super) work: Work,
}

impl Waiting {
    pub(super) fn new(ticket: Ticket, profile: Profile, work: Work) -> Self {
        Self {
            ticket,
            profile,
            expired: false,
            work,
        }
    }
}

/// What a request does when there may be something for it.
#[derive(Debug)]
pub(super) enum Work {
    /// Takes from one key; `trying`: the key that it tries just now.
    Takes {
        attempt: Arc<Attempt>,
        trying: Option<Arc<[u8]>>,
    },
    /// Reads all its streams.
    Reads(Box<Reading>),
}

impl Work {
    pub(super) fn reads(reading: Reading) -> Self {
        Self::Reads(Box::new(reading))
    }
}

/// What is tried for whom: enough to put it back.
#[derive(Debug)]
struct Trying {
    profile: Profile,
    attempt: Arc<Attempt>,
    key: Arc<[u8]>,
}

impl Hub {
    /// Waits for whatever comes first to one of these keys, in different slots: `a` and `b` are two of them.
    pub(super) fn block_over_slots(
        &mut self,
        now: Now,
        id: SessionId,
        row: &'static Row,
        request: Request<'_>,
        keys: &KeyList,
        (a, b): (usize, usize),
    ) {
        // BLMPOP and its like say behind the keys what to take.
        let counted = matches!(keys.iter().next(), Some(first) if first > 2);
        if counted
            && keys
                .iter()
                .last()
                .is_some_and(|last| last + 1 >= request.len())
        {
            return self.refuse(id, errors::SYNTAX);
        }
        let (kind, work) = if let Some(attempt) = Attempt::of(row, request) {
            let (kind, attempt) = (attempt.kind, Arc::new(attempt));
            let trying = None;
            (kind, Work::Takes { attempt, trying })
        } else if let Some(streams) = Streams::of(row, request, keys) {
            let reading = Reading::new(row, streams, true);
            (Kind::Stream, Work::reads(reading))
        } else {
            return self.refuse_cross_slot(id, request.arg(a), request.arg(b));
        };
        let deadline = match timeout::patience(row, request) {
            Patience::Endless => None,
            Patience::For(time) => Some(now + time),
            Patience::Malformed => return self.refuse(id, wrong_timeout(row, request)),
        };
        let keys_max = self.settings.limits.awaited_keys_max;
        if self.spread.waits.places() + keys.len() > keys_max {
            return self.refuse(id, errors::too_many_awaited_keys(keys_max));
        }
        let Some((ticket, profile)) = self.open_seat(id, Seat::Waits) else {
            return;
        };
        self.counters.spread_waits += 1;
        let waiter = self.spread.waits.next_waiter();
        self.begin_block(id, Blocked::new(ticket, deadline, now).over(waiter));
        let request_of = Waiting::new(ticket, profile, work);
        self.spread.requests.insert(waiter, request_of);
        match kind {
            Kind::Stream => self.start_reading(now, waiter),
            Kind::List | Kind::SortedSet => {
                let names = keys.iter().map(|at| request.arg(at));
                self.spread.waits.wait(waiter, kind, names);
            }
        }
        self.grant_wishes(now);
    }

    /// An answer has come that no seat waits for: from a node at a link, or from here.
    pub(super) fn on_told(&mut self, now: Now, at: Option<LinkId>, purpose: Purpose, frame: &[u8]) {
        match purpose {
            Purpose::Answer(_) | Purpose::Swallow | Purpose::Listen(_) => {}
            Purpose::Look(key, number) => self.on_look(now, at, key, number, frame),
            Purpose::Try(waiter, part) => self.on_try(now, waiter, part, frame),
            Purpose::PutBack if Reply::new(frame).is_error() => {
                let error = String::from_utf8_lossy(frame);
                tracing::warn!(
                    node = at.and_then(|id| self.node_at(id)),
                    worker = self.settings.worker,
                    %error,
                    "what was taken for a client who left is lost"
                );
            }
            Purpose::PutBack => {}
        }
        self.grant_wishes(now);
    }

    fn on_look(&mut self, now: Now, at: Option<LinkId>, key: KeyId, number: u64, frame: &[u8]) {
        let reply = Reply::new(frame);
        let seen = match (reply.integer(), reply.error_code()) {
            (Some(count), _) => match usize::try_from(count) {
                Ok(0) | Err(_) => Some(Seen::Nothing),
                Ok(count) => Some(Seen::Something(count)),
            },
            (None, Some(b"WRONGTYPE")) => Some(Seen::OtherType),
            (None, _) => None,
        };
        let refused = at.and_then(|at| self.link(at)?.refused.clone());
        match (seen, at, &refused) {
            (Some(seen), Some(link), None) => self.spread.waits.on_seen(link, key, number, seen),
            (_, _, error) => {
                let error = error.as_deref().unwrap_or(frame);
                for waiter in self.spread.waits.on_look_failed(key) {
                    // Nobody was there to say it.
                    if at.is_none()
                        && let Some(ticket) = self.waiter_ticket(waiter)
                    {
                        self.note_failed(ticket);
                    }
                    self.answer_waiter(now, waiter, error);
                }
            }
        }
    }

    fn on_try(&mut self, now: Now, waiter: WaiterId, part: u16, frame: &[u8]) {
        if let Some(trying) = self.spread.left.remove(&waiter) {
            return self.put_back(now, &trying, frame);
        }
        let Some(request) = self.spread.requests.get_mut(&waiter) else {
            return;
        };
        let (attempt, key) = match &mut request.work {
            Work::Reads(_) => return self.on_read(now, waiter, part, frame),
            Work::Takes { attempt, trying } => (attempt.clone(), trying.take().unwrap_or_default()),
        };
        let reply = Reply::new(frame);
        let is_fresh = self.spread.waits.is_fresh(waiter);
        let is_other_type = reply.error_code() == Some(b"WRONGTYPE") && !is_fresh;
        if taken::is_nothing(frame) || is_other_type {
            self.counters.spread_tries_in_vain += 1;
            if request.expired {
                let mut frame = Vec::new();
                write::null_array(&mut frame, request.profile.proto);
                return self.answer_waiter(now, waiter, &frame);
            }
            self.spread.waits.on_tried(waiter, Tried::Nothing);
        } else if reply.is_error() {
            self.answer_waiter(now, waiter, frame);
        } else {
            self.spread.waits.on_tried(waiter, Tried::Something);
            let mut answer = Vec::with_capacity(frame.len() + key.len() + 32);
            let naming = self.settings.naming.as_ref();
            let own = naming.map_or(&*key, |naming| naming.unmap(&key));
            taken::write_answer(attempt.answer, own, frame, &mut answer);
            self.answer_waiter(now, waiter, &answer);
        }
    }

    pub(super) fn waiter_ticket(&self, waiter: WaiterId) -> Option<Ticket> {
        self.spread
            .requests
            .get(&waiter)
            .map(|request| request.ticket)
    }

    pub(super) fn answer_waiter(&mut self, now: Now, waiter: WaiterId, frame: &[u8]) {
        if let Some(request) = self.spread.requests.get(&waiter) {
            let ticket = request.ticket;
            // What comes of several streams has been put together by their stored names.
            let own = match request.work {
                Work::Reads(_) => self.own_streams(frame),
                Work::Takes { .. } => None,
            };
            self.end_spread_wait(waiter);
            self.deliver(now, ticket, own.as_deref().unwrap_or(frame));
        }
    }

    /// A request does not wait any more: it is answered, or its client has left.
    pub(super) fn end_spread_wait(&mut self, waiter: WaiterId) {
        self.spread.waits.leave(waiter);
        let Some(request) = self.spread.requests.remove(&waiter) else {
            return;
        };
        if let Work::Takes {
            attempt,
            trying: Some(key),
        } = request.work
        {
            let profile = request.profile;
            let trying = Trying {
                profile,
                attempt,
                key,
            };
            self.spread.left.insert(waiter, trying);
        }
    }

    /// The time of a request is up; false if nothing is on its way that could still serve it.
    pub(super) fn expire_spread_wait(&mut self, waiter: WaiterId) -> bool {
        let Some(request) = self.spread.requests.get_mut(&waiter) else {
            return false;
        };
        let lanes = &self.lanes;
        request.expired = match &request.work {
            Work::Takes { trying: None, .. } => false,
            Work::Takes {
                trying: Some(key), ..
            } => !lanes.holds(Target::Slot(Slot::of_key(key)), Purpose::Try(waiter, 0)),
            Work::Reads(reading) => {
                let mut parts = reading.unanswered(waiter);
                reading.takes() && parts.any(|(target, purpose)| !lanes.holds(target, purpose))
            }
        };
        request.expired
    }

    /// Whether somebody still wants the answer to a part that is not for a seat.
    pub(super) fn is_told_to_somebody(&self, purpose: Purpose) -> bool {
        match purpose {
            Purpose::Look(key, _) => self.spread.waits.is_awaited(key),
            Purpose::Try(waiter, _) => self.spread.requests.contains_key(&waiter),
            Purpose::PutBack | Purpose::Swallow | Purpose::Answer(_) | Purpose::Listen(_) => true,
        }
    }

    /// A part that nobody waits for any more is not sent again.
    pub(super) fn drop_try(&mut self, purpose: Purpose) {
        if let Purpose::Try(waiter, _) = purpose {
            self.spread.left.remove(&waiter);
        }
    }

    /// Does what the rules of waiting want done. Returns when there is nothing left to do.
    pub(super) fn grant_wishes(&mut self, now: Now) {
        while let Some(wish) = self.spread.waits.next_wish() {
            match wish {
                Wish::Look(key, number) => self.look_at_key(now, key, number),
                Wish::Try(waiter, key) => self.try_key(now, waiter, key),
                Wish::Read(waiter) => self.start_round(now, waiter),
                Wish::Refuse(waiter) => {
                    let mut frame = Vec::new();
                    write::error(&mut frame, errors::WRONG_TYPE);
                    self.answer_waiter(now, waiter, &frame);
                }
            }
        }
    }

    fn look_at_key(&mut self, now: Now, id: KeyId, number: u64) {
        let Some((kind, key)) = self.spread.waits.find(id) else {
            return;
        };
        let Some(row) = self.commands.row(kind.size_command()) else {
            debug_assert!(false, "the table has what a look asks");
            return;
        };
        self.counters.spread_looks += 1;
        let mut bytes = Vec::new();
        let name = row.name.to_ascii_uppercase();
        write::command(&mut bytes, &[name.as_bytes(), &key]);
        let purpose = Purpose::Look(id, number);
        let target = Target::Slot(Slot::of_key(&key));
        let part = Part::with(purpose, target, row, WATCHES).by(Way::Watch);
        self.place(now, part, Body::Borrowed(&bytes));
    }

    fn try_key(&mut self, now: Now, waiter: WaiterId, key: KeyId) {
        let found = self.spread.waits.find(key);
        let request = self.spread.requests.get_mut(&waiter);
        let (Some((_, key)), Some(request)) = (found, request) else {
            return;
        };
        let profile = request.profile;
        let Work::Takes { attempt, trying } = &mut request.work else {
            return;
        };
        let Some(row) = self.commands.row(attempt.command) else {
            debug_assert!(false, "the table has what a try asks");
            return;
        };
        self.counters.spread_tries += 1;
        let mut bytes = Vec::new();
        attempt.write(&key, &mut bytes);
        let target = Target::Slot(Slot::of_key(&key));
        let part = Part::with(Purpose::Try(waiter, 0), target, row, profile);
        *trying = Some(key);
        self.place(now, part, Body::Borrowed(&bytes));
    }

    /// The client for whom this was taken is gone.
    fn put_back(&mut self, now: Now, trying: &Trying, frame: &[u8]) {
        let Trying {
            profile,
            attempt,
            key,
        } = trying;
        let reply = Reply::new(frame);
        if reply.is_error() || taken::is_nothing(frame) {
            return;
        }
        let mut bytes = Vec::new();
        let Some(row) = self.commands.row(attempt.back.command()) else {
            debug_assert!(false, "the table has what puts back");
            return;
        };
        if !taken::write_back(attempt, key, frame, &mut bytes) {
            tracing::warn!(
                slot = Slot::of_key(key).get(),
                worker = self.settings.worker,
                "what was taken for a client who left is lost: a node's reply to {} makes no sense",
                attempt.command
            );
            return;
        }
        self.counters.put_back += 1;
        let target = Target::Slot(Slot::of_key(key));
        let part = Part::with(Purpose::PutBack, target, row, *profile);
        self.place(now, part, Body::Borrowed(&bytes));
    }
}

/// The links that say when keys change.
impl Hub {
    /// The link of a node; Err: not before that moment.
    pub(super) fn watch_link(&mut self, now: Now, node: NodeId) -> Result<LinkId, Now> {
        self.check_usable(now, node)?;
        if let Some(&link) = self.spread.links.get(&node) {
            return Ok(link);
        }
        let link = self.dial(now, Link::new(node, WATCHES, Use::Watch))?;
        self.spread.links.insert(node, link);
        Ok(link)
    }

    /// `invalidate` with the names of keys, or with null: all of them.
    pub(super) fn on_watch_push(&mut self, now: Now, id: LinkId, frame: &[u8]) {
        let mut items = Reply::new(frame).items();
        if items.next().and_then(|kind| kind.text()) != Some(b"invalidate") {
            return;
        }
        match items.next() {
            Some(keys) if !keys.is_null() => {
                for key in keys.items().filter_map(|key| key.text()) {
                    self.spread.waits.on_changed(id, key);
                }
            }
            Some(_) | None => self.spread.waits.untrack(|link, _| link == id),
        }
        self.grant_wishes(now);
    }

    /// What such a link promised counts no more. Wishes are granted when what else it owed has been taken care of.
    pub(super) fn forget_watch(&mut self, id: LinkId, node: NodeId) {
        if self.spread.links.get(&node) == Some(&id) {
            self.spread.links.remove(&node);
        }
        self.spread.waits.untrack(|link, _| link == id);
    }

    /// Looks again at the keys whose slots have changed hands, or whose links are gone.
    pub(super) fn tend_watches(&mut self, now: Now) {
        let moves = self.owners.moves();
        if self.spread.moves != moves {
            self.spread.moves = moves;
            let Self {
                owners,
                links,
                spread,
                ..
            } = self;
            spread.waits.untrack(|link, key| {
                let at = links.get(link.index as usize).map(|place| place.link.node);
                at != owners.of(Slot::of_key(key))
            });
        }
        self.grant_wishes(now);
        let timeout = self.settings.limits.idle_link_timeout;
        if self.spread.links.is_empty() || self.spread.waits.keys() > 0 {
            self.spread.close_at = None;
        } else {
            self.spread.close_at.get_or_insert(now + timeout);
        }
    }

    /// Closes the links if nobody has waited for some time.
    pub(super) fn expire_watches(&mut self, now: Now) {
        if self.spread.close_at.is_none_or(|at| at > now) {
            return;
        }
        self.spread.close_at = None;
        if self.spread.waits.keys() > 0 {
            return;
        }
        let links: HashSet<LinkId> = self.spread.links.values().copied().collect();
        for link in links {
            self.close_link(now, link);
        }
    }

    /// When [`Hub::expire_watches`] has something to do.
    pub(super) fn watches_end(&self) -> Option<Now> {
        self.spread.close_at
    }
}

/// A look tells nobody anything but when to try, so it is slotcar's own affair.
const WATCHES: Profile = Profile {
    proto: Proto::Resp3,
    user: UserId::SLOTCAR,
    database: 0,
};

/// What is wrong with the time-out of a request, in the servers' words.
fn wrong_timeout(row: &Row, request: Request<'_>) -> &'static str {
    let Some(timeout) = timeout::timeout(row, request) else {
        return errors::SYNTAX;
    };
    let number = std::str::from_utf8(request.arg(timeout.at)).ok();
    let number = number.and_then(|text| text.parse::<f64>().ok());
    match (number, timeout.unit) {
        (Some(number), _) if number < 0.0 => errors::TIMEOUT_NEGATIVE,
        (Some(number), Unit::Seconds) if number.is_finite() => errors::TIMEOUT_OUT_OF_RANGE,
        (_, Unit::Seconds) => errors::TIMEOUT_NOT_A_FLOAT,
        (_, Unit::Milliseconds) => errors::TIMEOUT_NOT_AN_INTEGER,
    }
}
