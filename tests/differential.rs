//! One script with several connections, run against a plain server and against slotcar before a cluster of the same
//! kind, in RESP2 and in RESP3: whatever comes back must be the same, except for what [`exceptions`] lists.
//!
//! `cargo test --test differential` runs all of it; `DIFFERENTIAL=pubsub,watch` takes only these files, and with
//! `DIFFERENTIAL_SHOW=1 … two_plain -- --nocapture` it prints what the plain servers say. Each
//! `tests/differential/*.txt` has one theme, cut into sections that start with nothing stored and nobody connected:
//!
//! ```text
//! slotcar --some-flag x      slotcar is started with it for this file
//! needs one place            not for clusters, unless they keep all keys together
//! needs databases            not for clusters without
//! == title                   a section; `== title (RESP3)` exists in that protocol only
//! # a comment
//! c1> GET a | GET b          c1 (connected when first named) sends requests in one write and gets a reply for each
//! c1>> BLPOP a 0             sends only
//! c1<                        gets a reply; `c1< 3` gets three
//! c1 gets 2                  two pushed messages: what the server sends without being asked
//! c1 quiet                   nothing comes for a while, and nothing is left unread
//! c1 blocks                  waits until CLIENT LIST shows it as blocked
//! c1 listed                  its line in CLIENT LIST
//! c2 until :0 EXISTS a       asks again and again, until that is the reply
//! c1 scans MATCH a*          all that SCAN finds with these options, from cursor to cursor
//! c1 closes                  leaves, and waits until the server has noticed
//! c1 is closed               the server has ended the connection
//! c1 speaks 2                connects with this protocol, whatever the run's is
//! resp3: c1 gets 1           a step for one protocol only
//! c1> unordered KEYS *       replies or messages (`gets`) whose order means nothing are sorted
//! ```
//!
//! A word may be `"quoted, with \n and \x00"`; `$c1` is the client id of c1. Confirmations of subscriptions are replies:
//! the first is read by `c1>`, further ones by `c1<`. Messages are kept apart from replies, because the order between
//! the two is nobody's promise. Ids, times and addresses are masked (see [`mask`]).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm,
    clippy::print_stdout,
    reason = "a test says what is wrong by panicking"
)]

#[path = "differential/client.rs"]
mod client;
#[path = "differential/compare.rs"]
mod compare;
#[path = "differential/exceptions.rs"]
mod exceptions;
#[path = "differential/frame.rs"]
mod frame;
#[path = "differential/mask.rs"]
mod mask;
#[path = "differential/script.rs"]
mod script;
#[path = "differential/stage.rs"]
mod stage;
#[path = "support/mod.rs"]
#[allow(unused_imports, reason = "made for end-to-end tests, which need more")]
mod support;

use compare::{differences, silences};
use script::{Protocol, Script};
use stage::Outcome;
use support::{Cluster, Server, ServerKind, Slotcar};

mod two_plain_servers_answer_alike {
    use super::{ServerKind, compare_plain};

    #[test]
    fn redis_7() {
        compare_plain(ServerKind::Redis7);
    }

    #[test]
    fn valkey_8() {
        compare_plain(ServerKind::Valkey8);
    }
}

mod slotcar_answers_like_a_plain_server {
    use super::{ServerKind, compare_slotcar};

    #[test]
    fn redis_7() {
        compare_slotcar(ServerKind::Redis7);
    }

    #[test]
    fn valkey_8() {
        compare_slotcar(ServerKind::Valkey8);
    }
}

mod slotcar_before_one_server_answers_like_it {
    use super::{ServerKind, compare_one_server};

    #[test]
    fn redis_7() {
        compare_one_server(ServerKind::Redis7);
    }

    #[test]
    fn valkey_8() {
        compare_one_server(ServerKind::Valkey8);
    }
}

mod slotcar_that_keeps_all_keys_together_answers_like_one_server {
    use super::{ServerKind, compare_together};

    #[test]
    fn redis_7() {
        compare_together(ServerKind::Redis7);
    }

    #[test]
    fn valkey_8() {
        compare_together(ServerKind::Valkey8);
    }
}

/// The script itself is sound: nothing in it depends on luck, and no step waits in vain.
fn compare_plain(kind: ServerKind) {
    let (one, other) = (Server::start_plain(kind), Server::start_plain(kind));
    let mut found = Vec::new();
    for script in Script::all() {
        for (protocol, ran) in stage::run_both(&script, one.addr(), other.addr(), 0) {
            found.extend(differences(&script, protocol, &ran, ["one", "other"]));
            found.extend(silences(&script, protocol, &ran.0));
            show(&script, protocol, &ran.0);
        }
    }
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

/// For who writes the script: what the server says.
fn show(script: &Script, protocol: Protocol, ran: &[Outcome]) {
    if std::env::var_os("DIFFERENTIAL_SHOW").is_some() {
        for Outcome {
            line, step, seen, ..
        } in ran
        {
            println!(
                "{}:{line} {}  {step}\n    {seen}",
                script.name,
                protocol.name()
            );
        }
    }
}

fn compare_slotcar(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    compare_before(kind, Behind::Cluster, &["--cluster", &cluster.seeds()]);
}

fn compare_one_server(kind: ServerKind) {
    let server = Server::start_plain(kind);
    let url = format!("redis://{}", server.addr());
    compare_before(kind, Behind::Server, &["--upstream", &url]);
}

fn compare_together(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let seeds = cluster.seeds();
    compare_before(
        kind,
        Behind::Together,
        &["--cluster", &seeds, "--keep-together", "*=tagged"],
    );
}

fn compare_databases(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let seeds = cluster.seeds();
    let flags = ["--cluster", &seeds, "--databases", "16"];
    compare_before(kind, Behind::Databases, &flags);
    let together = [&flags[..], &["--keep-together", "*=tagged"]].concat();
    compare_before(kind, Behind::DatabasesTogether, &together);
    compare_before(kind, Behind::AnotherDatabase, &together);
}

/// What stands behind slotcar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behind {
    Cluster,
    /// A cluster that has all keys in one slot.
    Together,
    /// A cluster that appears to have databases.
    Databases,
    DatabasesTogether,
    /// The same, and clients begin in another than 0.
    AnotherDatabase,
    Server,
}

impl Behind {
    fn has_one_place(self) -> bool {
        !matches!(self, Self::Cluster | Self::Databases)
    }

    fn has_databases(self) -> bool {
        !matches!(self, Self::Cluster | Self::Together)
    }

    fn database(self) -> u32 {
        if self == Self::AnotherDatabase { 3 } else { 0 }
    }
}

/// What slotcar says of how it stores keys, where the plain server says nothing of the kind.
fn stored_names_shown(script: &Script, (plain, slotcar): &stage::Both) -> Vec<String> {
    let both = plain.iter().zip(slotcar);
    let shows = both
        .filter(|(plain, slotcar)| names_as_stored(&slotcar.seen) && !names_as_stored(&plain.seen));
    shows
        .map(|(_, slotcar)| {
            let Outcome {
                line, step, seen, ..
            } = slotcar;
            format!("{}:{line} {step}: shows stored names: {seen}", script.name)
        })
        .collect()
}

/// Whether a tag of a rule or the prefix of a database is in a text.
fn names_as_stored(text: &str) -> bool {
    let mut behind = text.split("@db").skip(1);
    text.contains("{tagged}") || behind.any(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

fn compare_before(kind: ServerKind, behind: Behind, upstream: &[&str]) {
    let plain = Server::start_plain(kind);
    let mut scripts = Script::all();
    scripts.retain(|script| behind.has_one_place() || !script.needs_one_place);
    scripts.retain(|script| behind.has_databases() || !script.needs_databases);
    let (mut found, mut shown, mut steps) = (Vec::new(), Vec::new(), 0);
    let mut slotcars: Vec<(&[String], Slotcar)> = Vec::new();
    for script in &scripts {
        if !slotcars.iter().any(|(flags, _)| *flags == script.flags) {
            let mut args: Vec<String> = upstream.iter().map(|&word| word.to_owned()).collect();
            args.extend_from_slice(&script.flags);
            slotcars.push((&script.flags, Slotcar::start(&args)));
        }
        let known = slotcars.iter().find(|(flags, _)| *flags == script.flags);
        let (_, slotcar) = known.expect("started before");
        for (protocol, ran) in
            stage::run_both(script, plain.addr(), slotcar.addr(), behind.database())
        {
            steps += ran.0.len();
            shown.extend(stored_names_shown(script, &ran));
            found.extend(differences(script, protocol, &ran, ["plain", "slotcar"]));
        }
    }
    let mut wrong = exceptions::sift(kind, behind, &scripts, &found);
    wrong.extend(shown);
    let summary = format!(
        "{kind:?}, {behind:?}: {steps} steps, {} differ",
        found.len()
    );
    println!("{summary}");
    // Before the panic: what a dropped slotcar has to say is about its log.
    for line in &wrong {
        println!("{line}");
    }
    drop(slotcars);
    assert!(
        wrong.is_empty(),
        "{summary}, {} things are wrong, see above",
        wrong.len()
    );
}

mod slotcar_that_gives_a_cluster_databases_answers_like_one_server {
    use super::{ServerKind, compare_databases};

    #[test]
    fn redis_7() {
        compare_databases(ServerKind::Redis7);
    }

    #[test]
    fn valkey_8() {
        compare_databases(ServerKind::Valkey8);
    }
}
