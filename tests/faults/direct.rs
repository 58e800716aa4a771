//! What the cluster itself needs and loses: for each shard one client that increments at the nodes, and after every
//! trouble asks all of them, again and again, until one accepts. Its longest gap is the election; what it had
//! acknowledged and does not find again is what asynchronous replication loses.

use std::net::SocketAddr;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use crate::client::Gap;
use crate::ledger::Counter;
use crate::load::Switch;
use crate::nodes::Guide;
use crate::support::{Conn, Value};

pub struct Direct {
    pub counter: Counter,
    pub gaps: Vec<Gap>,
    /// When an increment was last accepted.
    pub last_good: Instant,
    /// When each increment was accepted, and how long the one that was accepted took.
    pub times: Vec<(Instant, Duration)>,
    /// Answers that cannot be right.
    pub wrong: Vec<String>,
    guide: Arc<RwLock<Guide>>,
    /// The node that accepted last, and the connection to it.
    at: Option<(SocketAddr, Conn)>,
}

/// What one node said.
enum Said {
    Accepted,
    Elsewhere(SocketAddr),
    Nothing,
}

impl Direct {
    pub fn new(counter: Counter, guide: Arc<RwLock<Guide>>) -> Direct {
        Direct {
            counter,
            gaps: Vec::new(),
            last_good: Instant::now(),
            times: Vec::new(),
            wrong: Vec::new(),
            guide,
            at: None,
        }
    }

    /// Goes on until it is told to stop.
    pub fn run(mut self, switch: &Switch) -> Direct {
        self.last_good = Instant::now();
        while !switch.is_stopped() {
            if switch.wait_quiet() {
                self.last_good = Instant::now();
            }
            if self.step(switch) {
                let now = Instant::now();
                if now - self.last_good >= GAP_MIN {
                    self.gaps.push(Gap {
                        from: self.last_good,
                        to: now,
                    });
                }
                self.last_good = now;
            }
            std::thread::sleep(PAUSE);
        }
        self
    }

    /// One increment at whoever accepts it. `false` when it was told to stop first.
    fn step(&mut self, switch: &Switch) -> bool {
        let mut avoided = None;
        if let Some((addr, conn)) = self.at.take() {
            match self.increment(addr, conn) {
                Said::Accepted => return true,
                Said::Elsewhere(next) => {
                    if let Said::Accepted = self.increment_at(next) {
                        return true;
                    }
                }
                Said::Nothing => avoided = Some((addr, Instant::now())),
            }
        }
        while !switch.is_stopped() {
            let guide = self.guide.read().unwrap().clone();
            for addr in guide.candidates() {
                if avoided.is_some_and(|(node, since)| node == addr && since.elapsed() < AVOIDED) {
                    continue;
                }
                let asked = Instant::now();
                match self.increment_at(addr) {
                    Said::Accepted => return true,
                    // It is silent: each look at it costs time that the others are not looked at.
                    Said::Nothing if asked.elapsed() >= NODE_LIMIT => {
                        avoided = Some((addr, Instant::now()));
                    }
                    Said::Elsewhere(_) | Said::Nothing => {}
                }
            }
            std::thread::sleep(ROUND);
        }
        false
    }

    fn increment_at(&mut self, addr: SocketAddr) -> Said {
        match Conn::try_open_within(addr, NODE_LIMIT) {
            Ok(conn) => self.increment(addr, conn),
            Err(_) => Said::Nothing,
        }
    }

    fn increment(&mut self, addr: SocketAddr, mut conn: Conn) -> Said {
        let asked = Instant::now();
        match conn.try_cmd(&["INCR", &self.counter.key]) {
            Ok(Value::Int(value)) => {
                self.times.push((asked, asked.elapsed()));
                if let Err(wrong) = self.counter.on_incremented(value) {
                    self.wrong.push(wrong);
                }
                self.at = Some((addr, conn));
                Said::Accepted
            }
            Ok(Value::Error(error)) => match moved_to(&error) {
                Some(next) => Said::Elsewhere(next),
                None => Said::Nothing,
            },
            Ok(other) => {
                self.wrong.push(format!("{addr}: {other:?}"));
                Said::Nothing
            }
            Err(_) => {
                self.counter.on_unknown();
                Said::Nothing
            }
        }
    }
}

/// `MOVED 866 127.0.0.1:7001`; what is asked for with `ASK` is not followed but asked for again.
fn moved_to(error: &str) -> Option<SocketAddr> {
    let mut words = error.strip_prefix("MOVED ")?.split(' ');
    words.nth(1)?.parse().ok()
}

const PAUSE: Duration = Duration::from_millis(2);
const ROUND: Duration = Duration::from_millis(3);
/// A node that says nothing for this long is taken for silent.
const NODE_LIMIT: Duration = Duration::from_millis(100);
/// How long a node that was silent is left alone.
const AVOIDED: Duration = Duration::from_millis(500);
const GAP_MIN: Duration = Duration::from_millis(5);
