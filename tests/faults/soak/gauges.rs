//! What slotcar holds at a moment: as the system counts it, and as slotcar says.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::support::Slotcar;

pub struct Gauges {
    pub rss_kib: usize,
    pub descriptors: usize,
    pub threads: usize,
    pub sessions: usize,
    pub links: usize,
}

/// Prints the resident memory, a sample for each second.
pub struct Sampler {
    over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Gauges {
    pub fn of(slotcar: &Slotcar) -> Gauges {
        let mut conn = slotcar.conn();
        let info = conn.ok(&["INFO", "slotcar"]).text();
        let info = crate::support::slotcar::fields(&info);
        let number = |name: &str| info[name].parse().expect("a number");
        let pid = slotcar.pid();
        // While the one who asked is still there, in all of the figures.
        Gauges {
            rss_kib: rss_kib(pid).expect("a running slotcar"),
            descriptors: slotcar.descriptors(),
            threads: threads(pid),
            sessions: number("sessions"),
            links: number("links"),
        }
    }

    /// All but the memory, which may move a little.
    pub fn is_like(&self, other: &Gauges) -> bool {
        let counts = |g: &Gauges| (g.descriptors, g.threads, g.sessions, g.links);
        counts(self) == counts(other)
    }
}

impl fmt::Display for Gauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Gauges {
            rss_kib,
            descriptors,
            threads,
            sessions,
            links,
        } = self;
        write!(
            f,
            "RSS {rss_kib} KiB, {descriptors} descriptors, {threads} threads, {sessions} sessions, {links} links"
        )
    }
}

impl Sampler {
    pub fn start(pid: u32) -> Sampler {
        let over = Arc::new(AtomicBool::new(false));
        let told = over.clone();
        let thread = std::thread::spawn(move || {
            let mut line = Vec::new();
            while !told.load(Ordering::Acquire) {
                line.extend(rss_kib(pid).map(|kib| kib.to_string()));
                if line.len() == SAMPLES_IN_A_LINE {
                    println!("  RSS, KiB: {}", line.join(" "));
                    line.clear();
                }
                std::thread::sleep(SAMPLE);
            }
        });
        Sampler { over, thread }
    }

    pub fn stop(self) {
        self.over.store(true, Ordering::Release);
        self.thread.join().expect("the sampler");
    }
}

fn rss_kib(pid: u32) -> Option<usize> {
    let status = std::fs::read_to_string(of_process(pid, "status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn threads(pid: u32) -> usize {
    std::fs::read_dir(of_process(pid, "task")).map_or(0, Iterator::count)
}

fn of_process(pid: u32, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{name}"))
}

const SAMPLE: Duration = Duration::from_secs(1);
const SAMPLES_IN_A_LINE: usize = 10;
