//! Who serves which slot, as one worker sees it: the published topology, patched by redirections at once.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use super::lease::Idle;
use crate::clock::Now;
use crate::route::part::{LinkId, NodeId, Profile, Target};
use crate::route::scan::{self, SlotSet};
use crate::topology::{Endpoint, SLOT_COUNT, Slot, Topology};
use crate::upstream::backoff::Backoff;
use crate::upstream::link::LinkDown;

/// How often the same is said of a node's answers.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

const NOBODY: NodeId = NodeId(u32::MAX);

/// Nodes by endpoint and slots by node.
#[derive(Debug)]
pub(crate) struct Owners {
    version: u64,
    slots: Box<[NodeId]>,
    /// As the newest topology has it.
    published: Box<[NodeId]>,
    nodes: Vec<Node>,
    by_endpoint: HashMap<Endpoint, NodeId>,
    /// One slot of each primary: how keyless requests find it, also after a failover.
    primaries: Vec<Slot>,
    replicas: Vec<NodeId>,
    /// As the newest topology has them.
    shards: Vec<Shard>,
    /// Nodes that have lost slots since somebody asked.
    losers: Vec<NodeId>,
    served: RefCell<HashMap<NodeId, SlotSet>>,
    /// How often slots have changed hands.
    moves: u64,
}

/// A primary and those who follow it.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) primary: NodeId,
    pub(crate) replicas: Vec<NodeId>,
}

/// A node as one worker knows it.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) endpoint: Endpoint,
    pub(crate) backoff: Backoff,
    /// Scripts that it was told, by name.
    pub(crate) scripts: HashSet<Box<[u8]>>,
    /// Those that all sessions share, at most one of each profile.
    links: Vec<(Profile, LinkId)>,
    /// Leased links that nobody uses at the moment, the last used one last.
    pub(crate) idle: Vec<Idle>,
    /// Part of the newest topology, or named by a redirection since.
    pub(crate) known: bool,
    /// Does not answer probes: nothing new is sent there.
    pub(crate) suspect: bool,
    /// Since when, until that has had its consequences.
    silent_since: Option<Now>,
    /// What was last said of its answers, and when.
    complaint: Option<(&'static str, Now)>,
}

impl Node {
    /// Tells of the end of a link. What is wrong is told when it begins, not for each link.
    pub(crate) fn tell_down(&mut self, now: Now, why: &LinkDown, worker: usize) {
        let node = &self.endpoint;
        match why {
            LinkDown::Retired => {}
            LinkDown::Local(error) if self.backoff.is_clear() => {
                tracing::warn!(%node, worker, error, "this machine cannot open a link");
            }
            LinkDown::Desync(error) if self.is_new_complaint(now, error) => {
                tracing::warn!(%node, worker, error, "link dropped, its answers make no sense");
                self.complaint = Some((error, now));
            }
            LinkDown::Local(error) | LinkDown::Dial(error) | LinkDown::Refused(error) => {
                tracing::debug!(%node, worker, error, "no link");
            }
            LinkDown::NotSetUp(error) => {
                tracing::debug!(%node, worker, error, "a link could not be set up");
            }
            LinkDown::Lost(error) => tracing::debug!(%node, worker, error, "link lost"),
            LinkDown::Desync(error) => tracing::debug!(%node, worker, error, "link dropped"),
        }
    }

    fn is_new_complaint(&self, now: Now, about: &str) -> bool {
        let is_other = |(before, at)| before != about || now.since(at) > COMPLAIN_EVERY;
        self.complaint.is_none_or(is_other)
    }

    /// The shared link of this profile.
    pub(crate) fn link(&self, profile: Profile) -> Option<LinkId> {
        let mut links = self.links.iter();
        links.find(|(of, _)| *of == profile).map(|(_, link)| *link)
    }

    pub(crate) fn set_link(&mut self, profile: Profile, link: Option<LinkId>) {
        self.links.retain(|(of, _)| *of != profile);
        self.links.extend(link.map(|link| (profile, link)));
    }

    /// The link of this profile that was leased last and is not used.
    pub(crate) fn take_idle(&mut self, profile: Profile) -> Option<LinkId> {
        let place = self.idle.iter().rposition(|idle| idle.profile == profile)?;
        Some(self.idle.remove(place).link)
    }
}

impl Owners {
    pub(crate) fn new() -> Self {
        Self {
            version: 0,
            slots: vec![NOBODY; SLOT_COUNT].into_boxed_slice(),
            published: vec![NOBODY; SLOT_COUNT].into_boxed_slice(),
            nodes: Vec::new(),
            by_endpoint: HashMap::new(),
            primaries: Vec::new(),
            replicas: Vec::new(),
            shards: Vec::new(),
            losers: Vec::new(),
            served: RefCell::default(),
            moves: 0,
        }
    }

    /// Takes a new topology whole. Returns the nodes that are not part of it any more.
    pub(crate) fn replace(&mut self, topology: &Topology) -> Vec<NodeId> {
        self.version = topology.version();
        let ids: Vec<NodeId> = topology
            .nodes()
            .iter()
            .map(|n| self.intern(&n.endpoint))
            .collect();
        for (index, owner) in self.slots.iter_mut().enumerate() {
            let slot = u16::try_from(index).ok().and_then(Slot::new);
            let node = slot.and_then(|s| topology.owner(s));
            let node = node.and_then(|n| ids.get(n).copied()).unwrap_or(NOBODY);
            if *owner != node && *owner != NOBODY && self.losers.last() != Some(owner) {
                self.losers.push(*owner);
            }
            *owner = node;
        }
        self.published.copy_from_slice(&self.slots);
        let id = |at: &usize| ids.get(*at).copied();
        let shards = topology.shards().iter().filter_map(|shard| {
            Some(Shard {
                primary: id(&shard.primary?)?,
                replicas: shard.replicas.iter().filter_map(id).collect(),
            })
        });
        self.shards = shards.collect();
        let primaries: HashSet<NodeId> = topology
            .primaries()
            .filter_map(|n| ids.get(n).copied())
            .collect();
        let others = ids.iter().filter(|id| !primaries.contains(id));
        self.replicas = others.copied().collect();
        self.note_changed();
        let ids: HashSet<NodeId> = ids.into_iter().collect();
        let mut gone = Vec::new();
        for (index, node) in self.nodes.iter_mut().enumerate() {
            let id = NodeId(u32::try_from(index).unwrap_or(u32::MAX));
            node.known = ids.contains(&id);
            if !node.known {
                gone.push(id);
            }
        }
        gone
    }

    /// Follows a redirection. Returns whether the slot has changed hands.
    pub(crate) fn patch(&mut self, slot: Slot, node: NodeId) -> bool {
        let Some(owner) = self.slots.get_mut(slot.index()) else {
            return false;
        };
        if *owner == node {
            return false;
        }
        self.losers.push(std::mem::replace(owner, node));
        self.note_changed();
        true
    }

    /// A node cannot be reached: what redirections say about it counts no more. Returns whether slots have changed hands.
    pub(crate) fn distrust(&mut self, node: NodeId) -> bool {
        let mut changed = false;
        for (owner, &published) in self.slots.iter_mut().zip(&self.published) {
            if *owner == node && published != node && published != NOBODY {
                *owner = published;
                changed = true;
            }
        }
        if changed {
            self.losers.push(node);
            self.note_changed();
        }
        changed
    }

    /// The nodes that have lost slots since the last call.
    pub(crate) fn take_losers(&mut self) -> Vec<NodeId> {
        std::mem::take(&mut self.losers)
    }

    /// As [`Owners::intern`] for a node that a redirection names; none if that would be one more than `nodes_max`.
    pub(crate) fn intern_named(&mut self, endpoint: &Endpoint, nodes_max: usize) -> Option<NodeId> {
        let has_room = self.nodes.len() < nodes_max || self.by_endpoint.contains_key(endpoint);
        has_room.then(|| self.intern(endpoint))
    }

    /// Whether a node of this endpoint is part of the newest topology, or was named since.
    pub(crate) fn is_known(&self, endpoint: &Endpoint) -> bool {
        let id = self.by_endpoint.get(endpoint);
        id.and_then(|id| self.node(*id))
            .is_some_and(|node| node.known)
    }

    /// The node of an endpoint, new if it was never heard of.
    pub(crate) fn intern(&mut self, endpoint: &Endpoint) -> NodeId {
        if let Some(&id) = self.by_endpoint.get(endpoint) {
            if let Some(node) = self.nodes.get_mut(id.0 as usize) {
                node.known = true;
            }
            return id;
        }
        let id = NodeId(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        self.by_endpoint.insert(endpoint.clone(), id);
        self.nodes.push(Node {
            endpoint: endpoint.clone(),
            backoff: Backoff::default(),
            scripts: HashSet::new(),
            links: Vec::new(),
            idle: Vec::new(),
            known: true,
            suspect: false,
            silent_since: None,
            complaint: None,
        });
        id
    }

    pub(crate) fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id.0 as usize)
    }

    pub(crate) fn node_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        self.nodes.get_mut(id.0 as usize)
    }

    pub(crate) fn of(&self, slot: Slot) -> Option<NodeId> {
        self.slots
            .get(slot.index())
            .copied()
            .filter(|&id| id != NOBODY)
    }

    /// The node that serves a target now.
    pub(crate) fn of_target(&self, target: Target) -> Option<NodeId> {
        match target {
            Target::Slot(slot) => self.of(slot),
            Target::Node(id) => self.node(id).filter(|n| n.known).map(|_| id),
        }
    }

    /// Of the newest topology; 0 before the first.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Whether a topology was ever published.
    pub(crate) fn is_empty(&self) -> bool {
        self.version == 0
    }

    /// How often slots have changed hands.
    pub(crate) fn moves(&self) -> u64 {
        self.moves
    }

    /// One slot of each primary.
    pub(crate) fn primaries(&self) -> &[Slot] {
        &self.primaries
    }

    pub(crate) fn shards(&self) -> &[Shard] {
        &self.shards
    }

    pub(crate) fn replicas(&self) -> &[NodeId] {
        &self.replicas
    }

    /// Nodes that do not answer and serve nothing (any more): what they were asked will not be answered.
    pub(crate) fn abandoned(&self) -> Vec<NodeId> {
        let ids = (0..).map(NodeId).zip(&self.nodes);
        let lost = ids.filter(|(id, node)| node.suspect && !self.slots.contains(id));
        lost.map(|(id, _)| id).collect()
    }

    /// Takes note of who does not answer. Returns whether somebody answers again.
    pub(crate) fn note_suspects(&mut self, now: Now, suspects: &BTreeSet<Endpoint>) -> bool {
        let mut recovered = false;
        for node in &mut self.nodes {
            let suspect = suspects.contains(&node.endpoint);
            recovered |= node.suspect && !suspect;
            if node.suspect != suspect {
                node.silent_since = suspect.then_some(now);
            }
            node.suspect = suspect;
        }
        recovered
    }

    /// Since when the node has been silent that has been for longest.
    pub(crate) fn silent_since(&self) -> Option<Now> {
        self.nodes.iter().filter_map(|node| node.silent_since).min()
    }

    /// Takes the nodes that have been silent for `silence_max` or longer, and since when; none twice.
    pub(crate) fn take_silent(&mut self, now: Now, silence_max: Duration) -> Vec<(NodeId, Now)> {
        let nodes = (0..).map(NodeId).zip(&mut self.nodes);
        let taken = nodes.filter_map(|(id, node)| {
            let is_due = |since: &mut Now| now.since(*since) >= silence_max;
            Some((id, node.silent_since.take_if(is_due)?))
        });
        taken.collect()
    }

    pub(crate) fn nodes_mut(&mut self) -> impl Iterator<Item = &mut Node> {
        self.nodes.iter_mut()
    }

    pub(crate) fn idle_pools(&mut self) -> impl Iterator<Item = &mut Vec<Idle>> {
        self.nodes.iter_mut().map(|node| &mut node.idle)
    }

    /// As [`Owners::nodes`], with their numbers.
    pub(crate) fn numbered_nodes(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        let nodes = (0..).map(NodeId).zip(&self.nodes);
        nodes.filter(|(_, node)| node.known)
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|n| n.known)
    }

    fn note_changed(&mut self) {
        self.moves += 1;
        self.served.get_mut().clear();
        let (mut seen, mut last) = (HashSet::new(), NOBODY);
        self.primaries.clear();
        for (index, &owner) in self.slots.iter().enumerate() {
            if owner == NOBODY || owner == last {
                continue;
            }
            last = owner;
            if seen.insert(owner) {
                let slot = u16::try_from(index).ok().and_then(Slot::new);
                self.primaries.extend(slot);
            }
        }
        self.replicas.retain(|id| !seen.contains(id));
    }
}

impl scan::Owners for Owners {
    fn owner(&self, slot: Slot) -> Option<Endpoint> {
        self.of(slot)
            .and_then(|id| self.node(id))
            .map(|n| n.endpoint.clone())
    }

    fn served_by(&self, node: &Endpoint) -> SlotSet {
        let Some(&id) = self.by_endpoint.get(node) else {
            return SlotSet::EMPTY;
        };
        self.served_by_id(id)
    }

    fn covered(&self) -> SlotSet {
        let mut all = SlotSet::EMPTY;
        for &slot in &self.primaries {
            if let Some(id) = self.of(slot) {
                all.unite(&self.served_by_id(id));
            }
        }
        all
    }
}

impl Owners {
    fn served_by_id(&self, id: NodeId) -> SlotSet {
        let of_node = || {
            let mut set = SlotSet::EMPTY;
            let slots = (0..).map_while(Slot::new).zip(self.slots.iter());
            slots
                .filter(|(_, owner)| **owner == id)
                .for_each(|(slot, _)| set.insert(slot));
            set
        };
        self.served
            .borrow_mut()
            .entry(id)
            .or_insert_with(of_node)
            .clone()
    }
}
