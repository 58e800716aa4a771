//! Answers on their way back: from the oldest ticket of a link to the seat that waits for it.

use bytes::Bytes;

use super::Hub;
use super::facts::Facts;
use super::others::Ask;
use crate::clock::Now;
use crate::command::{Connection, Merge, Route};
use crate::downstream::local::Identity;
use crate::downstream::replies::Seat;
use crate::downstream::session::{Session, Wait};
use crate::reply::errors;
use crate::reply::gather::Gather;
use crate::reply::info::ServerFace;
use crate::reply::redirect::{Refusal, refusal};
use crate::resp::reply::Reply;
use crate::resp::write;
use crate::route::part::{LinkId, Noted, Part, Purpose, SessionId, Ticket};
use crate::upstream::link::{LinkDown, Role};
use crate::upstream::queue::{Answered, Orphan};

/// Gathers kept for the next requests to several nodes.
const SPARE_GATHERS_MAX: usize = 256;

impl Hub {
    /// A whole reply of a link: it belongs to the oldest part.
    pub(super) fn on_reply(&mut self, now: Now, id: LinkId, frame: &[u8]) -> Result<(), LinkDown> {
        let is_naming = self.settings.naming.is_some();
        let slow_before = self.measures.slow_before(now);
        let Some(link) = self.link_mut(id) else {
            return Ok(());
        };
        let is_error = frame.first() == Some(&b'-');
        let names = |part: &Part| is_naming && part.row.names.is_some();
        let is_looked_at = |part: &Part| Self::is_looked_at(part, slow_before);
        let bytes = match link.queue().front() {
            // Who may have to be asked again, and what only we can count.
            Some((part, bytes))
                if is_error || part.row.counts.is_some() || names(part) || is_looked_at(part) =>
            {
                Bytes::copy_from_slice(bytes)
            }
            Some(_) | None => Bytes::new(),
        };
        let (part, sent_at) = match link.queue_mut().answer() {
            Some(Answered::Part(part, sent_at)) => (part, sent_at),
            Some(Answered::OneOfSeveral) => {
                if is_error && link.block_error.is_none() {
                    link.block_error = Some(frame.into());
                }
                return Ok(());
            }
            None if link.role == Role::Monitors => {
                self.on_monitor_line(id, frame);
                return Ok(());
            }
            None => return Err(LinkDown::Desync("a reply that nobody asked for")),
        };
        let block_error = link.block_error.take();
        let node = link.node;
        self.measures.note_answered(now, sent_at);
        if is_looked_at(&part) {
            self.look_at_answer(now, node, (&part, sent_at), &bytes, frame.len());
        }
        if part.is_misplaced() {
            self.lanes.note_settled(part.target);
        }
        let own = if is_naming {
            self.own_names(&part, &bytes, frame)
        } else {
            None
        };
        let frame = own.as_deref().unwrap_or(frame);
        let waits = part.row.route == Route::Connection(Connection::Wait);
        if let Some(error) = block_error.as_deref().filter(|_| waits) {
            // It has not noted what there is to wait for.
            self.on_answer(now, id, part, bytes, error);
            return Ok(());
        }
        match block_error.filter(|_| frame.starts_with(b"-EXECABORT")) {
            Some(error) => self.on_block_aborted(now, id, part, bytes, &error),
            None => match self.recount(node, &part, &bytes, frame) {
                Some(recounted) => self.on_answer(now, id, part, bytes, &recounted),
                None => self.on_answer(now, id, part, bytes, frame),
            },
        }
        Ok(())
    }

    /// A part has been answered; `bytes` is what was sent, if the answer is an error or a count.
    fn on_answer(&mut self, now: Now, id: LinkId, part: Part, bytes: Bytes, frame: &[u8]) {
        let refused = refusal(frame).filter(|refusal| self.may_say(refusal));
        let sent = true;
        if part.noted.contains(Noted::SELECTS) && refused.is_none() {
            self.note_selected_in_block(&part, frame);
        }
        if part.row.route == Route::Connection(Connection::Watch) && refused.is_none() {
            self.on_watch_answered(id, &part, frame);
        }
        match (part.purpose, refused) {
            (Purpose::Swallow, _) => {}
            (Purpose::Listen(topic), _) => self.on_topic_declined(now, id, topic, &part, frame),
            (Purpose::Answer(ticket), Some(Refusal::NoScript)) => {
                if !self.heal(now, id, &Orphan { part, bytes, sent }) {
                    self.deliver(now, ticket, frame);
                }
            }
            (
                Purpose::Answer(_) | Purpose::Try(..) | Purpose::Look(..) | Purpose::PutBack,
                Some(refusal),
            ) => self.on_refused(now, id, Orphan { part, bytes, sent }, &refusal),
            (Purpose::Answer(ticket), None) => {
                self.note_selected(&part, frame.starts_with(b"-"));
                if self.on_logged_in(now, &part, frame) {
                    return;
                }
                if let Some(since) = part.troubled_since {
                    self.note_delayed(now, since);
                }
                self.deliver(now, ticket, frame);
            }
            (told @ (Purpose::Try(..) | Purpose::Look(..) | Purpose::PutBack), None) => {
                self.on_told(now, Some(id), told, frame);
            }
        }
    }

    /// A node has refused requests of a block, and so the block: for a reason that is no fault of the client's, or that the
    /// client has to hear.
    fn on_block_aborted(&mut self, now: Now, id: LinkId, part: Part, bytes: Bytes, error: &[u8]) {
        if let Some(refusal) = refusal(error) {
            let sent = true;
            return self.on_refused(now, id, Orphan { part, bytes, sent }, &refusal);
        }
        let text = Reply::new(error).error().unwrap_or_default();
        let mut frame = Vec::new();
        write::error(&mut frame, errors::exec_abort(text));
        if let Purpose::Answer(ticket) = part.purpose {
            self.deliver(now, ticket, &frame);
        }
    }

    /// Puts a frame into its seat. A session that is gone needs it no more.
    pub(super) fn deliver(&mut self, now: Now, ticket: Ticket, frame: &[u8]) {
        let index = ticket.session.index as usize;
        let Some(session) = self
            .sessions
            .get_mut(index)
            .filter(|s| s.generation == ticket.session.generation)
        else {
            return;
        };
        match session.replies.seat_mut(ticket.seat) {
            Some(Seat::Waits) => {
                session.out.adopt(&mut self.pool);
                let ended = session.replies.fill(ticket.seat, &mut session.out, frame);
                self.tally.note(ended.class, ended.outcome);
            }
            Some(Seat::Gathers(gather)) => {
                let gather = *gather;
                self.gather(now, ticket, gather, frame);
            }
            Some(Seat::Walks(_)) => self.deliver_walk(now, ticket, frame),
            Some(Seat::Executes(_)) => self.deliver_block(now, ticket, frame),
            Some(Seat::Closes) => {}
            Some(Seat::Full { .. } | Seat::Passes) | None => {
                debug_assert!(false, "a seat is answered once");
            }
        }
        self.end_block_if_answered(ticket.session);
        self.note_session_woken(ticket.session);
    }

    /// Answers a part with an error of our own. `text` without the leading `-`.
    pub(super) fn answer_error(&mut self, now: Now, part: &Part, text: &str) {
        if let Some(ticket) = self.ticket_of(part.purpose) {
            self.note_failed(ticket);
        }
        self.answer_refused(now, part, text);
    }

    /// Answers a part with the words in which its node has refused a link. `text` without the leading `-`.
    pub(super) fn answer_refused(&mut self, now: Now, part: &Part, text: &str) {
        let mut frame = Vec::with_capacity(text.len() + 3);
        write::error(&mut frame, text.as_bytes());
        self.counters.errors += 1;
        self.note_selected(part, true);
        self.note_login_failed(now, part);
        match part.purpose {
            Purpose::Answer(ticket) => self.deliver(now, ticket, &frame),
            told @ (Purpose::Try(..) | Purpose::Look(..) | Purpose::PutBack) => {
                self.on_told(now, None, told, &frame);
            }
            Purpose::Swallow | Purpose::Listen(_) => {}
        }
    }

    /// An error that this seat gets is one of ours.
    pub(super) fn note_failed(&mut self, ticket: Ticket) {
        if let Some(session) = self.session_mut(ticket.session) {
            session.replies.note_failed(ticket.seat);
        }
    }

    /// Tells the driver that a session has something to write or may run on.
    pub(super) fn note_session_woken(&mut self, id: SessionId) {
        let index = id.index as usize;
        let Some(session) = self
            .sessions
            .get_mut(index)
            .filter(|s| s.generation == id.generation)
        else {
            return;
        };
        let waiting_bytes = session.out.len() + session.replies.held_bytes();
        if !session.cut && waiting_bytes > self.settings.limits.session_output_bytes_max {
            tell_slow_reader(self.settings.worker, &session.identity);
            session.cut = true;
            self.counters.slow_readers_cut += 1;
        }
        if !session.wake_noted {
            session.wake_noted = true;
            self.effects.sessions.push(id);
        }
    }

    pub(super) fn end_wait_for_link(&mut self, id: SessionId) {
        if let Some(session) = self.session_mut(id) {
            session.wait = Wait::Nothing;
            self.note_session_woken(id);
        }
    }

    /// Gives back what the seats of an ended session stand for.
    pub(super) fn free_gathers(&mut self, session: &Session) {
        for seat in session.replies.seats() {
            if let Seat::Gathers(index) = seat {
                self.free_gather(*index);
            }
        }
    }

    /// Ends a connection when the turn of this seat comes: nobody knows what to answer.
    pub(super) fn hang_up_at(&mut self, ticket: Ticket) {
        let Some(session) = self.session_mut(ticket.session) else {
            return;
        };
        session.closing = true;
        let seat = session.replies.seat_mut(ticket.seat);
        let seat = seat.map(|seat| std::mem::replace(seat, Seat::Closes));
        if let Some(Seat::Gathers(gather)) = seat {
            self.free_gather(gather);
        }
        self.counters.hung_up += 1;
        self.end_block_if_answered(ticket.session);
        self.note_session_woken(ticket.session);
    }

    fn gather(&mut self, now: Now, ticket: Ticket, index: u32, frame: &[u8]) {
        let Some(gather) = self.gathers.get_mut(index as usize) else {
            return;
        };
        if gather.on_reply(usize::from(ticket.part), frame) {
            self.finish_gather(now, ticket, index);
        }
    }

    /// All replies have been put in: writes what they come to. `INFO` says what all workers know, too.
    pub(super) fn finish_gather(&mut self, now: Now, ticket: Ticket, index: u32) {
        let gather = self.gathers.get(index as usize);
        if gather.is_some_and(Gather::shows_face) {
            return self.ask_workers(now, ticket, Ask::Facts);
        }
        self.write_gathered(ticket, index, &ServerFace::default());
    }

    /// With what workers know.
    pub(super) fn write_info(&mut self, now: Now, ticket: Ticket, index: u32, facts: &Facts) {
        let settings = self.settings.clone();
        let face = settings.server_face(facts, now);
        self.write_gathered(ticket, index, &face);
    }

    fn write_gathered(&mut self, ticket: Ticket, index: u32, face: &ServerFace<'_>) {
        let session = self.sessions.get_mut(ticket.session.index as usize);
        if let (Some(session), Some(gather)) = (session, self.gathers.get_mut(index as usize)) {
            let proto = session.identity.proto;
            let Session { replies, out, .. } = session;
            out.adopt(&mut self.pool);
            let ended = replies.fill_with(ticket.seat, out, |buf| gather.finish(proto, face, buf));
            self.tally.note(ended.class, ended.outcome);
        }
        self.free_gather(index);
    }

    /// One reply answers all parts of a request that were being gathered; says how they would have been merged.
    pub(super) fn end_gather(&mut self, ticket: Ticket) -> Option<Merge> {
        let session = self.session_mut(ticket.session)?;
        let seat = session.replies.seat_mut(ticket.seat)?;
        let Seat::Gathers(index) = *seat else {
            return None;
        };
        *seat = Seat::Waits;
        let merge = self.gathers.get(index as usize).map(Gather::merge);
        self.free_gather(index);
        merge
    }

    fn free_gather(&mut self, index: u32) {
        if let Some(gather) = self.gathers.try_remove(index as usize)
            && self.spare_gathers.len() < SPARE_GATHERS_MAX
        {
            self.spare_gathers.push(gather);
        }
    }
}

/// Apart: what is around it runs for every reply.
#[cold]
fn tell_slow_reader(worker: usize, identity: &Identity) {
    tracing::warn!(
        session = identity.id,
        client = %identity.peer,
        worker,
        "cut: it does not read its replies"
    );
}
