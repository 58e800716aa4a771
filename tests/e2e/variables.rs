//! The blocks of variables that apps have, as they stand in their documentation: each starts slotcar without a flag.
//!
//! Names such as `redis-node-1` mean something within a mount namespace only, where `/etc/hosts` is the test's own. That needs root.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::sentinels::Passwords;
use crate::support::{Cluster, Conn, Server, ServerKind, Slotcar, Watched, address, wait_until};

on_both!(
    a_url_is_enough,
    a_host_a_port_and_a_password_are_enough,
    the_nodes_of_a_cluster_are_enough,
    sentinels_are_enough,
);

/// An address for this name in the hosts of the test, at the port that the variables say.
fn place(number: u8, port: u16) -> SocketAddr {
    let IpAddr::V4(host) = address::unused().ip() else {
        unreachable!("the tests use IPv4");
    };
    // Next to the process's own host, which keeps its port for others.
    let [a, b, c, d] = host.octets();
    SocketAddr::from((Ipv4Addr::new(a, b | 0b10_0000, c ^ number, d), port))
}

/// Starts slotcar by nothing but these variables, and asks it for something.
fn start(variables: &[&str], hosts: &[(&str, SocketAddr)]) {
    if !may_mount() {
        println!("left out: names of the test's own need root (unshare --mount)");
        return;
    }
    let addr = address::unused();
    let file = std::env::temp_dir().join(format!(
        "slotcar-hosts-{}-{}",
        std::process::id(),
        addr.port()
    ));
    let lines: String = hosts
        .iter()
        .map(|(name, at)| format!("{} {name}\n", at.ip()))
        .collect();
    std::fs::write(&file, lines).expect("a file of ours");
    let mount = format!("mount --bind {} /etc/hosts && exec \"$@\"", file.display());
    let mut words: Vec<String> = ["unshare", "--mount", "sh", "-c", &mount, "sh", "env", "-i"]
        .map(str::to_owned)
        .to_vec();
    words.push(format!("SLOTCAR_LISTEN={addr}"));
    words.extend(variables.iter().map(|&variable| variable.to_owned()));
    words.push(Slotcar::program());
    let slotcar = Slotcar::start_as::<&str>(addr, &words, &[]);
    let mut conn = slotcar.conn();
    wait_until("it serves", LIMIT, || conn.cmd(&["SET", "k", "v"]).is_ok());
    assert_eq!(conn.ok(&["GET", "k"]).text(), "v");
    std::fs::remove_file(&file).expect("a file of ours");
}

fn may_mount() -> bool {
    let tried = Command::new("unshare")
        .args(["--mount", "true"])
        .stderr(Stdio::null())
        .status();
    tried.is_ok_and(|status| status.success())
}

fn server_at(kind: ServerKind, addr: SocketAddr) -> Server {
    let dir = std::env::temp_dir().join(format!("slotcar-server-{}", addr.ip()));
    let mut server = Server::prepare_at(addr, kind, dir, &[]);
    server.launch();
    server.wait_answering();
    server
}

fn a_url_is_enough(kind: ServerKind) {
    let server = server_at(kind, place(1 + kind as u8, 6379));
    start(
        &["REDIS_URL=redis://localhost:6379"],
        &[("localhost", server.addr())],
    );
}

fn a_host_a_port_and_a_password_are_enough(kind: ServerKind) {
    let server = server_at(kind, place(3 + kind as u8, 6379));
    Conn::open(server.addr()).ok(&["CONFIG", "SET", "requirepass", "yourpassword"]);
    start(
        &[
            "REDIS_HOST=localhost",
            "REDIS_PORT=6379",
            "REDIS_PASSWORD=yourpassword",
        ],
        &[("localhost", server.addr())],
    );
}

fn the_nodes_of_a_cluster_are_enough(kind: ServerKind) {
    let addrs = [0, 1, 2].map(|node| place(8 + 4 * kind as u8 + node, 6379));
    let cluster = Cluster::start_at(&addrs, kind, 3);
    for node in 0..3 {
        cluster
            .conn(node)
            .ok(&["CONFIG", "SET", "requirepass", "yourpassword"]);
    }
    let names = ["redis-node-1", "redis-node-2", "redis-node-3"];
    let hosts: Vec<(&str, SocketAddr)> = names.into_iter().zip(addrs).collect();
    start(
        &[
            r#"REDIS_CLUSTER_NODES=["redis-node-1:6379","redis-node-2:6379","redis-node-3:6379"]"#,
            "REDIS_PASSWORD=yourpassword",
        ],
        &hosts,
    );
}

fn sentinels_are_enough(kind: ServerKind) {
    let addrs = [0, 1].map(|sentinel| place(16 + 2 * kind as u8 + sentinel, 26379));
    let passwords = Passwords {
        servers: "yourpassword",
        sentinels: "",
    };
    let _watched = Watched::start_with(kind, 1, Some(passwords), &addrs);
    start(
        &[
            r#"REDIS_SENTINEL_HOSTS=[{"host":"sentinel-1","port":26379},{"host":"sentinel-2","port":26379}]"#,
            "REDIS_MASTER_NAME=mymaster",
            "REDIS_PASSWORD=yourpassword",
        ],
        &[("sentinel-1", addrs[0]), ("sentinel-2", addrs[1])],
    );
}

const LIMIT: Duration = Duration::from_secs(10);
