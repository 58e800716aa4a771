//! Clients that wait for keys of several slots, at several nodes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::{Cluster, Conn, ServerKind, SetOnDrop, Slotcar, Value, slot_of, wait_until};

on_both!(
    every_element_of_three_queues_is_taken_once,
    a_thousand_waiting_clients_share_a_thousand_elements,
    idle_waiting_costs_the_nodes_nothing,
    a_wait_follows_its_slot,
    streams_of_several_slots_are_read_as_one,
);

const CONSUMERS: usize = 16;
const ELEMENTS: usize = 10_000;

fn every_element_of_three_queues_is_taken_once(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 1);
    let slotcar = Slotcar::before(&cluster);
    let queues = queues_at_every_primary(&cluster);
    let (taken, errors) = consume(&slotcar, &queues, || {
        for_each_queue(&queues, |queue| push(&slotcar, queue, ELEMENTS));
    });
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(taken.len(), queues.len() * ELEMENTS, "every element");
    assert!(taken.values().all(|&times| times == 1), "once");
}

fn a_thousand_waiting_clients_share_a_thousand_elements(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let slotcar = Slotcar::before(&cluster);
    let queues = queues_at_every_primary(&cluster);
    let mut waiting: Vec<Conn> = (0..1000).map(|_| slotcar.conn()).collect();
    let request = crate::support::conn::encode(&request(&queues, "0"));
    waiting.iter_mut().for_each(|conn| conn.send_raw(&request));
    wait_until("all wait", Duration::from_secs(20), || {
        slotcar.counter("spread_waits") == 1000
    });
    let start = Instant::now();
    let mut pusher = slotcar.conn();
    let pushes = (0..1000).map(|n| {
        let words = ["RPUSH", &queues[n % 3], &n.to_string()];
        words.map(str::to_owned).to_vec()
    });
    pusher.pipeline(&pushes.collect::<Vec<_>>());
    let taken: Vec<Value> = waiting.iter_mut().map(Conn::recv).collect();
    println!("{kind:?}: {:?}, {:?}", start.elapsed(), slotcar.info());
    let elements: std::collections::BTreeSet<String> =
        taken.iter().map(|reply| reply.list()[1].text()).collect();
    assert_eq!(elements.len(), 1000, "each has one of its own");
    assert_eq!(slotcar.counter("awaited_keys"), 0);

    waiting.iter_mut().for_each(|conn| conn.send_raw(&request));
    wait_until("all wait again", Duration::from_secs(20), || {
        slotcar.counter("spread_waits") == 2000 && slotcar.counter("awaited_keys") == 3
    });
    drop(waiting);
    wait_until("who has left waits no more", Duration::from_secs(1), || {
        slotcar.counter("awaited_keys") == 0
    });
}

fn idle_waiting_costs_the_nodes_nothing(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let slotcar = Slotcar::start(&["--cluster", &cluster.seeds(), "--probe-interval", "0"]);
    let queues = queues_at_every_primary(&cluster);
    let mut waiting: Vec<Conn> = (0..50).map(|_| slotcar.conn()).collect();
    for conn in &mut waiting {
        conn.send_raw(&crate::support::conn::encode(&request(&queues, "0")));
    }
    let commands = || -> i64 {
        let count = |node| {
            let info = cluster.conn(node).ok(&["INFO", "commandstats"]).text();
            let fields = crate::support::slotcar::fields(&info);
            let of = |name: &str| -> i64 {
                let calls = fields.get(&format!("cmdstat_{name}"));
                let calls = calls.and_then(|line| line.strip_prefix("calls=")?.split(',').next());
                calls.map_or(0, |calls| calls.parse().unwrap())
            };
            of("rpop") + of("llen")
        };
        (0..3).map(count).sum()
    };
    let mut before = commands();
    wait_until("all wait", Duration::from_secs(10), || {
        std::thread::sleep(Duration::from_millis(200));
        std::mem::replace(&mut before, commands()) == before
            && slotcar.counter("spread_waits") == 50
    });
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(commands(), before, "nobody asks");
    slotcar.conn().ok(&["RPUSH", &queues[1], "x"]);
    let reply = waiting[0].recv();
    assert_eq!(reply.list()[1].text(), "x", "the first comes first");
    wait_until(
        "two more try, and the key is looked at again",
        Duration::from_secs(5),
        || commands() == before + 4,
    );
}

fn a_wait_follows_its_slot(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 1);
    let mut slotcar = Slotcar::before(&cluster);
    for node in 0..6 {
        slotcar.expect_log(&cluster.addr(node).to_string());
    }
    let queues = queues_at_every_primary(&cluster);
    let mut waiting = slotcar.conn();
    waiting.send_raw(&crate::support::conn::encode(&request(&queues, "0")));
    wait_until("it waits", Duration::from_secs(5), || {
        slotcar.counter("spread_looks") >= 3
    });
    let owner = cluster.owner_of(slot_of(&queues[0]));
    cluster.failover(owner);
    let mut other = Conn::open(cluster.addr(cluster.owner_of(slot_of(&queues[0]))));
    other.ok(&["RPUSH", &queues[0], "after"]);
    assert_eq!(waiting.recv().list()[1].text(), "after");
}

fn streams_of_several_slots_are_read_as_one(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let slotcar = Slotcar::before(&cluster);
    let [a, b, c] = queues_at_every_primary(&cluster).try_into().unwrap();
    let mut conn = slotcar.conn();
    let mut writer = slotcar.conn();
    for stream in [&a, &b] {
        conn.ok(&["XADD", stream, "1-0", "f", "v"]);
    }
    let read = conn.ok(&["XREAD", "STREAMS", &c, &b, &a, "0", "0", "0"]);
    let names: Vec<String> = read
        .list()
        .iter()
        .map(|stream| stream.list()[0].text())
        .collect();
    assert_eq!(names, [b.clone(), a.clone()]);
    for round in 0..200 {
        let words = ["XREAD", "BLOCK", "0", "STREAMS", &a, &b, &c, "$", "$", "$"];
        conn.send_raw(&crate::support::conn::encode(&words));
        wait_until("it reads", Duration::from_secs(5), || {
            slotcar.counter("spread_waits") == round + 1
        });
        let id = writer
            .ok(&["XADD", &c, "*", "round", &round.to_string()])
            .text();
        let read = conn.recv();
        let stream = &read.list()[0];
        assert_eq!((stream.list()[0].text(), read.list().len()), (c.clone(), 1));
        assert_eq!(stream.list()[1].list()[0].list()[0].text(), id);
    }
    for stream in [&a, &b, &c] {
        conn.ok(&["XGROUP", "CREATE", stream, "g", "$", "MKSTREAM"]);
    }
    let words = [
        "XREADGROUP",
        "GROUP",
        "g",
        "me",
        "BLOCK",
        "0",
        "STREAMS",
        &a,
        &c,
        ">",
        ">",
    ];
    conn.send_raw(&crate::support::conn::encode(&words));
    writer.ok(&["XADD", &a, "*", "f", "v"]);
    assert_eq!(conn.recv().list()[0].list()[0].text(), a);
    let words = [
        "XREADGROUP",
        "GROUP",
        "g",
        "me",
        "BLOCK",
        "50",
        "STREAMS",
        &a,
        &c,
        ">",
        ">",
    ];
    assert_eq!(conn.cmd(&words), Value::Nil);
}

/// Runs consumers that wait for all queues while `work` is done and until everything is consumed; what they
/// took, and how often, and which errors they saw.
fn consume(
    slotcar: &Slotcar,
    queues: &[String],
    work: impl FnOnce(),
) -> (BTreeMap<String, usize>, Vec<String>) {
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let consumers: Vec<_> = (0..CONSUMERS)
            .map(|_| scope.spawn(|| consume_one(slotcar, queues, &is_done)))
            .collect();
        let doing = SetOnDrop(&is_done);
        work();
        drop(doing);
        let (mut taken, mut errors) = (BTreeMap::new(), Vec::new());
        for consumer in consumers {
            let (elements, seen) = consumer.join().unwrap();
            for element in elements {
                *taken.entry(element).or_insert(0) += 1;
            }
            errors.extend(seen);
        }
        (taken, errors)
    })
}

fn consume_one(
    slotcar: &Slotcar,
    queues: &[String],
    is_done: &AtomicBool,
) -> (Vec<String>, Vec<String>) {
    let mut conn = slotcar.conn();
    let (mut taken, mut errors) = (Vec::new(), Vec::new());
    loop {
        let last = is_done.load(Ordering::Relaxed);
        let reply = conn.cmd(&request(queues, "1"));
        match &reply {
            Value::Nil if last => return (taken, errors),
            Value::Nil => {}
            Value::Error(error) => errors.push(error.clone()),
            element => taken.push(element.list()[1].text()),
        }
    }
}

/// Pushes elements one by one; how often nobody knows whether it was.
fn push(slotcar: &Slotcar, queue: &str, elements: usize) -> usize {
    let mut conn = slotcar.conn();
    let pushed = (0..elements).map(|n| conn.cmd(&["LPUSH", queue, &format!("{queue}:{n}")]));
    pushed.filter(|reply| reply.error().is_some()).count()
}

fn for_each_queue(queues: &[String], work: impl Fn(&str) -> usize + Sync) {
    std::thread::scope(|scope| {
        let work = &work;
        for queue in queues {
            scope.spawn(move || assert_eq!(work(queue), 0, "{queue}: errors"));
        }
    });
}

fn request(queues: &[String], timeout: &str) -> Vec<String> {
    let words = std::iter::once("BRPOP").chain(queues.iter().map(String::as_str));
    words.chain([timeout]).map(str::to_owned).collect()
}

fn queues_at_every_primary(cluster: &Cluster) -> Vec<String> {
    let primaries = cluster.primaries();
    let queue_of = |&primary: &usize| {
        let mut names = (0..).map(|n| format!("queue:{n}"));
        names.find(|name| cluster.owner_of(slot_of(name)) == primary)
    };
    primaries
        .iter()
        .map(|primary| queue_of(primary).unwrap())
        .collect()
}
