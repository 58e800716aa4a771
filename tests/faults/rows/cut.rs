//! The way between slotcar and one primary is cut for 5 s; the cluster itself notices nothing. Clients of that shard
//! wait and go on, those included whose requests were on their way; the others notice nothing.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::bench::{Bench, Found, Stage, expect_warnings};
use crate::client::Kind;
use crate::judge::{self, Cost, Fault};
use crate::load::Seen;
use crate::network::Network;
use crate::support::{Cluster, Slotcar};
use crate::table::Check;

pub fn one_link(bench: &mut Bench) -> Found {
    let network = Network::new(6)?;
    let addrs: Vec<SocketAddr> = (0..6)
        .map(|node| SocketAddr::new(network.host(node), NODE_PORT))
        .collect();
    let cluster = Cluster::start_at(&addrs, bench.kind, 3);
    let seeds = cluster.seeds();
    let listen = SocketAddr::new(network.inside, LISTEN_PORT);
    let mut slotcar = Slotcar::start_at(
        listen,
        &network.within(),
        &["--cluster", &seeds, "--protected-mode", "no"],
    );
    slotcar.wait_serving();
    expect_warnings(&mut slotcar);
    let mut stage = Stage { slotcar, cluster };
    let ((fault, mended), seen) = stage.play("cut", |stage, _| {
        std::thread::sleep(BEFORE);
        let host = stage.cluster.addr(0).ip();
        let fault = Fault::now("cut", 0, Duration::ZERO).costing(Cost::Nothing);
        network.cut(host);
        std::thread::sleep(CUT);
        network.mend(host);
        let mended = Instant::now();
        std::thread::sleep(AFTER);
        (fault, mended)
    });
    drop(stage);
    let mut checks = judge::faults_within(&seen, &[fault], CUT + RETURN);
    checks.push(others_are_as_fast(&seen, mended));
    Ok(checks)
}

/// The 99th percentile at the other shards during the cut, compared with before and after it. This machine may have other
/// things to do: by what factor it was slower then, those know who ask the nodes directly.
fn others_are_as_fast(seen: &Seen, mended: Instant) -> Check {
    let cut = mended - CUT;
    let three = |p99: &dyn Fn(Instant, Instant) -> Duration| {
        let calm = p99(seen.started, cut).max(p99(mended + RETURN, seen.ended));
        (calm, p99(cut, mended))
    };
    let (calm, during) = three(&|from, to| {
        let ops = seen.ops().filter(|op| (from..to).contains(&op.sent));
        let elsewhere = ops.filter(|op| op.kind != Kind::Local && op.shard != Some(0));
        judge::p99(elsewhere.map(|op| op.done - op.sent))
    });
    let (direct_calm, direct_during) = three(&|from, to| {
        let direct = seen.direct.iter().flat_map(|direct| &direct.times);
        let then = direct.filter(|(asked, _)| (from..to).contains(asked));
        judge::p99(then.map(|(_, took)| *took))
    });
    let slower = direct_during.as_secs_f64() / direct_calm.as_secs_f64();
    let allowed = (2 * calm).mul_f64(slower.max(1.0));
    Check {
        allowed: format!(
            "<= {allowed:.1?} (else {calm:.1?}; directly {direct_during:.1?}, else {direct_calm:.1?})"
        ),
        ..Check::holds(
            "p99 of the other shards",
            format!("{during:.1?}"),
            !during.is_zero() && during <= allowed,
        )
    }
}

const NODE_PORT: u16 = 7000;
const LISTEN_PORT: u16 = 6379;
const CUT: Duration = Duration::from_secs(5);
const BEFORE: Duration = Duration::from_secs(2);
const AFTER: Duration = Duration::from_secs(3);
/// One attempt to connect that began too early ends after a second, and the pause until the next may be as long.
const RETURN: Duration = Duration::from_millis(2300);
