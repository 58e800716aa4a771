//! `WATCH`: the keys of a transaction are watched on a link of the session's own, until `EXEC`, `DISCARD` or `UNWATCH`.
//!
//! If nobody can watch any more, because the link is lost or the slot has moved, the keys count as changed: `EXEC` answers
//! null and the client starts over, as it does when somebody else was faster.

use super::Hub;
use super::place::Body;
use super::request::Ran;
use super::transaction::cross_slot;
use crate::clock::Now;
use crate::command::{Connection, Route, Row};
use crate::downstream::replies::Seat;
use crate::downstream::session::{Wait, Watch};
use crate::resp::request::Request;
use crate::resp::write;
use crate::route::part::{LinkId, Part, Purpose, SessionId, Target, Ticket, Way};

impl Hub {
    pub(super) fn watch(
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
        let key = request.arg(1);
        let keyspace = self.settings.keyspace;
        let slot = keyspace.slot(key);
        let mut others = (1..request.len()).map(|at| request.arg(at));
        if let Some(other) = others.find(|other| keyspace.slot(other) != slot) {
            let text = cross_slot(key, other);
            self.refuse(id, text);
            return Ran::Taken;
        }
        let Some(session) = self.session_mut(id) else {
            return Ran::Taken;
        };
        let before = session.watch.as_deref();
        if let Some(watch) = before.filter(|watch| watch.slot != slot) {
            let text = cross_slot(&watch.key, key);
            self.refuse(id, text);
            return Ran::Taken;
        }
        if before.is_some_and(|watch| watch.lost) {
            self.answer_here(id, write::ok);
            return Ran::Taken;
        }
        let pinned = before.and_then(|watch| watch.link);
        session.wait = Wait::Answers;
        let watch = session.watch.get_or_insert_with(|| {
            Box::new(Watch {
                slot,
                key: key.into(),
                count: 0,
                link: None,
                asking: false,
                lost: false,
            })
        });
        watch.count += u32::try_from(request.len() - 1).unwrap_or(u32::MAX);
        if let Some((ticket, profile)) = self.open_seat(id, Seat::Waits) {
            let part = Part::new(ticket, Target::Slot(slot), row, profile);
            match pinned {
                Some(_) => self.push_to(pinned, part.by(Way::Pinned), request.bytes),
                None => self.place(now, part.by(Way::Own), Body::Borrowed(request.bytes)),
            }
        }
        Ran::Taken
    }

    /// A node has answered WATCH.
    pub(super) fn on_watch_answered(&mut self, link: LinkId, part: &Part, frame: &[u8]) {
        let Purpose::Answer(ticket) = part.purpose else {
            return;
        };
        let watches = frame.first() != Some(&b'-');
        let Some(session) = self.session_mut(ticket.session) else {
            return;
        };
        let Some(watch) = &mut session.watch else {
            return;
        };
        if watches {
            watch.link = Some(link);
            watch.asking |= part.asking;
            if let Some(link) = self.link_mut(link) {
                link.kept = true;
            }
        } else if watch.link.is_none() && !watch.lost {
            session.watch = None;
        }
    }

    /// The session speaks another protocol than the link where its keys are watched: they count as changed.
    pub(super) fn lose_watch(&mut self, now: Now, id: SessionId) {
        let watch = self.session_mut(id).and_then(|s| s.watch.take());
        self.release_watch(watch.as_deref());
        if let (Some(session), Some(watch)) = (self.session_mut(id), watch) {
            let link = watch.link;
            session.watch = Some(Box::new(Watch {
                link: None,
                lost: true,
                ..*watch
            }));
            if let Some(link) = link {
                self.give_back(now, link);
            }
        }
    }

    /// Gives up what a session watches.
    pub(super) fn unwatch(&mut self, now: Now, id: SessionId) {
        let watch = self.session_mut(id).and_then(|s| s.watch.take());
        self.release_watch(watch.as_deref());
        if let Some(link) = watch.and_then(|watch| watch.link) {
            self.give_back(now, link);
        }
    }

    pub(super) fn release_watch(&mut self, watch: Option<&Watch>) {
        let Some((id, row)) = watch.and_then(|w| w.link).zip(self.commands.row("unwatch")) else {
            return;
        };
        let Some(link) = self.link_mut(id) else {
            return;
        };
        link.kept = false;
        let part = Part {
            purpose: Purpose::Swallow,
            ..Part::new(NOBODY, Target::Node(link.node), row, link.profile)
        };
        link.push_with(part, |log| write::command(log, &["UNWATCH"]));
        self.note_link_woken(id);
    }

    /// The link where a session watched keys is gone.
    pub(super) fn on_watch_lost(&mut self, owner: SessionId, id: LinkId) {
        if let Some(session) = self.session_mut(owner)
            && let Some(watch) = &mut session.watch
            && watch.link == Some(id)
        {
            watch.link = None;
            watch.lost = true;
        }
    }

    /// What a transaction watched may have changed unseen: as if it had, nothing was executed.
    pub(super) fn answer_watch_lost(&mut self, now: Now, part: &Part) {
        let Purpose::Answer(ticket) = part.purpose else {
            return;
        };
        let mut frame = Vec::new();
        if part.row.route == Route::Connection(Connection::Watch) {
            if let Some(session) = self.session_mut(ticket.session)
                && let Some(watch) = &mut session.watch
            {
                watch.lost = true;
            }
            write::ok(&mut frame);
        } else {
            write::null_array(&mut frame, part.profile.proto);
        }
        self.deliver(now, ticket, &frame);
    }
}

const NOBODY: Ticket = Ticket {
    session: SessionId {
        index: u32::MAX,
        generation: 0,
    },
    seat: 0,
    part: 0,
};
