//! The short ways: of nearly all requests to their links, and of nearly all replies to their seats.
//!
//! Each looks whether anything is out of the ordinary, and if so does nothing: the long ways (`request`, `place`, `answer`)
//! know all cases. What is done here is what they would do.

use super::{Hub, LinkPlace, Straight};
use crate::clock::Now;
use crate::command::Row;
use crate::config::ReadFrom;
use crate::config::limits::Limits;
use crate::downstream::replies::Seat;
use crate::measure::Outcome;
use crate::resp::request::Request;
use crate::route::naming::databases::Tag;
use crate::route::naming::requests::write_tagged;
use crate::route::part::{LinkId, NodeId, Part, SessionId, Target, Ticket};
use crate::topology::Slot;
use crate::upstream::queue::{BY_REFERENCE_BYTES_MIN, Queue};

impl Hub {
    /// A request about one key that any node may be asked at once: for the slot's node, whose link is there. False: nothing
    /// was done.
    pub(super) fn pass_request(
        &mut self,
        now: Now,
        id: SessionId,
        row: &'static Row,
        request: Request<'_>,
    ) -> bool {
        self.pass_tagged(now, id, row, request, None)
    }

    /// The same with a tag in front of the key.
    #[inline(always)]
    pub(super) fn pass_tagged(
        &mut self,
        now: Now,
        id: SessionId,
        row: &'static Row,
        request: Request<'_>,
        tag: Option<&Tag>,
    ) -> bool {
        let Some(key) = row.first_key().filter(|_| row.is_plain()) else {
            return false;
        };
        let is_calm = self.lanes.is_empty() && self.standing.is_empty() && self.pause.is_none();
        if !is_calm || request.bytes.len() >= BY_REFERENCE_BYTES_MIN {
            return false;
        }
        let slot = match tag {
            None => self.settings.keyspace.slot(request.arg(key)),
            Some(tag) => tag.slot(request.arg(key)),
        };
        let Some((node, is_elsewhere)) = self.short_way_to(now, id, row, slot) else {
            return false;
        };
        let session = self.sessions.get_mut(id.index as usize);
        let Some(session) = session.filter(|s| s.generation == id.generation) else {
            return false;
        };
        let is_usual = session.subscriptions.is_none() && session.transaction.is_none();
        let profile = session.identity.profile();
        let node = self.owners.node(node);
        let node = node.filter(|node| is_usual && !node.suspect);
        let Some(link) = node.and_then(|node| node.link(profile)) else {
            return false;
        };
        let place = self.links.get_mut(link.index as usize);
        let Some(place) = place.filter(|place| place.generation == link.generation) else {
            return false;
        };
        let queue = place.link.queue_mut();
        if !has_room(queue, request, &self.settings.limits) {
            return false;
        }
        session.silent = !session.identity.take_reply_wish();
        session.identity.last_command = Some(row.name);
        let (silent, class) = (session.silent, row.plain_class());
        let seat = session.replies.open(Seat::Waits, silent, class);
        let ticket = Ticket {
            session: id,
            seat,
            part: 0,
        };
        let noted = self.measures.sample(now, row, (request, key), tag);
        self.counters.requests += 1;
        self.counters.replica_reads += u64::from(is_elsewhere);
        self.placed += 1;
        let part = Part {
            seq: self.placed,
            since: Some(now),
            noted,
            elsewhere: is_elsewhere,
            ..Part::new(ticket, Target::Slot(slot), row, profile)
        };
        queue.adopt(&mut self.link_pool);
        push(queue, part, request, tag.map(|tag| (key, tag)));
        if !place.wake_noted {
            place.wake_noted = true;
            self.effects.links.push(link);
        }
        true
    }

    /// The node that is asked first, and whether that is another than its slot's owner.
    #[inline(always)]
    fn short_way_to(
        &mut self,
        now: Now,
        id: SessionId,
        row: &'static Row,
        slot: Slot,
    ) -> Option<(NodeId, bool)> {
        let owner = self.owners.of(slot)?;
        if self.settings.read_from == ReadFrom::Primary {
            return Some((owner, false));
        }
        let reader = self.reader_of(now, id, row, slot, owner);
        Some((reader.unwrap_or(owner), reader.is_some()))
    }

    /// A reply that is no error and counts nothing, for a seat that waits for just this. False: nothing was done.
    pub(super) fn pass_reply(
        &mut self,
        now: Now,
        id: LinkId,
        frame: &[u8],
        straight: Straight<'_>,
    ) -> bool {
        let place = self.links.get_mut(id.index as usize);
        let Some(LinkPlace { link, .. }) = place.filter(|p| p.generation == id.generation) else {
            return false;
        };
        if !link.takes_plain_reply(frame) {
            return false;
        }
        let Some(ticket) = link.queue().plain_ticket() else {
            return false;
        };
        let session = self.sessions.get_mut(ticket.session.index as usize);
        let Some(session) = session.filter(|s| s.generation == ticket.session.generation) else {
            return false;
        };
        if session.blocked.is_some() {
            return false;
        }
        if let Some(&mut Seat::Gathers(index)) = session.replies.seat_mut(ticket.seat) {
            return self.pass_to_gather(now, id, ticket, index, frame);
        }
        let mut rest = frame;
        let is_large = frame.len() >= self.settings.limits.reply_straight_bytes_min;
        if is_large
            && self.measures.is_large(frame.len())
            && let Some((part, request)) = link.queue().front()
        {
            self.measures.note_value(part.row, request, frame.len());
        }
        if is_large && session.out.is_empty() && session.replies.is_next(ticket.seat) {
            let taken = straight(ticket.session, frame);
            session.identity.last_active = now;
            rest = frame.get(taken..).unwrap_or_default();
        }
        if !rest.is_empty() {
            session.out.adopt(&mut self.pool);
        }
        let Some(class) = session.replies.pass(ticket.seat, &mut session.out, rest) else {
            return false;
        };
        self.tally.note(class, Outcome::Ok);
        let sent_at = link.queue_mut().drop_oldest();
        self.measures.note_answered(now, sent_at);
        let waiting_bytes = session.out.len() + session.replies.held_bytes();
        if waiting_bytes > self.settings.limits.session_output_bytes_max {
            self.note_session_woken(ticket.session);
        } else if !session.wake_noted {
            session.wake_noted = true;
            self.effects.sessions.push(ticket.session);
        }
        true
    }

    /// One of several replies that become one.
    fn pass_to_gather(
        &mut self,
        now: Now,
        id: LinkId,
        ticket: Ticket,
        index: u32,
        frame: &[u8],
    ) -> bool {
        let Some(gather) = self.gathers.get_mut(index as usize) else {
            return false;
        };
        let is_last = gather.on_reply(usize::from(ticket.part), frame);
        if let Some(link) = self.link_mut(id) {
            let sent_at = link.queue_mut().drop_oldest();
            self.measures.note_answered(now, sent_at);
        }
        if is_last {
            self.finish_gather(now, ticket, index);
            self.note_session_woken(ticket.session);
        }
        true
    }
}

/// Whether a request fits behind what is there, with room for what goes the long way.
#[inline(always)]
fn has_room(queue: &Queue, request: Request<'_>, limits: &Limits) -> bool {
    queue.unsent_bytes() + request.bytes.len() < limits.link_queue_bytes_soft
        && queue.len() + 1 < limits.link_queue_requests_max
}

/// Queues a request, perhaps with a tag in front of its key.
#[inline(always)]
fn push(queue: &mut Queue, part: Part, request: Request<'_>, tagged: Option<(usize, &Tag)>) {
    match tagged {
        None => queue.push_with(part, |log| log.extend_from_slice(request.bytes)),
        Some((key, tag)) => {
            queue.push_with(part, |log| write_tagged(request, key, tag.text(), log));
        }
    }
}
