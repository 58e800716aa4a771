//! What slotcar's connections are called at the nodes and the Sentinels: all of them, whatever they are for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::support::{Cluster, Conn, ServerKind, Slotcar, Watched, address, slot_of, wait_until};

on_both!(
    whoever_speaks_to_a_node_has_said_its_name,
    listeners_at_sentinels_and_all_others_have_the_name,
);

const LIMIT: Duration = Duration::from_secs(30);
const NAME: &str = "the-app";

/// `1339518083.107412 [0 127.0.0.1:60866] "client" "setname" "x"`: who, and what in lower case.
fn heard(line: &str) -> Option<(String, String)> {
    let (_, rest) = line.split_once(" [")?;
    let (who, said) = rest.split_once("] ")?;
    let (_, address) = who.split_once(' ')?;
    Some((
        address.to_owned(),
        said.replace('"', "").to_ascii_lowercase(),
    ))
}

fn whoever_speaks_to_a_node_has_said_its_name(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 1);
    let primary = cluster.primaries()[0];
    let slots = cluster.slots_of(primary);
    let mut keys = (0..).map(|n| format!("key:{n}"));
    let key = keys.find(|key| slots.contains(&slot_of(key))).unwrap();
    // From here on nobody but slotcar speaks to it.
    let mut monitor = cluster.conn(primary);
    monitor.ok(&["MONITOR"]);
    let admin = address::unused().to_string();
    let seeds = cluster.addr(primary).to_string();
    let args = [
        "--cluster",
        &seeds,
        "--client-name",
        NAME,
        "--admin",
        &admin,
    ];
    let more = ["--read-from", "nearest", "--node-info-interval", "1s"];
    let slotcar = Slotcar::start(&[args.as_slice(), &more].concat());
    slotcar.conn().ok(&["SET", &key, "v"]);
    // The probe, how it is, whether it may be read from, the topology, what kind of server, and a worker.
    let mut wanted: BTreeSet<&str> = [
        "ping",
        "info",
        "info replication",
        "cluster slots",
        "command",
        "set",
    ]
    .into();
    let mut said: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let began = Instant::now();
    while !wanted.is_empty() {
        assert!(began.elapsed() < LIMIT, "nobody said {wanted:?}: {said:?}");
        let line = monitor.recv().text();
        let Some((who, what)) = heard(&line) else {
            continue;
        };
        let before = said.entry(who).or_default();
        before.push(what.clone());
        let named = before
            .iter()
            .position(|words| *words == format!("client setname {NAME}"));
        // A worker asks first whether there is somebody.
        let first = ["ping", "hello 3"].contains(&before[0].as_str());
        let in_time = named.is_some_and(|at| at <= usize::from(first));
        assert!(in_time || (first && before.len() == 1), "{before:?}");
        if named.is_some_and(|at| at + 1 < before.len()) {
            wanted.retain(|word| !(what == *word || what.starts_with(&format!("{word} key:"))));
        }
    }
    for node in cluster.running() {
        assert_named(&mut cluster.conn(node));
    }
}

fn listeners_at_sentinels_and_all_others_have_the_name(kind: ServerKind) {
    let watched = Watched::start(kind, 1);
    let sentinels = watched.addrs();
    let _slotcar = Slotcar::start(&["--sentinel", &sentinels, "--client-name", NAME]);
    for index in 0..3 {
        let mut sentinel = watched.sentinel_conn(index);
        wait_until("a listener has our name", LIMIT, || {
            let listeners = clients(&mut sentinel);
            let mut listeners = listeners
                .iter()
                .filter(|client| client["name"] == NAME && client["sub"] == "2");
            listeners.next().is_some()
        });
    }
    let mut primary = watched.conn(0);
    wait_until("the probe and the worker are there", LIMIT, || {
        let ours = clients(&mut primary);
        ours.iter().filter(|client| client["name"] == NAME).count() >= 2
    });
}

/// What `CLIENT LIST` says of each client.
fn clients(conn: &mut Conn) -> Vec<BTreeMap<String, String>> {
    let text = conn.ok(&["CLIENT", "LIST"]).text();
    let fields = |line: &str| {
        let words = line.split(' ').filter_map(|word| word.split_once('='));
        words
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    };
    text.lines().map(fields).collect()
}

/// Everybody but this connection, replicas and primaries is slotcar, and has its name as soon as it has said anything.
fn assert_named(conn: &mut Conn) {
    let own = conn.ok(&["CLIENT", "ID"]).int().to_string();
    let others = clients(conn);
    let ours = others.iter().filter(|client| {
        let is_server = client["flags"].contains(['M', 'S', 'O']);
        client["id"] != own && !is_server && client["cmd"] != "NULL"
    });
    let mut count = 0;
    for client in ours {
        assert_eq!(client["name"], NAME, "{client:?}");
        count += 1;
    }
    assert!(count > 0, "nobody is there: {others:?}");
}
