//! What concerns all clients, whichever worker serves them: the slow log, `CLIENT LIST`, `KILL` and `PAUSE`.

use std::time::{Duration, Instant};

use crate::support::value::Value;
use crate::support::{Cluster, Conn, ServerKind, Slotcar, wait_until};

on_both!(
    the_slow_log_shows_where_time_was_spent,
    clients_of_all_workers_are_listed_paused_and_killed,
    clients_of_all_workers_are_counted,
    whoever_waits_is_woken_by_a_client_of_any_worker,
);

/// Busy for more than 15 ms on any machine.
const BUSY: &str = "for i = 1, 2e7 do end return KEYS[1]";

/// Entries of `SLOWLOG GET` about a key.
fn slow_about(conn: &mut Conn, key: &str) -> Vec<Vec<String>> {
    let entries = conn.ok(&["SLOWLOG", "GET", "-1"]);
    let arguments = |entry: &Value| {
        let arguments = entry.list()[3].list().iter().map(Value::text);
        arguments.collect::<Vec<String>>()
    };
    let entries = entries.list().iter().map(arguments);
    entries
        .filter(|entry| entry.iter().any(|argument| argument == key))
        .collect()
}

fn the_slow_log_shows_where_time_was_spent(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 1);
    let seeds = cluster.seeds();
    let more = ["--workers", "2", "--slow-log-threshold", "15ms"];
    let slotcar = Slotcar::start(&[&["--cluster", &seeds], &more[..]].concat());
    let mut conns: Vec<Conn> = (0..4).map(|_| slotcar.conn()).collect();
    let keys = ["slow:0", "slow:1", "slow:2", "slow:3"];
    for (conn, key) in conns.iter_mut().zip(keys) {
        conn.ok(&["CLIENT", "SETNAME", key]);
        conn.ok(&["EVAL", BUSY, "1", key]);
    }
    // The nodes' view, from 10 ms on, and slotcar's, whichever worker is asked.
    for conn in &mut conns {
        for key in keys {
            let entries = slow_about(conn, key);
            assert_eq!(entries.len(), 2, "{entries:?}");
            let ours = entries.iter().find_map(|entry| stages(entry.last()?));
            let (wait, node) = ours.unwrap_or_else(|| panic!("{entries:?}"));
            assert!((15_000..10_000_000).contains(&node), "{entries:?}");
            assert!(wait < 10_000_000, "{entries:?}");
        }
    }
    let all = conns[0].ok(&["SLOWLOG", "GET", "-1"]);
    let ours = all.list().iter().filter_map(|entry| {
        let arguments = entry.list()[3].list();
        let is_ours = stages(&arguments.last()?.text()).is_some();
        (is_ours && arguments[0].text() == "EVAL").then(|| arguments[3].text())
    });
    assert_eq!(
        ours.collect::<Vec<_>>(),
        ["slow:3", "slow:2", "slow:1", "slow:0"]
    );
    let newest = conns[0].ok(&["SLOWLOG", "GET", "1"]);
    let entry = newest.list()[0].list();
    assert_eq!((newest.list().len(), entry.len()), (1, 6), "{newest:?}");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let age = now
        .unwrap()
        .as_secs()
        .abs_diff(entry[1].int().try_into().unwrap());
    assert!(age < 600, "Unix time, in seconds: {entry:?}");
    assert!(conns[3].ok(&["SLOWLOG", "LEN"]).int() >= 8);
    conns[1].ok(&["SLOWLOG", "RESET"]);
    for key in keys {
        assert_eq!(slow_about(&mut conns[2], key).len(), 0, "{key}");
    }
}

/// Microseconds of waiting and at the node, as slotcar says them behind the arguments.
fn stages(note: &str) -> Option<(u64, u64)> {
    let (wait, rest) = note
        .strip_prefix("slotcar: ")?
        .split_once(" us waiting, ")?;
    let (node, endpoint) = rest.split_once(" us at ")?;
    assert!(endpoint.starts_with("127."), "{note}");
    Some((wait.parse().ok()?, node.parse().ok()?))
}

/// What is put in front of a script is not what the app has written.
#[test]
fn a_slow_script_is_shown_as_it_was_written() {
    let cluster = Cluster::start(ServerKind::Redis7, 1, 0);
    let seeds = cluster.seeds();
    let more = ["--keep-together", "kept:*", "--slow-log-threshold", "15ms"];
    let slotcar = Slotcar::start(&[&["--cluster", &seeds], &more[..]].concat());
    let mut conn = slotcar.conn();
    assert_eq!(conn.ok(&["EVAL", BUSY, "1", "kept:1"]).text(), "kept:1");
    let entries = slow_about(&mut conn, "kept:1");
    assert_eq!(entries.len(), 1, "the node knows another name: {entries:?}");
    assert_eq!(entries[0][..4], ["EVAL", BUSY, "1", "kept:1"]);
    let name = conn.ok(&["SCRIPT", "LOAD", BUSY]).text();
    conn.ok(&["EVALSHA", &name, "1", "kept:2"]);
    let entries = slow_about(&mut conn, "kept:2");
    assert_eq!(entries[0][..4], ["EVALSHA", &name, "1", "kept:2"]);
}

fn clients_of_all_workers_are_listed_paused_and_killed(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let slotcar = Slotcar::start(&["--cluster", &cluster.seeds(), "--workers", "3"]);
    let mut conns: Vec<Conn> = (0..9).map(|_| slotcar.conn()).collect();
    let id = |conn: &mut Conn| conn.ok(&["CLIENT", "ID"]).int();
    let ids: Vec<i64> = conns.iter_mut().map(id).collect();
    let listed = |conn: &mut Conn| {
        let text = conn.ok(&["CLIENT", "LIST"]).text();
        let id = |line: &str| line.split_once("id=")?.1.split(' ').next()?.parse().ok();
        text.lines().filter_map(id).collect::<Vec<i64>>()
    };
    for conn in &mut conns {
        assert_eq!(listed(conn), ids);
    }
    // Answers keep their order, also when others have to be asked for some.
    let requests = [vec!["PING", "a"], vec!["CLIENT", "LIST"], vec!["PING", "b"]];
    let replies = conns[0].pipeline(&vec![requests; 20].concat());
    for three in replies.chunks(3) {
        assert_eq!((three[0].text(), three[2].text()), ("a".into(), "b".into()));
        assert_eq!(three[1].text().lines().count(), ids.len());
    }

    let pause = Duration::from_millis(400);
    let began = Instant::now();
    conns[0].ok(&["CLIENT", "PAUSE", "400", "WRITE"]);
    for conn in &mut conns {
        conn.ok(&["GET", "key"]);
    }
    conns[1..].iter_mut().for_each(|conn| {
        conn.send_raw(&crate::support::conn::encode(&["SET", "key", "value"]));
    });
    for conn in &mut conns[1..] {
        assert_eq!(conn.recv().text(), "OK");
        assert!(began.elapsed() >= pause, "{:?}", began.elapsed());
    }

    let victims = [ids[1].to_string(), ids[2].to_string(), ids[3].to_string()];
    for victim in &victims {
        assert_eq!(conns[0].ok(&["CLIENT", "KILL", "ID", victim]).int(), 1);
    }
    for conn in &mut conns[1..4] {
        assert_eq!(conn.read_to_end(), b"");
    }
    assert_eq!(listed(&mut conns[4]), [&ids[..1], &ids[4..]].concat());
    assert_eq!(conns[0].ok(&["CLIENT", "KILL", "TYPE", "normal"]).int(), 5);
    assert_eq!(listed(&mut conns[0]), ids[..1]);
}

/// A field of `INFO`.
fn field(conn: &mut Conn, section: &str, name: &str) -> u64 {
    let text = conn.ok(&["INFO", section]).text();
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let value = value.unwrap_or_else(|| panic!("no {name} in {text}"));
    value.trim().parse().expect("a number")
}

fn clients_of_all_workers_are_counted(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let slotcar = Slotcar::start(&["--cluster", &cluster.seeds(), "--workers", "3"]);
    let mut conns: Vec<Conn> = (0..9).map(|_| slotcar.conn()).collect();
    for conn in &mut conns {
        conn.ok(&["PING"]);
    }
    let mut first = None;
    for (nth, conn) in conns.iter_mut().enumerate() {
        assert_eq!(field(conn, "clients", "connected_clients"), 9);
        assert_eq!(field(conn, "everything", "connected_clients"), 9);
        assert_eq!(field(conn, "slotcar", "sessions"), 9);
        assert_eq!(field(conn, "slotcar", "nodes"), 3);
        let requests = field(conn, "slotcar", "requests");
        assert_eq!(requests, *first.get_or_insert(requests) + 5 * nth as u64);
    }
    let requests = [
        vec!["PING", "a"],
        vec!["INFO"],
        vec!["INFO", "slotcar"],
        vec!["PING", "b"],
    ];
    for four in conns[0].pipeline(&vec![requests; 20].concat()).chunks(4) {
        assert_eq!((four[0].text(), four[3].text()), ("a".into(), "b".into()));
        for info in &four[1..3] {
            assert!(info.text().contains("\r\nsessions:9\r\n"), "{info:?}");
        }
    }
}

fn whoever_waits_is_woken_by_a_client_of_any_worker(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let slotcar = Slotcar::start(&["--cluster", &cluster.seeds(), "--workers", "3"]);
    let mut conns: Vec<Conn> = (0..9).map(|_| slotcar.conn()).collect();
    let ids: Vec<String> = (conns.iter_mut())
        .map(|conn| conn.ok(&["CLIENT", "ID"]).int().to_string())
        .collect();
    let (wakers, waiters) = conns.split_at_mut(3);
    let unblock = |waker: &mut Conn, id: &str, how| waker.ok(&["CLIENT", "UNBLOCK", id, how]).int();
    assert_eq!(
        unblock(&mut wakers[0], &ids[4], "TIMEOUT"),
        0,
        "it does not wait"
    );
    assert_eq!(
        unblock(&mut wakers[0], "999999", "TIMEOUT"),
        0,
        "there is none"
    );
    for waker in wakers {
        for (nth, waiter) in waiters.iter_mut().enumerate() {
            // At a node, or here: the keys are of several slots.
            let words = if nth % 2 == 0 {
                vec!["BLPOP", "one", "0"]
            } else {
                vec!["BLPOP", "one", "two", "three", "0"]
            };
            waiter.send_raw(&crate::support::conn::encode(&words));
        }
        for (nth, (waiter, id)) in waiters.iter_mut().zip(&ids[3..]).enumerate() {
            let how = if nth < 3 { "TIMEOUT" } else { "ERROR" };
            wait_until("it waits, and is woken", Duration::from_secs(10), || {
                unblock(waker, id, how) == 1
            });
            let reply = waiter.recv();
            if nth < 3 {
                assert!(matches!(reply, Value::Nil), "{reply:?}");
            } else {
                assert!(
                    reply.error().unwrap_or_default().starts_with("UNBLOCKED"),
                    "{reply:?}"
                );
            }
        }
    }
    // Their connections are as good as before.
    conns[0].ok(&["RPUSH", "one", "1", "2", "3", "4", "5", "6"]);
    for conn in &mut conns[3..] {
        assert_eq!(
            conn.ok(&["BLPOP", "one", "two", "1"]).list()[0].text(),
            "one"
        );
    }
}
