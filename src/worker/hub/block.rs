//! Requests that wait at a node: one after the other on a link of their session's own, with the node's own fairness.
//!
//! Nothing behind such a request is run before it is answered. If the node cannot serve the slot any more, or is lost,
//! the wait goes on at whoever serves it then, with the time that is left.

use std::time::Duration;

use super::Hub;
use super::others::Told;
use super::place::Body;
use super::request::Ran;
use crate::clock::Now;
use crate::command::keys;
use crate::command::timeout::{self, Patience};
use crate::command::{Merge, Row};
use crate::downstream::replies::Seat;
use crate::downstream::session::{Blocked, Wait};
use crate::reply::errors;
use crate::resp::request::{Request, RequestScan, Scanned};
use crate::resp::write;
use crate::route::hold::Held;
use crate::route::part::{LinkId, Part, Purpose, SessionId, Target, Ticket, Way};
use crate::route::plan::{OneSlot, one_slot};
use crate::topology::{Endpoint, Keyspace, Slot};
use crate::upstream::link::{Link, Role};

/// How long a link may be silent about a request that waits and still count as in trouble for the same reason.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

impl Hub {
    pub(super) fn block(
        &mut self,
        now: Now,
        id: SessionId,
        row: &'static Row,
        request: Request<'_>,
    ) -> Ran {
        if self.has_in_flight(id) {
            return Ran::NotYet(Wait::Answers);
        }
        self.note_request(id, Some(row));
        let mut keys = std::mem::take(&mut self.keys);
        let found = keys::find_keys(row, request, &mut keys);
        let slots = found
            .ok()
            .map(|()| one_slot(request, self.settings.keyspace, &keys));
        match slots {
            None | Some(OneSlot::NoKeys) => self.send_to_any(now, id, row, request),
            Some(OneSlot::Yes(slot)) => self.block_at(now, id, row, slot, request),
            Some(OneSlot::No(a, b)) => self.block_over_slots(now, id, row, request, &keys, (a, b)),
        }
        self.keys = keys;
        Ran::Taken
    }

    fn block_at(
        &mut self,
        now: Now,
        id: SessionId,
        row: &'static Row,
        slot: Slot,
        request: Request<'_>,
    ) {
        let deadline = match timeout::patience(row, request) {
            Patience::Endless | Patience::Malformed => None,
            Patience::For(time) => Some(now + time),
        };
        let Some((ticket, profile)) = self.open_seat(id, Seat::Waits) else {
            return;
        };
        self.begin_block(id, Blocked::new(ticket, deadline, now));
        let part = Part::new(ticket, Target::Slot(slot), row, profile).by(Way::Own);
        self.place(now, part, Body::Borrowed(request.bytes));
    }

    /// `WAIT`, `WAITAOF`: have the replicas of every shard got what this session has written?
    ///
    /// A node knows what a connection has written by the offset that it noted after the connection's last command, in newer versions its last
    /// command that changed anything. So once everything is answered, the link that waits has to make such a command: a key comes and
    /// goes in one transaction. For Redis 7.0 a `PING` is enough.
    pub(super) fn wait(
        &mut self,
        now: Now,
        id: SessionId,
        row: &'static Row,
        request: Request<'_>,
    ) -> Ran {
        if self.has_in_flight(id) {
            return Ran::NotYet(Wait::Answers);
        }
        self.note_request(id, Some(row));
        let slots = self.owners.primaries().to_vec();
        if slots.is_empty() {
            self.send_to_any(now, id, row, request);
            return Ran::Taken;
        }
        let gather = self.start_gather(row.merge, slots.len(), &[]);
        let Some((ticket, profile)) = self.open_seat(id, Seat::Gathers(gather)) else {
            return Ran::Taken;
        };
        self.begin_block(id, Blocked::new(ticket, None, now));
        let is_noted_always = !self.face.is_valkey() && !self.face.is_at_least((7, 1));
        let mut bytes = Vec::new();
        for (part, slot) in (0u16..).zip(slots) {
            bytes.clear();
            let replies = if is_noted_always {
                write::command(&mut bytes, &["PING"]);
                2
            } else {
                let key = self.wait_key(slot);
                write::command(&mut bytes, &["MULTI"]);
                write::command(&mut bytes, &[&b"SET"[..], &key, b""]);
                write::command(&mut bytes, &[&b"DEL"[..], &key]);
                write::command(&mut bytes, &["EXEC"]);
                5
            };
            bytes.extend_from_slice(request.bytes);
            let ticket = Ticket { part, ..ticket };
            let part = Part {
                replies,
                ..Part::new(ticket, Target::Slot(slot), row, profile).by(Way::Own)
            };
            self.place(now, part, Body::Borrowed(&bytes));
        }
        Ran::Taken
    }

    /// The name of a key of this slot that nobody else uses.
    fn wait_key(&mut self, slot: Slot) -> Vec<u8> {
        let name = |number: u32| format!("slotcar:wait:{{{number}}}").into_bytes();
        if self.settings.keyspace == Keyspace::Whole {
            return name(0);
        }
        let number = *self.wait_keys.entry(slot).or_insert_with(|| {
            let is_there = |number: &u32| Slot::of_key(&name(*number)) == slot;
            (0..).find(is_there).unwrap_or_default()
        });
        name(number)
    }

    /// A part that waits has been given to a link.
    pub(super) fn note_wait_placed(&mut self, now: Now, part: &Part) {
        if let Purpose::Answer(ticket) = part.purpose
            && let Some(session) = self.session_mut(ticket.session)
            && let Some(blocked) = &mut session.blocked
        {
            blocked.placed = now;
        }
    }

    /// From now on the session waits for one answer.
    pub(super) fn begin_block(&mut self, id: SessionId, blocked: Blocked) {
        if let Some(at) = blocked.deadline {
            self.waits.insert((at, id));
        }
        if let Some(session) = self.session_mut(id) {
            session.wait = Wait::Answers;
            session.blocked = Some(Box::new(blocked));
        }
    }

    /// The answer has come, or nobody waits for it any more.
    pub(super) fn end_block(&mut self, id: SessionId) -> Option<Box<Blocked>> {
        let blocked = self.session_mut(id)?.blocked.take()?;
        if let Some(at) = blocked.deadline {
            self.waits.remove(&(at, id));
        }
        if let Some(waiter) = blocked.over {
            self.end_spread_wait(waiter);
        }
        Some(blocked)
    }

    pub(super) fn end_block_if_answered(&mut self, id: SessionId) {
        let session = self.session(id);
        let blocked = session.and_then(|s| Some((s, s.blocked.as_deref()?)));
        if blocked.is_some_and(|(session, b)| !session.replies.is_open(b.ticket.seat)) {
            self.end_block(id);
        }
    }

    /// Sends a request that waits to where its slot is served now, with the time that is left.
    pub(super) fn place_blocked_again(&mut self, now: Now, held: &Held) {
        let Purpose::Answer(ticket) = held.part.purpose else {
            return;
        };
        let blocked = self
            .session(ticket.session)
            .and_then(|s| s.blocked.as_deref());
        let deadline = blocked.and_then(|blocked| blocked.deadline);
        let mut scan = RequestScan::new();
        let scanned = scan.advance(&held.bytes, &self.settings.request);
        let request = Request {
            bytes: &held.bytes,
            args: scan.args(),
        };
        let timeout = timeout::timeout(held.part.row, request);
        let (Some(deadline), Some(timeout), Ok(Scanned::Multibulk(_))) =
            (deadline, timeout, scanned)
        else {
            return self.place(now, held.part, Body::Shared(&held.bytes));
        };
        let mut bytes = Vec::with_capacity(held.bytes.len() + 16);
        timeout::write_with(request, timeout, deadline.since(now), &mut bytes);
        self.place(now, held.part, Body::Borrowed(&bytes));
    }

    /// Trouble that a request meets after it has waited in peace is new trouble.
    pub(super) fn settle_wait(&self, now: Now, part: &mut Part) {
        let Purpose::Answer(ticket) = part.purpose else {
            return;
        };
        let blocked = self
            .session(ticket.session)
            .and_then(|s| s.blocked.as_deref());
        if blocked.is_some_and(|blocked| now.since(blocked.placed) >= SETTLED_AFTER) {
            part.troubled_since = None;
            part.redirects = 0;
            part.refusals = 0;
        }
    }

    /// Ends the waits whose time is up, where no node does.
    pub(super) fn expire_waits(&mut self, now: Now) {
        while let Some(&(at, id)) = self.waits.first().filter(|(at, _)| *at <= now) {
            self.waits.remove(&(at, id));
            let over = self.session(id).and_then(|s| s.blocked.as_ref()?.over);
            let is_served = match over {
                Some(waiter) => self.expire_spread_wait(waiter),
                None => self.waits_at_node(id),
            };
            if !is_served {
                self.end_wait(now, id, End::TimeIsUp);
            }
        }
    }

    /// `CLIENT UNBLOCK`: wakes a client of this worker, or says which nodes could.
    pub(super) fn unblock(
        &mut self,
        now: Now,
        asks: Option<SessionId>,
        client: u64,
        with_error: bool,
    ) -> Told {
        let is_blocked = |id: &SessionId| self.session(*id).is_some_and(|s| s.blocked.is_some());
        let Some(id) = self.session_of_client(asks, client).filter(is_blocked) else {
            return Told::default();
        };
        let links: Vec<LinkId> = self.links_waited_on(id).collect();
        let mut waits_at = Vec::new();
        for link in links {
            // It is nobody else's afterwards: whom the node wakes is this client or nobody. One that the session relies on
            // stays its own anyway.
            let link = self.link_mut(link).and_then(|link| {
                link.retiring |= link.role == Role::Requests && !link.kept;
                Some((link.node, link.client_id?))
            });
            waits_at.extend(link.and_then(|(node, client_id)| {
                Some((self.owners.node(node)?.endpoint.clone(), client_id))
            }));
        }
        let is_here = waits_at.is_empty();
        if is_here {
            let end = if with_error {
                End::Error
            } else {
                End::TimeIsUp
            };
            self.end_wait(now, id, end);
        }
        Told {
            count: usize::from(is_here),
            waits_at,
            ..Told::default()
        }
    }

    /// Has nodes wake those that wait there as these clients of theirs. `ticket` gets 1 if somebody has been woken, else 0.
    pub(super) fn unblock_at_nodes(
        &mut self,
        now: Now,
        ticket: Ticket,
        waits_at: Vec<(Endpoint, i64)>,
        with_error: bool,
    ) {
        let profile = self.session(ticket.session).map(|s| s.identity.profile());
        let (Some(row), Some(profile)) = (self.commands.row("client|unblock"), profile) else {
            return self.deliver(now, ticket, b":0\r\n");
        };
        let how = if with_error { "ERROR" } else { "TIMEOUT" };
        for (nth, (endpoint, client_id)) in waits_at.into_iter().enumerate() {
            let node = self.owners.intern(&endpoint);
            let mut part = Part::new(ticket, Target::Node(node), row, profile);
            if nth > 0 {
                // WAIT waits at every primary; one that wakes it speaks for all.
                part.purpose = Purpose::Swallow;
            }
            let mut bytes = Vec::new();
            let client_id = client_id.to_string();
            write::command(&mut bytes, &["CLIENT", "UNBLOCK", &client_id, how]);
            self.place(now, part, Body::Borrowed(&bytes));
        }
    }

    /// Whether a node has the request that a session waits for, and will answer it.
    fn waits_at_node(&self, id: SessionId) -> bool {
        self.links_waited_on(id).next().is_some()
    }

    /// Where a session's request waits.
    fn links_waited_on(&self, id: SessionId) -> impl Iterator<Item = LinkId> {
        let waits = |link: &Link| {
            link.is_open() && !link.queue().is_empty() && link.queue().unsent_bytes() == 0
        };
        let own = self.session(id).into_iter().flat_map(|s| &s.own_links);
        own.copied()
            .filter(move |&link| self.link(link).is_some_and(waits))
    }

    /// Answers a wait here. What of it was on its way to a node is called back.
    fn end_wait(&mut self, now: Now, id: SessionId, end: End) {
        let Some(blocked) = self.end_block(id) else {
            return;
        };
        let Some(session) = self.session(id) else {
            return;
        };
        let proto = session.identity.proto;
        let unsent = session.own_links.clone();
        let gathered = self.end_gather(blocked.ticket);
        let mut frame = Vec::new();
        match (end, gathered) {
            (End::Error, _) => write::error(&mut frame, errors::UNBLOCKED),
            (End::TimeIsUp, None) => write::null_array(&mut frame, proto),
            // WAITAOF, and WAIT: nobody has said that anything has arrived.
            (End::TimeIsUp, Some(Merge::MinEach)) => {
                write::array(&mut frame, 2);
                write::integer(&mut frame, 0);
                write::integer(&mut frame, 0);
            }
            (End::TimeIsUp, Some(_)) => write::integer(&mut frame, 0),
        }
        self.deliver(now, blocked.ticket, &frame);
        for link in unsent {
            let busy = |link: &Link| !link.queue().is_empty();
            if self.link(link).is_some_and(busy) {
                self.close_link(now, link);
            }
        }
        self.tend_watches(now);
    }
}

/// How a wait ends that no node ends.
#[derive(Clone, Copy, Debug)]
enum End {
    TimeIsUp,
    /// `CLIENT UNBLOCK … ERROR`
    Error,
}
