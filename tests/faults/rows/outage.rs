//! All nodes die at once and come back with what they had stored. Clients get clear errors when the hold has run out, and
//! go on afterwards without a restart of slotcar.

use std::time::{Duration, Instant};

use crate::bench::{Bench, Found, Stage};
use crate::client::{Gap, Kind, Meaning};
use crate::judge;
use crate::load::Seen;
use crate::table::{Check, seconds};

pub fn everything(bench: &mut Bench) -> Found {
    let mut cluster = bench.take_cluster();
    cluster.keep_data();
    let mut stage = Stage::before(cluster, &["--failover-hold", "3s"]);
    let (down, seen) = stage.play("outage", |stage, _| {
        let nodes: Vec<usize> = stage.cluster.running().collect();
        let down = Instant::now();
        for node in &nodes {
            stage.cluster.kill(*node);
        }
        std::thread::sleep(DOWN.saturating_sub(down.elapsed()));
        for node in &nodes {
            stage.cluster.restart(*node);
        }
        stage.cluster.wait_ok();
        std::thread::sleep(AFTER);
        down
    });
    let checks = judged(&seen, down);
    let Stage { slotcar, cluster } = stage;
    drop(slotcar);
    bench.give_back(cluster);
    Ok(checks)
}

fn judged(seen: &Seen, down: Instant) -> Vec<Check> {
    // From here on all nodes take writes again.
    let up = seen
        .direct
        .iter()
        .map(|direct| end_of_longest(&direct.gaps));
    let up = up.max().flatten().expect("an outage");
    let served = seen.clients.iter();
    let served = served.map(|client| end_of_longest(&client.log.gaps));
    let served = served.max().flatten().expect("an outage").max(up);
    let troubles = || seen.ops().filter(|op| !op.is_good() && !op.is_wrong());
    let refused = || troubles().filter(|op| !op.is_unknown());
    let first = refused().map(|op| op.done - down).min();
    let slowest = refused().map(|op| op.done - op.sent).max();
    let writers = seen.clients.iter().filter(|client| {
        let mut ops = client.log.ops.iter();
        ops.any(|op| op.kind == Kind::Write)
    });
    let texts = judge::texts(seen);
    let undocumented = texts
        .iter()
        .filter(|(_, meaning, _)| *meaning == Meaning::Undocumented)
        .map(|(text, _, count)| format!("{count} times: -{text}"));
    let mut checks = vec![
        judge::wrong_replies(seen),
        Check::at_most(
            "writes of unknown outcome",
            seen.troubles(|op| op.is_unknown()).len(),
            writers.count(),
        ),
        Check::none(
            "error texts that are not documented",
            undocumented.collect(),
        ),
        Check::holds(
            "first error after the hold ran out",
            first.map_or("none".to_owned(), seconds),
            first.is_some_and(|first| first >= HOLD - ALMOST),
        ),
        Check::time(
            "longest wait for an error",
            slowest.unwrap_or_default(),
            HOLD + LATE,
            "(hold + 1 s)",
        ),
        Check::none(
            "errors of requests sent after it was up",
            seen.troubles(|op| !op.is_good() && op.sent >= up),
        ),
        Check::note("the nodes served again after", seconds(up - down)),
        Check::time(
            "the last client was served again after",
            served - up,
            RESUME,
            "after the nodes",
        ),
        judge::losses(seen, &[]),
    ];
    checks.extend(texts.into_iter().map(|(text, _, count)| Check {
        allowed: text,
        ..Check::note("seen", format!("{count} times"))
    }));
    checks
}

fn end_of_longest(gaps: &[Gap]) -> Option<Instant> {
    let longest = gaps.iter().max_by_key(|gap| gap.to - gap.from);
    longest.map(|gap| gap.to)
}

const DOWN: Duration = Duration::from_secs(10);
const HOLD: Duration = Duration::from_secs(3);
const ALMOST: Duration = Duration::from_millis(200);
const LATE: Duration = Duration::from_secs(1);
/// A node that is back is used within about a second.
const RESUME: Duration = Duration::from_millis(1500);
const AFTER: Duration = Duration::from_secs(2);
