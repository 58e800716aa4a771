//! Sessions that slotcar ends: those that are idle for too long, and all of them when it is told to stop.

use std::time::Duration;

use super::Hub;
use crate::clock::Now;
use crate::route::part::SessionId;

/// Between two looks at all sessions; a client may stay idle for this much longer than it should. As servers look.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Hub {
    /// A client has come: it may become idle.
    pub(super) fn expect_idle_clients(&mut self, now: Now) {
        if let Some(timeout) = self.settings.client_idle_timeout {
            self.idle_clients_check.get_or_insert(now + timeout);
        }
    }

    /// Ends the sessions that have been idle for too long. The next look is due when the next of them may be, but not soon.
    pub(super) fn close_idle_clients(&mut self, now: Now) {
        let Some(timeout) = self.settings.client_idle_timeout else {
            return;
        };
        if self.idle_clients_check.is_none_or(|at| now < at) {
            return;
        }
        let mut next = now + timeout;
        let mut idle: Vec<SessionId> = Vec::new();
        for (index, session) in &self.sessions {
            match session.idle_since().map(|since| since + timeout) {
                Some(ends) if ends <= now => idle.push(session.id(index)),
                Some(ends) => next = next.min(ends),
                None => {}
            }
        }
        for id in idle {
            if let Some(session) = self.session_mut(id) {
                // What it has not taken for so long it will not take now.
                session.cut = true;
                self.counters.idle_clients_closed += 1;
                self.note_session_woken(id);
            }
        }
        let soonest = now + timeout.min(LOOK_EVERY);
        self.idle_clients_check = (!self.sessions.is_empty()).then_some(next.max(soonest));
    }

    /// Sessions end from now on when nothing of theirs is under way. Every one of them is to be served once more, and its
    /// socket to be read until it is empty.
    pub fn on_stop(&mut self) {
        self.stops = true;
        for id in self.all_sessions() {
            self.note_session_woken(id);
        }
    }

    /// No session runs a further request: each ends when what has been run is answered.
    pub fn on_stop_reading(&mut self) {
        for id in self.all_sessions() {
            if let Some(session) = self.session_mut(id) {
                session.closing = true;
                self.note_session_woken(id);
            }
        }
    }

    /// Sessions that are there, and requests that nobody has answered, also those whose clients have left.
    pub fn is_owed_nothing(&self) -> bool {
        let load = self.load();
        (load.sessions, load.queued, load.held) == (0, 0, 0)
    }

    fn all_sessions(&self) -> Vec<SessionId> {
        let sessions = self.sessions.iter();
        sessions.map(|(index, session)| session.id(index)).collect()
    }
}
