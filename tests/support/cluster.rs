//! A throwaway cluster. Its nodes start from a `nodes.conf` written here, as if the cluster had existed before: all
//! of them agree from the first moment, nothing has to meet, and what remains is the servers' own 2 s start delay.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::server::Server;
use super::wait::{holds_within, wait_until};
use super::{Conn, ServerKind, Value, address};

pub struct Cluster {
    kind: ServerKind,
    primaries: usize,
    dir: PathBuf,
    nodes: Vec<Node>,
}

struct Node {
    id: String,
    /// Owned slots at the start; none for a replica.
    slots: Option<(u16, u16)>,
    /// Index of the primary that a replica follows at the start.
    follows: Option<usize>,
    server: Server,
}

/// One range of `CLUSTER SLOTS`: first slot, last slot, the id of the primary, the sorted ids of its replicas.
type Served = (i64, i64, String, Vec<String>);

impl Cluster {
    /// Nodes `0..primaries` are primaries; node `primaries + i` is a replica of node `i % primaries`.
    pub fn start(kind: ServerKind, primaries: usize, replicas_per: usize) -> Cluster {
        let mut cluster = Cluster::plan(kind, primaries, replicas_per);
        cluster.bring_up();
        cluster
    }

    /// The same at addresses of this machine, one for each node.
    pub fn start_at(addrs: &[SocketAddr], kind: ServerKind, primaries: usize) -> Cluster {
        let mut cluster = Cluster::plan_at(addrs, kind, primaries);
        cluster.bring_up();
        cluster
    }

    /// Starts all nodes of a plan, and waits until all is well.
    pub fn bring_up(&mut self) {
        self.launch();
        self.wait_ok();
        if self.nodes.len() > self.primaries {
            self.show_replicas();
        }
    }

    /// Waits until `CLUSTER SLOTS` lists the replicas: it leaves out those that have replicated nothing yet.
    fn show_replicas(&self) {
        for primary in 0..self.primaries {
            self.conn(primary).ok(&["FLUSHALL"]);
        }
        wait_until("every node lists every replica", LIMIT, || {
            let mut views = (0..self.nodes.len()).map(|node| served_by(&mut self.conn(node)));
            views.all(|view| view.iter().all(|(_, _, _, replicas)| !replicas.is_empty()))
        });
    }

    /// Everything is laid out, nothing runs: see [`Cluster::launch`].
    pub fn plan(kind: ServerKind, primaries: usize, replicas_per: usize) -> Cluster {
        let total = primaries * (1 + replicas_per);
        let addrs: Vec<SocketAddr> = (0..total).map(|_| address::unused()).collect();
        Cluster::plan_at(&addrs, kind, primaries)
    }

    fn plan_at(addrs: &[SocketAddr], kind: ServerKind, primaries: usize) -> Cluster {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!(
            "cluster-{}-{}",
            std::process::id(),
            CLUSTERS.fetch_add(1, Ordering::Relaxed)
        ));
        let total = addrs.len();
        let nodes = (0..total)
            .map(|index| Node {
                id: format!("{:08x}{:032x}", std::process::id(), index + 1),
                slots: (index < primaries).then(|| share(index, primaries)),
                follows: (index >= primaries).then_some(index % primaries),
                server: Server::prepare_at(
                    addrs[index],
                    kind,
                    dir.join(index.to_string()),
                    OPTIONS,
                ),
            })
            .collect();
        let cluster = Cluster {
            kind,
            primaries,
            dir,
            nodes,
        };
        for index in 0..total {
            let file = cluster.nodes[index].server.dir().join("nodes.conf");
            std::fs::write(file, cluster.nodes_conf(index)).expect("a folder of ours");
        }
        cluster
    }

    /// Starts every node that is down, and waits for none.
    pub fn launch(&mut self) {
        for node in &mut self.nodes {
            if !node.server.is_running() {
                node.server.launch();
            }
        }
    }

    /// For the next launch of every node.
    pub fn set_option(&mut self, name: &str, value: &str) {
        for node in &mut self.nodes {
            node.server.set_option(name, value);
        }
    }

    /// Ends a node at once, as a crash does.
    pub fn kill(&mut self, node: usize) {
        self.nodes[node].server.kill();
    }

    /// Ends a node as an operator does, and waits until it is gone.
    pub fn terminate(&mut self, node: usize) {
        self.nodes[node].server.terminate();
    }

    pub fn restart(&mut self, node: usize) {
        self.nodes[node].server.launch();
        self.nodes[node].server.wait_answering();
    }

    /// Starts one more node, which knows nobody; see `replace.rs` for the rest.
    pub fn add_node(&mut self) -> usize {
        let dir = self.dir.join(self.nodes.len().to_string());
        let mut server = Server::prepare(self.kind, dir, OPTIONS);
        server.launch();
        server.wait_answering();
        let id = Conn::open(server.addr()).ok(&["CLUSTER", "MYID"]).text();
        self.nodes.push(Node {
            id,
            slots: None,
            follows: None,
            server,
        });
        self.nodes.len() - 1
    }

    /// From now on what is stored survives the end of all nodes.
    pub fn keep_data(&mut self) {
        for node in 0..self.nodes.len() {
            self.nodes[node].server.set_option("appendonly", "yes");
            if self.nodes[node].server.is_running() {
                self.conn(node).ok(&["CONFIG", "SET", "appendonly", "yes"]);
            }
        }
        wait_until("everything is on disk", LIMIT, || {
            self.running().all(|node| {
                let info = self.conn(node).ok(&["INFO", "persistence"]).text();
                info.contains("aof_rewrite_in_progress:0")
                    && info.contains("aof_rewrite_scheduled:0")
            })
        });
    }

    /// Silences a node: its sockets stay open, nothing answers.
    pub fn stop(&self, node: usize) {
        self.nodes[node].server.stop();
    }

    pub fn cont(&self, node: usize) {
        self.nodes[node].server.cont();
    }

    /// Hands the shard of `primary` over to its replica, as an operator would; returns the new primary.
    pub fn failover(&self, primary: usize) -> usize {
        let replica = self.replica_of(primary);
        self.conn(replica).ok(&["CLUSTER", "FAILOVER"]);
        wait_until("the replica takes over", LIMIT, || self.is_primary(replica));
        self.wait_ok();
        replica
    }

    /// Waits until every running node says `cluster_state:ok`, all agree on who serves what, and every running replica
    /// is in sync and listed.
    pub fn wait_ok(&self) {
        let mut views = Vec::new();
        let ok = holds_within(LIMIT, || {
            views = self.running().map(|node| self.healthy_view(node)).collect();
            views.iter().all(|view| view.is_ok() && *view == views[0])
        });
        assert!(ok, "the cluster is not ok or does not agree:\n{views:#?}");
    }

    pub fn kind(&self) -> ServerKind {
        self.kind
    }

    pub fn addr(&self, node: usize) -> SocketAddr {
        self.nodes[node].server.addr()
    }

    pub fn id(&self, node: usize) -> &str {
        &self.nodes[node].id
    }

    pub fn log(&self, node: usize) -> String {
        self.nodes[node].server.log()
    }

    pub fn conn(&self, node: usize) -> Conn {
        Conn::open(self.addr(node))
    }

    /// `host:port,host:port,…` of all nodes, as `--cluster` takes it.
    pub fn seeds(&self) -> String {
        let addrs: Vec<String> = (0..self.nodes.len())
            .map(|node| self.addr(node).to_string())
            .collect();
        addrs.join(",")
    }

    /// The nodes that own slots now, in the order of their first slot.
    pub fn primaries(&self) -> Vec<usize> {
        let mut found = Vec::new();
        for (_, _, id, _) in self.served() {
            let node = self.index_of(&id);
            if !found.contains(&node) {
                found.push(node);
            }
        }
        found
    }

    pub fn owner_of(&self, slot: u16) -> usize {
        let slot = i64::from(slot);
        let served = self.served();
        let owner = served
            .iter()
            .find(|(first, last, _, _)| (*first..=*last).contains(&slot))
            .unwrap_or_else(|| panic!("nobody serves slot {slot}: {served:?}"));
        self.index_of(&owner.2)
    }

    /// The node that serves each of the 16,384 slots now.
    pub fn owners(&self) -> Vec<usize> {
        let owners: Vec<usize> = self
            .served()
            .into_iter()
            .flat_map(|(first, last, id, _)| {
                let node = self.index_of(&id);
                (first..=last).map(move |_| node)
            })
            .collect();
        assert_eq!(owners.len(), 16_384, "not all slots are served");
        owners
    }

    pub fn slots_of(&self, primary: usize) -> Vec<u16> {
        self.served()
            .iter()
            .filter(|(_, _, id, _)| *id == self.nodes[primary].id)
            .flat_map(|(first, last, _, _)| *first..=*last)
            .map(|slot| u16::try_from(slot).expect("a slot"))
            .collect()
    }

    pub fn replica_of(&self, primary: usize) -> usize {
        let id = &self.nodes[primary].id;
        let served = self.served();
        let replica = served
            .iter()
            .find_map(|(_, _, owner, replicas)| replicas.first().filter(|_| owner == id));
        self.index_of(replica.unwrap_or_else(|| panic!("node {primary} has no replica")))
    }

    /// The largest number of bytes that a connection to `node` holds unread, as the kernel knows it (Linux).
    pub fn unread_bytes(&self, node: usize) -> usize {
        let SocketAddr::V4(addr) = self.addr(node) else {
            return 0;
        };
        let local = format!(
            "{:08X}:{:04X}",
            u32::from(*addr.ip()).swap_bytes(),
            addr.port()
        );
        let sockets = std::fs::read_to_string("/proc/net/tcp").expect("a Linux machine");
        sockets
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .filter(|socket| socket.get(1) == Some(&local.as_str()) && socket.get(3) == Some(&"01"))
            .filter_map(|socket| {
                let (_sending, receiving) = socket.get(4)?.split_once(':')?;
                usize::from_str_radix(receiving, 16).ok()
            })
            .max()
            .unwrap_or(0)
    }

    pub fn is_primary(&self, node: usize) -> bool {
        let role = self.conn(node).cmd(&["ROLE"]);
        role.list()
            .first()
            .is_some_and(|role| role.text() == "master")
    }

    /// The nodes that are not down.
    pub fn running(&self) -> impl Iterator<Item = usize> {
        (0..self.nodes.len()).filter(|node| self.nodes[*node].server.is_running())
    }

    fn served(&self) -> Vec<Served> {
        let node = self.running().next().expect("a running node");
        served_by(&mut self.conn(node))
    }

    /// What the node says of all, or why it is not fine.
    fn healthy_view(&self, node: usize) -> Result<Vec<Served>, String> {
        let mut conn = Conn::try_open(self.addr(node)).map_err(|error| error.to_string())?;
        let mut ask = |args: &[&str]| match conn.try_cmd(args) {
            Ok(reply) => reply.bytes().map_or_else(
                || Err(format!("{args:?}: {reply:?}")),
                |text| Ok(String::from_utf8_lossy(text).into_owned()),
            ),
            Err(error) => Err(format!("{args:?}: {error}")),
        };
        let (info, replication) = (ask(&["CLUSTER", "INFO"])?, ask(&["INFO", "replication"])?);
        let fine = info.contains("cluster_state:ok")
            && info.contains("cluster_slots_ok:16384")
            && !replication.contains("master_link_status:down");
        let served = served_by(&mut conn);
        let listed = replication.contains("role:master")
            || served
                .iter()
                .any(|(_, _, _, replicas)| replicas.contains(&self.nodes[node].id));
        if fine && listed {
            Ok(served)
        } else {
            let nodes = conn.ok(&["CLUSTER", "NODES"]).text();
            Err([info, replication, nodes].join("\n"))
        }
    }

    fn index_of(&self, id: &str) -> usize {
        let index = self.nodes.iter().position(|node| node.id == id);
        index.unwrap_or_else(|| panic!("no node {id}"))
    }

    fn nodes_conf(&self, myself: usize) -> String {
        let mut text = String::new();
        for (index, node) in self.nodes.iter().enumerate() {
            let owner = node.follows.unwrap_or(index);
            let addr = node.server.addr();
            let own = if index == myself { "myself," } else { "" };
            let role = if node.follows.is_some() {
                "slave"
            } else {
                "master"
            };
            let follows = node.follows.map_or("-", |primary| &self.nodes[primary].id);
            let slots = node
                .slots
                .map_or(String::new(), |(first, last)| format!(" {first}-{last}"));
            // Valkey 8.0 ends on SPUBLISH at a node whose file names no shard; Redis 7.0 knows no shards.
            let shard = match self.kind {
                ServerKind::Redis7 => String::new(),
                ServerKind::Valkey8 => format!(",,tls-port=0,shard-id={}", self.nodes[owner].id),
            };
            writeln!(
                text,
                "{} {addr}@{}{shard} {own}{role} {follows} 0 0 {} connected{slots}",
                node.id,
                addr.port() + 10_000,
                owner + 1,
            )
            .expect("writing to a String");
        }
        writeln!(text, "vars currentEpoch {} lastVoteEpoch 0", self.primaries)
            .expect("writing to a String");
        text
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.nodes.clear();
        // What is left behind lies in the target folder and harms nobody.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn served_by(conn: &mut Conn) -> Vec<Served> {
    let reply = conn.ok(&["CLUSTER", "SLOTS"]);
    let mut served: Vec<Served> = reply
        .list()
        .iter()
        .map(|range| match range.list() {
            [first, last, primary, replicas @ ..] => {
                let mut replicas: Vec<String> = replicas.iter().map(node_id).collect();
                replicas.sort();
                (first.int(), last.int(), node_id(primary), replicas)
            }
            other => panic!("not a range of CLUSTER SLOTS: {other:?}"),
        })
        .collect();
    served.sort();
    served
}

/// The third element of a node in `CLUSTER SLOTS`.
fn node_id(node: &Value) -> String {
    node.list().get(2).expect("a node id").text()
}

/// The slots of primary `index` when all are shared out evenly.
fn share(index: usize, primaries: usize) -> (u16, u16) {
    let first = |index: usize| u16::try_from(16_384 * index / primaries).expect("at most 16384");
    (first(index), first(index + 1) - 1)
}

/// A primary that gave all its slots away stays one, so that they can come back.
const OPTIONS: &[(&str, &str)] = &[
    ("cluster-enabled", "yes"),
    ("cluster-config-file", "nodes.conf"),
    ("cluster-node-timeout", "2000"),
    ("cluster-allow-replica-migration", "no"),
    // CLUSTER SLOTS leaves a replica out until it has received something, and be it a ping.
    ("repl-ping-replica-period", "1"),
];
const LIMIT: Duration = Duration::from_secs(30);
static CLUSTERS: AtomicU32 = AtomicU32::new(0);
