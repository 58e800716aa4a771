//! Nodes that lie, stall, shout and send in circles: the link is dropped and the log says why, every request has its
//! verdict in time, other nodes' slots go on, and memory stays where it was.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::fake_nodes::{FakeNodes, bulk, get, good_reply, slots_entry, value_of, well_behaved};
use crate::support::conn::encode;
use crate::support::{Conn, SetOnDrop, Slotcar, Value, slot_of, wait_until};

#[test]
fn bytes_that_are_no_answer_end_the_link_and_only_that() {
    let cases: &[(&str, &[u8], &[u8])] = &[
        (
            "no type starts with",
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            b"",
        ),
        ("an invalid length", b"$12a\r\n", b""),
        ("no line end", b"$1\r\nabc\r\n", b""),
        ("a streamed type", b"$?\r\n", b""),
        ("a string longer", b"$4294967296\r\n", b"endless "),
        ("a line longer", b"+", b"endless "),
        ("more elements", b"*4294967296\r\n", b":1\r\n"),
        ("a reply longer", b"*1000000000\r\n", b":1\r\n"),
        ("nested deeper", b"", b"*1\r\n"),
        ("RESP2 does not have", b">2\r\n+message\r\n+x\r\n", b""),
    ];
    let scene = Scene::new(2);
    for &(reason, start, endless) in cases {
        scene.nodes.set(0, move |_, stream| {
            stream.write_all(start)?;
            while !endless.is_empty() {
                stream.write_all(&endless.repeat(8192))?;
            }
            Ok(())
        });
        scene.has_a_verdict(&["GET", &scene.sick]);
        scene.has_a_verdict(&["SET", &scene.sick, "v"]);
        scene.is_warned_of(reason);
        scene.recovers();
    }
}

#[test]
fn a_reply_too_many_ends_the_link_and_reaches_nobody() {
    let scene = Scene::new(2);
    // At once, or a moment later on a link that owes nothing.
    for pause in [0, 30] {
        scene.nodes.set(0, move |words, stream| {
            stream.write_all(&good_reply(words))?;
            thread::sleep(Duration::from_millis(pause));
            stream.write_all(&bulk("surprise"))
        });
        for number in 0..10 {
            let key = scene.nodes.key(0, number);
            let lost = scene.slotcar.counter("links_lost");
            let mut conn = scene.slotcar.conn();
            assert_eq!(conn.ok(&["GET", &key]).text(), value_of(&key));
            wait_until("the link is dropped", LIMIT, || {
                scene.slotcar.counter("links_lost") > lost
            });
        }
        scene.is_warned_of("a reply that nobody asked for");
        scene.recovers();
    }
}

#[test]
fn a_reply_too_few_is_a_slow_node_until_the_link_ends() {
    let scene = Scene::new(2);
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    scene.nodes.set(0, move |words, stream| {
        // The second request and all behind it have no reply; the third ends it.
        match counted.fetch_add(1, Ordering::Relaxed) {
            0 => stream.write_all(&good_reply(words)),
            1 => Ok(()),
            2 => Err(io::ErrorKind::Other.into()),
            _ => well_behaved(words, stream),
        }
    });
    let keys: Vec<String> = (0..3).map(|number| scene.nodes.key(0, number)).collect();
    let mut conn = scene.slotcar.conn();
    let requests: Vec<u8> = keys.iter().flat_map(|key| get(key)).collect();
    let replies = conn.exchange(&requests, 3);
    for (key, reply) in keys.iter().zip(replies) {
        assert_eq!(reply.text(), value_of(key), "read again on a new link");
    }
    scene.recovers();
}

/// A node says the beginning of a reply of so many bytes, and after a while nothing more.
fn reply_that_stops(announced: usize, come: usize) -> (Scene, Conn, impl FnOnce()) {
    let scene = Scene::new(2);
    let begun = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&begun);
    let end = Arc::new(AtomicBool::new(false));
    let ends = Arc::clone(&end);
    scene.nodes.set(0, move |words, stream| {
        if told.swap(true, Ordering::Relaxed) {
            return well_behaved(words, stream);
        }
        write!(stream, "${announced}\r\n")?;
        stream.write_all(&vec![b'x'; come])?;
        wait_until("the test goes on", LIMIT, || ends.load(Ordering::Relaxed));
        Err(io::ErrorKind::Other.into())
    });
    let mut conn = scene.slotcar.conn();
    conn.send_raw(&get(&scene.sick));
    wait_until("it begins", LIMIT, || begun.load(Ordering::Relaxed));
    scene.others_are_served(Duration::from_millis(200));
    (scene, conn, move || end.store(true, Ordering::Relaxed))
}

#[test]
fn a_reply_that_stops_in_its_middle_is_asked_for_again() {
    let (scene, mut conn, end) = reply_that_stops(200_000, 100_000);
    end();
    assert_eq!(conn.recv().text(), value_of(&scene.sick));
    scene.recovers();
}

#[test]
fn a_long_reply_that_stops_in_its_middle_ends_its_connection_and_only_that() {
    let (scene, mut conn, end) = reply_that_stops(500_000_000, 1 << 20);
    end();
    // What had come has been passed on.
    let got = conn.read_to_end();
    assert!(got.starts_with(b"$500000000\r\nxxx"));
    assert!(got.len() <= 12 + (1 << 20), "{}", got.len());
    assert_eq!(scene.slotcar.counter("replies_torn"), 1);
    scene.recovers();
}

#[test]
fn slow_is_not_dead_and_dead_is_not_slow() {
    let scene = Scene::new(2);
    // It answers PING but no request, for longer than anything is held.
    let open = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&open);
    scene.nodes.set(0, move |words, stream| {
        wait_until("the test goes on", LIMIT, || gate.load(Ordering::Relaxed));
        well_behaved(words, stream)
    });
    let keys: Vec<String> = (0..8).map(|number| scene.nodes.key(0, number)).collect();
    let mut conns: Vec<Conn> = keys.iter().map(|_| scene.slotcar.conn()).collect();
    for (conn, key) in conns.iter_mut().zip(&keys) {
        conn.send_raw(&get(key));
        conn.send_raw(&encode(&["SET", key, "v"]));
    }
    scene.others_are_served(HOLD + Duration::from_millis(500));
    open.store(true, Ordering::Relaxed);
    for (conn, key) in conns.iter_mut().zip(&keys) {
        assert_eq!(conn.recv().text(), value_of(key));
        assert!(conn.recv().is_ok());
    }
    assert!(!scene.slotcar.log().contains("primary does not answer"));

    // It accepts and says nothing more to anybody: new requests have a verdict when the hold is over.
    scene.nodes.set_all(0, Arc::new(|_, _| Ok(())));
    scene.is_warned_of("primary does not answer");
    scene.has_a_verdict(&["GET", &scene.sick]);
    scene.has_a_verdict(&["SET", &scene.sick, "v"]);
    scene.others_are_served(Duration::from_millis(100));
    scene.recovers();
}

#[test]
fn what_a_node_refuses_is_waited_out_or_passed_on() {
    let cases: &[(&str, &str)] = &[
        (
            "LOADING Redis is loading the dataset in memory",
            "CLUSTERDOWN slotcar: no primary",
        ),
        (
            "CLUSTERDOWN The cluster is down",
            "CLUSTERDOWN slotcar: no primary",
        ),
        (
            "MASTERDOWN Link with MASTER is down",
            "CLUSTERDOWN slotcar: no primary",
        ),
        (
            "TRYAGAIN Multiple keys request",
            "CLUSTERDOWN slotcar: no primary",
        ),
        ("NOAUTH Authentication required.", "NOAUTH "),
        ("MISCONF Errors writing to the AOF file", "MISCONF "),
        ("ERR unknown command 'GET'", "ERR unknown command"),
        ("", ""),
    ];
    let scene = Scene::new(2);
    for &(says, expected) in cases {
        scene.nodes.set(0, move |_, stream| {
            stream.write_all(format!("-{says}\r\n").as_bytes())
        });
        for request in [&["GET", &scene.sick][..], &["SET", &scene.sick, "v"]] {
            let error = scene.refusal(request);
            assert!(error.starts_with(expected), "{says}: {error}");
        }
        scene.recovers();
    }
}

#[test]
fn redirections_in_circles_and_to_nowhere_end() {
    let scene = Scene::new(2);
    let slot = slot_of(&scene.sick);
    let [here, there] = [0, 1].map(|node| scene.nodes.addr(node));
    let port = here.port();
    let circles: &[(String, String)] = &[
        (
            format!("MOVED {slot} {there}"),
            format!("MOVED {slot} {here}"),
        ),
        (format!("ASK {slot} {there}"), format!("ASK {slot} {here}")),
        (format!("MOVED {slot} {here}"), String::new()),
        (format!("MOVED {slot} :{port}"), String::new()),
        (format!("MOVED {slot} {}:0", here.ip()), String::new()),
        (format!("MOVED {slot} ?:{port}"), String::new()),
        (format!("MOVED 99999 {there}"), String::new()),
        (format!("MOVED {slot} a b c:{port}"), String::new()),
        (
            format!("MOVED {slot} {}:1", "x".repeat(60_000)),
            String::new(),
        ),
        (format!("ASK {slot} 127.0.0.1:1"), String::new()),
        ("MOVED".to_owned(), String::new()),
    ];
    for (one, other) in circles {
        for (node, says) in [one, other].into_iter().enumerate() {
            if says.is_empty() {
                continue;
            }
            let (says, sick) = (says.clone(), scene.sick.clone());
            scene.nodes.set(node, move |words, stream| {
                match words.get(1) == Some(&sick) {
                    true => stream.write_all(format!("-{says}\r\n").as_bytes()),
                    false => well_behaved(words, stream),
                }
            });
        }
        for request in [&["GET", &scene.sick][..], &["SET", &scene.sick, "v"]] {
            let error = scene.refusal(request);
            let shown = one.get(..80).unwrap_or(one);
            assert!(
                error.starts_with("CLUSTERDOWN slotcar: "),
                "{shown}: {error}"
            );
        }
        scene.nodes.heal(1);
        scene.recovers();
    }
}

#[test]
fn a_node_that_names_ever_new_nodes_is_not_followed_for_ever() {
    let scene = Scene::new(2);
    let slot = slot_of(&scene.sick);
    let named = Arc::new(AtomicUsize::new(2));
    scene.nodes.set(0, move |_, stream| {
        let number = named.fetch_add(1, Ordering::Relaxed);
        let says = format!(
            "-MOVED {slot} 127.1.{}.{}:1\r\n",
            number / 250,
            number % 250
        );
        stream.write_all(says.as_bytes())
    });
    let error = scene.refusal(&["GET", &scene.sick]);
    assert!(error.starts_with("CLUSTERDOWN slotcar: "), "{error}");
    scene.recovers();
}

#[test]
fn a_link_that_is_closed_after_each_reply_or_comes_byte_by_byte_still_serves() {
    let scene = Scene::new(2);
    scene.nodes.set(0, |words, stream| {
        well_behaved(words, stream)?;
        Err(io::ErrorKind::Other.into())
    });
    for number in 0..30 {
        let key = scene.nodes.key(0, number);
        let mut conn = scene.slotcar.conn();
        assert_eq!(conn.ok(&["GET", &key]).text(), value_of(&key));
    }
    scene.nodes.set(0, |words, stream| {
        good_reply(words)
            .chunks(1)
            .try_for_each(|byte| stream.write_all(byte))
    });
    wait_until("the last link has been closed", LIMIT, || {
        let mut conn = scene.slotcar.conn();
        conn.cmd(&["SET", &scene.sick, "v"]).is_ok()
    });
    let keys: Vec<String> = (0..30).map(|number| scene.nodes.key(0, number)).collect();
    let requests: Vec<Vec<&str>> = keys.iter().map(|key| vec!["GET", key]).collect();
    let replies = scene.slotcar.conn().pipeline(&requests);
    for (key, reply) in keys.iter().zip(replies) {
        assert_eq!(reply.text(), value_of(key));
    }
}

#[test]
fn a_topology_that_cannot_be_is_not_believed() {
    let scene = Scene::new(3);
    let addr = scene.nodes.addr(0);
    let one = |first, last| [b"*1\r\n".to_vec(), slots_entry(first, last, addr)].concat();
    let overlap = [slots_entry(0, 9000, addr), slots_entry(8000, 16_383, addr)].concat();
    let many: Vec<u8> = (0..100_000)
        .flat_map(|number| slots_entry(number % 16_384, number % 16_384, addr))
        .collect();
    let cases = [
        [b"*2\r\n".to_vec(), overlap].concat(),
        one(0, 16_384),
        one(-1, 5),
        one(10, 5),
        [b"*100000\r\n".to_vec(), many].concat(),
        b"*0\r\n".to_vec(),
        b"*1000000000\r\n".to_vec(),
        b"+OK\r\n".to_vec(),
        b"-ERR This instance has cluster support disabled\r\n".to_vec(),
        b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$3\r\na\nb\r\n:1\r\n".to_vec(),
        b"SLOTS\r\n".to_vec(),
    ];
    for reply in cases {
        scene.nodes.set_slots(0, reply);
        // A closed link makes slotcar ask.
        scene.nodes.set(0, |_, _| Err(io::ErrorKind::Other.into()));
        let _ = scene.slotcar.conn().cmd(&["SET", &scene.sick, "v"]);
        scene.nodes.set(0, well_behaved);
        for node in 0..3 {
            let key = scene.nodes.key(node, 0);
            assert_eq!(
                scene.slotcar.conn().ok(&["GET", &key]).text(),
                value_of(&key)
            );
        }
    }
    scene.recovers();
}

/// A slotcar before fake nodes, of which the first will be sick, while somebody uses the second without a pause.
struct Scene {
    slotcar: Slotcar,
    nodes: FakeNodes,
    /// A key of the first node.
    sick: String,
}

impl Scene {
    fn new(nodes: usize) -> Scene {
        let nodes = FakeNodes::start(nodes);
        let hold = format!("{}ms", HOLD.as_millis());
        let mut slotcar = Slotcar::start(&["--cluster", &nodes.seeds(), "--failover-hold", &hold]);
        // What is wrong with a node is what an operator should see.
        slotcar.expect_log(&nodes.addr(0).to_string());
        let sick = nodes.key(0, 0);
        Scene {
            slotcar,
            nodes,
            sick,
        }
    }

    /// An answer or an error, and not too late; meanwhile the other node's clients notice nothing.
    fn has_a_verdict(&self, request: &[&str]) -> Value {
        let start = Instant::now();
        let done = AtomicBool::new(false);
        let reply = thread::scope(|scope| {
            scope.spawn(|| self.others_are_served_until(|| done.load(Ordering::Relaxed)));
            let _over = SetOnDrop(&done);
            self.slotcar.conn().cmd(request)
        });
        let taken = start.elapsed();
        assert!(
            taken < HOLD + MARGIN,
            "{request:?} took {taken:?}: {reply:?}"
        );
        if request[0] == "GET" && reply.error().is_none() {
            assert_eq!(reply.text(), value_of(request[1]));
        }
        reply
    }

    /// The error that is the verdict.
    fn refusal(&self, request: &[&str]) -> String {
        let reply = self.has_a_verdict(request);
        let error = reply.error();
        error
            .unwrap_or_else(|| panic!("{request:?}: {reply:?}"))
            .to_owned()
    }

    fn others_are_served(&self, time: Duration) {
        let start = Instant::now();
        self.others_are_served_until(|| start.elapsed() > time);
    }

    fn others_are_served_until(&self, done: impl Fn() -> bool) {
        let mut conn = self.slotcar.conn();
        for number in (0..20).cycle() {
            let key = self.nodes.key(1, number);
            let start = Instant::now();
            assert_eq!(conn.ok(&["GET", &key]).text(), value_of(&key));
            let taken = start.elapsed();
            assert!(taken < MARGIN, "a healthy node's answer took {taken:?}");
            if done() {
                return;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// The log has a warning with the first node's address and this reason.
    fn is_warned_of(&self, reason: &str) {
        let node = self.nodes.addr(0).to_string();
        let names =
            |line: &str| line.contains("WARN") && line.contains(reason) && line.contains(&node);
        wait_until(reason, LIMIT, || self.slotcar.log().lines().any(names));
    }

    /// The first node is good again, and so are its answers; nothing has cost much memory.
    fn recovers(&self) {
        self.nodes.heal(0);
        wait_until("it is used again", LIMIT, || {
            self.slotcar.conn().cmd(&["SET", &self.sick, "v"]).is_ok()
        });
        let mut conn = self.slotcar.conn();
        for number in 0..5 {
            let key = self.nodes.key(0, number);
            assert_eq!(conn.ok(&["GET", &key]).text(), value_of(&key));
        }
        let most = peak_kib(self.slotcar.pid());
        assert!(most < MEMORY_KIB_MAX, "{most} KiB were used");
    }
}

/// The most memory that a process has ever used.
fn peak_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.and_then(|number| number.parse().ok()).unwrap()
}

const HOLD: Duration = Duration::from_millis(700);
/// What a busy machine may add.
const MARGIN: Duration = Duration::from_secs(3);
const LIMIT: Duration = Duration::from_secs(15);
/// What a 16 MiB reply to the control thread makes of itself, decoded, and much more than any of these nodes may make us keep.
const MEMORY_KIB_MAX: u64 = 256 * 1024;
