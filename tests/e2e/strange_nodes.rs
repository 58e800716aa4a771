//! Nodes that are neither well nor gone: busy, deaf, or of no use. And descriptors that run out here.

use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::support::{Cluster, ServerKind, Slotcar, Value, address, slot_of, wait_until};

on_both!(
    while_a_script_blocks_a_node_everything_for_it_waits_and_nothing_is_lost,
    a_client_that_waits_for_long_makes_no_node_look_dead,
    a_dead_owner_whose_port_somebody_deaf_has_taken_is_left_for_its_replica,
);

fn while_a_script_blocks_a_node_everything_for_it_waits_and_nothing_is_lost(kind: ServerKind) {
    let cluster = patient_cluster(kind);
    let mut slotcar = Slotcar::before(&cluster);
    slotcar.expect_log("primary does not answer");
    let owner = cluster.owner_of(slot_of("{s}count"));
    let mut counters: Vec<_> = (0..4).map(|_| slotcar.conn()).collect();
    let mut busy = slotcar.conn();
    let start = Instant::now();
    let (script, longest) = std::thread::scope(|scope| {
        let script = scope.spawn(|| {
            assert_eq!(busy.ok(&["EVAL", spin(kind), "1", "{s}key"]).text(), "done");
            start.elapsed()
        });
        let count = |conn| scope.spawn(move || count_until(conn, start + Duration::from_secs(5)));
        let counting: Vec<_> = counters.iter_mut().map(count).collect();
        let ends = counting.into_iter().map(|thread| thread.join().unwrap());
        let longest = ends.max().unwrap();
        (script.join().unwrap(), longest)
    });
    println!("longest wait beside a script of {script:?}: {longest:?}");
    assert!(longest >= script / 2, "it did block the node");
    assert!(longest <= script + Duration::from_millis(300));
    let counted: i64 = counters
        .iter_mut()
        .map(|conn| conn.ok(&["CLIENT", "ID"]).int())
        .map(|id| slotcar.conn().ok(&["GET", &format!("{{s}}count:{id}")]))
        .map(|count| count.text().parse::<i64>().unwrap())
        .sum();
    assert_eq!(
        slotcar.conn().ok(&["GET", "{s}count"]).text(),
        counted.to_string()
    );
    assert_eq!(cluster.owner_of(slot_of("{s}count")), owner);
}

fn a_client_that_waits_for_long_makes_no_node_look_dead(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    // Any WARN fails the test when slotcar is dropped.
    let slotcar = Slotcar::before(&cluster);
    let mut waiting = slotcar.conn();
    waiting.send_raw(&crate::support::conn::encode(&["BLPOP", "{s}queue", "4"]));
    let (end, mut conn) = (Instant::now() + Duration::from_secs(4), slotcar.conn());
    let mut longest = Duration::ZERO;
    while Instant::now() < end {
        let asked = Instant::now();
        conn.ok(&["INCR", "{s}count"]);
        longest = longest.max(asked.elapsed());
    }
    assert!(longest < Duration::from_secs(1), "{longest:?}");
    assert_eq!(waiting.recv(), Value::Nil);
    assert!(!slotcar.log().contains("does not answer"));
}

fn a_dead_owner_whose_port_somebody_deaf_has_taken_is_left_for_its_replica(kind: ServerKind) {
    let mut cluster = Cluster::start(kind, 3, 1);
    let mut slotcar = Slotcar::before(&cluster);
    for node in 0..6 {
        slotcar.expect_log(&cluster.addr(node).to_string());
    }
    let owner = cluster.owner_of(slot_of("key"));
    let mut conn = slotcar.conn();
    conn.ok(&["SET", "key", "value"]);
    cluster.conn(owner).ok(&["WAIT", "1", "5000"]);
    cluster.kill(owner);
    let deaf = TcpListener::bind(cluster.addr(owner)).unwrap();
    let start = Instant::now();
    assert_eq!(conn.ok(&["GET", "key"]).text(), "value");
    conn.ok(&["SET", "key", "new"]);
    println!("back after {:?}", start.elapsed());
    drop(deaf);
}

/// The node says who serves what, and refuses everything else for ever.
#[test]
fn a_node_that_loads_for_ever_holds_requests_until_the_hold_is_over_and_then_that_is_said() {
    let addr = address::unused();
    let listener = TcpListener::bind(addr).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || load_for_ever(stream, addr));
        }
    });
    let slotcar =
        Slotcar::start_listening(&["--cluster", &addr.to_string(), "--failover-hold", "1500ms"]);
    wait_until("slotcar has a topology", Duration::from_secs(10), || {
        slotcar.log().contains("topology learned")
    });
    for _ in 0..2 {
        let start = Instant::now();
        let reply = slotcar.conn().cmd(&["GET", "key"]);
        let (error, took) = (reply.error().unwrap().to_owned(), start.elapsed());
        assert!(
            error.starts_with("CLUSTERDOWN slotcar: no primary for slot"),
            "{error}"
        );
        assert!(
            took >= Duration::from_millis(1400) && took < Duration::from_secs(3),
            "{took:?}"
        );
    }
}

/// When descriptors run out, requests wait for a link, and no node is blamed.
#[test]
fn without_a_descriptor_for_a_link_requests_wait_until_there_is_one() {
    let cluster = Cluster::start(ServerKind::Redis7, 3, 0);
    let mut slotcar = Slotcar::before(&cluster);
    slotcar.expect_log("this machine cannot open a link");
    let mut conn = slotcar.conn();
    conn.ok(&["SET", "other", "value"]);
    // RESP3 has links of its own, which are not there yet.
    let mut resp3 = slotcar.conn();
    resp3.cmd(&["HELLO", "3"]);
    // A new descriptor gets the lowest free number, which must be below the limit.
    let is_open = |number: &u64| {
        let link = format!("/proc/{}/fd/{number}", slotcar.pid());
        std::fs::symlink_metadata(link).is_ok()
    };
    let lowest_free = (0..).find(|number| !is_open(number)).unwrap();
    limit_descriptors(slotcar.pid(), &lowest_free.to_string());
    let asked = std::thread::spawn(move || {
        for key in 0..20 {
            resp3.ok(&["SET", &format!("key:{key}"), "value"]);
        }
    });
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) {
        conn.ok(&["SET", "other", "value"]);
        std::thread::sleep(Duration::from_millis(20));
    }
    let starved = slotcar.log().contains("this machine cannot open a link");
    limit_descriptors(slotcar.pid(), "1024");
    asked.join().unwrap();
    assert!(starved, "there was a descriptor left");
    assert!(!slotcar.log().contains("does not answer"));
}

fn limit_descriptors(pid: u32, most: &str) {
    let prlimit = std::process::Command::new("prlimit")
        .args(["--pid", &pid.to_string(), &format!("--nofile={most}:1024")])
        .status();
    assert!(prlimit.unwrap().success());
}

/// Nodes that forgive a silence of a minute: no failover.
fn patient_cluster(kind: ServerKind) -> Cluster {
    let cluster = Cluster::start(kind, 3, 1);
    for node in 0..6 {
        let set = ["CONFIG", "SET", "cluster-node-timeout", "60000"];
        cluster.conn(node).ok(&set);
    }
    cluster
}

/// Counts for itself and for all until `end`; returns the longest wait for an answer.
fn count_until(conn: &mut crate::support::Conn, end: Instant) -> Duration {
    let id = conn.ok(&["CLIENT", "ID"]).int();
    let own = format!("{{s}}count:{id}");
    let mut longest = Duration::ZERO;
    while Instant::now() < end {
        let asked = Instant::now();
        conn.ok(&["INCR", &own]);
        conn.ok(&["INCR", "{s}count"]);
        longest = longest.max(asked.elapsed());
    }
    longest
}

fn load_for_ever(stream: TcpStream, addr: SocketAddr) {
    let mut requests = BufReader::new(stream);
    while let Ok(request) = Value::read(&mut requests) {
        let words: Vec<String> = request.list().iter().map(Value::text).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let reply = match words.as_slice() {
            ["CLUSTER", "SLOTS"] => {
                let (host, port) = (addr.ip().to_string(), addr.port());
                let id = "0123456789012345678901234567890123456789";
                format!(
                    "*1\r\n*3\r\n:0\r\n:16383\r\n*3\r\n${}\r\n{host}\r\n:{port}\r\n$40\r\n{id}\r\n",
                    host.len()
                )
            }
            _ => "-LOADING Redis is loading the dataset in memory\r\n".to_owned(),
        };
        if requests.get_mut().write_all(reply.as_bytes()).is_err() {
            return;
        }
    }
}

/// A script that spins for two seconds: less than the five after which a node says that it is busy.
///
/// Redis 7.0 gives scripts no `os`; for a script of Valkey 8 the time stands still.
fn spin(kind: ServerKind) -> &'static str {
    match kind {
        ServerKind::Redis7 => {
            "local function now() local t = redis.call('TIME') return t[1] * 1000000 + t[2] end \
            local start = now() while now() - start < 2000000 do end return 'done'"
        }
        ServerKind::Valkey8 => {
            "local start = os.clock() while os.clock() - start < 2 do end return 'done'"
        }
    }
}
