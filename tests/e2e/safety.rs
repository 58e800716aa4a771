//! What clients may not do, and who may not listen.

use crate::support::{Cluster, ServerKind, Slotcar, address};

on_both!(
    what_is_denied_reaches_no_node,
    reads_only_means_no_write_of_any_kind,
    what_would_hurt_a_node_needs_to_be_allowed,
);

fn what_is_denied_reaches_no_node(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let slotcar = Slotcar::start(&[
        "--cluster",
        &cluster.seeds(),
        "--deny",
        "@dangerous,config|set,@hash",
        "--allow",
        "keys,hget",
    ]);
    let mut conn = slotcar.conn();
    conn.ok(&["SET", "k", "v"]);
    for request in [
        &["FLUSHALL"][..],
        &["CONFIG", "SET", "maxmemory", "1"],
        &["CONFIG", "GET", "maxmemory"],
        &["HSET", "h", "f", "v"],
        &["CLIENT", "KILL", "ID", "1"],
    ] {
        let reply = conn.cmd(request);
        let error = reply
            .error()
            .unwrap_or_else(|| panic!("{request:?}: {reply:?}"));
        assert!(error.starts_with("NOPERM slotcar: '"), "{error}");
    }
    assert_eq!(conn.ok(&["KEYS", "*"]).list().len(), 1, "allowed");
    assert_eq!(conn.ok(&["HGET", "h", "f"]), crate::support::Value::Nil);
    conn.ok(&["MULTI"]);
    conn.ok(&["SET", "k", "new"]);
    assert!(conn.cmd(&["HSET", "{k}h", "f", "v"]).error().is_some());
    let aborted = conn.cmd(&["EXEC"]);
    assert!(
        aborted
            .error()
            .is_some_and(|error| error.starts_with("EXECABORT"))
    );
    assert_eq!(conn.ok(&["GET", "k"]).text(), "v");
}

fn reads_only_means_no_write_of_any_kind(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let writes = Slotcar::before(&cluster);
    let mut writer = writes.conn();
    for key in ["a", "b", "c"] {
        writer.ok(&["SET", key, key]);
    }
    let sha = writer
        .ok(&["SCRIPT", "LOAD", "return redis.call('SET', KEYS[1], 1)"])
        .text();
    let slotcar = Slotcar::start(&["--cluster", &cluster.seeds(), "--read-only", "on"]);
    let mut conn = slotcar.conn();
    for request in [
        &["SET", "a", "x"][..],
        &["MSET", "a", "x", "b", "x"],
        &["DEL", "a", "b"],
        &["EVAL", "return redis.call('SET', KEYS[1], 1)", "1", "a"],
        &["EVALSHA", &sha, "1", "a"],
        &["FLUSHALL"],
        &["GETDEL", "a"],
        &["BLPOP", "list", "0"],
    ] {
        let reply = conn.cmd(request);
        let error = reply
            .error()
            .unwrap_or_else(|| panic!("{request:?}: {reply:?}"));
        assert!(error.starts_with("READONLY slotcar: "), "{error}");
    }
    let values: Vec<String> = conn
        .ok(&["MGET", "a", "b", "c"])
        .list()
        .iter()
        .map(|v| v.text())
        .collect();
    assert_eq!(values, ["a", "b", "c"]);
    let reads = "return redis.call('GET', KEYS[1])";
    assert_eq!(conn.ok(&["EVAL_RO", reads, "1", "a"]).text(), "a");
}

fn what_would_hurt_a_node_needs_to_be_allowed(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let slotcar = Slotcar::before(&cluster);
    let refused = slotcar.conn().cmd(&["DEBUG", "SLEEP", "0"]);
    assert_eq!(
        refused.error(),
        Some("ERR slotcar does not pass 'debug' on: ask the node itself")
    );
    let allows = Slotcar::start(&[
        "--cluster",
        &cluster.seeds(),
        "--allow",
        "debug,restore-asking",
    ]);
    let mut conn = allows.conn();
    let reply = conn.cmd(&["DEBUG", "SLEEP", "0"]);
    // Newer servers want it to be enabled themselves: it is their answer in any case.
    let passed = reply.error().is_none_or(|error| !error.contains("slotcar"));
    assert!(passed, "{reply:?}");
    assert!(conn.cmd(&["SHUTDOWN"]).error().is_some());
}

/// Needs no server: it never comes so far.
#[test]
fn an_open_address_is_refused_unless_that_is_wanted() {
    let port = address::unused().port();
    let open = format!("0.0.0.0:{port}");
    let run = |flags: &[&str]| {
        let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_slotcar"));
        program
            .args(["--cluster", "127.0.0.1:1", "--listen", &open])
            .args(flags);
        program.env_clear().output().expect("it ends")
    };
    let output = run(&["--protected-mode", "yes"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("can be reached by others, and nothing is asked of them"),
        "{said}"
    );
}
