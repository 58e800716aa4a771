//! One service at one moment: what its workers say of themselves put together, beside what its control thread has published.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::Watched;
use crate::clock::Now;
use crate::control::{Learning, NodeInfos};
use crate::measure::Count as _;
use crate::topology::{Endpoint, Topology};
use crate::worker::hub::report::{Detail, Report};

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
