//! The same to a primary with two replicas that three Sentinels watch.

use std::time::{Duration, Instant};

use super::{KILLED, SETTLE};
use crate::bench::{Bench, Found, WARM, expect_warnings};
use crate::client::{Kind, Op};
use crate::judge::{self, Cost, Fault};
use crate::load::{Load, Seen};
use crate::support::{Slotcar, Watched, wait_until};
use crate::table::{Check, seconds};

pub fn killed(bench: &mut Bench) -> Found {
    let (fault, seen) = play(bench, "watched-killed", |watched, old| {
        let fault = Fault::now("kill", 0, Duration::from_millis(300));
        watched.server_mut(old).kill();
        let fault = fault.over_after(KILLED);
        wait_named(watched, old);
        watched.server_mut(old).launch();
        watched.server_mut(old).wait_answering();
        fault
    });
    Ok(judge::faults(&seen, &[fault]))
}

pub fn stopped(bench: &mut Bench) -> Found {
    let (fault, seen) = play(bench, "watched-stopped", |watched, old| {
        let fault = Fault::now("stop", 0, Duration::from_millis(500));
        watched.server(old).stop();
        // It takes what is sent to it until somebody notices that it says nothing.
        let fault = fault.over_after(Duration::from_millis(1500));
        wait_named(watched, old);
        watched.server(old).cont();
        fault
    });
    Ok(judge::faults(&seen, &[fault]))
}

pub fn failed_over(bench: &mut Bench) -> Found {
    let ((fault, between), seen) = play(bench, "watched-by-hand", |watched, old| {
        let fault = Fault::now("failover", 0, Duration::from_millis(500)).costing(Cost::Nothing);
        let mut sentinel = watched.sentinel_conn(0);
        wait_until("the Sentinels are ready for a failover", LIMIT, || {
            sentinel.cmd(&["SENTINEL", "FAILOVER", "mymaster"]).is_ok()
        });
        let between = watch_change(watched, old);
        wait_named(watched, old);
        (fault, between)
    });
    let mut checks = judge::faults(&seen, &[fault]);
    checks.retain(|check| check.what != judge::LOST);
    checks.push(lost_between(&seen, between));
    Ok(checks)
}

/// When a replica was a primary, and when the first Sentinel has said so. In between the old primary goes on, and what it acknowledges is lost, whoever asks
/// it: so do Sentinels fail over.
fn watch_change(watched: &Watched, old: usize) -> (Instant, Instant) {
    // Who is promoted closes what connections it has.
    wait_until("a replica is promoted", LIMIT, || {
        let mut others = (0..3).filter(|server| *server != old);
        others.any(|server| watched.info(server, "role") == "master")
    });
    let promoted = Instant::now();
    wait_until("a Sentinel says so", LIMIT, || {
        (0..3).any(|sentinel| watched.primary_at(sentinel) != Some(old))
    });
    (promoted, Instant::now())
}

/// No more is lost than was acknowledged between the two, and a moment longer.
fn lost_between(seen: &Seen, (promoted, named): (Instant, Instant)) -> Check {
    let between = promoted - SEEN_LATE..named + HEARD_LATE;
    let acknowledged =
        |op: &&Op| op.kind == Kind::Write && op.is_good() && between.contains(&op.done);
    let allowed = seen.ops().filter(acknowledged).count();
    let check = Check::at_most(judge::LOST, seen.lost(), allowed);
    let took = seconds(named - promoted);
    Check {
        allowed: format!(
            "{} (acked in the {took} until a Sentinel said so)",
            check.allowed
        ),
        ..check
    }
}

/// Runs the load while `trouble` happens to the primary, until all is well again.
fn play<T>(bench: &Bench, name: &str, trouble: impl FnOnce(&mut Watched, usize) -> T) -> (T, Seen) {
    let mut watched = Watched::start(bench.kind, 2);
    // Sentinels that have voted for each other try again after 10 s.
    let mut slotcar = Slotcar::start(&["--sentinel", &watched.addrs(), "--failover-hold", "60s"]);
    expect_warnings(&mut slotcar);
    let load = Load::start(name, slotcar.addr(), &watched, true);
    std::thread::sleep(WARM);
    let result = trouble(&mut watched, 0);
    let new = (0..3).find_map(|sentinel| watched.primary_at(sentinel));
    wait_until("the others follow the new primary", LIMIT, || {
        let mut others = (0..3).filter(|&server| Some(server) != new);
        others.all(|server| watched.info(server, "master_link_status") == "up")
    });
    let mut seen = load.stop();
    let wrong = seen.settle(&watched);
    assert!(wrong.is_empty(), "in the end: {wrong:#?}");
    (result, seen)
}

/// Waits until all Sentinels name another primary, and until every client has had time to find it.
fn wait_named(watched: &Watched, old: usize) {
    for sentinel in 0..3 {
        watched.wait_failover(sentinel, old);
    }
    std::thread::sleep(SETTLE);
}

/// By whoever asks again and again.
const SEEN_LATE: Duration = Duration::from_millis(50);
/// By slotcar: rounds of questions are 0.1 s apart, and it may have to ask twice.
const HEARD_LATE: Duration = Duration::from_millis(250);
const LIMIT: Duration = Duration::from_secs(30);
