//! slotcar before real Redis 7 and Valkey 8 clusters. `cargo test --test e2e` runs all; see `tests/run.sh` for what
//! has to be installed. Every test has a cluster and a slotcar of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm,
    clippy::print_stdout,
    reason = "a test says what is wrong by panicking"
)]

#[path = "../support/mod.rs"]
mod support;

/// Makes each `fn name(kind: ServerKind)` into the tests `name::redis_7` and `name::valkey_8`.
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            #[test]
            fn redis_7() {
                super::$name(crate::support::ServerKind::Redis7);
            }

            #[test]
            fn valkey_8() {
                super::$name(crate::support::ServerKind::Valkey8);
            }
        }
    )+};
}

mod admin;
mod audit;
mod audit_script;
mod blocking;
mod bytes;
mod causes;
mod client_name;
mod clients;
mod configuration;
mod data_types;
mod databases;
mod failover;
mod fake_nodes;
mod fan_out;
mod hostile_nodes;
mod leaving;
mod logs;
mod move_keys;
mod multi_key;
mod noticing;
mod one_server;
mod pass_through;
mod pubsub;
mod queues;
mod replica_reads;
mod resharding;
mod safety;
mod scan;
mod scripts;
mod sentinels;
mod several_workers;
mod shown;
mod start;
mod strange_nodes;
mod tasks;
mod tls;
mod together;
mod tracking;
mod transactions;
mod users;
mod variables;
mod waits;
mod watch_nodes;
