//! `MONITOR`: every primary says what it executes, on a link that is there for nothing else.

use super::Hub;
use super::request::Ran;
use crate::clock::Now;
use crate::command::{Flags, Route, Row};
use crate::downstream::local::ReplyMode;
use crate::downstream::session::Wait;
use crate::downstream::standing::Order;
use crate::resp::{Proto, write};
use crate::route::part::{LinkId, NodeId, Profile, SessionId};
use crate::upstream::link::{Link, Role};

impl Hub {
    /// `MONITOR`
    pub(super) fn monitor(&mut self, now: Now, id: SessionId, row: &'static Row) -> Ran {
        if self.has_in_flight(id) {
            return Ran::NotYet(Wait::Answers);
        }
        self.note_request(id, Some(row));
        let monitors = self
            .session(id)
            .and_then(|s| s.standing.as_ref())
            .is_some_and(|s| s.monitors);
        // Said twice, a server says nothing the second time.
        if !monitors {
            self.order(id, |standing| standing.monitors = true);
            self.ask(now, id, Order::Monitor);
        }
        Ran::Taken
    }

    /// Whether a session that monitors is refused this: whatever has to do with keys, also by way of replication.
    pub(super) fn is_kept_from_keys(&self, id: SessionId, row: &Row) -> bool {
        let standing = self.session(id).and_then(|s| s.standing.as_ref());
        let goes_to_a_node = matches!(row.route, Route::Slot | Route::AnyPrimary);
        standing.is_some_and(|standing| standing.monitors)
            && (row.flags.intersects(Flags::READ | Flags::WRITE)
                || (goes_to_a_node && (!row.keys.is_empty() || row.flags.contains(Flags::PUBSUB))))
    }

    /// A node has executed something.
    pub(super) fn on_monitor_line(&mut self, link: LinkId, line: &[u8]) {
        let owner = self.link(link).and_then(Link::owner);
        let Some(owner) = owner else { return };
        let answers = self.session(owner).map(|session| session.identity.reply);
        if answers == Some(ReplyMode::On) && !self.is_housekeeping(line) {
            let own = self.own_monitor_line(line);
            self.interject(owner, own.as_deref().unwrap_or(line));
        }
    }

    /// Whether a line is about slotcar's own looking after links and nodes: what it answers itself it never passes on.
    fn is_housekeeping(&self, line: &[u8]) -> bool {
        let Ok(line) = std::str::from_utf8(line) else {
            return false;
        };
        let words = line.split_once("] \"").map(|(_, words)| words);
        let name = words.and_then(|words| words.split('"').next());
        let row = name.and_then(|name| self.commands.row(name));
        row.is_some_and(|row| matches!(row.route, Route::Local(_)))
    }

    pub(super) fn monitor_link(
        &mut self,
        now: Now,
        id: SessionId,
        node: NodeId,
    ) -> Result<LinkId, Now> {
        if let Some(link) = self.standing_link(id, node, Role::Monitors) {
            return Ok(link);
        }
        self.check_usable(now, node)?;
        let mut set_up = Vec::new();
        write::command(&mut set_up, &["MONITOR"]);
        // What it says is the same in both protocols.
        let user = self.user_of(id);
        let profile = Profile::new(Proto::Resp2, user);
        self.dial_standing(now, id, node, (profile, Role::Monitors, set_up))
    }

    pub(super) fn end_monitor(&mut self, now: Now, id: SessionId) {
        let session = self.session_mut(id);
        if let Some(standing) = session.and_then(|s| s.standing.as_mut()) {
            standing.monitors = false;
        }
        let own = self.session(id).map(|s| s.own_links.clone());
        for link in own.unwrap_or_default() {
            if self
                .link(link)
                .is_some_and(|link| link.role == Role::Monitors)
            {
                self.close_link(now, link);
            }
        }
        self.end_if_over(id);
    }
}
