//! What stands behind slotcar, as the clients of a row need to know it: a cluster, or a primary that Sentinels watch.

use std::net::SocketAddr;

use crate::support::sentinels::NAME;
use crate::support::{Cluster, Conn, Watched};

pub trait Nodes {
    /// The primary of each slot.
    fn owners(&self) -> Vec<usize>;
    /// In the order of their first slots.
    fn primaries(&self) -> Vec<usize>;
    fn conn(&self, node: usize) -> Conn;
    /// Who says where a direct client may try.
    fn guide(&self) -> Guide;
}

/// Where a client that asks the nodes themselves finds the one to ask.
#[derive(Clone)]
pub enum Guide {
    /// Any of these may be it, and the others say which.
    Nodes(Vec<SocketAddr>),
    /// These say it, once they have agreed.
    Sentinels(Vec<SocketAddr>),
}

impl Guide {
    /// Whom to try, in this order.
    pub fn candidates(&self) -> Vec<SocketAddr> {
        match self {
            Guide::Nodes(nodes) => nodes.clone(),
            Guide::Sentinels(sentinels) => {
                let mut named: Vec<SocketAddr> = sentinels.iter().filter_map(named_by).collect();
                named.dedup();
                named
            }
        }
    }
}

fn named_by(sentinel: &SocketAddr) -> Option<SocketAddr> {
    let mut conn = Conn::try_open(*sentinel).ok()?;
    let reply = conn.try_cmd(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME]);
    let reply = reply.ok()?;
    let [host, port] = reply.list() else {
        return None;
    };
    format!("{}:{}", host.text(), port.text()).parse().ok()
}

impl Nodes for Cluster {
    fn owners(&self) -> Vec<usize> {
        Cluster::owners(self)
    }

    fn primaries(&self) -> Vec<usize> {
        Cluster::primaries(self)
    }

    fn conn(&self, node: usize) -> Conn {
        Cluster::conn(self, node)
    }

    fn guide(&self) -> Guide {
        Guide::Nodes(self.running().map(|node| self.addr(node)).collect())
    }
}

/// One shard, to which all keys belong.
impl Nodes for Watched {
    fn owners(&self) -> Vec<usize> {
        vec![self.primaries()[0]; SLOTS]
    }

    fn primaries(&self) -> Vec<usize> {
        vec![self.primary_at(0).expect("the Sentinels know the primary")]
    }

    fn conn(&self, node: usize) -> Conn {
        Watched::conn(self, node)
    }

    fn guide(&self) -> Guide {
        Guide::Sentinels((0..3).map(|index| self.sentinel(index)).collect())
    }
}

const SLOTS: usize = 16_384;
