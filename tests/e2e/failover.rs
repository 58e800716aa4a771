//! A primary dies or falls silent under requests, and its replica takes over.

use std::time::{Duration, Instant};

use crate::support::{Cluster, ServerKind, Slotcar, slot_of, wait_until};

on_both!(
    when_the_owner_dies_reads_are_resent_and_sent_writes_end_as_unknown,
    a_silent_owner_is_left_for_its_replica,
    a_planned_failover_shows_no_error,
    a_silent_replica_is_not_waited_for_for_ever,
    a_client_can_be_hung_up_on_instead_of_told_that_nobody_knows,
    what_was_held_is_counted_and_told_once,
);

fn when_the_owner_dies_reads_are_resent_and_sent_writes_end_as_unknown(kind: ServerKind) {
    let mut cluster = Cluster::start(kind, 3, 1);
    let slotcar = slotcar_before(&cluster);
    let owner = cluster.owner_of(slot_of("count"));
    let mut reader = slotcar.conn();
    let mut writer = slotcar.conn();
    let mut bystander = slotcar.conn();
    writer.ok(&["SET", "count", "41"]);
    cluster.conn(owner).ok(&["WAIT", "1", "5000"]);

    // Both requests have left slotcar and none is executed: the node sleeps.
    cluster.stop(owner);
    let (get, incr) = (&["GET", "count"], &["INCR", "count"]);
    reader.send_raw(&crate::support::conn::encode(get));
    writer.send_raw(&crate::support::conn::encode(incr));
    let sent = crate::support::conn::encode(get).len() + crate::support::conn::encode(incr).len();
    wait_until(
        "both requests lie at the node",
        Duration::from_secs(5),
        || cluster.unread_bytes(owner) >= sent,
    );
    cluster.kill(owner);

    let reply = writer.recv();
    let error = reply.error().unwrap_or_else(|| panic!("INCR: {reply:?}"));
    assert!(
        error.contains("may or may not"),
        "it should say that nobody knows: {error}"
    );
    assert_eq!(
        reader.recv().text(),
        "41",
        "the read was resent to the promoted replica"
    );
    assert_eq!(
        writer.ok(incr).int(),
        42,
        "the next write is held, not refused"
    );
    let elsewhere = (0..).map(|i| format!("k:{i}")).find(|key| {
        // While the shard had no primary, the others may have refused as well; now they must not.
        cluster.owner_of(slot_of(key)) != owner
    });
    assert!(
        bystander
            .ok(&["SET", &elsewhere.expect("a key"), "v"])
            .is_ok()
    );
}

fn a_silent_owner_is_left_for_its_replica(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 1);
    let slotcar = slotcar_before(&cluster);
    let owner = cluster.owner_of(slot_of("key"));
    let replica = cluster.replica_of(owner);
    let mut conn = slotcar.conn();
    conn.ok(&["SET", "key", "value"]);
    cluster.conn(owner).ok(&["WAIT", "1", "5000"]);

    cluster.stop(owner);
    let start = Instant::now();
    assert_eq!(conn.ok(&["GET", "key"]).text(), "value");
    println!("the read took {:?}", start.elapsed());
    assert!(conn.ok(&["SET", "key", "new"]).is_ok());
    assert!(cluster.is_primary(replica));
    cluster.cont(owner);
    cluster.wait_ok();
    assert_eq!(
        conn.ok(&["GET", "key"]).text(),
        "new",
        "the old owner is no primary any more"
    );
}

fn a_planned_failover_shows_no_error(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 1);
    let slotcar = slotcar_before(&cluster);
    let key = (0..)
        .map(|i| format!("count:{i}"))
        .find(|key| cluster.owner_of(slot_of(key)) == 0);
    let key = key.expect("a key of node 0");
    let mut conn = slotcar.conn();
    let replica = std::thread::scope(|scope| {
        let failover = scope.spawn(|| cluster.failover(0));
        let mut count = 0;
        while !failover.is_finished() {
            count += 1;
            assert_eq!(conn.ok(&["INCR", &key]).int(), count);
        }
        failover.join().unwrap()
    });
    assert_eq!(cluster.owner_of(slot_of(&key)), replica);
    conn.ok(&["INCR", &key]);
}

/// Nobody takes the place of a replica, and nobody probes it.
fn a_silent_replica_is_not_waited_for_for_ever(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 1);
    let slotcar = slotcar_that(&cluster, &["--failover-hold", "2s"]);
    let replica = cluster.replica_of(0);
    let (mut conn, mut other) = (slotcar.conn(), slotcar.conn());
    conn.ok(&["SCRIPT", "LOAD", "return 1"]);
    cluster.stop(replica);
    let start = Instant::now();
    let reply = conn.cmd(&["SCRIPT", "LOAD", "return 2"]);
    let error = reply
        .error()
        .unwrap_or_else(|| panic!("SCRIPT LOAD: {reply:?}"));
    assert!(
        error.contains(&cluster.addr(replica).to_string()),
        "{error}"
    );
    let took = start.elapsed();
    assert!(took < Duration::from_secs(5), "it took {took:?}");
    assert!(other.ok(&["SET", "key", "value"]).is_ok());
    cluster.cont(replica);
    cluster.wait_ok();
    conn.ok(&["SCRIPT", "LOAD", "return 2"]);
}

fn a_client_can_be_hung_up_on_instead_of_told_that_nobody_knows(kind: ServerKind) {
    let mut cluster = Cluster::start(kind, 3, 1);
    let slotcar = slotcar_that(&cluster, &["--unknown-outcome", "close"]);
    let owner = cluster.owner_of(slot_of("count"));
    let (mut writer, mut reader) = (slotcar.conn(), slotcar.conn());
    writer.ok(&["SET", "count", "41"]);
    cluster.conn(owner).ok(&["WAIT", "1", "5000"]);
    cluster.stop(owner);
    let incr = crate::support::conn::encode(&["INCR", "count"]);
    writer.send_raw(&incr);
    wait_until("the request lies at the node", LIMIT, || {
        cluster.unread_bytes(owner) >= incr.len()
    });
    cluster.kill(owner);
    assert_eq!(writer.read_to_end(), b"", "an answer would be a lie");
    assert_eq!(reader.ok(&["GET", "count"]).text(), "41");
    assert_eq!(slotcar.counter("hung_up"), 1);
    assert_eq!(slotcar.counter("given_up_unknown_outcome"), 1);
}

fn what_was_held_is_counted_and_told_once(kind: ServerKind) {
    let mut cluster = Cluster::start(kind, 3, 1);
    let slotcar = slotcar_before(&cluster);
    let owner = cluster.owner_of(slot_of("key"));
    let mut conns: Vec<_> = (0..4).map(|_| slotcar.conn()).collect();
    conns[0].ok(&["SET", "key", "value"]);
    cluster.conn(owner).ok(&["WAIT", "1", "5000"]);
    cluster.kill(owner);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for conn in &mut conns {
            scope.spawn(|| assert_eq!(conn.ok(&["GET", "key"]).text(), "value"));
        }
    });
    let took = u64::try_from(start.elapsed().as_millis()).unwrap();
    let told = || slotcar.log().matches("requests were held for").count();
    wait_until("the log tells of it", LIMIT, || told() > 0);
    assert_eq!(slotcar.counter("holds"), 1);
    assert_eq!(slotcar.counter("held_requests"), 0);
    assert!(slotcar.counter("delayed") >= 4);
    let longest = slotcar.counter("longest_delay_ms");
    assert!((took / 2..=took).contains(&longest), "{longest} of {took}");
    assert_eq!(told(), 1);
}

const LIMIT: Duration = Duration::from_secs(5);

fn slotcar_that(cluster: &Cluster, args: &[&str]) -> Slotcar {
    let seeds = cluster.seeds();
    let mut all = vec!["--cluster", &seeds];
    all.extend(args);
    let mut slotcar = Slotcar::start(&all);
    expect_every_node(&mut slotcar, cluster);
    slotcar
}

/// These tests take nodes away: warnings that name a node are what an operator should see.
fn slotcar_before(cluster: &Cluster) -> Slotcar {
    let mut slotcar = Slotcar::before(cluster);
    expect_every_node(&mut slotcar, cluster);
    slotcar
}

fn expect_every_node(slotcar: &mut Slotcar, cluster: &Cluster) {
    for node in 0..6 {
        slotcar.expect_log(&cluster.addr(node).to_string());
    }
}
