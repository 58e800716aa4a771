//! `SCAN`: each request is one step of a walk over all primaries, see [`crate::route::scan`].

use super::Hub;
use super::place::Body;
use crate::clock::Now;
use crate::command::Row;
use crate::downstream::replies::Seat;
use crate::reply::errors;
use crate::resp::reply::{Reply, parse_i64};
use crate::resp::request::{Request, RequestScan, Scanned};
use crate::resp::write;
use crate::route::part::{Part, Purpose, SessionId, Target, Ticket};
use crate::route::scan::{Step, Walk};
use crate::topology::Slot;

impl Hub {
    pub(super) fn start_scan(
        &mut self,
        now: Now,
        id: SessionId,
        row: &'static Row,
        request: Request<'_>,
    ) {
        let Some(token) = std::str::from_utf8(request.arg(1))
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
        else {
            return self.refuse(id, errors::INVALID_CURSOR);
        };
        let walk = match (token, self.scan_book.lock()) {
            (0, _) | (_, Err(_)) => Walk::default(),
            (_, Ok(book)) => book.place(token),
        };
        let Some((ticket, profile)) = self.open_seat(id, Seat::Walks(Box::new(walk))) else {
            return;
        };
        let part = Part::new(ticket, Target::Slot(Slot::FIRST), row, profile);
        self.step_walk(now, part, request);
    }

    /// Sends a step again: the node that was asked is gone or serves the slot no more.
    pub(super) fn place_scan_again(&mut self, now: Now, part: Part, bytes: &[u8]) {
        let mut scan = RequestScan::new();
        if let Ok(Scanned::Multibulk(_)) = scan.advance(bytes, &self.settings.request) {
            self.step_walk(
                now,
                part,
                Request {
                    bytes,
                    args: scan.args(),
                },
            );
        }
    }

    /// Asks the next node of the walk, with that node's own cursor in place of the client's.
    fn step_walk(&mut self, now: Now, mut part: Part, request: Request<'_>) {
        let Purpose::Answer(ticket) = part.purpose else {
            return;
        };
        let owners = &self.owners;
        let session = self.sessions.get_mut(ticket.session.index as usize);
        let session = session.filter(|s| s.generation == ticket.session.generation);
        let step = match session.and_then(|s| s.replies.seat_mut(ticket.seat)) {
            Some(Seat::Walks(walk)) => walk.step(owners),
            Some(
                Seat::Waits
                | Seat::Passes
                | Seat::Gathers(_)
                | Seat::Executes(_)
                | Seat::Full { .. }
                | Seat::Closes,
            )
            | None => {
                return;
            }
        };
        let Some(Step { slot, cursor, .. }) = step else {
            return self.end_walk(now, part, request);
        };
        part.target = Target::Slot(slot);
        let mut bytes = Vec::with_capacity(request.bytes.len() + 20);
        write::command_header(&mut bytes, request.len());
        write::bulk(&mut bytes, request.name());
        write::bulk(&mut bytes, cursor.to_string().as_bytes());
        for index in 2..request.len() {
            write::bulk(&mut bytes, request.arg(index));
        }
        self.place(now, part, Body::Borrowed(&bytes));
    }

    /// There is nothing left to ask: nobody serves a slot, or everything has been walked meanwhile.
    fn end_walk(&mut self, now: Now, part: Part, request: Request<'_>) {
        let Purpose::Answer(ticket) = part.purpose else {
            return;
        };
        if self.owners.primaries().is_empty() {
            return self.place(now, part, Body::Borrowed(request.bytes));
        }
        self.deliver_walk(now, ticket, b"*2\r\n$1\r\n0\r\n*0\r\n");
        self.note_session_woken(ticket.session);
    }

    /// A node has answered a step: its cursor becomes a token of ours.
    pub(super) fn deliver_walk(&mut self, _now: Now, ticket: Ticket, frame: &[u8]) {
        let owners = &self.owners;
        let Some(session) = self.sessions.get_mut(ticket.session.index as usize) else {
            return;
        };
        let mut items = Reply::new(frame).items();
        let cursor = items.next().and_then(|c| c.text()).and_then(parse_cursor);
        let (Some(cursor), Some(keys)) = (cursor, items.next()) else {
            // An error, or nothing that we know: the client sees what the node said.
            let ended = session.replies.fill(ticket.seat, &mut session.out, frame);
            self.tally.note(ended.class, ended.outcome);
            return;
        };
        let Some(Seat::Walks(walk)) = session.replies.seat_mut(ticket.seat) else {
            return;
        };
        session.out.adopt(&mut self.pool);
        let goes_on = walk.on_cursor(cursor, owners);
        let token = match self.scan_book.lock() {
            Ok(mut book) if goes_on => book.keep(std::mem::take(walk)),
            Ok(_) | Err(_) => 0,
        };
        let step = |buf: &mut Vec<u8>| {
            write::array(buf, 2);
            write::bulk(buf, token.to_string().as_bytes());
            buf.extend_from_slice(keys.bytes());
        };
        let ended = (session.replies).fill_with(ticket.seat, &mut session.out, step);
        self.tally.note(ended.class, ended.outcome);
    }
}

/// A node's cursor: all 64 bits, and some servers print it as a negative number.
fn parse_cursor(text: &[u8]) -> Option<u64> {
    let unsigned = std::str::from_utf8(text).ok()?.parse::<u64>().ok();
    unsigned.or_else(|| parse_i64(text).map(i64::cast_unsigned))
}
