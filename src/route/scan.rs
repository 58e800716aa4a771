//! `SCAN` over a whole cluster: one node after another, behind cursors of our own.
//!
//! A node's cursor may use all 64 bits and means nothing on another node (nor on its promoted replica, which
//! hashes differently), so a client gets a token for a place in a [`Walk`], below 2^53 and good on any connection
//! of this process. A pass over a node covers the slots that the node served from the pass's beginning to its
//! end; a slot that has changed hands since is not covered and is walked again at its new owner. So every key
//! that is there throughout is returned at least once, and some may be returned twice, as `SCAN` allows.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::topology::{Endpoint, SLOT_COUNT, Slot};

/// A set of slots; 2 KiB.
#[derive(Clone, PartialEq, Eq)]
pub struct SlotSet([u64; SLOT_COUNT / 64]);

impl SlotSet {
    pub const EMPTY: Self = Self([0; SLOT_COUNT / 64]);

    pub fn insert(&mut self, slot: Slot) {
        if let Some(word) = self.0.get_mut(slot.index() / 64) {
            *word |= 1 << (slot.index() % 64);
        }
    }

    pub fn contains(&self, slot: Slot) -> bool {
        self.0
            .get(slot.index() / 64)
            .is_some_and(|word| word & (1 << (slot.index() % 64)) != 0)
    }

    /// Keeps only what `other` has too.
    pub fn intersect(&mut self, other: &Self) {
        for (word, &theirs) in self.0.iter_mut().zip(&other.0) {
            *word &= theirs;
        }
    }

    pub fn unite(&mut self, other: &Self) {
        for (word, &theirs) in self.0.iter_mut().zip(&other.0) {
            *word |= theirs;
        }
    }

    /// The lowest slot of this set that is not in `other`.
    pub fn first_not_in(&self, other: &Self) -> Option<Slot> {
        let words = self.0.iter().zip(&other.0).enumerate();
        let (index, bits) = words
            .map(|(i, (a, b))| (i, a & !b))
            .find(|&(_, bits)| bits != 0)?;
        u16::try_from(index * 64 + bits.trailing_zeros() as usize)
            .ok()
            .and_then(Slot::new)
    }
}

impl std::fmt::Debug for SlotSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "SlotSet({})",
            self.0.iter().map(|w| w.count_ones()).sum::<u32>()
        )
    }
}

/// Who serves what now, as a walk wants to know it.
pub trait Owners {
    fn owner(&self, slot: Slot) -> Option<Endpoint>;
    fn served_by(&self, node: &Endpoint) -> SlotSet;
    /// Slots that have an owner.
    fn covered(&self) -> SlotSet;
}

/// A place in a walk through the keyspace.
#[derive(Clone, Debug, Default)]
pub struct Walk {
    /// Finished passes: the node, and the slots that it served throughout.
    passes: Vec<(Endpoint, Arc<SlotSet>)>,
    current: Option<Pass>,
}

#[derive(Clone, Debug)]
struct Pass {
    node: Endpoint,
    served: Arc<SlotSet>,
    cursor: u64,
}

/// The next step of a walk: ask the owner of `slot`, which should be `node`, with `cursor`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub slot: Slot,
    pub node: Endpoint,
    pub cursor: u64,
}

impl Walk {
    /// Where to go next; None: the walk is complete, or nobody serves what is left.
    pub fn step(&mut self, owners: &impl Owners) -> Option<Step> {
        if let Some(pass) = &mut self.current {
            let now = owners.served_by(&pass.node);
            let mut served = pass.served.as_ref().clone();
            served.intersect(&now);
            if let Some(slot) = served.first_not_in(&SlotSet::EMPTY) {
                if served != *pass.served {
                    pass.served = Arc::new(served);
                }
                return Some(Step {
                    slot,
                    node: pass.node.clone(),
                    cursor: pass.cursor,
                });
            }
            // The node serves nothing of what it did: its cursor is worthless.
            self.current = None;
        }
        let slot = owners.covered().first_not_in(&self.covered(owners))?;
        let node = owners.owner(slot)?;
        let served = Arc::new(owners.served_by(&node));
        self.current = Some(Pass {
            node: node.clone(),
            served,
            cursor: 0,
        });
        Some(Step {
            slot,
            node,
            cursor: 0,
        })
    }

    /// Takes the cursor that the node of the last step answered, and says whether the walk goes on.
    pub fn on_cursor(&mut self, cursor: u64, owners: &impl Owners) -> bool {
        let Some(mut pass) = self.current.take() else {
            return false;
        };
        if cursor != 0 {
            pass.cursor = cursor;
            self.current = Some(pass);
            return true;
        }
        let mut served = pass.served.as_ref().clone();
        served.intersect(&owners.served_by(&pass.node));
        self.passes.push((pass.node, Arc::new(served)));
        owners
            .covered()
            .first_not_in(&self.covered(owners))
            .is_some()
    }

    /// Slots whose keys have all been returned: by their present owner, which had them throughout its pass.
    fn covered(&self, owners: &impl Owners) -> SlotSet {
        let mut covered = SlotSet::EMPTY;
        for (node, served) in &self.passes {
            let mut still = served.as_ref().clone();
            still.intersect(&owners.served_by(node));
            covered.unite(&still);
        }
        covered
    }
}

/// The places that clients may come back to, of all workers; the oldest are forgotten first.
#[derive(Debug)]
pub struct ScanBook {
    places: HashMap<u64, Walk>,
    order: VecDeque<u64>,
    next: u64,
    tokens_max: usize,
}

impl ScanBook {
    /// `seed` keeps the tokens of two processes apart.
    pub fn new(tokens_max: usize, seed: u64) -> Self {
        // Some clients keep a cursor in a double, which is exact below 2^53; there is room for 2^52 tokens above the seed.
        let next = (seed % (1 << 52)).max(1);
        Self {
            places: HashMap::new(),
            order: VecDeque::new(),
            next,
            tokens_max,
        }
    }

    /// The place of `token`; a token that is not known (forgotten, or another process's) starts over, which
    /// returns some keys again but misses none.
    pub fn place(&self, token: u64) -> Walk {
        self.places.get(&token).cloned().unwrap_or_default()
    }

    /// A token for a place. `1 <= token < 2^53`
    pub fn keep(&mut self, walk: Walk) -> u64 {
        while self.order.len() >= self.tokens_max {
            if let Some(oldest) = self.order.pop_front() {
                self.places.remove(&oldest);
            }
        }
        let token = self.next;
        self.next += 1;
        self.order.push_back(token);
        self.places.insert(token, walk);
        token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Slots below `.0` are served by `a`, the others by `b`.
    struct Two(u16);

    fn node(name: &str) -> Endpoint {
        Endpoint {
            host: name.into(),
            port: 1,
        }
    }

    impl Owners for Two {
        fn owner(&self, slot: Slot) -> Option<Endpoint> {
            Some(node(if slot.index() < usize::from(self.0) {
                "a"
            } else {
                "b"
            }))
        }
        fn served_by(&self, of: &Endpoint) -> SlotSet {
            let mut set = SlotSet::EMPTY;
            let slots = (0..16384).filter_map(Slot::new);
            slots
                .filter(|&s| self.owner(s).as_ref() == Some(of))
                .for_each(|s| set.insert(s));
            set
        }
        fn covered(&self) -> SlotSet {
            SlotSet([u64::MAX; SLOT_COUNT / 64])
        }
    }

    fn asked(walk: &mut Walk, owners: &Two) -> Option<(String, u64)> {
        walk.step(owners)
            .map(|s| (s.node.host.to_string(), s.cursor))
    }

    #[test]
    fn a_walk_visits_each_node_until_its_cursor_is_zero() {
        let (mut walk, two) = (Walk::default(), Two(8000));
        assert_eq!(asked(&mut walk, &two), Some(("a".into(), 0)));
        assert!(walk.on_cursor(u64::MAX, &two));
        assert_eq!(asked(&mut walk, &two), Some(("a".into(), u64::MAX)));
        assert!(walk.on_cursor(0, &two));
        assert_eq!(asked(&mut walk, &two), Some(("b".into(), 0)));
        assert!(!walk.on_cursor(0, &two));
    }

    #[test]
    fn slots_that_changed_hands_during_or_after_a_pass_are_walked_at_their_new_owner() {
        let mut walk = Walk::default();
        // b's pass is done while a still has slots up to 8000; then a gives 1000 slots to b.
        assert_eq!(asked(&mut walk, &Two(8000)), Some(("a".into(), 0)));
        assert!(walk.on_cursor(0, &Two(8000)));
        assert_eq!(asked(&mut walk, &Two(8000)), Some(("b".into(), 0)));
        assert!(
            walk.on_cursor(0, &Two(7000)),
            "slots 7000-7999 came to b in the middle"
        );
        assert_eq!(asked(&mut walk, &Two(7000)), Some(("b".into(), 0)));
        assert!(!walk.on_cursor(0, &Two(7000)));
    }

    #[test]
    fn a_failover_starts_the_node_over_because_cursors_are_private_to_a_node() {
        let mut walk = Walk::default();
        assert_eq!(asked(&mut walk, &Two(16384)), Some(("a".into(), 0)));
        assert!(walk.on_cursor(77, &Two(16384)));
        assert_eq!(asked(&mut walk, &Two(0)), Some(("b".into(), 0)));
    }

    #[test]
    fn tokens_are_positive_distinct_and_bounded_and_an_unknown_one_starts_over() {
        let mut book = ScanBook::new(2, u64::MAX);
        let walks: Vec<u64> = (0..3).map(|_| book.keep(Walk::default())).collect();
        assert!(walks.iter().all(|&t| t > 0 && t < 1 << 53));
        assert_eq!(book.places.len(), 2);
        assert!(book.place(walks[0]).current.is_none());
    }
}
