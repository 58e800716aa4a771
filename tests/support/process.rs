//! One child process, ended when dropped.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program` with its standard output and error going to the end of `log`.
    pub fn start(program: &Path, args: &[String], log: &Path) -> Process {
        let name = program.display().to_string();
        let file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .unwrap_or_else(|error| panic!("{}: {error}", log.display()));
        let child = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a second handle"))
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| {
                panic!(
                    "cannot start {name}: {error} (`tests/run.sh servers` installs what tests need)"
                )
            });
        let log = log.to_owned();
        Process { name, child, log }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// `TERM`, `STOP`, `CONT`, …
    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .args([format!("-{signal}"), self.id().to_string()])
            .stderr(Stdio::null())
            .status();
        assert!(status.is_ok(), "cannot run kill: {status:?}");
    }

    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child of ours")
    }

    /// Panics with the log when the process has ended.
    pub fn must_run(&mut self) {
        if let Some(status) = self.exited() {
            panic!("{} ended with {status}:\n{}", self.name, self.log());
        }
    }

    /// Waits for the end for at most `limit`.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let start = Instant::now();
        loop {
            match self.exited() {
                Some(status) => return Some(status),
                None if start.elapsed() > limit => return None,
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    pub fn kill(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
