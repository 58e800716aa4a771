//! In a steady state nothing is allocated: not per request, not per reply, not per round.
//!
//! Needs the allocator to count what was ever asked of it: `cargo test --features count-allocations --test allocations`.

#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::unwrap_used,
    dead_code,
    reason = "a test fails by a panic, and uses a part of the rig"
)]

#[path = "sim/rig.rs"]
mod rig;
#[path = "../benches/path/steady.rs"]
mod steady;

use slotcar::memory;
use steady::{CASES, Steady};

const ROUNDS: usize = 100;

/// One test: the count is of the process.
#[test]
fn a_request_allocates_nothing() {
    let before = memory::ever_used();
    drop(std::hint::black_box(vec![0u8; 1000]));
    assert!(
        memory::ever_used() - before >= 1000,
        "allocations are counted"
    );
    for case in CASES {
        let mut steady = Steady::new(&case);
        let before = memory::ever_used();
        (0..ROUNDS).for_each(|_| steady.round());
        let bytes = memory::ever_used() - before;
        let requests = ROUNDS * case.requests();
        // What is as large as a page is kept by reference: its bytes, and what counts their users.
        let per_request = match case.name {
            "set16k" => 18 * 1024,
            _ => 0,
        };
        assert!(
            bytes <= requests * per_request,
            "{}: {bytes} bytes were allocated for {requests} requests",
            case.name
        );
    }
}
