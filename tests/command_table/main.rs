//! The command table against live servers: every name has a row; arity, flags, key positions, tips and
//! error texts agree, but for the exceptions that are listed with their reasons.
//!
//! Needs `redis-server` (7.0) and `valkey-server` (8.0) in `PATH`. `COMMAND_TABLE_SERVERS=a,b` asks other
//! binaries instead, for a look at what a newer server says.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod arguments;
mod compare;
mod exceptions;
mod server;

use std::collections::BTreeSet;

use exceptions::EXCEPTIONS;
use server::Server;
use slotcar::command::lookup::CommandTable;

#[test]
fn the_table_is_true_to_live_servers() {
    let chosen = std::env::var("COMMAND_TABLE_SERVERS").ok();
    let binaries = chosen.as_deref().unwrap_or("redis-server,valkey-server");
    let mut used = BTreeSet::new();
    let mut differences = Vec::new();
    for binary in binaries.split(',') {
        let server = Server::start(binary);
        let report = compare::all(&CommandTable::new(), &server);
        print!("{} ({binary}): {}", server.version, report.counts);
        println!(", {} differences", report.differences.len());
        used.extend(report.exceptions);
        let named = |text: &String| format!("{}: {text}", server.version);
        differences.extend(report.differences.iter().map(named));
    }
    assert!(differences.is_empty(), "\n{}", differences.join("\n"));
    if chosen.is_none() {
        for (at, exception) in EXCEPTIONS.iter().enumerate() {
            let (rows, why) = (exception.rows, exception.why);
            assert!(
                used.contains(&at),
                "no exception any more: {rows:?} ({why})"
            );
        }
    }
}
