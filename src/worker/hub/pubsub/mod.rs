//! Publish and subscribe: sessions say here what they want to hear.
//!
//! All sessions of a worker share one link to a node for it, an *ear* ([`ears`]): the first session that wants a name has
//! it asked for, the last one has it given up. What comes in is passed on as it is ([`fan_out`]).
//!
//! Invariant: a session hears nothing of a name before its request has been answered, and nothing after it has given
//! the name up.

mod counts;
mod ears;
pub(super) mod fan_out;

use std::collections::{BTreeMap, BTreeSet};

use self::ears::Ear;
use super::request::Ran;
use crate::clock::Now;
use crate::command::{Connection, Local, Route, Row, Subscription};
use crate::downstream::replies::Seat;
use crate::downstream::session::Wait;
use crate::downstream::subscriptions::{Pending, Subscriptions, Verb, write_reply};
use crate::reply::errors;
use crate::resp::Proto;
use crate::resp::request::Request;
use crate::resp::write;
use crate::route::channel::Placement;
use crate::route::part::{NodeId, SessionId, TopicId, UserId};
use crate::upstream::topics::Topics;
use crate::worker::hub::Hub;

/// What a worker listens to.
#[derive(Debug, Default)]
pub(super) struct PubSub {
    pub(in crate::worker::hub) topics: Topics,
    /// By the node that tells, and the user whom it tells.
    ears: BTreeMap<(NodeId, UserId), Ear>,
    /// Requests that wait for nodes, by when they will have waited for too long.
    subscribing: BTreeSet<(Now, SessionId)>,
    /// Every topic is to be looked at: an ear was lost, or slots have changed hands.
    pub(super) is_stale: bool,
    /// When topics that could not be asked for are to be looked at again.
    retry_at: Option<Now>,
    /// Who gets a message; kept to be used again.
    audience: Vec<SessionId>,
}

impl PubSub {
    /// When time alone changes something.
    pub(super) fn deadline(&self) -> Option<Now> {
        let expires = self.subscribing.first().map(|(at, _)| *at);
        let probe = self.ears.values().map(|ear| ear.look_at).min();
        expires.into_iter().chain(self.retry_at).chain(probe).min()
    }
}

impl Hub {
    /// `SUBSCRIBE` and its kin: answered when all names have been agreed to.
    pub(super) fn subscribe(
        &mut self,
        now: Now,
        id: SessionId,
        kind: Subscription,
        row: &'static Row,
        request: Request<'_>,
    ) -> Ran {
        if self.has_in_flight(id) {
            return Ran::NotYet(Wait::Answers);
        }
        self.note_request(id, Some(row));
        if self.owners.is_empty() {
            let text = self.no_topology_yet();
            self.refuse(id, text);
            return Ran::Taken;
        }
        self.speak(id);
        let names = (1..request.len()).map(|index| request.arg(index));
        let user = self.user_of(id);
        let mine = self.session(id).and_then(|s| s.subscriptions.as_ref());
        let mine: BTreeSet<TopicId> = mine.map_or_else(BTreeSet::new, |mine| {
            mine.of(kind).iter().copied().collect()
        });
        let intern = |name: &[u8]| {
            // It may have asked for it as somebody else.
            let mut users = self.pubsub.topics.users();
            let topics = &self.pubsub.topics;
            let known = users.find_map(|user| {
                topics
                    .find(user, kind, name)
                    .filter(|topic| mine.contains(topic))
            });
            drop(users);
            known.unwrap_or_else(|| self.pubsub.topics.intern(user, kind, name))
        };
        let topics: Vec<TopicId> = names.map(intern).collect();
        let distinct: BTreeSet<TopicId> = topics.iter().copied().collect();
        for &topic in &distinct {
            if let Some(topic) = self.pubsub.topics.topic_mut(topic) {
                topic.claims += 1;
                topic.waiting.push(id);
            }
        }
        let Some((ticket, _)) = self.open_seat(id, Seat::Waits) else {
            return Ran::Taken;
        };
        let deadline = now + self.settings.retry.hold_max;
        self.pubsub.subscribing.insert((deadline, id));
        if let Some(session) = self.session_mut(id) {
            session.wait = Wait::Answers;
            session.subscriptions.get_or_insert_default().pending = Some(Pending {
                ticket,
                topics,
                missing: distinct.len(),
                since: now,
                deadline,
            });
        }
        for topic in distinct {
            self.tend(now, topic);
        }
        Ran::Taken
    }

    /// `UNSUBSCRIBE` and its kin: answered at once.
    pub(super) fn unsubscribe(
        &mut self,
        now: Now,
        id: SessionId,
        kind: Subscription,
        row: &'static Row,
        request: Request<'_>,
    ) -> Ran {
        self.note_request(id, Some(row));
        let refuses = self.face.is_valkey() && self.face.is_at_least((8, 0));
        if refuses && self.session(id).is_some_and(|s| !s.is_subscribed()) {
            self.refuse(id, errors::not_subscribed(row.name));
            return Ran::Taken;
        }
        self.speak(id);
        let Some(session) = self.session_mut(id) else {
            return Ran::Taken;
        };
        let proto = session.identity.proto;
        let mut mine = session.subscriptions.take().unwrap_or_default();
        let mut reply = Vec::new();
        let what = (Verb::Unsubscribe, kind);
        if request.len() > 1 {
            for index in 1..request.len() {
                let name = request.arg(index);
                // It may have logged in as somebody else since.
                let mut users = self.pubsub.topics.users();
                let of_mine = users.find_map(|user| {
                    let topic = self.pubsub.topics.find(user, kind, name)?;
                    mine.remove(kind, topic).then_some(topic)
                });
                drop(users);
                if let Some(topic) = of_mine {
                    self.release(now, id, topic);
                }
                let own = self.own_topic(kind, name);
                let name = own.as_deref().unwrap_or(name);
                write_reply(&mut reply, proto, what, Some(name), mine.count(kind));
            }
        } else if mine.of(kind).is_empty() {
            write_reply(&mut reply, proto, what, None, mine.count(kind));
        } else {
            for topic in mine.of(kind).clone() {
                mine.remove(kind, topic);
                let name = self.pubsub.topics.topic(topic).map(|t| t.name.clone());
                let own = name.as_deref().and_then(|name| self.own_topic(kind, name));
                let name = own.as_deref().or(name.as_deref());
                write_reply(&mut reply, proto, what, name, mine.count(kind));
                self.release(now, id, topic);
            }
        }
        self.keep_subscriptions(id, mine);
        self.answer_here(id, |buf| buf.extend_from_slice(&reply));
        Ran::Taken
    }

    /// One of the names that a session waits for is heard from now on.
    fn note_agreed(&mut self, now: Now, id: SessionId) {
        let Some(mine) = self.session_mut(id).and_then(|s| s.subscriptions.as_mut()) else {
            return;
        };
        let Some(pending) = &mut mine.pending else {
            return;
        };
        pending.missing = pending.missing.saturating_sub(1);
        if pending.missing == 0 {
            self.answer_subscribed(now, id);
        }
    }

    /// All names of a request are heard from now on.
    fn answer_subscribed(&mut self, now: Now, id: SessionId) {
        let Some(session) = self.session_mut(id) else {
            return;
        };
        let proto = session.identity.proto;
        let Some(mut mine) = session.subscriptions.take() else {
            return;
        };
        let Some(pending) = mine.pending.take() else {
            return;
        };
        self.pubsub.subscribing.remove(&(pending.deadline, id));
        for topic in pending.distinct() {
            if let Some(topic) = self.pubsub.topics.topic_mut(topic) {
                topic.claims -= 1;
            }
        }
        let mut reply = Vec::new();
        for id_of_topic in pending.topics {
            let Some(topic) = self.pubsub.topics.topic_mut(id_of_topic) else {
                debug_assert!(false, "a topic that is claimed is there");
                continue;
            };
            if topic.subscribers.insert(id) {
                self.counters.subscriptions += 1;
            }
            let (kind, name) = (topic.kind, topic.name.clone());
            mine.insert(kind, id_of_topic);
            let own = self.own_topic(kind, &name);
            let name = own.as_deref().unwrap_or(&name);
            let what = (Verb::Subscribe, kind);
            write_reply(&mut reply, proto, what, Some(name), mine.count(kind));
        }
        self.keep_subscriptions(id, mine);
        self.deliver(now, pending.ticket, &reply);
    }

    /// A request to subscribe has failed: none of its names is taken. `text` without the leading `-`.
    fn refuse_subscribing(&mut self, now: Now, id: SessionId, text: &[u8]) {
        let Some(session) = self.session_mut(id) else {
            return;
        };
        let Some(mut mine) = session.subscriptions.take() else {
            return;
        };
        let pending = mine.pending.take();
        self.keep_subscriptions(id, mine);
        let Some(pending) = pending else { return };
        self.forget_pending(now, id, &pending);
        self.counters.errors += 1;
        let mut frame = Vec::new();
        write::error(&mut frame, text);
        self.deliver(now, pending.ticket, &frame);
    }

    /// Answers the requests that have waited for as long as anything is held.
    pub(super) fn expire_subscribing(&mut self, now: Now) {
        while let Some(&(at, id)) = self.pubsub.subscribing.first().filter(|(at, _)| *at <= now) {
            self.pubsub.subscribing.remove(&(at, id));
            self.counters.given_up.hold_ran_out += 1;
            let text = self.why_unheard(now, id);
            let subscriptions = self.session(id).and_then(|s| s.subscriptions.as_ref());
            let pending = subscriptions.and_then(|mine| mine.pending.as_ref());
            if let Some(ticket) = pending.map(|pending| pending.ticket) {
                self.note_failed(ticket);
            }
            self.refuse_subscribing(now, id, text.as_bytes());
        }
    }

    /// Which slot's owner has not agreed.
    fn why_unheard(&self, now: Now, id: SessionId) -> String {
        let mine = self.session(id).and_then(|s| s.subscriptions.as_ref());
        let Some(pending) = mine.and_then(|mine| mine.pending.as_ref()) else {
            return String::new();
        };
        let topics = pending.topics.iter();
        let mut missing = topics
            .filter_map(|&topic| self.pubsub.topics.topic(topic))
            .filter(|topic| topic.waiting.contains(&id));
        let slot = match missing.next().map(|topic| topic.placement) {
            Some(Placement::Owner(slot) | Placement::Everywhere(slot)) => slot,
            Some(Placement::Here) | None => crate::topology::Slot::FIRST,
        };
        let owner = self.owners.of(slot).and_then(|node| self.owners.node(node));
        let endpoint = owner.map(|node| &node.endpoint);
        errors::hold_ran_out(self.shown_slot(slot), endpoint, now.since(pending.since))
    }

    /// `RESET`: nothing is said about each name.
    pub(super) fn reset_subscriptions(&mut self, now: Now, id: SessionId) {
        let mine = self.session_mut(id).and_then(|s| s.subscriptions.take());
        self.end_subscriptions(now, id, mine);
    }

    /// A session listens no more, or is gone.
    pub(super) fn end_subscriptions(
        &mut self,
        now: Now,
        id: SessionId,
        mine: Option<Box<Subscriptions>>,
    ) {
        let Some(mine) = mine else { return };
        for topic in mine.all() {
            self.release(now, id, topic);
        }
        if let Some(pending) = &mine.pending {
            self.forget_pending(now, id, pending);
        }
    }

    /// Whether a request must be refused because its session is subscribed in RESP2, where a reply looks like a message.
    pub(super) fn may_only_listen(&self, id: SessionId, row: &Row) -> bool {
        let goes_on = matches!(
            row.route,
            Route::Connection(Connection::Subscribe(_) | Connection::Unsubscribe(_))
                | Route::Local(Local::Ping | Local::Quit | Local::Reset)
        );
        !goes_on && self.listens_in_resp2(id)
    }

    pub(super) fn listens_in_resp2(&self, id: SessionId) -> bool {
        self.session(id)
            .is_some_and(|s| s.is_subscribed() && s.identity.proto == Proto::Resp2)
    }

    /// What is said of subscriptions is said also to a client that wants no replies.
    fn speak(&mut self, id: SessionId) {
        if let Some(session) = self.session_mut(id) {
            session.silent = false;
        }
    }

    fn keep_subscriptions(&mut self, id: SessionId, mine: Box<Subscriptions>) {
        if let Some(session) = self.session_mut(id) {
            session.subscriptions = (!mine.is_idle()).then_some(mine);
        }
    }

    fn forget_pending(&mut self, now: Now, id: SessionId, pending: &Pending) {
        self.pubsub.subscribing.remove(&(pending.deadline, id));
        for topic in pending.distinct() {
            if let Some(topic) = self.pubsub.topics.topic_mut(topic) {
                topic.claims -= 1;
                topic.waiting.retain(|&waits| waits != id);
            }
            self.tend(now, topic);
        }
    }

    fn release(&mut self, now: Now, id: SessionId, topic: TopicId) {
        if let Some(topic) = self.pubsub.topics.topic_mut(topic) {
            topic.subscribers.remove(&id);
        }
        self.tend(now, topic);
    }
}
