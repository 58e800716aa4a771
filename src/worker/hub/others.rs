//! What no worker can answer alone: each says what it knows, and the one that was asked puts it together.

use std::cmp::Reverse;
use std::time::Duration;

use super::Hub;
use super::facts::Facts;
use crate::clock::Now;
use crate::downstream::local::{Filter, killed, listed};
use crate::downstream::replies::Seat;
use crate::downstream::session::Wait;
use crate::measure::counts;
use crate::reply::info;
use crate::resp::{Proto, write};
use crate::route::part::{SessionId, Ticket};
use crate::topology::Endpoint;

/// Something that all workers are asked on behalf of a client.
#[derive(Clone, Debug)]
pub enum Ask {
    /// `SLOWLOG GET`
    SlowRequests { at_most: usize },
    /// `SLOWLOG LEN`
    SlowCount,
    /// `SLOWLOG RESET`
    ForgetSlow,
    /// `CLIENT LIST`
    Clients(Filter),
    /// `CLIENT KILL`; `by_address`: in its old form.
    Kill { filter: Filter, by_address: bool },
    /// `CLIENT PAUSE`
    Pause { hold: Duration, writes_only: bool },
    /// `CLIENT UNPAUSE`
    Unpause,
    /// `CLIENT UNBLOCK`
    Unblock { client: u64, with_error: bool },
    /// `INFO`
    Facts,
}

counts! {
    /// What workers have said, added up.
    #[derive(Debug, Default)]
    pub struct Told {
        count: usize,
        /// By what they are sorted by: the number of a client, or a time.
        items: Vec<(u64, Vec<u8>)>,
        /// Where a client waits, and its number there.
        waits_at: Vec<(Endpoint, i64)>,
        facts: Option<Box<Facts>>,
    }
}

/// What the others are still to be asked.
#[derive(Debug)]
pub struct Asked {
    pub ticket: Ticket,
    pub ask: Ask,
    pub told: Told,
}

impl Told {
    fn count(count: usize) -> Self {
        Self {
            count,
            ..Self::default()
        }
    }

    fn items(items: Vec<(u64, Vec<u8>)>) -> Self {
        Self {
            items,
            ..Self::default()
        }
    }
}

impl Hub {
    /// Opens a seat for what all workers answer.
    pub(super) fn ask_workers_for(&mut self, now: Now, id: SessionId, ask: Ask) {
        if let Some((ticket, _)) = self.open_seat(id, Seat::Waits) {
            self.ask_workers(now, ticket, ask);
        }
    }

    /// All workers answer this ticket.
    pub(super) fn ask_workers(&mut self, now: Now, ticket: Ticket, ask: Ask) {
        let told = self.tell_of(now, Some(ticket.session), &ask);
        let asked = Asked { ticket, ask, told };
        if self.asks_others(&asked.ask) {
            // One question at a time: what others answer is in nobody's account.
            if let Some(session) = self.session_mut(ticket.session)
                && session.wait == Wait::Nothing
            {
                session.wait = Wait::Answers;
            }
            self.effects.asks.push(asked);
        } else {
            self.on_told_by_all(now, asked);
        }
    }

    /// As [`Hub::ask_workers_for`], unless it is to be answered `alone`, or can be: then in `reply`, and true.
    pub(super) fn reply_together(
        &mut self,
        now: Now,
        id: SessionId,
        ask: Ask,
        alone: bool,
        reply: &mut Vec<u8>,
    ) -> bool {
        if !alone && self.asks_others(&ask) {
            self.ask_workers_for(now, id, ask);
            return false;
        }
        self.reply_alone(now, id, &ask, reply);
        true
    }

    /// With what this worker knows.
    pub(super) fn reply_alone(&mut self, now: Now, id: SessionId, ask: &Ask, reply: &mut Vec<u8>) {
        let proto = self.session(id).map_or(Proto::Resp2, |s| s.identity.proto);
        let told = self.tell_of(now, Some(id), ask);
        self.write_told(now, ask, told, proto, reply);
    }

    /// Whether other workers know more. Not of users: their numbers are each worker's own.
    fn asks_others(&self, ask: &Ask) -> bool {
        let is_about_users = matches!(
            ask,
            Ask::Clients(_) | Ask::Kill { .. } | Ask::Unblock { .. }
        );
        self.settings.workers > 1 && !(is_about_users && self.face.logins.are_passed_on())
    }

    /// What this worker knows. `asks`: who wants to know, if that is a session of its own.
    pub fn tell_of(&mut self, now: Now, asks: Option<SessionId>, ask: &Ask) -> Told {
        match ask {
            Ask::SlowRequests { at_most } => return Told::items(self.slow_entries(*at_most)),
            Ask::SlowCount => return Told::count(self.measures.slow.len()),
            Ask::Clients(filter) => return Told::items(self.client_lines(now, asks, filter)),
            Ask::Kill { filter, .. } => return Told::count(self.kill_clients(now, asks, filter)),
            Ask::Unblock { client, with_error } => {
                return self.unblock(now, asks, *client, *with_error);
            }
            Ask::Facts => {
                return Told {
                    facts: Some(Box::new(self.facts())),
                    ..Told::default()
                };
            }
            Ask::ForgetSlow => self.measures.slow.clear(),
            Ask::Pause { hold, writes_only } => self.pause_clients(now, *hold, *writes_only),
            Ask::Unpause => self.end_pause(),
        }
        Told::default()
    }

    /// All have said what they know.
    pub fn on_told_by_all(&mut self, now: Now, asked: Asked) {
        let Asked { ticket, ask, told } = asked;
        let Some(proto) = self.session(ticket.session).map(|s| s.identity.proto) else {
            return;
        };
        match (&ask, self.seat_mut(ticket)) {
            (Ask::Unblock { with_error, .. }, _) if !told.waits_at.is_empty() => {
                return self.unblock_at_nodes(now, ticket, told.waits_at, *with_error);
            }
            (Ask::Facts, Some(Seat::Gathers(index))) => {
                let index = *index;
                self.write_info(now, ticket, index, &told.facts.unwrap_or_default());
                return self.note_session_woken(ticket.session);
            }
            _ => {}
        }
        let mut frame = Vec::new();
        self.write_told(now, &ask, told, proto, &mut frame);
        if matches!(ask, Ask::Kill { .. }) {
            // If that is an error, it is ours.
            self.note_failed(ticket);
        }
        self.deliver(now, ticket, &frame);
    }

    /// The reply that it comes to.
    fn write_told(&self, now: Now, ask: &Ask, mut told: Told, proto: Proto, out: &mut Vec<u8>) {
        match ask {
            Ask::SlowRequests { .. } => {
                told.items.sort_unstable_by_key(|(at, _)| Reverse(*at));
                write::array(out, told.items.len());
                told.items.iter().for_each(|(_, entry)| out.extend(entry));
            }
            Ask::SlowCount | Ask::Unblock { .. } => {
                write::integer(out, i64::try_from(told.count).unwrap_or(i64::MAX));
            }
            Ask::ForgetSlow | Ask::Pause { .. } | Ask::Unpause => write::ok(out),
            Ask::Clients(_) => {
                told.items.sort_unstable_by_key(|(id, _)| *id);
                let lines: Vec<u8> = told.items.into_iter().flat_map(|(_, line)| line).collect();
                listed(proto, &lines, out);
            }
            Ask::Kill { by_address, .. } => killed(told.count, *by_address, out),
            Ask::Facts => {
                let facts = told.facts.unwrap_or_default();
                let face = self.settings.server_face(&facts, now);
                info::slotcar(proto, &face, out);
            }
        }
    }
}
