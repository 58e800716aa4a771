//! What slotcar adds to the cluster's own election, as clients feel it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::{Cluster, Conn, ServerKind, SetOnDrop, Slotcar, slot_of, wait_until};

on_both!(
    no_client_waits_much_longer_than_the_election_after_a_kill,
    no_client_waits_much_longer_than_the_election_after_a_stop,
);

fn no_client_waits_much_longer_than_the_election_after_a_kill(kind: ServerKind) {
    let silence = |cluster: &mut Cluster, node| cluster.kill(node);
    check(kind, Duration::from_millis(300), silence);
}

fn no_client_waits_much_longer_than_the_election_after_a_stop(kind: ServerKind) {
    let silence = |cluster: &mut Cluster, node| cluster.stop(node);
    check(kind, Duration::from_millis(500), silence);
}

/// `most`: of the longest gap of any client beyond the election, which is over when every slot is served, as the nodes
/// themselves say: while a shard has no primary the others refuse, too.
fn check(kind: ServerKind, most: Duration, silence: impl FnOnce(&mut Cluster, usize)) {
    let mut cluster = Cluster::start(kind, 3, 1);
    let mut slotcar = Slotcar::before(&cluster);
    for node in 0..6 {
        slotcar.expect_log(&cluster.addr(node).to_string());
    }
    let owner = cluster.owner_of(slot_of("{s}"));
    // Who will serve all slots, and a key of each.
    let mut direct: Vec<(usize, Conn, String)> = Vec::new();
    for primary in cluster.primaries() {
        let mut keys = (0..).map(|key| key.to_string());
        let key = keys.find(|key| cluster.owner_of(slot_of(key)) == primary);
        let node = if primary == owner {
            cluster.replica_of(owner)
        } else {
            primary
        };
        direct.push((node, cluster.conn(node), key.unwrap()));
    }
    direct.sort_by_key(|(node, _, _)| cluster.replica_of(owner) != *node);
    let done = AtomicBool::new(false);
    let (election, longest) = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|id| {
                let (conn, done) = (slotcar.conn(), &done);
                scope.spawn(move || longest_gap(conn, id, done))
            })
            .collect();
        let over = SetOnDrop(&done);
        // All have links and work on them.
        std::thread::sleep(Duration::from_millis(500));
        let start = Instant::now();
        silence(&mut cluster, owner);
        for (node, conn, key) in &mut direct {
            wait_until("it takes writes", Duration::from_secs(30), || {
                conn.cmd(&["SET", key.as_str(), "x"]).error().is_none()
            });
            println!("node {node} takes writes after {:?}", start.elapsed());
        }
        let election = start.elapsed();
        std::thread::sleep(Duration::from_secs(1));
        drop(over);
        let gaps = clients.into_iter().map(|client| client.join().unwrap());
        (election, gaps.max().unwrap())
    });

    println!("election {election:?}, longest gap of a client {longest:?}");
    assert!(
        longest <= election + most,
        "{longest:?} > {election:?} + {most:?}"
    );
}

/// Half of the clients use the shard in trouble, half of them any key; an outcome that nobody knows is an answer too.
fn longest_gap(mut conn: Conn, id: usize, done: &AtomicBool) -> Duration {
    let mut longest = Duration::ZERO;
    let mut answered_at = Instant::now();
    for number in 0.. {
        if done.load(Ordering::Relaxed) {
            break;
        }
        let key = match id % 2 {
            0 => format!("{{s}}:{id}"),
            _ => format!("{id}:{number}"),
        };
        let request = if number % 2 == 0 { "INCR" } else { "GET" };
        let reply = conn.cmd(&[request, &key]);
        if let Some(error) = reply.error() {
            assert!(
                request == "INCR" && error.contains("may or may not"),
                "{error}"
            );
            // The gap goes on until something is done.
            continue;
        }
        longest = longest.max(answered_at.elapsed());
        answered_at = Instant::now();
    }
    longest
}

const CLIENTS: usize = 16;
