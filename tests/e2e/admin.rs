//! What a running slotcar shows over HTTP: probes, metrics, the status page's data, and being drained.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use slotcar::admin::metrics::ROWS;

use crate::support::{Cluster, Conn, ServerKind, Slotcar, address, slot_of, wait_until};

on_both!(
    metrics_are_all_there_and_move_with_their_causes,
    a_failover_shows_and_readiness_waits_for_as_long_as_requests_are_held,
    a_loaded_slotcar_is_drained_without_an_error,
);

/// A slotcar with an admin address.
struct Shown {
    slotcar: Slotcar,
    admin: SocketAddr,
}

impl Shown {
    fn before(cluster: &Cluster, more: &[&str]) -> Self {
        let admin = address::unused();
        let (seeds, address) = (cluster.seeds(), admin.to_string());
        let args = [&["--cluster", &seeds, "--admin", &address], more].concat();
        Self {
            slotcar: Slotcar::start(&args),
            admin,
        }
    }

    fn ask(&self, method: &str, path: &str, headers: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.admin).expect("admin listens");
        let limit = Some(Duration::from_secs(10));
        stream.set_read_timeout(limit).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
        let status = head.split(' ').nth(1).expect("a status").parse().unwrap();
        (status, body.to_owned())
    }

    fn get(&self, path: &str) -> (u16, String) {
        self.ask("GET", path, "Host: localhost\r\n")
    }

    fn json(&self, path: &str) -> Json {
        let (status, text) = self.get(path);
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}"))
    }

    /// Value of each sample, by name and labels.
    fn metrics(&self) -> Samples {
        let (status, text) = self.get("/metrics");
        assert_eq!(status, 200, "{text}");
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("name and value");
            (name.to_owned(), value.parse().expect("a number"))
        });
        Samples(samples.collect())
    }

    /// Waits until a sample fits.
    fn wait_for(&self, what: &str, limit: Duration, fits: impl Fn(&Samples) -> bool) {
        wait_until(what, limit, || fits(&self.metrics()));
    }
}

struct Samples(BTreeMap<String, f64>);

impl Samples {
    /// All samples of a metric together whose labels contain `labels`.
    fn sum(&self, name: &str, labels: &str) -> f64 {
        let of_name = self.0.iter().filter(|(sample, _)| {
            let (of, with) = sample.split_once('{').unwrap_or((sample, ""));
            of == name && with.contains(labels)
        });
        of_name.map(|(_, value)| value).sum()
    }
}

/// What every one of `moves` did between two scrapes: it grew.
fn assert_grew(before: &Samples, after: &Samples, cause: &str, moves: &[(&str, &str)]) {
    for (name, labels) in moves {
        let (was, is) = (before.sum(name, labels), after.sum(name, labels));
        assert!(
            is > was,
            "{cause}: {name}{{{labels}}} was {was} and is {is}"
        );
    }
}

const SECONDS: fn(u64) -> Duration = Duration::from_secs;

fn metrics_are_all_there_and_move_with_their_causes(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 1);
    let more = [
        "--node-info-interval",
        "1s",
        "--sample-every",
        "10",
        "--max-clients",
        "20",
    ];
    let mut shown = Shown::before(&cluster, &more);
    shown.slotcar.expect_log("clients are turned away");
    let mut conn = shown.slotcar.conn();
    shown.wait_for("all nodes have said how they are", SECONDS(20), |samples| {
        samples.sum("slotcar_node_up", "") == 6.0
            && samples
                .0
                .keys()
                .filter(|name| name.starts_with("slotcar_node_keys{"))
                .count()
                == 6
    });

    let before = shown.metrics();
    for index in 0..200 {
        let key = format!("key:{index}");
        conn.ok(&["SET", &key, "value"]);
        conn.ok(&["GET", &key]);
    }
    conn.ok(&["GET", "no such key"]);
    assert!(conn.cmd(&["LPUSH", "key:1", "x"]).error().is_some());
    assert!(conn.cmd(&["MSETNX", "a", "1", "b", "2"]).error().is_some());
    conn.ok(&["EVAL", "return 1", "0"]);
    conn.ok(&["PUBLISH", "channel", "x"]);
    conn.ok(&["TIME"]);
    conn.ok(&["PING"]);
    let after = shown.metrics();
    assert_grew(
        &before,
        &after,
        "traffic",
        &[
            ("slotcar_requests_total", "class=\"read\",outcome=\"ok\""),
            ("slotcar_requests_total", "class=\"write\",outcome=\"ok\""),
            (
                "slotcar_requests_total",
                "class=\"write\",outcome=\"error\"",
            ),
            (
                "slotcar_requests_total",
                "class=\"write\",outcome=\"failed\"",
            ),
            ("slotcar_requests_total", "class=\"script\",outcome=\"ok\""),
            ("slotcar_requests_total", "class=\"pubsub\",outcome=\"ok\""),
            ("slotcar_requests_total", "class=\"server\",outcome=\"ok\""),
            (
                "slotcar_requests_total",
                "class=\"connection\",outcome=\"ok\"",
            ),
            ("slotcar_request_duration_seconds_count", "stage=\"wait\""),
            ("slotcar_request_duration_seconds_count", "stage=\"node\""),
            (
                "slotcar_request_duration_seconds_count",
                "stage=\"slotcar\"",
            ),
            ("slotcar_request_duration_seconds_sum", "stage=\"node\""),
            ("slotcar_node_request_duration_seconds_count", "node="),
            ("slotcar_command_duration_seconds_count", "command=\"get\""),
            ("slotcar_bytes_total", "side=\"client\",direction=\"in\""),
            ("slotcar_bytes_total", "side=\"client\",direction=\"out\""),
            ("slotcar_bytes_total", "side=\"node\",direction=\"in\""),
            ("slotcar_bytes_total", "side=\"node\",direction=\"out\""),
            ("process_cpu_seconds_total", ""),
        ],
    );
    let answered =
        after.sum("slotcar_requests_total", "") - before.sum("slotcar_requests_total", "");
    assert_eq!(answered, 407.0, "each request is counted once");
    shown.wait_for("nodes tell of it", SECONDS(20), |samples| {
        ["hits_total", "misses_total", "commands_total", "keys"]
            .iter()
            .all(|name| {
                let name = format!("slotcar_node_{name}");
                samples.sum(&name, "") > before.sum(&name, "")
            })
    });

    let before = shown.metrics();
    let mut watcher = shown.slotcar.conn();
    watcher.ok(&["WATCH", "key:1"]);
    watcher.ok(&["MULTI"]);
    watcher.ok(&["GET", "key:1"]);
    watcher.ok(&["EXEC"]);
    watcher.ok(&["WATCH", "key:1"]);
    let mut waiter = shown.slotcar.conn();
    waiter.send_raw(b"BLPOP nothing 0\r\n");
    shown.wait_for("a client waits", SECONDS(5), |samples| {
        samples.sum("slotcar_sessions_blocked", "") > 0.0
    });
    let others: Vec<Conn> = (0..20).map(|_| shown.slotcar.conn()).collect();
    shown.wait_for("some are turned away", SECONDS(5), |samples| {
        samples.sum("slotcar_connections_total", "refused")
            > before.sum("slotcar_connections_total", "refused")
    });
    assert_grew(
        &before,
        &shown.metrics(),
        "clients",
        &[
            (
                "slotcar_requests_total",
                "class=\"transaction\",outcome=\"ok\"",
            ),
            ("slotcar_leases_total", ""),
            ("slotcar_leases_reused_total", ""),
            ("slotcar_links", "kind=\"leased\",state=\"open\""),
            ("slotcar_links_dialed_total", ""),
            ("slotcar_sessions", ""),
            ("slotcar_connections_total", "accepted"),
            ("process_open_fds", ""),
        ],
    );
    drop((others, waiter, watcher));

    let before = shown.metrics();
    let slot = slot_of("key:1");
    let (from, to) = (cluster.owner_of(slot), (cluster.owner_of(slot) + 1) % 3);
    cluster.move_slots(from, to, &[slot]);
    conn.ok(&["GET", "key:1"]);
    shown.wait_for("the move is known", SECONDS(40), |samples| {
        samples.sum("slotcar_topology_changes_total", "")
            > before.sum("slotcar_topology_changes_total", "")
    });
    assert_grew(
        &before,
        &shown.metrics(),
        "resharding",
        &[
            ("slotcar_redirections_total", "moved"),
            ("slotcar_replays_total", "refused"),
            ("slotcar_delayed_requests_total", ""),
            ("slotcar_topology_refreshes_total", ""),
        ],
    );

    let (_, text) = shown.get("/metrics");
    // Those of the audit are scraped in its test.
    let of_audit = |name: &str| name.starts_with("slotcar_audit");
    for row in ROWS.iter().filter(|row| !of_audit(row.name)) {
        let head = format!("# TYPE {} ", row.name);
        assert!(text.contains(&head), "{} is not in the scrape", row.name);
    }
}

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
        samples.sum("slotcar_suspect_nodes", "") == 0.0
            && samples.sum("slotcar_held_requests", "") == 0.0
    });
    assert_grew(
        &before,
        &shown.metrics(),
        "failover",
        &[
            ("slotcar_holds_total", ""),
            ("slotcar_held_requests_total", ""),
            ("slotcar_delayed_requests_total", ""),
            ("slotcar_longest_delay_seconds", ""),
            ("slotcar_links_lost_total", ""),
            ("slotcar_topology_changes_total", ""),
        ],
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
    assert_eq!(shown.metrics().sum("slotcar_ready", ""), 0.0);
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
        samples.sum("slotcar_requests_total", "write") > 3_000.0
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
