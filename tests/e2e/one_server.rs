//! One server behind: nothing of a cluster is left, and its databases are there.

use std::time::Duration;

use crate::support::{Conn, Server, ServerKind, Slotcar, wait_until};

on_both!(
    keys_of_all_slots_work_together,
    databases_are_the_servers_own,
    a_database_that_is_not_there_is_told_in_the_servers_words,
    what_waits_and_watches_does_so_in_its_database,
    select_stands_wherever_a_server_takes_it,
    a_url_says_user_password_and_database,
    a_unix_socket_is_as_good,
    a_restart_is_a_pause,
    a_replica_is_served_and_its_refusals_are_told,
);

fn before(server: &Server) -> Slotcar {
    Slotcar::start(&["--upstream", &format!("redis://{}", server.addr())])
}

fn keys_of_all_slots_work_together(kind: ServerKind) {
    let server = Server::start_plain(kind);
    let slotcar = before(&server);
    let mut conn = slotcar.conn();
    assert_eq!(conn.ok(&["MSETNX", "a", "1", "b", "2"]).int(), 1);
    assert_eq!(conn.ok(&["SADD", "s1", "x", "y"]).int(), 2);
    assert_eq!(conn.ok(&["SUNIONSTORE", "s2", "s1", "s3"]).int(), 2);
    conn.ok(&["RENAME", "s2", "another"]);
    let script = "return redis.call('GET', KEYS[1]) .. redis.call('GET', 'b')";
    assert_eq!(conn.ok(&["EVAL", script, "1", "a"]).text(), "12");
    conn.ok(&["WATCH", "a", "b", "another"]);
    conn.ok(&["MULTI"]);
    conn.ok(&["INCR", "a"]);
    conn.ok(&["INCR", "b"]);
    conn.ok(&["DBSIZE"]);
    let replies = conn.ok(&["EXEC"]);
    let numbers: Vec<i64> = replies.list().iter().map(|reply| reply.int()).collect();
    assert_eq!(numbers, [2, 3, 4]);
    let mut other = slotcar.conn();
    other.send_raw(&crate::support::conn::encode(&[
        "BLPOP", "q1", "q2", "q3", "0",
    ]));
    wait_until("somebody waits", LIMIT, || {
        Conn::open(server.addr())
            .ok(&["INFO", "clients"])
            .text()
            .contains("blocked_clients:1")
    });
    conn.ok(&["RPUSH", "q3", "job"]);
    assert_eq!(other.recv().list()[1].text(), "job");
    assert_eq!(
        conn.ok(&["OBJECT", "FREQ", "none"]),
        crate::support::Value::Nil
    );
}

fn databases_are_the_servers_own(kind: ServerKind) {
    let server = Server::start_plain(kind);
    let slotcar = before(&server);
    let (mut zero, mut five) = (slotcar.conn(), slotcar.conn());
    zero.ok(&["SET", "k", "zero"]);
    // One write: what comes behind SELECT is in the other database.
    let request = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let replies = five.pipeline(&[
        request(&["SET", "first", "1"]),
        request(&["SELECT", "5"]),
        request(&["SET", "k", "five"]),
        request(&["GET", "k"]),
        request(&["DBSIZE"]),
        request(&["SELECT", "0"]),
        request(&["GET", "k"]),
        request(&["SELECT", "5"]),
    ]);
    assert_eq!(replies[3].text(), "five");
    assert_eq!(replies[4].int(), 1);
    assert_eq!(replies[6].text(), "zero");
    let mut plain = Conn::open(server.addr());
    plain.ok(&["SELECT", "5"]);
    assert_eq!(plain.ok(&["GET", "k"]).text(), "five");
    assert!(five.ok(&["CLIENT", "INFO"]).text().contains(" db=5 "));
    five.ok(&["SWAPDB", "0", "5"]);
    assert_eq!(five.ok(&["GET", "k"]).text(), "zero");
    assert_eq!(five.ok(&["MOVE", "first", "9"]).int(), 1);
    five.ok(&["FLUSHDB"]);
    assert_eq!(
        zero.ok(&["GET", "k"]).text(),
        "five",
        "the other one is left alone"
    );
    five.ok(&["RESET"]);
    assert_eq!(five.ok(&["GET", "k"]).text(), "five");
    let mut third = Conn::open_resp3(slotcar.addr());
    third.ok(&["SELECT", "9"]);
    assert_eq!(third.ok(&["GET", "first"]).text(), "1");
    assert_eq!(third.ok(&["SCAN", "0"]).list()[1].list().len(), 1);
}

fn a_database_that_is_not_there_is_told_in_the_servers_words(kind: ServerKind) {
    let server = Server::start_plain(kind);
    let slotcar = before(&server);
    let (mut conn, mut plain) = (slotcar.conn(), Conn::open(server.addr()));
    for number in [
        "16",
        "99999",
        "-1",
        "nope",
        "99999999999999999999",
        "2147483648",
        "",
    ] {
        let request = ["SELECT", number];
        assert_eq!(conn.cmd(&request), plain.cmd(&request), "{number}");
        conn.ok(&["SET", "k", number]);
        assert_eq!(
            plain.ok(&["GET", "k"]).text(),
            number,
            "where it was before"
        );
    }
    conn.ok(&["SELECT", "3"]);
    assert!(conn.cmd(&["SELECT", "77"]).error().is_some());
    conn.ok(&["SET", "in three", "v"]);
    plain.ok(&["SELECT", "3"]);
    assert_eq!(plain.ok(&["DBSIZE"]).int(), 1);
}

fn what_waits_and_watches_does_so_in_its_database(kind: ServerKind) {
    let server = Server::start_plain(kind);
    let slotcar = before(&server);
    let (mut two, mut other) = (slotcar.conn(), slotcar.conn());
    two.ok(&["SELECT", "2"]);
    two.send_raw(&crate::support::conn::encode(&["BRPOP", "q", "0"]));
    wait_until("somebody waits", LIMIT, || {
        Conn::open(server.addr())
            .ok(&["INFO", "clients"])
            .text()
            .contains("blocked_clients:1")
    });
    other.ok(&["LPUSH", "q", "in zero"]);
    other.ok(&["SELECT", "2"]);
    other.ok(&["LPUSH", "q", "in two"]);
    assert_eq!(two.recv().list()[1].text(), "in two");

    two.ok(&["WATCH", "w"]);
    other.ok(&["SET", "w", "changed"]);
    two.ok(&["MULTI"]);
    two.ok(&["SET", "w", "mine"]);
    assert_eq!(two.ok(&["EXEC"]), crate::support::Value::Nil);
    two.ok(&["MULTI"]);
    two.ok(&["GET", "w"]);
    assert_eq!(two.ok(&["EXEC"]).list()[0].text(), "changed");
}

fn select_stands_wherever_a_server_takes_it(kind: ServerKind) {
    let (server, other) = (Server::start_plain(kind), Server::start_plain(kind));
    let slotcar = before(&server);
    let (mut conn, mut plain) = (slotcar.conn(), Conn::open(other.addr()));
    let mut bystander = slotcar.conn();
    let script: &[&[&str]] = &[
        &["FLUSHALL"],
        &["MULTI"],
        &["SET", "k", "zero"],
        &["SELECT", "1"],
        &["SET", "k", "one"],
        &["CLIENT", "GETNAME"],
        &["SELECT", "99"],
        &["DBSIZE"],
        &["EXEC"],
        &["GET", "k"],
        &["WATCH", "k"],
        &["SELECT", "2"],
        &["WATCH", "w"],
        &["MULTI"],
        &["SET", "k", "two"],
        &["SELECT", "3"],
        &["SET", "k", "three"],
        &["EXEC"],
        &["GET", "k"],
        &["WATCH", "k"],
        &["SELECT", "0"],
        &["SELECT", "3"],
        &["SET", "k", "changed"],
        &["SELECT", "0"],
        &["MULTI"],
        &["SET", "k", "not executed"],
        &["SELECT", "5"],
        &["EXEC"],
        &["GET", "k"],
        &["MULTI"],
        &["SELECT", "4"],
        &["DISCARD"],
        &["GET", "k"],
        &["INFO", "keyspace"],
    ];
    for request in script {
        assert_eq!(conn.cmd(request), plain.cmd(request), "{request:?}");
        if request.first() == Some(&"FLUSHALL") {
            bystander.ok(&["SET", "mine", "v"]);
            plain.ok(&["SET", "mine", "v"]);
        }
        assert_eq!(bystander.ok(&["GET", "mine"]).text(), "v", "{request:?}");
    }
}

fn a_url_says_user_password_and_database(kind: ServerKind) {
    let server = Server::start_plain(kind);
    let mut plain = Conn::open(server.addr());
    plain.ok(&[
        "ACL",
        "SETUSER",
        "app",
        "on",
        ">p@ss/word",
        "~*",
        "&*",
        "+@all",
    ]);
    plain.ok(&["ACL", "SETUSER", "default", "off"]);
    // No flag: everybody can see those.
    let url = format!(
        "SLOTCAR_UPSTREAM=redis://app:p%40ss%2Fword@{}/7",
        server.addr()
    );
    let mut slotcar = Slotcar::start_by::<&str>(&["env", &url], &[]);
    slotcar.wait_serving();
    let mut conn = slotcar.conn();
    conn.ok(&["SET", "k", "v"]);
    assert!(conn.ok(&["CLIENT", "INFO"]).text().contains(" db=7 "));
    conn.ok(&["RESET"]);
    assert_eq!(conn.ok(&["GET", "k"]).text(), "v");
    conn.ok(&["SELECT", "0"]);
    assert_eq!(conn.ok(&["DBSIZE"]).int(), 0);
    assert!(!slotcar.log().contains("p@ss"), "{}", slotcar.log());
}

fn a_unix_socket_is_as_good(kind: ServerKind) {
    let folder = std::env::temp_dir().join(format!("slotcar-{}-{kind:?}", std::process::id()));
    let socket = folder.join("server.sock").display().to_string();
    let mut server = Server::prepare(kind, folder.clone(), &[("unixsocket", &socket)]);
    server.launch();
    server.wait_answering();
    let mut slotcar = Slotcar::start(&["--upstream", &format!("unix:{socket}?db=1")]);
    let mut conn = slotcar.conn();
    for round in 0..100 {
        conn.ok(&["SET", &format!("k:{round}"), &"x".repeat(round * 1000)]);
    }
    assert_eq!(conn.ok(&["STRLEN", "k:99"]).int(), 99_000);
    slotcar.expect_log("unix:");
    server.kill();
    server.launch();
    server.wait_answering();
    assert_eq!(conn.ok(&["DBSIZE"]).int(), 0);
}

fn a_restart_is_a_pause(kind: ServerKind) {
    let mut server = Server::start_plain(kind);
    let addr = server.addr().to_string();
    let mut slotcar = before(&server);
    slotcar.expect_log(&addr);
    let mut conn = slotcar.conn();
    conn.ok(&["SELECT", "4"]);
    conn.ok(&["SET", "k", "before"]);
    server.kill();
    let request = crate::support::conn::encode(&["SET", "k", "after"]);
    conn.send_raw(&request);
    server.launch();
    server.wait_answering();
    assert!(conn.recv().is_ok(), "it was held");
    assert_eq!(conn.ok(&["GET", "k"]).text(), "after");
    let mut plain = Conn::open(server.addr());
    plain.ok(&["SELECT", "4"]);
    assert_eq!(plain.ok(&["GET", "k"]).text(), "after", "in its database");

    server.stop();
    conn.send_raw(&crate::support::conn::encode(&["GET", "k"]));
    std::thread::sleep(Duration::from_secs(2));
    server.cont();
    assert_eq!(conn.recv().text(), "after", "silence is waited for");
}

fn a_replica_is_served_and_its_refusals_are_told(kind: ServerKind) {
    let primary = Server::start_plain(kind);
    let replica = Server::start_plain(kind);
    let (ip, port) = (
        primary.addr().ip().to_string(),
        primary.addr().port().to_string(),
    );
    let mut plain = Conn::open(replica.addr());
    Conn::open(primary.addr()).ok(&["SET", "k", "v"]);
    plain.ok(&["REPLICAOF", &ip, &port]);
    wait_until("it has the data", LIMIT, || {
        plain.cmd(&["GET", "k"]).bytes() == Some(b"v")
    });
    let url = format!("redis://{}", replica.addr());
    let mut slotcar = Slotcar::start(&["--upstream", &url, "--failover-hold", "1s"]);
    let mut conn = slotcar.conn();
    assert_eq!(conn.ok(&["GET", "k"]).text(), "v");
    slotcar.expect_log("held");
    let reply = conn.cmd(&["SET", "k", "other"]);
    let error = reply.error().expect("nobody may write there");
    assert!(
        error.contains("no primary") && !error.contains("slot "),
        "{error}"
    );
    assert_eq!(conn.ok(&["GET", "k"]).text(), "v");
    // It is promoted: what is held goes on.
    conn.send_raw(&crate::support::conn::encode(&["SET", "k", "new"]));
    plain.ok(&["REPLICAOF", "NO", "ONE"]);
    assert!(conn.recv().is_ok());
    assert_eq!(plain.ok(&["GET", "k"]).text(), "new");
}

const LIMIT: Duration = Duration::from_secs(10);
