//! All six nodes are replaced, one after the other, by new ones at new addresses, as when machines are exchanged.

use std::time::Duration;

use crate::bench::{Bench, Found, Stage};
use crate::judge::{self, Cost, Fault};
use crate::load::Load;

pub fn all(bench: &mut Bench) -> Found {
    let (faults, seen) = bench.stage().play("replaced", |stage, load| {
        let primaries = stage.cluster.primaries();
        let old: Vec<(usize, usize, usize)> = primaries
            .into_iter()
            .enumerate()
            .map(|(shard, primary)| (shard, primary, stage.cluster.replica_of(primary)))
            .collect();
        let mut new = stage.cluster.add_nodes(2 * old.len()).into_iter();
        load.look_at(&stage.cluster);
        let mut faults = Vec::new();
        for (shard, primary, replica) in old {
            let [first, second] = [new.next(), new.next()].map(|node| node.expect("two for each"));
            faults.push(replace_replica(
                stage,
                load,
                shard,
                (primary, replica, first),
            ));
            faults.push(replace_primary(stage, load, shard, (primary, second)));
        }
        faults
    });
    Ok(judge::faults_within(&seen, &faults, Duration::from_secs(1)))
}

fn replace_replica(
    stage: &mut Stage,
    load: &Load,
    shard: usize,
    (primary, old, new): (usize, usize, usize),
) -> Fault {
    let name = format!("replica {shard}");
    let fault = Fault::now(name, shard, Duration::ZERO).costing(Cost::Nothing);
    stage.cluster.replicate(new, primary);
    stage.cluster.remove_replica(old);
    load.look_at(&stage.cluster);
    fault
}

fn replace_primary(
    stage: &mut Stage,
    load: &Load,
    shard: usize,
    (old, new): (usize, usize),
) -> Fault {
    let name = format!("primary {shard}");
    let fault = Fault::now(name, shard, Duration::ZERO).costing(Cost::Nothing);
    stage.cluster.replicate(new, old);
    stage.cluster.failover_to(new);
    stage.cluster.wait_ok();
    stage.cluster.remove_replica(old);
    load.look_at(&stage.cluster);
    fault
}
