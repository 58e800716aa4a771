//! Resident memory of a process, looked at often.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, Scope};
use std::time::Duration;

/// The most that has been seen so far.
pub struct Watch(Arc<AtomicU64>);

impl Watch {
    pub fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        pid: u32,
        ends: &'scope AtomicBool,
    ) -> Watch {
        let peak = Arc::new(AtomicU64::new(0));
        let seen = peak.clone();
        scope.spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                seen.fetch_max(resident_kib(pid), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(10));
            }
        });
        Watch(peak)
    }

    pub fn peak_kib(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The second number of `statm` is in pages of 4 KiB.
fn resident_kib(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).expect("slotcar runs");
    let pages = text.split(' ').nth(1).expect("a second number");
    pages.parse::<u64>().expect("a number") * 4
}
