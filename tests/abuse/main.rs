//! What others notice of clients that are too many, too fast, too slow or too large: one slotcar with a small
//! budget of memory before a real cluster. `tests/abuse/run.sh` runs it; `--short` takes half a minute instead of four.
//!
//! While each kind of abuse goes on, eight well-behaved clients are timed and slotcar's memory is watched.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm,
    clippy::print_stdout,
    reason = "a test says what is wrong by panicking"
)]
#![allow(
    unreachable_pub,
    reason = "what a module shows to the others of this program"
)]

mod kinds;
mod others;
#[path = "../support/mod.rs"]
#[allow(unused_imports, reason = "made for end-to-end tests, which need more")]
mod support;
#[path = "../faults/table.rs"]
#[allow(dead_code, reason = "made for another table, which needs more")]
mod table;
mod watch;

use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use kinds::{KINDS, Kind};
use support::{Cluster, ServerKind, SetOnDrop, Slotcar};
use table::{Check, Outcome, Table};
use watch::Watch;

/// What slotcar is given, and what its resident memory must not exceed.
const MEMORY_MIB: u64 = 256;

/// Shorter times than this are the machine's, not slotcar's: two cores, with the nodes and the abuser on them.
const FLOOR: Duration = Duration::from_millis(5);

fn main() -> ExitCode {
    let is_short = std::env::args().any(|word| word == "--short");
    let length = Duration::from_secs(if is_short { 3 } else { 20 });
    let cluster = Cluster::start(ServerKind::Redis7, 3, 0);
    let memory = format!("{MEMORY_MIB}mb");
    let mut slotcar = Slotcar::start(&[
        "--cluster",
        &cluster.seeds(),
        "--max-memory",
        &memory,
        "--max-clients",
        "15000",
    ]);
    // Whoever holds too much is told to go, and the log says so.
    slotcar.expect_log("cut: ");
    slotcar.conn().ok(&["SET", "large", &"x".repeat(16 * 1024)]);
    let mut table = Table::new();
    for kind in KINDS {
        let length = length * if is_short { 1 } else { kind.long };
        table.show(&run(kind, &slotcar, length));
    }
    table.sum_up()
}

fn run(kind: &Kind, slotcar: &Slotcar, length: Duration) -> Outcome {
    let started = Instant::now();
    let descriptors = slotcar.descriptors();
    let before = others::time(slotcar.addr(), length.min(Duration::from_secs(5)));
    let ends = AtomicBool::new(false);
    let (during, peak, done) = thread::scope(|scope| {
        let abuse = scope.spawn(|| (kind.abuse)(slotcar.addr(), length, &ends));
        let watch = Watch::start(scope, slotcar.pid(), &ends);
        let over = SetOnDrop(&ends);
        thread::sleep(Duration::from_millis(200));
        let during = others::time(slotcar.addr(), length);
        drop(over);
        (during, watch.peak_kib(), abuse.join().unwrap())
    });
    let left = settles(slotcar, descriptors);
    let allowed = (before.p99 * 2).max(FLOOR);
    let mut checks = vec![
        Check::note("it", done.clone().unwrap_or_else(|wrong| wrong)),
        Check::at_most(
            "MiB resident at most",
            usize::try_from(peak / 1024).unwrap(),
            usize::try_from(MEMORY_MIB).unwrap(),
        ),
        Check::time(
            "p99 of others",
            during.p99,
            allowed,
            &format!("(2 x {:.1?} before, or {FLOOR:?})", before.p99),
        ),
        Check::note("their longest", format!("{:.1?}", during.longest)),
        Check::none("errors of others", during.errors),
        Check::at_most("descriptors left", left, descriptors + 8),
        Check::note(
            "MiB resident afterwards",
            (slotcar.resident_kib() / 1024).to_string(),
        ),
    ];
    if let Err(wrong) = done {
        checks.push(Check::none("what it saw", vec![wrong]));
    }
    Outcome {
        name: kind.name.to_owned(),
        checks,
        skipped: None,
        took: started.elapsed(),
    }
}

/// Waits a moment until the abuser's connections are gone; says how many descriptors there are.
fn settles(slotcar: &Slotcar, before: usize) -> usize {
    let patience = Instant::now() + Duration::from_secs(10);
    while slotcar.descriptors() > before + 8 && Instant::now() < patience {
        thread::sleep(Duration::from_millis(50));
    }
    slotcar.descriptors()
}
