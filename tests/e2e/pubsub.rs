//! Pub/Sub: every message once and in order, over few connections to the nodes, across failovers and moves.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::support::{Cluster, Conn, ServerKind, Slotcar, Value, slot_of, wait_until};
use crate::watch_nodes::{Nodes, burst, key_at, key_at_each};

on_both!(
    a_thousand_subscribers_hear_everything_in_order_over_few_connections,
    subscriptions_come_back_when_a_primary_dies,
    subscriptions_follow_their_slot,
    a_subscriber_that_never_reads_is_cut_and_harms_nobody,
    notifications_of_all_nodes_reach_every_subscriber_once,
);

fn a_thousand_subscribers_hear_everything_in_order_over_few_connections(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let slotcar = Slotcar::start(&["--cluster", &cluster.seeds(), "--workers", "2"]);
    let mut subscribers: Vec<Conn> = (0..SUBSCRIBERS)
        .map(|number| subscribe(&slotcar, number % 2 == 1, &["SUBSCRIBE", &channel(number)]))
        .collect();
    let upstream = Nodes::primaries(&cluster).clients(&["TYPE", "pubsub"]);
    assert!(
        (1..=2 * 3).contains(&upstream.len()),
        "one for each worker and node at most: {upstream:#?}"
    );
    let messages = messages_per_channel();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for share in subscribers.chunks_mut(SUBSCRIBERS / 4) {
            scope.spawn(move || hear_all(share, messages));
        }
        for publisher in 0..4 {
            let mut conn = slotcar.conn();
            scope.spawn(move || {
                for number in 0..messages {
                    publish_one_each(&mut conn, publisher, number);
                }
            });
        }
    });
    println!(
        "{} messages took {:?}",
        messages * SUBSCRIBERS,
        start.elapsed()
    );
    for conn in &mut subscribers {
        conn.send_raw(b"PING\r\n");
        let answer = conn.recv();
        assert!(answer == Value::Simple("PONG".to_owned()) || answer.list().len() == 2);
    }
}

/// Reads the messages of these subscribers, all of one channel in the order of their numbers.
fn hear_all(subscribers: &mut [Conn], messages: usize) {
    for number in 0..messages {
        for conn in &mut *subscribers {
            let (_, data) = message(&conn.recv());
            assert_eq!(data, number.to_string());
        }
    }
}

/// Message `number` on each channel of this publisher.
fn publish_one_each(conn: &mut Conn, publisher: usize, number: usize) {
    let requests: Vec<[String; 3]> = (0..CHANNELS)
        .filter(|channel| channel % 4 == publisher)
        .map(|each| ["PUBLISH".to_owned(), channel(each), number.to_string()])
        .collect();
    let requests: Vec<&[String]> = requests.iter().map(|request| &request[..]).collect();
    let listeners = i64::try_from(SUBSCRIBERS / CHANNELS).unwrap();
    for reply in burst(conn, &requests) {
        assert_eq!(reply, Value::Int(listeners), "who has heard it");
    }
}

fn channel(number: usize) -> String {
    format!("channel:{}", number % CHANNELS)
}

/// More with E2E_MESSAGES_PER_CHANNEL: a debug build on a small machine has its limits.
fn messages_per_channel() -> usize {
    let wanted = std::env::var("E2E_MESSAGES_PER_CHANNEL").ok();
    wanted.map_or(100, |number| number.parse().expect("a number"))
}

fn subscriptions_come_back_when_a_primary_dies(kind: ServerKind) {
    let mut cluster = Cluster::start(kind, 3, 1);
    let mut slotcar = Slotcar::before(&cluster);
    for node in 0..6 {
        slotcar.expect_log(&cluster.addr(node).to_string());
    }
    let mut conn = slotcar.conn();
    let mut subscribers: Vec<Conn> = (0..CHANNELS)
        .map(|number| subscribe(&slotcar, number % 2 == 1, &["SUBSCRIBE", &channel(number)]))
        .collect();
    let mut pattern = subscribe(&slotcar, true, &["PSUBSCRIBE", "channel:*"]);
    for number in 0..10 {
        publish_round(&mut conn, number, Some(2));
    }
    // What a primary has not sent when it dies is lost, as with one server: let it send.
    for conn in &mut subscribers {
        assert_eq!(numbers(conn, 9), (0..=9).collect::<Vec<_>>());
    }
    (0..10 * CHANNELS).for_each(|_| drop(message(&pattern.recv())));

    cluster.kill(0);
    cluster.wait_ok();
    let known = Instant::now();
    // The numbers of the rounds that began within a second of the new topology; a gap in them is allowed.
    let mut early = 10..10;
    while known.elapsed() < Duration::from_secs(1) {
        publish_round(&mut conn, early.end, None);
        early.end += 1;
    }
    let last = early.end + 9;
    for number in early.end..=last {
        publish_round(&mut conn, number, Some(2));
    }
    let mut missed = 0;
    for (number, conn) in subscribers.iter_mut().enumerate() {
        let heard = numbers(conn, last);
        let first = *heard.first().expect("the last one at least");
        assert!(
            first <= early.end,
            "{}: silent until {first} of {early:?}",
            channel(number)
        );
        assert_eq!(
            heard,
            (first..=last).collect::<Vec<_>>(),
            "{}",
            channel(number)
        );
        missed = missed.max(first - early.start);
    }
    println!("{missed} of {early:?} missed at most after the failover");
}

/// Message `number` to every channel; says how many hear it if that is known.
fn publish_round(conn: &mut Conn, number: usize, listeners: Option<i64>) {
    for channel in (0..CHANNELS).map(channel) {
        let reply = conn.cmd(&["PUBLISH", &channel, &number.to_string()]);
        match (reply, listeners) {
            (Value::Int(count), Some(listeners)) => assert_eq!(count, listeners, "{channel}"),
            (Value::Int(_), None) => {}
            (reply, _) => {
                let error = reply.error().unwrap_or_else(|| panic!("{reply:?}"));
                let is_unknown = error.contains("outcome is unknown");
                assert!(is_unknown && listeners.is_none(), "{channel}: {error}");
            }
        }
    }
}

/// The numbers in the messages up to `last`.
fn numbers(conn: &mut Conn, last: usize) -> Vec<usize> {
    let mut heard = Vec::new();
    while heard.last() != Some(&last) {
        let (_, data) = message(&conn.recv());
        heard.push(data.parse().unwrap());
    }
    heard
}

fn subscriptions_follow_their_slot(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let mut slotcar = Slotcar::before(&cluster);
    slotcar.expect_log("the nodes do not agree who serves what");
    let name = key_at(&cluster, 0, "channel");
    let slot = [slot_of(&name)];
    for (request, publish) in [("SUBSCRIBE", "PUBLISH"), ("SSUBSCRIBE", "SPUBLISH")] {
        let mut publisher = slotcar.conn();
        let mut sent = 0;
        let mut send = || {
            let reply = publisher.ok(&[publish, &name, &sent.to_string()]);
            sent += 1;
            (sent - 1, reply.int())
        };
        std::thread::scope(|scope| {
            let listeners = [false, true].map(|resp3| {
                let conn = subscribe(&slotcar, resp3, &[request, &name]);
                let (heard, arriving) = std::sync::mpsc::channel();
                scope.spawn(move || listen(conn, &heard));
                arriving
            });
            for (from, to) in [(0, 1), (1, 2), (2, 0)] {
                cluster.move_slots(from, to, &slot);
                // In between messages may be lost. Once both have heard one, nothing is lost any more.
                let first = listeners.each_ref().map(|arriving| {
                    let mut first = None;
                    wait_until("a message arrives again", LIMIT, || {
                        send();
                        first = arriving.try_recv().ok();
                        first.is_some()
                    });
                    first.expect("waited for")
                });
                let (end, _) = (0..10).map(|_| send()).fold((0, 2), |_, (number, count)| {
                    assert_eq!(count, 2, "{publish}, {from} to {to}");
                    (number, count)
                });
                for (arriving, first) in listeners.iter().zip(first) {
                    for number in first + 1..=end {
                        let heard = arriving.recv_timeout(LIMIT);
                        assert_eq!(heard, Ok(number), "{publish}, {from} to {to}");
                    }
                }
            }
            // Ends the listeners.
            slotcar.conn().ok(&[publish, &name, "end"]);
        });
    }
}

/// Passes the numbers of the messages on, until one is no number.
fn listen(mut conn: Conn, heard: &std::sync::mpsc::Sender<usize>) {
    while let Ok(number) = message(&conn.recv()).1.parse() {
        if heard.send(number).is_err() {
            return;
        }
    }
}

fn a_subscriber_that_never_reads_is_cut_and_harms_nobody(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let mut slotcar = Slotcar::before(&cluster);
    // An operator may want to know.
    slotcar.expect_log("does not read its messages");
    let mut reader = subscribe(&slotcar, true, &["SUBSCRIBE", "flood"]);
    let _lazy = subscribe(&slotcar, true, &["SUBSCRIBE", "flood"]);
    let before = resident_bytes(slotcar.pid());
    let mut publisher = slotcar.conn();
    let data = "x".repeat(64 << 10);
    let (mut sent, mut listeners) = (0, 2);
    let mut peak = before;
    while listeners == 2 {
        assert!(
            sent < 400 << 20,
            "{sent} bytes wait for it and it is not cut"
        );
        listeners = publisher.ok(&["PUBLISH", "flood", &data]).int();
        sent += data.len();
        let (_, heard) = message(&reader.recv());
        assert_eq!(heard.len(), data.len(), "the other one hears everything");
        peak = peak.max(resident_bytes(slotcar.pid()));
    }
    assert_eq!(listeners, 1);
    let grown = (peak - before) >> 20;
    println!(
        "cut after {} MiB; slotcar had grown by {grown} MiB",
        sent >> 20
    );
    assert!(grown < 128, "slotcar grew by {grown} MiB");
}

/// Resident memory of a process (Linux).
fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a Linux machine");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    kib.expect("VmRSS").parse::<u64>().unwrap() << 10
}

fn notifications_of_all_nodes_reach_every_subscriber_once(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let slotcar = Slotcar::before(&cluster);
    let mut conn = slotcar.conn();
    conn.ok(&["CONFIG", "SET", "notify-keyspace-events", "KEA"]);
    let ends = key_at_each(&cluster, "end");
    let keys: Vec<String> = (0..KEYS).map(|number| format!("k:{number}")).collect();
    let events = keys
        .iter()
        .map(|key| ("__keyevent@0__:set".to_owned(), key.clone()));
    let spaces = keys
        .iter()
        .map(|key| (format!("__keyspace@0__:{key}"), "set".to_owned()));
    let news: Vec<(String, String)> = (0..CHANNELS)
        .map(|number| (channel(number), format!("news {number}")))
        .collect();
    let about_keys: BTreeSet<_> = events.clone().chain(spaces.clone()).collect();
    let cases: [(&[&str], Messages); 5] = [
        (
            &["SUBSCRIBE", "__keyevent@0__:set"],
            events.clone().collect(),
        ),
        (
            &["SUBSCRIBE", "__keyspace@0__:k:7"],
            spaces.clone().skip(7).take(1).collect(),
        ),
        (&["PSUBSCRIBE", "__key*__:*"], about_keys.clone()),
        (
            &["PSUBSCRIBE", "*"],
            about_keys.iter().cloned().chain(news.clone()).collect(),
        ),
        (&["PSUBSCRIBE", "channel:*"], news.iter().cloned().collect()),
    ];
    let mut subscribers: Vec<(Conn, &Messages)> = cases
        .iter()
        .flat_map(|(request, expected)| [(request, expected, false), (request, expected, true)])
        .map(|(request, expected, resp3)| (subscribe(&slotcar, resp3, request), expected))
        .collect();
    // They end the search for what should not be there.
    for (subscriber, _) in &mut subscribers {
        let request = ["SUBSCRIBE", &ends[0], &ends[1], &ends[2]];
        subscriber.send_raw(&crate::support::conn::encode(&request));
        ends.iter().for_each(|_| drop(subscriber.recv()));
    }
    let sets: Vec<[&str; 3]> = keys.iter().map(|key| ["SET", key, "v"]).collect();
    let publishes = news
        .iter()
        .map(|(channel, text)| ["PUBLISH", channel, text]);
    for request in sets.into_iter().chain(publishes) {
        conn.ok(&request);
    }
    let mut all_seen: Vec<Vec<(String, String)>> = subscribers
        .iter_mut()
        .map(|(conn, expected)| expected.iter().map(|_| message(&conn.recv())).collect())
        .collect();
    for end in &ends {
        conn.ok(&["PUBLISH", end, "end"]);
    }
    for (number, (subscriber, expected)) in subscribers.iter_mut().enumerate() {
        let seen = &mut all_seen[number];
        seen.extend(read_until_ended(subscriber, &ends));
        let distinct: BTreeSet<_> = seen.iter().cloned().collect();
        let request = cases[number / 2].0;
        let missing: Vec<_> = expected.difference(&distinct).take(5).collect();
        assert!(missing.is_empty(), "{request:?} misses {missing:?}, …");
        let surplus: Vec<_> = distinct.difference(expected).take(5).collect();
        assert!(surplus.is_empty(), "{request:?} got {surplus:?}, …");
        assert_eq!(seen.len(), expected.len(), "{request:?} got some twice");
    }
}

/// All messages as (channel, data) but the end marks, which come by channel and, to some, by pattern too.
fn read_until_ended(conn: &mut Conn, ends: &[String; 3]) -> Vec<(String, String)> {
    let mut seen = Vec::new();
    let mut open: BTreeSet<&String> = ends.iter().collect();
    while !open.is_empty() {
        let push = conn.recv();
        let is_pattern = push
            .list()
            .first()
            .is_some_and(|kind| kind.text() == "pmessage");
        let (channel, data) = message(&push);
        if !ends.contains(&channel) {
            seen.push((channel, data));
        } else if !is_pattern {
            open.remove(&channel);
        }
    }
    seen
}

/// Channel and data of each.
type Messages = BTreeSet<(String, String)>;

/// A client that has subscribed, and has read the confirmation.
fn subscribe(slotcar: &Slotcar, resp3: bool, request: &[&str]) -> Conn {
    let mut conn = if resp3 {
        Conn::open_resp3(slotcar.addr())
    } else {
        slotcar.conn()
    };
    let confirmed = conn.ok(request);
    assert_eq!(confirmed.list().len(), 3, "{request:?}: {confirmed:?}");
    assert_eq!(
        matches!(confirmed, Value::Push(_)),
        resp3,
        "a push in RESP3 only: {confirmed:?}"
    );
    conn
}

/// Channel and data of a message of any kind.
fn message(push: &Value) -> (String, String) {
    match push.list() {
        [kind, channel, data] if ["message", "smessage"].contains(&&*kind.text()) => {
            (channel.text(), data.text())
        }
        [kind, _pattern, channel, data] if kind.text() == "pmessage" => {
            (channel.text(), data.text())
        }
        other => panic!("not a message: {other:?}"),
    }
}

const SUBSCRIBERS: usize = 1000;
const CHANNELS: usize = 100;
const KEYS: usize = 1000;
const LIMIT: Duration = Duration::from_secs(20);
