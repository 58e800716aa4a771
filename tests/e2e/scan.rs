//! SCAN over the whole cluster as if it were one server.

use std::collections::HashSet;

use crate::support::{Cluster, Conn, ServerKind, Slotcar};

on_both!(
    a_scan_over_alternating_connections_returns_exactly_the_key_set,
    filters_of_a_scan_hold_on_every_node,
    a_scan_survives_a_failover,
);

fn a_scan_over_alternating_connections_returns_exactly_the_key_set(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let slotcar = Slotcar::before(&cluster);
    let keys = fill(&mut slotcar.conn(), 100_000);
    let mut conns = [
        slotcar.conn(),
        Conn::open_resp3(slotcar.addr()),
        slotcar.conn(),
    ];
    let mut turn = 0;
    let found = scan(&["COUNT", "10"], |request| {
        turn += 1;
        conns[turn % 3]
            .ok(request)
            .list()
            .iter()
            .map(reply_part)
            .collect()
    });
    assert_same(&found, &keys);
}

fn filters_of_a_scan_hold_on_every_node(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let slotcar = Slotcar::before(&cluster);
    let mut conn = slotcar.conn();
    let keys = fill(&mut conn, 3000);
    let lists: HashSet<String> = (0..300).map(|i| format!("list:{i}")).collect();
    for key in &lists {
        conn.ok(&["RPUSH", key, "x"]);
    }
    let mut found = |options: &[&str]| {
        scan(options, |request| {
            conn.ok(request).list().iter().map(reply_part).collect()
        })
    };
    assert_same(&found(&["TYPE", "list"]), &lists);
    assert_same(&found(&["MATCH", "list:*", "COUNT", "100"]), &lists);
    assert_same(
        &found(&["MATCH", "key:*", "TYPE", "string", "COUNT", "1000"]),
        &keys,
    );
    assert_same(&found(&["MATCH", "nothing"]), &HashSet::new());
}

/// A replica hashes keys with a seed of its own: a cursor of the old primary means nothing to it.
fn a_scan_survives_a_failover(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 1);
    let mut slotcar = Slotcar::before(&cluster);
    slotcar.expect_log("failover");
    slotcar.expect_log(&cluster.addr(0).to_string());
    let mut conn = slotcar.conn();
    let keys = fill(&mut conn, 10_000);
    cluster.wait_ok();
    let mut steps = 0;
    let found = scan(&["COUNT", "10"], |request| {
        steps += 1;
        if steps == 100 {
            cluster.failover(0);
        }
        conn.ok(request).list().iter().map(reply_part).collect()
    });
    assert!(steps > 100, "the scan was over before the failover");
    assert_same(&found, &keys);
}

fn fill(conn: &mut Conn, count: usize) -> HashSet<String> {
    let keys: Vec<String> = (0..count).map(|i| format!("key:{i}")).collect();
    for some in keys.chunks(10_000) {
        let sets: Vec<Vec<&str>> = some
            .iter()
            .map(|key| vec!["SET", key.as_str(), "v"])
            .collect();
        assert!(conn.pipeline(&sets).iter().all(|reply| reply.is_ok()));
    }
    keys.into_iter().collect()
}

/// The cursor as one text, or the keys.
fn reply_part(value: &crate::support::Value) -> Vec<String> {
    match value.bytes() {
        Some(_) => vec![value.text()],
        None => value.list().iter().map(|key| key.text()).collect(),
    }
}

/// Follows the cursor to its end; all keys found, each once.
fn scan(options: &[&str], mut step: impl FnMut(&[&str]) -> Vec<Vec<String>>) -> HashSet<String> {
    let mut found = HashSet::new();
    let mut cursor = "0".to_owned();
    for _ in 0..1_000_000 {
        let request = [&["SCAN", cursor.as_str()], options].concat();
        let reply = step(&request);
        let [head, keys] = &reply[..] else {
            panic!("{request:?}: {reply:?}");
        };
        let [next] = &head[..] else {
            panic!("{request:?}: {reply:?}");
        };
        let number: u64 = next.parse().unwrap_or_else(|_| panic!("cursor {next}"));
        // Clients in JavaScript keep cursors as floating-point numbers, exact up to here.
        assert!(
            number < 1 << 53,
            "cursor {next} is too large for some clients"
        );
        found.extend(keys.iter().cloned());
        if number == 0 {
            return found;
        }
        cursor = next.clone();
    }
    panic!("the scan does not end; the last cursor was {cursor}");
}

fn assert_same(found: &HashSet<String>, expected: &HashSet<String>) {
    let missing: Vec<_> = expected.difference(found).take(5).collect();
    let surplus: Vec<_> = found.difference(expected).take(5).collect();
    assert!(
        found == expected,
        "found {} of {} keys; missing {missing:?} …, surplus {surplus:?} …",
        found.len(),
        expected.len()
    );
}
