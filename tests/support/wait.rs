//! Waiting for a condition, with a deadline instead of a guess.

use std::sync::atomic::{AtomicBool, Ordering};
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

/// Sets the flag when it is dropped: what ends the threads of a scope also when the test panics, so that it fails
/// instead of waiting for them for ever.
pub struct SetOnDrop<'a>(pub &'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}
