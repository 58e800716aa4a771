//! A primary dies or falls silent under requests, and its replica takes over.

use std::time::{Duration, Instant};

use crate::support::{Cluster, ServerKind, Slotcar, slot_of, wait_until};

on_both!(
    when_the_owner_dies_reads_are_resent_and_sent_writes_end_as_unknown,
    a_silent_owner_is_left_for_its_replica,
    a_planned_failover_shows_no_error,
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

/// These tests take nodes away: warnings that name a node are what an operator should see.
fn slotcar_before(cluster: &Cluster) -> Slotcar {
    let mut slotcar = Slotcar::before(cluster);
    for node in 0..6 {
        slotcar.expect_log(&cluster.addr(node).to_string());
    }
    slotcar
}
