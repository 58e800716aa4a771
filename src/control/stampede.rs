//! What a thousand sidecars do to one cluster, in virtual time: the very rules of `refresh`, `scout`, `probe` and `budget`,
//! a thousand times, against a model of three primaries and three replicas.
//!
//! The arithmetic that the bounds below come from, for `n` sidecars, and what each of the 6 nodes sees:
//!
//! | | per sidecar | per node, n = 1,000 |
//! |---|---|---|
//! | start | a round of 3, 3 probes, 3 links, a lesson | 3 n / 3 = 1,000 of each at each seed |
//! | calm, topology | 3 questions on new connections every 30 s | 3 n / 30 / 6 = 17/s |
//! | calm, probes | a PING per primary every 0.45 s | n / 0.45 = 2,200/s at primaries |
//! | a primary is gone, topology | 3 questions per gap of 0.3 s on average, on kept connections | 3 n / 0.3 / 5 = 2,000/s |
//! | a primary is gone, scouts | ROLE every 0.1 s on a kept connection | n / 0.1 = 10,000/s at its replica |
//! | its replica is elected | a link, a probe | 2 n = 2,000 connections |
//! | everything is gone | at most 6 connections per second, and 12 at once after a calm; links, until suspected | 6 n / 6 = 1,000/s, refused |
//! | everything is back | 3 probes, 3 links, a round of 3 | 9 n / 6 = 1,500, spread over more than a second |
//!
//! A Redis process answers 100,000 and more such questions per second, and takes tens of thousands of connections.

mod world;

use std::time::Duration;

use world::{AFTER, MILLISECOND, NODES, SIDECARS, Seen, Sidecar, State, World, view};

use crate::clock::Now;

#[test]
fn a_dead_or_silent_primary_is_replaced_everywhere_in_a_quarter_of_a_second_and_nobody_is_overrun()
{
    for state in [State::Dead, State::Silent] {
        let mut world = World::settled();
        world.set(state, &[0]);
        world.run_for(Duration::from_millis(3900));
        assert!(world.sidecars.iter().all(|one| one.changed_at.is_empty()));
        let suspecting = world.sidecars.iter().filter(|one| one.suspects.len() == 1);
        assert_eq!(suspecting.count(), SIDECARS);
        (world.view, world.promoted) = (view(AFTER, 7), Some(1));
        let elected = world.now;
        world.run_for(Duration::from_secs(10));
        let delays = world.delays(elected);
        let (median, slowest) = (delays[SIDECARS / 2], delays[SIDECARS - 1]);
        println!("{state:?}: known after {median:?} by half, after {slowest:?} by all");
        assert!(median <= 100 * MILLISECOND && slowest <= 250 * MILLISECOND);
        assert!(world.sidecars.iter().all(|one| one.changed_at.len() <= 2));
        world.check(
            &format!("{state:?}"),
            [
                (Seen::Connection, 3000),
                (Seen::Refused, 6500),
                (Seen::Topology, 4000),
                (Seen::Scout, 11_000),
                (Seen::Ping, 3500),
            ],
        );
        world.run_for(Duration::from_secs(30));
        world.forget();
        world.run_for(Duration::from_secs(10));
        let (peak, _) = world.peak_and_total(Seen::Topology);
        assert!(peak <= 80, "calm again: {peak}/s");
        assert_eq!(world.peak_and_total(Seen::Scout), (0, 0));
    }
}

#[test]
fn a_whole_cluster_that_is_down_for_ten_seconds_is_used_again_by_all_soon_after_and_not_overrun() {
    let mut world = World::settled();
    let all: Vec<usize> = (0..NODES.len()).collect();
    world.set(State::Dead, &all);
    world.run_for(Duration::from_secs(10));
    world.check(
        "down",
        [
            (Seen::Connection, 0),
            (Seen::Refused, 5000),
            (Seen::Topology, 0),
            (Seen::Scout, 0),
            (Seen::Ping, 0),
        ],
    );
    // The burst, ten seconds of the budget, and what links try before their node is suspected.
    let (_, dials) = world.peak_and_total(Seen::Refused);
    let most = SIDECARS as u64 * (12 + 6 * 10 + 3 * 4);
    assert!(dials <= most, "{dials} dials, at most {most}");
    world.forget();
    world.set(State::Up, &all);
    let back = world.now;
    let mut used_by_all = None;
    for _ in 0..100 {
        world.run_for(100 * MILLISECOND);
        let uses = |one: &Sidecar| one.links.len() == 3 && one.suspects.is_empty();
        if used_by_all.is_none() && world.sidecars.iter().all(uses) {
            used_by_all = Some(world.now.since(back));
        }
    }
    println!("back: used by all after {used_by_all:?}");
    assert!(used_by_all.is_some_and(|after| after <= Duration::from_millis(2500)));
    world.check(
        "back",
        [
            (Seen::Connection, 3500),
            (Seen::Refused, 0),
            (Seen::Topology, 2000),
            (Seen::Scout, 5000),
            (Seen::Ping, 3500),
        ],
    );
}

#[test]
fn a_thousand_that_start_at_once_ask_once_and_then_never_in_step() {
    let mut world = World::starting_within(100 * MILLISECOND);
    world.run_for(Duration::from_secs(2));
    let delays = world.delays(Now::ZERO);
    println!("started: known by all after {:?}", delays[SIDECARS - 1]);
    world.check(
        "started",
        [
            (Seen::Connection, 3100),
            (Seen::Refused, 0),
            (Seen::Topology, 1100),
            (Seen::Scout, 0),
            (Seen::Ping, 3500),
        ],
    );
    world.run_for(Duration::from_secs(88));
    world.forget();
    world.run_for(Duration::from_secs(60));
    world.check(
        "calm",
        [
            (Seen::Connection, 60),
            (Seen::Refused, 0),
            (Seen::Topology, 60),
            (Seen::Scout, 0),
            (Seen::Ping, 2600),
        ],
    );
    let (_, total) = world.peak_and_total(Seen::Topology);
    assert!((5400..=6600).contains(&total), "{total} in 60 s");
}
