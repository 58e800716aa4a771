//! One link to a node: its queue, its handshake, when it may be dialled again; and what nodes are subscribed to. Pure.
//!
//! A link's queue order is the order of bytes on its socket; answers are matched first in, first out.
//! Knows nothing of sessions beyond the ticket that a part carries, and nothing of topology.

pub mod backoff;
pub mod handshake;
pub mod link;
pub mod overlap;
pub mod queue;
mod times;
pub mod topics;
