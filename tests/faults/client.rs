//! One client of slotcar: a socket, one request at a time, no retries. It writes down what it saw.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::ledger::Counter;
use crate::support::{Conn, Value};

pub struct Client {
    pub name: String,
    addr: SocketAddr,
    conn: Option<Conn>,
    pub log: Log,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Read,
    Write,
    /// Answered by slotcar itself.
    Local,
}

/// One request and what became of it.
#[derive(Debug)]
pub struct Op {
    pub sent: Instant,
    pub done: Instant,
    pub kind: Kind,
    /// The shard of its keys, if it has one.
    pub shard: Option<usize>,
    pub end: End,
}

#[derive(Debug)]
pub enum End {
    Good,
    /// An error reply.
    Error(String),
    /// The connection ended; a clean end is one without a reset.
    Closed {
        clean: bool,
        why: String,
    },
    /// Not the answer to this request.
    Wrong(String),
}

/// What an error reply says about its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// It was sent, and it may or may not have been executed.
    Unknown,
    /// It was not executed: slotcar has given up.
    GivenUp,
    /// No text of slotcar's that has to do with faults.
    Undocumented,
}

/// All that a client did, or only what did not go well.
pub struct Log {
    keep_all: bool,
    pub ops: Vec<Op>,
    pub count: usize,
    last_good: Instant,
    pub gaps: Vec<Gap>,
}

/// Nothing worked in between.
#[derive(Clone, Copy, Debug)]
pub struct Gap {
    pub from: Instant,
    pub to: Instant,
}

impl Client {
    pub fn new(name: String, addr: SocketAddr, keep_all: bool) -> Client {
        Client {
            name,
            addr,
            conn: None,
            log: Log::new(keep_all),
        }
    }

    /// Increments, and compares the answer with what is known.
    pub fn increment(&mut self, counter: &mut Counter) {
        let request = ["INCR", &counter.key.clone()];
        let shard = Some(counter.shard);
        let mut judged = false;
        self.ask(Kind::Write, shard, &request, |reply| {
            judged = true;
            match reply {
                Value::Int(value) => counter.on_incremented(*value),
                other => Err(format!("INCR: {other:?}")),
            }
        });
        if !judged && self.log.last_is_unknown() {
            counter.on_unknown();
        }
    }

    /// Reads what only this client writes.
    pub fn read_back(&mut self, counter: &mut Counter) {
        let request = ["GET", &counter.key.clone()];
        self.ask(Kind::Read, Some(counter.shard), &request, |reply| {
            let text = reply.bytes().map(String::from_utf8_lossy);
            match text.and_then(|text| text.parse().ok()) {
                Some(value) => counter.on_value(value),
                None => Err(format!("GET: {reply:?}")),
            }
        });
    }

    /// Reads what nobody writes: the value says which key it belongs to.
    pub fn read(&mut self, key: &str, shard: usize) {
        self.ask(Kind::Read, Some(shard), &["GET", key], |reply| {
            expect(reply, &Value::Bulk(value_of(key).into_bytes()))
        });
    }

    pub fn echo(&mut self) {
        let tag = format!("{} says {}", self.name, self.log.count);
        self.ask(Kind::Local, None, &["ECHO", &tag], |reply| {
            expect(reply, &Value::Bulk(tag.clone().into_bytes()))
        });
    }

    /// One request; `judge` sees a reply that is no error.
    pub fn ask<A: AsRef<[u8]>>(
        &mut self,
        kind: Kind,
        shard: Option<usize>,
        request: &[A],
        judge: impl FnOnce(&Value) -> Result<(), String>,
    ) {
        let sent = Instant::now();
        let end = match self.exchange(request) {
            Ok(reply) => match reply.any_error() {
                Some(error) => End::Error(error.to_owned()),
                None => judge(&reply).map_or_else(End::Wrong, |()| End::Good),
            },
            Err(error) => {
                self.conn = None;
                End::Closed {
                    clean: error.kind() == ErrorKind::UnexpectedEof,
                    why: error.to_string(),
                }
            }
        };
        self.log.add(Op {
            sent,
            done: Instant::now(),
            kind,
            shard,
            end,
        });
    }

    pub fn leave(&mut self) {
        self.conn = None;
    }

    pub fn is_connected(&self) -> bool {
        self.conn.is_some()
    }

    fn exchange<A: AsRef<[u8]>>(&mut self, request: &[A]) -> std::io::Result<Value> {
        let conn = match &mut self.conn {
            Some(conn) => conn,
            none => none.insert(Conn::try_open_within(self.addr, ANSWER_LIMIT)?),
        };
        conn.try_cmd(request)
    }
}

impl Op {
    /// What went wrong, for people.
    pub fn trouble(&self) -> Option<String> {
        let after = (self.done - self.sent).as_secs_f64();
        let (kind, shard) = (self.kind, self.shard);
        match &self.end {
            End::Good => None,
            End::Error(text) => Some(format!("{kind:?} at {shard:?} after {after:.3} s: -{text}")),
            End::Closed { why, .. } => {
                Some(format!("{kind:?} at {shard:?} after {after:.3} s: {why}"))
            }
            End::Wrong(what) => Some(format!("{kind:?} at {shard:?}: {what}")),
        }
    }

    pub fn is_wrong(&self) -> bool {
        matches!(self.end, End::Wrong(_))
    }

    pub fn is_good(&self) -> bool {
        matches!(self.end, End::Good)
    }

    /// An error that says that the request may have been executed.
    pub fn is_unknown(&self) -> bool {
        match &self.end {
            End::Error(text) => Meaning::of(text) == Meaning::Unknown,
            _ => false,
        }
    }
}

impl Meaning {
    /// The texts are those of `src/reply/errors.rs`.
    pub fn of(error: &str) -> Meaning {
        const GIVEN_UP: &[&str] = &[
            "CLUSTERDOWN slotcar: no primary for slot ",
            "CLUSTERDOWN slotcar: gave up on slot ",
            "LOADING slotcar has not reached the cluster yet",
        ];
        let own = error.starts_with("ERR slotcar: ");
        if own && error.contains("outcome is unknown") {
            Meaning::Unknown
        } else if own && error.contains("could not be reached")
            || GIVEN_UP.iter().any(|start| error.starts_with(start))
        {
            Meaning::GivenUp
        } else {
            Meaning::Undocumented
        }
    }
}

impl Log {
    fn new(keep_all: bool) -> Log {
        Log {
            keep_all,
            ops: Vec::new(),
            count: 0,
            last_good: Instant::now(),
            gaps: Vec::new(),
        }
    }

    /// What is before was a pause of the client's own.
    pub fn resume(&mut self) {
        self.last_good = Instant::now();
    }

    fn add(&mut self, op: Op) {
        self.count += 1;
        if op.is_good() && op.kind != Kind::Local {
            if op.done - self.last_good >= GAP_MIN {
                self.gaps.push(Gap {
                    from: self.last_good,
                    to: op.done,
                });
            }
            self.last_good = op.done;
        }
        if self.keep_all || !op.is_good() {
            self.ops.push(op);
        }
    }

    /// Whether the newest request may have been executed although it was not answered.
    fn last_is_unknown(&self) -> bool {
        self.ops.last().is_some_and(|op| match &op.end {
            End::Error(text) => Meaning::of(text) != Meaning::GivenUp,
            End::Closed { .. } => true,
            End::Good | End::Wrong(_) => false,
        })
    }
}

/// What is stored at a key that nobody writes.
pub fn value_of(key: &str) -> String {
    format!("value of {key}")
}

pub fn expect(reply: &Value, wanted: &Value) -> Result<(), String> {
    if reply == wanted {
        Ok(())
    } else {
        Err(format!("{reply:?} instead of {wanted:?}"))
    }
}

/// Longer than slotcar's longest hold and all that can come on top: a client that waits longer hangs.
const ANSWER_LIMIT: Duration = Duration::from_secs(40);
/// Shorter pauses are not worth a note.
const GAP_MIN: Duration = Duration::from_millis(20);
