//! The rows of the table, one fault each.

mod cut;
mod leaving;
mod one_node;
mod outage;
mod replaced;
mod reshard;
mod rolling;
mod sentinels;

use std::time::Duration;

use crate::bench::{Bench, Found};
use crate::support::{Cluster, wait_until};

pub struct Row {
    pub number: u32,
    pub name: &'static str,
    pub run: fn(&mut Bench) -> Found,
}

/// Rows that need a slotcar or a cluster of their own come last.
pub const ALL: &[Row] = &[
    Row {
        number: 1,
        name: "primary killed",
        run: one_node::killed,
    },
    Row {
        number: 2,
        name: "primary stopped, later continued",
        run: one_node::stopped,
    },
    Row {
        number: 3,
        name: "CLUSTER FAILOVER by hand",
        run: one_node::failed_over,
    },
    Row {
        number: 4,
        name: "rolling restart of all six nodes",
        run: rolling::restart,
    },
    Row {
        number: 7,
        name: "primary killed while slots move",
        run: reshard::killed,
    },
    Row {
        number: 6,
        name: "all nodes replaced by new ones",
        run: replaced::all,
    },
    Row {
        number: 8,
        name: "whole cluster down 10 s",
        run: outage::everything,
    },
    Row {
        number: 9,
        name: "slotcar leaves under load",
        run: leaving::on_sigterm,
    },
    Row {
        number: 5,
        name: "link cut to one node, 5 s",
        run: cut::one_link,
    },
    Row {
        number: 10,
        name: "primary killed that Sentinels watch",
        run: sentinels::killed,
    },
    Row {
        number: 11,
        name: "the same stopped, later continued",
        run: sentinels::stopped,
    },
    Row {
        number: 12,
        name: "SENTINEL FAILOVER by hand",
        run: sentinels::failed_over,
    },
];

/// Waits until another node serves the slots of `node`, which is dead or silent, and until every client has had time
/// to find it.
fn wait_promoted(cluster: &Cluster, node: usize) {
    let id = cluster.id(node).to_owned();
    wait_until("another node takes over", PROMOTION_LIMIT, || {
        let mut others = cluster.running().filter(|other| *other != node);
        others.any(|other| {
            let nodes = cluster.conn(other).ok(&["CLUSTER", "NODES"]).text();
            let mut lines = nodes.lines();
            lines.any(|line| line.starts_with(&id) && line.split(' ').count() == WITHOUT_SLOTS)
        })
    });
    std::thread::sleep(SETTLE);
}

/// Words in the line of a node that serves no slots.
const WITHOUT_SLOTS: usize = 8;
/// Nothing of a killed node is heard any more after this time.
const KILLED: Duration = Duration::from_millis(20);
const SETTLE: Duration = Duration::from_millis(1000);
const PROMOTION_LIMIT: Duration = Duration::from_secs(20);
