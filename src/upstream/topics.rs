//! What all sessions together are subscribed to, and which nodes have been asked for it. Pure.
//!
//! A topic exists while somebody wants it or a node still has to be told that nobody does. Each name is asked for once at
//! a node, however many sessions want it; only one node's word counts at a time, so nobody hears anything twice.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use slab::Slab;

use crate::clock::Now;
use crate::command::Subscription;
use crate::route::channel::{Placement, is_key_event, placement};
use crate::route::glob;
use crate::route::part::{NodeId, SessionId, TopicId, UserId};
use crate::upstream::overlap::Overlap;

/// All topics of a worker.
#[derive(Debug, Default)]
pub struct Topics {
    topics: Slab<Topic>,
    /// By user, kind and name: what one may hear another may not.
    ids: BTreeMap<UserId, [ByName; 3]>,
}

type ByName = HashMap<Arc<[u8]>, TopicId>;

/// One name that somebody is subscribed to.
#[derive(Debug)]
pub struct Topic {
    /// On whose behalf nodes are asked for it.
    pub user: UserId,
    pub kind: Subscription,
    pub name: Arc<[u8]>,
    pub placement: Placement,
    /// Sessions that are told.
    pub subscribers: BTreeSet<SessionId>,
    /// Requests that are not answered yet and want it.
    pub claims: usize,
    /// Sessions that have not been told that the nodes agree.
    pub waiting: Vec<SessionId>,
    /// It has been heard of before: asking for it once more is repairing.
    pub established: bool,
    places: Vec<Place>,
    /// Whose word counts.
    home: Option<NodeId>,
    /// It moves, or has just moved.
    overlap: Option<Box<Overlap>>,
}

/// A node that has been asked for a topic.
#[derive(Clone, Copy, Debug)]
struct Place {
    node: NodeId,
    /// The part that asks, while it is not answered.
    asked_by: Option<u64>,
}

impl Topics {
    /// The topic of this name, new if nobody has wanted it so far.
    pub fn intern(&mut self, user: UserId, kind: Subscription, name: &[u8]) -> TopicId {
        if let Some(id) = self.find(user, kind, name) {
            return id;
        }
        let name: Arc<[u8]> = name.into();
        let index = self.topics.insert(Topic::new(user, kind, name.clone()));
        let id = TopicId(u32::try_from(index).unwrap_or(u32::MAX));
        if let Some(ids) = self.ids.entry(user).or_default().get_mut(kind as usize) {
            ids.insert(name, id);
        }
        id
    }

    pub fn find(&self, user: UserId, kind: Subscription, name: &[u8]) -> Option<TopicId> {
        self.ids.get(&user)?.get(kind as usize)?.get(name).copied()
    }

    /// Everybody who wants anything.
    pub fn users(&self) -> impl Iterator<Item = UserId> {
        self.ids.keys().copied()
    }

    /// The topics of this name, of whatever users.
    pub fn named(&self, kind: Subscription, name: &[u8]) -> impl Iterator<Item = &Topic> {
        let ids = self
            .users()
            .filter_map(move |user| self.find(user, kind, name));
        ids.filter_map(|id| self.topic(id))
    }

    /// Whether a user wants anything.
    pub fn has_user(&self, user: UserId) -> bool {
        self.ids.contains_key(&user)
    }

    pub fn remove(&mut self, id: TopicId) {
        let Some(topic) = self.topics.try_remove(id.0 as usize) else {
            return;
        };
        if let Some(of_user) = self.ids.get_mut(&topic.user) {
            if let Some(ids) = of_user.get_mut(topic.kind as usize) {
                ids.remove(&topic.name);
            }
            if of_user.iter().all(HashMap::is_empty) {
                self.ids.remove(&topic.user);
            }
        }
    }

    pub fn topic(&self, id: TopicId) -> Option<&Topic> {
        self.topics.get(id.0 as usize)
    }

    pub fn topic_mut(&mut self, id: TopicId) -> Option<&mut Topic> {
        self.topics.get_mut(id.0 as usize)
    }

    /// Every topic, always in the same order.
    pub fn iter(&self) -> impl Iterator<Item = (TopicId, &Topic)> {
        let id = |index| TopicId(u32::try_from(index).unwrap_or(u32::MAX));
        self.topics.iter().map(move |(index, t)| (id(index), t))
    }

    /// A node will tell this user nothing any more.
    pub fn lose_node(&mut self, node: NodeId, user: UserId) {
        for (_, topic) in self.topics.iter_mut().filter(|(_, t)| t.user == user) {
            topic.leave(node);
        }
    }

    /// How often a message on a channel is delivered to sessions of our own. `kind`: of the channel.
    pub fn receivers(&self, kind: Subscription, channel: &[u8]) -> usize {
        let heard = self.hearing(kind, channel);
        let heard = heard.filter(|topic| topic.home.is_some());
        heard.map(|topic| topic.subscribers.len()).sum()
    }

    /// How often a node counts us when it publishes on a channel.
    pub fn own_receivers_at(&self, node: NodeId, kind: Subscription, channel: &[u8]) -> usize {
        let heard = self.hearing(kind, channel);
        heard.filter(|topic| topic.is_confirmed_at(node)).count()
    }

    /// Every topic on which a message on a channel is heard.
    fn hearing(&self, kind: Subscription, channel: &[u8]) -> impl Iterator<Item = &Topic> {
        let by_name = self.named(kind, channel);
        let has_patterns = kind == Subscription::Channel && self.has_patterns();
        let all = has_patterns
            .then(|| self.topics.iter())
            .into_iter()
            .flatten();
        let by_pattern = all.map(|(_, topic)| topic).filter(move |topic| {
            topic.kind == Subscription::Pattern && glob::matches(&topic.name, channel)
        });
        by_name.chain(by_pattern)
    }

    fn has_patterns(&self) -> bool {
        let mut users = self.ids.values();
        users.any(|[_, patterns, _]| !patterns.is_empty())
    }
}

impl Topic {
    fn new(user: UserId, kind: Subscription, name: Arc<[u8]>) -> Self {
        Self {
            user,
            placement: placement(kind, &name),
            kind,
            name,
            subscribers: BTreeSet::new(),
            claims: 0,
            waiting: Vec::new(),
            established: false,
            places: Vec::new(),
            home: None,
            overlap: None,
        }
    }

    pub fn is_wanted(&self) -> bool {
        !self.subscribers.is_empty() || self.claims > 0
    }

    /// Whether sessions have heard it somewhere, and will soon hear it from `node`, but do not yet.
    pub fn will_be_heard_at(&self, node: NodeId) -> bool {
        self.established && !self.subscribers.is_empty() && !self.is_confirmed_at(node)
    }

    /// A node is being asked by the part of this number.
    pub fn ask(&mut self, node: NodeId, seq: u64) {
        debug_assert!(!self.is_asked_at(node));
        if let (Placement::Owner(_), Some(home)) = (self.placement, self.home) {
            self.overlap = Some(Box::new(Overlap::new(home)));
        }
        self.places.push(Place {
            node,
            asked_by: Some(seq),
        });
    }

    /// A node has agreed to the part of this number. An older one counts no more.
    pub fn confirm(&mut self, node: NodeId, seq: u64) {
        let mut places = self.places.iter_mut();
        if let Some(place) = places.find(|p| p.node == node && p.asked_by == Some(seq)) {
            place.asked_by = None;
        }
    }

    /// A node has declined the part of this number. Returns whether it is the one that counts.
    pub fn decline(&mut self, node: NodeId, seq: u64) -> bool {
        let mut places = self.places.iter();
        places.any(|p| p.node == node && p.asked_by == Some(seq)) && self.leave(node)
    }

    /// A node will not tell it any more. Returns whether it was to.
    pub fn leave(&mut self, node: NodeId) -> bool {
        let before = self.places.len();
        self.places.retain(|place| place.node != node);
        if self.home == Some(node) {
            self.home = None;
        }
        self.places.len() < before
    }

    /// From now on the word of `node` counts, if it has agreed.
    pub fn settle_at(&mut self, now: Now, node: NodeId) {
        if self.home == Some(node) || !self.is_confirmed_at(node) {
            return;
        }
        self.home = Some(node);
        self.established = true;
        if let Some(overlap) = &mut self.overlap {
            overlap.end_soon(now);
        }
    }

    /// Whether what a node says on a channel is to be passed on. To be asked once for each message.
    pub fn hears(&mut self, now: Now, node: NodeId, channel: &[u8], message: &[u8]) -> bool {
        if self.overlap.as_ref().is_some_and(|o| o.is_over(now)) {
            self.overlap = None;
        }
        match &mut self.overlap {
            Some(overlap) if overlap.is_from(node) || self.home == Some(node) => {
                !overlap.is_echo(node, message)
            }
            Some(_) | None => self.believes(node, channel),
        }
    }

    fn believes(&self, node: NodeId, channel: &[u8]) -> bool {
        match self.placement {
            Placement::Everywhere(_) if is_key_event(channel) => self.is_confirmed_at(node),
            Placement::Everywhere(_) | Placement::Owner(_) => self.home == Some(node),
            Placement::Here => false,
        }
    }

    pub fn is_asked_at(&self, node: NodeId) -> bool {
        self.places.iter().any(|place| place.node == node)
    }

    pub fn is_confirmed_at(&self, node: NodeId) -> bool {
        let mut places = self.places.iter();
        places.any(|place| place.node == node && place.asked_by.is_none())
    }

    /// The nodes that have been asked.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> {
        self.places.iter().map(|place| place.node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Subscription::{Channel, Pattern, Shard};

    const US: UserId = UserId::SLOTCAR;
    const A: NodeId = NodeId(0);
    const B: NodeId = NodeId(1);

    fn subscribed(topics: &mut Topics, kind: Subscription, name: &str, sessions: u32, at: NodeId) {
        let id = topics.intern(US, kind, name.as_bytes());
        let topic = topics.topic_mut(id).unwrap();
        topic.subscribers = (0..sessions)
            .map(|index| SessionId {
                index,
                generation: 0,
            })
            .collect();
        topic.ask(at, 1);
        topic.confirm(at, 1);
        topic.settle_at(Now::ZERO, at);
    }

    #[test]
    fn a_message_is_heard_on_its_channel_and_on_every_pattern_that_fits() {
        let mut topics = Topics::default();
        subscribed(&mut topics, Channel, "news", 2, A);
        subscribed(&mut topics, Pattern, "n*", 3, B);
        subscribed(&mut topics, Pattern, "x*", 4, A);
        subscribed(&mut topics, Shard, "news", 5, A);
        assert_eq!(topics.receivers(Channel, b"news"), 5);
        assert_eq!(topics.receivers(Shard, b"news"), 5);
        assert_eq!(topics.receivers(Channel, b"none"), 3);
        assert_eq!(topics.own_receivers_at(A, Channel, b"news"), 1);
        assert_eq!(topics.own_receivers_at(B, Channel, b"news"), 1);
        assert_eq!(topics.own_receivers_at(B, Shard, b"news"), 0);
    }

    #[test]
    fn an_answer_to_an_older_request_does_not_count() {
        let mut topics = Topics::default();
        let id = topics.intern(US, Channel, b"news");
        let topic = topics.topic_mut(id).unwrap();
        topic.ask(A, 1);
        topic.leave(A);
        topic.ask(A, 3);
        topic.confirm(A, 1);
        assert!(!topic.is_confirmed_at(A) && !topic.decline(A, 1));
        topic.confirm(A, 3);
        assert!(topic.is_confirmed_at(A));
    }

    #[test]
    fn one_node_is_believed_at_a_time_but_each_about_its_own_keys() {
        let mut topics = Topics::default();
        for name in ["a*", "*"] {
            subscribed(&mut topics, Pattern, name, 1, A);
            let id = topics.find(US, Pattern, name.as_bytes()).unwrap();
            let topic = topics.topic_mut(id).unwrap();
            topic.ask(B, 2);
            topic.confirm(B, 2);
        }
        let believes = |pattern: &[u8], node, channel: &[u8]| {
            let id = topics.find(US, Pattern, pattern).unwrap();
            topics.topic(id).unwrap().believes(node, channel)
        };
        assert!(believes(b"a*", A, b"abc") && !believes(b"a*", B, b"abc"));
        assert!(believes(b"*", A, b"abc") && !believes(b"*", B, b"abc"));
        assert!(believes(b"*", A, b"__keyspace@0__:k") && believes(b"*", B, b"__keyspace@0__:k"));
    }
}
