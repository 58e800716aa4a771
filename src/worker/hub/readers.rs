//! Reads from replicas: which node a request goes to that only reads, and the memory of what a session has written.

use std::collections::HashMap;
use std::sync::Arc;

use super::Hub;
use crate::clock::Now;
use crate::command::Row;
use crate::config::ReadFrom;
use crate::route::part::{NodeId, Part, Purpose, SessionId, Target, Way};
use crate::route::readers::{Readers, choose};
use crate::topology::Slot;

/// Whom reads are sent to instead of a primary.
#[derive(Debug, Default)]
pub(super) struct ReadNodes {
    known: Arc<Readers>,
    /// By primary; never empty, and never only the primary.
    of: HashMap<NodeId, Box<[NodeId]>>,
}

impl Hub {
    /// Nodes that may be read from have said how they are.
    pub fn on_readers(&mut self, now: Now, readers: &Arc<Readers>) {
        if self.settings.read_from == ReadFrom::Primary
            || Arc::ptr_eq(readers, &self.read_nodes.known)
        {
            return;
        }
        let before = std::mem::replace(&mut self.read_nodes.known, Arc::clone(readers));
        self.choose_readers();
        // A replica that says nothing any more: what it was asked is asked elsewhere.
        let is_lost = |id: &&NodeId| {
            let at = self.owners.node(**id).map(|node| &node.endpoint);
            at.is_some_and(|at| before.contains_key(at) && !readers.contains_key(at))
        };
        let lost: Vec<NodeId> = self
            .owners
            .replicas()
            .iter()
            .filter(is_lost)
            .copied()
            .collect();
        self.drop_links(now, &lost);
    }

    /// The shards or their readers have changed.
    pub(super) fn choose_readers(&mut self) {
        let (policy, zone) = (self.settings.read_from, self.settings.zone.as_deref());
        if policy == ReadFrom::Primary {
            return;
        }
        self.read_nodes.of.clear();
        for shard in self.owners.shards() {
            let members: Vec<NodeId> = std::iter::once(shard.primary)
                .chain(shard.replicas.iter().copied())
                .collect();
            let endpoint = |id: &NodeId| self.owners.node(*id).map(|node| &node.endpoint);
            let known: Vec<_> = members
                .iter()
                .map(|id| endpoint(id).and_then(|at| self.read_nodes.known.get(at)))
                .collect();
            let chosen: Box<[NodeId]> = choose(policy, zone, &known)
                .into_iter()
                .filter_map(|at| members.get(at).copied())
                .collect();
            if !(chosen.is_empty() || *chosen == [shard.primary]) {
                self.read_nodes.of.insert(shard.primary, chosen);
            }
        }
    }

    /// The node that a part goes to first if it only reads and may be read elsewhere than at its slot's owner. Notes what is
    /// written.
    pub(super) fn reader_for(&mut self, now: Now, part: &Part) -> Option<NodeId> {
        let (Purpose::Answer(ticket), Target::Slot(slot)) = (part.purpose, part.target) else {
            return None;
        };
        let owner = self.owners.of(slot)?;
        let is_first = part.troubled_since.is_none() && part.way == Way::Shared;
        self.reader_of(now, ticket.session, part.row, slot, owner)
            .filter(|_| is_first && part.replies == 1)
    }

    /// The same for a request that is to become a part.
    pub(super) fn reader_of(
        &mut self,
        now: Now,
        id: SessionId,
        row: &Row,
        slot: Slot,
        owner: NodeId,
    ) -> Option<NodeId> {
        let remembers = self.settings.read_own_writes;
        let session = self.sessions.get_mut(id.index as usize);
        let session = session.filter(|s| s.generation == id.generation)?;
        if !row.reads_only() || row.counts.is_some() {
            if !remembers.is_zero() {
                let slot = (!row.keys.is_empty()).then_some(slot);
                let written = session.written.get_or_insert_default();
                written.note(slot, now + remembers, now);
            }
            return None;
        }
        // Which replica a session is given, and whether, changes from request to request.
        if row.walks() {
            return None;
        }
        let written = session.written.as_ref();
        if written.is_some_and(|written| written.has(slot, now)) || session.standing.is_some() {
            return None;
        }
        let readers = self.read_nodes.of.get(&owner)?;
        // A session keeps to one: what it reads does not go back in time.
        let turn = id.generation as usize % readers.len().max(1);
        let node = readers.get(turn).copied()?;
        (node != owner).then_some(node)
    }
}
