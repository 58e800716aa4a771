//! Ears: one RESP3 link to each node that is asked for what is published there.
//!
//! What sessions want is compared with what nodes have been asked for, topic by topic ([`Hub::tend`]); whatever happens,
//! a lost link or a new topology, the answer is to compare again. A topic that moves is asked for at its new place
//! first and given up at the old one afterwards.

use crate::clock::Now;
use crate::command::Subscription;
use crate::control::Hint;
use crate::downstream::subscriptions::Verb;
use crate::reply::redirect::refusal;
use crate::resp::Proto;
use crate::resp::reply::Reply;
use crate::resp::write;
use crate::route::channel::Placement;
use crate::route::part::{LinkId, NodeId, Part, Profile, Purpose, Target, TopicId, UserId};
use crate::upstream::link::{Link, LinkDown, Use};
use crate::upstream::queue::Answered;
use crate::upstream::topics::Topic;
use crate::worker::hub::Hub;

/// The link on which a node tells what is published.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ear {
    pub(super) link: LinkId,
    /// How many topics it has been asked for.
    topics: usize,
    /// When somebody looks after it again.
    pub(super) look_at: Now,
    /// The oldest unanswered part when somebody last did, unless something has been heard since.
    unanswered: Option<u64>,
}

impl Hub {
    /// Looks at every topic, if something has happened or it is time to try again.
    pub(in crate::worker::hub) fn tend_topics(&mut self, now: Now) {
        let is_due = self.pubsub.retry_at.is_some_and(|at| at <= now);
        if !std::mem::take(&mut self.pubsub.is_stale) && !is_due {
            return;
        }
        self.pubsub.retry_at = None;
        let ids: Vec<TopicId> = self.pubsub.topics.iter().map(|(id, _)| id).collect();
        for id in ids {
            self.tend(now, id);
        }
    }

    /// Asks for a topic where it is missing, gives it up where it is not wanted, and tells those who wait for it.
    pub(super) fn tend(&mut self, now: Now, id: TopicId) {
        let Some(topic) = self.pubsub.topics.topic(id) else {
            return;
        };
        let wanted_at = self.wanted_at(topic);
        let here = topic.placement == Placement::Here;
        for &node in &wanted_at {
            self.ask_for(now, id, node);
        }
        let home = self.home_of(id);
        let Some(topic) = self.pubsub.topics.topic_mut(id) else {
            return;
        };
        home.into_iter().for_each(|home| topic.settle_at(now, home));
        let agreed = wanted_at.iter().all(|&node| topic.is_confirmed_at(node));
        let is_heard = here || (!wanted_at.is_empty() && agreed);
        if is_heard || !topic.is_wanted() {
            let places = topic.nodes();
            let given_up: Vec<NodeId> = places.filter(|n| !wanted_at.contains(n)).collect();
            for node in given_up {
                self.give_up_topic(id, node);
            }
        }
        let Some(topic) = self.pubsub.topics.topic_mut(id) else {
            return;
        };
        if !topic.is_wanted() {
            return self.pubsub.topics.remove(id);
        }
        if is_heard {
            for session in std::mem::take(&mut topic.waiting) {
                self.note_agreed(now, session);
            }
        }
    }

    fn wanted_at(&self, topic: &Topic) -> Vec<NodeId> {
        let owners = &self.owners;
        match topic.placement {
            _ if !topic.is_wanted() => Vec::new(),
            Placement::Here => Vec::new(),
            Placement::Owner(slot) => owners.of(slot).into_iter().collect(),
            Placement::Everywhere(_) => {
                let primaries = owners.primaries().iter();
                primaries.filter_map(|&slot| owners.of(slot)).collect()
            }
        }
    }

    /// The node whose word counts of what several nodes hear.
    fn home_of(&self, id: TopicId) -> Option<NodeId> {
        match self.pubsub.topics.topic(id)?.placement {
            Placement::Here => None,
            Placement::Owner(slot) | Placement::Everywhere(slot) => self.owners.of(slot),
        }
    }

    fn ask_for(&mut self, now: Now, id: TopicId, node: NodeId) {
        let topic = self.pubsub.topics.topic(id);
        let Some(topic) = topic.filter(|topic| !topic.is_asked_at(node)) else {
            return;
        };
        let at = (node, topic.user);
        let (what, again) = ((Verb::Subscribe, id), topic.established);
        let link = match self.ear_to(now, at) {
            Ok(link) => link,
            Err(not_before) => return self.try_again_at(not_before),
        };
        let Some(seq) = self.say(link, node, what, Purpose::Listen(id)) else {
            return;
        };
        if let Some(topic) = self.pubsub.topics.topic_mut(id) {
            topic.ask(node, seq);
        }
        if let Some(ear) = self.pubsub.ears.get_mut(&at) {
            ear.topics += 1;
        }
        self.counters.resubscriptions += u64::from(again);
    }

    fn give_up_topic(&mut self, id: TopicId, node: NodeId) {
        let Some(user) = self.pubsub.topics.topic(id).map(|topic| topic.user) else {
            return;
        };
        if let Some(ear) = self.pubsub.ears.get(&(node, user)).copied() {
            self.say(ear.link, node, (Verb::Unsubscribe, id), Purpose::Swallow);
        }
        if let Some(topic) = self.pubsub.topics.topic_mut(id) {
            topic.leave(node);
        }
        self.note_topic_left((node, user));
    }

    /// Queues one request about a topic; its number.
    fn say(
        &mut self,
        link: LinkId,
        node: NodeId,
        (verb, id): (Verb, TopicId),
        purpose: Purpose,
    ) -> Option<u64> {
        let topic = self.pubsub.topics.topic(id)?;
        let asked_as = self.asked_as(topic.kind, &topic.name);
        let (kind, topic_name) = asked_as.unwrap_or((topic.kind, topic.name.to_vec()));
        let name = verb.name(kind);
        let words = [name.to_ascii_uppercase().into_bytes(), topic_name];
        let part = Part::with(
            purpose,
            Target::Node(node),
            self.commands.row(name)?,
            Profile::new(Proto::Resp3, topic.user),
        );
        Some(self.queue_on(link, part, &words))
    }

    /// Queues a request on an ear; its number.
    fn queue_on(&mut self, id: LinkId, mut part: Part, words: &[impl AsRef<[u8]>]) -> u64 {
        self.placed += 1;
        part.seq = self.placed;
        if let Some(link) = self.link_mut(id) {
            link.push_with(part, |log| write::command(log, words));
        }
        self.note_queued(id, &part);
        part.seq
    }

    fn ear_to(&mut self, now: Now, at: (NodeId, UserId)) -> Result<LinkId, Now> {
        let (node, user) = at;
        self.check_usable(now, node)?;
        if let Some(ear) = self.pubsub.ears.get(&at) {
            return Ok(ear.link);
        }
        let link = self.dial(
            now,
            Link::new(node, Profile::new(Proto::Resp3, user), Use::Ear),
        )?;
        let look_at = now + self.settings.limits.ear_silent_timeout;
        let ear = Ear {
            link,
            topics: 0,
            look_at,
            unanswered: None,
        };
        self.pubsub.ears.insert(at, ear);
        Ok(link)
    }

    fn try_again_at(&mut self, at: Now) {
        let sofar = self.pubsub.retry_at.unwrap_or(at);
        self.pubsub.retry_at = Some(sofar.min(at));
    }

    /// A node says something on its ear: a message, or that it has done what it was asked for.
    pub(in crate::worker::hub) fn on_ear_push(&mut self, now: Now, id: LinkId, frame: &[u8]) {
        let Some(at) = self.link(id).map(|link| (link.node, link.profile.user)) else {
            return;
        };
        if let Some(ear) = self.pubsub.ears.get_mut(&at) {
            ear.unanswered = None;
        }
        let mut items = Reply::new(frame).items().map(|item| item.text());
        let (Some(Some(verb)), Some(Some(name))) = (items.next(), items.next()) else {
            return;
        };
        match (verb, items.next()) {
            (b"message", _) => self.fan_out(now, at, (Subscription::Channel, name), name, frame),
            (b"pmessage", Some(Some(channel))) => {
                let own = self.channel_heard_as(name);
                let topic = match &own {
                    Some(own) => (Subscription::Channel, &**own),
                    None => (Subscription::Pattern, name),
                };
                self.fan_out(now, at, topic, channel, frame);
            }
            (b"smessage", _) => self.fan_out(now, at, (Subscription::Shard, name), name, frame),
            _ if self.answers_oldest(id, verb, name) => self.on_topic_answered(now, id, at.0),
            (b"sunsubscribe", _) => self.on_moved_away(now, at, name),
            _ => {
                let why = LinkDown::Desync("it speaks of a subscription that nobody asked for");
                self.note_link_woken(id);
                self.on_link_down(now, id, &why);
            }
        }
    }

    /// Whether a push answers the oldest request of its link: it repeats its words.
    fn answers_oldest(&self, id: LinkId, verb: &[u8], name: &[u8]) -> bool {
        let oldest = self.link(id).and_then(|link| link.queue().front());
        let Some((_, bytes)) = oldest else {
            return false;
        };
        let mut words = Reply::new(bytes).items().map(|word| word.text());
        let asked = words.next().flatten().unwrap_or_default();
        asked.eq_ignore_ascii_case(verb) && words.next().flatten() == Some(name)
    }

    fn on_topic_answered(&mut self, now: Now, id: LinkId, node: NodeId) {
        let Some(Answered::Part(part, _)) = self.link_mut(id).and_then(|l| l.queue_mut().answer())
        else {
            return;
        };
        if let Purpose::Listen(topic) = part.purpose {
            if let Some(topic) = self.pubsub.topics.topic_mut(topic) {
                topic.confirm(node, part.seq);
            }
            self.tend(now, topic);
        }
    }

    /// A node has answered with an error: it serves the slot no more, or we may not listen.
    pub(in crate::worker::hub) fn on_topic_declined(
        &mut self,
        now: Now,
        from: LinkId,
        id: TopicId,
        part: &Part,
        frame: &[u8],
    ) {
        let Target::Node(node) = part.target else {
            return;
        };
        let topic = self.pubsub.topics.topic_mut(id);
        if !topic.is_some_and(|topic| topic.decline(node, part.seq)) {
            return;
        }
        self.note_topic_left((node, part.profile.user));
        match refusal(frame) {
            Some(refusal) => {
                self.try_again_at(now + self.settings.retry.pause_min);
                let (_, recalled) = self.take_in(from, None, &refusal);
                self.place_recalled(now, recalled);
            }
            None => {
                let text = Reply::new(frame).error().unwrap_or_default();
                self.refuse_listening(now, id, text);
            }
        }
    }

    /// Tells those who wait for a topic that they may not hear it. `text` without the leading `-`.
    pub(in crate::worker::hub) fn refuse_listening(&mut self, now: Now, id: TopicId, text: &[u8]) {
        self.try_again_at(now + self.settings.backoff.max);
        let Some(topic) = self.pubsub.topics.topic_mut(id) else {
            return;
        };
        topic.established = false;
        let waiting = std::mem::take(&mut topic.waiting);
        let hearing = std::mem::take(&mut topic.subscribers);
        for session in waiting {
            self.refuse_subscribing(now, session, text);
        }
        self.tend(now, id);
        // They may not hear it any more. A server ends such connections, too.
        for session in hearing {
            self.cut_off(session, &String::from_utf8_lossy(text));
        }
    }

    /// The slot of a shard channel has left its node, which tells nothing more of it.
    fn on_moved_away(&mut self, now: Now, at: (NodeId, UserId), name: &[u8]) {
        let (node, user) = at;
        let id = self.pubsub.topics.find(user, Subscription::Shard, name);
        let topic = id.and_then(|id| self.pubsub.topics.topic_mut(id));
        if topic.is_some_and(|topic| topic.leave(node)) {
            self.note_topic_left(at);
            if let Some(node) = self.owners.node(node) {
                self.effects
                    .hints
                    .push(Hint::Refused(node.endpoint.clone()));
            }
            // The node that is asked next says where the slot is, if nobody knows yet.
            id.into_iter().for_each(|id| self.tend(now, id));
        }
    }

    fn note_topic_left(&mut self, at: (NodeId, UserId)) {
        if let Some(ear) = self.pubsub.ears.get_mut(&at) {
            ear.topics = ear.topics.saturating_sub(1);
        }
    }

    /// The link is gone, and with it everything that the node was asked for.
    pub(in crate::worker::hub) fn on_ear_lost(&mut self, node: NodeId, user: UserId) {
        self.pubsub.ears.remove(&(node, user));
        self.pubsub.topics.lose_node(node, user);
        self.pubsub.is_stale = true;
    }

    /// Closes ears that hear nothing any more, and those whose node does not answer.
    pub(in crate::worker::hub) fn look_after_ears(&mut self, now: Now) {
        let ears = self.pubsub.ears.iter();
        let due: Vec<(NodeId, UserId)> = ears
            .filter(|(_, ear)| ear.look_at <= now)
            .map(|(at, _)| *at)
            .collect();
        for at in due {
            self.look_after(now, at);
        }
    }

    fn look_after(&mut self, now: Now, at: (NodeId, UserId)) {
        let Some(ear) = self.pubsub.ears.get(&at).copied() else {
            return;
        };
        let oldest = self.oldest_part(ear.link);
        if ear.topics == 0 && oldest.is_none() {
            return self.close_link(now, ear.link);
        }
        if oldest.is_some() && oldest == ear.unanswered {
            let why = LinkDown::Lost("the node says nothing on its ear".into());
            self.note_link_woken(ear.link);
            return self.on_link_down(now, ear.link, &why);
        }
        if oldest.is_none() {
            self.probe(ear.link, at);
        }
        let unanswered = self.oldest_part(ear.link);
        if let Some(ear) = self.pubsub.ears.get_mut(&at) {
            ear.unanswered = unanswered;
            ear.look_at = now + self.settings.limits.ear_silent_timeout;
        }
    }

    fn oldest_part(&mut self, link: LinkId) -> Option<u64> {
        let mut parts = self.link_mut(link)?.queue_mut().parts_mut();
        parts.next().map(|part| part.seq)
    }

    fn probe(&mut self, id: LinkId, (node, user): (NodeId, UserId)) {
        let Some(row) = self.commands.row("ping") else {
            return;
        };
        let part = Part::with(
            Purpose::Swallow,
            Target::Node(node),
            row,
            Profile::new(Proto::Resp3, user),
        );
        self.queue_on(id, part, &["PING"]);
    }
}
