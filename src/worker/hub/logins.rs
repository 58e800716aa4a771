//! Clients that log in at the nodes (`auth-pass-through`): who they are, and the answer to `AUTH` and `HELLO … AUTH`, which is the node's.
//!
//! A session's requests take links that have logged in as it has; users share none. Two sessions are of one user if they have given the same
//! name and the same password. Until the node has said yes, the session waits, and it stays who it was if the node says no.
//!
//! Invariant: a link is only ever opened as the user of whoever asks. A user is forgotten when no session, no subscription and no link is
//! left of it; what is still held for a client who has left goes nowhere then. Numbers count up: the next one to get the same number comes
//! four thousand million users later.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::Hub;
use super::place::Body;
use crate::clock::Now;
use crate::command::{Local, Route, Row};
use crate::config::Secret;
use crate::downstream::local::credentials;
use crate::downstream::replies::Seat;
use crate::downstream::session::{LoggingIn, Session, Wait};
use crate::reply::errors;
use crate::resp::Proto;
use crate::resp::request::{Request, RequestScan, Scanned};
use crate::resp::write;
use crate::route::part::{LinkId, Part, Profile, Purpose, SessionId, Target, Ticket, UserId};
use crate::upstream::handshake::Login;

/// Everybody who has logged in, or is about to.
#[derive(Debug)]
pub(super) struct Logins {
    users: BTreeMap<UserId, User>,
    /// By the digest of name and password.
    ids: HashMap<[u8; 32], UserId>,
    next: u32,
    /// Whether nodes let in who says nothing; None: nobody has asked yet.
    is_open: Option<bool>,
    /// If not: until then nobody asks again.
    closed_until: Now,
    /// When users are to be looked for that nobody is any more.
    pub(super) check: Option<Now>,
}

#[derive(Debug)]
struct User {
    login: Login,
    digest: [u8; 32],
    /// Sessions that are it, or are about to be.
    sessions: usize,
    /// Since when there is none.
    unused_since: Now,
}

impl Default for Logins {
    fn default() -> Self {
        Self {
            users: BTreeMap::new(),
            ids: HashMap::new(),
            next: UserId::NOBODY.0 + 1,
            is_open: None,
            closed_until: Now::ZERO,
            check: None,
        }
    }
}

impl Logins {
    /// One session more is this user. None: there are too many.
    fn enter(&mut self, name: &[u8], password: &[u8], users_max: usize) -> Option<UserId> {
        let digest = digest(name, password);
        if let Some(user) = (self.ids.get(&digest)).and_then(|id| self.users.get_mut(id)) {
            user.sessions += 1;
            return self.ids.get(&digest).copied();
        }
        if self.users.len() >= users_max {
            return None;
        }
        let mut id = UserId(self.next);
        while id <= UserId::NOBODY || self.users.contains_key(&id) {
            id = UserId(id.0.wrapping_add(1));
        }
        self.next = id.0.wrapping_add(1);
        let user = User {
            login: Login {
                user: name.into(),
                password: Secret::new(password),
            },
            digest,
            sessions: 1,
            unused_since: Now::ZERO,
        };
        self.users.insert(id, user);
        self.ids.insert(digest, id);
        Some(id)
    }

    fn leave(&mut self, now: Now, id: UserId, timeout: Duration) {
        if let Some(user) = self.users.get_mut(&id) {
            user.sessions = user.sessions.saturating_sub(1);
            if user.sessions == 0 {
                user.unused_since = now;
                self.check.get_or_insert(now + timeout);
            }
        }
    }

    fn forget(&mut self, id: UserId) {
        if let Some(user) = self.users.remove(&id) {
            self.ids.remove(&user.digest);
        }
    }

    fn is_unused(&self, id: UserId) -> bool {
        self.users.get(&id).is_some_and(|user| user.sessions == 0)
    }

    /// What a link of this user says. None: it is slotcar's own, says nothing, or its user is not known any more.
    pub(super) fn login(&self, id: UserId) -> Option<&Login> {
        self.users.get(&id).map(|user| &user.login)
    }

    /// Users that nobody is, and since when.
    fn unused(&self) -> Vec<(Now, UserId)> {
        let users = self.users.iter().filter(|(_, user)| user.sessions == 0);
        users.map(|(&id, user)| (user.unused_since, id)).collect()
    }

    /// Users that are remembered.
    pub(super) fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether links may be opened for this user.
    pub(super) fn is_known(&self, id: UserId) -> bool {
        id <= UserId::NOBODY || self.users.contains_key(&id)
    }
}

impl Hub {
    /// A client has connected, or has said `RESET`.
    pub(super) fn begin_as_nobody(&mut self, now: Now, id: SessionId) {
        if !self.face.logins.are_passed_on() {
            return;
        }
        let is_open = self.logins.is_open != Some(false);
        if let Some(session) = self.session_mut(id) {
            session.identity.authenticated = is_open;
            let before = std::mem::replace(&mut session.identity.login, UserId::NOBODY);
            self.leave_user(now, before);
        }
    }

    /// Asks whether nodes let in who says nothing, before a client does.
    pub(super) fn ask_whether_open(&mut self, now: Now) {
        if !self.face.logins.are_passed_on() || self.logins.is_open.is_some() {
            return;
        }
        let primary = self.owners.primaries().first().copied();
        if let Some(node) = primary.and_then(|slot| self.owners.of(slot)) {
            let profile = Profile::new(Proto::Resp2, UserId::NOBODY);
            // Whoever cannot be reached says nothing; the first client asks then.
            let _ = self.link_to(now, node, profile);
        }
    }

    /// A link has been let in.
    pub(super) fn note_let_in(&mut self, user: UserId) {
        if user != UserId::NOBODY || self.logins.is_open.replace(true) == Some(true) {
            return;
        }
        for (_, session) in &mut self.sessions {
            let identity = &mut session.identity;
            identity.authenticated |= identity.login == UserId::NOBODY;
        }
    }

    /// Whether a node is to be asked once more whether it lets in who says nothing.
    pub(super) fn may_try_as_nobody(&self, now: Now, row: &Row) -> bool {
        let asks_a_node = !matches!(row.route, Route::Local(_));
        self.face.logins.are_passed_on() && asks_a_node && now >= self.logins.closed_until
    }

    /// Asks a node whether a client is who it says it is. False: the request says nothing of that. Nothing of the session is in
    /// flight.
    pub(super) fn log_in(
        &mut self,
        now: Now,
        id: SessionId,
        row: &'static Row,
        request: Request<'_>,
    ) -> bool {
        let Route::Local(local @ (Local::Auth | Local::Hello)) = row.route else {
            return false;
        };
        let Some((name, password)) = credentials(local, request) else {
            return false;
        };
        self.note_request(id, Some(row));
        if name.len().max(password.len()) > self.settings.limits.login_bytes_max {
            // A node would close the connection, and nobody has such a password.
            self.counters.logins_refused += 1;
            self.refuse(id, errors::WRONG_PASS);
            return true;
        }
        let users_max = self.settings.limits.users_max;
        let mut user = self.logins.enter(name, password, users_max);
        if user.is_none() && self.evict_user(now) {
            user = self.logins.enter(name, password, users_max);
        }
        let Some(user) = user else {
            self.refuse(id, errors::too_many_users(users_max));
            return true;
        };
        let target = Target::Slot(self.any_primary(id));
        let Some(session) = self.session_mut(id) else {
            return true;
        };
        let before = std::mem::replace(&mut session.identity.login, user);
        session.logging_in = Some(Box::new(LoggingIn {
            before,
            local,
            request: request.bytes.into(),
        }));
        session.wait = Wait::Answers;
        if let Some((ticket, profile)) = self.open_seat(id, Seat::Waits) {
            let mut bytes = Vec::new();
            write::command(&mut bytes, &[b"AUTH", name, password]);
            self.place(
                now,
                Part::new(ticket, target, row, profile),
                Body::Borrowed(&bytes),
            );
        }
        true
    }

    /// A node has said whether a client is who it says it is; false if the part asked for something else.
    pub(super) fn on_logged_in(&mut self, now: Now, part: &Part, frame: &[u8]) -> bool {
        let is_login = matches!(part.row.route, Route::Local(Local::Auth | Local::Hello));
        let (Purpose::Answer(ticket), true) = (part.purpose, is_login) else {
            return false;
        };
        if frame.starts_with(b"-") {
            self.note_login_failed(now, part);
            return false;
        }
        let session = self.session_mut(ticket.session);
        let Some(done) = session.and_then(|session| session.logging_in.take()) else {
            return false;
        };
        self.leave_user(now, done.before);
        let (before, is_other) = match self.session(ticket.session) {
            Some(session) => (
                session.identity.proto,
                session.identity.login != done.before,
            ),
            None => return false,
        };
        if is_other {
            self.lose_watch(now, ticket.session);
        }
        let mut scan = RequestScan::new();
        let mut reply = Vec::new();
        if let Ok(Scanned::Multibulk(_)) = scan.advance(&done.request, &self.settings.request) {
            let request = Request {
                bytes: &done.request,
                args: scan.args(),
            };
            self.local_reply(now, ticket.session, done.local, request, true, &mut reply);
        }
        self.deliver(now, ticket, &reply);
        let after = self.session(ticket.session).map(|s| s.identity.proto);
        if is_other || after != Some(before) {
            self.on_proto_switched(now, ticket.session);
        }
        true
    }

    /// A client is not who it says it is, or nobody could be asked: it stays who it was.
    pub(super) fn note_login_failed(&mut self, now: Now, part: &Part) {
        if !matches!(part.row.route, Route::Local(Local::Auth | Local::Hello)) {
            return;
        }
        let Purpose::Answer(Ticket { session: id, .. }) = part.purpose else {
            return;
        };
        let Some(session) = self.session_mut(id) else {
            return;
        };
        if let Some(failed) = session.logging_in.take() {
            let user = std::mem::replace(&mut session.identity.login, failed.before);
            self.counters.logins_refused += 1;
            self.leave_user(now, user);
            self.forget_user_without_links(user);
        }
    }

    /// A link could not be opened because of its user: what was to go there is answered with the node's words.
    pub(super) fn on_user_refused(&mut self, now: Now, user: UserId, part: &Part, text: &str) {
        let is_nobody = user == UserId::NOBODY && text.starts_with("NOAUTH");
        let text = if is_nobody { errors::NO_AUTH } else { text };
        match part.purpose {
            Purpose::Listen(topic) => self.refuse_listening(now, topic, text.as_bytes()),
            Purpose::Answer(_)
            | Purpose::Try(..)
            | Purpose::Look(..)
            | Purpose::PutBack
            | Purpose::Swallow => self.answer_refused(now, part, text),
        }
        let Purpose::Answer(ticket) = part.purpose else {
            return;
        };
        let Some(session) = self.session_mut(ticket.session) else {
            return;
        };
        if is_nobody {
            session.identity.authenticated = false;
        } else if session.identity.login == user {
            // It had been let in, and is not any more: it has to say anew who it is.
            session.closing = true;
            self.note_session_woken(ticket.session);
        }
    }

    /// A node has not let a link in as this user.
    pub(super) fn note_kept_out(&mut self, now: Now, user: UserId, text: &str) {
        if user == UserId::NOBODY && text.starts_with("NOAUTH") {
            self.logins.is_open = Some(false);
            self.logins.closed_until = now + CLOSED_FOR;
        }
    }

    /// As whom a session's requests come to the nodes.
    pub(super) fn user_of(&self, id: SessionId) -> UserId {
        self.session(id)
            .map_or(UserId::SLOTCAR, |session| session.identity.login)
    }

    /// Whether a session may know of another: clients that log in at the nodes know of those who have logged in as they have.
    pub(super) fn may_see(&self, id: SessionId, other: &Session) -> bool {
        !self.face.logins.are_passed_on() || other.identity.login == self.user_of(id)
    }

    /// One session less is this user.
    pub(super) fn leave_user(&mut self, now: Now, user: UserId) {
        let timeout = self.settings.limits.idle_link_timeout;
        self.logins.leave(now, user, timeout);
    }

    /// Forgets users that nobody has been for some time, and closes their links.
    pub(super) fn expire_users(&mut self, now: Now) {
        if self.logins.check.is_none_or(|at| now < at) {
            return;
        }
        let timeout = self.settings.limits.idle_link_timeout;
        let mut next: Option<Now> = None;
        for (since, user) in self.logins.unused() {
            let ends = since + timeout;
            if ends > now || !self.forget_user(now, user) {
                let at = ends.max(now + LOOK_EVERY);
                next = Some(next.map_or(at, |next| next.min(at)));
            }
        }
        self.logins.check = next;
    }

    /// Makes room for another user: the one that nobody has been for longest is forgotten before its time. False: there is none.
    fn evict_user(&mut self, now: Now) -> bool {
        let mut unused = self.logins.unused();
        unused.sort_unstable();
        unused
            .into_iter()
            .any(|(_, user)| self.forget_user(now, user))
    }

    /// Forgets a user that nobody is and that nothing is left of but links that owe nothing; those are closed.
    fn forget_user(&mut self, now: Now, user: UserId) -> bool {
        let links = self.links_as(user);
        let owes = |link: &LinkId| self.link(*link).is_some_and(|l| !l.queue().is_empty());
        if self.pubsub.topics.has_user(user) || links.iter().any(owes) {
            return false;
        }
        for link in links {
            self.close_link(now, link);
        }
        self.logins.forget(user);
        true
    }

    /// Nobody has got in with these words: they need not be remembered.
    fn forget_user_without_links(&mut self, user: UserId) {
        let has_topics = self.pubsub.topics.has_user(user);
        if self.logins.is_unused(user) && !has_topics && self.links_as(user).is_empty() {
            self.logins.forget(user);
        }
    }

    fn links_as(&self, user: UserId) -> Vec<LinkId> {
        let links = self.links.iter();
        let links = links.filter(|(_, place)| place.link.profile.user == user);
        links.map(|(index, place)| place.id(index)).collect()
    }
}

/// Names may hold any bytes: their length keeps `a` + `bc` from `ab` + `c`.
fn digest(name: &[u8], password: &[u8]) -> [u8; 32] {
    let length = u64::try_from(name.len()).unwrap_or(u64::MAX);
    let hash = Sha256::new().chain_update(length.to_be_bytes());
    hash.chain_update(name)
        .chain_update(password)
        .finalize()
        .into()
}

/// How long it is believed that nodes ask for a password, once one has.
const CLOSED_FOR: Duration = Duration::from_secs(10);

/// Between two looks at users that nobody is.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn users_are_who_says_the_same() {
        let mut logins = Logins::default();
        let mut enter =
            |name: &str, password: &str| logins.enter(name.as_bytes(), password.as_bytes(), 4);
        let app = enter("app", "secret");
        assert!(app.is_some_and(|id| id > UserId::NOBODY));
        assert_eq!(enter("app", "secret"), app);
        for (name, password) in [("app", "other"), ("ap", "psecret"), ("", "appsecret")] {
            assert!(
                enter(name, password).is_some_and(|id| Some(id) != app),
                "{name}"
            );
        }
        assert_eq!(enter("one", "more"), None);
        assert_eq!(enter("app", "secret"), app);
    }

    #[test]
    fn a_number_is_not_used_again_while_it_means_somebody() {
        let mut logins = Logins::default();
        let app = logins.enter(b"app", b"secret", 4).unwrap();
        logins.next = 0;
        let other = logins.enter(b"other", b"secret", 4).unwrap();
        assert!(other > UserId::NOBODY && other != app);
        logins.leave(Now::ZERO, app, MINUTE);
        assert!(logins.is_unused(app) && !logins.is_unused(other));
        logins.forget(app);
        assert!(!logins.is_known(app) && logins.login(app).is_none() && logins.is_known(other));
        assert!(logins.is_known(UserId::SLOTCAR) && logins.is_known(UserId::NOBODY));
    }
}
