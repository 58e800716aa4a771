//! What the system says of this process. Source: proc(5).

use std::fs;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::net;

/// What it uses at the moment; what cannot be read is 0.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    pub(super) resident_bytes: u64,
    pub(super) cpu: Duration,
    pub(super) open_descriptors: u64,
    pub(super) descriptors_max: u64,
}

impl Usage {
    pub(super) fn now() -> Self {
        let pages = fs::read_to_string("/proc/self/statm")
            .ok()
            .and_then(|text| text.split_whitespace().nth(1)?.parse::<u64>().ok());
        let cpu = Duration::try_from(clock_gettime(ClockId::ProcessCPUTime));
        // The listing opens one itself.
        let listed = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        Self {
            resident_bytes: pages.unwrap_or(0) * rustix::param::page_size() as u64,
            cpu: cpu.unwrap_or_default(),
            open_descriptors: (listed as u64).saturating_sub(1),
            descriptors_max: net::descriptors_max().unwrap_or(0),
        }
    }
}
