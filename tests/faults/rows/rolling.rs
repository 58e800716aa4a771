//! All six nodes are restarted, one after the other, as an upgrade does it: replicas first, nobody hands over by hand.

use std::time::Duration;

use super::{KILLED, wait_promoted};
use crate::bench::{Bench, Found, Stage};
use crate::judge::{self, Cost, Fault};

pub fn restart(bench: &mut Bench) -> Found {
    let (faults, seen) = bench.stage().play("rolling", |stage, _| {
        let primaries = stage.cluster.primaries();
        let shards = primaries.iter().copied().enumerate();
        let replicas = shards
            .clone()
            .map(|(shard, primary)| (shard, stage.cluster.replica_of(primary)));
        let replicas: Vec<(usize, usize)> = replicas.collect();
        let mut faults = Vec::new();
        for (shard, node) in replicas {
            faults.push(restart_one(stage, shard, node, "replica"));
        }
        for (shard, node) in shards {
            faults.push(restart_one(stage, shard, node, "primary"));
        }
        faults
    });
    Ok(judge::faults(&seen, &faults))
}

fn restart_one(stage: &mut Stage, shard: usize, node: usize, role: &str) -> Fault {
    // A node that is told to leave waits for its replicas: nothing that it has acknowledged is lost.
    let was_primary = role == "primary";
    let cost = if was_primary {
        Cost::InFlight
    } else {
        Cost::Nothing
    };
    let name = format!("{role} {shard}");
    let fault = Fault::now(name, shard, Duration::from_millis(300)).costing(cost);
    stage.cluster.terminate(node);
    let fault = fault.over_after(KILLED);
    if was_primary {
        wait_promoted(&stage.cluster, node);
    }
    stage.cluster.restart(node);
    stage.cluster.wait_ok();
    fault
}
