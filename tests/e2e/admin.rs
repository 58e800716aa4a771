//! What a running slotcar shows over HTTP: probes, metrics, the status page's data, and being drained.

use std::io::{self, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use crate::fake_nodes::{FakeNodes, get};
use crate::shown::{SECONDS, Shown, assert_moved};
use crate::support::{Cluster, Conn, ServerKind, Slotcar, slot_of, wait_until};

on_both!(
    a_failover_shows_and_readiness_waits_for_as_long_as_requests_are_held,
    a_loaded_slotcar_is_drained_without_an_error,
);

fn a_failover_shows_and_readiness_waits_for_as_long_as_requests_are_held(kind: ServerKind) {
    let mut cluster = Cluster::start(kind, 3, 1);
    let mut shown = Shown::before(&cluster, &["--failover-hold", "7s"]);
    shown.slotcar.expect_log("primary does not answer");
    shown.slotcar.expect_log("cannot learn the topology");
    assert_eq!(shown.get("/readyz"), (200, "ok\n".into()));
    assert_eq!(shown.get("/startupz").0, 200);
    assert_eq!(shown.get("/livez").0, 200);
    assert!(healthcheck(&shown, "readyz").0);

    let before = shown.metrics();
    let slot = slot_of("counter");
    let victim = cluster.owner_of(slot);
    let addr = shown.slotcar.addr();
    cluster.kill(victim);
    let mut conn = Conn::open(addr);
    conn.ok(&["INCR", "counter"]);
    shown.wait_for("it is over", SECONDS(20), |samples| {
        samples.sum("slotcar_suspect_nodes") == 0.0 && samples.sum("slotcar_held_requests") == 0.0
    });
    assert_moved(
        "a failover",
        &[
            "+slotcar_holds_total",
            "+slotcar_held_requests_total",
            "+slotcar_delayed_requests_total",
            "+slotcar_longest_delay_seconds",
            "+slotcar_links_lost_total",
            "+slotcar_topology_changes_total",
            "+slotcar_failovers_total",
        ],
        &[before, shown.metrics()],
    );
    wait_until("the page's data tell of it", SECONDS(10), || {
        let status = shown.json("/status");
        let events = status["events"].as_array().unwrap();
        let kinds: Vec<&str> = events.iter().filter_map(|e| e["kind"].as_str()).collect();
        ["start", "topology", "node_down", "failover", "hold_over"]
            .iter()
            .all(|kind| kinds.contains(kind))
    });

    // Its replica serves now: with that gone, too, the shard is lost.
    let last = cluster.owner_of(slot);
    let start = Instant::now();
    cluster.kill(last);
    wait_until("it is not ready", SECONDS(15), || {
        shown.get("/readyz").0 == 503
    });
    let took = start.elapsed();
    let hold = SECONDS(7);
    println!("not ready {:?} after the hold", took.saturating_sub(hold));
    assert!(
        took >= hold - Duration::from_millis(100) && took < hold + SECONDS(2),
        "{took:?}"
    );
    let (_, reasons) = shown.get("/readyz");
    assert!(
        reasons.contains(&cluster.addr(last).to_string()),
        "{reasons}"
    );
    assert_eq!(shown.metrics().sum("slotcar_ready"), 0.0);
    let (is_well, said) = healthcheck(&shown, "readyz");
    assert!(!is_well && said.contains("does not answer"), "{said}");
    assert!(healthcheck(&shown, "livez").0);

    cluster.restart(last);
    wait_until("the shard answers", SECONDS(20), || {
        let mut conn = cluster.conn(last);
        conn.cmd(&["CLUSTER", "INFO"])
            .text()
            .contains("cluster_state:ok")
    });
    let start = Instant::now();
    wait_until("it is ready", SECONDS(10), || shown.get("/readyz").0 == 200);
    println!("ready {:?} after its shard", start.elapsed());
    assert!(start.elapsed() < SECONDS(1), "{:?}", start.elapsed());
}

/// Whether it is well, and what it says.
fn healthcheck(shown: &Shown, probe: &str) -> (bool, String) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_slotcar"));
    let admin = shown.admin.to_string();
    let args = ["healthcheck", probe, "--admin", &admin, "--cluster", "a:1"];
    let output = program.args(args).env_clear().output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.success(), said)
}

fn a_loaded_slotcar_is_drained_without_an_error(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let mut shown = Shown::before(&cluster, &[]);
    let addr = shown.slotcar.addr();
    let clients: Vec<_> = (0..32)
        .map(|index| {
            let stream = TcpStream::connect(addr).unwrap();
            thread::spawn(move || {
                crate::leaving::incr_until_eof(stream, &format!("count:{index}"), 1 + index % 5)
            })
        })
        .collect();
    shown.wait_for("they are at it", SECONDS(10), |samples| {
        samples.sum("slotcar_requests_total class=write") > 3_000.0
    });
    assert_eq!(shown.get("/drain").0, 405);
    assert_eq!(shown.ask("POST", "/drain", "Host: localhost\r\n").0, 202);
    let acknowledged: Vec<u64> = clients.into_iter().map(|c| c.join().unwrap()).collect();
    assert_eq!(shown.slotcar.wait_end().code(), Some(0));
    for (index, acknowledged) in acknowledged.into_iter().enumerate() {
        let key = format!("count:{index}");
        let value = cluster
            .conn(cluster.owner_of(slot_of(&key)))
            .cmd(&["GET", &key]);
        let executed = value.bytes().map_or("0".into(), String::from_utf8_lossy);
        assert_eq!(executed, acknowledged.to_string(), "{key}");
    }
    let log = shown.slotcar.log();
    assert!(log.contains("stopped served_out=32 cut=0"), "{log}");
}

#[test]
fn what_is_looked_at_closely_is_found() {
    let cluster = Cluster::start(ServerKind::Redis7, 3, 0);
    let more = [
        "--sample-every",
        "4",
        "--slow-log-threshold",
        "40ms",
        "--workers",
        "2",
    ];
    let shown = Shown::before(&cluster, &more);
    let mut conns: Vec<Conn> = (0..4).map(|_| shown.slotcar.conn()).collect();
    conns[0].ok(&["CLIENT", "SETNAME", "the-app"]);
    conns[1].ok(&["SET", "<b>large\u{7}</b>", &"x".repeat(100_000)]);
    for round in 0..400 {
        for (index, conn) in conns.iter_mut().enumerate() {
            conn.ok(&["GET", "hot"]);
            conn.ok(&["GET", &format!("cold:{round}:{index}")]);
        }
    }
    let busy = "local t = redis.call('TIME'); local from = t[1] * 1000000 + t[2]; \
                repeat t = redis.call('TIME') until t[1] * 1000000 + t[2] - from > 60000; return KEYS[1]";
    conns[0].ok(&["EVAL", busy, "1", "slow key", "argument"]);

    let status = shown.json("/status");
    let service = &status["services"][0];
    let hot = &service["hot_keys"][0];
    assert_eq!(hot["key"], "hot", "{}", service["hot_keys"]);
    let share = hot["share"].as_f64().unwrap();
    assert!((0.4..0.6).contains(&share), "{share}");
    conns[1].ok(&["GET", "<b>large\u{7}</b>"]);
    let status = shown.json("/status");
    let service = &status["services"][0];
    let large = &service["large_values"][0];
    assert_eq!(
        large["key"], "<b>large\\x07</b>",
        "{}",
        service["large_values"]
    );
    assert!(large["bytes"].as_u64().unwrap() > 100_000);
    let slow = service["slow"].as_array().unwrap();
    let eval = slow
        .iter()
        .find(|slow| slow["request"].as_str().unwrap().starts_with("EVAL"));
    let eval = eval.unwrap_or_else(|| panic!("{slow:?}"));
    assert!(eval["node_us"].as_u64().unwrap() >= 60_000, "{eval}");
    assert!(
        eval["request"]
            .as_str()
            .unwrap()
            .ends_with("1 slow key argument"),
        "{eval}"
    );
    assert_eq!(eval["client_name"], "the-app");
    let clients = service["clients"].as_array().unwrap();
    assert!(
        clients.iter().any(|client| client["name"] == "the-app"),
        "{clients:?}"
    );
    assert_eq!(
        service["sessions"].as_u64(),
        Some(clients.len() as u64),
        "of both workers"
    );
    let commands = service["commands"].as_array().unwrap();
    assert!(
        commands.iter().any(|c| c["command"] == "get"),
        "{commands:?}"
    );

    let topology = shown.json("/topology");
    let nodes = topology[0]["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 3);
    assert!(
        nodes
            .iter()
            .all(|node| node["role"] == "primary" && node["up"] == true),
        "{nodes:?}"
    );
    let config = shown.json("/config");
    let keys = config.as_array().unwrap();
    let sample = keys
        .iter()
        .find(|key| key["key"] == "sample-every")
        .unwrap();
    assert_eq!(
        (&sample["values"][0], &sample["origin"]),
        (&"4".into(), &"flag --sample-every".into())
    );
}

/// It passes through while it arrives, although it is sampled, slow, or asked for again; and it is remembered as such.
#[test]
fn a_long_value_need_not_be_kept_to_be_looked_at() {
    let off = ["--sample-every", "0", "--slow-log-threshold", "0"];
    let sampled = ["--sample-every", "1", "--slow-log-threshold", "0"];
    let slow = ["--sample-every", "0", "--slow-log-threshold", "1ms"];
    for (flags, is_lost_first) in [(off, false), (sampled, false), (slow, false), (off, true)] {
        let nodes = FakeNodes::start(2);
        let shown = Shown::start(&[&["--cluster", &nodes.seeds()], &flags[..]].concat());
        let lost = AtomicBool::new(!is_lost_first);
        let begun = Arc::new(AtomicBool::new(false));
        let has_begun = Arc::clone(&begun);
        nodes.set(0, move |_, stream| {
            if !lost.swap(true, Ordering::Relaxed) {
                return Err(io::ErrorKind::Other.into());
            }
            // Longer than what is slow.
            thread::sleep(Duration::from_millis(10));
            write!(stream, "${LONG_VALUE}\r\n")?;
            stream.write_all(&vec![b'x'; LONG_VALUE / 2])?;
            wait_until("the client has its beginning", SECONDS(20), || {
                has_begun.load(Ordering::Relaxed)
            });
            stream.write_all(&vec![b'x'; LONG_VALUE / 2])?;
            stream.write_all(b"\r\n")
        });
        let (mut conn, key) = (shown.slotcar.conn(), nodes.key(0, 0));
        conn.send_raw(&get(&key));
        conn.stream().peek(&mut [0; 1]).expect("a beginning");
        begun.store(true, Ordering::Relaxed);
        assert_eq!(conn.recv().text().len(), LONG_VALUE, "{flags:?}");
        let status = shown.json("/status");
        let service = &status["services"][0];
        let is_named = |list: &str, what: &str, name: &str| {
            let list = service[list].as_array().expect("a list");
            list.iter().any(|one| one[what] == name)
        };
        assert!(is_named("large_values", "key", &key), "{service}");
        let request = format!("GET {key}");
        assert_eq!(is_named("slow", "request", &request), flags == slow);
        assert_eq!(is_named("commands", "command", "get"), flags == sampled);
        let delayed = shown.metrics().sum("slotcar_delayed_requests_total");
        assert_eq!(delayed > 0.0, is_lost_first, "{delayed}");
    }
}

const LONG_VALUE: usize = 4 << 20;

#[test]
fn pages_of_others_and_other_paths_are_refused() {
    let cluster = Cluster::start(ServerKind::Redis7, 1, 0);
    let shown = Shown::before(&cluster, &[]);
    for (method, path, headers, expected) in [
        ("GET", "/", "Host: 127.0.0.1:9621\r\n", 200),
        ("HEAD", "/livez", "Host: localhost\r\n", 200),
        ("GET", "/status", "Host: rebound.example.com\r\n", 403),
        ("GET", "/status", "", 403),
        ("GET", "/metrics", "Host: slotcar.pod:9621\r\n", 200),
        ("GET", "/readyz", "Host: 10.0.0.1:9621\r\n", 200),
        (
            "POST",
            "/drain",
            "Host: localhost\r\nOrigin: http://evil.example\r\nContent-Length: 0\r\n",
            403,
        ),
        (
            "POST",
            "/status",
            "Host: localhost\r\nContent-Length: 0\r\n",
            405,
        ),
        ("GET", "/nothing", "Host: localhost\r\n", 404),
    ] {
        let (status, body) = shown.ask(method, path, headers);
        assert_eq!(status, expected, "{method} {path} {headers}: {body}");
    }
    let (_, page) = shown.get("/");
    assert!(page.contains("<title>slotcar"), "{page}");
    // Nobody who says nothing, or nonsense, keeps others from being served.
    let silent: Vec<TcpStream> = (0..20)
        .map(|_| TcpStream::connect(shown.admin).unwrap())
        .collect();
    let mut rude = TcpStream::connect(shown.admin).unwrap();
    rude.write_all(&[0xff; 4096]).unwrap();
    assert_eq!(shown.get("/livez").0, 200);
    drop(silent);
}

#[test]
fn the_log_is_json_if_that_is_wanted() {
    let cluster = Cluster::start(ServerKind::Redis7, 1, 0);
    let mut slotcar = Slotcar::start(&["--cluster", &cluster.seeds(), "--log-format", "json"]);
    slotcar.signal("TERM");
    slotcar.wait_end();
    let log = slotcar.log();
    let lines: Vec<Json> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let said = |text: &str| {
        lines.iter().any(|line| {
            line["message"]
                .as_str()
                .is_some_and(|m| m.starts_with(text))
        })
    };
    assert!(
        said("listening on") && said("topology learned") && said("stopped"),
        "{log}"
    );
    assert!(
        lines
            .iter()
            .all(|line| line["timestamp"].is_string() && line["level"].is_string())
    );
}
