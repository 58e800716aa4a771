//! slotcar is told to leave (SIGTERM) while everybody works. What it has taken is finished and answered: nothing is
//! executed that nobody hears of, and every connection ends as it should.

use std::io::ErrorKind;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::bench::{Bench, Found, Stage};
use crate::client::End;
use crate::judge;
use crate::load::{Keys, Load, Seen};
use crate::support::{Cluster, Conn, Value, conn, slot_of};
use crate::table::Check;

pub fn on_sigterm(bench: &mut Bench) -> Found {
    let mut stage = Stage::before(bench.take_cluster(), &[]);
    let mut keys = Keys::new("leaving-slow", &stage.cluster);
    let load = Load::start("leaving", stage.slotcar.addr(), &stage.cluster, true);
    std::thread::sleep(WARM);
    let slow = slow_script(stage.slotcar.conn(), keys.take(0));
    let pipeline = pipeline(stage.slotcar.conn(), keys.take(1));
    let waiting: Vec<Conn> = WAITING
        .iter()
        .map(|request| waiting(stage.slotcar.conn(), request))
        .collect();
    std::thread::sleep(UNDER_WAY);
    load.let_go();
    let start = Instant::now();
    stage.slotcar.signal("TERM");
    let status = stage.slotcar.wait_end();
    let took = start.elapsed();
    let mut seen = load.stop();
    let mut checks = judged(&mut seen, &stage.cluster);
    checks.push(Check::time(
        "slotcar has ended after",
        took,
        DEADLINE,
        "(its deadline)",
    ));
    checks.push(Check::holds(
        "exit status",
        status
            .code()
            .map_or("none".to_owned(), |code| code.to_string()),
        status.success(),
    ));
    let answer = slow.join().expect("the thread of the slow script");
    checks.push(Check::holds(
        "a script that was running is answered",
        format!("{answer:?}"),
        answer == Value::Int(1),
    ));
    let (key, answered) = pipeline.join().expect("the thread of the pipeline");
    let executed = stored(&stage.cluster, &key);
    checks.push(Check::holds(
        "pipeline of 1000: answered/executed",
        format!("{answered}/{executed}"),
        answered == executed,
    ));
    for (request, conn) in WAITING.iter().zip(waiting) {
        checks.push(ends_cleanly(request, conn));
    }
    let Stage { slotcar, cluster } = stage;
    drop(slotcar);
    bench.give_back(cluster);
    Ok(checks)
}

fn judged(seen: &mut Seen, cluster: &Cluster) -> Vec<Check> {
    let errors = seen.troubles(|op| matches!(op.end, End::Error(_)));
    let unclean = seen.troubles(|op| matches!(op.end, End::Closed { clean: false, .. }));
    let clean = |end: &End| matches!(end, End::Closed { clean: true, .. });
    let ended = seen.clients.iter().filter(|client| {
        let last = client.log.ops.last();
        last.is_some_and(|op| clean(&op.end))
    });
    let ended = ended.count();
    let (mut executed, mut acknowledged) = (0, 0);
    for counter in &seen.counters {
        executed += stored(cluster, &counter.key);
        acknowledged += counter.known;
    }
    vec![
        judge::wrong_replies(seen),
        Check::none("error replies", errors),
        Check::none("connections that did not end cleanly", unclean),
        Check::holds(
            "connections that ended cleanly",
            format!("{ended} of {}", seen.clients.len()),
            ended == seen.clients.len(),
        ),
        Check::holds(
            "executed but not acknowledged",
            (executed - acknowledged).to_string(),
            executed == acknowledged,
        ),
    ]
}

/// Keeps a node busy for a while, then increments.
fn slow_script(mut conn: Conn, key: String) -> JoinHandle<Value> {
    // Time stands still in a script, so it counts: a few tenths of a second.
    const SCRIPT: &str = "for i = 1, 30000000 do end return redis.call('INCR', KEYS[1])";
    std::thread::spawn(move || {
        let reply = conn.try_cmd(&["EVAL", SCRIPT, "1", &key]);
        reply.unwrap_or_else(|error| Value::Error(error.to_string()))
    })
}

fn waiting(mut conn: Conn, request: &[&str]) -> Conn {
    conn.send_raw(&conn::encode(request));
    if request[0] == "SUBSCRIBE" {
        assert_eq!(conn.recv().list().len(), 3, "the subscription is confirmed");
    }
    conn
}

/// Whatever is said before, the stream ends without a reset.
fn ends_cleanly(request: &[&str], mut conn: Conn) -> Check {
    let end = loop {
        match conn.try_recv() {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    Check::holds(
        format!("a client in {} is left", request[0]),
        end.to_string(),
        end.kind() == ErrorKind::UnexpectedEof,
    )
}

/// Many increments in one write; the key, and how many were answered until the connection ended.
fn pipeline(mut conn: Conn, key: String) -> JoinHandle<(String, i64)> {
    std::thread::spawn(move || {
        let bytes = conn::encode(&["INCR", &key]).repeat(PIPELINED);
        let mut answered = 0;
        loop {
            let mut due = PIPELINED;
            if conn.try_send(&bytes).is_err() {
                return (key, answered);
            }
            while due > 0 {
                match conn.try_recv() {
                    Ok(Value::Int(_)) => answered += 1,
                    Ok(other) => panic!("INCR: {other:?}"),
                    Err(_) => return (key, answered),
                }
                due -= 1;
            }
        }
    })
}

fn stored(cluster: &Cluster, key: &str) -> i64 {
    let owner = cluster.owner_of(slot_of(key));
    let stored = cluster.conn(owner).ok(&["GET", key]);
    let number = stored.bytes().map(String::from_utf8_lossy);
    number.map_or(0, |text| text.parse().expect("a counter"))
}

/// What clients do that nobody ever answers.
const WAITING: &[&[&str]] = &[
    &["BLPOP", "leaving-empty", "0"],
    &["BLPOP", "leaving-empty", "leaving-void", "0"],
    &["SUBSCRIBE", "leaving-news"],
];
const WARM: Duration = Duration::from_millis(700);
const UNDER_WAY: Duration = Duration::from_millis(50);
const PIPELINED: usize = 1000;
/// What slotcar gives requests in flight, and a second.
const DEADLINE: Duration = Duration::from_secs(6);
