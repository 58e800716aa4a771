//! What becomes of the nodes' replies before a client sees them: parts merged into one, refusals recognised, errors worded.
//!
//! Pure. Knows no session, no link and no routing. Only merged replies are written anew; a reply that stands alone
//! passes as the node spelled it.

pub mod errors;
pub mod gather;
pub mod info;
mod info_fields;
mod latency;
mod named;
pub mod redirect;
mod stats;
pub mod streams;
pub mod taken;
