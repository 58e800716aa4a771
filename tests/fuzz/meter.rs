//! The system's allocator, counting: an input may make a target use memory in proportion to its length, whatever
//! it claims.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts bytes that are in use, and the most that ever were.
pub struct Meter {
    used: AtomicUsize,
    most: AtomicUsize,
}

impl Meter {
    pub const fn new() -> Self {
        Self {
            used: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        }
    }

    /// Runs `body` and panics if at any time it used more than `fixed + per_byte * len` bytes more than before.
    pub fn bound(&self, fixed: usize, per_byte: usize, len: usize, body: impl FnOnce()) {
        let before = self.used.load(Ordering::Relaxed);
        self.most.store(before, Ordering::Relaxed);
        body();
        let more = self.most.load(Ordering::Relaxed).saturating_sub(before);
        let allowed = fixed + per_byte * len;
        assert!(
            more <= allowed,
            "{more} bytes used for {len} bytes of input, {allowed} allowed"
        );
    }

    fn add(&self, bytes: usize) {
        let used = self.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.most.fetch_max(used, Ordering::Relaxed);
    }
}

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Meter {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.add(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        self.used.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(at, layout) }
    }
}
