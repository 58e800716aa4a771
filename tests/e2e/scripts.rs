//! Scripts and functions: known wherever they are needed, whole while slots move.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::{Cluster, Conn, ServerKind, SetOnDrop, Slotcar, Value, slot_of};
use crate::watch_nodes::{Nodes, burst, key_at_each};

on_both!(
    a_script_that_a_node_has_forgotten_is_loaded_again,
    scripts_and_functions_pass_a_resharding,
);

fn a_script_that_a_node_has_forgotten_is_loaded_again(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let slotcar = Slotcar::before(&cluster);
    let mut nodes = Nodes::primaries(&cluster);
    let keys = key_at_each(&cluster, "k");
    let loaded = slotcar.conn().ok(&["SCRIPT", "LOAD", BUMP_BOTH]).text();
    // Seen in EVAL only: the node of the first key knows it, the others have never heard of it.
    let evaluated = "return redis.call('INCRBY', KEYS[1], 10)";
    slotcar.conn().ok(&["EVAL", evaluated, "1", &keys[0]]);
    let hash = nodes.all_ok(&["SCRIPT", "LOAD", evaluated])[0].text();
    for round in 0..3 {
        nodes.all_ok(&["SCRIPT", "FLUSH"]);
        for mut conn in [slotcar.conn(), Conn::open_resp3(slotcar.addr())] {
            for key in &keys {
                conn.ok(&["EVALSHA", &hash, "1", key]);
            }
            nodes.all_ok(&["SCRIPT", "FLUSH"]);
            let tags: Vec<String> = (0..100)
                .map(|number| format!("{{{round}:{number}}}"))
                .collect();
            let requests: Vec<[String; 5]> = tags.iter().map(|tag| evalsha(&loaded, tag)).collect();
            let requests: Vec<&[String]> = requests.iter().map(|request| &request[..]).collect();
            for (reply, tag) in burst(&mut conn, &requests).iter().zip(&tags) {
                assert_eq!(reply.any_error(), None, "round {round}, {tag}");
                assert_eq!(reply.list()[0], reply.list()[1], "{tag}");
            }
        }
    }
    let mut conn = slotcar.conn();
    conn.ok(&["SCRIPT", "FLUSH"]);
    for forgotten in [&*loaded, &hash, &"f".repeat(40)] {
        let reply = conn.cmd(&["EVALSHA", forgotten, "1", &keys[1]]);
        let error = reply.error().unwrap_or_else(|| panic!("{reply:?}"));
        assert!(
            error.starts_with("NOSCRIPT"),
            "flushed by a client: {error}"
        );
    }
}

fn evalsha(hash: &str, tag: &str) -> [String; 5] {
    ["EVALSHA", hash, "2", &format!("{tag}a"), &format!("{tag}b")].map(str::to_owned)
}

/// Each client's scripts count in two keys; a script that ran half, twice or not at all would show at once.
fn scripts_and_functions_pass_a_resharding(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let mut slotcar = Slotcar::before(&cluster);
    slotcar.expect_log("the nodes do not agree who serves what");
    let mut conn = slotcar.conn();
    conn.ok(&["FUNCTION", "LOAD", LIBRARY]);
    let hash = conn.ok(&["SCRIPT", "LOAD", BUMP_BOTH]).text();
    let moving: Vec<u16> = cluster.slots_of(0).into_iter().take(300).collect();
    let tags: Vec<String> = (0..)
        .map(|number| format!("{{t:{number}}}"))
        .filter(|tag| moving.contains(&slot_of(tag)))
        .take(30)
        .collect();
    let calls = [
        ["EVAL", BUMP_BOTH],
        ["EVALSHA", &hash],
        ["FCALL", "bump_both"],
    ];
    let end = AtomicBool::new(false);
    let counts: Vec<usize> = std::thread::scope(|scope| {
        let clients: Vec<_> = calls
            .iter()
            .zip(tags.chunks(10))
            .map(|(call, tags)| {
                let (slotcar, end) = (&slotcar, &end);
                scope.spawn(move || call_until(slotcar.conn(), call, tags, end))
            })
            .collect();
        let moved = SetOnDrop(&end);
        cluster.move_slots(0, 1, &moving);
        cluster.move_slots(1, 0, &moving);
        drop(moved);
        clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .collect()
    });
    let redirections = slotcar.counter("redirections");
    println!("{counts:?} calls of EVAL, EVALSHA and FCALL, {redirections} redirections");
    assert!(redirections > 0, "no script met a move");
}

fn call_until(mut conn: Conn, call: &[&str; 2], tags: &[String], end: &AtomicBool) -> usize {
    let mut rounds = 0;
    while !end.load(Ordering::Relaxed) {
        rounds += 1;
        for tag in tags {
            let (a, b) = (format!("{tag}a"), format!("{tag}b"));
            let reply = conn.cmd(&[call[0], call[1], "2", &a, &b]);
            let count = Value::Int(rounds);
            let expected = Value::Array(vec![count.clone(), count]);
            assert_eq!(reply, expected, "{} at {tag}", call[0]);
        }
    }
    usize::try_from(rounds).unwrap() * tags.len()
}

const BUMP_BOTH: &str = "return {redis.call('INCR', KEYS[1]), redis.call('INCR', KEYS[2])}";
const LIBRARY: &str = "#!lua name=counting\nredis.register_function('bump_both', function(keys, args) \
    return {redis.call('INCR', keys[1]), redis.call('INCR', keys[2])} end)";
