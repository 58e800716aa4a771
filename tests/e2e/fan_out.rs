//! What concerns the whole cluster: the answer through slotcar is the one that a person gets by asking every node
//! and merging by hand.

use std::collections::HashMap;

use crate::support::slotcar::fields;
use crate::support::{Cluster, Conn, ServerKind, Slotcar, Value, slot_of, wait_until};

on_both!(
    keys_of_all_primaries_are_one_key_space,
    scripts_are_known_wherever_they_may_run,
    functions_are_known_wherever_they_may_run,
    a_setting_reaches_every_node,
    info_is_that_of_one_server,
);

fn keys_of_all_primaries_are_one_key_space(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 1);
    let slotcar = Slotcar::before(&cluster);
    let mut conn = slotcar.conn();
    for flush in ["FLUSHALL", "FLUSHDB"] {
        fill(&mut conn, 3000);
        let by_hand = |command: &[&str]| -> Vec<Value> {
            let primaries = cluster.primaries();
            primaries
                .into_iter()
                .map(|node| cluster.conn(node).ok(command))
                .collect()
        };
        let sizes: Vec<i64> = by_hand(&["DBSIZE"]).iter().map(Value::int).collect();
        assert!(
            sizes.iter().all(|size| *size > 0),
            "keys on every primary: {sizes:?}"
        );
        assert_eq!(conn.ok(&["DBSIZE"]).int(), sizes.iter().sum::<i64>());
        for pattern in ["*", "k:1*", "nothing"] {
            let mut keys: Vec<String> = by_hand(&["KEYS", pattern])
                .iter()
                .flat_map(Value::sorted_texts)
                .collect();
            keys.sort();
            assert_eq!(conn.ok(&["KEYS", pattern]).sorted_texts(), keys);
        }
        let key = conn.ok(&["RANDOMKEY"]).text();
        assert_eq!(conn.ok(&["EXISTS", &key]).int(), 1, "RANDOMKEY {key}");

        assert!(conn.ok(&[flush]).is_ok());
        assert!(
            by_hand(&["DBSIZE"]).iter().all(|size| size.int() == 0),
            "{flush}"
        );
        assert_eq!(conn.ok(&["KEYS", "*"]), Value::Array(Vec::new()));
        assert_eq!(conn.ok(&["RANDOMKEY"]), Value::Nil);
    }
}

fn scripts_are_known_wherever_they_may_run(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let slotcar = Slotcar::before(&cluster);
    let mut conn = slotcar.conn();
    let sha = conn
        .ok(&["SCRIPT", "LOAD", "return {KEYS[1], ARGV[1]}"])
        .text();
    for node in cluster.primaries() {
        let known = cluster.conn(node).ok(&["SCRIPT", "EXISTS", &sha]);
        assert_eq!(known.list(), [Value::Int(1)], "at node {node}");
    }
    for i in 0..100 {
        let key = format!("k:{i}");
        let reply = conn.ok(&["EVALSHA", &sha, "1", &key, "arg"]);
        assert_eq!(reply.list()[0].text(), key);
    }
    // Known to some nodes is not known: the element-wise AND.
    let partial = cluster
        .conn(0)
        .ok(&["SCRIPT", "LOAD", "return 'only here'"])
        .text();
    let exists = conn.ok(&["SCRIPT", "EXISTS", &sha, &partial]);
    assert_eq!(exists.list(), [Value::Int(1), Value::Int(0)]);

    assert!(conn.ok(&["SCRIPT", "FLUSH"]).is_ok());
    for node in cluster.primaries() {
        let known = cluster.conn(node).ok(&["SCRIPT", "EXISTS", &sha]);
        assert_eq!(known.list(), [Value::Int(0)], "at node {node}");
    }
}

fn functions_are_known_wherever_they_may_run(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let slotcar = Slotcar::before(&cluster);
    let mut conn = slotcar.conn();
    let library = "#!lua name=lib\nredis.register_function('first', function(keys, args) return keys[1] .. args[1] end)";
    assert_eq!(conn.ok(&["FUNCTION", "LOAD", library]).text(), "lib");
    for i in 0..100 {
        let key = format!("k:{i}");
        assert_eq!(
            conn.ok(&["FCALL", "first", "1", &key, "!"]).text(),
            format!("{key}!")
        );
    }
    let twice = conn.cmd(&["FUNCTION", "LOAD", library]);
    let alone = cluster.conn(0).cmd(&["FUNCTION", "LOAD", library]);
    assert_eq!(twice, alone, "the error that one node gives");
    assert!(conn.ok(&["FUNCTION", "DELETE", "lib"]).is_ok());
    for node in cluster.primaries() {
        assert_eq!(cluster.conn(node).ok(&["FUNCTION", "LIST"]).list(), []);
    }
}

fn a_setting_reaches_every_node(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 1);
    let slotcar = Slotcar::before(&cluster);
    let mut conn = slotcar.conn();
    let settings = [
        ("hash-max-listpack-entries", "77"),
        ("slowlog-max-len", "7"),
    ];
    for (name, value) in settings {
        assert!(conn.ok(&["CONFIG", "SET", name, value]).is_ok());
        for node in 0..6 {
            let at_node = cluster.conn(node).ok(&["CONFIG", "GET", name]);
            assert_eq!(at_node.list()[1].text(), value, "{name} at node {node}");
        }
        let seen = conn.ok(&["CONFIG", "GET", name]).entries();
        assert_eq!(seen.len(), 1);
        assert_eq!(
            (seen[0].0.text(), seen[0].1.text()),
            (name.to_owned(), value.to_owned())
        );
    }
    let refused = ["CONFIG", "SET", "no-such-setting", "1"];
    assert_eq!(conn.cmd(&refused), cluster.conn(0).cmd(&refused));

    let resp3 = Conn::open_resp3(slotcar.addr()).ok(&["CONFIG", "GET", "slowlog-*"]);
    assert!(
        matches!(resp3, Value::Map(_)),
        "RESP3 gets a map: {resp3:?}"
    );
    let mut at_node = Conn::open_resp3(cluster.addr(0));
    let sorted = |value: Value| {
        let mut entries: Vec<_> = value
            .entries()
            .into_iter()
            .map(|(name, value)| (name.text(), value.text()))
            .collect();
        entries.sort();
        entries
    };
    assert_eq!(
        sorted(resp3),
        sorted(at_node.ok(&["CONFIG", "GET", "slowlog-*"]))
    );
}

fn info_is_that_of_one_server(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 1);
    let slotcar = Slotcar::before(&cluster);
    let mut conn = slotcar.conn();
    fill(&mut conn, 3000);
    for i in 0..500 {
        conn.ok(&["EXPIRE", &format!("k:{i}"), "1000"]);
    }
    let by_hand: Vec<HashMap<String, String>> = cluster
        .primaries()
        .into_iter()
        .map(|node| fields(&cluster.conn(node).ok(&["INFO"]).text()))
        .collect();
    let info = conn.ok(&["INFO"]).text();
    let seen = fields(&info);

    let mode = match kind {
        ServerKind::Redis7 => "redis_mode",
        ServerKind::Valkey8 => "server_mode",
    };
    for (name, value) in [
        (mode, "standalone"),
        ("cluster_enabled", "0"),
        ("role", "master"),
    ] {
        assert_eq!(seen.get(name).map(String::as_str), Some(value), "{name}");
    }
    for version in ["redis_version", "valkey_version"] {
        assert_eq!(seen.get(version), by_hand[0].get(version));
    }
    assert!(
        info.contains("# slotcar") || info.contains("# Slotcar"),
        "{info}"
    );
    for field in ["keys", "expires"] {
        let sum: u64 = by_hand
            .iter()
            .map(|node| keyspace(&node["db0"], field))
            .sum();
        assert_eq!(
            keyspace(&seen["db0"], field),
            sum,
            "{field} in {}",
            seen["db0"]
        );
    }
    for hidden in ["master_host", "slave0:", "cluster_state"] {
        assert!(!info.contains(hidden), "{hidden} would show the cluster");
    }
    for node in 0..6 {
        let addr = cluster.addr(node).to_string();
        let server_part = info.split("# slotcar").next().unwrap_or_default();
        assert!(
            !server_part.contains(&addr),
            "the address of node {node} shows"
        );
    }
    let section = conn.ok(&["INFO", "keyspace"]).text();
    assert!(
        section.starts_with("# Keyspace\r\ndb0:keys=3000,expires=500"),
        "{section}"
    );
    assert!(!section.contains("redis_version"));

    conn.ok(&["FLUSHALL"]);
    wait_until(
        "an empty keyspace section",
        std::time::Duration::from_secs(5),
        || conn.ok(&["INFO", "keyspace"]).text() == "# Keyspace\r\n",
    );
}

fn keyspace(line: &str, field: &str) -> u64 {
    line.split(',')
        .filter_map(|pair| pair.split_once('='))
        .find_map(|(name, value)| (name == field).then(|| value.parse().unwrap()))
        .unwrap_or_else(|| panic!("no {field} in {line}"))
}

fn fill(conn: &mut Conn, count: usize) {
    let sets: Vec<Vec<String>> = (0..count)
        .map(|i| vec!["SET".to_owned(), format!("k:{i}"), "v".to_owned()])
        .collect();
    assert!(conn.pipeline(&sets).iter().all(Value::is_ok));
    let owners: std::collections::HashSet<u16> = (0..count)
        .map(|i| slot_of(format!("k:{i}")) / 5462)
        .collect();
    assert_eq!(owners.len(), 3, "keys for every primary");
}
