//! What of a configuration may change while slotcar runs, and what needs a restart.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::draft::Given;
use super::key::Key;
use super::keys::KEYS;
use super::{Config, Upstream};
use crate::net::ListenAddr;

/// What was set, to be compared: a value may be a secret, so only its hash is kept.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Said(BTreeMap<&'static str, u64>);

/// What has become of a changed configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Keys whose new values count from now on.
    pub taken: Vec<String>,
    /// Keys whose new values need a restart.
    pub left: Vec<String>,
}

impl Said {
    /// `given`: those first that win.
    pub(super) fn of(given: &[Given]) -> Self {
        let mut said = BTreeMap::new();
        for given in given {
            if let Entry::Vacant(place) = said.entry(given.key.target()) {
                let mut hasher = DefaultHasher::new();
                (given.key.name, &given.values).hash(&mut hasher);
                place.insert(hasher.finish());
            }
        }
        Self(said)
    }

    /// The keys that the two do not say alike.
    fn differences(&self, other: &Self) -> impl Iterator<Item = &'static Key> {
        let keys = KEYS.iter().filter(|key| key.instead_of.is_none());
        keys.filter(|key| self.0.get(key.name) != other.0.get(key.name))
    }
}

impl Config {
    /// Takes what may change from a newer configuration, of all listeners, and tells of what else has changed.
    pub fn take_live(&mut self, newer: &Self) -> Changes {
        let mut changes = Changes::default();
        self.take_own(newer, "", &mut changes);
        let mut unmatched = self.others.len() != newer.others.len();
        for (number, own) in (1..).zip(&mut self.others) {
            // By where it listens: another place in the file may be another listener.
            match newer.others.iter().find(|other| other.listens_like(own)) {
                Some(newer) => own.take_own(newer, &format!("listener {number}: "), &mut changes),
                None => unmatched = true,
            }
        }
        if unmatched {
            changes.left.push("listener".to_owned());
        }
        changes
    }

    fn listens_like(&self, other: &Self) -> bool {
        let addresses = |config: &Self| -> Vec<ListenAddr> {
            let listeners = config.listeners.iter();
            listeners.map(|listener| listener.address.clone()).collect()
        };
        addresses(self) == addresses(other)
    }

    fn take_own(&mut self, newer: &Self, whose: &str, changes: &mut Changes) {
        let different: Vec<&Key> = self.said.differences(&newer.said).collect();
        // Half of another upstream is none: its secrets would be told to the wrong one.
        let is_whole = different
            .iter()
            .all(|key| key.is_live || !key.is_of_upstream);
        let has_seeds = is_whole && self.take_seeds(&newer.upstream);
        for key in different {
            let is_taken = key.is_live && (has_seeds || !key.is_of_upstream);
            let list = if is_taken {
                &mut changes.taken
            } else {
                &mut changes.left
            };
            // What is as for all is told once.
            if !list.iter().any(|told| told == key.name) {
                list.push(format!("{whose}{}", key.name));
            }
            if !is_taken {
                // Told again the next time, because it still needs a restart.
                continue;
            }
            match newer.said.0.get(key.name) {
                Some(&said) => self.said.0.insert(key.name, said),
                None => self.said.0.remove(key.name),
            };
        }
        self.log_level = newer.log_level;
        self.clients_max = newer.clients_max;
        self.client_idle_timeout = newer.client_idle_timeout;
        self.failover_hold = newer.failover_hold;
        // None is what has been found at the start.
        self.memory_max = newer.memory_max.or(self.memory_max);
        self.unknown_outcome = newer.unknown_outcome;
        self.read_own_writes = newer.read_own_writes;
        self.slow_log_threshold = newer.slow_log_threshold;
        self.sample_every = newer.sample_every;
    }

    /// Whether there are seeds of the same kind to be taken.
    fn take_seeds(&mut self, newer: &Upstream) -> bool {
        match (&mut self.upstream, newer) {
            (Upstream::Cluster { seeds }, Upstream::Cluster { seeds: newer })
            | (
                Upstream::Sentinel {
                    sentinels: seeds, ..
                },
                Upstream::Sentinel {
                    sentinels: newer, ..
                },
            ) => {
                seeds.clone_from(newer);
                true
            }
            (Upstream::Cluster { .. } | Upstream::Sentinel { .. } | Upstream::Server { .. }, _) => {
                false
            }
        }
    }
}

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}
