//! What the log says, and how much of it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::support::{Cluster, ServerKind, Slotcar, address, wait_until};

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
