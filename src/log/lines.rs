//! The way of lines to stderr: by a thread of its own, so that nobody waits for whoever reads them.
//!
//! A pipe that is not read holds some hundred lines, and then who writes waits. That must not be a worker.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

use super::Limit;

/// Lines that wait to be written; further ones are left out.
const WAITING_MAX: usize = 1000;

/// How long the end of the process waits for room among them, and then for them.
const FLUSH_LOOKS: u32 = 100;
const FLUSH_LOOK: Duration = Duration::from_millis(10);
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// Takes lines. Clones write to the same thread.
#[derive(Clone)]
pub struct Lines {
    sender: SyncSender<Job>,
    limit: Limit,
}

enum Job {
    Line(Vec<u8>),
    /// All before has been written.
    Tell(SyncSender<()>),
}

/// One line, which is on its way when it is dropped.
pub struct Line<'a> {
    lines: &'a Lines,
    bytes: Vec<u8>,
}

impl Lines {
    /// Starts the thread. What is left out is counted by `limit`.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(limit: Limit, out: impl io::Write + Send + 'static) -> io::Result<Self> {
        let (sender, jobs) = sync_channel(WAITING_MAX);
        let name = thread::Builder::new().name("log".to_owned());
        name.spawn(move || write_all(&jobs, out))?;
        Ok(Self { sender, limit })
    }

    /// Waits until all is written, or for a moment: the process is about to end. Whoever does not read until then reads no more.
    pub fn flush(&self) {
        let (written, told) = sync_channel(1);
        for _ in 0..FLUSH_LOOKS {
            if self.sender.try_send(Job::Tell(written.clone())).is_ok() {
                break;
            }
            thread::sleep(FLUSH_LOOK);
        }
        let _ = told.recv_timeout(FLUSH_LIMIT);
    }
}

fn write_all(jobs: &Receiver<Job>, mut out: impl io::Write) {
    for job in jobs {
        match job {
            // There is no other place to complain at.
            Job::Line(bytes) => drop(out.write_all(&bytes)),
            Job::Tell(written) => drop(written.send(())),
        }
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line {
            lines: self,
            bytes: Vec::new(),
        }
    }
}

impl io::Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let line = Job::Line(std::mem::take(&mut self.bytes));
        if self.lines.sender.try_send(line).is_err() {
            self.lines.limit.count_left_out();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::sync::mpsc::Sender;

    use super::*;

    /// Takes a line only when it is allowed to, and says what it has taken.
    struct Slow {
        allowed: Receiver<()>,
        taken: Sender<Vec<u8>>,
    }

    impl io::Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.allowed.recv();
            let _ = self.taken.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn who_writes_a_line_does_not_wait_and_what_is_left_out_is_counted() {
        let limit = Limit::default();
        let (allow, allowed) = std::sync::mpsc::channel();
        let (taken, lines_taken) = std::sync::mpsc::channel();
        let lines = Lines::start(limit.clone(), Slow { allowed, taken }).unwrap();
        let count = WAITING_MAX + 500;
        for number in 0..count {
            writeln!(lines.make_writer(), "line {number}").unwrap();
        }
        // The thread holds one, or has not begun.
        let left_out = usize::try_from(limit.left_out()).unwrap();
        assert!((499..=500).contains(&left_out), "{left_out}");
        (0..count).for_each(|_| allow.send(()).unwrap());
        lines.flush();
        let written: Vec<Vec<u8>> = lines_taken.try_iter().collect();
        assert_eq!(written.len(), count - left_out);
        assert_eq!(written[0], b"line 0\n");
        assert_eq!(written[999], b"line 999\n");
    }
}
