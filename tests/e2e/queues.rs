//! Job queues: several consumers take from three lists in three slots while their elements come in, and a primary dies.
//!
//! Replication is asynchronous: what a primary acknowledged and had not replicated yet is lost with it, with or
//! without slotcar. So writes of the victim are paused, and it is killed when its replica has everything. Whatever
//! is missing or doubled after that is slotcar's doing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::slotcar::fields;
use crate::support::{Cluster, Conn, ServerKind, SetOnDrop, Slotcar, Value, wait_until};
use crate::watch_nodes::{burst, key_at_each};

on_both!(no_element_is_lost_or_doubled_when_a_primary_dies);

fn no_element_is_lost_or_doubled_when_a_primary_dies(kind: ServerKind) {
    let mut cluster = Cluster::start(kind, 3, 1);
    let mut slotcar = Slotcar::before(&cluster);
    for node in 0..6 {
        slotcar.expect_log(&cluster.addr(node).to_string());
    }
    let keys = key_at_each(&cluster, "queue");
    let work = Work::default();
    let (pushed, popped) = std::thread::scope(|scope| {
        let pushers: Vec<_> = keys
            .iter()
            .map(|key| {
                let (conn, work) = (slotcar.conn(), &work);
                scope.spawn(move || push_all(conn, key, work))
            })
            .collect();
        let consumers: Vec<_> = (0..CONSUMERS)
            .map(|number| {
                let (conn, work, mut keys) = (slotcar.conn(), &work, keys.clone());
                keys.rotate_left(number % 3);
                scope.spawn(move || pop_all(conn, &keys, work))
            })
            .collect();
        let all_pushed = SetOnDrop(&work.all_pushed);
        wait_until("a fifth of the work is done", LIMIT, || {
            work.popped.load(Ordering::Relaxed) > 3 * ELEMENTS / 5
        });
        kill_in_sync(&mut cluster, 0);
        let pushed: Vec<Pushed> = pushers
            .into_iter()
            .map(|each| each.join().unwrap())
            .collect();
        drop(all_pushed);
        let popped: Vec<Popped> = consumers
            .into_iter()
            .map(|each| each.join().unwrap())
            .collect();
        (pushed, popped)
    });
    balance(&pushed, &popped);
}

/// What all threads know.
#[derive(Default)]
struct Work {
    pushed: AtomicUsize,
    popped: AtomicUsize,
    all_pushed: AtomicBool,
}

#[derive(Default)]
struct Pushed {
    acknowledged: Vec<String>,
    unknown: Vec<String>,
}

#[derive(Default)]
struct Popped {
    elements: Vec<String>,
    unknown: usize,
}

/// Elements `key/0`, `key/1`, … in small pipelines, not far ahead of the consumers: they shall wait now and then.
fn push_all(mut conn: Conn, key: &str, work: &Work) -> Pushed {
    let elements: Vec<String> = (0..ELEMENTS)
        .map(|number| format!("{key}/{number}"))
        .collect();
    let mut pushed = Pushed::default();
    for batch in elements.chunks(BATCH) {
        wait_until("the consumers keep up", LIMIT, || {
            let popped = work.popped.load(Ordering::Relaxed);
            work.pushed.load(Ordering::Relaxed) < popped + AHEAD
        });
        let requests: Vec<[&str; 3]> = batch
            .iter()
            .map(|element| ["LPUSH", key, element])
            .collect();
        let requests: Vec<&[&str]> = requests.iter().map(|request| &request[..]).collect();
        for (reply, element) in burst(&mut conn, &requests).iter().zip(batch) {
            match reply {
                Value::Int(_) => pushed.acknowledged.push(element.clone()),
                reply => {
                    assert_outcome_unknown(reply, "LPUSH");
                    pushed.unknown.push(element.clone());
                }
            }
        }
        work.pushed.fetch_add(batch.len(), Ordering::Relaxed);
    }
    pushed
}

/// Until everything is pushed and nothing is left.
fn pop_all(mut conn: Conn, keys: &[String; 3], work: &Work) -> Popped {
    let request = ["BRPOP", &keys[0], &keys[1], &keys[2], "1"];
    let mut popped = Popped::default();
    loop {
        let was_last = work.all_pushed.load(Ordering::Relaxed);
        match conn.cmd(&request) {
            Value::Nil if was_last => return popped,
            Value::Nil => {}
            Value::Array(pair) => {
                let (key, element) = (pair[0].text(), pair[1].text());
                assert!(
                    element.starts_with(&format!("{key}/")),
                    "{element} of {key}"
                );
                popped.elements.push(element);
                work.popped.fetch_add(1, Ordering::Relaxed);
            }
            reply => {
                assert_outcome_unknown(&reply, "BRPOP");
                popped.unknown += 1;
            }
        }
    }
}

fn assert_outcome_unknown(reply: &Value, request: &str) {
    let error = reply
        .error()
        .unwrap_or_else(|| panic!("{request}: {reply:?}"));
    assert!(error.contains("outcome is unknown"), "{request}: {error}");
}

/// Ends `primary` while requests are on their way to it, and when its replica has all that it has acknowledged.
fn kill_in_sync(cluster: &mut Cluster, primary: usize) {
    let mut conn = cluster.conn(primary);
    let mut replica = cluster.conn(cluster.replica_of(primary));
    conn.ok(&["CLIENT", "PAUSE", "10000", "WRITE"]);
    let offset = |conn: &mut Conn, field| {
        let info = conn.ok(&["INFO", "replication"]).text();
        fields(&info)[field].parse::<u64>().unwrap()
    };
    wait_until("the replica has everything", LIMIT, || {
        offset(&mut conn, "master_repl_offset") == offset(&mut replica, "slave_repl_offset")
    });
    cluster.kill(primary);
}

fn balance(pushed: &[Pushed], popped: &[Popped]) {
    let mut times: HashMap<&str, usize> = HashMap::new();
    for element in popped.iter().flat_map(|each| &each.elements) {
        *times.entry(element).or_default() += 1;
    }
    let doubled: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
    assert!(doubled.is_empty(), "popped more than once: {doubled:?}");

    let unknown_pushes: usize = pushed.iter().map(|each| each.unknown.len()).sum();
    let unknown_pops: usize = popped.iter().map(|each| each.unknown).sum();
    let acknowledged = pushed.iter().flat_map(|each| &each.acknowledged);
    let lost: Vec<_> = acknowledged
        .filter(|element| !times.contains_key(element.as_str()))
        .collect();
    println!(
        "{} popped, {} missing; outcome unknown of {unknown_pushes} pushes and {unknown_pops} pops",
        times.len(),
        lost.len(),
    );
    assert!(
        lost.len() <= unknown_pops,
        "more is missing than pops have an unknown outcome: {lost:?}"
    );
    assert!(
        unknown_pushes <= BATCH,
        "only what was under way is unknown: {unknown_pushes}"
    );
    assert!(
        unknown_pops <= CONSUMERS,
        "only what was under way is unknown: {unknown_pops}"
    );
    let known: usize = pushed.iter().map(|each| each.acknowledged.len()).sum();
    assert_eq!(known + unknown_pushes, 3 * ELEMENTS);
    for consumer in popped {
        in_order(&consumer.elements);
    }
}

/// One consumer sees the elements of each list in the order of the pushes.
fn in_order(elements: &[String]) {
    let mut last: HashMap<&str, usize> = HashMap::new();
    for element in elements {
        let (key, number) = element.rsplit_once('/').expect("an element of ours");
        let number: usize = number.parse().expect("a number");
        if let Some(before) = last.insert(key, number) {
            assert!(before < number, "{element} after {before}");
        }
    }
}

/// In each of the three lists.
const ELEMENTS: usize = 10_000;
const CONSUMERS: usize = 8;
/// Pushes in one pipeline.
const BATCH: usize = 20;
/// How many elements may wait for a consumer before the pushers wait for them.
const AHEAD: usize = 300;
const LIMIT: Duration = Duration::from_secs(30);
