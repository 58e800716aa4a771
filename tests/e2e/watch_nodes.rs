//! Looking at the nodes while slotcar works: connections opened beforehand, so that looking changes no counter.

use crate::support::slotcar::fields;
use crate::support::{Cluster, Conn, Value, slot_of};

/// One open connection to each of some nodes.
pub(crate) struct Nodes(Vec<Conn>);

impl Nodes {
    pub(crate) fn primaries(cluster: &Cluster) -> Nodes {
        let primaries = cluster.primaries();
        Nodes(primaries.iter().map(|node| cluster.conn(*node)).collect())
    }

    /// A number from one section of `INFO`, at each node.
    pub(crate) fn numbers(&mut self, section: &str, field: &str) -> Vec<i64> {
        let conns = self.0.iter_mut();
        conns
            .map(|conn| {
                let info = fields(&conn.ok(&["INFO", section]).text());
                let number = info.get(field).and_then(|value| value.parse().ok());
                number.unwrap_or_else(|| panic!("no number {field} in INFO {section}: {info:?}"))
            })
            .collect()
    }

    pub(crate) fn sum(&mut self, section: &str, field: &str) -> i64 {
        self.numbers(section, field).iter().sum()
    }

    /// Connections accepted since the nodes started.
    pub(crate) fn accepted(&mut self) -> i64 {
        self.sum("stats", "total_connections_received")
    }

    /// Clients that wait in a blocking command.
    pub(crate) fn blocked(&mut self) -> i64 {
        self.sum("clients", "blocked_clients")
    }

    /// The lines of `CLIENT LIST` with these words behind it, at all nodes.
    pub(crate) fn clients(&mut self, filter: &[&str]) -> Vec<String> {
        let request = [&["CLIENT", "LIST"], filter].concat();
        let lists = self.0.iter_mut().map(|conn| conn.ok(&request).text());
        lists
            .flat_map(|list| list.lines().map(str::to_owned).collect::<Vec<_>>())
            .collect()
    }

    /// The same request at every node; none may refuse it.
    pub(crate) fn all_ok(&mut self, request: &[&str]) -> Vec<Value> {
        self.0.iter_mut().map(|conn| conn.ok(request)).collect()
    }
}

/// A key that `node` owns now, beginning with `prefix`.
pub(crate) fn key_at(cluster: &Cluster, node: usize, prefix: &str) -> String {
    let slots = cluster.slots_of(node);
    let mut keys = (0..).map(|number| format!("{prefix}:{number}"));
    keys.find(|key| slots.contains(&slot_of(key)))
        .expect("every slot has such a key")
}

/// One key for each of the primaries 0, 1 and 2.
pub(crate) fn key_at_each(cluster: &Cluster, prefix: &str) -> [String; 3] {
    [0, 1, 2].map(|node| key_at(cluster, node, prefix))
}

/// Small requests in one write, then their replies.
pub(crate) fn burst<A: AsRef<[u8]>>(conn: &mut Conn, requests: &[&[A]]) -> Vec<Value> {
    let bytes: Vec<u8> = requests
        .iter()
        .flat_map(|request| crate::support::conn::encode(request))
        .collect();
    conn.send_raw(&bytes);
    requests.iter().map(|_| conn.recv()).collect()
}
