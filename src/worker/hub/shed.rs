//! When memory is short: who holds much waits, and if that does not help, who holds most goes.
//!
//! What a session holds: what it has sent and is not run, what it queues for `EXEC`, replies it has not taken, its requests
//! in lanes and links, and a reply that is on its way to it. Who waits is not read from; a wait ends with the pressure, or with
//! the end of the one who holds most: nobody waits for ever.

use std::collections::HashMap;
use std::time::Duration;

use super::Hub;
use crate::clock::Now;
use crate::downstream::replies::Seat;
use crate::downstream::session::{Session, Wait};
use crate::memory::Pressure;
use crate::reply::gather::Gather;
use crate::route::part::{LinkId, Part, Purpose, SessionId};
use crate::upstream::link::LinkDown;

/// Between two looks while memory is short; also the time that one who was told to go may take.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Pressure that lasts for so long with somebody waiting will not end by itself.
const PATIENCE: Duration = Duration::from_secs(1);

/// Who holds less is never the reason. Halved for many sessions, down to the second.
const SHARE_BYTES_MAX: usize = 64 * 1024;
const SHARE_BYTES_MIN: usize = 4 * 1024;

/// The shares of all sessions together, as a part of the limit.
const SHARES: usize = 8;

/// Memory as this worker last saw it.
#[derive(Debug, Default)]
pub(super) struct Shortage {
    pressure: Pressure,
    /// When to look again.
    pub(super) check: Option<Now>,
    /// Somebody has to wait since then, or somebody has gone then.
    since: Now,
    /// The log has said that nobody holds much.
    told: bool,
}

impl Hub {
    /// How much memory the process has. To be called where bytes come in, and when [`Hub::deadline`] is over.
    pub fn on_memory(&mut self, now: Now, pressure: Pressure) {
        let before = std::mem::replace(&mut self.shortage.pressure, pressure);
        if pressure == Pressure::None {
            if before != Pressure::None {
                self.end_shortage();
            }
            return;
        }
        if before == Pressure::None {
            self.counters.memory_shortages += 1;
            self.shortage.since = now;
            self.stop_the_heavy();
        }
        if self.shortage.check.is_some_and(|at| now < at) && before == pressure {
            return;
        }
        self.shortage.check = Some(now + LOOK_EVERY);
        let patience = match pressure {
            Pressure::None | Pressure::Tight => PATIENCE,
            Pressure::Over => Duration::ZERO,
        };
        if now.since(self.shortage.since) >= patience {
            self.shed(now);
            self.shortage.since = now;
        }
    }

    /// A session has sent something: it may hold too much now.
    pub(super) fn check_share(&mut self, id: SessionId) {
        if self.shortage.pressure == Pressure::None {
            return;
        }
        let share = self.share();
        if let Some(session) = self.session_mut(id) {
            stop_if_heavy(session, share);
        }
    }

    fn end_shortage(&mut self) {
        self.shortage = Shortage::default();
        let waiting = self.sessions.iter();
        let waiting = waiting.filter(|(_, session)| session.wait == Wait::Memory);
        let waiting: Vec<SessionId> = waiting.map(|(index, s)| s.id(index)).collect();
        for id in waiting {
            self.end_wait_for_link(id);
            // It may have waited for them before.
            if let Some(session) = self.session_mut(id)
                && !session.replies.is_empty()
            {
                session.wait = Wait::Answers;
            }
        }
    }

    fn stop_the_heavy(&mut self) {
        let share = self.share();
        for (_, session) in &mut self.sessions {
            stop_if_heavy(session, share);
        }
    }

    /// What a session may hold while memory is short.
    fn share(&self) -> usize {
        let all = self.settings.memory_max / SHARES;
        let share = all.checked_div(self.sessions.len()).unwrap_or(all);
        share.clamp(SHARE_BYTES_MIN, SHARE_BYTES_MAX)
    }

    /// Ends the session that holds most.
    fn shed(&mut self, now: Now) {
        let (mut held, arriving) = self.weigh();
        held.retain(|id, bytes| *bytes > SHARE_BYTES_MIN && self.session(*id).is_some());
        let worst = held.into_iter().max_by_key(|(_, bytes)| *bytes);
        let Some((id, bytes)) = worst else {
            if !std::mem::replace(&mut self.shortage.told, true) {
                tracing::warn!(
                    event = "memory",
                    worker = self.settings.worker,
                    "memory is short, and no client holds much of it"
                );
            }
            return;
        };
        let replies = arriving.iter().filter(|(_, session)| *session == id);
        for (link, _) in replies {
            self.drop_reply(now, *link);
        }
        self.lanes.forget(|part| session_of(part) == Some(id));
        let worker = self.settings.worker;
        if let Some(session) = self.session_mut(id) {
            tracing::warn!(
                event = "memory",
                session = session.identity.id,
                client = %session.identity.peer,
                worker,
                bytes,
                "cut: memory is short, and this client holds most of it"
            );
            session.cut = true;
            self.counters.clients_shed += 1;
            self.note_session_woken(id);
        }
    }

    /// What each session holds, and the sessions to which links bring long replies at the moment.
    fn weigh(&self) -> (HashMap<SessionId, usize>, Vec<(LinkId, SessionId)>) {
        let mut held: HashMap<SessionId, usize> = HashMap::new();
        let mut arriving = Vec::new();
        for (index, session) in &self.sessions {
            if !session.cut {
                let gathers = session.replies.seats().filter_map(|seat| match seat {
                    Seat::Gathers(gather) => self.gathers.get(*gather as usize),
                    Seat::Waits
                    | Seat::Passes
                    | Seat::Walks(_)
                    | Seat::Executes(_)
                    | Seat::Full { .. }
                    | Seat::Closes => None,
                });
                let gathered: usize = gathers.map(Gather::held_bytes).sum();
                held.insert(session.id(index), session.footprint() + gathered);
            }
        }
        let mut add = |part: &Part, bytes: usize| {
            let session = session_of(part)?;
            *held.entry(session).or_default() += bytes;
            Some(session)
        };
        for waiting in self.lanes.iter() {
            add(&waiting.part, waiting.bytes.len());
        }
        for (index, place) in &self.links {
            for (part, bytes) in place.link.queue().sizes() {
                add(part, bytes);
            }
            let oldest = place.link.queue().parts().next();
            let torn = place.link.torn_bytes();
            if let Some(session) = oldest.and_then(|part| add(part, torn))
                && torn > SHARE_BYTES_MAX
            {
                arriving.push((place.id(index), session));
            }
        }
        (held, arriving)
    }

    /// Ends a link on which a reply comes that nobody can keep. Its other parts get their verdicts.
    fn drop_reply(&mut self, now: Now, id: LinkId) {
        let Some(link) = self.link_mut(id) else {
            return;
        };
        if let Some(part) = link.queue_mut().parts_mut().next() {
            part.purpose = Purpose::Swallow;
        }
        self.note_link_woken(id);
        let why = "a reply needs more memory than there is";
        self.on_link_down(now, id, &LinkDown::Lost(why.into()));
    }
}

fn stop_if_heavy(session: &mut Session, share: usize) {
    let may_wait = matches!(session.wait, Wait::Nothing | Wait::Answers);
    if may_wait && session.footprint() > share {
        session.wait = Wait::Memory;
        // What has been read and not run is looked at again when the wait ends.
        session.stalled |= !session.input.is_empty();
    }
}

fn session_of(part: &Part) -> Option<SessionId> {
    match part.purpose {
        Purpose::Answer(ticket) => Some(ticket.session),
        Purpose::Try(..)
        | Purpose::Look(..)
        | Purpose::PutBack
        | Purpose::Listen(_)
        | Purpose::Swallow => None,
    }
}
