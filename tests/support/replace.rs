//! Nodes that join a running cluster and nodes that leave it for good, as when all machines are exchanged.
//! <https://redis.io/docs/latest/operate/oss_and_stack/management/scaling/#add-a-new-node-as-a-replica>

use std::time::Duration;

use super::{Cluster, wait_until};

impl Cluster {
    /// Starts `count` nodes that know everybody and are known to everybody; they serve nothing yet.
    pub fn add_nodes(&mut self, count: usize) -> Vec<usize> {
        let known: Vec<usize> = self.running().collect();
        let new: Vec<usize> = (0..count).map(|_| self.add_node()).collect();
        let mut first = self.conn(known[0]);
        for node in &new {
            let addr = self.addr(*node);
            let (ip, port) = (addr.ip().to_string(), addr.port().to_string());
            first.ok(&["CLUSTER", "MEET", &ip, &port]);
        }
        let running: Vec<usize> = self.running().collect();
        wait_until("everybody knows everybody", LIMIT, || {
            running.iter().all(|node| {
                let nodes = self.conn(*node).ok(&["CLUSTER", "NODES"]).text();
                // A node that is being met has a made-up id, and one that is not met yet has none.
                running.iter().all(|other| nodes.contains(self.id(*other)))
                    && !nodes.contains("handshake")
            })
        });
        new
    }

    /// Makes `node` a replica of `primary` and waits until it has everything and all nodes know.
    pub fn replicate(&self, node: usize, primary: usize) {
        self.conn(node)
            .ok(&["CLUSTER", "REPLICATE", self.id(primary)]);
        wait_until("the new replica has everything", LIMIT, || {
            let info = self.conn(node).ok(&["INFO", "replication"]).text();
            info.contains("role:slave") && info.contains("master_link_status:up")
        });
        self.wait_ok();
    }

    /// Hands the shard of `primary` to that replica of it, as an operator would.
    pub fn failover_to(&self, replica: usize) {
        self.conn(replica).ok(&["CLUSTER", "FAILOVER"]);
        wait_until("the replica takes over", LIMIT, || self.is_primary(replica));
    }

    /// A replica that nobody needs any more: the others forget it, then it is shut down.
    pub fn remove_replica(&mut self, node: usize) {
        let others: Vec<usize> = self.running().filter(|other| *other != node).collect();
        for other in others {
            // A replica does not forget its primary; it follows another one as soon as it has heard of it.
            wait_until("a node is forgotten", LIMIT, || {
                let reply = self.conn(other).cmd(&["CLUSTER", "FORGET", self.id(node)]);
                reply.is_ok() || reply.error().is_some_and(|e| e.contains("Unknown node"))
            });
        }
        self.terminate(node);
    }
}

const LIMIT: Duration = Duration::from_secs(20);
