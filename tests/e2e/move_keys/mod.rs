//! `slotcar move-keys`: what was there under the old names is there under those of the rules, whatever happens meanwhile.
//!
//! `SLOTCAR_MOVE_KEYS=1000000 cargo test --release --test e2e -- move_keys::killed` does the same with as many keys.

mod data;
mod trouble;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use self::data::{DEBUG, Nodes, RULES, amount, must_look, name, renamed, stored, trap};
use crate::support::process::Process;
use crate::support::slotcar::program;
use crate::support::{Cluster, Conn, Server, ServerKind, Slotcar, address, wait_until};

on_both!(
    all_keys_of_a_server_are_copied,
    keys_are_renamed_where_they_are,
    a_target_that_is_there_already_stays,
    a_dry_run_changes_nothing,
    killed_and_started_again_it_copies_all,
    killed_and_started_again_it_renames_all,
);

fn command(words: &[&str]) -> Output {
    let start = Instant::now();
    let mut command = Command::new(program());
    command.arg("move-keys").args(words).env_clear();
    let output = command.stdin(Stdio::null()).output().expect("it ends");
    println!(
        "move-keys {}: {} after {:?}\n{}{}",
        words.join(" "),
        output.status,
        start.elapsed(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Its report; it has ended well.
fn report(words: &[&str]) -> String {
    let output = command(words);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The number behind a word of a report.
fn number(report: &str, what: &str) -> usize {
    let line = report.lines().find_map(|line| line.strip_prefix(what));
    let word = line.and_then(|line| line.split_whitespace().next());
    word.map_or(0, |word| word.parse().expect("a number"))
}

/// Starts it without waiting.
fn start(words: &[&str], log: &Path) -> Process {
    let words: Vec<String> = std::iter::once("move-keys")
        .chain(words.iter().copied())
        .map(str::to_owned)
        .collect();
    Process::start(&program(), &words, log)
}

fn path(name: &str) -> PathBuf {
    let name = format!("move-keys-{}-{name}", address::unused().port());
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_file(&path);
    path
}

fn cluster(kind: ServerKind, replicas: usize) -> Cluster {
    let mut cluster = Cluster::plan(kind, 3, replicas);
    cluster.set_option(DEBUG.0, DEBUG.1);
    cluster.bring_up();
    cluster
}

/// A server with all kinds of keys, and their names.
fn full_server(kind: ServerKind) -> (Server, Nodes, Vec<Vec<u8>>) {
    let server = Server::start_plain_with(kind, &[DEBUG]);
    let mut source = Nodes::one(Conn::open(server.addr()));
    let mut names: Vec<Vec<u8>> = (0..amount()).map(name).collect();
    names.extend((0..KINDS_OF_TRAPS).map(trap));
    source.load(&names);
    (server, source, names)
}

fn all_keys_of_a_server_are_copied(kind: ServerKind) {
    let (server, mut source, names) = full_server(kind);
    let cluster = cluster(kind, 0);
    let (seeds, url) = (cluster.seeds(), format!("redis://{}", server.addr()));
    let words = [
        &["--cluster", &seeds, "--from", &url, "--verify"],
        &RULES[..],
    ]
    .concat();
    let said = report(&words);
    assert_eq!(number(&said, "copied"), names.len(), "{said}");
    assert_eq!(number(&said, "verified"), names.len(), "{said}");
    let expected = source.looks(&names);
    assert_eq!(expected.len(), names.len());
    let mut target = Nodes::of(&cluster);
    let targets: Vec<Vec<u8>> = names.iter().map(|name| stored(name)).collect();
    must_look(&target.looks(&targets), &renamed(&expected));
    assert_eq!(target.count(), source.count());
    // The app finds them by its own names.
    let slotcar = Slotcar::start(&[&["--cluster", &seeds], &RULES[..]].concat());
    let mut app = Nodes::one(slotcar.conn());
    let ask = |name: &Vec<u8>| {
        let words = [&b"DUMP"[..], name].map(<[u8]>::to_vec);
        (name.clone(), words.to_vec())
    };
    let strings: Vec<_> = names.iter().step_by(data::KINDS).map(ask).collect();
    assert_eq!(app.ask(&strings), source.ask(&strings));
    let streams: Vec<Vec<u8>> = (names.iter().take(amount()).skip(13).step_by(data::KINDS))
        .cloned()
        .collect();
    assert_eq!(app.groups(&streams), source.groups(&streams));
    // Once more: nothing to do, and all is compared.
    let said = report(&words);
    assert_eq!(number(&said, "copied"), 0, "{said}");
    assert_eq!(number(&said, "there already"), names.len(), "{said}");
    assert_eq!(number(&said, "verified"), names.len(), "{said}");
}

/// Versions write values in other ways, and these servers tell no digests: all that is in them is compared.
#[test]
fn an_older_server_is_copied_to_newer_nodes_and_not_the_other_way_round() {
    let old = Server::start_plain(ServerKind::Redis7);
    let names: Vec<Vec<u8>> = (0..1_200).map(name).collect();
    let mut source = Nodes::one(Conn::open(old.addr()));
    source.load(&names);
    let new = Cluster::start(ServerKind::Valkey8, 3, 0);
    let (seeds, url) = (new.seeds(), format!("redis://{}", old.addr()));
    let words = [
        &["--cluster", &seeds, "--from", &url, "--verify"],
        &RULES[..],
    ]
    .concat();
    for moved in [names.len(), 0] {
        let said = report(&words);
        assert_eq!(number(&said, "copied"), moved, "{said}");
        assert_eq!(number(&said, "verified"), names.len(), "{said}");
    }
    let new = Server::start_plain(ServerKind::Valkey8);
    Conn::open(new.addr()).ok(&["SET", "k", "v"]);
    let old = Cluster::start(ServerKind::Redis7, 3, 0);
    let (seeds, url) = (old.seeds(), format!("redis://{}", new.addr()));
    let output = command(&["--cluster", &seeds, "--from", &url]);
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    let expected = "does not understand the values of the source (valkey 8.";
    assert!(complaint.contains(expected), "{complaint}");
}

fn keys_are_renamed_where_they_are(kind: ServerKind) {
    let cluster = cluster(kind, 0);
    let mut nodes = Nodes::of(&cluster);
    let names: Vec<Vec<u8>> = (0..amount()).map(name).collect();
    nodes.load(&names);
    let before = nodes.looks(&names);
    let seeds = cluster.seeds();
    let words = [&["--cluster", &seeds, "--verify"], &RULES[..]].concat();
    let said = report(&words);
    let moving = names.iter().filter(|name| stored(name) != **name).count();
    assert_eq!(number(&said, "renamed"), moving, "{said}");
    assert_eq!(number(&said, "verified"), moving, "{said}");
    let targets: Vec<Vec<u8>> = names.iter().map(|name| stored(name)).collect();
    must_look(&nodes.looks(&targets), &renamed(&before));
    assert_eq!(
        nodes.count(),
        i64::try_from(names.len()).unwrap(),
        "nothing is there twice"
    );
    let said = report(&words);
    assert_eq!(number(&said, "renamed"), 0, "{said}");
    must_look(&nodes.looks(&targets), &renamed(&before));
}

fn a_target_that_is_there_already_stays(kind: ServerKind) {
    // These tell no digests.
    let cluster = Cluster::start(kind, 3, 0);
    let mut nodes = Nodes::of(&cluster);
    let mut run = |words: &[&str]| {
        let request = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        let key = words[if words[0] == "XGROUP" { 2 } else { 1 }];
        let reply = nodes.ask(&[(key.as_bytes().to_vec(), request)]).remove(0);
        assert!(reply.any_error().is_none(), "{words:?} {reply:?}");
        reply
    };
    run(&["SET", "q:same", "v"]);
    run(&["SET", "{q}q:same", "v"]);
    run(&["SET", "q:other", "old"]);
    run(&["SET", "{q}q:other", "new"]);
    run(&["RPUSH", "q:type", "v"]);
    run(&["SADD", "{q}q:type", "v"]);
    // Tables of other sizes: the same members in another order.
    for member in 0..2_000 {
        run(&["SADD", "{q}q:set", &format!("m{member}")]);
    }
    for member in 300..2_000 {
        run(&["SREM", "{q}q:set", &format!("m{member}")]);
    }
    for member in (0..300).rev() {
        run(&["SADD", "q:set", &format!("m{member}")]);
        run(&["HSET", "q:hash", &format!("f{member}"), "v"]);
    }
    for member in 0..300 {
        run(&["HSET", "{q}q:hash", &format!("f{member}"), "v"]);
    }
    for key in ["q:stream", "{q}q:stream"] {
        run(&["XADD", key, "1-1", "f", "v"]);
        run(&["XGROUP", "CREATE", key, "g", "0"]);
    }
    let seeds = cluster.seeds();
    let words = [&["--cluster", &seeds], &RULES[..]].concat();
    let output = command(&words);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(
        (number(&said, "renamed"), number(&said, "conflicts")),
        (4, 2),
        "{said}"
    );
    assert!(
        said.contains("   q:other\n") && said.contains("   q:type\n"),
        "{said}"
    );
    for (key, expected) in [
        ("q:other", "old"),
        ("{q}q:other", "new"),
        ("{q}q:same", "v"),
    ] {
        assert_eq!(run(&["GET", key]).text(), expected);
    }
    for key in ["q:same", "q:set", "q:hash", "q:stream"] {
        assert_eq!(run(&["EXISTS", key]).int(), 0, "{key}");
    }
    assert_eq!(run(&["SCARD", "{q}q:set"]).int(), 300);
}

fn a_dry_run_changes_nothing(kind: ServerKind) {
    let cluster = cluster(kind, 0);
    let mut nodes = Nodes::of(&cluster);
    let names: Vec<Vec<u8>> = (0..200).map(name).collect();
    nodes.load(&names);
    let before = nodes.looks(&names);
    let seeds = cluster.seeds();
    let state = path("dry.json");
    let named = state.display().to_string();
    let own = ["--cluster", &seeds, "--dry-run", "--state", &named];
    let said = report(&[&own, &RULES[..]].concat());
    assert!(
        said.contains("q:*={q}: 100 keys would be moved\n    q:"),
        "{said}"
    );
    assert!(
        said.contains("*:lock={q}: 40 keys would be moved\n    "),
        "{said}"
    );
    assert!(said.contains("60 keys fit no rule\n"), "{said}");
    assert!(!state.exists());
    must_look(&nodes.looks(&names), &before);
    assert_eq!(nodes.count(), 200);
}

fn killed_and_started_again_it_copies_all(kind: ServerKind) {
    let (server, mut source, names) = full_server(kind);
    let expected = renamed(&source.looks(&names));
    let targets: Vec<Vec<u8>> = expected.keys().cloned().collect();
    for state in [None, Some(path("copy.json").display().to_string())] {
        let cluster = cluster(kind, 0);
        let mut target = Nodes::of(&cluster);
        let (seeds, url) = (cluster.seeds(), format!("redis://{}", server.addr()));
        let words = [&["--cluster", &seeds, "--from", &url], &RULES[..]].concat();
        let total = names.len();
        kill_twice(&words, state.as_deref(), |part| {
            target.count() > i64::try_from(total * part / 3).unwrap()
        });
        must_look(&target.looks(&targets), &expected);
        assert_eq!(target.count(), source.count(), "nothing is there twice");
    }
    must_look(&renamed(&source.looks(&names)), &expected);
}

fn killed_and_started_again_it_renames_all(kind: ServerKind) {
    let names: Vec<Vec<u8>> = (0..amount()).map(name).collect();
    let slot = crate::support::slot_of("{q}").to_string();
    for state in [None, Some(path("rename.json").display().to_string())] {
        let cluster = cluster(kind, 0);
        let mut nodes = Nodes::of(&cluster);
        nodes.load(&names);
        let expected = renamed(&nodes.looks(&names));
        let targets: Vec<Vec<u8>> = expected.keys().cloned().collect();
        let moving = names.iter().filter(|name| stored(name) != **name).count();
        let mut home = cluster.conn(cluster.owner_of(slot.parse().unwrap()));
        let seeds = cluster.seeds();
        let words = [&["--cluster", &seeds], &RULES[..]].concat();
        let others = home.ok(&["CLUSTER", "COUNTKEYSINSLOT", &slot]).int();
        kill_twice(&words, state.as_deref(), |part| {
            let here = home.ok(&["CLUSTER", "COUNTKEYSINSLOT", &slot]).int();
            here - others > i64::try_from(moving * part / 3).unwrap()
        });
        must_look(&nodes.looks(&targets), &expected);
        assert_eq!(
            nodes.count(),
            i64::try_from(names.len()).unwrap(),
            "nothing is there twice"
        );
    }
}

/// Ends it with SIGKILL after one and two parts of three, and lets it come to its end then.
fn kill_twice(words: &[&str], state: Option<&str>, mut has_come: impl FnMut(usize) -> bool) {
    let mut words = words.to_vec();
    if let Some(state) = state {
        words.extend(["--state", state]);
    }
    for part in [1, 2] {
        // So slow that there is a middle.
        let rate = (amount() / 2).to_string();
        let mut slow = words.clone();
        if amount() < 100_000 {
            slow.extend(["--keys-per-second", &rate]);
        }
        let log = path("killed.log");
        let began = Instant::now();
        let mut process = start(&slow, &log);
        wait_until("a part is done", LIMIT, || {
            process.must_run();
            has_come(part)
        });
        process.kill();
        println!("killed after {:?}: {}", began.elapsed(), process.log());
    }
    if let Some(state) = state {
        let text = std::fs::read_to_string(state).expect("it is there");
        assert!(text.contains("\"cursor\""), "{text}");
    }
    report(&words);
    assert!(state.is_none_or(|state| !Path::new(state).exists()));
}

const KINDS_OF_TRAPS: usize = 42;
const LIMIT: Duration = Duration::from_secs(600);
