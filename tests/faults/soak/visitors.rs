//! Clients that come, do one thing, and leave: requests over many slots, transactions, queues, messages.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::client::{Meaning, expect, value_of};
use crate::ledger::Counter;
use crate::load::Switch;
use crate::support::{Conn, Random, Value, conn};
use crate::table::Check;

pub struct Visitors {
    switch: Arc<Switch>,
    threads: Vec<JoinHandle<Visits>>,
}

/// What they saw.
#[derive(Default)]
pub struct Visits {
    count: usize,
    unknown: usize,
    /// Messages and elements that did not come.
    missed: usize,
    /// Messages that came a second time.
    twice: usize,
    wrong: Vec<String>,
    errors: Vec<String>,
}

struct Visitor {
    addr: SocketAddr,
    start: Instant,
    name: String,
    counter: Counter,
    random: Random,
    visits: Visits,
}

/// Why a visit ends early: the error has been noted.
enum Stop {
    Noted,
    Io(io::Error),
}

impl Visitors {
    /// `start` is what the times that are told are counted from.
    pub fn start(addr: SocketAddr, random: &mut Random, start: Instant) -> Visitors {
        let mut conn = Conn::open(addr);
        for key in (0..VALUES).map(value_key) {
            conn.ok(&["SET", &key, &value_of(&key)]);
        }
        let switch = Arc::new(Switch::default());
        let threads = (0..VISITORS).map(|index| {
            let name = format!("visitor-{index}");
            let visitor = Visitor {
                addr,
                start,
                counter: Counter::new(format!("{name}:count"), 0, 0),
                name,
                random: Random::new(random.below(1 << 30) as u64),
                visits: Visits::default(),
            };
            let switch = switch.clone();
            std::thread::spawn(move || visitor.run(&switch))
        });
        let threads = threads.collect();
        Visitors { switch, threads }
    }

    /// Returns when nobody visits.
    pub fn pause(&self) {
        self.switch.pause(self.threads.len());
    }

    pub fn resume(&self) {
        self.switch.resume();
    }

    pub fn stop(self) -> Visits {
        self.switch.stop();
        let mut all = Visits::default();
        for thread in self.threads {
            let visits = thread.join().expect("a visitor's thread");
            all.count += visits.count;
            all.unknown += visits.unknown;
            all.missed += visits.missed;
            all.twice += visits.twice;
            all.wrong.extend(visits.wrong);
            all.errors.extend(visits.errors);
        }
        all
    }
}

impl Visits {
    /// While the home of a channel moves, the copy that the cluster's bus brings to the new one may come behind that of the
    /// old: at most one for each time that something moved.
    pub fn checks(self, moves: usize) -> Vec<Check> {
        vec![
            Check::at_most("messages that came twice", self.twice, moves),
            Check::note("visits", self.count.to_string()),
            Check::note("visitors' unknown outcomes", self.unknown.to_string()),
            Check::note(
                "visitors missed messages, elements",
                self.missed.to_string(),
            ),
            Check::none("visitors' wrong replies", self.wrong),
            Check::none("visitors' other errors", self.errors),
        ]
    }
}

impl Visitor {
    fn run(mut self, switch: &Switch) -> Visits {
        while !switch.is_stopped() {
            switch.wait_quiet();
            let visit = VISITS[self.random.below(VISITS.len())];
            self.visits.count += 1;
            match visit(&mut self) {
                Ok(()) | Err(Stop::Noted) => {}
                Err(Stop::Io(error)) => {
                    let text = format!("{}: {error}", self.here());
                    self.visits.errors.push(text);
                }
            }
            std::thread::sleep(PAUSE);
        }
        self.visits
    }

    fn reads_from_all_shards(&mut self) -> Result<(), Stop> {
        let mut conn = Conn::try_open(self.addr)?;
        for _ in 0..10 {
            let first = self.random.below(VALUES);
            let keys = (first..first + 8).map(|index| value_key(index % VALUES));
            let keys: Vec<String> = keys.collect();
            let mut request = vec!["MGET".to_owned()];
            request.extend(keys.iter().cloned());
            let reply = self.say(&mut conn, &request)?;
            let values = keys.iter().map(|key| Value::Bulk(value_of(key).into()));
            self.judge(expect(&reply, &Value::Array(values.collect())));
        }
        Ok(())
    }

    fn transacts(&mut self) -> Result<(), Stop> {
        let mut conn = Conn::try_open(self.addr)?;
        for _ in 0..10 {
            let key = self.counter.key.clone();
            self.say(&mut conn, &["MULTI"])?;
            self.say(&mut conn, &["INCR", &key])?;
            self.say(&mut conn, &["GET", &key])?;
            let reply = self.say(&mut conn, &["EXEC"]);
            let reply = reply.inspect_err(|_| self.counter.on_unknown())?;
            let judged = match reply.list() {
                [Value::Int(value), Value::Bulk(text)] if value.to_string().as_bytes() == text => {
                    self.counter.on_incremented(*value)
                }
                _ => Err(format!("EXEC: {reply:?}")),
            };
            self.judge(judged);
        }
        Ok(())
    }

    /// One waits, one pushes.
    fn queues(&mut self) -> Result<(), Stop> {
        let (mut taker, mut giver) = (Conn::try_open(self.addr)?, Conn::try_open(self.addr)?);
        let queue = format!("{}:queue-{}", self.name, self.visits.count);
        let other = format!("{queue}-other");
        let spread = self.random.below(2) == 1;
        for round in 0..3 {
            let tag = format!("{queue} element {round}");
            let mut request = vec!["BLPOP", &queue];
            request.extend(spread.then_some(other.as_str()));
            request.push("8");
            taker.try_send(&conn::encode(&request))?;
            self.say(&mut giver, &["RPUSH", &queue, &tag])?;
            let reply = taker.try_recv()?;
            // An element of several queues is taken by an ordinary pop, whose outcome may be unknown.
            let reply = self.good(reply, if spread { "LPOP" } else { "BLPOP" })?;
            match &reply {
                Value::Nil => self.visits.missed += 1,
                Value::Array(pair) => {
                    let own = matches!(&pair[..], [from, element]
                        if from.text() == queue && element.text().starts_with(&queue));
                    self.judge(if own {
                        Ok(())
                    } else {
                        Err(format!("BLPOP {queue}: {reply:?}"))
                    });
                }
                other => self.judge(Err(format!("BLPOP: {other:?}"))),
            }
        }
        Ok(())
    }

    /// One listens, one speaks.
    fn listens(&mut self) -> Result<(), Stop> {
        let channel = format!("{}:news-{}", self.name, self.visits.count);
        let mut speaker = Conn::try_open(self.addr)?;
        let mut listener = Conn::try_open(self.addr)?;
        let reply = self.say(&mut listener, &["SUBSCRIBE", &channel])?;
        let confirmed = reply
            .list()
            .get(1)
            .is_some_and(|name| name.text() == channel);
        self.judge(if confirmed {
            Ok(())
        } else {
            Err(format!("SUBSCRIBE: {reply:?}"))
        });
        for message in 0..MESSAGES {
            self.say(&mut speaker, &["PUBLISH", &channel, &message.to_string()])?;
        }
        listener.stream().set_read_timeout(Some(MESSAGE_LIMIT))?;
        let mut heard: Vec<String> = Vec::new();
        while heard.len() < MESSAGES {
            let Ok(message) = listener.try_recv() else {
                break;
            };
            let parts: Vec<String> = message.list().iter().map(Value::text).collect();
            let known = parts.len() == 3 && parts[0] == "message" && parts[1] == channel;
            if known && heard.contains(&parts[2]) {
                self.visits.twice += 1;
                continue;
            }
            // One after the other was published.
            let fresh = known && heard.last().is_none_or(|last| *last < parts[2]);
            self.judge(if fresh {
                Ok(())
            } else {
                Err(format!("{channel} heard {message:?} after {heard:?}"))
            });
            heard.extend(parts.into_iter().nth(2));
            if !fresh {
                break;
            }
        }
        self.visits.missed += MESSAGES.saturating_sub(heard.len());
        Ok(())
    }

    /// One request; an error reply ends the visit.
    fn say<A: AsRef<[u8]>>(&mut self, conn: &mut Conn, request: &[A]) -> Result<Value, Stop> {
        let reply = conn.try_cmd(request)?;
        let name = String::from_utf8_lossy(request[0].as_ref()).into_owned();
        self.good(reply, &name)
    }

    fn good(&mut self, reply: Value, command: &str) -> Result<Value, Stop> {
        let Some(error) = reply.any_error() else {
            return Ok(reply);
        };
        let may_fail = ["EXEC", "RPUSH", "LPOP", "PUBLISH"].contains(&command);
        if may_fail && Meaning::of(error) == Meaning::Unknown {
            self.visits.unknown += 1;
        } else {
            let text = format!("{}: {command}: -{error}", self.here());
            self.visits.errors.push(text);
        }
        Err(Stop::Noted)
    }

    fn judge(&mut self, judged: Result<(), String>) {
        if let Err(wrong) = judged {
            let text = format!("{}: {wrong}", self.here());
            self.visits.wrong.push(text);
        }
    }

    /// When, and who.
    fn here(&self) -> String {
        let at = self.start.elapsed().as_secs_f64();
        format!("{at:.3} s {}, visit {}", self.name, self.visits.count)
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        Stop::Io(error)
    }
}

fn value_key(index: usize) -> String {
    format!("visited:{index}")
}

type Visit = fn(&mut Visitor) -> Result<(), Stop>;
const VISITS: &[Visit] = &[
    Visitor::reads_from_all_shards,
    Visitor::transacts,
    Visitor::queues,
    Visitor::listens,
];
const VISITORS: usize = 6;
const VALUES: usize = 60;
const MESSAGES: usize = 5;
const MESSAGE_LIMIT: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(20);
