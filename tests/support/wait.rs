//! Waiting for a condition, with a deadline instead of a guess.

use std::time::{Duration, Instant};

/// Asks `done` until it says yes; panics with `what` after `limit`.
pub fn wait_until(what: &str, limit: Duration, done: impl FnMut() -> bool) {
    assert!(
        holds_within(limit, done),
        "still waiting after {limit:?}: {what}"
    );
}

/// Asks `done` until it says yes, or until `limit` has passed.
pub fn holds_within(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        match done() {
            true => return true,
            false if start.elapsed() > limit => return false,
            false => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}
