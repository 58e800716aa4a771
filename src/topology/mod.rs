//! Who serves which slot: immutable snapshots, parsing, differences. Pure.
//!
//! A topology is replaced whole. Nodes are known by their endpoint: that is what redirections name.
//! The index of a node means something within one snapshot only.
//! Invariants: a slot has at most one shard; a node belongs to exactly one shard; shards are sorted by
//! their first slot and replicas by their endpoint, so equal views are equal values.

mod diff;
mod endpoint;
mod parse;
mod slot;

use std::fmt;
use std::sync::Arc;

pub use diff::Difference;
pub use endpoint::{Endpoint, EndpointError, is_host};
pub use parse::{SlotsError, parse_cluster_slots};
pub use slot::{Keyspace, SLOT_COUNT, Slot, SlotRange};

/// An immutable snapshot: which node serves which slot.
#[derive(Clone)]
pub struct Topology {
    version: u64,
    nodes: Vec<Node>,
    shards: Vec<Shard>,
    /// Slot to index of a shard, or [`NO_SHARD`]. `shard_of_slot.len() == SLOT_COUNT`
    shard_of_slot: Box<[u16]>,
}

/// One server process as a snapshot knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub endpoint: Endpoint,
    /// The node's own name in the cluster, 40 hex digits; its endpoint where the server says none.
    pub id: Arc<str>,
    pub role: Role,
    /// Index into [`Topology::shards`].
    pub shard: usize,
    /// The cluster named the host. If not, it is the host of the node that was asked.
    pub announced: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    Primary,
    Replica,
}

/// A primary and its replicas, and the slots that they hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Index into [`Topology::nodes`]; `None` if the cluster does not know where the primary is.
    pub primary: Option<usize>,
    /// Indices into [`Topology::nodes`].
    pub replicas: Vec<usize>,
    /// Ascending, disjoint, not empty.
    pub ranges: Vec<SlotRange>,
}

/// What [`Topology::new`] is made of: one shard before its nodes have indices.
#[derive(Clone, Debug, Default)]
pub struct ShardSpec {
    pub primary: Option<Member>,
    pub replicas: Vec<Member>,
    pub ranges: Vec<SlotRange>,
}

/// A node of a [`ShardSpec`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub endpoint: Endpoint,
    pub id: Arc<str>,
    pub announced: bool,
}

impl Member {
    /// A node whose id is its endpoint.
    pub fn at(endpoint: Endpoint) -> Self {
        Self {
            id: endpoint.to_string().into(),
            endpoint,
            announced: true,
        }
    }
}

/// Two shards claim this slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlap(pub Slot);

impl fmt::Display for Overlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slot {} belongs to two ranges", self.0)
    }
}

impl std::error::Error for Overlap {}

impl Topology {
    /// What is known before anything is: version 0, no nodes.
    pub fn empty() -> Self {
        let shard_of_slot = vec![NO_SHARD; SLOT_COUNT].into_boxed_slice();
        Self {
            version: 0,
            nodes: Vec::new(),
            shards: Vec::new(),
            shard_of_slot,
        }
    }

    /// A snapshot of these shards, version 0. Shards without a slot are left out.
    ///
    /// # Errors
    /// A slot that two ranges claim.
    pub fn new(mut specs: Vec<ShardSpec>) -> Result<Self, Overlap> {
        for spec in &mut specs {
            spec.ranges.sort_unstable();
            spec.replicas
                .sort_unstable_by(|a, b| (&a.endpoint, &a.id).cmp(&(&b.endpoint, &b.id)));
        }
        specs.retain(|spec| !spec.ranges.is_empty());
        specs.sort_by(|a, b| a.ranges.cmp(&b.ranges));
        let mut topology = Self::empty();
        for spec in specs {
            topology.add_shard(spec)?;
        }
        Ok(topology)
    }

    /// The same view under another version.
    pub fn with_version(mut self, version: u64) -> Self {
        self.version = version;
        self
    }

    /// Counts the changes that were published; 0 before the first.
    pub fn version(&self) -> u64 {
        self.version
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// The shard that holds `slot`.
    pub fn shard(&self, slot: Slot) -> Option<&Shard> {
        let index = self.shard_of_slot.get(slot.index())?;
        self.shards.get(usize::from(*index))
    }

    /// The primary that serves `slot`, as an index into [`Self::nodes`].
    pub fn owner(&self, slot: Slot) -> Option<usize> {
        self.shard(slot)?.primary
    }

    /// The primary that serves `slot`.
    pub fn owner_node(&self, slot: Slot) -> Option<&Node> {
        self.nodes.get(self.owner(slot)?)
    }

    /// Indices of all primaries that serve slots, ordered by their first slot.
    pub fn primaries(&self) -> impl Iterator<Item = usize> {
        self.shards.iter().filter_map(|shard| shard.primary)
    }

    /// All primaries that serve slots.
    pub fn primary_nodes(&self) -> impl Iterator<Item = &Node> {
        self.primaries().filter_map(|index| self.nodes.get(index))
    }

    /// Where a node is in [`Self::nodes`].
    pub fn index_of(&self, endpoint: &Endpoint) -> Option<usize> {
        self.nodes
            .iter()
            .position(|node| node.endpoint == *endpoint)
    }

    /// What a primary serves, for a log: `0-5460,6000`. Slots may be in a range each, so the first ranges only.
    pub fn slots_of(&self, primary: &Endpoint) -> String {
        let index = self.index_of(primary);
        let shards = self.shards.iter();
        let own = shards.filter(|shard| shard.primary.is_some() && shard.primary == index);
        let mut ranges = own.flat_map(|shard| &shard.ranges);
        let told = ranges.by_ref().take(RANGES_TOLD_MAX);
        let mut words: Vec<String> = told.map(ToString::to_string).collect();
        words.extend(ranges.next().map(|_| "…".to_owned()));
        words.join(",")
    }

    /// How many slots have no primary.
    pub fn uncovered(&self) -> usize {
        let with_primary = self.shards.iter().filter(|shard| shard.primary.is_some());
        let covered: usize = with_primary
            .flat_map(|shard| &shard.ranges)
            .map(|range| range.count())
            .sum();
        SLOT_COUNT - covered
    }

    /// Whether everything but the version is equal.
    pub fn same_view(&self, other: &Self) -> bool {
        let same_node = |(a, b): (&Node, &Node)| a.id == b.id && a.endpoint == b.endpoint;
        self.shards == other.shards
            && self.nodes.len() == other.nodes.len()
            && self.nodes.iter().zip(&other.nodes).all(same_node)
    }

    /// Whether two nodes said the same about slots and primaries, replicas left aside.
    ///
    /// A host that the cluster did not announce agrees with every host: each node means "where you found me".
    pub fn same_primaries(&self, other: &Self) -> bool {
        let same_node = |a: &Node, b: &Node| {
            let same_host = a.endpoint.host == b.endpoint.host || !a.announced || !b.announced;
            a.id == b.id && a.endpoint.port == b.endpoint.port && same_host
        };
        let same_shard = |(a, b): (&Shard, &Shard)| {
            let primaries = (self.primary_of(a), other.primary_of(b));
            a.ranges == b.ranges
                && match primaries {
                    (Some(a), Some(b)) => same_node(a, b),
                    (None, None) => true,
                    (Some(_), None) | (None, Some(_)) => false,
                }
        };
        self.shards.len() == other.shards.len()
            && self.shards.iter().zip(&other.shards).all(same_shard)
    }

    /// What `later` changed, for a log.
    pub fn difference<'a>(&'a self, later: &'a Self) -> Difference<'a> {
        Difference::between(self, later)
    }

    fn primary_of(&self, shard: &Shard) -> Option<&Node> {
        self.nodes.get(shard.primary?)
    }

    fn add_shard(&mut self, spec: ShardSpec) -> Result<(), Overlap> {
        let shard = self.shards.len();
        for slot in spec.ranges.iter().flat_map(|range| range.slots()) {
            match self.shard_of_slot.get_mut(slot.index()) {
                Some(row) if *row == NO_SHARD => *row = u16::try_from(shard).unwrap_or(NO_SHARD),
                Some(_) | None => return Err(Overlap(slot)),
            }
        }
        let primary = spec
            .primary
            .map(|member| self.add_node(member, Role::Primary, shard));
        let replicas = spec
            .replicas
            .into_iter()
            .map(|member| self.add_node(member, Role::Replica, shard))
            .collect();
        let ranges = joined(spec.ranges);
        self.shards.push(Shard {
            primary,
            replicas,
            ranges,
        });
        Ok(())
    }

    fn add_node(&mut self, member: Member, role: Role, shard: usize) -> usize {
        let Member {
            endpoint,
            id,
            announced,
        } = member;
        self.nodes.push(Node {
            endpoint,
            id,
            role,
            shard,
            announced,
        });
        self.nodes.len() - 1
    }
}

impl fmt::Debug for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shards = f.debug_map();
        for shard in &self.shards {
            let name = |index: &usize| self.nodes.get(*index).map(|node| node.endpoint.to_string());
            let ranges: Vec<String> = shard.ranges.iter().map(ToString::to_string).collect();
            let nodes: Vec<_> = shard
                .primary
                .iter()
                .chain(&shard.replicas)
                .map(name)
                .collect();
            shards.entry(&ranges, &nodes);
        }
        shards.entry(&"version", &self.version).finish()
    }
}

/// Ranges that are named in a line of a log.
const RANGES_TOLD_MAX: usize = 8;

/// Neighbours become one range: the same slots are then always the same ranges.
fn joined(ranges: Vec<SlotRange>) -> Vec<SlotRange> {
    let mut joined: Vec<SlotRange> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match joined.last_mut() {
            Some(before) if before.last().get() + 1 == range.first().get() => {
                *before = SlotRange::new(before.first(), range.last()).unwrap_or(range);
            }
            Some(_) | None => joined.push(range),
        }
    }
    joined
}

/// More than there can be shards: each has at least one of 16,384 slots.
const NO_SHARD: u16 = u16::MAX;

#[cfg(test)]
mod tests;
