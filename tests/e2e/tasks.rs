//! `slotcar check` and `slotcar explain`, and the mode of a Unix socket.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use crate::support::{Cluster, Server, ServerKind, Slotcar, Watched, address, slot_of};

on_both!(
    check_describes_what_stands_behind,
    explain_says_where_a_request_would_go,
);

fn run(words: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_slotcar"));
    program.args(words).env_clear().output().expect("it ends")
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn check_describes_what_stands_behind(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 1);
    let text = said(&run(&["check", "--cluster", &cluster.seeds()]));
    println!("{text}");
    for node in 0..3 {
        assert!(
            text.contains(&format!("shard     {}  slots ", cluster.addr(node))),
            "{text}"
        );
        assert!(
            text.contains(&format!("  replica {}\n", cluster.addr(node + 3))),
            "{text}"
        );
    }
    let server = Server::start_plain(kind);
    let url = format!("redis://{}/2", server.addr());
    let text = said(&run(&["check", "--upstream", &url]));
    let expected = format!("shard     {}  everything\n", server.addr());
    assert!(
        text.contains(&expected) && text.contains("database 2"),
        "{text}"
    );
    let watched = Watched::start(kind, 1);
    let text = said(&run(&["check", "--sentinel", &watched.addrs()]));
    assert!(
        text.contains(&watched.server(0).addr().to_string()),
        "{text}"
    );

    let nobody = address::unused().to_string();
    let output = run(&["check", "--cluster", &nobody]);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{complaint}");
    let expected =
        format!("cannot reach cluster {nobody}: no node answers; {nobody}: cannot connect");
    assert!(complaint.contains(&expected), "{complaint}");
    assert_eq!(run(&["check", "--cluster", "a:b"]).status.code(), Some(2));
}

fn explain_says_where_a_request_would_go(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let seeds = cluster.seeds();
    let explain =
        |request: &[&str]| said(&run(&[&["--cluster", &seeds, "explain"], request].concat()));
    let slot = slot_of("foo");
    let owner = cluster.addr(cluster.owner_of(slot));
    assert_eq!(
        explain(&["get", "foo"]),
        format!(
            "command   get: reads only\nkey       foo: slot {slot}\ngoes to   the owner of its slot\n          \
             slot {slot}: {owner}\nreplies   as the node says it\nif lost   sent again when its connection breaks\n"
        )
    );
    for (request, expected) in [
        (
            &["MGET", "a", "b"][..],
            "goes to   the owners of 2 slots, in 2 parts that are not atomic together\n",
        ),
        (
            &["MGET", "{a}1", "{a}2"],
            "goes to   the owner of its slot\n",
        ),
        (&["FLUSHALL"], "goes to   every primary\n"),
        (&["PING"], "goes to   nobody: slotcar answers\n"),
        (
            &["SHUTDOWN"],
            "goes to   nobody: it could hurt a node; some such commands can be allowed (allow)\n",
        ),
        (
            &["INCR", "k"],
            "if lost   sent again only if it had not left",
        ),
        (
            &["BLPOP", "k", "0"],
            "on a connection of its own while it waits\n",
        ),
        (
            &["NONESUCH", "k"],
            "refused   ERR unknown command 'NONESUCH'",
        ),
        (
            &["GET"],
            "refused   ERR wrong number of arguments for 'get' command\n",
        ),
        (&["--deny", "get", "--", "GET", "k"], ""),
    ] {
        let text = explain(request);
        assert!(text.contains(expected), "{request:?}: {text}");
    }
}

/// Needs no server: nobody is asked.
#[test]
fn a_unix_socket_has_the_mode_that_it_is_to_have() {
    let addr = address::unused();
    let path = std::env::temp_dir().join(format!("slotcar-{}.sock", addr.port()));
    let listen = format!("{addr},unix:{}?mode=600", path.display());
    let flags = ["--listen", &listen, "--cluster", "127.0.0.1:1"];
    let mut slotcar = Slotcar::start_with_own_listeners(addr, &flags);
    let mode = std::fs::metadata(&path)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    slotcar.expect_log("cannot learn the topology");
}
