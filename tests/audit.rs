//! What an audit says of requests is what a hub before a cluster does with them; and of a scripted app it finds all, and invents nothing.

#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by a panic"
)]

#[path = "audit/agreement.rs"]
mod agreement;
#[path = "e2e/audit_script.rs"]
mod audit_script;
#[path = "audit/node.rs"]
mod node;
#[allow(dead_code, reason = "the simulation needs more of it")]
#[path = "sim/rig.rs"]
mod rig;
#[path = "audit/script.rs"]
mod script;
