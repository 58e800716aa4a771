//! Reads from replicas: who is asked, what happens when nobody there can answer, and that nobody misses what he has just written.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::support::{Cluster, Conn, ServerKind, Slotcar, Value, Watched, wait_until};

on_both!(
    reads_go_to_replicas_and_writes_do_not,
    a_session_reads_what_it_has_written,
    a_walk_is_whole_whoever_is_read_from,
    without_a_replica_the_primary_is_read_from,
    while_a_primary_is_away_its_replica_is_read_from,
    zones_decide_where_there_are_some,
    replicas_that_sentinels_know_are_read_from,
);

/// `GET`s that a node has executed.
fn gets(conn: &mut Conn) -> u64 {
    let text = conn.ok(&["INFO", "commandstats"]).text();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("cmdstat_get:calls="));
    let number = line.and_then(|line| line.split(',').next());
    number.map_or(0, |number| number.parse().expect("a number"))
}

/// The share of 3,000 reads of 30 clients that each node executes, in per cent.
fn shares(slotcar: &Slotcar, nodes: &mut [Conn]) -> Vec<u64> {
    let before: Vec<u64> = nodes.iter_mut().map(gets).collect();
    let mut conns: Vec<Conn> = (0..30).map(|_| slotcar.conn()).collect();
    for round in 0..100 {
        for conn in &mut conns {
            conn.ok(&["GET", &format!("k:{round}")]);
        }
    }
    let shares: Vec<u64> = (nodes.iter_mut().zip(before))
        .map(|(node, before)| (gets(node) - before) * 100 / 3000)
        .collect();
    println!("per cent of the reads: {shares:?}");
    shares
}

fn conns(cluster: &Cluster, nodes: usize) -> Vec<Conn> {
    (0..nodes).map(|node| cluster.conn(node)).collect()
}

/// Waits until reads arrive at each of these nodes.
fn wait_for_readers(slotcar: &Slotcar, nodes: &mut [Conn]) {
    let before: Vec<u64> = nodes.iter_mut().map(gets).collect();
    let mut conns: Vec<Conn> = (0..8).map(|_| slotcar.conn()).collect();
    wait_until("replicas are read from", LIMIT, || {
        for conn in &mut conns {
            for round in 0..20 {
                conn.ok(&["GET", &format!("k:{round}")]);
            }
        }
        let mut all = nodes.iter_mut().zip(&before);
        all.all(|(node, before)| gets(node) > *before)
    });
}

fn before(cluster: &Cluster, flags: &[&str]) -> Slotcar {
    let seeds = cluster.seeds();
    Slotcar::start(&[&["--cluster", &seeds], flags].concat())
}

fn reads_go_to_replicas_and_writes_do_not(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 1);
    let slotcar = before(&cluster, &["--read-from", "replica"]);
    let mut nodes = conns(&cluster, 6);
    let (primaries, replicas) = nodes.split_at_mut(3);
    wait_for_readers(&slotcar, replicas);
    let mut conn = slotcar.conn();
    for round in 0..100 {
        conn.ok(&["SET", &format!("k:{round}"), "v"]);
    }
    assert_eq!(shares(&slotcar, primaries), [0, 0, 0]);
    let shares = shares(&slotcar, replicas);
    assert!(shares.iter().sum::<u64>() >= 97, "{shares:?}");
    let info = conn.ok(&["INFO", "slotcar"]).text();
    let counted = info
        .lines()
        .find_map(|line| line.strip_prefix("replica_reads:"));
    let counted: u64 = counted.map_or(0, |count| count.trim().parse().expect("a number"));
    assert!(counted >= 6000, "{counted}");
    let keys: Vec<String> = (0..100).map(|n| format!("k:{n}")).collect();
    let mget: Vec<&str> = std::iter::once("MGET")
        .chain(keys.iter().map(String::as_str))
        .collect();
    let mut other = slotcar.conn();
    assert!(
        other
            .ok(&mget)
            .list()
            .iter()
            .all(|value| value.text() == "v")
    );
    assert_eq!(
        other
            .ok(&["EVAL_RO", "return redis.call('GET', KEYS[1])", "1", "k:1"])
            .text(),
        "v"
    );
    other.ok(&["WATCH", "k:1"]);
    other.ok(&["MULTI"]);
    other.ok(&["GET", "k:1"]);
    assert_eq!(other.ok(&["EXEC"]).list()[0].text(), "v");
    let nearest = before(&cluster, &["--read-from", "nearest"]);
    // All are equally near: all of them are asked.
    let mut all = conns(&cluster, 6);
    wait_for_readers(&nearest, &mut all);
    let shares = crate::replica_reads::shares(&nearest, &mut all);
    assert!(shares.iter().sum::<u64>() >= 95, "{shares:?}");
}

/// The replica is told late: its primary's words wait in a socket.
fn a_session_reads_what_it_has_written(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 1);
    let stale = |flags: &[&str], rounds: usize| {
        let slotcar = before(&cluster, &[&["--read-from", "replica"], flags].concat());
        let mut nodes = conns(&cluster, 6);
        wait_for_readers(&slotcar, &mut nodes[3..]);
        let mut conn = slotcar.conn();
        let mut stale = 0;
        let words = |n: usize| {
            let (key, value) = (format!("own:{}", n % 50), n.to_string());
            let set = vec!["SET".to_owned(), key.clone(), value];
            [set, vec!["GET".to_owned(), key]]
        };
        for batch in (0..rounds).step_by(100) {
            let requests: Vec<Vec<String>> = (batch..batch + 100).flat_map(words).collect();
            let replies = conn.pipeline(&requests);
            let gets = replies.iter().skip(1).step_by(2);
            stale += (batch..)
                .zip(gets)
                .filter(|(n, get)| get.bytes() != Some(n.to_string().as_bytes()))
                .count();
        }
        stale
    };
    let without = stale(&["--read-own-writes", "0"], 10_000);
    let with = stale(&["--read-own-writes", "10s"], 100_000);
    println!(
        "stale reads of one's own writes: {without} of 10,000 without, {with} of 100,000 with the memory"
    );
    assert!(without > 0, "or this test shows nothing");
    assert_eq!(with, 0);
}

/// `SCAN` went to a replica, and to the primary when its session had just written: each hashes keys with a seed of its own, so a
/// cursor of one means nothing to the other, and a fifth of the keys was missed.
fn a_walk_is_whole_whoever_is_read_from(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 1);
    let slotcar = before(&cluster, &["--read-from", "replica"]);
    let mut nodes = conns(&cluster, 6);
    let (mut writes, mut reads) = (slotcar.conn(), slotcar.conn());
    for number in 0..3000 {
        let name = number.to_string();
        writes.ok(&["SET", &name, "v"]);
        writes.ok(&["HSET", "hash", &name, "v"]);
    }
    let acknowledged = writes.ok(&["WAIT", "1", "10000"]);
    assert_eq!(acknowledged.int(), 1);
    wait_for_readers(&slotcar, &mut nodes[3..]);
    for walk in [&["SCAN"][..], &["HSCAN", "hash"]] {
        let mut found = HashSet::new();
        let mut cursor = "0".to_owned();
        for turn in 0.. {
            // Who has just written reads at primaries.
            writes.ok(&["SET", &(turn % 3000).to_string(), "w"]);
            let conn = if turn % 2 == 0 {
                &mut reads
            } else {
                &mut writes
            };
            let request = [walk, &[&cursor, "COUNT", "10"]].concat();
            let reply = conn.ok(&request);
            found.extend(reply.list()[1].list().iter().map(Value::text));
            cursor = reply.list()[0].text();
            if cursor == "0" {
                break;
            }
        }
        let numbers = (0..3000).filter(|number| found.contains(&number.to_string()));
        assert_eq!(numbers.count(), 3000, "{walk:?}");
    }
}

fn without_a_replica_the_primary_is_read_from(kind: ServerKind) {
    let mut cluster = Cluster::start(kind, 3, 1);
    let mut slotcar = before(&cluster, &["--read-from", "replica"]);
    slotcar.expect_log("held");
    let mut nodes = conns(&cluster, 6);
    wait_for_readers(&slotcar, &mut nodes[3..]);
    let mut conn = slotcar.conn();
    for replica in 3..6 {
        cluster.kill(replica);
    }
    let start = Instant::now();
    for round in 0..100 {
        conn.ok(&["GET", &format!("k:{round}")]);
    }
    println!("100 reads, as their replicas die: {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(1));
    for replica in 3..6 {
        cluster.restart(replica);
    }
    let mut nodes = conns(&cluster, 6);
    wait_for_readers(&slotcar, &mut nodes[3..]);
}

fn while_a_primary_is_away_its_replica_is_read_from(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 1);
    let mut slotcar = before(&cluster, &["--read-from", "prefer-replica"]);
    slotcar.expect_log("primary");
    slotcar.expect_log("held");
    let mut nodes = conns(&cluster, 6);
    wait_for_readers(&slotcar, &mut nodes[3..]);
    let mut conn = slotcar.conn();
    conn.ok(&["SET", "k:1", "v"]);
    cluster
        .conn(cluster.owner_of(crate::support::slot_of("k:1")))
        .ok(&["WAIT", "1", "5000"]);
    let owner = cluster.owner_of(crate::support::slot_of("k:1"));
    cluster.stop(owner);
    let mut reader = slotcar.conn();
    let start = Instant::now();
    assert_eq!(reader.ok(&["GET", "k:1"]).text(), "v");
    println!("the read took {:?}", start.elapsed());
    assert!(
        start.elapsed() < Duration::from_millis(500),
        "it did not wait for the election"
    );
    cluster.cont(owner);
}

fn zones_decide_where_there_are_some(kind: ServerKind) {
    let cluster = Cluster::start(kind, 1, 2);
    for (node, zone) in [(0, "a"), (1, "b"), (2, "c")] {
        // Redis has no such setting: there is a map for it.
        let _ = cluster
            .conn(node)
            .cmd(&["CONFIG", "SET", "availability-zone", zone]);
    }
    let map = if kind == ServerKind::Valkey8 {
        "nobody=x"
    } else {
        "127.0.0.1=x"
    };
    for (zone, expected) in [("b", 1), ("c", 2)] {
        let slotcar = before(
            &cluster,
            &[
                "--read-from",
                "az-affinity",
                "--zone",
                zone,
                "--node-zones",
                map,
            ],
        );
        let mut nodes = conns(&cluster, 3);
        wait_for_readers(&slotcar, &mut nodes[expected..=expected]);
        if kind == ServerKind::Valkey8 {
            // Both replicas have been heard by then.
            wait_until("all reads are in this zone", LIMIT, || {
                shares(&slotcar, &mut nodes)[expected] == 100
            });
        } else {
            let shares = shares(&slotcar, &mut nodes);
            assert!(
                shares[1] + shares[2] >= 99,
                "no zone is known: any replica will do, {shares:?}"
            );
        }
    }
    let at_primary = before(
        &cluster,
        &[
            "--read-from",
            "az-affinity",
            "--zone",
            "a",
            "--node-zones",
            map,
        ],
    );
    if kind == ServerKind::Valkey8 {
        let mut nodes = conns(&cluster, 3);
        wait_until("the primary is in this zone", LIMIT, || {
            shares(&at_primary, &mut nodes)[0] == 100
        });
    }
}

fn replicas_that_sentinels_know_are_read_from(kind: ServerKind) {
    let watched = Watched::start(kind, 2);
    let slotcar = Slotcar::start(&["--sentinel", &watched.addrs(), "--read-from", "replica"]);
    let mut replicas = [watched.conn(1), watched.conn(2)];
    slotcar.conn().ok(&["SET", "k:1", "v"]);
    watched.conn(0).ok(&["WAIT", "2", "5000"]);
    wait_for_readers(&slotcar, &mut replicas);
    wait_until("both are read from", LIMIT, || {
        shares(&slotcar, &mut replicas)
            .iter()
            .all(|share| *share > 30)
    });
    let mut conn = slotcar.conn();
    assert_eq!(conn.ok(&["GET", "k:1"]).text(), "v");
    assert_ne!(conn.ok(&["SET", "k:1", "new"]), Value::Nil);
    assert_eq!(conn.ok(&["GET", "k:1"]).text(), "new");
}

const LIMIT: Duration = Duration::from_secs(15);
