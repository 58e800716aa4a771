//! Addresses that nobody else uses.
//!
//! The host part is made from the process id, the port from a counter. Ephemeral ports of outgoing connections are
//! taken on 127.0.0.1, so a node that was killed finds its port free when it is started again.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};

/// An address for one listener. Cluster nodes use the port 10,000 above for their bus.
pub fn unused() -> SocketAddr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let host = Ipv4Addr::new(127, 64 | high, middle, low);
    let port = NEXT_PORT.fetch_add(1, Ordering::Relaxed);
    assert!(port < FIRST_PORT + 10_000, "out of test ports");
    SocketAddr::from((host, port))
}

/// Away from the ports that people use: who listens on all addresses would be in the way.
const FIRST_PORT: u16 = 20_000;
static NEXT_PORT: AtomicU16 = AtomicU16::new(FIRST_PORT);
