//! What one worker says of itself when it is asked: a copy of all that it counts and keeps in view.
//!
//! Asked for between two turns, so it costs nothing while nobody asks.

use std::collections::BTreeMap;

use super::facts::{Counters, Load};
use super::measures::Stages;
use super::slow::Slow;
use super::{Hub, LinkPlace};
use crate::audit::{Audit, Finding};
use crate::clock::Now;
use crate::measure::{Count, Frequent, Histogram, Largest, Tally, counts};
use crate::topology::Endpoint;
use crate::upstream::link::{Link, Role, Use};

/// How much is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// What metrics are made of.
    Counts,
    /// Also single clients, keys and requests.
    Everything,
    /// What the audit has found, and no more.
    Audit,
}

counts! {
    /// One worker at one moment.
    #[derive(Debug, Default)]
    pub struct Report {
        counters: Counters,
        tally: Tally,
        stages: Stages,
        load: Load,
        /// Sessions that wait for one request's answer.
        blocked: u64,
        links: LinkCounts,
        /// Those of the newest topology.
        nodes: BTreeMap<Endpoint, NodeTimes>,
        /// Of the sampled requests.
        commands: BTreeMap<&'static str, Histogram>,
        /// With [`Detail::Everything`] only.
        seen: Option<Seen>,
        /// Requests that have been audited, and findings; none: there is no audit.
        audited: Option<(u64, BTreeMap<Finding, u64>)>,
        /// With [`Detail::Audit`] only.
        audit: Option<Box<Audit>>,
    }
}

counts! {
    /// Single things that people look at.
    #[derive(Clone, Debug)]
    pub struct Seen {
        keys: Frequent,
        largest: Largest,
        /// With its number, oldest first.
        slow: Vec<(u64, Slow)>,
        clients: Vec<ClientLine>,
    }
}

counts! {
    /// What a node has had to do for us.
    #[derive(Clone, Debug, Default)]
    pub struct NodeTimes {
        times: Histogram,
        links: usize,
    }
}

counts! {
    /// Links by what they are for, open ones and those that are not yet: `[open, connecting]`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct LinkCounts {
        shared: [usize; 2],
        leased: [usize; 2],
        /// What listens, watches, or tells one session something.
        other: [usize; 2],
    }
}

/// A client, as `CLIENT LIST` knows it.
#[derive(Clone, Debug)]
pub struct ClientLine {
    pub id: u64,
    pub address: String,
    pub name: Box<[u8]>,
    pub created: Now,
    pub last_active: Now,
    pub database: u32,
    pub protocol: u8,
    pub command: Option<&'static str>,
}

/// Clients that are listed.
const CLIENTS_MAX: usize = 100;

impl Count for Audit {
    fn add(&mut self, more: Self) {
        self.merge(&more);
    }
}

impl LinkCounts {
    fn note(&mut self, link: &Link) {
        let counts = match (link.used, link.role) {
            (Use::Shared, _) => &mut self.shared,
            (Use::Leased(_), Role::Requests | Role::Tracks) => &mut self.leased,
            (Use::Leased(_), Role::Invalidations | Role::Monitors) | (Use::Watch | Use::Ear, _) => {
                &mut self.other
            }
        };
        let [open, connecting] = counts;
        *(if link.is_open() { open } else { connecting }) += 1;
    }
}

impl Hub {
    pub fn report(&self, detail: Detail) -> Report {
        let mut links = LinkCounts::default();
        let mut nodes: BTreeMap<Endpoint, NodeTimes> = BTreeMap::new();
        for (id, node) in self.owners.numbered_nodes() {
            let times = self.measures.of_node(id).cloned().unwrap_or_default();
            nodes.insert(node.endpoint.clone(), NodeTimes { times, links: 0 });
        }
        for (_, LinkPlace { link, .. }) in &self.links {
            links.note(link);
            let node = self.owners.node(link.node);
            if let Some(node) = node.and_then(|node| nodes.get_mut(&node.endpoint)) {
                node.links += 1;
            }
        }
        Report {
            counters: self.counters,
            tally: self.tally,
            stages: self.measures.stages.clone(),
            load: self.load(),
            blocked: self.blocked(),
            links,
            nodes,
            commands: self.measures.commands.clone(),
            seen: (detail == Detail::Everything).then(|| self.seen()),
            audited: self
                .audit()
                .map(|audit| (audit.requests(), audit.counts().collect())),
            audit: (self.audit())
                .filter(|_| detail == Detail::Audit)
                .map(|audit| Box::new(audit.snapshot())),
        }
    }

    fn seen(&self) -> Seen {
        let naming = self.settings.naming.as_deref();
        let app_name = |stored: &[u8]| {
            let shown = naming.map(|naming| naming.shown(stored));
            shown.map_or_else(|| stored.into(), Vec::into_boxed_slice)
        };
        let slow = self.measures.slow.iter();
        let clients = self.sessions.iter().take(CLIENTS_MAX);
        Seen {
            keys: self.measures.keys.named(app_name),
            largest: self.measures.largest.named(app_name),
            slow: slow
                .map(|(number, slow)| (number, slow.named(naming)))
                .collect(),
            clients: clients
                .map(|(_, session)| {
                    let identity = &session.identity;
                    ClientLine {
                        id: identity.id,
                        address: identity.peer.to_string(),
                        name: identity.name().into(),
                        created: identity.created,
                        last_active: identity.last_active,
                        database: identity.db.max(identity.db_of_names),
                        protocol: identity.proto.number(),
                        command: identity.last_command,
                    }
                })
                .collect(),
        }
    }
}
