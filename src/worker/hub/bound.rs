//! Requests that are bound to a connection: each kind has its own file here, and this one sends them there.

use super::Hub;
use super::request::Ran;
use crate::clock::Now;
use crate::command::{Connection, Row};
use crate::reply::errors;
use crate::resp::request::Request;
use crate::route::part::{LinkId, SessionId};
use crate::upstream::link::{Role, Use};

impl Hub {
    pub(super) fn run_bound(
        &mut self,
        now: Now,
        id: SessionId,
        connection: Connection,
        row: &'static Row,
        request: Request<'_>,
    ) -> Ran {
        match connection {
            Connection::Blocking => return self.block(now, id, row, request),
            Connection::Watch => return self.watch(now, id, row, request),
            Connection::Exec => return self.exec(now, id, row),
            Connection::Wait => return self.wait(now, id, row, request),
            Connection::Multi => {
                self.note_request(id, Some(row));
                self.multi(id);
                return Ran::Taken;
            }
            Connection::Discard => {
                self.note_request(id, Some(row));
                self.discard(now, id);
                return Ran::Taken;
            }
            Connection::Unwatch => {
                self.note_request(id, Some(row));
                self.unwatch(now, id);
                self.answer_here(id, crate::resp::write::ok);
                return Ran::Taken;
            }
            Connection::Subscribe(kind) => return self.subscribe(now, id, kind, row, request),
            Connection::Unsubscribe(kind) => return self.unsubscribe(now, id, kind, row, request),
            Connection::Monitor => return self.monitor(now, id, row),
            Connection::Tracking => return self.track(now, id, row, request),
            Connection::HashImport => {}
        }
        self.note_request(id, Some(row));
        self.refuse(id, errors::not_served_yet(row.name));
        Ran::Taken
    }

    /// A node says something that no request of a session asked for.
    pub(super) fn on_push(&mut self, now: Now, id: LinkId, frame: &[u8]) {
        match self.link(id).map(|link| (link.used, link.role)) {
            Some((Use::Watch, _)) => self.on_watch_push(now, id, frame),
            Some((Use::Ear, _)) => self.on_ear_push(now, id, frame),
            Some((Use::Leased(Some(owner)), Role::Tracks | Role::Invalidations)) => {
                self.on_invalidation(owner, frame);
            }
            Some((Use::Shared | Use::Leased(_), _)) | None => {}
        }
    }

    /// What a session relied on at a node is gone with a link.
    pub(super) fn on_kept_link_lost(&mut self, owner: SessionId, id: LinkId) {
        self.on_watch_lost(owner, id);
    }
}
