//! Clients: how many there are, what they wait for, and why they have to go.

use std::io::{self, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::fake_nodes::{FakeNodes, get};
use crate::shown::{SECONDS, Samples, Shown};
use crate::support::conn::encode;
use crate::support::{Authority, Cluster, Conn, Server, ServerKind, address, wait_until};

causes! {
    real clients_come_and_wait {
        "+slotcar_sessions"
        "+slotcar_sessions_blocked"
        "+slotcar_connections_total outcome=accepted"
        "+slotcar_connections_total outcome=refused"
        "+slotcar_leases_total"
        "+slotcar_leases_reused_total"
        "+slotcar_links kind=shared state=open"
        "+slotcar_links kind=leased state=open"
        "+slotcar_links kind=other state=open"
        "+slotcar_links_dialed_total"
        "+slotcar_node_clients"
        "+process_open_fds"
    }
    real memory_is_short {
        "+slotcar_memory_shortages_total"
        "+slotcar_memory_used_bytes"
        "+process_resident_memory_bytes"
        "+slotcar_clients_closed_total reason=memory"
    }
    real a_subscriber_does_not_read {
        "+slotcar_clients_closed_total reason=slow_subscriber"
    }
    real a_client_asks_for_nothing {
        "+slotcar_clients_closed_total reason=idle"
    }
    real nobody_knows_what_to_answer {
        "+slotcar_clients_closed_total reason=unknown_outcome"
        "+slotcar_given_up_total reason=unknown_outcome"
    }
    fake a_client_does_not_read {
        "+slotcar_clients_closed_total reason=slow_reader"
    }
    fake a_long_reply_stops_in_its_middle {
        "+slotcar_clients_closed_total reason=torn_reply"
    }
    real descriptors_run_out {
        "+slotcar_connections_total outcome=accept_error"
        "-process_max_fds"
    }
    real clients_do_not_speak_tls {
        "+slotcar_connections_total outcome=tls_error"
    }
}

fn clients_come_and_wait(kind: ServerKind) -> Vec<Samples> {
    let server = Server::start_plain(kind);
    let url = format!("redis://{}", server.addr());
    let flags = ["--max-clients", "20", "--node-info-interval", "1s"];
    let mut shown = Shown::start(&[&["--upstream", &url], &flags[..]].concat());
    shown.slotcar.expect_log("clients are turned away");
    let before = shown.wait_for("the server has said how it is", SECONDS(20), |samples| {
        samples.count("slotcar_node_clients") == 1
    });
    let mut watcher = shown.slotcar.conn();
    watcher.ok(&["WATCH", "key"]);
    watcher.ok(&["MULTI"]);
    watcher.ok(&["GET", "key"]);
    watcher.ok(&["EXEC"]);
    watcher.ok(&["WATCH", "key"]);
    let mut subscriber = shown.slotcar.conn();
    subscriber.ok(&["SUBSCRIBE", "channel"]);
    let mut resp3 = Conn::open_resp3(shown.slotcar.addr());
    resp3.ok(&["GET", "key"]);
    let mut waiter = shown.slotcar.conn();
    waiter.send_raw(b"BLPOP nothing 0\r\n");
    let waits = shown.wait_for("a client waits", SECONDS(5), |samples| {
        samples.sum("slotcar_sessions_blocked") > 0.0
    });
    let others: Vec<TcpStream> = (0..20)
        .map(|_| TcpStream::connect(shown.slotcar.addr()).expect("slotcar listens"))
        .collect();
    let refused = "slotcar_connections_total outcome=refused";
    let crowded = shown.wait_for("some are turned away", SECONDS(10), |samples| {
        samples.sum(refused) > 0.0
            && samples.sum("slotcar_node_clients") > before.sum("slotcar_node_clients")
    });
    assert_eq!(crowded.sum("slotcar_sessions"), 20.0);
    drop((others, waiter, subscriber, watcher));
    vec![before, waits, crowded]
}

/// A client begins to send a value that is too large for the budget.
fn memory_is_short(kind: ServerKind) -> Vec<Samples> {
    let server = Server::start_plain(kind);
    let url = format!("redis://{}", server.addr());
    let mut shown = Shown::start(&["--upstream", &url, "--max-memory", "128mb"]);
    shown.slotcar.expect_log("cut: memory is short");
    let before = shown.metrics();
    let mut conn = shown.slotcar.conn();
    conn.send_raw(format!("*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n${}\r\n", 200 << 20).as_bytes());
    let piece = vec![b'x'; 20 << 20];
    conn.send_raw(&piece);
    let used = "slotcar_memory_used_bytes";
    let much = shown.wait_for("much is used", SECONDS(10), |samples| {
        samples.grown(&before, used) > piece.len() as f64
    });
    // It is cut in the middle of that, or when it has waited for a while.
    while conn.try_send(&piece).is_ok() {}
    conn.read_to_end();
    vec![before, much, shown.metrics()]
}

fn a_subscriber_does_not_read(kind: ServerKind) -> Vec<Samples> {
    let server = Server::start_plain(kind);
    let url = format!("redis://{}", server.addr());
    let mut shown = Shown::start(&["--upstream", &url]);
    shown.slotcar.expect_log("does not read its messages");
    let before = shown.metrics();
    let mut lazy = shown.slotcar.conn();
    lazy.ok(&["SUBSCRIBE", "flood"]);
    let (mut publisher, data) = (shown.slotcar.conn(), "x".repeat(1 << 20));
    let mut rounds = 0..400;
    while publisher.ok(&["PUBLISH", "flood", &data]).int() == 1 {
        assert!(rounds.next().is_some(), "it is never cut");
    }
    vec![before, shown.metrics()]
}

fn a_client_asks_for_nothing(kind: ServerKind) -> Vec<Samples> {
    let server = Server::start_plain(kind);
    let url = format!("redis://{}", server.addr());
    let shown = Shown::start(&["--upstream", &url, "--client-idle-timeout", "300ms"]);
    let before = shown.metrics();
    let mut idle = shown.slotcar.conn();
    idle.ok(&["PING"]);
    assert_eq!(idle.read_to_end(), b"");
    vec![before, shown.metrics()]
}

fn nobody_knows_what_to_answer(kind: ServerKind) -> Vec<Samples> {
    let mut cluster = Cluster::start(kind, 1, 0);
    let mut shown = Shown::before(&cluster, &["--unknown-outcome", "close"]);
    shown.slotcar.expect_log(&cluster.addr(0).to_string());
    shown.slotcar.expect_log("cannot learn the topology");
    let before = shown.metrics();
    let mut writer = shown.slotcar.conn();
    cluster.stop(0);
    let incr = encode(&["INCR", "count"]);
    writer.send_raw(&incr);
    wait_until("the request lies at the node", SECONDS(5), || {
        cluster.unread_bytes(0) >= incr.len()
    });
    cluster.kill(0);
    assert_eq!(writer.read_to_end(), b"");
    vec![before, shown.metrics()]
}

/// Its first reply never comes, and those behind it are more than a client may leave untaken.
fn a_client_does_not_read() -> Vec<Samples> {
    let nodes = FakeNodes::start(2);
    let mut shown = Shown::start(&["--cluster", &nodes.seeds(), "--max-memory", "0"]);
    shown.slotcar.expect_log("does not read its replies");
    let before = shown.metrics();
    nodes.set(0, |_, _| Ok(()));
    let value = "x".repeat(2 << 20);
    let reply = format!("${}\r\n{value}\r\n", value.len());
    nodes.set(1, move |_, stream| stream.write_all(reply.as_bytes()));
    let mut conn = shown.slotcar.conn();
    conn.send_raw(&get(&nodes.key(0, 0)));
    conn.send_raw(&get(&nodes.key(1, 0)).repeat(600));
    assert_eq!(conn.read_to_end(), b"");
    nodes.heal(0);
    vec![before, shown.metrics()]
}

fn a_long_reply_stops_in_its_middle() -> Vec<Samples> {
    let nodes = FakeNodes::start(2);
    let mut shown = Shown::start(&["--cluster", &nodes.seeds()]);
    shown.slotcar.expect_log(&nodes.addr(0).to_string());
    let before = shown.metrics();
    let begun = Arc::new(AtomicBool::new(false));
    let has_begun = Arc::clone(&begun);
    nodes.set(0, move |_, stream| {
        write!(stream, "${}\r\n", 500_000_000)?;
        stream.write_all(&vec![b'x'; 1 << 20])?;
        // Before that it can be asked for again.
        wait_until("the client has its beginning", SECONDS(60), || {
            has_begun.load(Ordering::Relaxed)
        });
        Err(io::ErrorKind::Other.into())
    });
    let mut conn = shown.slotcar.conn();
    conn.send_raw(&get(&nodes.key(0, 0)));
    conn.stream().peek(&mut [0; 1]).expect("a beginning");
    begun.store(true, Ordering::Relaxed);
    assert!(conn.read_to_end().starts_with(b"$500000000\r\nxxx"));
    nodes.heal(0);
    vec![before, shown.metrics()]
}

fn descriptors_run_out(kind: ServerKind) -> Vec<Samples> {
    let server = Server::start_plain(kind);
    let url = format!("redis://{}", server.addr());
    let mut shown = Shown::start(&["--upstream", &url]);
    shown.slotcar.expect_log("cannot accept connections, with");
    let before = shown.metrics();
    // As many as are open, and one more for whoever asks for the metrics.
    let limit = |most: usize| {
        let (pid, most) = (shown.slotcar.pid().to_string(), format!("--nofile={most}:"));
        let set = Command::new("prlimit")
            .args(["--pid", &pid, &most])
            .status();
        assert!(set.is_ok_and(|status| status.success()), "prlimit {most}");
    };
    limit(shown.slotcar.descriptors() + 2);
    let clients: Vec<TcpStream> = (0..8)
        .map(|_| TcpStream::connect(shown.slotcar.addr()).expect("slotcar listens"))
        .collect();
    wait_until("the log tells of it", SECONDS(10), || {
        shown.slotcar.log().contains("cannot accept connections")
    });
    let max = shown.slotcar.descriptors() + 20;
    limit(max);
    let after = shown.metrics();
    assert_eq!(after.sum("process_max_fds"), max as f64);
    drop(clients);
    vec![before, after]
}

fn clients_do_not_speak_tls(kind: ServerKind) -> Vec<Samples> {
    let authority = Authority::new();
    let pair = authority.issue("slotcar", &[&address::unused().ip().to_string()]);
    let server = Server::start_plain(kind);
    let url = format!("redis://{}", server.addr());
    let secured = [
        "--listen-tls-cert",
        &pair.cert,
        "--listen-tls-key",
        &pair.key,
    ];
    let shown = Shown::start_listening(&[&["--upstream", &url], &secured[..]].concat());
    // The one that has looked whether slotcar listens.
    let errors = "slotcar_connections_total outcome=tls_error";
    let before = shown.wait_for("its end is noticed", SECONDS(10), |samples| {
        samples.sum(errors) == 1.0
    });
    let reply = shown.slotcar.conn().cmd(&["PING"]);
    assert!(reply.error().is_some(), "{reply:?}");
    let after = shown.wait_for("it is counted", SECONDS(10), |samples| {
        samples.sum(errors) > 1.0
    });
    assert_eq!(after.sum(errors), 2.0);
    vec![before, after]
}
