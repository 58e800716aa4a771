//! What slotcar answers itself, as far as it concerns more than the session that asks.

use std::time::Duration;

use super::Hub;
use super::others::Ask;
use crate::clock::Now;
use crate::command::{Connection, Counts, Flags, Local, Refuse, Route, Row, Subscription};
use crate::downstream::local::{After, Extra, Filter, answer, client_line};
use crate::downstream::session::{Session, Wait};
use crate::downstream::standing::Standing;
use crate::downstream::subscriptions::write_pong;
use crate::downstream::tracking::Tracking;
use crate::reply::errors;
use crate::resp::request::Request;
use crate::resp::write;
use crate::route::part::SessionId;

/// `CLIENT PAUSE`: requests of all clients wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pause {
    until: Now,
    writes_only: bool,
}

impl Hub {
    pub(super) fn run_local(
        &mut self,
        now: Now,
        id: SessionId,
        local: Local,
        request: Request<'_>,
    ) {
        if local == Local::Ping && self.listens_in_resp2(id) {
            return self.answer_here(id, |buf| write_pong(request, buf));
        }
        let proto = |hub: &Self| hub.session(id).map(|s| s.identity.proto);
        let before = proto(self);
        let mut reply = std::mem::take(&mut self.part_bytes);
        if self.local_reply(now, id, local, request, false, &mut reply) {
            self.answer_here(id, |buf| buf.extend_from_slice(&reply));
        }
        reply.clear();
        self.part_bytes = reply;
        if local == Local::Hello && proto(self) != before {
            self.on_proto_switched(now, id);
        }
    }

    /// Does what a request asks of us and writes its reply; false: none is due, or it comes on another way. `alone`: without asking
    /// other workers, which takes time.
    pub(super) fn local_reply(
        &mut self,
        now: Now,
        id: SessionId,
        local: Local,
        request: Request<'_>,
        alone: bool,
        reply: &mut Vec<u8>,
    ) -> bool {
        let Some(session) = self.sessions.get_mut(id.index as usize) else {
            return false;
        };
        let begin = reply.len();
        let after = answer(local, request, &mut session.identity, &self.face, reply);
        let logs_in = matches!(local, Local::Auth | Local::Hello);
        if logs_in && reply.starts_with(b"-WRONGPASS") {
            self.counters.logins_refused += 1;
        }
        match after {
            After::Reply => {}
            After::Switch(_) => self.lose_watch(now, id),
            After::ReplyAnyway => session.silent = false,
            After::Reset => {
                session.silent = false;
                self.reset(now, id);
            }
            After::Tracking(question) => self.answer_about_tracking(id, question, reply),
            After::NoReply => return false,
            After::Close => {
                if let Some(session) = self.session_mut(id) {
                    session.closing = true;
                }
            }
            After::Info => {
                let own = Filter {
                    ids: self.session(id).map(|s| vec![s.identity.id]),
                    ..Filter::default()
                };
                self.reply_alone(now, id, &Ask::Clients(own), reply);
            }
            After::List(filter) => {
                return self.reply_together(now, id, Ask::Clients(filter), alone, reply);
            }
            After::Kill { filter, by_address } => {
                let ask = Ask::Kill { filter, by_address };
                return self.reply_together(now, id, ask, alone, reply);
            }
            After::Pause { .. } | After::Unpause if self.face.logins.are_passed_on() => {
                reply.truncate(begin);
                write::error(reply, errors::refused("client|pause", Refuse::Denied));
            }
            After::Pause { hold, writes_only } => {
                reply.truncate(begin);
                let ask = Ask::Pause { hold, writes_only };
                return self.reply_together(now, id, ask, alone, reply);
            }
            After::Unpause => {
                reply.truncate(begin);
                return self.reply_together(now, id, Ask::Unpause, alone, reply);
            }
            After::Unblock {
                id: client,
                with_error,
            } => {
                self.ask_workers_for(now, id, Ask::Unblock { client, with_error });
                return false;
            }
        }
        true
    }

    /// Refuses whoever has not said who he is, but for what can be asked by anybody.
    pub(super) fn must_log_in(&mut self, now: Now, id: SessionId, row: &'static Row) -> bool {
        let is_in = self
            .session(id)
            .is_none_or(|session| session.identity.authenticated);
        if is_in || row.flags.contains(Flags::NO_AUTH) || self.may_try_as_nobody(now, row) {
            return false;
        }
        self.note_request(id, Some(row));
        self.refuse_transaction(id);
        self.refuse(id, errors::NO_AUTH);
        true
    }

    /// Leaves every mode.
    fn reset(&mut self, now: Now, id: SessionId) {
        self.end_transaction(id);
        self.unwatch(now, id);
        self.end_standing(now, id);
        self.reset_subscriptions(now, id);
        self.begin_as_nobody(now, id);
    }

    /// Whether `CLIENT PAUSE` makes a request of this kind wait.
    pub(super) fn is_paused(&self, now: Now, row: &Row) -> bool {
        let Some(pause) = self.pause else {
            return false;
        };
        now < pause.until && (!pause.writes_only || may_write(row))
    }

    pub(super) fn end_pause_if_over(&mut self, now: Now) {
        if self.pause.is_some_and(|pause| now >= pause.until) {
            self.end_pause();
        }
    }

    pub(super) fn pause_clients(&mut self, now: Now, hold: Duration, writes_only: bool) {
        let until = now + hold;
        // As the server does it: a new pause never shortens or weakens one that is in force.
        let old = self.pause.filter(|pause| pause.until > now);
        self.pause = Some(Pause {
            until: old.map_or(until, |pause| pause.until.max(until)),
            writes_only: writes_only && old.is_none_or(|pause| pause.writes_only),
        });
    }

    pub(super) fn end_pause(&mut self) {
        self.pause = None;
        let paused = self.sessions.iter().filter(|(_, s)| s.wait == Wait::Pause);
        let ids: Vec<SessionId> = paused.map(|(index, s)| s.id(index)).collect();
        for id in ids {
            if let Some(session) = self.session_mut(id) {
                session.wait = Wait::Nothing;
            }
            self.note_session_woken(id);
        }
    }

    /// The lines of `CLIENT LIST`, with the clients' numbers.
    pub(super) fn client_lines(
        &self,
        now: Now,
        asks: Option<SessionId>,
        filter: &Filter,
    ) -> Vec<(u64, Vec<u8>)> {
        let sessions = self.sessions.iter().map(|(_, session)| session);
        let meant = sessions.filter(|session| self.is_meant(now, asks, session, filter));
        let line = |session: &Session| {
            let (identity, mut line) = (&session.identity, Vec::new());
            client_line(identity, &extra(session), &self.face, now, &mut line);
            (identity.id, line)
        };
        meant.map(line).collect()
    }

    /// Whether a session is one of those that are meant, of which `asks` may know.
    fn is_meant(
        &self,
        now: Now,
        asks: Option<SessionId>,
        session: &Session,
        filter: &Filter,
    ) -> bool {
        asks.is_none_or(|asks| self.may_see(asks, session))
            && filter.matches(&session.identity, session.is_subscribed(), now)
    }

    /// The session of a client, if the one that asks may know of it.
    pub(super) fn session_of_client(
        &self,
        asks: Option<SessionId>,
        client: u64,
    ) -> Option<SessionId> {
        let mut sessions = self.sessions.iter();
        let (index, session) = sessions.find(|(_, s)| s.identity.id == client)?;
        let may_see = asks.is_none_or(|asks| self.may_see(asks, session));
        may_see.then(|| session.id(index))
    }

    pub(super) fn kill_clients(
        &mut self,
        now: Now,
        asks: Option<SessionId>,
        filter: &Filter,
    ) -> usize {
        let sessions = self.sessions.iter();
        let matching = sessions.filter(|(_, s)| self.is_meant(now, asks, s, filter));
        let ids: Vec<SessionId> = matching.map(|(index, s)| s.id(index)).collect();
        for &id in &ids {
            if let Some(session) = self.session_mut(id) {
                session.closing = true;
                session.cut = Some(id) != asks;
                self.note_session_woken(id);
            }
        }
        ids.len()
    }
}

/// Whether `CLIENT PAUSE WRITE` makes a request of this kind wait.
fn may_write(row: &Row) -> bool {
    let sends = matches!(row.counts, Some(Counts::Receivers(_)));
    let executes = row.route == Route::Connection(Connection::Exec);
    row.may_write() || sends || executes
}

fn extra(session: &Session) -> Extra {
    let standing = session.standing.as_deref();
    let tracking = standing.and_then(|standing| standing.tracking.as_ref());
    let subscribed = |kind| {
        let mine = session.subscriptions.as_ref();
        mine.map_or(0, |mine| {
            u32::try_from(mine.of(kind).len()).unwrap_or(u32::MAX)
        })
    };
    Extra {
        channels: subscribed(Subscription::Channel),
        patterns: subscribed(Subscription::Pattern),
        shard_channels: subscribed(Subscription::Shard),
        queued: session
            .transaction
            .as_ref()
            .map(|t| u32::try_from(t.len()).unwrap_or(u32::MAX)),
        watched_keys: session.watch.as_ref().map_or(0, |watch| watch.count),
        monitors: standing.is_some_and(|standing| standing.monitors),
        tracks: tracking.is_some(),
        redirect: tracking.map(|_| Tracking::redirection(tracking)),
        redirect_broken: tracking.is_some_and(|tracking| tracking.broken),
        broadcast: standing.is_some_and(Standing::broadcasts),
        blocked: session.blocked.is_some() || session.wait == Wait::Pause,
        closing: session.closing,
        input_bytes: session.input.len(),
        replies: session.replies.len(),
        reply_bytes: session.out.len() + session.replies.held_bytes(),
    }
}
