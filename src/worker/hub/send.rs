//! Requests of one part or several: the seat that waits for the answer, and the parts, each on its way to a node.

use super::Hub;
use super::place::Body;
use crate::clock::Now;
use crate::command::{Merge, Row, check};
use crate::downstream::replies::Seat;
use crate::reply::gather::slowlog_items_max;
use crate::resp::request::Request;
use crate::route::part::{Part, Profile, SessionId, Target, Ticket, Way};
use crate::route::split::{Cut, Splitter};
use crate::topology::Slot;

impl Hub {
    pub(super) fn send_whole(
        &mut self,
        now: Now,
        id: SessionId,
        row: &'static Row,
        slot: Slot,
        request: Request<'_>,
    ) {
        let Some((ticket, profile)) = self.open_seat(id, Seat::Waits) else {
            return;
        };
        self.place(
            now,
            Part::new(ticket, Target::Slot(slot), row, profile),
            Body::Borrowed(request.bytes),
        );
    }

    pub(super) fn send_to_any(
        &mut self,
        now: Now,
        id: SessionId,
        row: &'static Row,
        request: Request<'_>,
    ) {
        let slot = self.any_primary(id);
        self.send_whole(now, id, row, slot, request);
    }

    /// A slot of the primary that gets a session's requests without keys: the same for all of them keeps them in order.
    pub(super) fn any_primary(&self, id: SessionId) -> Slot {
        if let Some(home) = self.home() {
            return home;
        }
        let primaries = self.owners.primaries();
        let index = id.generation as usize % primaries.len().max(1);
        primaries.get(index).copied().unwrap_or(Slot::FIRST)
    }

    pub(super) fn send_to_all(
        &mut self,
        now: Now,
        id: SessionId,
        row: &'static Row,
        request: Request<'_>,
        replicas: bool,
    ) {
        let mut targets: Vec<Target> = self
            .owners
            .primaries()
            .iter()
            .map(|&slot| Target::Slot(slot))
            .collect();
        if replicas {
            targets.extend(
                self.owners
                    .replicas()
                    .iter()
                    .map(|&node| Target::Node(node)),
            );
        }
        if targets.is_empty() {
            return self.send_to_any(now, id, row, request);
        }
        let beside = self.said_beside(row, request);
        let said = targets.len() + usize::from(beside.is_some());
        let gather = self.start_gather(row.merge, said, &[]);
        if row.merge == Merge::SlowlogGet
            && let Some(gather) = self.gathers.get_mut(gather as usize)
        {
            gather.limit_items(slowlog_items_max(request.get(2)));
        }
        let Some((ticket, profile)) = self.open_seat(id, Seat::Gathers(gather)) else {
            return;
        };
        let way = if row.asks_beside() {
            Way::Own
        } else {
            Way::Shared
        };
        let mut parts = 0u16..;
        for (target, part) in targets.into_iter().zip(&mut parts) {
            let ticket = Ticket { part, ..ticket };
            self.place(
                now,
                Part::new(ticket, target, row, profile).by(way),
                Body::Borrowed(request.bytes),
            );
        }
        if let (Some(ask), Some(part)) = (beside, parts.next()) {
            self.ask_workers(now, Ticket { part, ..ticket }, ask);
        }
    }

    pub(super) fn send_split(
        &mut self,
        now: Now,
        id: SessionId,
        row: &'static Row,
        request: Request<'_>,
    ) {
        let Some(shape) = row.shape else {
            return self.send_to_any(now, id, row, request);
        };
        let mut splitter = std::mem::take(&mut self.splitter);
        match splitter.split(shape, request, self.settings.keyspace) {
            Cut::Malformed => self.refuse(id, check::wrong_arity(row)),
            Cut::Whole(slot) => self.send_whole(now, id, row, slot, request),
            Cut::Parts => self.send_parts(now, id, row, &splitter, request),
        }
        self.splitter = splitter;
    }

    fn send_parts(
        &mut self,
        now: Now,
        id: SessionId,
        row: &'static Row,
        splitter: &Splitter,
        request: Request<'_>,
    ) {
        let gather = self.start_gather(row.merge, splitter.slots().len(), splitter.key_parts());
        let Some((ticket, profile)) = self.open_seat(id, Seat::Gathers(gather)) else {
            return;
        };
        let mut bytes = std::mem::take(&mut self.part_bytes);
        for (part, &slot) in (0u16..).zip(splitter.slots()) {
            bytes.clear();
            splitter.write_part(usize::from(part), request, &mut bytes);
            let ticket = Ticket { part, ..ticket };
            self.place(
                now,
                Part::new(ticket, Target::Slot(slot), row, profile),
                Body::Borrowed(&bytes),
            );
        }
        bytes.clear();
        bytes.shrink_to(self.settings.limits.scratch_bytes_max);
        self.part_bytes = bytes;
    }

    pub(super) fn start_gather(&mut self, merge: Merge, parts: usize, key_parts: &[u16]) -> u32 {
        let mut gather = self.spare_gathers.pop().unwrap_or_default();
        gather.start(merge, parts, key_parts);
        u32::try_from(self.gathers.insert(gather)).unwrap_or(u32::MAX)
    }

    /// Opens the next seat of a session: its ticket for part 0, and the session's profile.
    pub(super) fn open_seat(&mut self, id: SessionId, seat: Seat) -> Option<(Ticket, Profile)> {
        let session = self.session_mut(id)?;
        let seat = session.replies.open(seat, session.silent, session.class);
        Some((
            Ticket {
                session: id,
                seat,
                part: 0,
            },
            session.identity.profile(),
        ))
    }
}
