//! One primary is killed, falls silent, or hands over.

use std::time::Duration;

use super::{KILLED, wait_promoted};
use crate::bench::{Bench, Found};
use crate::judge::{self, Cost, Fault};

pub fn killed(bench: &mut Bench) -> Found {
    let (fault, seen) = bench.stage().play("killed", |stage, _| {
        let primary = stage.cluster.primaries()[0];
        let fault = Fault::now("kill", 0, Duration::from_millis(300));
        stage.cluster.kill(primary);
        let fault = fault.over_after(KILLED);
        wait_promoted(&stage.cluster, primary);
        stage.cluster.restart(primary);
        fault
    });
    Ok(judge::faults(&seen, &[fault]))
}

pub fn stopped(bench: &mut Bench) -> Found {
    let (fault, seen) = bench.stage().play("stopped", |stage, _| {
        let primary = stage.cluster.primaries()[1];
        let fault = Fault::now("stop", 1, Duration::from_millis(500));
        stage.cluster.stop(primary);
        // It takes what is sent to it until somebody notices that it says nothing.
        let fault = fault.over_after(NOTICED);
        wait_promoted(&stage.cluster, primary);
        stage.cluster.cont(primary);
        fault
    });
    Ok(judge::faults(&seen, &[fault]))
}

pub fn failed_over(bench: &mut Bench) -> Found {
    let (from, seen) = bench.stage().play("by-hand", |stage, _| {
        let primary = stage.cluster.primaries()[2];
        let fault = Fault::now("failover", 2, Duration::ZERO).costing(Cost::Nothing);
        stage.cluster.failover(primary);
        std::thread::sleep(Duration::from_millis(500));
        fault
    });
    Ok(judge::faults_within(
        &seen,
        &[from],
        Duration::from_millis(500),
    ))
}

/// A silent node is noticed within about a second.
const NOTICED: Duration = Duration::from_millis(1500);
