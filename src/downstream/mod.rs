//! One client: its session, the seats of its replies, and what slotcar answers itself. Pure.
//!
//! Knows nothing of links and nodes; [`crate::worker::hub`] brings the two sides together.

pub mod execution;
pub mod local;
pub mod replies;
pub mod session;
pub mod standing;
pub mod subscriptions;
pub mod tracking;
pub mod transaction;
pub mod written;
