//! What the process may keep in memory, and what it keeps: every allocation is counted.
//!
//! Steady traffic allocates nothing, so the count costs nothing there; and nothing can be forgotten in it: all queues and
//! buffers are in it, with the capacity that they have rather than what is in them. Not in it: the program itself, stacks,
//! and the kernel's socket buffers.

use std::fmt;
use std::path::{Path, PathBuf};

use cap::Cap;
use tikv_jemallocator::Jemalloc;

/// jemalloc, set up in `.cargo/config.toml` to give pages back soon: what many clients needed is returned when they have
/// left, which the system's allocator does not do.
#[global_allocator]
static HEAP: Cap<Jemalloc> = Cap::new(Jemalloc, usize::MAX);

/// Bytes that are allocated now, by all threads.
pub fn used() -> usize {
    HEAP.allocated()
}

/// Bytes that were ever allocated, whatever has become of them. For tests.
#[cfg(feature = "count-allocations")]
pub fn ever_used() -> usize {
    HEAP.total_allocated()
}

/// How near the limit the process is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    #[default]
    None,
    /// Who holds much has to wait.
    Tight,
    /// Who holds most has to go.
    Over,
}

/// The marks that belong to a limit. What is between the upper one and the limit is for what is not counted: the program, and
/// memory that the allocator has in pieces which nobody needs.
#[derive(Clone, Copy, Debug)]
pub struct Gauge {
    max: usize,
    tight: usize,
    over: usize,
}

impl Gauge {
    /// `max`: bytes that the process may have; 0: as many as it wants.
    pub fn new(max: usize) -> Self {
        let bound = if max == 0 { usize::MAX } else { max };
        Self {
            max,
            tight: bound / 2,
            over: bound / 4 * 3,
        }
    }

    /// Bytes; 0: no limit.
    pub fn max(&self) -> usize {
        self.max
    }

    /// What is true now.
    pub fn pressure(&self) -> Pressure {
        self.pressure_of(used())
    }

    fn pressure_of(&self, used: usize) -> Pressure {
        if used < self.tight {
            Pressure::None
        } else if used < self.over {
            Pressure::Tight
        } else {
            Pressure::Over
        }
    }
}

/// A limit that nobody gave, and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// 0: there is none to be found.
    pub max: usize,
    pub source: Source,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Three quarters of what the control group allows.
    Group,
    /// Half of what the machine has.
    Machine,
    Nothing,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Group => "three quarters of the control group's limit",
            Self::Machine => "half of the machine's memory",
            Self::Nothing => "no limit found",
        })
    }
}

/// The limit for a process that was given none.
pub fn find_limit() -> Found {
    limit_by(|path| std::fs::read_to_string(path).ok())
}

/// `read`: a file's text, if it can be read.
fn limit_by(read: impl Fn(&Path) -> Option<String>) -> Found {
    if let Some(limit) = group_limit(&read) {
        return Found {
            max: limit / 4 * 3,
            source: Source::Group,
        };
    }
    let machine = read(Path::new("/proc/meminfo")).and_then(|text| total_memory(&text));
    match machine {
        Some(total) => Found {
            max: total / 2,
            source: Source::Machine,
        },
        None => Found {
            max: 0,
            source: Source::Nothing,
        },
    }
}

/// The lowest limit of the process's control groups, of either version, up to the root.
fn group_limit(read: impl Fn(&Path) -> Option<String>) -> Option<usize> {
    let groups = read(Path::new("/proc/self/cgroup"))?;
    let files = groups.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        if controllers.is_empty() {
            return Some(("/sys/fs/cgroup", path, "memory.max"));
        }
        let is_memory = controllers.split(',').any(|name| name == "memory");
        is_memory.then_some(("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes"))
    });
    let limits = files.flat_map(|(root, path, file)| {
        // Inside a container the path may be the host's; then only the root is there.
        let ancestors = Path::new(path).ancestors().map(Path::to_owned);
        let folders = ancestors.collect::<Vec<PathBuf>>();
        let read = &read;
        folders.into_iter().filter_map(move |folder| {
            let folder = folder.strip_prefix("/").unwrap_or(&folder).to_owned();
            let text = read(&Path::new(root).join(folder).join(file))?;
            text.trim().parse().ok()
        })
    });
    limits.filter(|&limit| limit < UNLIMITED_MIN).min()
}

fn total_memory(meminfo: &str) -> Option<usize> {
    let line = meminfo.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
    let kib: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Version 1 spells "no limit" as a number of about this size.
const UNLIMITED_MIN: usize = 1 << 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_limit_on_the_way_to_the_root_counts() {
        const V2: &str = "0::/pods/one/app\n";
        const V1: &str = "12:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/\n";
        const INFO: &str = "MemTotal:        1000 kB\nMemFree:          100 kB\n";
        let group = |max| (max, Source::Group);
        let machine = (1000 * 1024 / 2, Source::Machine);
        let cases: &[(&[(&str, &str)], _)] = &[
            (&[], (0, Source::Nothing)),
            (&[("/proc/meminfo", INFO)], machine),
            (
                &[
                    ("/proc/meminfo", INFO),
                    ("/proc/self/cgroup", V2),
                    ("/sys/fs/cgroup/pods/one/app/memory.max", "max\n"),
                ],
                machine,
            ),
            (
                &[
                    ("/proc/self/cgroup", V2),
                    ("/sys/fs/cgroup/pods/one/app/memory.max", "max\n"),
                    ("/sys/fs/cgroup/pods/one/memory.max", "4000\n"),
                    ("/sys/fs/cgroup/pods/memory.max", "8000\n"),
                ],
                group(3000),
            ),
            (
                &[
                    ("/proc/self/cgroup", V1),
                    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "400\n"),
                ],
                group(300),
            ),
            (
                &[
                    ("/proc/meminfo", INFO),
                    ("/proc/self/cgroup", V1),
                    (
                        "/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes",
                        "9223372036854771712\n",
                    ),
                ],
                machine,
            ),
        ];
        for (files, expected) in cases {
            let read = |path: &Path| {
                let file = files.iter().find(|(name, _)| Path::new(name) == path);
                file.map(|(_, text)| (*text).to_owned())
            };
            let Found { max, source } = limit_by(read);
            assert_eq!((max, source), *expected, "{files:?}");
        }
    }

    #[test]
    fn what_is_allocated_is_counted_with_its_capacity() {
        let before = used();
        let buffer: Vec<u8> = Vec::with_capacity(64 << 20);
        assert!(used() >= before + (60 << 20));
        drop(buffer);
        assert!(used() < before + (60 << 20));
    }

    #[test]
    fn pressure_grows_with_what_is_used() {
        let gauge = Gauge::new(400);
        for (used, expected) in [
            (0, Pressure::None),
            (199, Pressure::None),
            (200, Pressure::Tight),
            (299, Pressure::Tight),
            (300, Pressure::Over),
            (4000, Pressure::Over),
        ] {
            assert_eq!(gauge.pressure_of(used), expected, "{used}");
        }
        assert_eq!(Gauge::new(0).pressure_of(usize::MAX / 4), Pressure::None);
    }
}
