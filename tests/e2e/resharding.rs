//! Slots move while clients work, and no client notices.
//!
//! Every client owns its keys and knows by a model what each reply must be, so a lost or doubled write, a reply out of
//! order or a redirection that shows is found at the request that met it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::support::{Cluster, Conn, Random, ServerKind, SetOnDrop, Slotcar, Value, slot_of};

on_both!(all_slots_of_a_primary_move_and_come_back_under_load);

fn all_slots_of_a_primary_move_and_come_back_under_load(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let mut slotcar = Slotcar::before(&cluster);
    // True while a slot is on its way, and worth a line.
    slotcar.expect_log("the nodes do not agree who serves what");
    let slots = cluster.slots_of(0);
    let (done, requests) = (AtomicBool::new(false), AtomicUsize::new(0));

    let shared_increments: usize = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|id| {
                let (slotcar, done, requests) = (&slotcar, &done, &requests);
                scope.spawn(move || {
                    let mut client = Client::new(id, slotcar);
                    while !done.load(Ordering::Relaxed) {
                        requests.fetch_add(client.pipeline(), Ordering::Relaxed);
                    }
                    client.shared_increments
                })
            })
            .collect();
        let end = SetOnDrop(&done);
        for (from, to) in [(0, 1), (1, 0)] {
            cluster.move_slots(from, to, &slots);
            let redirections = slotcar.counter("redirections");
            println!(
                "{} slots from node {from} to node {to}: {redirections} redirections so far",
                slots.len()
            );
        }
        drop(end);
        clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .sum()
    });

    let requests = requests.into_inner();
    let redirections = slotcar.counter("redirections");
    println!("{requests} requests, {redirections} redirections, none seen by a client");
    assert!(redirections > 0, "the load met no redirection at all");
    assert_eq!(cluster.slots_of(0), slots, "the slots are back");
    assert_eq!(
        shared_total(&cluster),
        shared_increments,
        "increments of shared counters"
    );
}

struct Client {
    id: usize,
    conn: Conn,
    random: Random,
    model: HashMap<String, String>,
    shared_increments: usize,
}

/// What a reply must be.
enum Expected {
    Is(Value),
    AnyNumber,
}

impl Client {
    fn new(id: usize, slotcar: &Slotcar) -> Client {
        let seed = u64::try_from(id).unwrap() + 1;
        Client {
            id,
            conn: if id.is_multiple_of(2) {
                slotcar.conn()
            } else {
                Conn::open_resp3(slotcar.addr())
            },
            random: Random::new(seed),
            model: HashMap::new(),
            shared_increments: 0,
        }
    }

    /// Sends one pipeline, checks every reply, returns the number of requests.
    fn pipeline(&mut self) -> usize {
        let depth = 1 + self.random.below(32);
        let (requests, expected): (Vec<_>, Vec<_>) = (0..depth).map(|_| self.request()).unzip();
        let replies = self.conn.pipeline(&requests);
        for (position, (reply, expected)) in replies.iter().zip(&expected).enumerate() {
            let right = match expected {
                Expected::Is(value) => reply == value,
                Expected::AnyNumber => matches!(reply, Value::Int(_)),
            };
            if !right {
                let expected = match expected {
                    Expected::Is(value) => format!("{value:?}"),
                    Expected::AnyNumber => "a number".to_owned(),
                };
                let request = requests[position].join(" ");
                panic!(
                    "client {}, request {position} of {depth}: {request}\n  expected {expected}\n  got {reply:?}",
                    self.id
                );
            }
        }
        depth
    }

    fn request(&mut self) -> (Vec<String>, Expected) {
        match self.random.below(10) {
            0..=1 => self.increment(),
            2 => self.increment_shared(),
            3..=4 => self.set(),
            5..=6 => self.get(),
            7 => self.mset(),
            8 => self.mget(),
            _ => self.delete(),
        }
    }

    fn increment(&mut self) -> (Vec<String>, Expected) {
        let key = format!("count:{}:{}", self.id, self.random.below(KEYS));
        let old: i64 = self
            .model
            .get(&key)
            .map_or(0, |value| value.parse().unwrap());
        self.model.insert(key.clone(), (old + 1).to_string());
        (
            vec!["INCR".to_owned(), key],
            Expected::Is(Value::Int(old + 1)),
        )
    }

    fn increment_shared(&mut self) -> (Vec<String>, Expected) {
        self.shared_increments += 1;
        let key = shared_key(self.random.below(SHARED_KEYS));
        (vec!["INCR".to_owned(), key], Expected::AnyNumber)
    }

    fn set(&mut self) -> (Vec<String>, Expected) {
        let (key, value) = (self.key(), self.value());
        self.model.insert(key.clone(), value.clone());
        (vec!["SET".to_owned(), key, value], ok())
    }

    fn get(&mut self) -> (Vec<String>, Expected) {
        let key = self.key();
        let expected = self.stored(&key);
        (vec!["GET".to_owned(), key], Expected::Is(expected))
    }

    fn delete(&mut self) -> (Vec<String>, Expected) {
        let key = self.key();
        let existed = self.model.remove(&key).is_some();
        let expected = Expected::Is(Value::Int(existed.into()));
        (vec!["DEL".to_owned(), key], expected)
    }

    fn mset(&mut self) -> (Vec<String>, Expected) {
        let mut request = vec!["MSET".to_owned()];
        for _ in 0..1 + self.random.below(10) {
            let (key, value) = (self.key(), self.value());
            self.model.insert(key.clone(), value.clone());
            request.extend([key, value]);
        }
        (request, ok())
    }

    fn mget(&mut self) -> (Vec<String>, Expected) {
        let keys: Vec<String> = (0..1 + self.random.below(10)).map(|_| self.key()).collect();
        let values = keys.iter().map(|key| self.stored(key)).collect();
        let request = std::iter::once("MGET".to_owned()).chain(keys).collect();
        (request, Expected::Is(Value::Array(values)))
    }

    /// Several keys share a slot, so that a slot in migration can hold some keys of a request and lack others.
    fn key(&mut self) -> String {
        let (tag, name) = (self.random.below(KEYS), self.random.below(4));
        format!("{{{}:{tag}}}:{name}", self.id)
    }

    fn value(&mut self) -> String {
        format!("{:x}", self.random.below(1 << 30))
    }

    fn stored(&self, key: &str) -> Value {
        let value = self.model.get(key);
        value.map_or(Value::Nil, |value| Value::Bulk(value.clone().into_bytes()))
    }
}

fn ok() -> Expected {
    Expected::Is(Value::Simple("OK".to_owned()))
}

fn shared_key(number: usize) -> String {
    format!("shared:{number}")
}

/// Asked at the owners, past slotcar.
fn shared_total(cluster: &Cluster) -> usize {
    (0..SHARED_KEYS)
        .map(|number| {
            let key = shared_key(number);
            let mut owner = cluster.conn(cluster.owner_of(slot_of(&key)));
            match owner.ok(&["GET", &key]) {
                Value::Nil => 0,
                value => value.text().parse().unwrap(),
            }
        })
        .sum()
}

const CLIENTS: usize = 8;
const KEYS: usize = 300;
const SHARED_KEYS: usize = 100;
