//! What clients ask for, and what nodes say of themselves.

use crate::shown::{SECONDS, Samples, Shown};
use crate::support::{Cluster, Conn, Server, ServerKind};

causes! {
    real requests_of_all_kinds {
        "+slotcar_requests_total class=read outcome=ok"
        "+slotcar_requests_total class=read outcome=error"
        "+slotcar_requests_total class=read outcome=failed"
        "+slotcar_requests_total class=write outcome=ok"
        "+slotcar_requests_total class=write outcome=error"
        "+slotcar_requests_total class=write outcome=failed"
        "+slotcar_requests_total class=script outcome=ok"
        "+slotcar_requests_total class=script outcome=error"
        "+slotcar_requests_total class=script outcome=failed"
        "+slotcar_requests_total class=transaction outcome=ok"
        "+slotcar_requests_total class=transaction outcome=error"
        "+slotcar_requests_total class=transaction outcome=failed"
        "+slotcar_requests_total class=blocking outcome=ok"
        "+slotcar_requests_total class=blocking outcome=error"
        "+slotcar_requests_total class=blocking outcome=failed"
        "+slotcar_requests_total class=pubsub outcome=ok"
        "+slotcar_requests_total class=pubsub outcome=error"
        "+slotcar_requests_total class=pubsub outcome=failed"
        "+slotcar_requests_total class=connection outcome=ok"
        "+slotcar_requests_total class=connection outcome=failed"
        "+slotcar_requests_total class=server outcome=ok"
        "+slotcar_requests_total class=server outcome=error"
        "+slotcar_requests_total class=server outcome=failed"
    }
    real much_is_written_and_read {
        "+slotcar_request_duration_seconds_count stage=wait"
        "+slotcar_request_duration_seconds_count stage=node"
        "+slotcar_request_duration_seconds_count stage=slotcar"
        "+slotcar_request_duration_seconds_sum stage=node"
        "+slotcar_node_request_duration_seconds_count"
        "+slotcar_command_duration_seconds_count command=get"
        "+slotcar_bytes_total side=client direction=in"
        "+slotcar_bytes_total side=client direction=out"
        "+slotcar_bytes_total side=node direction=in"
        "+slotcar_bytes_total side=node direction=out"
        "+process_cpu_seconds_total"
        "+slotcar_node_hits_total"
        "+slotcar_node_misses_total"
        "+slotcar_node_commands_total"
        "+slotcar_node_keys"
        "+slotcar_node_memory_used_bytes"
    }
    real a_database_that_is_not_there {
        "+slotcar_requests_total class=connection outcome=error"
    }
    real a_node_has_too_little_memory {
        "+slotcar_node_memory_max_bytes"
        "+slotcar_node_evicted_keys_total"
    }
}

/// What is asked, and how it ends.
const REQUESTS: &[(&str, &str)] = &[
    ("read ok", "GET string"),
    ("read error", "GET list"),
    ("read failed", "GET"),
    ("write ok", "SET string value"),
    ("write error", "LPUSH string value"),
    ("write failed", "MSETNX a 1 b 2"),
    ("script ok", "EVAL return(1) 0"),
    ("script error", "EVAL nonsense 0"),
    ("script failed", "EVAL return(1) 2 a b"),
    ("transaction ok", "MULTI"),
    ("transaction ok", "EXEC"),
    ("transaction failed", "EXEC"),
    // They may not, see below.
    ("transaction error", "WATCH string"),
    ("pubsub error", "PUBLISH channel message"),
    ("blocking ok", "BLPOP list 0"),
    ("blocking error", "BLPOP string 0"),
    ("blocking failed", "BLMOVE a b LEFT LEFT 0"),
    ("pubsub ok", "PUBSUB NUMPAT"),
    ("pubsub failed", "PUBLISH channel"),
    ("connection ok", "PING"),
    ("connection failed", "HELLO 9"),
    ("server ok", "TIME"),
    ("server error", "CONFIG SET nonsense 1"),
    ("server failed", "SHUTDOWN"),
];

fn requests_of_all_kinds(kind: ServerKind) -> Vec<Samples> {
    let cluster = Cluster::start(kind, 3, 0);
    let shown = Shown::before(&cluster, &[]);
    let mut conn = shown.slotcar.conn();
    conn.ok(&["RPUSH", "list", "1", "2"]);
    conn.ok(&["SET", "string", "value"]);
    for node in 0..3 {
        let deny = ["ACL", "SETUSER", "default", "-watch", "-publish"];
        cluster.conn(node).ok(&deny);
    }
    let before = shown.metrics();
    for (number, (ends, request)) in (1..).zip(REQUESTS) {
        let (class, outcome) = ends.split_once(' ').expect("class and outcome");
        let count = format!("slotcar_requests_total class={class} outcome={outcome}");
        let was = shown.metrics().sum(&count);
        let words: Vec<&str> = request.split(' ').collect();
        let reply = conn.cmd(&words);
        assert_eq!(
            reply.error().is_none(),
            outcome == "ok",
            "{request}: {reply:?}"
        );
        let now = shown.metrics();
        assert_eq!(now.sum(&count), was + 1.0, "{request}: {ends}: {reply:?}");
        let all = "slotcar_requests_total";
        let counted = now.grown(&before, all);
        assert_eq!(counted, f64::from(number), "{request} is counted once");
    }
    vec![before, shown.metrics()]
}

fn much_is_written_and_read(kind: ServerKind) -> Vec<Samples> {
    let cluster = Cluster::start(kind, 3, 1);
    let more = ["--node-info-interval", "1s", "--sample-every", "10"];
    let shown = Shown::before(&cluster, &more);
    let mut conn = shown.slotcar.conn();
    let before = shown.wait_for("all nodes have said how they are", SECONDS(20), |samples| {
        samples.sum("slotcar_node_up") == 6.0 && samples.count("slotcar_node_keys") == 6
    });
    let value = "x".repeat(10_000);
    for index in 0..200 {
        let key = format!("key:{index}");
        conn.ok(&["SET", &key, &value]);
        conn.ok(&["GET", &key]);
    }
    conn.ok(&["GET", "no such key"]);
    let after = shown.metrics();
    let all = "slotcar_requests_total";
    assert_eq!(after.grown(&before, all), 401.0);
    let told = shown.wait_for("nodes tell of it", SECONDS(20), |samples| {
        let grew = |name: &str| samples.sum(name) > before.sum(name);
        let names = [
            "hits_total",
            "misses_total",
            "commands_total",
            "keys",
            "memory_used_bytes",
        ];
        names
            .iter()
            .all(|name| grew(&format!("slotcar_node_{name}")))
    });
    vec![before, after, told]
}

/// What is asked about the connection slotcar answers itself, but for what only the server knows.
fn a_database_that_is_not_there(kind: ServerKind) -> Vec<Samples> {
    let (_server, shown) = before_one_server(kind);
    let before = shown.metrics();
    let reply = shown.slotcar.conn().cmd(&["SELECT", "99"]);
    assert!(reply.error().is_some(), "{reply:?}");
    vec![before, shown.metrics()]
}

fn a_node_has_too_little_memory(kind: ServerKind) -> Vec<Samples> {
    let (server, shown) = before_one_server(kind);
    let before = shown.wait_for("the server has said how it is", SECONDS(20), |samples| {
        samples.count("slotcar_node_evicted_keys_total") == 1
    });
    let mut node = Conn::open(server.addr());
    node.ok(&["CONFIG", "SET", "maxmemory-policy", "allkeys-random"]);
    node.ok(&["CONFIG", "SET", "maxmemory", "8mb"]);
    let mut conn = shown.slotcar.conn();
    for index in 0..20 {
        conn.ok(&["SET", &format!("key:{index}"), &"x".repeat(1 << 20)]);
    }
    let after = shown.wait_for("the server tells of it", SECONDS(20), |samples| {
        samples.sum("slotcar_node_evicted_keys_total") > 0.0
    });
    assert_eq!(
        after.sum("slotcar_node_memory_max_bytes"),
        f64::from(8 << 20)
    );
    vec![before, after]
}

fn before_one_server(kind: ServerKind) -> (Server, Shown) {
    let server = Server::start_plain(kind);
    let url = format!("redis://{}", server.addr());
    let shown = Shown::start(&["--upstream", &url, "--node-info-interval", "1s"]);
    (server, shown)
}
