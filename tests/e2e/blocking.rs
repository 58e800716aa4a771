//! Blocking commands: every element goes to exactly one waiter, whatever moves, dies or leaves meanwhile.

use std::time::{Duration, Instant};

use crate::support::conn::encode;
use crate::support::{Cluster, Conn, Server, ServerKind, Slotcar, Value, slot_of, wait_until};
use crate::watch_nodes::{Nodes, burst, key_at, key_at_each};

on_both!(
    every_element_wakes_exactly_one_of_1000_waiters,
    a_wait_of_any_kind_ends_as_on_one_server,
    the_first_key_with_an_element_is_served_and_gives_one,
    waiters_are_served_in_the_order_they_came,
    waiters_for_one_slot_and_for_several_share_what_comes,
    requests_behind_a_wait_wait_too,
    nothing_waits_inside_a_transaction,
    a_waiter_can_be_unblocked_and_takes_nothing_after_that,
    a_wait_follows_its_slot,
    a_wait_goes_on_after_a_failover_with_the_time_that_is_left,
    wait_counts_the_replicas_of_the_slowest_shard,
);

fn every_element_wakes_exactly_one_of_1000_waiters(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let slotcar = Slotcar::before(&cluster);
    let mut nodes = Nodes::primaries(&cluster);
    let mut clients: Vec<Conn> = (0..WAITERS).map(|_| slotcar.conn()).collect();
    block(&mut clients, &mut nodes);

    std::thread::scope(|scope| {
        for pusher in 0..4 {
            let mut conn = slotcar.conn();
            scope.spawn(move || {
                for element in (pusher..WAITERS).step_by(4) {
                    conn.ok(&["RPUSH", &list(element), &element.to_string()]);
                }
            });
        }
    });
    let mut popped: Vec<usize> = clients
        .iter_mut()
        .enumerate()
        .map(|(client, conn)| {
            let reply = conn.recv();
            let [key, element] = reply.list() else {
                panic!("client {client}: {reply:?}");
            };
            assert_eq!(key.text(), list(client), "client {client}");
            element.text().parse().unwrap()
        })
        .collect();
    popped.sort_unstable();
    let all: Vec<usize> = (0..WAITERS).collect();
    assert_eq!(popped, all, "every element exactly once");
    for conn in &mut clients {
        assert_eq!(conn.ok(&["PING"]).text(), "PONG", "answered once");
    }

    block(&mut clients, &mut nodes);
    drop(clients);
    wait_until(
        "all waiters have left the nodes",
        Duration::from_secs(1),
        || nodes.blocked() == 0,
    );
    let mut conn = slotcar.conn();
    conn.ok(&["RPUSH", &list(0), "x"]);
    assert_eq!(conn.ok(&["LLEN", &list(0)]).int(), 1, "nobody takes it");
}

/// Every client waits for its list, and the nodes know all of them.
fn block(clients: &mut [Conn], nodes: &mut Nodes) {
    for (client, conn) in clients.iter_mut().enumerate() {
        conn.send_raw(&encode(&["BLPOP", &list(client), "0"]));
    }
    let expected = i64::try_from(clients.len()).unwrap();
    wait_until("all wait at the nodes", LIMIT, || {
        nodes.blocked() == expected
    });
}

fn list(number: usize) -> String {
    format!("list:{}", number % LISTS)
}

/// What is done before, the wait, what ends it, what is there afterwards. A, B and C are keys of three primaries.
const WAITS: &[[&str; 4]] = &[
    ["", "BLPOP A 0", "RPUSH A x y", "LRANGE A 0 -1"],
    ["", "BLPOP A B C 0", "RPUSH B x y", "LRANGE B 0 -1"],
    ["", "BRPOP A B C 0", "RPUSH C x y", "LRANGE C 0 -1"],
    ["", "BLPOP A A B A 0", "RPUSH A x y", "LRANGE A 0 -1"],
    ["", "BLPOP {A}1 {A}2 B 0", "RPUSH {A}2 x", "EXISTS {A}2"],
    ["", "BLMPOP 0 3 A B C LEFT", "RPUSH C x y", "LRANGE C 0 -1"],
    [
        "",
        "BLMPOP 0 3 A B C RIGHT COUNT 2",
        "RPUSH A x y z",
        "LRANGE A 0 -1",
    ],
    [
        "",
        "BLMOVE {A}1 {A}2 LEFT RIGHT 0",
        "RPUSH {A}1 x y",
        "LRANGE {A}2 0 -1",
    ],
    [
        "",
        "BRPOPLPUSH {A}1 {A}2 0",
        "RPUSH {A}1 x y",
        "LRANGE {A}2 0 -1",
    ],
    ["", "BZPOPMIN A 0", "ZADD A 1 x 2.5 y", "ZRANGE A 0 -1"],
    ["", "BZPOPMIN A B C 0", "ZADD C 1 x 2.5 y", "ZRANGE C 0 -1"],
    ["", "BZPOPMAX A B C 0", "ZADD B 1 x 2.5 y", "ZRANGE B 0 -1"],
    ["", "BZMPOP 0 1 A MAX", "ZADD A 1 x 2.5 y", "ZRANGE A 0 -1"],
    [
        "",
        "BZMPOP 0 3 A B C MIN COUNT 2",
        "ZADD A 1 x 2.5 y 3 z",
        "ZRANGE A 0 -1",
    ],
    ["", "XREAD BLOCK 0 STREAMS A $", "XADD A 1-1 f v", "XLEN A"],
    [
        "",
        "XREAD COUNT 2 BLOCK 0 STREAMS A B C $ 0 $",
        "XADD C 1-1 f v",
        "XLEN C",
    ],
    [
        "XADD A 5-1 f v",
        "XREAD BLOCK 0 STREAMS A B C $ $ $",
        "XADD A 5-2 f v",
        "XLEN A",
    ],
    [
        "XGROUP CREATE A STREAMS $ MKSTREAM",
        "XREADGROUP GROUP STREAMS c BLOCK 0 STREAMS A >",
        "XADD A 1-1 f v",
        "XPENDING A STREAMS",
    ],
    // Keys that are made by other means than a push.
    [
        "",
        "BLPOP A B C 0",
        "EVAL redis.call('RPUSH',KEYS[1],1,2);redis.call('LPOP',KEYS[1]) 1 A",
        "EXISTS A",
    ],
    ["RPUSH {B}1 x", "BLPOP A B C 0", "RENAME {B}1 B", "EXISTS B"],
    ["RPUSH {B}1 x", "BRPOP A B C 0", "COPY {B}1 B", "EXISTS B"],
    [
        "RPUSH {C}1 3 1 2",
        "BRPOP A B C 0",
        "SORT {C}1 STORE C",
        "LRANGE C 0 -1",
    ],
];

fn a_wait_of_any_kind_ends_as_on_one_server(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let slotcar = Slotcar::before(&cluster);
    let plain = Server::start_plain(kind);
    let open: [fn(std::net::SocketAddr) -> Conn; 2] = [Conn::open, Conn::open_resp3];
    for open in open {
        for (number, steps) in WAITS.iter().enumerate() {
            let keys = key_at_each(&cluster, &format!("k:{number}"));
            let [expected, seen] = [plain.addr(), slotcar.addr()].map(|addr| {
                let (mut waiter, mut other) = (open(addr), open(addr));
                let replies = one_wait(steps, &keys, &mut waiter, &mut other);
                other.ok(&["FLUSHALL"]);
                replies
            });
            assert_eq!(seen, expected, "{steps:?} with {keys:?}");
        }
    }
}

/// The reply of each step.
fn one_wait(
    steps: &[&str; 4],
    keys: &[String; 3],
    waiter: &mut Conn,
    other: &mut Conn,
) -> Vec<Value> {
    let [before, wait, end, look] = steps.map(|step| words(step, keys));
    if !before.is_empty() {
        other.ok(&before);
    }
    waiter.send_raw(&encode(&wait));
    wait_blocked(other, 1);
    let ended = other.cmd(&end);
    vec![waiter.recv(), ended, other.cmd(&look)]
}

/// The words of a step, with its keys.
fn words(step: &str, keys: &[String; 3]) -> Vec<String> {
    let word = |word: &str| -> String {
        let key = |name: &str| match name {
            "A" => Some(keys[0].clone()),
            "B" => Some(keys[1].clone()),
            "C" => Some(keys[2].clone()),
            _ => None,
        };
        let tagged = word.strip_prefix('{').and_then(|word| word.split_once('}'));
        match tagged {
            Some((name, rest)) => {
                key(name).map_or(word.to_owned(), |key| format!("{{{key}}}{rest}"))
            }
            None => key(word).unwrap_or_else(|| word.to_owned()),
        }
    };
    step.split_whitespace().map(word).collect()
}

fn the_first_key_with_an_element_is_served_and_gives_one(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let slotcar = Slotcar::before(&cluster);
    let keys = key_at_each(&cluster, "k");
    let [a, b, c] = &keys;
    let mut conn = slotcar.conn();
    for (pushed, order, expected) in [
        ([c, b], [a, b, c], b),
        ([a, c], [c, b, a], c),
        ([b, a], [a, b, c], a),
    ] {
        for key in pushed {
            conn.ok(&["RPUSH", key, "1", "2"]);
        }
        let popped = conn.ok(&[&["BLPOP"], &order.map(|key| &**key)[..], &["0"]].concat());
        assert_eq!(
            popped.list()[0].text(),
            *expected,
            "{order:?}, {pushed:?} have elements"
        );
        assert_eq!(popped.list()[1].text(), "1");
        let left: i64 = keys.iter().map(|key| conn.ok(&["LLEN", key]).int()).sum();
        assert_eq!(left, 3, "exactly one element was taken");
        conn.ok(&["FLUSHALL"]);
    }
}

fn waiters_are_served_in_the_order_they_came(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let slotcar = Slotcar::before(&cluster);
    let [a, b, c] = key_at_each(&cluster, "k");
    let mut other = slotcar.conn();
    let one_slot = vec![vec!["BLPOP", &a, "0"]; 10];
    let three_slots = [
        vec!["BLPOP", &a, &b, &c, "0"],
        vec!["BLPOP", &c, &b, "0"],
        vec!["BRPOP", &b, &a, "0"],
    ];
    let three_slots = three_slots.iter().cycle().take(12).cloned().collect();
    // Who waits for one slot is queued by its node, who waits for several by slotcar: each queue has its own order.
    let pushes = [(one_slot, &a), (three_slots, &b)];
    for (waits, key) in pushes {
        let mut clients: Vec<Conn> = waits.iter().map(|_| slotcar.conn()).collect();
        for (place, (conn, wait)) in clients.iter_mut().zip(&waits).enumerate() {
            conn.send_raw(&encode(wait));
            wait_blocked(&mut other, place + 1);
            // Blocked in slotcar's eyes is not yet waiting at the node.
            if wait.len() == 3 {
                let mut node = cluster.conn(0);
                wait_until("it waits at the node", LIMIT, || {
                    blocked_clients(&mut node) == place + 1
                });
            }
        }
        for (place, conn) in clients.iter_mut().enumerate() {
            let element = place.to_string();
            other.ok(&["RPUSH", key, &element]);
            let reply = conn.recv();
            assert_eq!(
                reply.list()[1].text(),
                element,
                "{:?} at {place}",
                waits[place]
            );
        }
    }
}

fn waiters_for_one_slot_and_for_several_share_what_comes(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let slotcar = Slotcar::before(&cluster);
    let keys = key_at_each(&cluster, "k");
    let [a, b, c] = &keys;
    let waits = [
        vec!["BLPOP", a, "0"],
        vec!["BLPOP", a, b, c, "0"],
        vec!["BLPOP", b, "0"],
        vec!["BRPOP", c, b, "0"],
        vec!["BLMPOP", "0", "2", c, a, "LEFT"],
        vec!["BLPOP", c, "0"],
    ];
    for round in 0..20 {
        let mut clients: Vec<Conn> = waits.iter().map(|_| slotcar.conn()).collect();
        for (conn, wait) in clients.iter_mut().zip(&waits) {
            conn.send_raw(&encode(wait));
        }
        let mut other = slotcar.conn();
        // Every other round the elements come before the waits are known to be waits.
        if round % 2 == 0 {
            wait_blocked(&mut other, waits.len());
        }
        for key in &keys {
            other.ok(&["RPUSH", key, &format!("{key}/1"), &format!("{key}/2")]);
        }
        let mut popped: Vec<String> = clients
            .iter_mut()
            .map(|conn| element(&conn.recv()))
            .collect();
        popped.sort();
        let mut all: Vec<String> = keys
            .iter()
            .flat_map(|key| [format!("{key}/1"), format!("{key}/2")])
            .collect();
        all.sort();
        assert_eq!(popped, all, "round {round}");
        assert_eq!(
            other
                .ok(&[&["EXISTS"], &keys.each_ref().map(|key| &**key)[..]].concat())
                .int(),
            0
        );
    }
}

/// What a reply of BLPOP or of BLMPOP gave.
fn element(reply: &Value) -> String {
    match reply.list() {
        [_, Value::Array(elements)] => elements[0].text(),
        [_, element] => element.text(),
        other => panic!("not a popped element: {other:?}"),
    }
}

fn requests_behind_a_wait_wait_too(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let slotcar = Slotcar::before(&cluster);
    let [a, b, c] = key_at_each(&cluster, "k");
    let mut other = slotcar.conn();
    for wait in [vec!["BLPOP", &a, "0"], vec!["BLPOP", &c, &b, &a, "0"]] {
        let mut conn = slotcar.conn();
        let requests = [
            vec!["SET", "before", "1"],
            wait,
            vec!["SET", "behind", "1"],
            vec!["GET", "behind"],
            vec!["PING"],
        ];
        for request in &requests {
            conn.send_raw(&encode(request));
        }
        wait_blocked(&mut other, 1);
        assert!(conn.recv().is_ok(), "the reply before the wait is there");
        assert_eq!(other.ok(&["GET", "behind"]), Value::Nil);
        other.ok(&["RPUSH", &a, "x"]);
        assert_eq!(element(&conn.recv()), "x");
        assert!(conn.recv().is_ok());
        assert_eq!(conn.recv().text(), "1");
        assert_eq!(conn.recv().text(), "PONG");
        other.ok(&["DEL", "behind"]);
    }
}

fn nothing_waits_inside_a_transaction(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let slotcar = Slotcar::before(&cluster);
    let mut conn = slotcar.conn();
    let requests: [&[&str]; 6] = [
        &["MULTI"],
        &["BLPOP", "{t}a", "{t}b", "0"],
        &["RPUSH", "{t}b", "x"],
        &["BRPOP", "{t}a", "{t}b", "0"],
        &["XREAD", "BLOCK", "0", "STREAMS", "{t}s", "$"],
        &["EXEC"],
    ];
    let replies = burst(&mut conn, &requests);
    let done = replies[5].list();
    assert_eq!(done.len(), 4, "{replies:?}");
    assert_eq!([&done[0], &done[3]], [&Value::Nil; 2]);
    assert_eq!(element(&done[2]), "x");
}

fn a_waiter_can_be_unblocked_and_takes_nothing_after_that(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let slotcar = Slotcar::before(&cluster);
    let [a, b, c] = key_at_each(&cluster, "k");
    let mut other = slotcar.conn();
    for wait in [vec!["BLPOP", &a, "0"], vec!["BLPOP", &a, &b, &c, "0"]] {
        let mut conn = slotcar.conn();
        let id = conn.ok(&["CLIENT", "ID"]).int().to_string();
        assert_eq!(other.ok(&["CLIENT", "UNBLOCK", &id]).int(), 0);
        for (how, expected) in [
            ("TIMEOUT", None),
            (
                "ERROR",
                Some("UNBLOCKED client unblocked via CLIENT UNBLOCK"),
            ),
        ] {
            conn.send_raw(&encode(&wait));
            wait_blocked(&mut other, 1);
            assert_eq!(other.ok(&["CLIENT", "UNBLOCK", &id, how]).int(), 1);
            let reply = conn.recv();
            assert_eq!(reply.error(), expected, "{reply:?}");
        }
        // A time-out of its own, and a client that leaves.
        let mut short = wait.clone();
        *short.last_mut().expect("a time-out") = "0.05";
        assert_eq!(conn.ok(&short), Value::Nil);
        conn.send_raw(&encode(&wait));
        wait_blocked(&mut other, 1);
        drop(conn);
        wait_blocked(&mut other, 0);
        let mut nodes = Nodes::primaries(&cluster);
        wait_until("it has left the nodes", Duration::from_secs(1), || {
            nodes.blocked() == 0
        });
        other.ok(&["RPUSH", &a, "x"]);
        assert_eq!(other.ok(&["LPOP", &a]).text(), "x", "nobody else took it");
    }
}

fn a_wait_follows_its_slot(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let mut slotcar = Slotcar::before(&cluster);
    slotcar.expect_log("the nodes do not agree who serves what");
    let [a, b, c] = key_at_each(&cluster, "k");
    let mut alone = slotcar.conn();
    let mut several = slotcar.conn();
    let mut stream = slotcar.conn();
    alone.send_raw(&encode(&["BLPOP", &a, "0"]));
    let entries = format!("{{{a}}}stream");
    stream.send_raw(&encode(&["XREAD", "BLOCK", "0", "STREAMS", &entries, "$"]));
    let (mut source, mut target) = (cluster.conn(0), cluster.conn(1));
    wait_until("two wait at the owner", LIMIT, || {
        blocked_clients(&mut source) == 2
    });
    let mut other = slotcar.conn();
    several.send_raw(&encode(&["BRPOP", &c, &b, &a, "0"]));
    wait_blocked(&mut other, 3);

    cluster.move_slots(0, 1, &[slot_of(&a)]);
    wait_until("they wait at the new owner", LIMIT, || {
        blocked_clients(&mut source) == 0 && blocked_clients(&mut target) == 2
    });
    other.ok(&["RPUSH", &a, "x"]);
    other.ok(&["RPUSH", &a, "y"]);
    let mut popped = [element(&alone.recv()), element(&several.recv())];
    popped.sort();
    assert_eq!(popped, ["x", "y"]);
    other.ok(&["XADD", &entries, "1-1", "f", "v"]);
    assert_eq!(stream.recv().list().len(), 1);
}

fn a_wait_goes_on_after_a_failover_with_the_time_that_is_left(kind: ServerKind) {
    let mut cluster = Cluster::start(kind, 3, 1);
    let slotcar = before_failover(&cluster);
    let [a, b, c] = key_at_each(&cluster, "k");
    let empty = key_at(&cluster, 0, "empty");
    // Ends after the failover, which takes about four seconds.
    let (time_out, limit) = ("9", Duration::from_secs(9));
    let start = Instant::now();
    let waits = [
        vec!["BLPOP", &a, "0"],
        vec!["BLPOP", &a, &b, &c, "30"],
        vec!["BLPOP", &empty, time_out],
        vec!["BLPOP", &b, &empty, time_out],
    ];
    let mut clients: Vec<Conn> = waits.iter().map(|_| slotcar.conn()).collect();
    for (conn, wait) in clients.iter_mut().zip(&waits) {
        conn.send_raw(&encode(wait));
    }
    let mut other = slotcar.conn();
    wait_blocked(&mut other, waits.len());
    let mut node = cluster.conn(0);
    wait_until("two wait at the primary", LIMIT, || {
        blocked_clients(&mut node) == 2
    });

    cluster.kill(0);
    other.ok(&["RPUSH", &a, "x"]);
    other.ok(&["RPUSH", &a, "y"]);
    println!("the failover took {:?}", start.elapsed());
    let mut popped = [element(&clients[0].recv()), element(&clients[1].recv())];
    popped.sort();
    assert_eq!(popped, ["x", "y"]);
    for conn in &mut clients[2..] {
        assert_eq!(conn.recv(), Value::Nil);
        let waited = start.elapsed();
        let slack = Duration::from_secs(2);
        assert!(
            limit <= waited && waited < limit + slack,
            "{limit:?} became {waited:?}"
        );
    }
}

fn wait_counts_the_replicas_of_the_slowest_shard(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 1);
    let slotcar = Slotcar::before(&cluster);
    let mut conn = slotcar.conn();
    for (number, key) in key_at_each(&cluster, "k").iter().enumerate() {
        conn.ok(&["SET", key, "1"]);
        assert_eq!(conn.ok(&["WAIT", "1", "5000"]).int(), 1, "WAIT {number}");
        let mut replica = cluster.conn(cluster.replica_of(number));
        replica.ok(&["READONLY"]);
        assert_eq!(replica.ok(&["GET", key]).text(), "1");
    }
    assert_eq!(conn.ok(&["WAIT", "2", "50"]).int(), 1, "there is but one");
    // What has not arrived is not said to have.
    for (number, key) in key_at_each(&cluster, "k").iter().enumerate() {
        let replica = cluster.replica_of(number);
        cluster.stop(replica);
        conn.ok(&["SET", key, "2"]);
        assert_eq!(
            conn.ok(&["WAIT", "1", "200"]).int(),
            0,
            "WAIT {number}, stopped"
        );
        cluster.cont(replica);
        assert_eq!(
            conn.ok(&["WAIT", "1", "5000"]).int(),
            1,
            "WAIT {number}, continued"
        );
        // What made the node note where it is has left nothing.
        assert_eq!(cluster.conn(number).ok(&["DBSIZE"]).int(), 1);
    }
    // Others are served by the same links meanwhile.
    conn.send_raw(&encode(&["WAIT", "2", "0"]));
    let mut other = slotcar.conn();
    wait_blocked(&mut other, 1);
    for key in key_at_each(&cluster, "k") {
        assert_eq!(other.ok(&["GET", &key]).text(), "2");
    }
}

/// Waits until the server behind `conn` itself says that so many of its clients are blocked.
fn wait_blocked(conn: &mut Conn, expected: usize) {
    wait_until(&format!("{expected} clients are blocked"), LIMIT, || {
        blocked_clients(conn) == expected
    });
}

fn blocked_clients(conn: &mut Conn) -> usize {
    let info = conn.ok(&["INFO", "clients"]).text();
    let fields = crate::support::slotcar::fields(&info);
    fields["blocked_clients"].parse().unwrap()
}

/// These tests take nodes away: warnings that name a node are what an operator should see.
fn before_failover(cluster: &Cluster) -> Slotcar {
    let mut slotcar = Slotcar::before(cluster);
    for node in 0..6 {
        slotcar.expect_log(&cluster.addr(node).to_string());
    }
    slotcar
}

const WAITERS: usize = 1000;
const LISTS: usize = 300;
const LIMIT: Duration = Duration::from_secs(20);
