//! `CLIENT TRACKING`: a session that tracks sends all its parts on links of its own, of which the nodes know what is
//! tracked; what they say goes to the session, or to whom it redirects it, as it is.
//!
//! Invariant: no invalidation is missed. Where a node may have had more to say (its link is lost, it has lost a slot), the
//! client is told to forget all, and once more behind the replies that are due at that moment.

use bytes::Bytes;

use super::Hub;
use super::place::Body;
use super::request::Ran;
use crate::clock::Now;
use crate::command::{Local, Route, Row, Subscription};
use crate::downstream::session::Wait;
use crate::downstream::standing::Order;
use crate::downstream::tracking::{Question, Tracking, Wish};
use crate::reply::errors;
use crate::resp::request::Request;
use crate::resp::{Proto, write};
use crate::route::channel::INVALIDATE;
use crate::route::part::{LinkId, NodeId, Part, Profile, Purpose, SessionId, Target, TopicId, Way};
use crate::upstream::link::{Role, Use};

impl Hub {
    /// `CLIENT TRACKING`
    pub(super) fn track(
        &mut self,
        now: Now,
        id: SessionId,
        row: &'static Row,
        request: Request<'_>,
    ) -> Ran {
        // Requests before it and behind it take different links.
        if self.has_in_flight(id) {
            return Ran::NotYet(Wait::Answers);
        }
        self.note_request(id, Some(row));
        let current = self.tracking(id);
        let wish = Tracking::read(request, current, |client| {
            self.session_of_client(Some(id), client)
        });
        match wish {
            Err(text) => self.refuse(id, text),
            Ok(Wish::Off) => {
                self.end_tracking(now, id);
                self.answer_here(id, write::ok);
            }
            Ok(Wish::On(tracking)) => {
                let was_on = current.is_some();
                self.order(id, |standing| standing.tracking = Some(tracking));
                if self.close_tracking_links(now, id) && was_on {
                    self.flush_cache(id);
                }
                if self.is_tracked(id) {
                    self.ask(now, id, Order::Tracking);
                } else {
                    self.answer_here(id, write::ok);
                }
            }
        }
        Ran::Taken
    }

    /// A part is placed for the first time. That of a session that tracks takes the session's own link; Some: with a word
    /// in front.
    pub(super) fn on_tracked_part(&mut self, part: &mut Part, body: &Body<'_>) -> Option<Vec<u8>> {
        let (Purpose::Answer(ticket), Target::Slot(_)) = (part.purpose, part.target) else {
            return None;
        };
        let logs_in = matches!(part.row.route, Route::Local(Local::Auth | Local::Hello));
        if logs_in || !self.is_tracked(ticket.session) {
            return None;
        }
        if part.way == Way::Shared {
            part.way = Way::Tracked;
        }
        let word = self.tracking(ticket.session)?.word_before()?;
        match (part.row.route, part.way) {
            (Route::Scan, _) => None,
            (_, Way::Own | Way::Pinned | Way::Watch) => {
                self.flush_behind(ticket.session);
                None
            }
            (_, Way::Shared | Way::Tracked) => {
                part.replies += 1;
                Some([word, body.bytes()].concat())
            }
        }
    }

    /// A request of any session is about to be run.
    pub(super) fn note_standing_request(&mut self, id: SessionId, row: Option<&Row>) {
        if let Some(tracking) = self.tracking_mut(id) {
            tracking.note_request(row);
        }
    }

    pub(super) fn answer_about_tracking(
        &mut self,
        id: SessionId,
        question: Question,
        reply: &mut Vec<u8>,
    ) {
        match question {
            Question::Info => {
                let proto = self.session(id).map_or(Proto::Resp2, |s| s.identity.proto);
                Tracking::write_info(self.tracking(id), proto, reply);
            }
            Question::Redirection => {
                write::integer(reply, Tracking::redirection(self.tracking(id)));
            }
            Question::Caching(yes) => match self.tracking_mut(id) {
                None => write::error(reply, errors::CACHING_OFF),
                Some(tracking) => match tracking.note_caching(yes) {
                    Ok(()) => write::ok(reply),
                    Err(text) => write::error(reply, text),
                },
            },
        }
    }

    /// A part with `ASKING` in front can have no other word there: a node takes but one of them.
    pub(super) fn without_word(&mut self, part: &mut Part, bytes: &Bytes) -> Bytes {
        let (Way::Tracked, 2.., Purpose::Answer(ticket)) = (part.way, part.replies, part.purpose)
        else {
            return bytes.clone();
        };
        let Some(rest) = Tracking::without_word(bytes) else {
            return bytes.clone();
        };
        part.replies -= 1;
        self.flush_behind(ticket.session);
        bytes.slice_ref(rest)
    }

    /// A session's own link to a node, where the node tracks for it. Err: not before that moment.
    pub(super) fn tracking_link(
        &mut self,
        now: Now,
        session: SessionId,
        node: NodeId,
        profile: Profile,
    ) -> Result<LinkId, Now> {
        if self.session(session).is_none_or(|session| session.cut) {
            return Err(now + self.settings.retry.pause_max);
        }
        let told = match profile.proto {
            Proto::Resp3 => None,
            Proto::Resp2 => Some(self.invalidations_link(now, session, node)?),
        };
        let mut set_up = Vec::new();
        if let Some(tracking) = self.tracking(session) {
            let naming = self.settings.naming.as_deref();
            let database = self.session(session).map_or(0, |s| s.database_of_names());
            let naming = naming.map(|naming| (naming, database));
            tracking.write_set_up(told, naming, &mut set_up);
        }
        self.dial_standing(now, session, node, (profile, Role::Tracks, set_up))
    }

    /// What a node calls the connection that takes invalidations for a session that speaks RESP2.
    fn invalidations_link(
        &mut self,
        now: Now,
        session: SessionId,
        node: NodeId,
    ) -> Result<i64, Now> {
        let later = now + self.settings.retry.pause_max;
        match self.standing_link(session, node, Role::Invalidations) {
            Some(link) => self.link(link).and_then(|link| link.client_id).ok_or(later),
            None => {
                let user = self.user_of(session);
                let profile = Profile::new(Proto::Resp3, user);
                let what = (profile, Role::Invalidations, Vec::new());
                self.dial_standing(now, session, node, what)?;
                Err(later)
            }
        }
    }

    /// A message of a node about keys that have changed.
    pub(super) fn on_invalidation(&mut self, owner: SessionId, frame: &[u8]) {
        let own = self.own_invalidation(frame);
        let frame = own.as_deref().unwrap_or(frame);
        let Some(tracking) = self.tracking_mut(owner) else {
            return;
        };
        let Some(redirect) = tracking.redirect else {
            // Every node says that all is gone after a FLUSHALL; one server says it once.
            if frame == FLUSH && tracking.forgotten {
                return;
            }
            self.interject(owner, frame);
            let nothing_on_its_way = self.session(owner).is_some_and(|s| s.replies.is_empty());
            if let Some(tracking) = self.tracking_mut(owner) {
                tracking.forgotten |= frame == FLUSH && nothing_on_its_way;
            }
            return;
        };
        match self.session(redirect.session).map(|s| s.identity.proto) {
            Some(Proto::Resp3) => self.interject(redirect.session, frame),
            Some(Proto::Resp2) => {
                if self.takes_messages(redirect.session) {
                    self.interject(redirect.session, &as_message(frame));
                }
            }
            None => {
                if let Some(tracking) = self.tracking_mut(owner) {
                    tracking.broken = true;
                }
                let speaks = self.session(owner).map(|s| s.identity.proto);
                if speaks == Some(Proto::Resp3) {
                    let mut gone = Vec::new();
                    write::push(&mut gone, Proto::Resp3, 2);
                    write::bulk(&mut gone, "tracking-redir-broken");
                    write::integer(
                        &mut gone,
                        i64::try_from(redirect.client).unwrap_or(i64::MAX),
                    );
                    self.interject(owner, &gone);
                }
            }
        }
    }

    /// The session speaks another protocol now, and so do its links.
    pub(super) fn on_proto_switched(&mut self, now: Now, id: SessionId) {
        if self.tracking(id).is_none() {
            return;
        }
        self.close_tracking_links(now, id);
        self.flush_cache(id);
        self.meet_needs(now, id);
    }

    /// Slots may have changed hands: what the nodes that have lost some were told to track may change unseen.
    pub(super) fn note_slots_moved(&mut self) {
        let losers = self.owners.take_losers();
        if self.standing.is_empty() || losers.is_empty() {
            return;
        }
        self.standing_check = Some(Now::ZERO);
        for id in self.standing.clone() {
            let mut losers = losers.iter();
            if losers.any(|&node| self.standing_link(id, node, Role::Tracks).is_some()) {
                self.flush_cache(id);
            }
        }
    }

    /// The client is gone: what it has sent is executed all the same.
    pub(super) fn let_links_finish(&mut self, id: SessionId) {
        let own = self.session(id).map(|s| s.own_links.clone());
        for link_id in own.unwrap_or_default() {
            let Some(link) = self.link_mut(link_id) else {
                continue;
            };
            if link.role == Role::Tracks && !link.queue().is_empty() && !link.kept {
                link.used = Use::Leased(None);
                link.retiring = true;
                if let Some(session) = self.session_mut(id) {
                    session.own_links.retain(|&own| own != link_id);
                }
            }
        }
    }

    /// Whether a session's parts take links of its own.
    pub(super) fn is_tracked(&self, id: SessionId) -> bool {
        self.session(id).is_some_and(|session| {
            let standing = session.standing.as_ref();
            standing.is_some_and(|standing| standing.tracks(session.identity.proto))
        })
    }

    pub(super) fn end_tracking(&mut self, now: Now, id: SessionId) {
        let session = self.session_mut(id);
        if let Some(standing) = session.and_then(|s| s.standing.as_mut()) {
            standing.tracking = None;
        }
        self.close_tracking_links(now, id);
        self.end_if_over(id);
    }

    /// Whether a session that speaks RESP2 gets messages of channels.
    fn takes_messages(&self, id: SessionId) -> bool {
        let subscriptions = self.session(id).and_then(|s| s.subscriptions.as_ref());
        let topics = &self.pubsub.topics;
        let is_it = |topic: &TopicId| {
            let topic = topics.topic(*topic);
            topic.is_some_and(|topic| *topic.name == *INVALIDATE)
        };
        // Few do, and they do little else on that connection.
        subscriptions.is_some_and(|mine| mine.of(Subscription::Channel).iter().any(is_it))
    }

    pub(super) fn tracking(&self, id: SessionId) -> Option<&Tracking> {
        self.session(id)?.standing.as_ref()?.tracking.as_ref()
    }

    fn tracking_mut(&mut self, id: SessionId) -> Option<&mut Tracking> {
        self.session_mut(id)?.standing.as_mut()?.tracking.as_mut()
    }

    /// Closes the links that were set up for tracking, and those that are not set up for it and would have to be.
    /// Returns whether there were any.
    fn close_tracking_links(&mut self, now: Now, id: SessionId) -> bool {
        let own = self
            .session(id)
            .map(|s| s.own_links.clone())
            .unwrap_or_default();
        let tracks = self.is_tracked(id);
        let mut closed = false;
        for link_id in own {
            let Some(link) = self.link_mut(link_id) else {
                continue;
            };
            match link.role {
                Role::Monitors => {}
                Role::Requests if !tracks => {}
                Role::Requests | Role::Tracks | Role::Invalidations => {
                    closed |= link.role == Role::Tracks;
                    // The client need not be told: it has asked for this.
                    link.role = Role::Requests;
                    self.close_link(now, link_id);
                }
            }
        }
        closed
    }

    /// Tells a client that whatever it has cached may have changed.
    pub(super) fn flush_cache(&mut self, id: SessionId) {
        self.flush(id, false);
    }

    /// The same behind the reply to the request that is run.
    fn flush_behind(&mut self, id: SessionId) {
        self.flush(id, true);
    }

    fn flush(&mut self, id: SessionId, behind: bool) {
        if !self.is_tracked(id) {
            return;
        }
        self.counters.cache_flushes += 1;
        if self.tracking(id).is_some_and(|t| t.redirect.is_some()) {
            return self.on_invalidation(id, FLUSH);
        }
        let session = self.sessions.get_mut(id.index as usize);
        if let Some(session) = session.filter(|s| s.generation == id.generation) {
            session.out.adopt(&mut self.pool);
            if behind {
                session.replies.interject_last(FLUSH);
            } else {
                session.replies.interject_twice(FLUSH, &mut session.out);
            }
            self.note_session_woken(id);
        }
    }
}

/// "Forget all" in RESP3.
const FLUSH: &[u8] = b">2\r\n$10\r\ninvalidate\r\n_\r\n";

/// An invalidation as those get it who speak RESP2 and are subscribed.
fn as_message(push: &[u8]) -> Vec<u8> {
    let keys = push
        .strip_prefix(b">2\r\n$10\r\ninvalidate\r\n")
        .unwrap_or(b"_\r\n");
    let keys = if keys == b"_\r\n" { b"$-1\r\n" } else { keys };
    let mut message = Vec::new();
    write::array(&mut message, 3);
    write::bulk(&mut message, "message");
    write::bulk(&mut message, "__redis__:invalidate");
    message.extend_from_slice(keys);
    message
}
