//! A cluster that appears to have databases: what the nodes have, and what sessions see of each other. (What each request answers is compared
//! with one server in tests/differential.)

use crate::shown::Shown;
use crate::support::{Cluster, Conn, ServerKind, Slotcar, Value};

on_both!(
    keys_of_all_databases_are_spread_and_told_apart,
    each_database_is_counted_and_emptied_alone,
    what_cannot_be_done_is_refused,
    a_primary_dies_under_a_database,
    who_looks_at_keys_sees_their_databases,
);

fn before(cluster: &Cluster, more: &[&str]) -> Slotcar {
    let seeds = cluster.seeds();
    let flags = ["--cluster", &seeds, "--databases", "16"];
    Slotcar::start(&[&flags[..], more].concat())
}

fn in_database(slotcar: &Slotcar, number: &str) -> Conn {
    let mut conn = slotcar.conn();
    conn.ok(&["SELECT", number]);
    conn
}

fn keys_of_all_databases_are_spread_and_told_apart(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let slotcar = before(&cluster, &["--keep-together", "q:*"]);
    for number in ["0", "3", "15"] {
        let mut conn = in_database(&slotcar, number);
        conn.ok(&["SET", "user:1", number]);
        conn.ok(&["MSET", "q:1", number, "q:2", number]);
        conn.ok(&["RENAME", "q:1", "q:3"]);
    }
    let mut stored = Vec::new();
    for node in cluster.primaries() {
        stored.extend(cluster.conn(node).ok(&["KEYS", "*"]).sorted_texts());
    }
    stored.sort();
    let expected = ["", "@db15:", "@db3:"].map(|prefix| {
        let name = |key: &str| format!("{prefix}{key}");
        ["user:1", "{q}q:2", "{q}q:3"].map(name)
    });
    let mut expected: Vec<String> = expected.concat();
    expected.sort();
    assert_eq!(stored, expected);

    let mut conn = in_database(&slotcar, "7");
    for number in 0..300 {
        conn.ok(&["SET", &format!("key:{number}"), "v"]);
    }
    for node in cluster.primaries() {
        let keys = cluster.conn(node).ok(&["DBSIZE"]).int();
        assert!(keys > 50, "node {node} has {keys}");
    }
    let list = slotcar.conn().ok(&["CLIENT", "LIST"]).text();
    assert!(list.contains(" db=7 "), "{list}");
}

fn each_database_is_counted_and_emptied_alone(kind: ServerKind) {
    const KEYS: i64 = 5000;
    let cluster = Cluster::start(kind, 3, 0);
    let slotcar = before(&cluster, &[]);
    for number in ["0", "1", "2"] {
        let mut conn = in_database(&slotcar, number);
        let requests: Vec<Vec<String>> = (0..KEYS)
            .map(|key| vec!["SET".to_owned(), format!("k:{key}"), number.to_owned()])
            .collect();
        conn.pipeline(&requests);
        assert_eq!(conn.ok(&["DBSIZE"]).int(), KEYS);
    }
    let mut one = in_database(&slotcar, "1");
    one.ok(&["FLUSHDB"]);
    assert_eq!(one.ok(&["DBSIZE"]).int(), 0);
    assert_eq!(one.ok(&["RANDOMKEY"]), Value::Nil);
    let mut two = in_database(&slotcar, "2");
    assert_eq!(two.ok(&["DBSIZE"]).int(), KEYS);
    assert!(two.ok(&["RANDOMKEY"]).text().starts_with("k:"));
    let mut zero = slotcar.conn();
    assert_eq!(zero.ok(&["DBSIZE"]).int(), KEYS);
    zero.ok(&["FLUSHDB", "SYNC"]);
    assert_eq!(zero.ok(&["DBSIZE"]).int(), 0);
    assert_eq!(two.ok(&["DBSIZE"]).int(), KEYS);
}

fn what_cannot_be_done_is_refused(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let slotcar = before(&cluster, &[]);
    let mut conn = in_database(&slotcar, "1");
    conn.ok(&["SET", "k", "v"]);
    for (request, error) in [
        (&["SELECT", "16"][..], "ERR DB index is out of range"),
        (&["MOVE", "k", "2"], "cluster"),
        (&["SWAPDB", "0", "1"], "cluster"),
    ] {
        let reply = conn.cmd(request);
        let text = reply.error().expect("an error");
        assert!(text.contains(error), "{request:?}: {text}");
    }
    assert_eq!(conn.ok(&["GET", "k"]).text(), "v");
}

/// Sessions stay where they are, and so do their keys.
fn a_primary_dies_under_a_database(kind: ServerKind) {
    let mut cluster = Cluster::start(kind, 3, 1);
    let mut slotcar = before(&cluster, &[]);
    slotcar.expect_log(" WARN ");
    let mut conn = in_database(&slotcar, "5");
    let keys: Vec<String> = (0..60).map(|number| format!("k:{number}")).collect();
    for key in &keys {
        conn.ok(&["SET", key, "v"]);
    }
    assert_eq!(conn.ok(&["WAIT", "1", "5000"]).int(), 1);
    cluster.kill(0);
    for key in &keys {
        assert_eq!(conn.ok(&["GET", key]).text(), "v", "{key}");
    }
    assert_eq!(conn.ok(&["DBSIZE"]).int(), 60);
}

fn who_looks_at_keys_sees_their_databases(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let seeds = cluster.seeds();
    let more = [
        "--databases",
        "16",
        "--keep-together",
        "q:*",
        "--sample-every",
        "1",
    ];
    let shown = Shown::start(&[&["--cluster", &seeds], &more[..]].concat());
    for (number, reads) in [("0", 60), ("3", 90), ("15", 30)] {
        let mut conn = in_database(&shown.slotcar, number);
        conn.ok(&["SET", "q:1", &"x".repeat(reads * 100)]);
        for _ in 0..reads {
            conn.ok(&["GET", "q:1"]);
        }
    }
    let status = shown.json("/status");
    let service = &status["services"][0];
    let keys = |table: &str| -> Vec<String> {
        let rows = service[table].as_array().expect("a table").iter();
        let keys = rows.map(|row| row["key"].as_str().expect("a name").to_owned());
        keys.filter(|key| key.starts_with("q:")).collect()
    };
    for table in ["hot_keys", "large_values"] {
        assert_eq!(keys(table), ["q:1 (db3)", "q:1", "q:1 (db15)"], "{table}");
    }
}
