//! Who serves which slot: immutable snapshots, parsing, differences. Pure.
//!
//! A topology is replaced whole. Nodes are known by their endpoint: that is what redirections name.

use std::fmt;
use std::sync::Arc;

/// How many hash slots a cluster has.
pub const SLOT_COUNT: usize = 16_384;

/// One of the 16,384 hash slots. `0 <= .0 < 16384`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(u16);

/// Where a node listens, as the cluster announces it: a host name or an address, and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    pub host: Arc<str>,
    pub port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}
