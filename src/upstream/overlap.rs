//! A name that moves is heard at two nodes for a moment, and the cluster passes on to each what is published at the other.
//! Here the second copy of a message is told from the first, whichever comes first. Pure.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use crate::clock::Now;
use crate::route::part::NodeId;

/// How long after a move a second copy may come: far longer than any message is on its way between two nodes.
const LASTS: Duration = Duration::from_secs(1);
/// Messages that one copy is known of; when there are more, all are forgotten.
const MESSAGES_MAX: usize = 16 * 1024;

/// What two nodes have said of one name while it moved.
#[derive(Debug)]
pub struct Overlap {
    /// Where the name is leaving.
    from: NodeId,
    /// None: the new node has not agreed yet.
    ends: Option<Now>,
    /// How many copies more have come from the old node than from the new one, by message.
    ahead: HashMap<u64, i32>,
}

impl Overlap {
    pub fn new(from: NodeId) -> Self {
        Self {
            from,
            ends: None,
            ahead: HashMap::new(),
        }
    }

    /// The new node has agreed.
    pub fn end_soon(&mut self, now: Now) {
        self.ends = Some(now + LASTS);
    }

    pub fn is_over(&self, now: Now) -> bool {
        self.ends.is_some_and(|at| at <= now)
    }

    pub fn is_from(&self, node: NodeId) -> bool {
        self.from == node
    }

    /// Whether this is the second copy of a message. To be asked once for each.
    pub fn is_echo(&mut self, node: NodeId, message: &[u8]) -> bool {
        if self.ahead.len() >= MESSAGES_MAX {
            self.ahead.clear();
        }
        let mut hasher = DefaultHasher::new();
        message.hash(&mut hasher);
        let step = if self.is_from(node) { 1 } else { -1 };
        let ahead = self.ahead.entry(hasher.finish()).or_default();
        let is_echo = ahead.signum() == -step;
        *ahead += step;
        is_echo
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_is_heard_once_whichever_copy_comes_first() {
        let (old, new) = (NodeId(0), NodeId(1));
        let mut overlap = Overlap::new(old);
        let story = [
            (old, "only old", false),
            (old, "both", false),
            (new, "both", true),
            (new, "late", false),
            (old, "late", true),
            (new, "again", false),
            (new, "again", false),
            (old, "again", true),
            (new, "again", false),
            (old, "again", true),
            (old, "again", true),
            (old, "again", false),
        ];
        for (at, (node, message, expected)) in story.into_iter().enumerate() {
            let is_echo = overlap.is_echo(node, message.as_bytes());
            assert_eq!(is_echo, expected, "{at}: {message}");
        }
    }

    #[test]
    fn it_ends_some_time_after_the_new_node_has_agreed() {
        let now = Now::at(Duration::from_secs(9));
        let mut overlap = Overlap::new(NodeId(0));
        assert!(!overlap.is_over(now));
        overlap.end_soon(now);
        assert!(!overlap.is_over(now) && overlap.is_over(now + LASTS));
    }
}
