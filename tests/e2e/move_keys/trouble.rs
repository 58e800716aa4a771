//! What happens while keys are moved: others write, slots move, nodes die, somebody wants it to end, and what cannot be.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::data::{Looks, Nodes, RULES, amount, must_look, name, renamed, stored};
use super::{cluster, command, number, path, report, start};
use crate::support::{Cluster, Conn, Server, ServerKind, SetOnDrop, Value, slot_of, wait_until};

on_both!(
    writes_to_old_names_are_not_lost,
    slots_move_while_keys_are_renamed,
    a_primary_dies_while_keys_are_copied,
    an_interrupted_run_says_how_it_goes_on,
    what_cannot_be_is_told,
);

/// Old instances of an app count, and take jobs from queues, while their keys get other names.
fn writes_to_old_names_are_not_lost(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let counters: Vec<String> = (0..200).map(|at| format!("q:count:{at}")).collect();
    let queues: Vec<String> = (0..200).map(|at| format!("q:queue:{at}")).collect();
    let mut old = OldApp::new(&cluster, &counters, &queues);
    (0..5).for_each(|_| old.work());
    let done = AtomicBool::new(false);
    let seeds = cluster.seeds();
    let (mut old, said) = std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                old.work();
            }
            old
        });
        let end = SetOnDrop(&done);
        let own = ["--cluster", &seeds, "--keys-per-second", "400"];
        let output = command(&[&own, &RULES[..]].concat());
        assert!(output.status.code().is_some_and(|code| code < 2));
        drop(end);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (worker.join().unwrap(), said)
    });
    // What has come since is there under the old names.
    let old_and_new = |key: &String| [key.clone(), format!("{{q}}{key}")];
    let (mut sum, mut moved) = (0, 0);
    for key in counters.iter().flat_map(old_and_new) {
        let reply = old.nodes.ask(&[words(&["GET", &key])]).remove(0);
        if reply != Value::Nil {
            sum += reply.text().parse::<usize>().unwrap();
            moved += usize::from(key.starts_with("{q}"));
        }
    }
    let mut jobs = old.taken;
    println!(
        "{} increments, {moved} of 200 counters moved, {} of {} jobs taken",
        old.written,
        jobs.len(),
        old.pushed.len()
    );
    assert_eq!(sum, old.written);
    assert!(moved > 100 && number(&said, "moved again") > 0, "{said}");
    for key in queues.iter().flat_map(old_and_new) {
        let reply = old
            .nodes
            .ask(&[words(&["LRANGE", &key, "0", "-1"])])
            .remove(0);
        jobs.extend(reply.list().iter().map(Value::text));
    }
    jobs.sort();
    old.pushed.sort();
    assert!(jobs == old.pushed, "each job once");
}

/// An instance that knows nothing of new names.
struct OldApp<'a> {
    nodes: Nodes,
    counters: &'a [String],
    queues: &'a [String],
    written: usize,
    pushed: Vec<String>,
    taken: Vec<String>,
}

impl OldApp<'_> {
    fn new<'a>(cluster: &Cluster, counters: &'a [String], queues: &'a [String]) -> OldApp<'a> {
        OldApp {
            nodes: Nodes::of(cluster),
            counters,
            queues,
            written: 0,
            pushed: Vec::new(),
            taken: Vec::new(),
        }
    }

    /// Counts everything, and every second queue gets a job, and loses two in the next round.
    fn work(&mut self) {
        let requests: Vec<_> = (self.counters.iter())
            .map(|key| words(&["INCR", key]))
            .collect();
        let replies = self.nodes.ask(&requests);
        assert!(
            replies.iter().all(|reply| matches!(reply, Value::Int(_))),
            "{replies:?}"
        );
        self.written += replies.len();
        let mut requests = Vec::new();
        for queue in self.queues {
            let job = format!("{queue}/{}", self.pushed.len());
            requests.push(words(&["RPUSH", queue, &job]));
            self.pushed.push(job);
        }
        self.nodes.ask(&requests);
        let some = self.queues.iter().skip(self.written / replies.len() % 2);
        let requests: Vec<_> = (some.step_by(2))
            .flat_map(|key| [words(&["LPOP", key]), words(&["LPOP", key])])
            .collect();
        let replies = self.nodes.ask(&requests);
        let taken = replies.iter().filter(|reply| **reply != Value::Nil);
        self.taken.extend(taken.map(Value::text));
    }
}

/// A request and the key that it is about.
fn words(words: &[&str]) -> (Vec<u8>, Vec<Vec<u8>>) {
    let request: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
    (words[1].as_bytes().to_vec(), request)
}

fn slots_move_while_keys_are_renamed(kind: ServerKind) {
    let cluster = cluster(kind, 0);
    let mut nodes = Nodes::of(&cluster);
    let names: Vec<Vec<u8>> = (0..amount()).map(name).collect();
    nodes.load(&names);
    let expected = renamed(&nodes.looks(&names));
    let targets: Vec<Vec<u8>> = expected.keys().cloned().collect();
    let seeds = cluster.seeds();
    let rate = (amount() / 4).to_string();
    let words = [
        &["--cluster", &seeds, "--keys-per-second", &rate],
        &RULES[..],
    ]
    .concat();
    let log = path("moving.log");
    let mut process = start(&words, &log);
    // The rules' own slot, too.
    let home = cluster.owner_of(slot_of("{q}"));
    for round in 0..3 {
        let from = (home + round) % 3;
        let mut slots = cluster.slots_of(from);
        slots.retain(|slot| *slot == slot_of("{q}") || slot % 7 == 0);
        cluster.move_slots(from, (from + 1) % 3, &slots);
    }
    let status = process.wait(LIMIT).expect("it ends");
    println!("{}", process.log());
    assert!(status.success(), "{status}");
    let mut nodes = Nodes::of(&cluster);
    // MIGRATE gives keys the time that is left, which is some milliseconds later then.
    let timeless = |looks: Looks| -> Looks {
        let looks = looks.into_iter();
        let timeless = looks.map(|(name, (digest, at))| (name, (digest, at.min(0))));
        timeless.collect()
    };
    must_look(&timeless(nodes.looks(&targets)), &timeless(expected));
    assert_eq!(nodes.count(), i64::try_from(names.len()).unwrap());
}

fn a_primary_dies_while_keys_are_copied(kind: ServerKind) {
    let server = Server::start_plain_with(kind, &[super::DEBUG]);
    let mut source = Nodes::one(Conn::open(server.addr()));
    let names: Vec<Vec<u8>> = (0..amount()).map(name).collect();
    source.load(&names);
    let expected = renamed(&source.looks(&names));
    let targets: Vec<Vec<u8>> = expected.keys().cloned().collect();
    let mut cluster = cluster(kind, 1);
    let (seeds, url) = (cluster.seeds(), format!("redis://{}", server.addr()));
    let rate = (amount() / 2).to_string();
    let own = [
        "--cluster",
        &seeds,
        "--from",
        &url,
        "--keys-per-second",
        &rate,
    ];
    let log = path("failover.log");
    let mut process = start(&[&own, &RULES[..]].concat(), &log);
    let home = cluster.owner_of(slot_of("{q}"));
    let mut conn = cluster.conn(home);
    wait_until("a part is done", LIMIT, || {
        conn.ok(&["DBSIZE"]).int() > i64::try_from(amount() / 5).unwrap()
    });
    drop(conn);
    cluster.kill(home);
    let status = process.wait(LIMIT).expect("it ends");
    println!("{}", process.log());
    assert!(status.success(), "{status}");
    let mut nodes = Nodes::of(&cluster);
    must_look(&nodes.looks(&targets), &expected);
    assert_eq!(nodes.count(), i64::try_from(names.len()).unwrap());
}

fn an_interrupted_run_says_how_it_goes_on(kind: ServerKind) {
    let cluster = cluster(kind, 0);
    let mut nodes = Nodes::of(&cluster);
    let names: Vec<Vec<u8>> = (0..1_000).map(name).collect();
    nodes.load(&names);
    let expected = renamed(&nodes.looks(&names));
    let targets: Vec<Vec<u8>> = expected.keys().cloned().collect();
    let (seeds, state) = (cluster.seeds(), path("state.json"));
    let named = state.display().to_string();
    let own = ["--cluster", &seeds, "--state", &named];
    let words = [&own, &RULES[..]].concat();
    let log = path("interrupted.log");
    let mut process = start(&[&words[..], &["--keys-per-second", "60"]].concat(), &log);
    let slot = slot_of("{q}");
    let mut conn = cluster.conn(cluster.owner_of(slot));
    wait_until("it has begun", LIMIT, || {
        let count = conn.ok(&["CLUSTER", "COUNTKEYSINSLOT", &slot.to_string()]);
        count.int() > 150
    });
    // Two at a time would undo each other's work.
    let output = command(
        &words[..2]
            .iter()
            .chain(&words[4..])
            .copied()
            .collect::<Vec<_>>(),
    );
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        complaint.contains("another slotcar move-keys is connected"),
        "{complaint}"
    );
    process.signal("INT");
    let status = process.wait(LIMIT).expect("it ends");
    let said = process.log();
    println!("{said}");
    assert_eq!(status.code(), Some(130), "{said}");
    assert!(said.contains("slotcar: stopped\n"), "{said}");
    assert!(
        said.contains(&format!(
            "the same command goes on from where it was, by {named}"
        )),
        "{said}"
    );
    // It belongs to these rules and no others.
    let output = command(&[&own, &["--keep-together", "x*"][..]].concat());
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        complaint.contains("belongs to a run with another set of rules"),
        "{complaint}"
    );
    let said = report(&words);
    let moving = names.iter().filter(|name| stored(name) != **name).count();
    assert_eq!(number(&said, "renamed"), moving, "of both runs: {said}");
    assert!(!state.exists());
    must_look(&nodes.looks(&targets), &expected);
    assert_eq!(nodes.count(), 1_000);
}

fn what_cannot_be_is_told(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let seeds = cluster.seeds();
    let plain = Server::start_plain(kind);
    let url = format!("redis://{}", plain.addr());
    let node = format!("redis://{}", cluster.addr(0));
    let nobody = crate::support::address::unused().to_string();
    let password = path("password");
    std::fs::write(&password, "secret").unwrap();
    let password = password.display().to_string();
    for at in 0..3 {
        let mut conn = cluster.conn(at);
        conn.ok(&[
            "ACL", "SETUSER", "mover", "on", ">secret", "~*", "&*", "+@all", "-dump",
        ]);
        Nodes::of(&cluster).load(&[b"q:1".to_vec()]);
    }
    let as_mover = ["--username", "mover", "--password-file", &password];
    for (words, code, expected) in [
        (
            &[][..],
            2,
            "without --from keys are renamed as its rules say",
        ),
        (
            &["--from", "redis://:secret@h"],
            2,
            "expected it in a from-file",
        ),
        (
            &["--from", &node],
            1,
            "is a node of a cluster, and knows but a part of its keys",
        ),
        (
            &["--from", &format!("redis://{nobody}")],
            3,
            "cannot reach the source: no node answers",
        ),
        (
            &["--from", &format!("{url}/99")],
            1,
            "DB index is out of range",
        ),
        (
            &[&as_mover, &RULES[..]].concat(),
            1,
            "the user may not DUMP at ",
        ),
    ] {
        let words = [&["--cluster", &seeds, "--failover-hold", "1s"], words].concat();
        let output = command(&words);
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{words:?}: {complaint}");
        assert!(complaint.contains(expected), "{words:?}: {complaint}");
    }
    // Functions are no keys, and the last line says so.
    let mut conn = Conn::open(plain.addr());
    let library = "#!lua name=mine\nredis.register_function('f', function() return 1 end)";
    conn.ok(&["FUNCTION", "LOAD", library]);
    let said = report(&["--cluster", &seeds, "--from", &url]);
    assert!(
        said.ends_with("copies them.\n") && said.contains("has 1 libraries of functions"),
        "{said}"
    );
}

const LIMIT: Duration = Duration::from_secs(120);
