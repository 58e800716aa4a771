//! CLIENT TRACKING: a client that caches hears of every change, at whichever node, as it would of one server.

use std::net::SocketAddr;
use std::time::Duration;

use crate::support::conn::encode;
use crate::support::{Cluster, Conn, Server, ServerKind, Slotcar, Value, slot_of, wait_until};
use crate::watch_nodes::{key_at, key_at_each};

on_both!(
    invalidations_are_those_of_one_server,
    every_change_of_a_thousand_keys_is_told_once,
    a_cache_is_told_when_a_primary_dies,
    a_cache_is_told_of_changes_after_its_slot_has_moved,
);

/// Stories: who says what. `me` tracks in RESP3, `old` is an RESP2 client that listens for `other`s, A, B and C are keys
/// of three primaries, and ID is the id of `old`.
const STORIES: &[&[&str]] = &[
    &[
        "me CLIENT TRACKING ON",
        "me CLIENT TRACKINGINFO",
        "me GET A",
        "me GET B",
        "me MGET B C",
        "other SET A 1",
        "other SET A 2",
        "other SET B 1",
        "me GET A",
        "me SET A 3",
        "other DEL C",
        "me CLIENT TRACKING OFF",
        "me GET B",
        "other SET B 2",
    ],
    &[
        "me CLIENT TRACKING ON NOLOOP",
        "me GET A",
        "me GET B",
        "me SET A 1",
        "other SET B 1",
        "me GET A",
        "other MSET A 2 B 2",
    ],
    &[
        "me CLIENT TRACKING ON OPTIN",
        "me GET A",
        "me CLIENT CACHING YES",
        "me GET B",
        "me GET C",
        "other SET A 1",
        "other SET B 1",
        "other SET C 1",
    ],
    &[
        "me CLIENT TRACKING ON OPTOUT",
        "me CLIENT CACHING NO",
        "me GET A",
        "me GET B",
        "other SET A 1",
        "other SET B 1",
    ],
    &[
        "me CLIENT TRACKING ON BCAST PREFIX A PREFIX C",
        "other SET A 1",
        "other SET B 1",
        "other SET C 1",
        "other SET A 1",
        "me SET C 2",
        "me CLIENT TRACKING OFF",
        "other SET A 3",
    ],
    &[
        "me CLIENT TRACKING ON BCAST",
        "other SET A 1",
        "other SET B 1",
        "other EVAL redis.call('SET',KEYS[1],2) 1 C",
    ],
    &[
        "me CLIENT TRACKING ON",
        "me GET A",
        "me GET B",
        "other FLUSHALL",
    ],
    &[
        "me CLIENT TRACKING ON",
        "me GET A",
        "me RESET",
        "other SET A 1",
        "me GET A",
    ],
    &[
        "old SUBSCRIBE __redis__:invalidate",
        "plain CLIENT TRACKING ON REDIRECT ID",
        "plain CLIENT GETREDIR",
        "plain GET A",
        "plain GET B",
        "other SET A 1",
        "other SET B 1",
        "plain CLIENT TRACKING OFF",
        "other SET A 2",
    ],
    &[
        "me CLIENT TRACKING ON",
        "me GET A",
        "me MULTI",
        "me GET {A}1",
        "me GET {A}2",
        "me EXEC",
        "other SET {A}1 1",
        "other SET A 1",
    ],
    &[
        "me CLIENT TRACKING ON BCAST OPTIN",
        "me CLIENT TRACKING ON OPTIN OPTOUT",
        "me CLIENT CACHING YES",
    ],
    &[
        "plain CLIENT TRACKING ON REDIRECT 123456789",
        "plain CLIENT TRACKING ON PREFIX a",
    ],
];

fn invalidations_are_those_of_one_server(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let slotcar = Slotcar::before(&cluster);
    let plain = Server::start_plain(kind);
    for (number, story) in STORIES.iter().enumerate() {
        let keys = key_at_each(&cluster, &format!("k{number}"));
        let expected = Stage::new(plain.addr(), &keys).play(story, None);
        let seen = Stage::new(slotcar.addr(), &keys).play(story, Some(&expected));
        for ((step, expected), seen) in story.iter().zip(&expected).zip(&seen) {
            assert_eq!(seen, expected, "{step} in {story:#?} with {keys:?}");
        }
    }
}

/// What came of one step: its reply, and what `me` and `old` heard.
#[derive(Debug, PartialEq)]
struct Heard {
    reply: Value,
    me: Vec<Value>,
    old: Vec<Value>,
}

/// The clients of a story.
struct Stage<'a> {
    me: Conn,
    old: Conn,
    plain: Conn,
    other: Conn,
    /// Whether `me` is between MULTI and EXEC, where a fence would be queued.
    in_transaction: bool,
    id: String,
    keys: &'a [String; 3],
}

impl<'a> Stage<'a> {
    fn new(addr: SocketAddr, keys: &'a [String; 3]) -> Stage<'a> {
        let mut old = Conn::open(addr);
        let mut other = Conn::open(addr);
        other.ok(&["FLUSHALL"]);
        Stage {
            me: Conn::open_resp3(addr),
            id: old.ok(&["CLIENT", "ID"]).int().to_string(),
            old,
            plain: Conn::open(addr),
            other,
            in_transaction: false,
            keys,
        }
    }

    /// One server has told everybody before it answers the next request; elsewhere that many are waited for.
    fn play(mut self, story: &[&str], expected: Option<&[Heard]>) -> Vec<Heard> {
        let steps = story.iter().enumerate();
        let mut heard: Vec<Heard> = steps
            .map(|(number, step)| self.step(step, expected.and_then(|all| all.get(number))))
            .collect();
        let me = fence(&mut self.me);
        if let Some(last) = heard.last_mut() {
            last.me.extend(me);
        }
        heard
    }

    fn step(&mut self, step: &str, expected: Option<&Heard>) -> Heard {
        let (who, words) = self.words(step);
        let mut me = Vec::new();
        let conn = match who {
            "me" => &mut self.me,
            "old" => &mut self.old,
            "plain" => &mut self.plain,
            _ => &mut self.other,
        };
        conn.send_raw(&encode(&words));
        let reply = answer(conn, &mut me);
        self.in_transaction = match words.first().map(String::as_str) {
            Some("MULTI") => true,
            Some("EXEC") => false,
            _ => self.in_transaction,
        };
        let mut old = Vec::new();
        match expected {
            None => {
                let me_may_speak = !step.contains(" CACHING ") && !self.in_transaction;
                if me_may_speak {
                    me.extend(fence(&mut self.me));
                }
                if who != "old" {
                    old.extend(fence_subscribed(&mut self.old));
                }
            }
            Some(expected) => {
                me.extend((me.len()..expected.me.len()).map(|_| self.me.recv()));
                old.extend(expected.old.iter().map(|_| self.old.recv()));
            }
        }
        // Changes at several nodes are told in no order.
        me.sort_by_key(|push| format!("{push:?}"));
        old.sort_by_key(|push| format!("{push:?}"));
        let reply = self.without_id(reply);
        Heard { reply, me, old }
    }

    fn words<'s>(&self, step: &'s str) -> (&'s str, Vec<String>) {
        let (who, request) = step.split_once(' ').expect("who, then what");
        let words = request.split(' ').map(|word| match word {
            "A" => self.keys[0].clone(),
            "B" => self.keys[1].clone(),
            "C" => self.keys[2].clone(),
            "{A}1" => format!("{{{}}}1", self.keys[0]),
            "{A}2" => format!("{{{}}}2", self.keys[0]),
            "ID" => self.id.clone(),
            word => word.to_owned(),
        });
        (who, words.collect())
    }

    /// Ids of clients differ from server to server.
    fn without_id(&self, reply: Value) -> Value {
        match reply {
            Value::Int(id) if id.to_string() == self.id => Value::Simple("ID".to_owned()),
            reply => reply,
        }
    }
}

/// The next reply; pushes before it go to `pushes`.
fn answer(conn: &mut Conn, pushes: &mut Vec<Value>) -> Value {
    loop {
        match conn.recv() {
            push @ Value::Push(_) => pushes.push(push),
            reply => return reply,
        }
    }
}

/// Everything that was pushed until now, as one server orders it.
fn fence(conn: &mut Conn) -> Vec<Value> {
    let mut pushes = Vec::new();
    conn.send_raw(&encode(&["ECHO", FENCE]));
    let echo = answer(conn, &mut pushes);
    assert_eq!(echo.text(), FENCE);
    pushes
}

/// The same of an RESP2 client, subscribed or not.
fn fence_subscribed(conn: &mut Conn) -> Vec<Value> {
    conn.send_raw(&encode(&["PING", FENCE]));
    let mut messages = Vec::new();
    loop {
        match conn.recv() {
            Value::Array(pair) if pair.len() == 3 => messages.push(Value::Array(pair)),
            _ => return messages,
        }
    }
}

fn every_change_of_a_thousand_keys_is_told_once(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let slotcar = Slotcar::before(&cluster);
    let keys: Vec<String> = (0..1000).map(|number| format!("k:{number}")).collect();
    let mut me = Conn::open_resp3(slotcar.addr());
    let mut bystander = Conn::open_resp3(slotcar.addr());
    let mut other = slotcar.conn();
    me.ok(&["CLIENT", "TRACKING", "ON"]);
    for round in ["1", "2"] {
        let words: Vec<&str> = keys.iter().map(|key| &**key).collect();
        let mut pushes = Vec::new();
        me.send_raw(&encode(&[&["MGET"], &words[..]].concat()));
        assert_eq!(answer(&mut me, &mut pushes).list().len(), keys.len());
        assert!(pushes.is_empty(), "{pushes:?}");
        for key in &keys {
            bystander.ok(&["GET", key]);
            other.ok(&["SET", key, round]);
        }
        let mut told: Vec<String> = keys.iter().flat_map(|_| invalidated(&me.recv())).collect();
        told.sort();
        let mut all = keys.clone();
        all.sort();
        assert_eq!(told, all, "round {round}");
    }
    assert!(fence(&mut me).is_empty());
    assert!(
        fence(&mut bystander).is_empty(),
        "who does not track hears nothing"
    );
}

fn a_cache_is_told_when_a_primary_dies(kind: ServerKind) {
    let mut cluster = Cluster::start(kind, 3, 1);
    let mut slotcar = Slotcar::before(&cluster);
    for node in 0..6 {
        slotcar.expect_log(&cluster.addr(node).to_string());
    }
    let key = key_at(&cluster, 0, "k");
    let mut me = Conn::open_resp3(slotcar.addr());
    let mut other = slotcar.conn();
    me.ok(&["CLIENT", "TRACKING", "ON"]);
    me.ok(&["GET", &key]);
    cluster.kill(0);
    // Whatever the node would have told is lost: all or this key has to be forgotten.
    let push = me.recv();
    let told = invalidated(&push);
    assert!(told.is_empty() || told.contains(&key), "{push:?}");
    // And the new primary tells of changes.
    let mut pushes = Vec::new();
    me.send_raw(&encode(&["GET", &key]));
    assert_eq!(answer(&mut me, &mut pushes), Value::Nil);
    other.ok(&["SET", &key, "1"]);
    wait_for_key(&mut me, &key);
}

fn a_cache_is_told_of_changes_after_its_slot_has_moved(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let mut slotcar = Slotcar::before(&cluster);
    slotcar.expect_log("the nodes do not agree who serves what");
    let key = key_at(&cluster, 0, "k");
    let mut me = Conn::open_resp3(slotcar.addr());
    let mut other = slotcar.conn();
    other.ok(&["SET", &key, "0"]);
    me.ok(&["CLIENT", "TRACKING", "ON"]);
    me.ok(&["GET", &key]);
    // The key leaves the old owner, which tells of it as of any deletion.
    cluster.move_slots(0, 1, &[slot_of(&key)]);
    wait_for_key(&mut me, &key);
    let mut pushes = Vec::new();
    me.send_raw(&encode(&["GET", &key]));
    assert_eq!(answer(&mut me, &mut pushes).text(), "0");
    other.ok(&["SET", &key, "1"]);
    wait_for_key(&mut me, &key);
}

/// Reads pushes until one concerns the key; none at all would end in the client's own time-out.
fn wait_for_key(conn: &mut Conn, key: &str) {
    wait_until("the key is told", Duration::from_secs(20), || {
        let told = invalidated(&conn.recv());
        told.is_empty() || told.iter().any(|each| each == key)
    });
}

/// The keys of an invalidation; none means all.
fn invalidated(push: &Value) -> Vec<String> {
    match push {
        Value::Push(parts) if parts.len() == 2 && parts[0].text() == "invalidate" => {
            match &parts[1] {
                Value::Nil => Vec::new(),
                keys => keys.list().iter().map(Value::text).collect(),
            }
        }
        other => panic!("not an invalidation: {other:?}"),
    }
}

const FENCE: &str = "no more until here";
