//! One service at one moment: what its workers say of themselves put together, beside what its control thread has published.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::Watched;
use crate::clock::Now;
use crate::control::{Learning, NodeInfos};
use crate::topology::{Endpoint, Topology};
use crate::worker::hub::Count as _;
use crate::worker::hub::report::{Detail, NodeTimes, Report, Seen};

/// How long a worker may take to answer. Between two turns is a millisecond; longer only if it is stuck.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// One service.
pub(super) struct Snapshot {
    /// Of all workers that have answered.
    pub(super) workers: Report,
    /// Workers that have not.
    pub(super) missing: usize,
    pub(super) topology: Arc<Topology>,
    pub(super) suspects: Arc<BTreeSet<Endpoint>>,
    pub(super) infos: Arc<NodeInfos>,
    pub(super) learning: Learning,
    /// Why nodes could not be asked, if they could not.
    pub(super) failures: BTreeMap<Endpoint, String>,
    pub(super) clients_max: usize,
    pub(super) memory_max: usize,
    pub(super) doors: [(&'static str, u64); 4],
}

impl Snapshot {
    pub(super) async fn take(now: Now, service: &Watched, detail: Detail) -> Self {
        let mut workers = Report::default();
        let mut missing = 0;
        // One after another: each answers at once.
        for desk in &service.desks {
            match timeout(PATIENCE, desk.ask(detail)).await {
                Ok(Some(report)) => workers.add(*report),
                Ok(None) | Err(_) => missing += 1,
            }
        }
        let published = &service.published;
        let status = published.status.load();
        let failures = status.failures.iter();
        Self {
            workers,
            missing,
            topology: published.topology.load_full(),
            suspects: published.suspects.load_full(),
            infos: published.infos.load_full(),
            learning: published.learning(now),
            failures: failures
                .map(|(node, failed)| (node.clone(), failed.why.to_string()))
                .collect(),
            clients_max: service
                .clients_max
                .load(std::sync::atomic::Ordering::Relaxed),
            memory_max: service.live.borrow().memory_max,
            doors: service.doors.rows(),
        }
    }
}

impl Report {
    /// Puts in what another worker says.
    fn add(&mut self, other: Self) {
        self.counters.add(&other.counters);
        self.tally.add(&other.tally);
        self.stages.wait.add(&other.stages.wait);
        self.stages.node.add(&other.stages.node);
        self.stages.slotcar.add(&other.stages.slotcar);
        self.load.add(&other.load);
        self.blocked += other.blocked;
        self.links.add(&other.links);
        for (endpoint, NodeTimes { times, links }) in other.nodes {
            let node = self.nodes.entry(endpoint).or_default();
            node.times.add(&times);
            node.links += links;
        }
        for (command, times) in other.commands {
            self.commands.entry(command).or_default().add(&times);
        }
        if let Some((requests, findings)) = other.audited {
            let all = self.audited.get_or_insert_default();
            all.0 += requests;
            for (finding, count) in findings {
                *all.1.entry(finding).or_default() += count;
            }
        }
        match (&mut self.audit, other.audit) {
            (Some(audit), Some(other)) => audit.merge(&other),
            (None, other @ Some(_)) => self.audit = other,
            (Some(_) | None, None) => {}
        }
        match (&mut self.seen, other.seen) {
            (Some(seen), Some(other)) => seen.add(other),
            (None, other @ Some(_)) => self.seen = other,
            (Some(_) | None, None) => {}
        }
    }
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.keys.merge(&other.keys);
        self.largest.merge(&other.largest);
        self.slow.extend(other.slow);
        self.clients.extend(other.clients);
    }
}
