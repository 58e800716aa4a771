//! What clients notice when nodes die: real clusters under load, one fault after the other, measured and judged.
//!
//! `tests/faults/run.sh` runs it; [`arguments`] says with what. Every row of its table takes something away from a 3+3
//! cluster while [`load`] goes on through slotcar, and compares what those clients saw with what [`direct`] clients,
//! who ask the nodes themselves, found that the cluster needed. Exits with 1 when a row fails.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::wildcard_enum_match_arm,
    clippy::print_stdout,
    reason = "a test says what is wrong by panicking"
)]
#![allow(
    unreachable_pub,
    reason = "what a module shows to the others of this program"
)]

mod arguments;
mod bench;
mod client;
mod direct;
mod judge;
mod ledger;
mod load;
mod network;
mod nodes;
mod rows;
mod soak;
#[path = "../support/mod.rs"]
#[allow(unused_imports, reason = "made for end-to-end tests, which need more")]
mod support;
mod table;

use std::process::ExitCode;

use arguments::Arguments;
use bench::Bench;
use table::Table;

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(mistake) => {
            println!("{mistake}\n{}", arguments::USAGE);
            return ExitCode::from(2);
        }
    };
    let mut table = Table::new();
    let mut bench = Bench::new(arguments.kind);
    for row in rows::ALL {
        if arguments.rows.contains(&row.number) {
            table.show(&bench.run(row));
        }
    }
    if let Some(length) = arguments.soak {
        table.show(&bench.run_soak(length, arguments.seed));
    }
    drop(bench);
    table.sum_up()
}
