//! What of a configuration may change while slotcar runs, and what needs a restart.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::draft::Given;
use super::keys::KEYS;
use super::{Config, Upstream};

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
    fn differences(&self, other: &Self) -> impl Iterator<Item = &'static str> {
        let names = KEYS.iter().filter(|key| key.instead_of.is_none());
        names
            .map(|key| key.name)
            .filter(|name| self.0.get(name) != other.0.get(name))
    }
}

impl Config {
    /// Takes what may change from a newer configuration, of all listeners, and tells of what else has changed.
    pub fn take_live(&mut self, newer: &Self) -> Changes {
        let mut changes = Changes::default();
        self.take_own(newer, "", &mut changes);
        for (number, (own, newer)) in (1..).zip(self.others.iter_mut().zip(&newer.others)) {
            own.take_own(newer, &format!("listener {number}: "), &mut changes);
        }
        if self.others.len() != newer.others.len() {
            changes.left.push("listener".to_owned());
        }
        changes
    }

    fn take_own(&mut self, newer: &Self, whose: &str, changes: &mut Changes) {
        let has_seeds = self.take_seeds(&newer.upstream);
        for name in self.said.differences(&newer.said) {
            let is_live = KEYS.iter().any(|key| key.name == name && key.is_live);
            let is_seeds = name == "cluster" || name == "sentinel";
            let (taken, left) = (&mut changes.taken, &mut changes.left);
            let list = if is_live && (has_seeds || !is_seeds) {
                taken
            } else {
                left
            };
            // What is as for all is told once.
            if !list.iter().any(|told| told == name) {
                list.push(format!("{whose}{name}"));
            }
        }
        self.log_level = newer.log_level;
        self.clients_max = newer.clients_max;
        self.client_idle_timeout = newer.client_idle_timeout;
        self.failover_hold = newer.failover_hold;
        // None is what has been found at the start.
        self.memory_max = newer.memory_max.or(self.memory_max);
        self.unknown_outcome = newer.unknown_outcome;
        self.read_own_writes = newer.read_own_writes;
        // What was left is told again the next time, because it still needs a restart.
        for name in KEYS.iter().filter(|key| key.is_live).map(|key| key.name) {
            match newer.said.0.get(name) {
                Some(&said) => self.said.0.insert(name, said),
                None => self.said.0.remove(name),
            };
        }
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
