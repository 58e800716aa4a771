//! A model client: what it asks, and whether what it gets is the answer to that.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use slotcar::clock::Now;
use slotcar::route::part::SessionId;
use slotcar::topology::Slot;

use crate::cluster::{STABLE_KEYS, TAGS, is_write};
use crate::ledger::{Answer, Ledger, Number};
use crate::random::Random;
use crate::rig::Socket;
use crate::wire::{Value, cut_value, request};

pub(crate) struct Client {
    pub(crate) index: usize,
    pub(crate) session: SessionId,
    pub(crate) socket: Socket,
    /// On its way to slotcar.
    pub(crate) outbox: Vec<u8>,
    /// How many more requests it has in mind.
    pub(crate) to_ask: usize,
    pub(crate) gone: bool,
    inbox: Vec<u8>,
    expected: VecDeque<Expected>,
    /// It walks through all keys whenever it can.
    scans: bool,
    scan: Option<Scan>,
    /// INCR by key: answered with a result, and not known.
    pub(crate) counted: BTreeMap<Vec<u8>, (i64, i64)>,
}

struct Expected {
    number: Option<Number>,
    counts: Option<Vec<u8>>,
    want: Want,
    writes: bool,
    asked_at: Now,
}

enum Want {
    Exactly(Value),
    Integer,
    Error(&'static str),
    Scanned,
    AnyResult,
}

/// A walk through all keys.
struct Scan {
    from: Now,
    seen: BTreeSet<Vec<u8>>,
    cursor: Vec<u8>,
    asked: bool,
}

/// A scan that has come to its end.
pub(crate) struct Scanned {
    pub(crate) from: Now,
    pub(crate) seen: BTreeSet<Vec<u8>>,
}

impl Client {
    pub(crate) fn new(
        index: usize,
        session: SessionId,
        window: usize,
        random: &mut Random,
    ) -> Self {
        let mut socket = Socket::default();
        socket.make_room(window);
        Self {
            index,
            session,
            socket,
            outbox: Vec::new(),
            to_ask: random.below(110),
            gone: false,
            inbox: Vec::new(),
            expected: VecDeque::new(),
            scans: random.chance(25),
            scan: None,
            counted: BTreeMap::new(),
        }
    }

    pub(crate) fn unanswered(&self) -> usize {
        self.expected.len()
    }

    /// The numbers of what it has asked and that has no answer.
    pub(crate) fn unanswered_numbers(&self) -> impl Iterator<Item = Number> {
        self.expected.iter().filter_map(|expected| expected.number)
    }

    pub(crate) fn oldest_unanswered(&self) -> Option<(Now, Option<Number>)> {
        self.expected
            .front()
            .map(|expected| (expected.asked_at, expected.number))
    }

    /// Asks for something.
    pub(crate) fn ask(
        &mut self,
        now: Now,
        random: &mut Random,
        ledger: &mut Ledger,
        next: &mut Number,
    ) {
        self.to_ask = self.to_ask.saturating_sub(1);
        *next += 1;
        let number = *next;
        let kind = match self.scans && self.scan.as_ref().is_none_or(|scan| !scan.asked) {
            true => 87,
            false => random.below(100),
        };
        let (words, want) = match kind {
            0..70 => keyed(kind, number, random),
            70..78 => {
                let key = format!("{{t{}}}i{}", random.below(TAGS), random.below(2));
                return self.count(now, key.into_bytes());
            }
            78..82 => (
                words("PING"),
                Want::Exactly(Value::Simple(b"PONG".to_vec())),
            ),
            82..84 => return self.transact(now, number, random, ledger),
            84..87 => (words("DBSIZE"), Want::Integer),
            87..95 => match self.scan.as_ref().is_some_and(|scan| scan.asked) {
                true => (
                    words("PING"),
                    Want::Exactly(Value::Simple(b"PONG".to_vec())),
                ),
                false => (self.next_scan(now), Want::Scanned),
            },
            95 => (words("HELLO 3"), Want::AnyResult),
            96 => (words("HELLO 2"), Want::AnyResult),
            97 => (words("GET"), Want::Error("ERR wrong number of arguments")),
            98 => (words("NOSUCH x"), Want::Error("ERR unknown command")),
            _ => (words("TIME"), Want::AnyResult),
        };
        let name = String::from_utf8_lossy(&words[0]).into_owned();
        let slots: Vec<u16> = match kind {
            0..70 => slots(&words),
            _ => Vec::new(),
        };
        // TIME changes nothing, but its row does not say that it only reads.
        let writes = is_write(&name) || name == "TIME";
        let number = (!slots.is_empty()).then_some(number);
        if let Some(number) = number {
            ledger.asked(self.index, number, slots, writes);
        }
        self.expected.push_back(Expected {
            number,
            counts: None,
            want,
            writes,
            asked_at: now,
        });
        self.outbox.extend_from_slice(&request(&words));
    }

    /// Several requests of one slot between MULTI and EXEC.
    fn transact(&mut self, now: Now, number: Number, random: &mut Random, ledger: &mut Ledger) {
        let tag = random.below(TAGS);
        let (own, other) = (format!("{{t{tag}}}n#{number}"), format!("{{t{tag}}}k1"));
        let mut requests = vec![(format!("SET {own} v#{number}"), format!("v#{number}"))];
        if random.chance(50) {
            requests.push((format!("APPEND {other} v#{number}"), format!("v#{number}")));
        }
        let mut ask = |line: &str, want| {
            self.expected.push_back(Expected {
                number: (line == "EXEC").then_some(number),
                counts: None,
                want,
                writes: true,
                asked_at: now,
            });
            self.outbox.extend_from_slice(&request(&words(line)));
        };
        let simple = |text: &str| Value::Simple(text.as_bytes().to_vec());
        ask("MULTI", Want::Exactly(simple("OK")));
        for (line, _) in &requests {
            ask(line, Want::Exactly(simple("QUEUED")));
        }
        let replies = requests.iter().map(|(_, reply)| simple(reply)).collect();
        ask("EXEC", Want::Exactly(Value::Items(b'*', replies)));
        let slot = Slot::of_key(own.as_bytes()).get();
        ledger.asked(self.index, number, vec![slot], true);
    }

    fn count(&mut self, now: Now, key: Vec<u8>) {
        self.outbox
            .extend_from_slice(&request(&[b"INCR".to_vec(), key.clone()]));
        let (number, want, writes) = (None, Want::Integer, true);
        self.expected.push_back(Expected {
            number,
            counts: Some(key),
            want,
            writes,
            asked_at: now,
        });
    }

    fn next_scan(&mut self, now: Now) -> Vec<Vec<u8>> {
        let new = || Scan {
            from: now,
            seen: BTreeSet::new(),
            cursor: b"0".to_vec(),
            asked: false,
        };
        let scan = self.scan.get_or_insert_with(new);
        scan.asked = true;
        vec![b"SCAN".to_vec(), scan.cursor.clone()]
    }

    /// Takes bytes that slotcar has sent; scans that came to their end come out.
    pub(crate) fn receive(
        &mut self,
        now: Now,
        bytes: &[u8],
        ledger: &mut Ledger,
        hold_max: Duration,
    ) -> Vec<Scanned> {
        self.inbox.extend_from_slice(bytes);
        let mut scans = Vec::new();
        while let Some((value, len)) = (!self.inbox.is_empty())
            .then(|| cut_value(&self.inbox))
            .flatten()
        {
            self.inbox.drain(..len);
            let expected = self.expected.pop_front();
            let expected = expected
                .unwrap_or_else(|| panic!("client {}: nobody asked for {value:?}", self.index));
            ledger.longest = ledger.longest.max(now.since(expected.asked_at));
            let answer = expected.judge(self.index, now, &value, hold_max);
            if let Some(number) = expected.number {
                ledger.answered(number, answer);
            }
            if let Some(key) = &expected.counts {
                let (acknowledged, unknown) = self.counted.entry(key.clone()).or_default();
                *(if answer == Answer::Result {
                    acknowledged
                } else {
                    unknown
                }) += i64::from(answer != Answer::Expired);
            }
            if let Want::Scanned = expected.want {
                scans.extend(self.on_scanned(&value, answer));
            }
        }
        scans
    }

    fn on_scanned(&mut self, value: &Value, answer: Answer) -> Option<Scanned> {
        let mut scan = self.scan.take()?;
        let Value::Items(_, items) = value else {
            assert_ne!(answer, Answer::Result, "a SCAN is answered with {value:?}");
            return None;
        };
        let [Value::Bulk(cursor), Value::Items(_, keys)] = items.as_slice() else {
            panic!("no SCAN reply: {items:?}")
        };
        let number: u64 = String::from_utf8_lossy(cursor)
            .parse()
            .expect("a cursor is a number");
        assert!(number < 1 << 63, "cursor {number}");
        scan.seen.extend(keys.iter().filter_map(|key| match key {
            Value::Bulk(name) => Some(name.clone()),
            _ => None,
        }));
        if number == 0 {
            return Some(Scanned {
                from: scan.from,
                seen: scan.seen,
            });
        }
        (scan.cursor, scan.asked) = (cursor.clone(), false);
        self.scan = Some(scan);
        None
    }

    /// It closes its connection; what was not answered never will be.
    pub(crate) fn leave(&mut self) {
        self.gone = true;
        for expected in self.expected.drain(..) {
            if let Some(key) = expected.counts {
                self.counted.entry(key).or_default().1 += 1;
            }
        }
    }
}

impl Expected {
    fn judge(&self, client: usize, now: Now, value: &Value, hold_max: Duration) -> Answer {
        let who = || {
            format!(
                "client {client}, request #{:?} of {:?}",
                self.number, self.asked_at
            )
        };
        if let (
            Value::Error(text),
            Want::Exactly(_) | Want::Integer | Want::Scanned | Want::AnyResult,
        ) = (value, &self.want)
        {
            let text = String::from_utf8_lossy(text);
            if text.contains("was lost after the request was sent") {
                assert!(self.writes, "{}: {text}", who());
                return Answer::Unknown;
            }
            let held = now.since(self.asked_at);
            let expired =
                text.starts_with("CLUSTERDOWN slotcar: no primary for slot") && held >= hold_max;
            assert!(expired, "{}, after {held:?}: {text}", who());
            return Answer::Expired;
        }
        let fits = match &self.want {
            Want::Exactly(wanted) => wanted == value,
            Want::Integer => matches!(value, Value::Integer(_)),
            Want::Error(start) => {
                matches!(value, Value::Error(text) if text.starts_with(start.as_bytes()))
            }
            Want::Scanned | Want::AnyResult => matches!(value, Value::Items(..) | Value::Simple(_)),
        };
        assert!(fits, "{}: got {value:?}", who());
        Answer::Result
    }
}

/// A request with keys that carries `number`.
fn keyed(kind: usize, number: Number, random: &mut Random) -> (Vec<Vec<u8>>, Want) {
    let tag = random.below(TAGS);
    let stable = format!("{{t{tag}}}k{}", random.below(STABLE_KEYS));
    let own = format!("{{t{tag}}}n#{number}");
    let many = |random: &mut Random| -> Vec<String> {
        let mut keys = Vec::new();
        for _ in 0..=random.below(4) {
            let tag = random.below(TAGS);
            keys.push(format!("{{t{tag}}}n#{number}"));
            if random.chance(40) {
                keys.push(format!("{{t{tag}}}k{}", random.below(STABLE_KEYS)));
            }
        }
        keys
    };
    let exactly = |value| Want::Exactly(value);
    let simple = |text: &str| Value::Simple(text.as_bytes().to_vec());
    let int = |n: usize| Value::Integer(i64::try_from(n).unwrap());
    match kind {
        0..14 => (
            words(&format!("SET {stable} v#{number}")),
            exactly(simple(&format!("v#{number}"))),
        ),
        14..28 => {
            let wanted = exactly(Value::bulk(number.to_string()));
            (words(&format!("GETRANGE {stable} {number} -1")), wanted)
        }
        28..34 => (words(&format!("GET {own}")), exactly(Value::bulk(own))),
        34..40 => (
            words(&format!("INCRBY {{t{tag}}}c {number}")),
            Want::Integer,
        ),
        40..44 => (
            words(&format!("APPEND {own} v#{number}")),
            exactly(simple(&format!("v#{number}"))),
        ),
        44..47 => (words(&format!("COPY {stable} {own}")), exactly(int(1))),
        47..55 => {
            let keys = many(random);
            let reply = Value::Items(b'*', keys.iter().map(Value::bulk).collect());
            (words(&format!("MGET {}", keys.join(" "))), exactly(reply))
        }
        55..62 => {
            let pairs: Vec<String> = many(random)
                .iter()
                .map(|key| format!("{key} v#{number}"))
                .collect();
            (
                words(&format!("MSET {}", pairs.join(" "))),
                exactly(simple("OK")),
            )
        }
        _ => {
            let name = random.pick(&["DEL", "UNLINK", "EXISTS", "TOUCH"]);
            let mut keys = many(random);
            if name == "DEL" || name == "UNLINK" {
                // Stable keys stay.
                keys.retain(|key| key.contains('#'));
            }
            (
                words(&format!("{name} {}", keys.join(" "))),
                exactly(int(keys.len())),
            )
        }
    }
}

fn words(line: &str) -> Vec<Vec<u8>> {
    line.split(' ')
        .map(|word| word.as_bytes().to_vec())
        .collect()
}

fn slots(words: &[Vec<u8>]) -> Vec<u16> {
    words
        .iter()
        .filter(|word| word.starts_with(b"{"))
        .map(|key| Slot::of_key(key).get())
        .collect()
}
