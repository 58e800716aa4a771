//! What end-to-end tests stand on: real server clusters, a real slotcar, a blocking client.
//! Blocking I/O and the standard library only, so that nothing here shares a mistake with the code under test.
//!
//! Every server and every slotcar has an address of its own in 127.0.0.0/8 (see [`address`]); dropping a value
//! ends its processes and removes its files.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "every test binary compiles this folder and uses its own part of it"
)]

pub mod address;
pub mod certificates;
pub mod cluster;
pub mod conn;
pub mod process;
pub mod random;
pub mod replace;
pub mod reshard;
pub mod sentinels;
pub mod server;
pub mod slot;
pub mod slotcar;
pub mod value;
pub mod wait;

pub use certificates::Authority;
pub use cluster::Cluster;
pub use conn::Conn;
pub use random::Random;
pub use sentinels::Watched;
pub use server::{Server, ServerKind};
pub use slot::slot_of;
pub use slotcar::Slotcar;
pub use value::Value;
pub use wait::{SetOnDrop, wait_until};
