//! Random faults, one every few seconds, from a seed; many kinds of clients; and in the end nothing is left behind.
//!
//! After the first minute (a third of a short run) and in the end everybody pauses: what slotcar keeps then is compared.

mod gauges;
mod mischief;
mod visitors;

use std::time::{Duration, Instant};

use gauges::{Gauges, Sampler};
use mischief::Mischief;
use visitors::Visitors;

use crate::bench::{Bench, Found, Stage};
use crate::client::Op;
use crate::judge;
use crate::load::{Load, Seen};
use crate::support::{Random, wait_until};
use crate::table::Check;

pub fn run(bench: &mut Bench, length: Duration, seed: u64) -> Found {
    println!("soak: seed {seed}");
    let mut cluster = bench.take_cluster();
    // A primary that comes back before its replica is promoted must not come back empty.
    cluster.keep_data();
    let mut stage = Stage::before(cluster, &[]);
    let mut random = Random::new(seed);
    let load = Load::start("soak", stage.slotcar.addr(), &stage.cluster, false);
    let start = Instant::now();
    let visitors = Visitors::start(stage.slotcar.addr(), &mut random, start);
    let sampler = Sampler::start(stage.slotcar.pid());
    let mut mischief = Mischief::new(random, start);
    let first = FIRST.min(length / 3);
    mischief.go_on(&mut stage.cluster, start + first);
    let early = quiet(&stage, &load, &visitors);
    load.resume();
    visitors.resume();
    mischief.go_on(&mut stage.cluster, start + length);
    let late = quiet(&stage, &load, &visitors);
    // What was seen is kept here, not there.
    load.resume();
    visitors.resume();
    let visits = visitors.stop();
    let mut seen = load.stop();
    let wrong = seen.settle(&stage.cluster);
    sampler.stop();
    let mut checks = vec![Check::note("faults", mischief.count.to_string())];
    checks.extend(replies(&seen, wrong, mischief.crashes));
    checks.extend(visits.checks(mischief.moves));
    checks.extend(left_behind(&early, &late, length));
    checks.push(everybody_is_gone(&stage, &late, length));
    let Stage { slotcar, cluster } = stage;
    drop(slotcar);
    bench.give_back(cluster);
    Ok(checks)
}

/// Everybody pauses, the cluster is well, and nothing changes any more.
fn quiet(stage: &Stage, load: &Load, visitors: &Visitors) -> Gauges {
    visitors.pause();
    load.pause();
    stage.cluster.wait_ok();
    let mut last = Gauges::of(&stage.slotcar);
    let mut since = Instant::now();
    wait_until("slotcar settles", SETTLE_LIMIT, || {
        let now = Gauges::of(&stage.slotcar);
        if now.is_like(&last) {
            return since.elapsed() >= SETTLED;
        }
        (last, since) = (now, Instant::now());
        false
    });
    println!("  quiet: {last}");
    last
}

fn replies(seen: &Seen, wrong: Vec<String>, crashes: usize) -> Vec<Check> {
    let unknown = seen.troubles(Op::is_unknown);
    let other = seen.troubles(|op| {
        !op.is_good()
            && !op.is_wrong()
            && (op.kind != crate::client::Kind::Write || !op.is_unknown())
    });
    let asked: usize = seen.clients.iter().map(|client| client.log.count).sum();
    let (lost, direct) = (seen.lost(), seen.lost_directly());
    let lost = Check::at_most(
        "acknowledged increments lost",
        lost,
        direct + crashes * seen.clients.len(),
    );
    vec![
        Check::note("requests", asked.to_string()),
        judge::wrong_replies(seen),
        Check::none("wrong in the end", wrong),
        Check::note("writes of unknown outcome", unknown.len().to_string()),
        Check::none("other errors", other),
        Check {
            allowed: format!("{} (directly {direct}, {crashes} crashes)", lost.allowed),
            ..lost
        },
    ]
}

fn left_behind(early: &Gauges, late: &Gauges, length: Duration) -> Vec<Check> {
    // The third of a short run has not seen every kind of fault: what each needs for the first time is still to come.
    let percent = if length >= LONG { 5 } else { 20 };
    let allowed = early.rss_kib + early.rss_kib * percent / 100;
    let rss = Check::at_most("RSS in the end, KiB", late.rss_kib, allowed);
    vec![
        Check {
            allowed: format!("{} (early {} + {percent} %)", rss.allowed, early.rss_kib),
            ..rss
        },
        Check::at_most("sessions in the end", late.sessions, early.sessions),
        Check::at_most(
            "descriptors besides links",
            late.descriptors - late.links,
            early.descriptors - early.links,
        ),
        Check::at_most("threads", late.threads, early.threads),
    ]
}

/// All clients have left. In a long run the links that they had for themselves go as well.
fn everybody_is_gone(stage: &Stage, late: &Gauges, length: Duration) -> Check {
    let links_go = length >= LONG;
    let limit = if links_go { IDLE_LINKS } else { SETTLE_LIMIT };
    let start = Instant::now();
    let mut now = Gauges::of(&stage.slotcar);
    let gone = |now: &Gauges| {
        // The one who asks is a session with a descriptor.
        let sessions = now.sessions == 1;
        let descriptors = now.descriptors + late.sessions + late.links
            <= late.descriptors + now.sessions + now.links;
        sessions && descriptors && (!links_go || now.links <= LINKS_KEPT)
    };
    while !gone(&now) && start.elapsed() < limit {
        std::thread::sleep(SETTLED / 4);
        now = Gauges::of(&stage.slotcar);
    }
    Check::holds("when all have left", now.to_string(), gone(&now))
}

const FIRST: Duration = Duration::from_secs(60);
/// Longer than the control plane keeps connections after trouble.
const SETTLED: Duration = Duration::from_secs(4);
const SETTLE_LIMIT: Duration = Duration::from_secs(15);
const LONG: Duration = Duration::from_secs(120);
/// Links that nobody uses are closed after a minute.
const IDLE_LINKS: Duration = Duration::from_secs(75);
/// For each of six nodes one that is shared, one that hears messages, and one that watches keys.
const LINKS_KEPT: usize = 18;
