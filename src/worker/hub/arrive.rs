//! Bytes of nodes on their way in: cut into replies, each to whom it belongs.
//!
//! What is whole goes on from where it was read. What is torn is kept with its link until the rest has come, unless it is long
//! and its client waits for nothing before it: then it passes through as it arrives (`Seat::Passes`).

use super::{Hub, LinkPlace};
use crate::clock::Now;
use crate::measure::Outcome;
use crate::resp::Proto;
use crate::resp::reply::is_push;
use crate::route::part::{LinkId, SessionId};
use crate::upstream::handshake::Greeted;
use crate::upstream::link::{Cut, LinkDown, Passing};
use crate::upstream::queue::Answered;

/// Writes bytes to a session's socket at once, without keeping them; says how many it took. 0: none, for whatever reason.
pub type Straight<'a> = &'a mut dyn FnMut(SessionId, &[u8]) -> usize;

/// Least number of bytes by which a torn reply is mended at a time: headers of a long array are not worth a look each.
const MEND_BYTES_MIN: usize = 16 * 1024;

impl Hub {
    /// Bytes have come from a node.
    pub fn on_node_bytes(&mut self, now: Now, id: LinkId, bytes: &[u8], straight: Straight<'_>) {
        self.begin_answers(now, id);
        let taken = self.take_bytes(now, id, bytes, straight);
        self.measures.end_answers(now);
        match (taken, self.link_mut(id)) {
            (Ok(()), Some(_)) => self.after_answers(now, id),
            (Err(down), Some(_)) => {
                self.note_link_woken(id);
                self.on_link_down(now, id, &down);
            }
            (Ok(()) | Err(_), None) => {}
        }
    }

    fn take_bytes(
        &mut self,
        now: Now,
        id: LinkId,
        mut bytes: &[u8],
        straight: Straight<'_>,
    ) -> Result<(), LinkDown> {
        // A reply that was torn comes first, with as many bytes as it needs and few of those behind it.
        while let Some(mut torn) = self.link_mut(id).and_then(|link| link.take_torn()) {
            let step = torn.wants.max(MEND_BYTES_MIN).min(bytes.len());
            let (some, rest) = bytes.split_at(step);
            torn.bytes.extend_from_slice(some);
            bytes = rest;
            let mut used = self.run_replies(now, id, &torn.bytes, straight)?;
            used += self.pass_torn(
                now,
                id,
                torn.bytes.get(used..).unwrap_or_default(),
                straight,
            );
            torn.bytes.drain(..used);
            if torn.bytes.is_empty() {
                self.link_pool.give(torn.bytes);
            } else if let Some(link) = self.link_mut(id) {
                link.keep_torn(torn.bytes);
            }
            if bytes.is_empty() {
                return Ok(());
            }
        }
        let used = self.run_replies(now, id, bytes, straight)?;
        let rest = bytes.get(used..).unwrap_or_default();
        let used = self.pass_torn(now, id, rest, straight);
        let rest = rest.get(used..).unwrap_or_default();
        if !rest.is_empty() && self.link_exists(id) {
            let mut kept = self.link_pool.take();
            kept.extend_from_slice(rest);
            if let Some(link) = self.link_mut(id) {
                link.keep_torn(kept);
            }
        }
        Ok(())
    }

    /// Gives every whole reply in `buf` to whom it belongs; returns how many bytes that was.
    fn run_replies(
        &mut self,
        now: Now,
        id: LinkId,
        buf: &[u8],
        straight: Straight<'_>,
    ) -> Result<usize, LinkDown> {
        let mut at = 0;
        while let Some(rest) = buf.get(at..).filter(|rest| !rest.is_empty()) {
            let place = self.links.get_mut(id.index as usize);
            let Some(LinkPlace { link, .. }) = place.filter(|p| p.generation == id.generation)
            else {
                return Ok(buf.len());
            };
            let cut = link
                .cut(rest, &self.settings.reply)
                .map_err(|error| LinkDown::Desync(error.reason()))?;
            let Cut::Reply(len) = cut else { break };
            let frame = rest.get(..len).unwrap_or_default();
            at += len;
            if let Some(passing) = link.passing.take() {
                self.pass_last(now, id, passing, frame, straight);
            } else if !self.pass_reply(now, id, frame, straight) {
                self.on_frame(now, id, frame)?;
            }
        }
        Ok(at)
    }

    /// A whole frame of any kind.
    fn on_frame(&mut self, now: Now, id: LinkId, frame: &[u8]) -> Result<(), LinkDown> {
        let Some(link) = self.link_mut(id) else {
            return Ok(());
        };
        if is_push(frame) {
            if link.profile.proto == Proto::Resp2 {
                return Err(LinkDown::Desync("a push, which RESP2 does not have"));
            }
            self.on_push(now, id, frame);
            return Ok(());
        }
        match link.on_greeting_reply(frame) {
            None => self.on_reply(now, id, frame)?,
            Some(Greeted::NotYet) => {}
            Some(Greeted::Done) => self.on_link_open(now, id),
            Some(Greeted::Refused(text)) => return Err(LinkDown::Refused(text)),
            Some(Greeted::NotSetUp(text)) => return Err(LinkDown::NotSetUp(text)),
        }
        Ok(())
    }

    /// `torn` is the beginning of a reply, or a piece of it: passes it on if that is to be done. Returns how many bytes need not be
    /// kept.
    fn pass_torn(&mut self, now: Now, id: LinkId, torn: &[u8], straight: Straight<'_>) -> usize {
        if torn.is_empty() {
            return 0;
        }
        let kept_max = self.settings.limits.reply_kept_bytes_max;
        let place = self.links.get_mut(id.index as usize);
        let Some(LinkPlace { link, .. }) = place.filter(|p| p.generation == id.generation) else {
            return 0;
        };
        let begins = link.passing.is_none()
            && torn.len() + link.wants() > kept_max
            && link.settled(torn.len()) > 0;
        if begins && link.takes_reply(torn) {
            let ticket = link.queue().passing_ticket();
            let ticket = ticket.filter(|ticket| {
                let session = self.sessions.get_mut(ticket.session.index as usize);
                let session = session.filter(|s| s.generation == ticket.session.generation);
                session.is_some_and(|session| {
                    session.blocked.is_none() && session.replies.begin_passing(ticket.seat)
                })
            });
            link.passing = ticket.map(|ticket| Passing { ticket, bytes: 0 });
        }
        let Some(Passing { ticket, .. }) = link.passing else {
            return 0;
        };
        let settled = link.forget_settled(torn.len());
        if let Some(passing) = &mut link.passing {
            passing.bytes += settled;
        }
        let piece = torn.get(..settled).unwrap_or_default();
        self.pass_piece(now, ticket.session, piece, straight);
        settled
    }

    /// The last piece of a reply that passes through.
    fn pass_last(
        &mut self,
        now: Now,
        id: LinkId,
        Passing { ticket, bytes }: Passing,
        piece: &[u8],
        straight: Straight<'_>,
    ) {
        self.pass_piece(now, ticket.session, piece, straight);
        self.note_passed(now, id, bytes + piece.len());
        let session = self.sessions.get_mut(ticket.session.index as usize);
        if let Some(session) = session.filter(|s| s.generation == ticket.session.generation) {
            if let Some(class) = session.replies.end_passing(&mut session.out) {
                self.tally.note(class, Outcome::Ok);
            }
            self.note_session_woken(ticket.session);
        }
    }

    /// A reply of so many bytes has passed through to its end.
    fn note_passed(&mut self, now: Now, id: LinkId, reply_bytes: usize) {
        let slow_before = self.measures.slow_before(now);
        let place = self.links.get_mut(id.index as usize);
        let Some(LinkPlace { link, .. }) = place.filter(|p| p.generation == id.generation) else {
            return;
        };
        let Some((part, request)) = link.queue().front() else {
            return;
        };
        if self.measures.is_large(reply_bytes) {
            self.measures.note_value(part.row, request, reply_bytes);
        }
        let request = Self::is_looked_at(part, slow_before).then(|| request.to_vec());
        let node = link.node;
        let Some(Answered::Part(part, sent_at)) = link.queue_mut().answer() else {
            return;
        };
        self.measures.note_answered(now, sent_at);
        if let Some(request) = request {
            self.look_at_answer(now, node, (&part, sent_at), &request, reply_bytes);
        }
        if let Some(since) = part.troubled_since {
            self.note_delayed(now, since);
        }
        // Its slot may have moved in the meantime.
        if part.is_misplaced() {
            self.lanes.note_settled(part.target);
        }
    }

    /// Bytes for a client before which nothing is due: to its socket, or behind those that it has not taken. For one that has
    /// left they are dropped.
    fn pass_piece(&mut self, now: Now, id: SessionId, piece: &[u8], straight: Straight<'_>) {
        let session = self.sessions.get_mut(id.index as usize);
        let Some(session) = session.filter(|s| s.generation == id.generation) else {
            return;
        };
        let mut rest = piece;
        if session.out.is_empty() {
            let taken = straight(id, piece);
            session.identity.last_active = now;
            rest = piece.get(taken..).unwrap_or_default();
        }
        if !rest.is_empty() {
            session.out.adopt(&mut self.pool);
            session.out.push_copy(rest);
            self.note_session_woken(id);
        }
    }

    /// A link is lost in the middle of a reply that passes through: nobody can give the client the rest.
    pub(super) fn cut_passing(&mut self, id: SessionId) {
        let worker = self.settings.worker;
        if let Some(session) = self.session_mut(id) {
            tracing::debug!(
                session = session.identity.id,
                client = %session.identity.peer,
                worker,
                "cut: the rest of its reply is lost"
            );
            session.cut = true;
            self.counters.replies_torn += 1;
            self.note_session_woken(id);
        }
    }
}
