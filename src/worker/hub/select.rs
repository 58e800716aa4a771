//! `SELECT` before one server: the session's requests take the links of another database from then on.
//!
//! Whether there is such a database the server says, in the greeting of the first link to it. Until then the session waits.
//! A transaction may select, too, and what is watched may be in several databases: a link that was lent to another one for that
//! is told to go back at once.

use super::Hub;
use super::place::Body;
use crate::clock::Now;
use crate::command::{Local, Route, Row};
use crate::downstream::local::database;
use crate::downstream::replies::Seat;
use crate::downstream::session::Wait;
use crate::resp::reply::Reply;
use crate::resp::request::Request;
use crate::resp::write;
use crate::route::part::{LinkId, Noted, Part, Purpose, SessionId, Target};
use crate::topology::Slot;

impl Hub {
    /// Nothing of the session is in flight.
    pub(super) fn select(
        &mut self,
        now: Now,
        id: SessionId,
        row: &'static Row,
        request: Request<'_>,
    ) {
        let wanted = match database(request) {
            Ok(wanted) => wanted,
            Err(text) => return self.refuse(id, text),
        };
        let Some(session) = self.session_mut(id) else {
            return;
        };
        let before = session.identity.db;
        if wanted == before {
            return self.answer_here(id, write::ok);
        }
        session.identity.db = wanted;
        session.database_before = Some(before);
        session.wait = Wait::Answers;
        let Some((ticket, profile)) = self.open_seat(id, Seat::Waits) else {
            return;
        };
        self.place(
            now,
            Part::new(ticket, Target::Slot(Slot::FIRST), row, profile),
            Body::Borrowed(request.bytes),
        );
    }

    /// Puts a part on a link that is in another database, or leaves it in one: it goes there for this part only.
    pub(super) fn push_abroad(&mut self, id: LinkId, part: Part, bytes: &[u8]) {
        let Some(link) = self.link_mut(id) else {
            return;
        };
        let (home, abroad) = (link.profile.database, part.profile.database);
        let select = Part {
            purpose: Purpose::Swallow,
            replies: 1,
            noted: Noted::empty(),
            ..part
        };
        let write_select = |log: &mut Vec<u8>, database: u32| {
            write::command(log, &[b"SELECT", database.to_string().as_bytes()]);
        };
        if abroad != home {
            link.push_with(select, |log| write_select(log, abroad));
        }
        link.push_with(part, |log| log.extend_from_slice(bytes));
        link.push_with(select, |log| write_select(log, home));
        self.note_queued(id, &part);
    }

    /// A transaction that selects has been answered: the session stays where the last `SELECT` has brought it.
    pub(super) fn note_selected_in_block(&mut self, part: &Part, frame: &[u8]) {
        let Purpose::Answer(ticket) = part.purpose else {
            return;
        };
        let Some(session) = self.session_mut(ticket.session) else {
            return;
        };
        let replies = Reply::new(frame);
        for (at, database) in session.selecting.take().unwrap_or_default() {
            let reply = replies.items().nth(at);
            if reply.is_some_and(|reply| !reply.is_error()) {
                session.identity.db = database;
            }
        }
    }

    /// A part has been answered, perhaps a `SELECT`.
    pub(super) fn note_selected(&mut self, part: &Part, is_error: bool) {
        if part.row.route != Route::Local(Local::Select) {
            return;
        }
        if let Purpose::Answer(ticket) = part.purpose
            && let Some(session) = self.session_mut(ticket.session)
            && let Some(before) = session.database_before.take()
            && is_error
        {
            session.identity.db = before;
        }
    }
}
