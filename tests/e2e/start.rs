//! Starting when not everything is there, and ending.

use crate::support::slotcar::fields;
use crate::support::{Cluster, ServerKind, Slotcar, address};

on_both!(
    one_seed_of_three_is_enough,
    without_any_seed_it_says_so_and_works_when_the_cluster_comes_up,
    several_workers_serve_as_one,
    workers_share_the_clients_evenly_and_have_one_link_to_each_node,
);

fn one_seed_of_three_is_enough(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let (dead, also_dead) = (address::unused(), address::unused());
    let seeds = format!("{dead},{also_dead},{}", cluster.addr(1));
    let mut slotcar = Slotcar::start(&["--cluster", &seeds]);
    slotcar.expect_log(&dead.to_string());
    slotcar.expect_log(&also_dead.to_string());
    let mut conn = slotcar.conn();
    for i in 0..100 {
        let key = format!("k:{i}");
        assert!(conn.ok(&["SET", &key, "v"]).is_ok());
        assert_eq!(conn.ok(&["GET", &key]).text(), "v");
    }
}

fn without_any_seed_it_says_so_and_works_when_the_cluster_comes_up(kind: ServerKind) {
    let mut cluster = Cluster::plan(kind, 3, 0);
    let mut slotcar = Slotcar::start_listening(&["--cluster", &cluster.seeds()]);
    for node in 0..3 {
        slotcar.expect_log(&cluster.addr(node).to_string());
    }
    slotcar.expect_log("cluster");
    let mut conn = slotcar.conn();
    for request in [
        &["GET", "k"][..],
        &["SET", "k", "v"],
        &["MGET", "a", "b"],
        &["DBSIZE"],
    ] {
        let reply = conn.cmd(request);
        let error = reply
            .error()
            .unwrap_or_else(|| panic!("{request:?}: {reply:?}"));
        let clear = ["LOADING ", "CLUSTERDOWN "]
            .iter()
            .any(|code| error.starts_with(code));
        assert!(clear, "{request:?}: {error}");
    }
    assert_eq!(
        conn.cmd(&["ECHO", "here"]).text(),
        "here",
        "what needs no node works"
    );

    cluster.launch();
    cluster.wait_ok();
    slotcar.wait_serving();
    assert!(
        conn.ok(&["SET", "k", "v"]).is_ok(),
        "on the same connection"
    );
    assert_eq!(conn.ok(&["GET", "k"]).text(), "v");
}

fn several_workers_serve_as_one(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let slotcar = Slotcar::start(&["--cluster", &cluster.seeds(), "--workers", "3"]);
    let mut conns: Vec<_> = (0..12).map(|_| slotcar.conn()).collect();
    for round in 0..50 {
        for conn in &mut conns {
            conn.ok(&["INCR", &format!("round:{round}")]);
        }
    }
    for round in 0..50 {
        assert_eq!(
            conns[round % 12]
                .ok(&["GET", &format!("round:{round}")])
                .text(),
            "12"
        );
    }
}

fn workers_share_the_clients_evenly_and_have_one_link_to_each_node(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let slotcar = Slotcar::start(&["--cluster", &cluster.seeds(), "--workers", "2"]);
    let mut conns: Vec<_> = (0..8).map(|_| slotcar.conn()).collect();
    for (index, conn) in conns.iter_mut().enumerate() {
        for key in 0..300 {
            conn.ok(&["SET", &format!("key:{key}"), &index.to_string()]);
        }
    }
    for conn in &mut conns {
        let info = fields(&conn.ok(&["INFO", "slotcar"]).text());
        assert_eq!(info["sessions"], "8");
        // In a transaction a worker tells of its own clients.
        conn.ok(&["MULTI"]);
        conn.ok(&["CLIENT", "LIST"]);
        let listed = conn.ok(&["EXEC"]).list()[0].text();
        assert_eq!(listed.lines().count(), 4, "{listed}");
    }
    for node in cluster.primaries() {
        let clients = cluster.conn(node).ok(&["CLIENT", "LIST"]).text();
        // The probe has the name, too.
        let links = clients
            .lines()
            .filter(|line| line.contains(" name=slotcar ") && line.contains(" cmd=set "));
        assert_eq!(links.count(), 2, "{clients}");
    }
}
