//! The configuration as people and `/config` see it: what counts for each key, where it was set, and no secrets.

use super::environment::Environment;
use super::file::LISTENER;
use super::flags::Flags;
use super::key::Key;
use super::keys::KEYS;
use super::mistake::{ConfigError, Origin, may_hold_password, shown};
use super::resolve::{All, Resolving};

/// The same as lines of a file, each with where its value was set; defaults are comments, secrets are not shown.
///
/// # Errors
/// Every mistake that was found.
pub fn show(flags: &Flags, environment: &Environment) -> Result<String, ConfigError> {
    let all = All::of(flags, environment);
    let mut lines: String = KEYS.iter().filter_map(|key| all.main.line(key)).collect();
    for listener in &all.listeners {
        lines.push_str(&format!("\n[[{LISTENER}]]\n"));
        let is_own = |key: &&Key| {
            let given = listener.given_for(key.target());
            given.is_some_and(|given| matches!(given.origin, Origin::Listener { .. }))
        };
        lines.extend(
            KEYS.iter()
                .filter(is_own)
                .filter_map(|key| listener.line(key)),
        );
    }
    all.finish().map(|_| lines)
}

/// What counts for each key, without secrets, for `/config`.
///
/// # Errors
/// As [`resolve`](super::resolve()).
pub fn rows(flags: &Flags, environment: &Environment) -> Result<Vec<Shown>, ConfigError> {
    let all = All::of(flags, environment);
    let main = KEYS.iter().filter_map(|key| all.main.row(key));
    let mut rows: Vec<Shown> = main.collect();
    for (index, listener) in all.listeners.iter().enumerate() {
        let own = KEYS.iter().filter_map(|key| listener.row(key));
        rows.extend(own.map(|row| Shown {
            listener: Some(index),
            ..row
        }));
    }
    all.finish().map(|_| rows)
}

/// Instead of a value that is a secret, or may hold one.
const SECRET: &str = "(secret)";

/// What counts for one key.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Shown {
    pub key: &'static str,
    pub values: Vec<String>,
    /// Where it was set.
    pub origin: String,
    /// Of this `[[listener]]`, from 0; none: of all else.
    pub listener: Option<usize>,
}

impl Resolving {
    /// How a file would say what counts for a key. None: nothing was said, and there is no default.
    fn line(&self, key: &'static Key) -> Option<String> {
        let Shown { values, origin, .. } = self.row(key)?;
        let name = key.name;
        let Some(given) = self.given_for(key.target()) else {
            return Some(format!("# {name} = {:?}\n", values.concat()));
        };
        let values: Vec<String> = if key.is_flag {
            given.values.iter().map(|value| shown(value)).collect()
        } else {
            values
        };
        Some(match values.as_slice() {
            [one] => format!("{name} = {one}  # {origin}\n"),
            many => format!("{name} = [{}]  # {origin}\n", many.join(", ")),
        })
    }

    /// What counts for a key. None: nothing was said, and there is no default.
    fn row(&self, key: &'static Key) -> Option<Shown> {
        let given = self.given_for(key.target());
        let row = |values, origin: String| Shown {
            key: key.name,
            values,
            origin,
            listener: None,
        };
        let Some(given) = given.filter(|given| given.key.name == key.name) else {
            let is_else = given.is_some() || !key.is_in_file;
            let default = key.default.filter(|_| !is_else)?;
            return Some(row(vec![default.to_owned()], "default".to_owned()));
        };
        let values = given.values.iter().map(|value| {
            if key.is_flag && !may_hold_password(value) {
                value.clone()
            } else {
                SECRET.to_owned()
            }
        });
        Some(row(values.collect(), given.origin.to_string()))
    }
}
