//! Users of the nodes: whom a client logs in as, its requests are executed as, and the nodes' ACL decides.

use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use crate::support::conn::encode;

use crate::support::slotcar::fields;
use crate::support::{
    Cluster, Conn, Random, Server, ServerKind, Slotcar, Value, slot_of, wait_until,
};

on_both!(
    the_nodes_say_who_is_served,
    no_user_is_taken_for_another,
    a_channel_is_heard_by_those_who_may,
    who_has_said_nothing_is_the_default_user,
    users_know_nothing_of_each_other,
    a_script_leads_nobody_astray,
);

/// Primaries with the users `alice` and `bob`, who may do what they want with what is theirs, and a password for everybody else.
struct Guarded {
    // Ends first.
    slotcar: Slotcar,
    password: PathBuf,
    nodes: Vec<Conn>,
    cluster: Cluster,
}

impl Guarded {
    fn start(kind: ServerKind) -> Guarded {
        Guarded::start_with(kind, &[])
    }

    fn start_with(kind: ServerKind, more: &[&str]) -> Guarded {
        let cluster = Cluster::start(kind, 3, 0);
        let mut nodes: Vec<Conn> = (0..3).map(|node| cluster.conn(node)).collect();
        for node in &mut nodes {
            node.ok(&[
                "ACL", "SETUSER", "alice", "on", ">a", "~alice:*", "&alice:*", "+@all",
            ]);
            let bob = "on >b ~bob:* &bob:* +@all -eval -client|setname";
            let words: Vec<&str> = "ACL SETUSER bob".split(' ').chain(bob.split(' ')).collect();
            node.ok(&words);
            node.ok(&["ACL", "SETUSER", "default", "resetpass", ">own"]);
            node.ok(&["CONFIG", "SET", "acllog-max-len", "100000"]);
        }
        let name = format!("slotcar-own-{}", cluster.addr(0).port());
        let password = std::env::temp_dir().join(name);
        std::fs::write(&password, "own").expect("a file of ours");
        let (seeds, path) = (cluster.seeds(), password.display().to_string());
        let own = [
            "--cluster",
            &seeds,
            "--password-file",
            &path,
            "--auth-pass-through",
            "on",
        ];
        let slotcar = Slotcar::start_listening(&[&own[..], more].concat());
        wait_until("slotcar knows the cluster", LIMIT, || {
            slotcar.log().contains("topology learned")
        });
        Guarded {
            slotcar,
            password,
            nodes,
            cluster,
        }
    }

    /// A client that has logged in.
    fn conn(&self, user: &str) -> Conn {
        let mut conn = self.slotcar.conn();
        conn.ok(&["AUTH", user, &user[..1]]);
        conn
    }

    /// User and object of what was denied, by the nodes' own account, the same entry as often as it was counted.
    fn denials(&mut self) -> Vec<(String, String)> {
        let mut denials = Vec::new();
        for node in &mut self.nodes {
            for entry in node.ok(&["ACL", "LOG", "100000"]).list() {
                let fields = entry.entries();
                let field = |name: &str| {
                    let mut fields = fields.iter();
                    let found = fields.find(|(field, _)| field.text() == name);
                    found.expect("every entry has it").1.clone()
                };
                let count = field("count").int();
                let (user, object) = (field("username").text(), field("object").text());
                for _ in 0..count {
                    denials.push((user.clone(), object.clone()));
                }
            }
        }
        denials
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // It lies in the folder for such things.
        let _ = std::fs::remove_file(&self.password);
    }
}

fn the_nodes_say_who_is_served(kind: ServerKind) {
    let guarded = Guarded::start(kind);
    let (mut plain, mut conn) = (guarded.cluster.conn(0), guarded.slotcar.conn());
    // Word by word as at a node.
    for request in [
        &["GET", "k"][..],
        &["AUTH", "wrong"],
        &["AUTH", "alice", "wrong"],
        &["AUTH", "nobody", "a"],
        &["AUTH", "a", "b", "c"],
        &["HELLO", "2", "AUTH", "alice", "wrong"],
        &["HELLO", "9", "AUTH", "alice", "a"],
        &["GET", "k"],
        &["AUTH", "own"],
        &["ACL", "WHOAMI"],
        &["AUTH", "bob", "b"],
        &["ACL", "WHOAMI"],
        &["AUTH", "alice", "wrong"],
        &["ACL", "WHOAMI"],
        &["GET", "alice:1"],
        &["EVAL", "return 1", "0"],
        &["AUTH", "alice", "a"],
        &["GET", "bob:1"],
        &["EVAL", "return 1", "0"],
        &["RESET"],
        &["ACL", "WHOAMI"],
    ] {
        assert_eq!(conn.cmd(request), plain.cmd(request), "{request:?}");
    }
    let hello = conn.ok(&["HELLO", "3", "AUTH", "bob", "b", "SETNAME", "of-bob"]);
    assert!(format!("{hello:?}").contains("standalone"), "{hello:?}");
    assert_eq!(conn.ok(&["ACL", "WHOAMI"]).text(), "bob");
    assert_eq!(conn.ok(&["CLIENT", "GETNAME"]).text(), "of-bob");
    conn.ok(&["SET", "bob:1", "v"]);
    // What is pipelined behind a change of users belongs to the new one.
    let mut conn = guarded.slotcar.conn();
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let lines = [
        "AUTH bob b",
        "GET bob:1",
        "AUTH alice a",
        "GET bob:1",
        "SET alice:1 v",
        "AUTH bob wrong",
        "GET alice:1",
        "HELLO 3 AUTH bob b",
        "GET alice:1",
        "GET bob:1",
    ];
    let replies = conn.pipeline(&lines.map(words));
    let is_error = |at: usize| replies[at].error().is_some();
    let errors: Vec<usize> = (0..lines.len()).filter(|&at| is_error(at)).collect();
    assert_eq!(errors, [3, 5, 8], "{replies:?}");
    assert!(guarded_count(&guarded.slotcar, "logins_refused") >= 5);
}

/// Of the process, asked as somebody who may.
fn guarded_count(slotcar: &Slotcar, name: &str) -> u64 {
    let mut conn = slotcar.conn();
    conn.ok(&["AUTH", "alice", "a"]);
    let info = fields(&conn.ok(&["INFO", "slotcar"]).text());
    info[name].parse().expect("a number")
}

/// Thirty sessions, each alternating between what is its own and what is not, all at once and over all nodes.
fn no_user_is_taken_for_another(kind: ServerKind) {
    let mut guarded = Guarded::start(kind);
    let mut random = Random::new(7);
    let users = ["alice", "bob"];
    let mut conns: Vec<(usize, Conn)> = (0..30)
        .map(|n| (n % 2, guarded.conn(users[n % 2])))
        .collect();
    let (mut done, mut denied) = (0, [0, 0]);
    for round in 0..100 {
        let mut expected = Vec::new();
        for (user, conn) in &mut conns {
            let mut bytes = Vec::new();
            let mut allowed = Vec::new();
            for _ in 0..10 {
                let is_own = random.below(2) == 0;
                let owner = users[if is_own { *user } else { 1 - *user }];
                let key = format!("{owner}:{}", random.below(100));
                let other = format!("{owner}:{}", random.below(100));
                let (request, replies): (Vec<Vec<&str>>, usize) = match random.below(7) {
                    0 => (vec![vec!["SET", &key, owner]], 1),
                    1 => (vec![vec!["MGET", &key, &other]], 1),
                    2 => (vec![vec!["APPEND", &key, ""]], 1),
                    3 => (vec![vec!["MULTI"], vec!["GET", &key], vec!["EXEC"]], 3),
                    4 => (vec![vec!["WATCH", &key], vec!["UNWATCH"]], 2),
                    5 => (vec![vec!["DEL", &key, &other]], 1),
                    _ => (vec![vec!["GET", &key]], 1),
                };
                request.iter().for_each(|words| bytes.extend(encode(words)));
                allowed.push((is_own, replies, key.clone()));
            }
            conn.send_raw(&bytes);
            expected.push(allowed);
        }
        for ((user, conn), allowed) in conns.iter_mut().zip(expected) {
            for (is_own, replies, key) in allowed {
                let replies: Vec<Value> = (0..replies).map(|_| conn.recv()).collect();
                let text = format!("{replies:?}");
                let is_denied = text.contains("NOPERM");
                assert_eq!(
                    !is_denied, is_own,
                    "round {round}: {}: {key}: {text}",
                    users[*user]
                );
                // A value says whose it is.
                assert!(
                    !text.contains(&format!("\"{}\"", users[1 - *user])),
                    "{text}"
                );
                done += 1;
                denied[*user] += u64::from(is_denied);
            }
        }
    }
    let denials = guarded.denials();
    let of = |user: &str| denials.iter().filter(|(who, _)| who == user).count();
    println!(
        "{done} requests of 30 sessions, {denied:?} denied; the nodes' ACL LOG: {} of alice, {} of bob, {} in all",
        of("alice"),
        of("bob"),
        denials.len()
    );
    assert!(denied.iter().all(|&count| count > 1000), "{denied:?}");
    // What a link says of itself is denied to bob, and serves him all the same.
    let denials = denials
        .iter()
        .filter(|(_, object)| object != "client|setname");
    for (user, object) in denials {
        let theirs = object.starts_with("alice:") != (user == "alice");
        assert!(theirs && users.contains(&user.as_str()), "{user}: {object}");
    }
    assert!(of("alice") as u64 >= denied[0] && of("bob") as u64 >= denied[1]);
    // As many links as users, protocols and nodes: nobody's are his own but those that are leased.
    let links = guarded_count(&guarded.slotcar, "links");
    assert!(links <= 3 * 2 * 17, "{links}");
}

fn a_channel_is_heard_by_those_who_may(kind: ServerKind) {
    let guarded = Guarded::start(kind);
    let (mut alice, mut bob) = (guarded.conn("alice"), guarded.conn("bob"));
    let mut publisher = guarded.conn("alice");
    for verb in ["SUBSCRIBE", "SSUBSCRIBE"] {
        let refused = bob.cmd(&[verb, "alice:news"]);
        let text = refused.error().unwrap_or_default().to_owned();
        assert!(text.starts_with("NOPERM"), "{verb}: {refused:?}");
    }
    assert!(bob.cmd(&["PSUBSCRIBE", "*"]).error().is_some());
    alice.ok(&["SUBSCRIBE", "alice:news"]);
    bob.ok(&["PSUBSCRIBE", "bob:*"]);
    assert_eq!(
        publisher.ok(&["PUBLISH", "alice:news", "hello"]),
        Value::Int(1)
    );
    assert!(
        publisher
            .cmd(&["PUBLISH", "bob:news", "x"])
            .error()
            .is_some()
    );
    assert_eq!(alice.recv().list()[2].text(), "hello");
    let mut other = guarded.conn("bob");
    assert_eq!(other.ok(&["PUBLISH", "bob:news", "hi"]), Value::Int(1));
    assert_eq!(bob.recv().list()[3].text(), "hi");
    // The same name for both: each hears it on his own account.
    let mut nodes: Vec<Conn> = (0..3).map(|node| guarded.cluster.conn(node)).collect();
    for node in &mut nodes {
        node.ok(&["AUTH", "own"]);
        node.ok(&["ACL", "SETUSER", "bob", "&alice:*"]);
    }
    let mut bobs: Vec<Conn> = (0..3).map(|_| guarded.conn("bob")).collect();
    for bob in &mut bobs {
        bob.ok(&["SUBSCRIBE", "alice:news"]);
    }
    assert_eq!(
        publisher.ok(&["PUBLISH", "alice:news", "all"]),
        Value::Int(4)
    );
    for conn in bobs.iter_mut().chain([&mut alice]) {
        assert_eq!(conn.recv().list()[2].text(), "all");
    }
    let numsub = publisher.ok(&["PUBSUB", "NUMSUB", "alice:news"]);
    assert_eq!(numsub.list()[1], Value::Int(4), "{numsub:?}");
}

fn who_has_said_nothing_is_the_default_user(kind: ServerKind) {
    let server = Server::start_plain(kind);
    let mut plain = Conn::open(server.addr());
    plain.ok(&["ACL", "SETUSER", "app", "on", ">p", "~*", "&*", "+@all"]);
    let url = format!("redis://{}", server.addr());
    let slotcar = Slotcar::start(&["--upstream", &url, "--auth-pass-through", "on"]);
    let mut conn = slotcar.conn();
    conn.ok(&["SET", "k", "v"]);
    assert_eq!(conn.ok(&["ACL", "WHOAMI"]).text(), "default");
    conn.ok(&["SELECT", "3"]);
    conn.ok(&["AUTH", "app", "p"]);
    assert_eq!(conn.ok(&["ACL", "WHOAMI"]).text(), "app");
    assert!(conn.ok(&["CLIENT", "INFO"]).text().contains(" db=3 "));
    // Who was let in stays so, and who comes later has to say who he is.
    let mut early = slotcar.conn();
    early.ok(&["GET", "k"]);
    plain.ok(&["CONFIG", "SET", "requirepass", "own"]);
    early.ok(&["GET", "k"]);
    // New links are asked for a password.
    plain.ok(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    let mut late = slotcar.conn();
    wait_until("the default user is not let in", LIMIT, || {
        late.cmd(&["GET", "k"]).error() == Some("NOAUTH Authentication required.")
    });
    assert_eq!(
        late.cmd(&["SUBSCRIBE", "news"]).error(),
        Some("NOAUTH Authentication required.")
    );
    late.ok(&["AUTH", "own"]);
    assert_eq!(late.ok(&["GET", "k"]).text(), "v");
    conn.ok(&["SET", "k", "w"]);
}

fn users_know_nothing_of_each_other(kind: ServerKind) {
    let guarded = Guarded::start(kind);
    let (mut alice, mut bob) = (guarded.conn("alice"), guarded.conn("bob"));
    let mut waiting = guarded.conn("bob");
    waiting.send_raw(&encode(&["BLPOP", "bob:none", "0"]));
    let id = |conn: &mut Conn| conn.ok(&["CLIENT", "ID"]).int().to_string();
    let of_bob = id(&mut bob);
    let list = alice.ok(&["CLIENT", "LIST"]).text();
    assert!(
        list.lines().all(|line| line.contains(" user=alice ")),
        "{list}"
    );
    assert_eq!(bob.ok(&["CLIENT", "LIST"]).text().lines().count(), 2);
    let waits = bob.ok(&["CLIENT", "LIST"]).text();
    let waits = waits.lines().find(|line| line.contains("cmd=blpop"));
    let waits = waits.and_then(|line| line.strip_prefix("id=")?.split(' ').next());
    let waits = waits.expect("bob sees his own").to_owned();
    assert_eq!(alice.ok(&["CLIENT", "KILL", "ID", &of_bob]), Value::Int(0));
    assert_eq!(alice.ok(&["CLIENT", "UNBLOCK", &waits]), Value::Int(0));
    for refused in [&["CLIENT", "PAUSE", "100"][..], &["CLIENT", "UNPAUSE"]] {
        let reply = alice.cmd(refused);
        assert!(
            reply.error().is_some_and(|text| text.starts_with("NOPERM")),
            "{reply:?}"
        );
    }
    assert!(
        alice
            .cmd(&["CLIENT", "TRACKING", "ON", "REDIRECT", &of_bob])
            .error()
            .is_some()
    );
    assert_eq!(bob.ok(&["CLIENT", "UNBLOCK", &waits]), Value::Int(1));
    assert_eq!(waiting.recv(), Value::Nil);
    assert_eq!(
        bob.ok(&["CLIENT", "KILL", "ID", &id(&mut waiting)]),
        Value::Int(1)
    );
}

/// A script may answer what looks like a redirection: nobody follows it to a node that the cluster does not know, and no user's password gets there.
fn a_script_leads_nobody_astray(kind: ServerKind) {
    let mut guarded = Guarded::start_with(kind, &["--failover-hold", "1s"]);
    guarded.slotcar.expect_log(" WARN ");
    let trap = TcpListener::bind("127.0.0.1:0").expect("an address of ours");
    trap.set_nonblocking(true).expect("a socket of ours");
    let at = trap.local_addr().expect("an address of ours");
    let (mut alice, mut bob) = (guarded.conn("alice"), guarded.conn("bob"));
    for slot in [0, slot_of("alice:1")] {
        let script = format!("return redis.error_reply('MOVED {slot} {at}')");
        let reply = alice.cmd(&["EVAL", &script, "1", "alice:1"]);
        assert!(reply.error().is_some(), "{reply:?}");
        bob.ok(&["SET", "bob:1", "v"]);
        assert!(trap.accept().is_err(), "somebody followed");
    }
    let mut nodes: Vec<Conn> = (0..3).map(|_| guarded.conn("alice")).collect();
    for (n, conn) in nodes.iter_mut().enumerate() {
        conn.ok(&["SET", &format!("alice:{n}"), "v"]);
    }
    assert!(trap.accept().is_err(), "somebody followed later");
    let server = Server::start_plain(kind);
    let url = format!("redis://{}", server.addr());
    let slotcar = Slotcar::start(&["--upstream", &url]);
    let script = format!("return redis.error_reply('MOVED 0 {at}')");
    let reply = slotcar.conn().cmd(&["EVAL", &script, "0"]);
    assert!(
        reply.error().is_some_and(|text| text.contains("MOVED 0")),
        "{reply:?}"
    );
    assert!(trap.accept().is_err(), "one server redirects nobody");
}

const LIMIT: Duration = Duration::from_secs(10);
