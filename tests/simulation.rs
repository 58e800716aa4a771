//! Seeded runs of a hub between model clients and a model cluster that reshards, fails over, crashes and stalls.
//!
//! Pure: no thread, no socket, no clock; a seed is one run, whatever the machine. A failure prints its seed:
//!
//! ```text
//! SIM_SEED=123 cargo test --test simulation      that run alone, with its story
//! SIM_SEEDS=5000 cargo test --test simulation    so many runs instead of 256
//! ```
//!
//! What must hold is said where it is checked: `sim/client.rs` (each answer is the answer to its request, no refusal of
//! a node gets through), `sim/ledger.rs` (nothing is executed twice, order), `sim/world.rs` (everything is answered
//! in time, nothing is left behind).

#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "a test fails by a panic, and prints what it met"
)]

#[path = "sim/client.rs"]
mod client;
#[path = "sim/cluster.rs"]
mod cluster;
#[path = "sim/ledger.rs"]
mod ledger;
#[path = "sim/random.rs"]
mod random;
#[path = "sim/rig.rs"]
mod rig;
#[path = "sim/scenario.rs"]
mod scenario;
#[path = "sim/trouble.rs"]
mod trouble;
#[path = "sim/wire.rs"]
mod wire;
#[path = "sim/wires.rs"]
mod wires;
#[path = "sim/world.rs"]
mod world;

use scenario::{NAMED, Scenario};
use world::{Summary, World};

const SEEDS: u64 = 256;

#[test]
fn whatever_the_cluster_does_every_request_has_its_one_answer_in_order() {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    let seeds = match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(SEEDS),
    };
    let told = number("SIM_SEED").is_some();
    let mut sum = Summary::default();
    for seed in seeds.clone() {
        let run = std::panic::catch_unwind(|| World::new(Scenario::Mix, seed, told).run());
        match run {
            Ok(summary) => sum.add(&summary),
            Err(_) => panic!(
                "seed {seed} fails; rerun it alone: SIM_SEED={seed} cargo test --test simulation"
            ),
        }
    }
    println!("{} seeds: {sum:?}", seeds.count());
    if !told {
        assert!(
            sum.redirections > 0 && sum.exempt > 0 && sum.unknown > 0,
            "a simulation in which nothing happens"
        );
    }
}

#[test]
fn each_fault_that_has_a_name_costs_what_it_may_cost() {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let only = std::env::var("SIM_FAULT").ok();
    let seeds = match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(SEEDS) / 16,
    };
    let told = number("SIM_SEED").is_some() && only.is_some();
    for &(scenario, may_be_unknown, may_expire) in NAMED {
        let name = format!("{scenario:?}");
        if only.as_ref().is_some_and(|only| *only != name) {
            continue;
        }
        let mut sum = Summary::default();
        for seed in seeds.clone() {
            let run = std::panic::catch_unwind(|| World::new(scenario, seed, told).run());
            let fails = || format!("SIM_FAULT={name} SIM_SEED={seed} cargo test --test simulation");
            let summary = run.unwrap_or_else(|_| panic!("{}", fails()));
            assert!(summary.unknown == 0 || may_be_unknown, "{}", fails());
            assert!(summary.expired == 0 || may_expire, "{}", fails());
            sum.add(&summary);
        }
        println!("{name}, {} seeds: {sum:?}", seeds.clone().count());
    }
}
