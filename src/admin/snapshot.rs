//! One service at one moment: what its workers say of themselves put together, beside what its control thread has published.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::Watched;
use crate::clock::Now;
use crate::control::{Failed, Learning, NodeInfo, NodeInfos, Status};
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
    /// Of nodes that have answered.
    pub(super) infos: BTreeMap<Endpoint, NodeInfo>,
    pub(super) learning: Learning,
    /// Nodes that said nothing when they were asked last, and why.
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
        let infos = published.infos.load();
        let said = |(node, said): (&Endpoint, &Result<NodeInfo, Failed>)| {
            Some((node.clone(), said.as_ref().ok()?.clone()))
        };
        Self {
            workers,
            missing,
            topology: published.topology.load_full(),
            suspects: published.suspects.load_full(),
            failures: failures(now, &published.status.load(), &infos),
            infos: infos.iter().filter_map(said).collect(),
            learning: published.learning(now),
            clients_max: service
                .clients_max
                .load(std::sync::atomic::Ordering::Relaxed),
            memory_max: service.live.borrow().memory_max,
            doors: service.doors.rows(),
        }
    }
}

/// Nodes that said nothing when they were asked last. Where enough others help, nobody asks again for the topology who has once
/// been silent: that counts until the node has said how it is, or for a while.
fn failures(now: Now, status: &Status, infos: &NodeInfos) -> BTreeMap<Endpoint, String> {
    let is_newest = |(node, failed): &(&Endpoint, &Failed)| match infos.get(*node) {
        Some(Ok(info)) => info.at < failed.at,
        Some(Err(_)) => false,
        None => now.since(failed.at) < FAILURE_COUNTS,
    };
    let silent = infos
        .iter()
        .filter_map(|(node, said)| Some((node, said.as_ref().err()?)));
    let failed = status.failures.iter().filter(is_newest).chain(silent);
    failed
        .map(|(node, failed)| (node.clone(), failed.why.to_string()))
        .collect()
}

/// In two rounds of questions everybody who is worth it has been asked again.
const FAILURE_COUNTS: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::AskFailure;

    #[test]
    fn what_a_node_said_last_counts() {
        let at = |seconds| Now::ZERO + Duration::from_secs(seconds);
        let node = Endpoint::new("a", 1);
        let failed = |seconds| Failed {
            why: AskFailure::Timeout,
            at: at(seconds),
        };
        let info = |seconds| NodeInfo {
            at: at(seconds),
            ..NodeInfo::default()
        };
        for (topology, said, now, is_silent) in [
            (Some(100), None, 101, true),
            (Some(100), None, 200, false),
            (Some(100), Some(Ok(info(90))), 101, true),
            (Some(100), Some(Ok(info(110))), 111, false),
            (Some(100), Some(Err(failed(110))), 200, true),
            (None, Some(Err(failed(110))), 111, true),
            (None, Some(Ok(info(110))), 111, false),
            (None, None, 111, false),
        ] {
            let mut status = Status::default();
            let topology = topology.map(|seconds| (node.clone(), failed(seconds)));
            status.failures.extend(topology);
            let infos = said.clone().map(|said| (node.clone(), said));
            let infos: NodeInfos = infos.into_iter().collect();
            let silent = failures(at(now), &status, &infos);
            let case = format!("{:?} {said:?} {now}", status.failures);
            assert_eq!(silent.contains_key(&node), is_silent, "{case}");
        }
    }
}
