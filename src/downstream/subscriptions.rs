//! What one session is subscribed to, and how far behind it is. Pure.
//!
//! Replies are spelled here as the servers spell them: one for each name, and each says how many names there are now.

use std::collections::BTreeSet;

use crate::clock::Now;
use crate::command::Subscription;
use crate::config::limits::Limits;
use crate::reply::errors;
use crate::resp::Proto;
use crate::resp::request::Request;
use crate::resp::write;
use crate::route::part::{Ticket, TopicId};

/// The subscriptions of one session.
#[derive(Debug, Default)]
pub struct Subscriptions {
    topics: [BTreeSet<TopicId>; 3],
    /// A request that waits until the nodes have agreed to all of it.
    pub pending: Option<Pending>,
    /// Since when more waits for the client than should.
    behind_since: Option<Now>,
}

/// A request to subscribe.
#[derive(Debug)]
pub struct Pending {
    pub ticket: Ticket,
    /// In the order of the request; a name may be there twice.
    pub topics: Vec<TopicId>,
    /// How many names no node has agreed to yet.
    pub missing: usize,
    pub since: Now,
    /// When it will have waited for too long.
    pub deadline: Now,
}

impl Pending {
    /// Each name once.
    pub fn distinct(&self) -> BTreeSet<TopicId> {
        self.topics.iter().copied().collect()
    }
}

impl Subscriptions {
    /// Whether the session is in the servers' subscribed mode.
    pub fn is_subscribed(&self) -> bool {
        self.topics.iter().any(|topics| !topics.is_empty())
    }

    /// Nothing to keep.
    pub fn is_idle(&self) -> bool {
        !self.is_subscribed() && self.pending.is_none()
    }

    pub fn insert(&mut self, kind: Subscription, topic: TopicId) {
        self.of_mut(kind).insert(topic);
    }

    /// Returns whether it was subscribed to.
    pub fn remove(&mut self, kind: Subscription, topic: TopicId) -> bool {
        self.of_mut(kind).remove(&topic)
    }

    pub fn of(&self, kind: Subscription) -> &BTreeSet<TopicId> {
        let [channels, patterns, shards] = &self.topics;
        match kind {
            Subscription::Channel => channels,
            Subscription::Pattern => patterns,
            Subscription::Shard => shards,
        }
    }

    /// Everything that is subscribed to.
    pub fn all(&self) -> impl Iterator<Item = TopicId> {
        self.topics.iter().flatten().copied()
    }

    /// What replies say: channels and patterns together, shard channels by themselves.
    pub fn count(&self, kind: Subscription) -> usize {
        match kind {
            Subscription::Channel | Subscription::Pattern => {
                self.of(Subscription::Channel).len() + self.of(Subscription::Pattern).len()
            }
            Subscription::Shard => self.of(Subscription::Shard).len(),
        }
    }

    /// Whether a client with so many bytes to take is to be given up. Source: `client-output-buffer-limit pubsub`.
    pub fn is_too_slow(&mut self, now: Now, bytes: usize, limits: &Limits) -> bool {
        if bytes <= limits.subscriber_output_bytes_soft {
            self.behind_since = None;
            return false;
        }
        let since = *self.behind_since.get_or_insert(now);
        bytes > limits.subscriber_output_bytes_max
            || now.since(since) >= limits.subscriber_output_soft_timeout
    }

    fn of_mut(&mut self, kind: Subscription) -> &mut BTreeSet<TopicId> {
        let [channels, patterns, shards] = &mut self.topics;
        match kind {
            Subscription::Channel => channels,
            Subscription::Pattern => patterns,
            Subscription::Shard => shards,
        }
    }
}

/// Whether a name is taken or given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Subscribe,
    Unsubscribe,
}

impl Verb {
    /// As the servers say it in replies; requests are the same in capitals.
    pub fn name(self, kind: Subscription) -> &'static str {
        match (self, kind) {
            (Self::Subscribe, Subscription::Channel) => "subscribe",
            (Self::Subscribe, Subscription::Pattern) => "psubscribe",
            (Self::Subscribe, Subscription::Shard) => "ssubscribe",
            (Self::Unsubscribe, Subscription::Channel) => "unsubscribe",
            (Self::Unsubscribe, Subscription::Pattern) => "punsubscribe",
            (Self::Unsubscribe, Subscription::Shard) => "sunsubscribe",
        }
    }
}

/// The reply about one name. None: there was none to give up.
pub fn write_reply(
    out: &mut Vec<u8>,
    proto: Proto,
    (verb, kind): (Verb, Subscription),
    name: Option<&[u8]>,
    count: usize,
) {
    write::push(out, proto, 3);
    write::bulk(out, verb.name(kind));
    match name {
        Some(name) => write::bulk(out, name),
        None => write::null(out, proto),
    }
    write::integer(out, i64::try_from(count).unwrap_or(i64::MAX));
}

/// `PING [message]` of a session that is subscribed in RESP2.
pub fn write_pong(request: Request<'_>, out: &mut Vec<u8>) {
    if request.len() > 2 {
        return write::error(out, errors::wrong_arity("ping"));
    }
    write::array(out, 2);
    write::bulk(out, "pong");
    write::bulk(out, request.get(1).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use Subscription::{Channel, Pattern, Shard};
    use std::time::Duration;

    #[test]
    fn shard_channels_are_counted_apart() {
        let mut mine = Subscriptions::default();
        for (kind, topic) in [(Channel, 1), (Pattern, 2), (Shard, 3), (Shard, 3)] {
            mine.insert(kind, TopicId(topic));
        }
        assert_eq!(
            (mine.count(Channel), mine.count(Pattern), mine.count(Shard)),
            (2, 2, 1)
        );
        assert!(mine.remove(Shard, TopicId(3)) && !mine.remove(Shard, TopicId(3)));
        assert_eq!(mine.all().count(), 2);
    }

    #[test]
    fn a_client_is_too_slow_at_once_or_for_too_long() {
        let limits = Limits {
            subscriber_output_bytes_soft: 10,
            subscriber_output_bytes_max: 20,
            subscriber_output_soft_timeout: Duration::from_secs(60),
            ..Limits::default()
        };
        let mut mine = Subscriptions::default();
        // Seconds, bytes that wait, whether that is too slow.
        let story = [
            (0, 11, false),
            (59, 20, false),
            (60, 10, false),
            (70, 11, false),
            (129, 20, false),
            (130, 11, true),
            (140, 0, false),
            (141, 21, true),
        ];
        for (secs, bytes, expected) in story {
            let now = Now::at(Duration::from_secs(secs));
            assert_eq!(mine.is_too_slow(now, bytes, &limits), expected, "{secs} s");
        }
    }
}
