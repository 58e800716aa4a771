//! The environment: what slotcar's own variables say, and those that apps use.
//!
//! Values stay texts. Empty variables count as not set: that is how deployments switch one off.

use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};

use super::draft::Given;
use super::key::{Key, VARIABLE_PREFIX};
use super::keys::KEYS;
use super::mistake::{Mistake, Origin, nearest};

/// The environment, read once.
#[derive(Default)]
pub struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    /// That of this process.
    pub fn of_process() -> Self {
        Self(env::vars_os().collect())
    }

    /// What slotcar's own variables say.
    pub(super) fn own(&self, mistakes: &mut Vec<Mistake>) -> Vec<Given> {
        self.report_near_misses(mistakes);
        let names = KEYS
            .iter()
            .map(|key| (key, Origin::Environment(key.variable()), key.variable()));
        self.collect(names, mistakes)
    }

    /// What the variables say that apps use.
    pub(super) fn app(&self, mistakes: &mut Vec<Mistake>) -> Vec<Given> {
        let names = KEYS.iter().filter_map(|key| {
            key.app_name
                .map(|name| (key, Origin::AppName(name), name.to_owned()))
        });
        self.collect(names, mistakes)
    }

    fn collect(
        &self,
        names: impl Iterator<Item = (&'static Key, Origin, String)>,
        mistakes: &mut Vec<Mistake>,
    ) -> Vec<Given> {
        let mut given = Vec::new();
        for (key, origin, name) in names {
            match self.variable(&name).map(|value| value.to_str()) {
                None => {}
                Some(Some(value)) => given.push(Given {
                    key,
                    origin,
                    values: vec![value.to_owned()],
                }),
                Some(None) => mistakes.push(Mistake {
                    key: key.name.to_owned(),
                    origin: Some(origin),
                    problem: format!("is not UTF-8; expected {}", key.expected),
                }),
            }
        }
        given
    }

    /// A variable that is nearly one of ours is a slip. Others are left alone: an orchestrator sets
    /// `SLOTCAR_SERVICE_HOST` and its like for a service of that name.
    fn report_near_misses(&self, mistakes: &mut Vec<Mistake>) {
        let ours: Vec<String> = KEYS.iter().map(Key::variable).collect();
        let names = self.0.keys().filter_map(|name| name.to_str());
        for name in names.filter(|name| name.starts_with(VARIABLE_PREFIX)) {
            if let Some(meant) = nearest(name, ours.iter().map(String::as_str)) {
                mistakes.push(Mistake {
                    key: name.to_owned(),
                    origin: None,
                    problem: format!("there is no such variable; expected {meant}"),
                });
            }
        }
    }

    fn variable(&self, name: &str) -> Option<&OsStr> {
        let value = self.0.get(OsStr::new(name))?;
        (!value.is_empty()).then_some(value)
    }
}

impl<K: Into<OsString>, V: Into<OsString>> FromIterator<(K, V)> for Environment {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(variables: T) -> Self {
        Self(
            variables
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }
}
