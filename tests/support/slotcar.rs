//! A running slotcar. When it is dropped it must end on SIGTERM, and its log must hold no WARN or ERROR that the test
//! did not announce: what an operator would be woken up by is part of the behaviour under test.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::process::Process;
use super::{Cluster, Conn, address, wait_until};

pub struct Slotcar {
    addr: SocketAddr,
    process: Process,
    log_file: PathBuf,
    expected: Vec<String>,
    /// A test has waited for its end and knows how that was.
    ended: bool,
}

impl Slotcar {
    /// With default settings, knowing all nodes of `cluster`.
    pub fn before(cluster: &Cluster) -> Slotcar {
        Slotcar::start(&["--cluster", &cluster.seeds()])
    }

    /// Returns when slotcar serves.
    pub fn start<A: AsRef<str>>(args: &[A]) -> Slotcar {
        let mut slotcar = Slotcar::start_listening(args);
        slotcar.wait_serving();
        slotcar
    }

    /// Returns when slotcar listens, whether or not anything stands behind it.
    pub fn start_listening<A: AsRef<str>>(args: &[A]) -> Slotcar {
        Slotcar::start_by(&[], args)
    }

    /// The same, started by another program: `prlimit --nofile=300`.
    pub fn start_by<A: AsRef<str>>(starter: &[&str], args: &[A]) -> Slotcar {
        Slotcar::start_at(address::unused(), starter, args)
    }

    /// What [`Slotcar::start_as`] needs in the end.
    pub fn program() -> String {
        program().display().to_string()
    }

    /// The same, with listeners that `args` name; one of them is `addr`.
    pub fn start_with_own_listeners<A: AsRef<str>>(addr: SocketAddr, args: &[A]) -> Slotcar {
        Slotcar::start_as(addr, &[program().display().to_string()], args)
    }

    /// The same, listening there.
    pub fn start_at<A: AsRef<str>>(addr: SocketAddr, starter: &[&str], args: &[A]) -> Slotcar {
        let program = program();
        let mut words: Vec<String> = starter.iter().map(|&word| word.to_owned()).collect();
        words.push(program.display().to_string());
        words.extend(["--listen".to_owned(), addr.to_string()]);
        Slotcar::start_as(addr, &words, args)
    }

    /// The same, by these words, which end with the program.
    pub fn start_as<A: AsRef<str>>(addr: SocketAddr, words: &[String], args: &[A]) -> Slotcar {
        let mut words = words.to_vec();
        words.extend(args.iter().map(|arg| arg.as_ref().to_owned()));
        let log_file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!(
            "slotcar-{}-{}.log",
            std::process::id(),
            SLOTCARS.fetch_add(1, Ordering::Relaxed)
        ));
        // Left by an earlier process with the same id.
        let _ = std::fs::remove_file(&log_file);
        let mut slotcar = Slotcar {
            addr,
            process: Process::start(Path::new(&words[0]), &words[1..], &log_file),
            log_file,
            expected: Vec::new(),
            ended: false,
        };
        let process = &mut slotcar.process;
        wait_until("slotcar listens", START_LIMIT, || {
            process.must_run();
            Conn::try_open(addr).is_ok()
        });
        slotcar
    }

    pub fn wait_serving(&mut self) {
        let (addr, process) = (self.addr, &mut self.process);
        wait_until("slotcar answers PING and GET", START_LIMIT, || {
            process.must_run();
            let Ok(mut conn) = Conn::try_open(addr) else {
                return false;
            };
            let mut serves = |args: &[&str]| {
                conn.try_cmd(args)
                    .is_ok_and(|reply| reply.error().is_none())
            };
            serves(&["PING"]) && serves(&["GET", "is anybody there"])
        });
    }

    /// Allows log lines with WARN or ERROR that contain `text`.
    pub fn expect_log(&mut self, text: &str) {
        self.expected.push(text.to_owned());
    }

    pub fn conn(&self) -> Conn {
        Conn::open(self.addr)
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    pub fn signal(&self, signal: &str) {
        self.process.signal(signal);
    }

    /// Waits for the end, which the test has asked for; also says how it was.
    pub fn wait_end(&mut self) -> ExitStatus {
        self.ended = true;
        let status = self.process.wait(END_LIMIT);
        status.unwrap_or_else(|| panic!("slotcar has not ended:\n{}", self.log()))
    }

    /// Open file descriptors.
    pub fn descriptors(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.pid());
        std::fs::read_dir(folder)
            .expect("a process of ours")
            .count()
    }

    /// Resident memory in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.expect("a process of ours");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        kib.and_then(|kib| kib.parse().ok()).expect("a number")
    }

    pub fn log(&self) -> String {
        self.process.log()
    }

    /// The fields of the `# slotcar` section of INFO.
    pub fn info(&self) -> HashMap<String, String> {
        fields(&self.conn().ok(&["INFO", "slotcar"]).text())
    }

    /// One of slotcar's own counters; panics with all of them when it does not exist.
    pub fn counter(&self, name: &str) -> u64 {
        let info = self.info();
        info.get(name)
            .and_then(|value| value.parse().ok())
            .unwrap_or_else(|| panic!("INFO slotcar has no number {name}: {info:?}"))
    }

    fn unannounced(&self) -> Vec<String> {
        self.log()
            .lines()
            .filter(|line| {
                line.contains("WARN") || line.contains("ERROR") || line.contains("panicked")
            })
            .filter(|line| !self.expected.iter().any(|text| line.contains(text)))
            .map(str::to_owned)
            .collect()
    }
}

impl Drop for Slotcar {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of slotcar at {}\n{}---", self.addr, self.log());
            return;
        }
        if !self.ended {
            let early = self.process.exited();
            assert!(
                early.is_none(),
                "slotcar had ended by itself, {early:?}:\n{}",
                self.log()
            );
            self.process.signal("TERM");
            let status = self.process.wait(END_LIMIT);
            assert!(
                status.is_some_and(|status| status.success()),
                "slotcar should end well on SIGTERM, was: {status:?}\n{}",
                self.log()
            );
        }
        let unannounced = self.unannounced();
        assert!(
            unannounced.is_empty(),
            "unannounced lines in slotcar's log:\n{}",
            unannounced.join("\n")
        );
        let _ = std::fs::remove_file(&self.log_file);
    }
}

/// `name:value` lines of an INFO reply.
pub fn fields(info: &str) -> HashMap<String, String> {
    info.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// `SLOTCAR_BIN`, or what cargo built for this test.
pub fn program() -> PathBuf {
    std::env::var_os("SLOTCAR_BIN").map_or_else(
        || Path::new(env!("CARGO_BIN_EXE_slotcar")).into(),
        PathBuf::from,
    )
}

const START_LIMIT: Duration = Duration::from_secs(20);
const END_LIMIT: Duration = Duration::from_secs(20);
static SLOTCARS: AtomicU32 = AtomicU32::new(0);
