//! Clients as they are: too many, idle, slow, gone, in a storm. What one of them does is nobody else's trouble.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::conn::encode;
use crate::support::slotcar::fields;
use crate::support::{Cluster, Conn, ServerKind, Slotcar, wait_until};

fn cluster() -> Cluster {
    Cluster::start(ServerKind::Redis7, 1, 0)
}

#[test]
fn clients_beyond_the_limit_read_why_and_are_counted() {
    let cluster = cluster();
    let args = ["--max-clients", "8", "--workers", "3"];
    let mut slotcar = Slotcar::start(&[&["--cluster", &cluster.seeds()], &args[..]].concat());
    slotcar.expect_log("clients are turned away");
    for round in 0..5 {
        let mut served = Vec::new();
        wait_until("the places are free again", LIMIT, || {
            let mut conn = slotcar.conn();
            if conn
                .try_cmd(&["PING"])
                .is_ok_and(|pong| pong.error().is_none())
            {
                served.push(conn);
            }
            served.len() == 8
        });
        let before: u64 = count(&mut served[0], "connections_refused");
        for _ in 0..20 {
            let mut refused = TcpStream::connect(slotcar.addr()).unwrap();
            // It has said much before it knows.
            let _ = refused.write_all(&encode(&["PING"]).repeat(1000));
            let mut said = Vec::new();
            refused.read_to_end(&mut said).expect("no reset before it");
            assert_eq!(
                said.escape_ascii().to_string(),
                r"-ERR max number of clients reached\r\n"
            );
        }
        assert_eq!(
            count(&mut served[0], "connections_refused"),
            before + 20,
            "round {round}"
        );
        let stats = fields(&served[0].ok(&["INFO", "stats"]).text());
        assert_eq!(stats["rejected_connections"], (before + 20).to_string());
        served
            .iter_mut()
            .for_each(|conn| assert_eq!(conn.ok(&["PING"]).text(), "PONG"));
    }
}

#[test]
fn max_clients_is_lowered_to_what_the_descriptors_allow() {
    let cluster = cluster();
    let args = ["--cluster", &cluster.seeds()];
    let mut slotcar = Slotcar::start_by(&["prlimit", "--nofile=20:300"], &args);
    slotcar.wait_serving();
    slotcar.expect_log(
        "max-clients is 150 instead of 10000: there are 300 file descriptors, and 150 of them are kept",
    );
    let clients = fields(&slotcar.conn().ok(&["INFO", "clients"]).text());
    assert_eq!(clients["maxclients"], "150");
    assert!(
        slotcar
            .log()
            .contains("max-clients is 150 instead of 10000")
    );
}

#[test]
fn who_asks_for_nothing_is_closed_unless_it_waits_or_listens() {
    let cluster = cluster();
    let args = [
        "--cluster",
        &cluster.seeds(),
        "--client-idle-timeout",
        "600ms",
    ];
    let slotcar = Slotcar::start(&args);
    let (mut idle, mut in_multi) = (slotcar.conn(), slotcar.conn());
    let (mut waits, mut listens) = (slotcar.conn(), slotcar.conn());
    let (mut monitors, mut works) = (slotcar.conn(), slotcar.conn());
    waits.send_raw(&encode(&["BLPOP", "list", "0"]));
    listens.ok(&["SUBSCRIBE", "channel"]);
    monitors.ok(&["MONITOR"]);
    idle.ok(&["SET", "key", "value"]);
    in_multi.ok(&["MULTI"]);
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(1300) {
        works.ok(&["GET", "key"]);
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(idle.read_to_end(), b"");
    assert_eq!(in_multi.read_to_end(), b"");
    assert!(start.elapsed() < Duration::from_secs(3));
    assert!(count(&mut works, "idle_clients_closed") >= 2);
    assert_eq!(works.ok(&["PUBLISH", "channel", "hello"]).int(), 1);
    assert_eq!(listens.recv().list()[2].text(), "hello");
    works.ok(&["LPUSH", "list", "element"]);
    assert_eq!(waits.recv().list()[1].text(), "element");
    while !monitors.recv().text().contains("PUBLISH") {}
}

#[test]
fn everything_sent_before_the_end_of_the_input_is_answered() {
    let cluster = cluster();
    let slotcar = Slotcar::before(&cluster);
    let mut conn = slotcar.conn();
    let requests = 20_000;
    let mut bytes = encode(&["INCR", "count"]).repeat(requests);
    bytes.extend_from_slice(b"*2\r\n$4\r\nINCR\r\n$5\r\nco");
    let mut writer = conn.stream().try_clone().unwrap();
    let sent = thread::spawn(move || {
        writer.write_all(&bytes).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    for n in 1..=requests {
        assert_eq!(conn.recv().int(), i64::try_from(n).unwrap());
    }
    assert_eq!(conn.read_to_end(), b"");
    sent.join().unwrap();
}

#[test]
fn who_does_not_read_costs_little_and_slows_nobody_down() {
    let cluster = cluster();
    let slotcar = Slotcar::before(&cluster);
    let mut other = slotcar.conn();
    other.ok(&["SET", "large", &"x".repeat(16 * 1024)]);
    other.ok(&["SET", "huge", &"x".repeat(8 << 20)]);
    let (memory, descriptors) = (slotcar.resident_kib(), settled_descriptors(&slotcar));
    let deaf: Vec<TcpStream> = (0..4)
        .map(|_| {
            let stream = TcpStream::connect(slotcar.addr()).unwrap();
            stream.set_nonblocking(true).unwrap();
            stream
        })
        .collect();
    let requests = encode(&["GET", "large"]).repeat(1000);
    let start = Instant::now();
    let mut took = Vec::new();
    while start.elapsed() < Duration::from_secs(1) {
        // They take no more once slotcar reads no more.
        deaf.iter()
            .for_each(|mut stream| drop(stream.write(&requests)));
        let asked = Instant::now();
        other.ok(&["GET", "large"]);
        took.push(asked.elapsed());
    }
    let grown = slotcar.resident_kib().saturating_sub(memory);
    assert!(
        grown < 128 * 1024,
        "{grown} KiB more for 4 clients that do not read"
    );
    assert_quick(took);

    // They leave, and others do while a reply of theirs is being written.
    drop(deaf);
    for _ in 0..20 {
        let mut leaves = slotcar.conn();
        leaves.send_raw(&encode(&["GET", "huge"]));
        leaves.stream().peek(&mut [0; 1]).unwrap();
    }
    wait_until("all of it is given back", LIMIT, || {
        count(&mut other, "sessions") == 1 && slotcar.descriptors() <= descriptors
    });
    assert_eq!(other.ok(&["GET", "large"]).text().len(), 16 * 1024);
}

#[test]
fn a_byte_at_a_time_costs_no_more_than_it_has_to() {
    let cluster = cluster();
    let slotcar = Slotcar::before(&cluster);
    let mut conn = slotcar.conn();
    // Long enough to hurt if every byte made slotcar look at all of those before it.
    let head = format!("*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n${}\r\n", 4 << 20);
    conn.send_raw(head.as_bytes());
    conn.send_raw(&vec![b'x'; (4 << 20) - 5000]);
    let before = cpu_ticks(&slotcar);
    for _ in 0..5000 {
        conn.send_raw(b"x");
    }
    conn.send_raw(b"\r\n");
    assert!(conn.recv().is_ok());
    let many = (0..500).flat_map(|n| [b"$7\r\n".to_vec(), format!("key:{n:03}\r\n").into_bytes()]);
    let words: Vec<u8> = b"*501\r\n$3\r\nDEL\r\n"
        .iter()
        .copied()
        .chain(many.flatten())
        .collect();
    words.iter().for_each(|byte| conn.send_raw(&[*byte]));
    assert_eq!(conn.recv().int(), 0);
    // 11,500 reads: a tenth of a second would do; one look at 4 MiB for each would take a minute.
    let ticks = cpu_ticks(&slotcar) - before;
    assert!(ticks < 300, "{ticks} hundredths of a second");
}

#[test]
fn a_storm_of_connections_starves_nobody_and_leaves_nothing_behind() {
    let cluster = cluster();
    let slotcar = Slotcar::start(&["--cluster", &cluster.seeds(), "--workers", "2"]);
    let mut other = slotcar.conn();
    other.ok(&["INCR", "count"]);
    let (addr, descriptors) = (slotcar.addr(), settled_descriptors(&slotcar));
    let start = Instant::now();
    let storm: Vec<_> = (0..4)
        .map(|thread| {
            thread::spawn(move || {
                for round in 0..250_u32 {
                    let mut stream = TcpStream::connect(addr).unwrap();
                    // Some say nothing, some leave before the answer.
                    let asks = (round + thread) % 3;
                    if asks > 0 {
                        stream.write_all(b"PING\r\n").unwrap();
                    }
                    if asks > 1 {
                        assert!(stream.read(&mut [0; 8]).unwrap() > 0);
                    }
                    let due = Duration::from_millis(4 * u64::from(round));
                    thread::sleep(due.saturating_sub(start.elapsed()));
                }
            })
        })
        .collect();
    let mut took = Vec::new();
    while storm.iter().any(|thread| !thread.is_finished()) {
        let asked = Instant::now();
        other.ok(&["INCR", "count"]);
        took.push(asked.elapsed());
    }
    storm.into_iter().for_each(|thread| thread.join().unwrap());
    assert_quick(took);
    wait_until("every descriptor is given back", LIMIT, || {
        slotcar.descriptors() <= descriptors
    });
    assert!(count(&mut other, "connections_received") > 1000);
    assert_eq!(count(&mut other, "accept_errors"), 0);
}

#[test]
fn without_descriptors_those_who_are_here_are_served_and_others_wait() {
    let cluster = cluster();
    let mut slotcar = Slotcar::before(&cluster);
    slotcar.expect_log("cannot accept connections, with");
    let mut conns: Vec<Conn> = (0..6).map(|_| slotcar.conn()).collect();
    conns
        .iter_mut()
        .for_each(|conn| drop(conn.ok(&["GET", "key"])));
    wait_until("nobody else is here", LIMIT, || {
        count(&mut conns[0], "sessions") == 6
    });
    limit_descriptors(&slotcar, settled_descriptors(&slotcar));

    let mut first = conns.remove(0);
    let mut new: Vec<Conn> = (0..2).map(|_| slotcar.conn()).collect();
    new.iter_mut().for_each(|conn| conn.send_raw(b"PING\r\n"));
    wait_until("they cannot be accepted", LIMIT, || {
        first.ok(&["SET", "key", "value"]);
        count(&mut first, "accept_errors") > 2
    });
    drop(conns);
    for conn in &mut new {
        assert_eq!(conn.recv().text(), "PONG");
        assert_eq!(conn.ok(&["GET", "key"]).text(), "value");
    }
    let log = slotcar.log();
    assert_eq!(log.matches("cannot accept connections").count(), 1, "{log}");
    assert!(log.contains("connections are accepted again"), "{log}");
}

/// A number of the `slotcar` section, asked for on this connection.
fn count(conn: &mut Conn, name: &str) -> u64 {
    let info = fields(&conn.ok(&["INFO", "slotcar"]).text());
    let value = info.get(name).and_then(|value| value.parse().ok());
    value.unwrap_or_else(|| panic!("no number {name}: {info:?}"))
}

/// Not one request in ten took long, whatever else this machine does meanwhile.
fn assert_quick(mut took: Vec<Duration>) {
    took.sort_unstable();
    let nine_in_ten = took[took.len() * 9 / 10];
    assert!(
        nine_in_ten < Duration::from_millis(200),
        "{nine_in_ten:?} of {}",
        took.len()
    );
}

/// How many there are once the connections that slotcar opens of its own accord are there: probes begin within half a second.
fn settled_descriptors(slotcar: &Slotcar) -> usize {
    let (mut descriptors, mut since) = (0, Instant::now());
    wait_until("no descriptor comes or goes", LIMIT, || {
        let now = slotcar.descriptors();
        if now != descriptors {
            (descriptors, since) = (now, Instant::now());
        }
        since.elapsed() > Duration::from_millis(700)
    });
    descriptors
}

fn limit_descriptors(slotcar: &Slotcar, max: usize) {
    let (pid, limit) = (slotcar.pid().to_string(), format!("--nofile={max}:"));
    let set = Command::new("prlimit")
        .args(["--pid", &pid, &limit])
        .status();
    assert!(set.is_ok_and(|status| status.success()), "prlimit {limit}");
}

/// Processor time that it has used, in hundredths of a second. Source: proc(5), fields 14 and 15 of `stat`.
fn cpu_ticks(slotcar: &Slotcar) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", slotcar.pid())).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let number = |n: usize| fields.split_whitespace().nth(n - 3).unwrap().parse::<u64>();
    number(14).unwrap() + number(15).unwrap()
}

const LIMIT: Duration = Duration::from_secs(10);
