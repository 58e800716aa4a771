//! Nodes that die, say nothing, or were never there, and what metrics make of them.

use crate::shown::{SECONDS, Samples, Shown};
use crate::support::conn::encode;
use crate::support::{Cluster, Conn, ServerKind, Value, address, slot_of, wait_until};

causes! {
    real a_node_dies_with_requests_under_way {
        "+slotcar_replays_total rule=unsent"
        "+slotcar_replays_total rule=reads"
        "+slotcar_given_up_total reason=unknown_outcome"
        "+slotcar_links_lost_total"
        "+slotcar_links_dialed_total"
        "+slotcar_holds_total"
        "+slotcar_held_requests_total"
        "+slotcar_delayed_requests_total"
        "+slotcar_longest_delay_seconds"
        "+slotcar_topology_refreshes_total"
    }
    real a_replica_takes_over {
        "+slotcar_failovers_total"
        "+slotcar_topology_changes_total"
        "-slotcar_nodes role=replica"
    }
    real a_node_says_nothing {
        "+slotcar_links kind=shared state=connecting"
        "+slotcar_links kind=leased state=connecting"
        "+slotcar_links kind=other state=connecting"
        "+slotcar_node_info_age_seconds"
    }
    real a_shard_is_lost {
        "+slotcar_given_up_total reason=hold_ran_out"
        "+slotcar_held_requests"
        "+slotcar_held_bytes"
        "+slotcar_held_requests_total"
        "+slotcar_links_lost_total"
        "+slotcar_suspect_nodes"
        "-slotcar_node_up role=primary"
        "-slotcar_cluster_ok"
        "-slotcar_ready"
    }
    real more_is_to_be_held_than_fits {
        "+slotcar_given_up_total reason=hold_full"
        "+slotcar_held_bytes"
    }
    real a_replica_is_lost {
        "+slotcar_given_up_total reason=unreachable"
        "-slotcar_node_up role=replica"
        "-slotcar_nodes role=replica"
    }
    fake nobody_answers_at_the_start {
        "+slotcar_given_up_total reason=no_topology"
    }
}

on_both!(what_could_not_be_served_has_failed_and_is_no_error_of_a_node);

/// The node that will have the trouble, and a slotcar that may tell of it.
fn before_trouble(cluster: &Cluster, flags: &[&str]) -> (Shown, usize) {
    let mut shown = Shown::before(cluster, flags);
    for node in cluster.running() {
        shown.slotcar.expect_log(&cluster.addr(node).to_string());
    }
    (shown, cluster.owner_of(slot_of("key")))
}

fn a_node_dies_with_requests_under_way(kind: ServerKind) -> Vec<Samples> {
    let mut cluster = Cluster::start(kind, 3, 0);
    let (shown, owner) = before_trouble(&cluster, &["--probe-interval", "0"]);
    let mut unsent = Conn::open_resp3(shown.slotcar.addr());
    let (mut reader, mut writer) = (shown.slotcar.conn(), shown.slotcar.conn());
    reader.ok(&["GET", "key"]);
    let before = shown.metrics();
    cluster.stop(owner);
    let (get, set) = (encode(&["GET", "key"]), encode(&["SET", "key", "v"]));
    reader.send_raw(&get);
    writer.send_raw(&set);
    wait_until("both lie at the node", SECONDS(5), || {
        cluster.unread_bytes(owner) >= get.len() + set.len()
    });
    // RESP3 has links of its own: it waits for the greeting of one.
    unsent.send_raw(&get);
    shown.wait_for("a link is not open yet", SECONDS(5), |samples| {
        samples.sum("slotcar_links kind=shared state=connecting") > 0.0
    });
    cluster.kill(owner);
    cluster.restart(owner);
    let told = writer.recv();
    let is_told = told
        .error()
        .is_some_and(|error| error.contains("may or may not"));
    assert!(is_told, "{told:?}");
    for conn in [&mut reader, &mut unsent] {
        let reply = conn.recv();
        assert!(reply.error().is_none(), "{reply:?}");
    }
    let after = shown.metrics();
    // What has not left is sent again at each attempt to reach the node.
    for once in ["slotcar_replays_total rule=reads", "slotcar_given_up_total"] {
        assert_eq!(after.grown(&before, once), 1.0, "{once}");
    }
    vec![before, after]
}

fn a_replica_takes_over(kind: ServerKind) -> Vec<Samples> {
    let mut cluster = Cluster::start(kind, 3, 1);
    let (shown, owner) = before_trouble(&cluster, &[]);
    let before = shown.metrics();
    cluster.kill(owner);
    shown.slotcar.conn().ok(&["SET", "key", "v"]);
    let after = shown.wait_for(
        "the topology is that of the survivors",
        SECONDS(20),
        |samples| samples.sum("slotcar_nodes role=replica") == 2.0,
    );
    assert_eq!(after.grown(&before, "slotcar_failovers_total"), 1.0);
    vec![before, after]
}

fn a_node_says_nothing(kind: ServerKind) -> Vec<Samples> {
    let cluster = Cluster::start(kind, 3, 0);
    let flags = ["--probe-interval", "0", "--node-info-interval", "1s"];
    let (shown, owner) = before_trouble(&cluster, &flags);
    let age = "slotcar_node_info_age_seconds";
    let mut get = Conn::open_resp3(shown.slotcar.addr());
    let (mut watch, mut subscribe) = (shown.slotcar.conn(), shown.slotcar.conn());
    shown.wait_for("all nodes have said how they are", SECONDS(20), |samples| {
        samples.count(age) == 3
    });
    let before = shown.metrics();
    cluster.stop(owner);
    get.send_raw(&encode(&["GET", "key"]));
    watch.send_raw(&encode(&["WATCH", "key"]));
    subscribe.send_raw(&encode(&["SUBSCRIBE", "key"]));
    let mut scrapes = vec![before];
    for kind in ["shared", "leased", "other"] {
        let connecting = format!("slotcar_links kind={kind} state=connecting");
        scrapes.push(
            shown.wait_for("a link is not open yet", SECONDS(10), |samples| {
                samples.sum(&connecting) > 0.0
            }),
        );
    }
    // What three nodes say every second is never so old.
    scrapes.push(
        shown.wait_for("it has said nothing", SECONDS(20), |samples| {
            samples.sum(age) > 3.0 + scrapes[0].sum(age)
        }),
    );
    cluster.cont(owner);
    for conn in [&mut get, &mut watch, &mut subscribe] {
        let reply = conn.recv();
        assert!(reply.error().is_none(), "{reply:?}");
    }
    scrapes
}

fn a_shard_is_lost(kind: ServerKind) -> Vec<Samples> {
    let mut cluster = Cluster::start(kind, 3, 0);
    let flags = ["--failover-hold", "1s", "--node-info-interval", "1s"];
    let (mut shown, owner) = before_trouble(&cluster, &flags);
    shown.slotcar.expect_log("cannot learn the topology");
    let mut conn = shown.slotcar.conn();
    conn.ok(&["SET", "key", "v"]);
    let before = shown.wait_for("all nodes have said how they are", SECONDS(20), |samples| {
        samples.sum("slotcar_cluster_ok") == 1.0 && samples.count("slotcar_node_keys") == 3
    });
    cluster.kill(owner);
    conn.send_raw(&encode(&["SET", "key", "v"]));
    let held = shown.wait_for("it is held", SECONDS(5), |samples| {
        samples.sum("slotcar_held_requests") > 0.0
    });
    let told = conn.recv();
    assert!(told.error().is_some(), "{told:?}");
    let lost = shown.wait_for("the cluster is not well", SECONDS(30), |samples| {
        samples.sum("slotcar_cluster_ok") == 0.0 && samples.sum("slotcar_ready") == 0.0
    });
    assert_eq!(
        lost.grown(&before, "slotcar_given_up_total reason=hold_ran_out"),
        1.0
    );
    assert_eq!(lost.sum("slotcar_suspect_nodes"), 1.0);
    assert_eq!(lost.sum("slotcar_node_up"), 2.0);
    vec![before, held, lost]
}

/// As much as is held fits six values of these, and not seven.
const VALUE_BYTES: usize = 10 << 20;

fn more_is_to_be_held_than_fits(kind: ServerKind) -> Vec<Samples> {
    let mut cluster = Cluster::start(kind, 3, 0);
    let flags = ["--failover-hold", "60s", "--max-memory", "1gb"];
    let (mut shown, owner) = before_trouble(&cluster, &flags);
    shown.slotcar.expect_log("cannot learn the topology");
    let before = shown.metrics();
    cluster.kill(owner);
    shown.wait_for("it is suspected", SECONDS(10), |samples| {
        samples.sum("slotcar_suspect_nodes") > 0.0
    });
    let set = encode(&["SET", "key", &"x".repeat(VALUE_BYTES)]);
    let mut conns: Vec<Conn> = (0..7).map(|_| shown.slotcar.conn()).collect();
    for (number, conn) in conns.iter_mut().enumerate() {
        conn.send_raw(&set);
        let held = (VALUE_BYTES * (number + 1).min(6)) as f64;
        shown.wait_for("it is held", SECONDS(10), |samples| {
            samples.sum("slotcar_held_bytes") >= held
        });
    }
    let refused = conns[6].recv();
    assert!(refused.error().is_some(), "{refused:?}");
    let after = shown.metrics();
    assert_eq!(
        after.grown(&before, "slotcar_given_up_total reason=hold_full"),
        1.0
    );
    assert_eq!(after.grown(&before, "slotcar_given_up_total"), 1.0);
    vec![before, after]
}

fn a_replica_is_lost(kind: ServerKind) -> Vec<Samples> {
    let mut cluster = Cluster::start(kind, 3, 1);
    let (shown, owner) = before_trouble(&cluster, &["--failover-hold", "1s"]);
    let before = shown.metrics();
    cluster.kill(cluster.replica_of(owner));
    let told = shown.slotcar.conn().cmd(&["SCRIPT", "LOAD", "return 1"]);
    assert!(told.error().is_some(), "{told:?}");
    let up = "slotcar_node_up role=replica";
    let down = shown.wait_for("it is known to be down", SECONDS(40), |samples| {
        samples.sum(up) == 2.0
    });
    wait_until("no node lists it", SECONDS(30), || {
        cluster
            .running()
            .all(|node| replicas_at(&cluster, node) == 2)
    });
    // A link that is lost makes slotcar ask.
    cluster
        .conn(owner)
        .ok(&["CLIENT", "KILL", "TYPE", "normal"]);
    let lost = shown.wait_for("it is no part of the cluster", SECONDS(40), |samples| {
        samples.sum("slotcar_nodes role=replica") == 2.0
    });
    assert_eq!(
        lost.grown(&before, "slotcar_given_up_total reason=unreachable"),
        1.0
    );
    assert_eq!(lost.grown(&before, "slotcar_given_up_total"), 1.0);
    vec![before, down, lost]
}

/// How many a node lists.
fn replicas_at(cluster: &Cluster, node: usize) -> usize {
    let slots = cluster.conn(node).ok(&["CLUSTER", "SLOTS"]);
    // Behind the slots and their primary.
    let replicas = slots.list().iter().map(|range| range.list().len() - 3);
    replicas.sum()
}

fn nobody_answers_at_the_start() -> Vec<Samples> {
    let nobody = address::unused().to_string();
    let mut shown = Shown::start_listening(&["--cluster", &nobody]);
    shown.slotcar.expect_log(&nobody);
    shown.slotcar.expect_log("cannot learn the topology");
    let before = shown.metrics();
    assert_eq!(before.count("slotcar_topology_age_seconds"), 0);
    let told = shown.slotcar.conn().cmd(&["GET", "key"]);
    assert!(told.error().is_some(), "{told:?}");
    let after = shown.metrics();
    assert_eq!(
        after.grown(&before, "slotcar_given_up_total reason=no_topology"),
        1.0
    );
    vec![before, after]
}

fn what_could_not_be_served_has_failed_and_is_no_error_of_a_node(kind: ServerKind) {
    let mut cluster = Cluster::start(kind, 3, 0);
    let (mut shown, owner) = before_trouble(&cluster, &["--failover-hold", "1s"]);
    shown.slotcar.expect_log("cannot learn the topology");
    let before = shown.metrics();
    cluster.kill(owner);
    let requests: &[&[&[&str]]] = &[
        &[&["SET", "key", "v"]],
        &[&["MGET", "key", "other", "third"]],
        &[&["DEL", "key", "other", "third"]],
        &[&["BLPOP", "key", "0"]],
        &[&["BLPOP", "key", "other", "0"]],
        &[&["MULTI"], &["SET", "key", "v"], &["EXEC"]],
        &[&["SUBSCRIBE", "key"]],
        &[&["DBSIZE"]],
    ];
    let mut conns: Vec<Conn> = requests.iter().map(|_| shown.slotcar.conn()).collect();
    for (conn, requests) in conns.iter_mut().zip(requests) {
        requests
            .iter()
            .for_each(|request| conn.send_raw(&encode(request)));
    }
    for (conn, requests) in conns.iter_mut().zip(requests) {
        let replies: Vec<Value> = requests.iter().map(|_| conn.recv()).collect();
        assert!(
            replies.last().is_some_and(|reply| reply.error().is_some()),
            "{requests:?}: {replies:?}"
        );
    }
    let after = shown.metrics();
    assert_eq!(
        after.grown(&before, "slotcar_requests_total outcome=error"),
        0.0
    );
    let failed = after.grown(&before, "slotcar_requests_total outcome=failed");
    assert_eq!(failed, requests.len() as f64);
}
