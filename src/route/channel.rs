//! Which nodes are asked for what is published under a name.
//!
//! A channel lives at the owner of its name's slot, as if it were a key, and `PUBLISH` goes there too: so no message of our
//! own takes the cluster's bus. What a node says about its own keys it tells nobody else, so that is asked of every primary.

use super::glob;
use crate::command::Subscription;
use crate::topology::Slot;

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Nobody: slotcar itself says it.
    Here,
    /// The owner of this slot.
    Owner(Slot),
    /// Every primary. Of what they all hear, the word of this slot's owner counts.
    Everywhere(Slot),
}

/// Where a name is subscribed to.
pub fn placement(kind: Subscription, name: &[u8]) -> Placement {
    let slot = Slot::of_key(name);
    let tells_of_keys = match kind {
        Subscription::Channel if name == INVALIDATE => return Placement::Here,
        Subscription::Channel => is_key_event(name),
        Subscription::Pattern => KEY_EVENTS.iter().any(|k| glob::may_begin_with(name, k)),
        Subscription::Shard => false,
    };
    if tells_of_keys {
        Placement::Everywhere(slot)
    } else {
        Placement::Owner(slot)
    }
}

/// Whether a channel is one on which every node speaks of its own keys.
pub fn is_key_event(channel: &[u8]) -> bool {
    KEY_EVENTS.iter().any(|prefix| channel.starts_with(prefix))
}

/// Invalidations for RESP2 clients, which `CLIENT TRACKING … REDIRECT` asks for.
pub const INVALIDATE: &[u8] = b"__redis__:invalidate";

const KEY_EVENTS: [&[u8]; 2] = [b"__keyspace@", b"__keyevent@"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_events_are_everywhere_and_all_else_is_at_one_node() {
        use Subscription::{Channel, Pattern, Shard};
        let slot = |name: &str| Slot::of_key(name.as_bytes());
        let cases = [
            (Channel, "news", Placement::Owner(slot("news"))),
            (Channel, "*", Placement::Owner(slot("*"))),
            (Channel, "{a}b", Placement::Owner(slot("a"))),
            (Channel, "__redis__:invalidate", Placement::Here),
            (
                Shard,
                "__keyspace@0__:k",
                Placement::Owner(slot("__keyspace@0__:k")),
            ),
            (
                Channel,
                "__keyevent@0__:set",
                Placement::Everywhere(slot("__keyevent@0__:set")),
            ),
            (Pattern, "news.*", Placement::Owner(slot("news.*"))),
            (Pattern, "*", Placement::Everywhere(slot("*"))),
            (
                Pattern,
                "__key*__:*",
                Placement::Everywhere(slot("__key*__:*")),
            ),
        ];
        for (kind, name, expected) in cases {
            assert_eq!(
                placement(kind, name.as_bytes()),
                expected,
                "{kind:?} {name}"
            );
        }
    }
}
