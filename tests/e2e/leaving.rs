//! slotcar is told to stop: what has been asked for is answered, and nothing that was executed stays unanswered.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::conn::encode;
use crate::support::{Cluster, Conn, ServerKind, Slotcar, slot_of, wait_until};

on_both!(what_was_executed_is_answered_when_slotcar_stops);

fn what_was_executed_is_answered_when_slotcar_stops(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let mut slotcar = Slotcar::start(&["--cluster", &cluster.seeds(), "--workers", "2"]);
    let addr = slotcar.addr();
    let clients: Vec<_> = (0..32)
        .map(|index| {
            let stream = TcpStream::connect(addr).unwrap();
            let pipeline = if index % 2 == 0 { 1 } else { 50 };
            thread::spawn(move || incr_until_eof(stream, &format!("count:{index}"), pipeline))
        })
        .collect();
    let mut probe = cluster.conn(cluster.owner_of(slot_of("count:1")));
    wait_until("they are at it", Duration::from_secs(10), || {
        probe
            .cmd(&["GET", "count:1"])
            .bytes()
            .is_some_and(|n| n.len() >= 3)
    });
    slotcar.signal("TERM");
    let acknowledged: Vec<u64> = clients.into_iter().map(|c| c.join().unwrap()).collect();
    assert_eq!(slotcar.wait_end().code(), Some(0));
    for (index, acknowledged) in acknowledged.into_iter().enumerate() {
        let key = format!("count:{index}");
        let value = cluster
            .conn(cluster.owner_of(slot_of(&key)))
            .cmd(&["GET", &key]);
        // Who had not even begun has no counter.
        let executed = value.bytes().map_or("0".into(), String::from_utf8_lossy);
        assert_eq!(executed, acknowledged.to_string(), "{key}");
    }
    let log = slotcar.log();
    assert!(log.contains("stopped served_out=32 cut=0"), "{log}");
}

/// Increments as fast as it is answered, until the server closes; returns how often it was told that it had.
pub(crate) fn incr_until_eof(mut stream: TcpStream, key: &str, pipeline: usize) -> u64 {
    let mut acknowledged = 0;
    loop {
        stream
            .write_all(&encode(&["INCR", key]).repeat(pipeline))
            .expect("no reset before the last reply");
        let mut due = pipeline;
        let mut bytes = [0; 4096];
        while due > 0 {
            let n = stream
                .read(&mut bytes)
                .expect("no reset before the last reply");
            if n == 0 {
                return acknowledged;
            }
            let answers = bytes[..n].iter().filter(|&&byte| byte == b'\n').count();
            assert!(!bytes[..n].contains(&b'-'), "{}", bytes[..n].escape_ascii());
            acknowledged += answers as u64;
            due -= answers;
        }
    }
}

#[test]
fn who_never_pauses_is_read_for_half_of_the_grace() {
    let cluster = Cluster::start(ServerKind::Redis7, 1, 0);
    let args = ["--cluster", &cluster.seeds(), "--shutdown-grace", "1400ms"];
    let mut slotcar = Slotcar::start(&args);
    let stream = TcpStream::connect(slotcar.addr()).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let flood = thread::spawn(move || {
        let requests = encode(&["INCR", "count"]).repeat(20);
        while writer.write_all(&requests).is_ok() {}
    });
    let reader = thread::spawn(move || count_lines(stream));
    let mut probe = cluster.conn(0);
    wait_until("it is at it", Duration::from_secs(10), || {
        probe
            .cmd(&["GET", "count"])
            .bytes()
            .is_some_and(|n| n.len() >= 4)
    });
    let start = Instant::now();
    slotcar.signal("TERM");
    let acknowledged = reader.join().unwrap();
    let took = start.elapsed();
    assert_eq!(slotcar.wait_end().code(), Some(0));
    flood.join().unwrap();
    assert_eq!(probe.ok(&["GET", "count"]).text(), acknowledged.to_string());
    let about_half = Duration::from_millis(650)..Duration::from_millis(1350);
    assert!(about_half.contains(&took), "{took:?}");
    let log = slotcar.log();
    assert!(log.contains("stopped served_out=1 cut=0"), "{log}");
}

/// Reads to the end of the stream, which must be one and not a reset.
fn count_lines(mut stream: TcpStream) -> u64 {
    let mut lines = 0;
    let mut bytes = [0; 65536];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return lines,
            Ok(n) => lines += bytes[..n].iter().filter(|&&byte| byte == b'\n').count() as u64,
            Err(error) => panic!("{error} after {lines} replies"),
        }
    }
}

#[test]
fn who_waits_listens_or_is_idle_is_let_go_at_once() {
    let cluster = Cluster::start(ServerKind::Redis7, 1, 0);
    let path = std::env::temp_dir().join(format!("slotcar-leaving-{}.sock", std::process::id()));
    let unix = format!("unix:{}", path.display());
    let args = ["--cluster", &cluster.seeds(), "--listen", &unix];
    let mut slotcar = Slotcar::start(&args);
    let (mut waits, mut listens, mut idle) = (slotcar.conn(), slotcar.conn(), slotcar.conn());
    let mut monitors = slotcar.conn();
    waits.send_raw(&encode(&["BLPOP", "list", "0"]));
    listens.ok(&["SUBSCRIBE", "channel"]);
    monitors.ok(&["MONITOR"]);
    let mut local = UnixStream::connect(&path).unwrap();
    let blocked = |field: &str| {
        let info = cluster.conn(0).ok(&["INFO", "clients"]).text();
        info.contains(field)
    };
    wait_until("BLPOP waits", Duration::from_secs(5), || {
        blocked("blocked_clients:1")
    });

    let start = Instant::now();
    slotcar.signal("TERM");
    for conn in [&mut waits, &mut listens, &mut idle] {
        assert_eq!(conn.read_to_end(), b"");
    }
    monitors.read_to_end();
    assert_eq!(local.read(&mut [0; 1]).unwrap(), 0);
    assert_eq!(slotcar.wait_end().code(), Some(0));
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    assert!(!path.exists(), "the file of the Unix socket");
    assert!(Conn::try_open(slotcar.addr()).is_err());
    wait_until("nobody waits any more", Duration::from_secs(5), || {
        blocked("blocked_clients:0")
    });
    let log = slotcar.log();
    assert!(log.contains("stopped served_out=5 cut=0"), "{log}");
}

/// A node that answers nothing keeps a request under way.
fn before_a_silent_node(grace: &str) -> (Cluster, Slotcar, Conn) {
    let cluster = Cluster::start(ServerKind::Redis7, 1, 0);
    let mut slotcar = Slotcar::start(&["--cluster", &cluster.seeds(), "--shutdown-grace", grace]);
    slotcar.expect_log(&cluster.addr(0).to_string());
    let mut conn = slotcar.conn();
    conn.ok(&["SET", "key", "value"]);
    cluster.stop(0);
    conn.send_raw(&encode(&["INCR", "key"]));
    wait_until(
        "the request lies at the node",
        Duration::from_secs(5),
        || cluster.unread_bytes(0) > 0,
    );
    (cluster, slotcar, conn)
}

#[test]
fn what_takes_longer_than_the_grace_is_cut() {
    let (cluster, mut slotcar, mut conn) = before_a_silent_node("300ms");
    slotcar.signal("INT");
    assert_eq!(slotcar.wait_end().code(), Some(0));
    assert_eq!(conn.read_to_end(), b"");
    let log = slotcar.log();
    assert!(log.contains("stopped served_out=0 cut=1"), "{log}");
    cluster.cont(0);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let (cluster, mut slotcar, mut conn) = before_a_silent_node("60s");
    slotcar.expect_log("by a second signal");
    slotcar.signal("TERM");
    let addr = slotcar.addr();
    wait_until("the first is noticed", Duration::from_secs(5), || {
        refuses(addr)
    });
    slotcar.signal("TERM");
    assert_eq!(slotcar.wait_end().code(), Some(1));
    conn.read_to_end();
    cluster.cont(0);
}

fn refuses(addr: SocketAddr) -> bool {
    TcpStream::connect(addr).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}
