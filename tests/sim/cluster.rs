//! A model cluster: nodes that own slots, refuse what is not theirs as real nodes do, and hear of changes late.
//!
//! What one shard's nodes store is the same at each (a failover loses nothing): what a client has been told must be true.

use std::collections::BTreeMap;

use slotcar::topology::{Endpoint, Slot, Topology};

use crate::random::{Random, mix};
use crate::rig::{self, ShardPlan};
use crate::wire::Value;

/// Tags of the keys that clients use: `{t0}…`. Only their slots ever move by themselves.
pub(crate) const TAGS: usize = 6;
/// Keys of each tag that exist all the time: `{t0}k0`.
pub(crate) const STABLE_KEYS: usize = 3;

pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    pub(crate) shards: Vec<Shard>,
    pub(crate) slots: Vec<SlotState>,
    keys: BTreeMap<Vec<u8>, Key>,
    ports: u16,
}

pub(crate) struct Node {
    pub(crate) endpoint: Endpoint,
    pub(crate) shard: usize,
    pub(crate) up: bool,
    /// Stopped: takes bytes and does nothing.
    pub(crate) paused: bool,
    /// What it says to everything, until then.
    pub(crate) trouble: Option<(Trouble, u64)>,
    /// No byte passes between it and slotcar until then.
    pub(crate) cut_until: u64,
    view: View,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    Loading,
    ClusterDown,
    ReadOnly,
    MasterDown,
}

/// Who is who, as one node believes.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct View {
    /// The primary of each shard.
    primaries: Vec<usize>,
    /// The shard of each tag's slot.
    owners: Vec<usize>,
    /// Where each node was when this one last heard.
    addresses: Vec<Endpoint>,
}

pub(crate) struct Shard {
    pub(crate) primary: usize,
    /// Slots that never move between shards; both ends included.
    base: (u16, u16),
}

pub(crate) struct SlotState {
    pub(crate) slot: u16,
    pub(crate) owner: usize,
    pub(crate) migrating_to: Option<usize>,
}

struct Key {
    shard: usize,
    number: i64,
}

/// What a node made of a request.
pub(crate) enum Done {
    Executed(Value),
    /// It declined; nothing has happened.
    Refused(Value),
}

impl Cluster {
    pub(crate) fn new(shards: usize, replicas: usize) -> Self {
        let mut cluster = Self {
            nodes: Vec::new(),
            shards: Vec::new(),
            slots: Vec::new(),
            keys: BTreeMap::new(),
            ports: 7000,
        };
        let width = 16384 / shards;
        for shard in 0..shards {
            let last = if shard + 1 == shards {
                16383
            } else {
                (shard + 1) * width - 1
            };
            let number = |n: usize| u16::try_from(n).unwrap();
            cluster.shards.push(Shard {
                primary: cluster.nodes.len(),
                base: (number(shard * width), number(last)),
            });
            for _ in 0..=replicas {
                let endpoint = cluster.new_endpoint();
                let view = View {
                    primaries: Vec::new(),
                    owners: Vec::new(),
                    addresses: Vec::new(),
                };
                cluster.nodes.push(Node {
                    endpoint,
                    shard,
                    up: true,
                    paused: false,
                    trouble: None,
                    cut_until: 0,
                    view,
                });
            }
        }
        for tag in 0..TAGS {
            let slot = Slot::of_key(format!("t{tag}").as_bytes()).get();
            let home = |shard: &Shard| shard.base.0 <= slot && slot <= shard.base.1;
            let owner = cluster.shards.iter().position(home).unwrap();
            cluster.slots.push(SlotState {
                slot,
                owner,
                migrating_to: None,
            });
            for key in 0..STABLE_KEYS {
                cluster.keys.insert(
                    format!("{{t{tag}}}k{key}").into_bytes(),
                    Key {
                        shard: owner,
                        number: 0,
                    },
                );
            }
        }
        let truth = cluster.truth();
        cluster
            .nodes
            .iter_mut()
            .for_each(|node| node.view = truth.clone());
        cluster
    }

    pub(crate) fn new_endpoint(&mut self) -> Endpoint {
        self.ports += 1;
        Endpoint::new("127.0.0.1", self.ports)
    }

    pub(crate) fn node_at(&self, endpoint: &Endpoint) -> Option<usize> {
        self.nodes
            .iter()
            .position(|node| node.up && node.endpoint == *endpoint)
    }

    /// How things are.
    pub(crate) fn truth(&self) -> View {
        View {
            primaries: self.shards.iter().map(|shard| shard.primary).collect(),
            owners: self.slots.iter().map(|slot| slot.owner).collect(),
            addresses: self
                .nodes
                .iter()
                .map(|node| node.endpoint.clone())
                .collect(),
        }
    }

    pub(crate) fn is_awake(&self, node: usize) -> bool {
        self.nodes[node].up && !self.nodes[node].paused
    }

    /// A node hears how things are.
    pub(crate) fn hear(&mut self, node: usize) {
        self.nodes[node].view = self.truth();
    }

    pub(crate) fn all_agree(&self) -> bool {
        let truth = self.truth();
        self.nodes.iter().all(|node| !node.up || node.view == truth)
    }

    /// What a node would answer to CLUSTER SLOTS.
    pub(crate) fn topology(&self, node: usize, version: u64) -> Topology {
        let view = &self.nodes[node].view;
        let plan = |(shard, &primary): (usize, &usize)| ShardPlan {
            primary: view.addresses[primary].clone(),
            replicas: (self.nodes.iter().enumerate())
                .filter(|(index, node)| node.shard == shard && *index != primary && node.up)
                .map(|(index, _)| view.addresses[index].clone())
                .collect(),
            ranges: self.ranges(view, shard),
        };
        rig::topology(
            version,
            view.primaries.iter().enumerate().map(plan).collect(),
        )
    }

    fn ranges(&self, view: &View, shard: usize) -> Vec<(u16, u16)> {
        let (first, last) = self.shards[shard].base;
        let mut special: Vec<(u16, usize)> = self
            .slots
            .iter()
            .map(|s| s.slot)
            .zip(view.owners.iter().copied())
            .collect();
        special.sort_unstable();
        let (mut ranges, mut from) = (Vec::new(), u32::from(first));
        for &(slot, _) in special
            .iter()
            .filter(|(slot, _)| first <= *slot && *slot <= last)
        {
            if from < u32::from(slot) {
                ranges.push((u16::try_from(from).unwrap(), slot - 1));
            }
            from = u32::from(slot) + 1;
        }
        if from <= u32::from(last) {
            ranges.push((u16::try_from(from).unwrap(), last));
        }
        ranges.extend(
            special
                .iter()
                .filter(|(_, owner)| *owner == shard)
                .map(|(slot, _)| (*slot, *slot)),
        );
        ranges
    }

    /// Moves one key of a migrating slot; false if none is left.
    pub(crate) fn move_key(&mut self, tag: usize) -> bool {
        let (from, to) = (self.slots[tag].owner, self.slots[tag].migrating_to.unwrap());
        let prefix = format!("{{t{tag}}}").into_bytes();
        let mut keys = self
            .keys
            .iter_mut()
            .filter(|(name, _)| name.starts_with(&prefix));
        match keys.find(|(_, key)| key.shard == from) {
            Some((_, key)) => key.shard = to,
            None => return false,
        }
        true
    }

    /// The importing node takes the slot; the others hear of it.
    pub(crate) fn finish_migration(&mut self, tag: usize) {
        let to = self.slots[tag].migrating_to.take().unwrap();
        self.slots[tag].owner = to;
        let primary = self.shards[to].primary;
        self.nodes[primary].view.owners[tag] = to;
    }

    pub(crate) fn counter(&self, name: &[u8]) -> i64 {
        self.keys.get(name).map_or(0, |key| key.number)
    }

    /// What node `at` makes of a request. `asking`: it came behind an ASKING.
    pub(crate) fn serve(
        &mut self,
        at: usize,
        words: &[Vec<u8>],
        asking: bool,
        random: &mut Random,
    ) -> Done {
        if let Some(refusal) = self.refusal(at, words, asking, random) {
            return refuse(&refusal);
        }
        let name = String::from_utf8_lossy(&words[0]).to_uppercase();
        let keys = keys_of(&name, words);
        if keys.is_empty() {
            return Done::Executed(self.keyless(at, &name, words));
        }
        let shard = self.nodes[at].shard;
        Done::Executed(self.execute(shard, &name, words, &keys))
    }

    /// Why node `at` would not execute a request.
    pub(crate) fn refusal(
        &self,
        at: usize,
        words: &[Vec<u8>],
        asking: bool,
        random: &mut Random,
    ) -> Option<String> {
        let name = String::from_utf8_lossy(&words[0]).to_uppercase();
        let trouble = self.nodes[at].trouble.map(|(trouble, _)| trouble);
        let keys = keys_of(&name, words);
        if trouble == Some(Trouble::Loading)
            && name != "HELLO"
            && name != "CLIENT"
            && name != "ASKING"
        {
            return Some("LOADING Redis is loading the dataset in memory".to_owned());
        }
        let first = keys.first()?;
        let slot = Slot::of_key(first);
        assert!(
            keys.iter().all(|key| Slot::of_key(key) == slot),
            "keys of several slots in one part: {words:?}"
        );
        match trouble {
            Some(Trouble::ClusterDown) => return Some("CLUSTERDOWN The cluster is down".into()),
            Some(Trouble::MasterDown) => return Some("MASTERDOWN Link with MASTER is down".into()),
            Some(Trouble::ReadOnly) if is_write(&name) => {
                return Some("READONLY You can't write against a read only replica.".into());
            }
            Some(Trouble::Loading | Trouble::ReadOnly) | None => {}
        }
        self.redirection(at, slot.get(), &keys, asking, random)
    }

    /// What a node says about a slot that it does not serve whole.
    fn redirection(
        &self,
        at: usize,
        slot: u16,
        keys: &[&[u8]],
        asking: bool,
        random: &mut Random,
    ) -> Option<String> {
        let tag = self
            .slots
            .iter()
            .position(|s| s.slot == slot)
            .expect("a slot of a tag");
        let (node, state) = (&self.nodes[at], &self.slots[tag]);
        let owner = node.view.owners[tag];
        let is_primary = node.view.primaries[node.shard] == at;
        let here = |key: &&&[u8]| {
            self.keys
                .get(**key)
                .is_some_and(|key| key.shard == node.shard)
        };
        let missing = keys.len() - keys.iter().filter(here).count();
        let tryagain =
            || Some("TRYAGAIN Multiple keys request during rehashing of slot".to_owned());
        // All nodes are on one host: an empty one means the same.
        let no_host = random.chance(20);
        let moved = |word: &str, shard: usize| {
            let to = &node.view.addresses[node.view.primaries[shard]];
            let host = if no_host { "" } else { &*to.host };
            Some(format!("{word} {slot} {host}:{}", to.port))
        };
        if owner == node.shard && is_primary {
            // The old owner stays in the state of migrating until it has heard that it is the owner no more.
            let target = state
                .migrating_to
                .or((state.owner != node.shard).then_some(state.owner));
            return match target.filter(|target| *target != node.shard && missing > 0) {
                Some(_) if missing < keys.len() => tryagain(),
                Some(target) => moved("ASK", target),
                None => None,
            };
        }
        let imports = is_primary && state.migrating_to == Some(node.shard);
        match imports && asking {
            true if keys.len() > 1 && missing > 0 => tryagain(),
            true => None,
            false => moved("MOVED", owner),
        }
    }

    fn execute(&mut self, shard: usize, name: &str, words: &[Vec<u8>], keys: &[&[u8]]) -> Value {
        let tag = String::from_utf8_lossy(words.last().unwrap()).into_owned();
        let number =
            |word: usize| -> i64 { String::from_utf8_lossy(&words[word]).parse().unwrap() };
        let mut touch = |key: &[u8], by: i64| {
            let key = self
                .keys
                .entry(key.to_vec())
                .or_insert(Key { shard, number: 0 });
            key.number += by;
            key.number
        };
        match name {
            "SET" | "APPEND" => {
                touch(keys[0], 0);
                Value::Simple(tag.into_bytes())
            }
            "MSET" => {
                for key in keys {
                    touch(key, 0);
                }
                Value::Simple(b"OK".to_vec())
            }
            "INCR" => Value::Integer(touch(keys[0], 1)),
            "INCRBY" => Value::Integer(touch(keys[0], number(2))),
            "GET" => Value::bulk(keys[0]),
            "GETRANGE" => Value::bulk(&words[2]),
            "MGET" => Value::Items(b'*', keys.iter().map(Value::bulk).collect()),
            "EXISTS" | "TOUCH" => Value::Integer(i64::try_from(keys.len()).unwrap()),
            "DEL" | "UNLINK" => {
                self.keys.retain(|name, _| !keys.contains(&name.as_slice()));
                Value::Integer(i64::try_from(keys.len()).unwrap())
            }
            "COPY" => {
                touch(keys[1], 0);
                Value::Integer(1)
            }
            other => panic!("the model does not know {other}"),
        }
    }

    fn keyless(&self, at: usize, name: &str, words: &[Vec<u8>]) -> Value {
        let shard = self.nodes[at].shard;
        let own = self.keys.iter().filter(|(_, key)| key.shard == shard);
        match name {
            "PING" => Value::Simple(b"PONG".to_vec()),
            "HELLO" => Value::Items(b'%', vec![Value::bulk("proto"), Value::Integer(3)]),
            "DBSIZE" => Value::Integer(i64::try_from(own.count()).unwrap()),
            "SCAN" => {
                // A cursor is a place in this node's own order.
                let hash = |name: &[u8]| {
                    name.iter()
                        .fold(at as u64, |hash, b| mix(hash ^ u64::from(*b)))
                        .max(1)
                };
                let cursor: u64 = String::from_utf8_lossy(&words[1]).parse().unwrap();
                let mut keys: Vec<(u64, &Vec<u8>)> =
                    own.map(|(name, _)| (hash(name), name)).collect();
                keys.retain(|(hash, _)| *hash >= cursor);
                keys.sort_unstable();
                let next = keys.get(20).map_or(0, |(hash, _)| *hash);
                let keys = keys
                    .iter()
                    .take(20)
                    .map(|(_, name)| Value::bulk(name))
                    .collect();
                Value::Items(
                    b'*',
                    vec![Value::bulk(next.to_string()), Value::Items(b'*', keys)],
                )
            }
            _ => Value::Simple(b"OK".to_vec()),
        }
    }
}

fn refuse(text: &str) -> Done {
    Done::Refused(Value::Error(text.as_bytes().to_vec()))
}

pub(crate) fn is_write(name: &str) -> bool {
    matches!(
        name,
        "SET" | "APPEND" | "MSET" | "INCR" | "INCRBY" | "DEL" | "UNLINK" | "COPY"
    )
}

fn keys_of<'a>(name: &str, words: &'a [Vec<u8>]) -> Vec<&'a [u8]> {
    let args = words[1..].iter().map(Vec::as_slice);
    match name {
        "SET" | "APPEND" | "INCR" | "INCRBY" | "GET" | "GETRANGE" => args.take(1).collect(),
        "COPY" => args.take(2).collect(),
        "MSET" => args.step_by(2).collect(),
        "MGET" | "DEL" | "UNLINK" | "EXISTS" | "TOUCH" => args.collect(),
        _ => Vec::new(),
    }
}
