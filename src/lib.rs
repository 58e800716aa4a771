//! slotcar: one plain Redis on localhost, a Redis or Valkey Cluster behind it.

pub mod clock;
pub mod command;
pub mod config;
pub mod control;
pub mod downstream;
pub mod net;
pub mod reply;
pub mod resp;
pub mod route;
pub mod topology;
pub mod upstream;
pub mod worker;
