//! What the log says, and how much of it.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Map, Value as Json};

use crate::configuration::File;
use crate::support::{Cluster, Conn, ServerKind, Slotcar, address, slot_of, wait_until};

on_both!(
    a_busy_run_with_a_failover_is_told_in_json_with_the_fields_of_the_page,
    of_several_listeners_each_line_says_which_it_is_about,
);

const LIMIT: Duration = Duration::from_secs(30);

/// What a server of HTTP says to this.
fn say(to: SocketAddr, words: &str) -> String {
    let mut stream = TcpStream::connect(to).expect("admin listens");
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(words.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an end");
    answer
}

/// The only sample of this metric.
fn metric(admin: SocketAddr, name: &str) -> u64 {
    let page = say(
        admin,
        "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    );
    let line = page.lines().find_map(|line| line.strip_prefix(name));
    let value = line.unwrap_or_else(|| panic!("no {name} in {page}"));
    value.trim().parse().expect("a number")
}

#[test]
fn a_flood_of_lines_is_cut_and_what_is_cut_is_counted_and_told() {
    const FAULTS: u64 = 300;
    const LINE: &str = "a request for health or metrics failed";
    let cluster = Cluster::start(ServerKind::Valkey8, 1, 0);
    let admin = address::unused();
    let (seeds, at) = (cluster.seeds(), admin.to_string());
    let args = ["--cluster", &seeds, "--admin", &at, "--log-level", "debug"];
    let mut slotcar = Slotcar::start(&args);
    let began = Instant::now();
    for _ in 0..FAULTS {
        say(admin, "this is no request\r\n\r\n");
    }
    let left_out = || metric(admin, "slotcar_log_lines_dropped_total");
    wait_until("all of them are noticed", LIMIT, || {
        let log = slotcar.log();
        let written = log.lines().filter(|line| is_of(line, LINE)).count() as u64;
        written + left_out() >= FAULTS
    });
    let took = began.elapsed().as_secs() + 1;
    wait_until("what is left out is told while it goes on", LIMIT, || {
        slotcar.log().contains("lines were left out")
    });
    slotcar.signal("TERM");
    assert!(slotcar.wait_end().success());
    let log = slotcar.log();
    let written = log.lines().filter(|line| is_of(line, LINE)).count() as u64;
    assert!((20..=20 + took).contains(&written), "{written} in {took} s");
    let told: u64 = log
        .lines()
        .filter(|line| line.contains("lines were left out"))
        .filter(|line| line.contains(LINE))
        .map(count_in)
        .sum();
    assert_eq!(written + told, FAULTS, "{log}");
}

/// Whether the line says this itself, and does not quote it.
fn is_of(line: &str, text: &str) -> bool {
    line.contains(text) && !line.contains("left_out=")
}

fn count_in(line: &str) -> u64 {
    let (_, rest) = line.split_once("left_out=").expect("a count");
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next();
    digits
        .and_then(|digits| digits.parse().ok())
        .expect("a number")
}

/// What the page says of fields: their names.
fn documented() -> BTreeSet<String> {
    let page = std::fs::read_to_string("docs/logs.md").expect("the page is there");
    let (_, fields) = page.split_once("## Fields").unwrap();
    let (fields, _) = fields.split_once("\n## ").unwrap();
    let rows = fields.lines().filter_map(|line| line.strip_prefix("| `"));
    let names = rows.flat_map(|row| row.split(" | ").next().unwrap().split(", "));
    names
        .map(|name| name.trim_matches('`').to_owned())
        .collect()
}

/// Fails unless it is a JSON object with fields that the page has, each of its kind.
fn check_line(line: &str, documented: &BTreeSet<String>) -> Map<String, Json> {
    let parsed = serde_json::from_str(line);
    let fields: Map<String, Json> = parsed.unwrap_or_else(|error| panic!("{error}: {line}"));
    for (name, value) in &fields {
        let fits = match name.as_str() {
            "timestamp" | "level" | "target" | "message" => value.is_string(),
            "event" | "node" | "slots" | "client" | "error" | "listen" | "like" => {
                value.is_string()
            }
            "server" | "version" | "asked" | "hint" => value.is_string(),
            "span" => value["name"] == "service" && value["listen"].is_string(),
            _ => value.is_u64(),
        };
        assert!(fits, "{name} in {line}");
        let is_of_all = ["timestamp", "level", "target", "message"].contains(&name.as_str());
        assert!(is_of_all || documented.contains(name), "{name} in {line}");
    }
    for name in ["timestamp", "level", "target", "message"] {
        assert!(fields.contains_key(name), "no {name} in {line}");
    }
    fields
}

fn a_busy_run_with_a_failover_is_told_in_json_with_the_fields_of_the_page(kind: ServerKind) {
    let mut cluster = Cluster::start(kind, 3, 1);
    let seeds = cluster.seeds();
    let args = ["--cluster", &seeds, "--log-format", "json"];
    let more = [
        "--log-level",
        "debug",
        "--workers",
        "2",
        "--max-clients",
        "9",
    ];
    let mut slotcar = Slotcar::start(&[args.as_slice(), &more].concat());
    slotcar.expect_log("\"WARN\"");
    let old = cluster.owner_of(slot_of("key"));
    let mut conns: Vec<_> = (0..8).map(|_| slotcar.conn()).collect();
    conns[0].ok(&["SET", "key", "value"]);
    cluster.conn(old).ok(&["WAIT", "1", "5000"]);
    cluster.kill(old);
    std::thread::scope(|scope| {
        for conn in &mut conns {
            scope.spawn(|| assert_eq!(conn.ok(&["GET", "key"]).text(), "value"));
        }
    });
    wait_until("somebody is turned away", LIMIT, || {
        let mut all: Vec<_> = (0..4).map(|_| slotcar.conn()).collect();
        let mut refused = all
            .iter_mut()
            .filter_map(|conn| conn.try_cmd(&["PING"]).ok());
        refused.any(|reply| reply.error().is_some())
    });
    wait_until("both workers tell that it is over", LIMIT, || {
        slotcar.log().matches("hold_over").count() == 2
    });
    slotcar.signal("TERM");
    assert!(slotcar.wait_end().success());
    let log = slotcar.log();
    let documented = documented();
    let lines: Vec<_> = log
        .lines()
        .map(|line| check_line(line, &documented))
        .collect();
    let of = |event: &str| {
        let of = lines
            .iter()
            .filter(|line| line.get("event").is_some_and(|at| at == event));
        of.collect::<Vec<_>>()
    };
    let address = cluster.addr(old).to_string();
    for (event, count, fields) in [
        ("start", 1, ["listen"].as_slice()),
        ("node_down", 1, &["node", "slots"]),
        ("failover", 1, &["shards", "nodes", "covered"]),
        ("hold", 2, &["node", "worker", "held"]),
        (
            "hold_over",
            2,
            &["worker", "delayed", "given_up", "longest_delay_ms"],
        ),
        ("drain", 1, &[]),
    ] {
        let told = of(event);
        assert_eq!(told.len(), count, "{event}: {told:?}");
        for field in fields {
            assert!(
                told.iter().all(|line| line.contains_key(*field)),
                "{told:?}"
            );
        }
    }
    assert!(
        of("hold").iter().all(|line| line["node"] == *address),
        "{log}"
    );
    assert_eq!(
        of("hold")[0]["worker"].as_u64().unwrap() + of("hold")[1]["worker"].as_u64().unwrap(),
        1
    );
    let refused = lines
        .iter()
        .find(|line| line["message"].as_str().unwrap().contains("turned away"));
    assert!(
        refused.is_some_and(|line| line.contains_key("client")),
        "{log}"
    );
}

/// Ends with the test, whatever that comes to.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whoever should read the log has stopped doing so, and it is full: clients are served, and the process ends.
#[test]
fn a_log_that_nobody_reads_stops_nobody() {
    let cluster = Cluster::start(ServerKind::Redis7, 1, 1);
    let (_unread, mut stderr) = UnixStream::pair().unwrap();
    stderr.set_nonblocking(true).unwrap();
    while stderr.write(&[b'x'; 4096]).is_ok() {}
    while stderr.write(b"x").is_ok() {}
    stderr.set_nonblocking(false).unwrap();
    let listen = address::unused();
    let slotcar = Command::new(env!("CARGO_BIN_EXE_slotcar"))
        .args([
            "--cluster",
            &cluster.seeds(),
            "--listen",
            &listen.to_string(),
        ])
        .args(["--log-level", "debug"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(OwnedFd::from(stderr))
        .spawn();
    let mut slotcar = Killed(slotcar.unwrap());
    wait_until("it serves", LIMIT, || {
        let conn = Conn::try_open(listen);
        conn.is_ok_and(|mut conn| {
            conn.try_cmd(&["GET", "key"])
                .is_ok_and(|got| got.error().is_none())
        })
    });
    let mut conn = Conn::open(listen);
    for _ in 0..200 {
        conn.ok(&["GET", "key"]);
        cluster
            .conn(cluster.primaries()[0])
            .ok(&["CLIENT", "KILL", "TYPE", "normal"]);
    }
    drop(conn);
    let id = slotcar.0.id().to_string();
    let told = Command::new("kill").args(["-TERM", &id]).status();
    assert!(told.unwrap().success());
    wait_until("it ends", LIMIT, || slotcar.0.try_wait().unwrap().is_some());
    assert!(slotcar.0.wait().unwrap().success());
}

fn of_several_listeners_each_line_says_which_it_is_about(kind: ServerKind) {
    let mut clusters = [Cluster::start(kind, 3, 1), Cluster::start(kind, 1, 0)];
    let (other, admin) = (address::unused(), address::unused());
    let file = File::new(
        &other.to_string(),
        &format!(
            "cluster = \"{}\"\nadmin = \"{admin}\"\nlog-format = \"json\"\n\
             [[listener]]\nlisten = \"{other}\"\ncluster = \"{}\"\n",
            clusters[0].seeds(),
            clusters[1].seeds(),
        ),
    );
    let mut slotcar = Slotcar::start(&["--config", &file.path(), "--log-level", "debug"]);
    slotcar.expect_log("\"WARN\"");
    let first = slotcar.addr().to_string();
    let mut conns = [slotcar.conn(), Conn::open(other)];
    for conn in &mut conns {
        wait_until("all listeners serve", LIMIT, || {
            conn.cmd(&["SET", "key", "value"]).error().is_none()
        });
    }
    let old = clusters[0].owner_of(slot_of("key"));
    clusters[0].conn(old).ok(&["WAIT", "1", "5000"]);
    clusters[0].kill(old);
    assert_eq!(conns[0].ok(&["GET", "key"]).text(), "value");
    wait_until("it is told that the hold is over", LIMIT, || {
        slotcar.log().contains("hold_over")
    });
    let status = say(
        admin,
        "GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    );
    slotcar.signal("TERM");
    assert!(slotcar.wait_end().success());
    let documented = documented();
    let log = slotcar.log();
    let lines: Vec<_> = log
        .lines()
        .map(|line| check_line(line, &documented))
        .collect();
    for (event, at, count) in [
        ("topology", &first, 1),
        ("topology", &other.to_string(), 1),
        ("failover", &first, 1),
        ("node_down", &first, 1),
        ("hold", &first, 1),
        ("hold_over", &first, 1),
        ("hold_over", &other.to_string(), 0),
    ] {
        let of = lines
            .iter()
            .filter(|line| line.get("event").is_some_and(|e| e == event));
        let named = of
            .clone()
            .filter(|line| line["span"]["listen"] == **at)
            .count();
        assert!(
            of.clone().all(|line| line.contains_key("span")),
            "{event} in {log}"
        );
        assert!(
            named >= count && (count > 0 || named == 0),
            "{event} of {at} in {log}"
        );
    }
    let failovers = status.matches("\"failover\"").count();
    assert!(
        failovers >= 1 && status.contains(&format!(" listen={first}\"")),
        "{status}"
    );
}
