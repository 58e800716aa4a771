//! Slots move between two shards, with the clients' keys and others in them, while the primary of the third is killed.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::{KILLED, wait_promoted};
use crate::bench::{Bench, Found};
use crate::judge::{self, Fault};
use crate::load::Load;
use crate::support::{Cluster, SetOnDrop, slot_of};
use crate::table::Check;

pub fn killed(bench: &mut Bench) -> Found {
    let moved = AtomicUsize::new(0);
    let (fault, seen) = bench.stage().play("reshard", |stage, load| {
        let slots = fill(&stage.cluster, load);
        let primaries = stage.cluster.primaries();
        let over = AtomicBool::new(false);
        let mut mover = stage.cluster.mover(primaries[0], primaries[1]);
        std::thread::scope(|scope| {
            let (over, moved) = (&over, &moved);
            scope.spawn(move || {
                while !over.load(Ordering::Acquire) {
                    for _ in ["forth", "back"] {
                        mover.move_slots(&slots, &mut []);
                        moved.fetch_add(slots.len(), Ordering::Relaxed);
                        mover = mover.back();
                    }
                }
            });
            let end = SetOnDrop(over);
            std::thread::sleep(BEFORE);
            let fault = Fault::now("kill", 2, Duration::from_millis(500));
            stage.cluster.kill(primaries[2]);
            let fault = fault.over_after(KILLED);
            wait_promoted(&stage.cluster, primaries[2]);
            drop(end);
            stage.cluster.restart(primaries[2]);
            fault
        })
    });
    let mut checks = judge::faults(&seen, &[fault]);
    let moved = moved.load(Ordering::Relaxed);
    checks.push(Check::holds(
        "slots moved meanwhile",
        moved.to_string(),
        moved > 0,
    ));
    Ok(checks)
}

/// The slots of the first shard that are to move: those of the clients' keys, with many others in them.
fn fill(cluster: &Cluster, load: &Load) -> Vec<u16> {
    let keys = load.keys_of(0);
    let fillers = keys.iter().flat_map(|key| {
        (0..FILLERS).map(move |n| vec!["SET".into(), format!("{{{key}}}{n}"), "x".repeat(100)])
    });
    let fillers: Vec<Vec<String>> = fillers.collect();
    let mut conn = cluster.conn(cluster.primaries()[0]);
    for reply in conn.pipeline(&fillers) {
        assert!(reply.is_ok(), "SET: {reply:?}");
    }
    let slots: BTreeSet<u16> = keys.iter().map(slot_of).collect();
    slots.into_iter().collect()
}

/// Slots are on the move already when the node dies.
const BEFORE: Duration = Duration::from_millis(500);
/// In each slot, so that there is something to move.
const FILLERS: usize = 50;
