//! MULTI, EXEC and WATCH: nothing lost, nothing half done, no connection opened for a plain transaction.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::{
    Cluster, Conn, ServerKind, SetOnDrop, Slotcar, Value, address, slot_of, wait_until,
};
use crate::watch_nodes::{Nodes, burst, key_at, key_at_each};

on_both!(
    no_watched_increment_of_16_clients_is_lost,
    transactions_without_watch_open_no_connection,
    transactions_pass_a_resharding_whole,
    a_watch_ends_with_the_primary_that_held_it,
    a_watch_ends_when_its_slot_moves,
    a_transaction_over_slots_is_refused_whole_and_names_the_keys,
    a_listener_may_split_transactions_over_slots,
    a_watched_slot_decides_over_a_split_transaction,
);

/// Every client reads, increments in a transaction, and knows from the reply whether somebody was in between.
fn no_watched_increment_of_16_clients_is_lost(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let slotcar = Slotcar::before(&cluster);
    let mut nodes = Nodes::primaries(&cluster);
    let accepted_before = nodes.accepted();
    let successes: i64 = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..16)
            .map(|client| {
                let mut conn = if client % 2 == 0 {
                    slotcar.conn()
                } else {
                    Conn::open_resp3(slotcar.addr())
                };
                scope.spawn(move || {
                    let rounds = (0..WATCH_ROUNDS / 16).map(|_| watched_increment(&mut conn));
                    rounds.filter(|success| *success).count()
                })
            })
            .collect();
        let counts = clients.into_iter().map(|client| client.join().unwrap());
        counts.map(|count| i64::try_from(count).unwrap()).sum()
    });
    let last: i64 = slotcar.conn().ok(&["GET", "n"]).text().parse().unwrap();
    println!("{successes} of {WATCH_ROUNDS} rounds went through");
    assert_eq!(last, successes);
    assert!(
        0 < successes && successes < WATCH_ROUNDS,
        "the clients were not in each other's way: {successes}"
    );
    let opened = nodes.accepted() - accepted_before;
    println!("{opened} connections for {WATCH_ROUNDS} watches");
    assert!(opened <= 100, "leases are used again, not opened: {opened}");
}

/// One round; false if another client was faster.
fn watched_increment(conn: &mut Conn) -> bool {
    let [watch, read] = two(burst(conn, &[&["WATCH", "n"][..], &["GET", "n"]]));
    assert!(watch.is_ok(), "WATCH: {watch:?}");
    let before: i64 = match read {
        Value::Nil => 0,
        number => number.text().parse().unwrap(),
    };
    let replies = burst(conn, &[&["MULTI"][..], &["INCR", "n"], &["EXEC"]]);
    match replies.as_slice() {
        [begun, queued, done] if begun.is_ok() && queued.text() == "QUEUED" => match done {
            Value::Nil => false,
            done => {
                assert_eq!(done.list(), [Value::Int(before + 1)], "after GET {before}");
                true
            }
        },
        other => panic!("MULTI INCR EXEC: {other:?}"),
    }
}

fn transactions_without_watch_open_no_connection(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let slotcar = Slotcar::start(&["--cluster", &cluster.seeds(), "--probe-interval", "0"]);
    let started = Instant::now();
    let mut clients: Vec<Conn> = (0..10).map(|_| slotcar.conn()).collect();
    // Links are opened when they are first needed.
    for key in key_at_each(&cluster, "first") {
        let first = burst(
            &mut clients[0],
            &[&["MULTI"][..], &["INCR", &key], &["EXEC"]],
        );
        assert_eq!(first[2], Value::Array(vec![Value::Int(1)]));
    }
    let mut nodes = Nodes::primaries(&cluster);
    let before = nodes.accepted();
    std::thread::scope(|scope| {
        for (client, conn) in clients.iter_mut().enumerate() {
            scope.spawn(move || {
                for batch in 0..TRANSACTIONS / 10 / BATCH {
                    transactions(conn, client, batch);
                }
            });
        }
    });
    // The topology is asked for every half minute, on connections of its own.
    let refreshes = i64::try_from(started.elapsed().as_secs() / 25).unwrap();
    let opened = nodes.accepted() - before;
    assert!(
        opened <= refreshes * 3,
        "{TRANSACTIONS} transactions opened {opened} connections"
    );
}

/// Sends transactions on one client's own keys, all in one pipeline, and checks every reply.
fn transactions(conn: &mut Conn, client: usize, batch: usize) {
    let tags: Vec<String> = (0..BATCH)
        .map(|number| format!("{{{client}:{batch}:{number}}}"))
        .collect();
    let requests: Vec<Vec<String>> = tags
        .iter()
        .flat_map(|tag| {
            let (a, b) = (format!("{tag}a"), format!("{tag}b"));
            [
                words(&["MULTI"]),
                words(&["SET", &a, tag]),
                words(&["INCR", &b]),
                words(&["GET", &a]),
                words(&["EXEC"]),
            ]
        })
        .collect();
    let requests: Vec<&[String]> = requests.iter().map(Vec::as_slice).collect();
    let replies = burst(conn, &requests);
    for (tag, replies) in tags.iter().zip(replies.chunks(5)) {
        let queued = || Value::Simple("QUEUED".to_owned());
        let done = [ok(), Value::Int(1), Value::Bulk(tag.clone().into_bytes())];
        let expected = [
            ok(),
            queued(),
            queued(),
            queued(),
            Value::Array(done.into()),
        ];
        assert_eq!(replies, expected, "transaction {tag}");
    }
}

/// Two counters that only ever change together, in slots that move away and back.
fn transactions_pass_a_resharding_whole(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let mut slotcar = Slotcar::before(&cluster);
    slotcar.expect_log("the nodes do not agree who serves what");
    let moving: Vec<u16> = cluster.slots_of(0).into_iter().take(MOVING_SLOTS).collect();
    let tags: Vec<String> = (0..)
        .map(|number| format!("{{t:{number}}}"))
        .filter(|tag| moving.contains(&slot_of(tag)))
        .take(40)
        .collect();
    let end = AtomicBool::new(false);
    let rounds: usize = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|client| {
                let own: Vec<&str> = tags[client * 10..][..10].iter().map(|tag| &**tag).collect();
                let (slotcar, end) = (&slotcar, &end);
                scope.spawn(move || {
                    // Half of the clients watch as well.
                    pairs_of_counters(&mut slotcar.conn(), &own, client % 2 == 0, end)
                })
            })
            .collect();
        let moved = SetOnDrop(&end);
        cluster.move_slots(0, 1, &moving);
        cluster.move_slots(1, 0, &moving);
        drop(moved);
        clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .sum()
    });
    let redirections = slotcar.counter("redirections");
    println!("{rounds} transactions, {redirections} redirections");
    assert!(redirections > 0, "no transaction met a move");
}

fn pairs_of_counters(conn: &mut Conn, tags: &[&str], watching: bool, end: &AtomicBool) -> usize {
    let mut done = vec![0; tags.len()];
    while !end.load(Ordering::Relaxed) {
        for (tag, count) in tags.iter().zip(&mut done) {
            let (a, b) = (format!("{tag}a"), format!("{tag}b"));
            if watching {
                conn.ok(&["WATCH", &a, &b]);
            }
            let replies = burst(
                conn,
                &[&["MULTI"][..], &["INCR", &a], &["INCR", &b], &["EXEC"]],
            );
            match &replies[3] {
                // A move may end a watch; then nothing was done, and nothing else tells a client.
                Value::Nil if watching => continue,
                exec => {
                    let both = Value::Int(*count + 1);
                    let expected = Value::Array(vec![both.clone(), both]);
                    assert_eq!(*exec, expected, "{tag}, {replies:?}");
                }
            }
            *count += 1;
        }
    }
    done.iter()
        .map(|count| usize::try_from(*count).unwrap())
        .sum()
}

fn a_watch_ends_with_the_primary_that_held_it(kind: ServerKind) {
    let mut cluster = Cluster::start(kind, 3, 1);
    let mut slotcar = Slotcar::before(&cluster);
    for node in 0..6 {
        slotcar.expect_log(&cluster.addr(node).to_string());
    }
    let key = key_at(&cluster, 0, "watched");
    let (mut conn, mut other) = (slotcar.conn(), slotcar.conn());
    conn.ok(&["SET", &key, "1"]);
    cluster.conn(0).ok(&["WAIT", "1", "5000"]);
    let begun = burst(
        &mut conn,
        &[&["WATCH", &*key][..], &["MULTI"], &["INCR", &key]],
    );
    assert_eq!(begun[2].text(), "QUEUED");
    cluster.kill(0);
    assert_eq!(
        other.ok(&["GET", &key]).text(),
        "1",
        "served by the replica"
    );
    assert_eq!(
        conn.cmd(&["EXEC"]),
        Value::Nil,
        "nobody knows what happened"
    );
    assert_eq!(other.ok(&["GET", &key]).text(), "1");
    let again = burst(
        &mut conn,
        &[
            &["WATCH", &*key][..],
            &["MULTI"],
            &["INCR", &key],
            &["EXEC"],
        ],
    );
    assert_eq!(again[3], Value::Array(vec![Value::Int(2)]), "{again:?}");
}

fn a_watch_ends_when_its_slot_moves(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let mut slotcar = Slotcar::before(&cluster);
    slotcar.expect_log("the nodes do not agree who serves what");
    let key = key_at(&cluster, 0, "watched");
    let mut conn = slotcar.conn();
    conn.ok(&["SET", &key, "1"]);
    conn.ok(&["WATCH", &key]);
    cluster.move_slots(0, 1, &[slot_of(&key)]);
    // The change at the new owner is one that the watch cannot have seen.
    slotcar.conn().ok(&["SET", &key, "5"]);
    let stale = burst(&mut conn, &[&["MULTI"][..], &["INCR", &key], &["EXEC"]]);
    assert_eq!(stale[2], Value::Nil, "{stale:?}");
    assert_eq!(conn.ok(&["GET", &key]).text(), "5");
    let again = burst(
        &mut conn,
        &[
            &["WATCH", &*key][..],
            &["MULTI"],
            &["INCR", &key],
            &["EXEC"],
        ],
    );
    assert_eq!(again[3], Value::Array(vec![Value::Int(6)]), "{again:?}");
}

fn a_transaction_over_slots_is_refused_whole_and_names_the_keys(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let slotcar = Slotcar::before(&cluster);
    let [a, b, _] = key_at_each(&cluster, "k");
    for mut conn in [slotcar.conn(), Conn::open_resp3(slotcar.addr())] {
        let replies = burst(
            &mut conn,
            &[
                &["MULTI"][..],
                &["SET", &a, "1"],
                &["SET", &b, "1"],
                &["EXEC"],
            ],
        );
        let told: Vec<&str> = replies.iter().filter_map(Value::error).collect();
        let whole = told.join("\n");
        assert!(whole.contains("CROSSSLOT"), "{replies:?}");
        for word in [&a, &b, &slot_of(&a).to_string(), &slot_of(&b).to_string()] {
            assert!(whole.contains(word), "{word} is missing in {whole}");
        }
        assert!(replies[3].error().is_some(), "EXEC: {replies:?}");
        assert_eq!(conn.ok(&["EXISTS", &a, &b]).int(), 0, "nothing was done");
        let alone = burst(&mut conn, &[&["MULTI"][..], &["DEL", &b], &["EXEC"]]);
        assert_eq!(alone[2], Value::Array(vec![Value::Int(0)]), "it goes on");
    }
}

fn a_listener_may_split_transactions_over_slots(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let (slotcar, mut conn) = with_a_listener_that_splits(&cluster);
    let requests: Vec<Vec<String>> = (0..1000)
        .flat_map(|number| {
            let key = format!("k:{number}");
            [
                words(&["SET", &key, &number.to_string()]),
                words(&["GET", &key]),
                words(&["LPUSH", &key, "x"]),
            ]
        })
        .collect();
    let (multi, exec) = (words(&["MULTI"]), words(&["EXEC"]));
    let whole: Vec<&[String]> = std::iter::once(&multi)
        .chain(&requests)
        .chain([&exec])
        .map(Vec::as_slice)
        .collect();
    let replies = burst(&mut conn, &whole);
    let done = replies.last().expect("a reply of EXEC").list();
    assert_eq!(done.len(), 3000);
    for (number, replies) in done.chunks(3).enumerate() {
        assert_eq!(replies[0], ok());
        assert_eq!(replies[1].text(), number.to_string());
        let error = replies[2].error().unwrap_or_default();
        assert!(error.starts_with("WRONGTYPE"), "{replies:?}");
    }
    // The other listener of the same process refuses.
    let refused = burst(
        &mut slotcar.conn(),
        &[&["MULTI"][..], &["GET", "k:1"], &["GET", "k:2"], &["EXEC"]],
    );
    assert!(refused[3].error().is_some(), "{refused:?}");
}

fn a_watched_slot_decides_over_a_split_transaction(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let (slotcar, mut conn) = with_a_listener_that_splits(&cluster);
    let [a, b, c] = key_at_each(&cluster, "k");
    let mut other = slotcar.conn();
    for (touched, expected) in [(true, 0), (false, 3)] {
        // Nothing is queued in the watched slot first: its block still runs before the others.
        conn.ok(&["WATCH", &b]);
        if touched {
            other.ok(&["SET", &b, "0"]);
            other.ok(&["DEL", &b]);
        }
        let replies = burst(
            &mut conn,
            &[
                &["MULTI"][..],
                &["SET", &a, "1"],
                &["SET", &b, "1"],
                &["SET", &c, "1"],
                &["EXEC"],
            ],
        );
        match &replies[4] {
            Value::Nil => assert!(touched, "aborted for no reason"),
            done => assert_eq!(*done, Value::Array(vec![ok(), ok(), ok()])),
        }
        assert_eq!(other.ok(&["EXISTS", &a, &b, &c]).int(), expected);
    }
}

/// A slotcar whose usual listener refuses, and a client of its other one, which splits.
fn with_a_listener_that_splits(cluster: &Cluster) -> (Slotcar, Conn) {
    let addr = address::unused();
    let listen = format!("{addr}?cross-slot-transactions=split");
    let mut slotcar = Slotcar::start(&["--cluster", &cluster.seeds(), "--listen", &listen]);
    // Never silent.
    slotcar.expect_log("transaction");
    wait_until("the other listener answers", Duration::from_secs(5), || {
        Conn::try_open(addr).is_ok()
    });
    (slotcar, Conn::open(addr))
}

fn two(replies: Vec<Value>) -> [Value; 2] {
    replies.try_into().expect("two replies")
}

fn words(request: &[&str]) -> Vec<String> {
    request.iter().map(|word| (*word).to_owned()).collect()
}

fn ok() -> Value {
    Value::Simple("OK".to_owned())
}

const WATCH_ROUNDS: i64 = 10_000;
const TRANSACTIONS: usize = 50_000;
/// Transactions in one pipeline.
const BATCH: usize = 100;
const MOVING_SLOTS: usize = 300;
