//! A configuration file at work: listeners with settings of their own, and what changes while slotcar runs.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::support::{Cluster, Conn, Server, ServerKind, Slotcar, address, slot_of, wait_until};

on_both!(
    each_listener_has_its_own_settings_and_upstream,
    what_may_change_changes_while_clients_are_served,
);

/// A configuration file of this test, removed in the end.
pub(crate) struct File(PathBuf);

impl File {
    pub(crate) fn new(name: &str, text: &str) -> File {
        let file = File(std::env::temp_dir().join(format!("slotcar-{name}.toml")));
        file.write(text);
        file
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.0, text).expect("a file of ours");
    }

    pub(crate) fn path(&self) -> String {
        self.0.display().to_string()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // It lies in the folder for such things.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Writes at one port, reads from replicas at the next, and another server altogether at a third.
fn each_listener_has_its_own_settings_and_upstream(kind: ServerKind) {
    let (cluster, server) = (Cluster::start(kind, 3, 1), Server::start_plain(kind));
    let (replicas, other) = (address::unused(), address::unused());
    let file = File::new(
        &replicas.to_string(),
        &format!(
            "cluster = \"{}\"\nmax-clients = 100\n\
             [[listener]]\nlisten = \"{replicas}\"\nread-from = \"replica\"\nread-only = \"on\"\n\
             [[listener]]\nlisten = \"{other}\"\nupstream = \"redis://{}/3\"\n",
            cluster.seeds(),
            server.addr()
        ),
    );
    let mut slotcar = Slotcar::start(&["--config", &file.path()]);
    let mut main = slotcar.conn();
    for n in 0..50 {
        main.ok(&["SET", &format!("k:{n}"), "v"]);
    }
    let mut nodes: Vec<Conn> = (0..6).map(|node| cluster.conn(node)).collect();
    let gets = |nodes: &mut [Conn]| -> u64 {
        let text = |node: &mut Conn| node.ok(&["INFO", "commandstats"]).text();
        let count = |text: String| {
            let calls = text.split_once("cmdstat_get:calls=")?.1;
            calls.split(',').next()?.parse::<u64>().ok()
        };
        nodes.iter_mut().filter_map(|node| count(text(node))).sum()
    };
    let [mut reader, mut plain] = [replicas, other].map(Conn::open);
    wait_until("all listeners serve", LIMIT, || {
        let serves = |conn: &mut Conn| conn.cmd(&["GET", "k"]).error().is_none();
        serves(&mut reader) && serves(&mut plain)
    });
    wait_until("replicas are read from", LIMIT, || {
        let before = gets(&mut nodes[3..]);
        for n in 0..50 {
            assert_eq!(reader.ok(&["GET", &format!("k:{n}")]).text(), "v");
        }
        gets(&mut nodes[3..]) == before + 50
    });
    let before = gets(&mut nodes[3..]);
    main.ok(&["GET", "k:1"]);
    assert_eq!(
        gets(&mut nodes[3..]),
        before,
        "the main listener reads at primaries"
    );
    assert!(reader.cmd(&["SET", "k:1", "w"]).error().is_some());
    // One server, where keys of all slots belong together, and in another database.
    plain.ok(&["MSET", "a", "1", "b", "2"]);
    plain.ok(&["RENAME", "a", "c"]);
    let mut direct = Conn::open(server.addr());
    direct.ok(&["SELECT", "3"]);
    assert_eq!(direct.ok(&["GET", "c"]).text(), "1");
    assert_eq!(main.ok(&["EXISTS", "c"]).int(), 0);
    // Each knows its own clients, and all end together.
    assert_eq!(plain.ok(&["CLIENT", "LIST"]).text().lines().count(), 1);
    slotcar.signal("TERM");
    for conn in [&mut main, &mut reader, &mut plain] {
        assert!(conn.read_to_end().is_empty());
    }
    assert!(slotcar.wait_end().success());
}

fn what_may_change_changes_while_clients_are_served(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let seeds = format!("cluster = \"{}\"\n", cluster.addr(0));
    let file = File::new(&cluster.addr(0).to_string(), &seeds);
    let mut slotcar = Slotcar::start(&["--config", &file.path()]);
    for expected in ["as it was", "restart", "max number of clients"] {
        slotcar.expect_log(expected);
    }
    let mut conn = slotcar.conn();
    conn.ok(&["SET", "k", "v"]);
    slotcar.expect_log("clients are turned away");
    let change = |text: &str, expected: &str| {
        file.write(text);
        wait_until(expected, LIMIT, || slotcar.log().contains(expected));
        slotcar.log()
    };
    assert!(!slotcar.log().contains("DEBUG"));
    let changed = format!(
        "{}max-clients = 2\nlog-level = \"debug\"\nclient-idle-timeout = \"300ms\"\n",
        seeds.replace(&cluster.addr(0).to_string(), &cluster.addr(1).to_string())
    );
    change(
        &changed,
        "changed: cluster, max-clients, client-idle-timeout, log-level",
    );
    // Whoever was idle has been closed by now, or soon is.
    drop(conn);
    let mut first = slotcar.conn();
    first.ok(&["SET", "k", "w"]);
    let mut second = slotcar.conn();
    second.ok(&["PING"]);
    let refused = slotcar.conn().read_to_end();
    assert_eq!(refused, b"-ERR max number of clients reached\r\n");
    // Who is idle from now on is closed.
    let start = Instant::now();
    assert!(second.read_to_end().is_empty());
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "{:?}",
        start.elapsed()
    );
    let mut node = cluster.conn(cluster.owner_of(slot_of("k")));
    node.ok(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    wait_until("more is logged", LIMIT, || slotcar.log().contains("DEBUG"));
    // What needs a restart, and what is wrong, are told; nothing changes then.
    change(
        &format!("{changed}workers = 2\n"),
        "changed, and needs a restart to count: workers",
    );
    let log = change(
        &format!("{changed}max-clinets = 9\n"),
        "all stays as it was",
    );
    assert!(log.contains("expected max-clients"), "{log}");
    let mut conn = slotcar.conn();
    conn.ok(&["SET", "k", "x"]);
    file.write(&seeds);
    slotcar.signal("HUP");
    wait_until("the defaults are back", LIMIT, || {
        slotcar.log().contains("changed: cluster, max-clients")
            && slotcar.log().matches("changed: ").count() >= 2
    });
    let conns: Vec<Conn> = (0..5).map(|_| slotcar.conn()).collect();
    for mut conn in conns {
        assert_eq!(conn.ok(&["GET", "k"]).text(), "x");
    }
}

const LIMIT: Duration = Duration::from_secs(10);
