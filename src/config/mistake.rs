//! What is wrong with a configuration: the operator's mistakes, all of them at once.
//!
//! Owns the spelling. A mistake never shows a secret: whoever quotes a value does so with [`shown`].

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// Every mistake that was found; never none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(pub Vec<Mistake>);

/// One mistake: about which key, where it was set, what is wrong and what was meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The key as the file spells it, or what stands where a key should.
    pub key: String,
    pub origin: Option<Origin>,
    pub problem: String,
}

/// Where a value was set. The order is precedence: what comes first wins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// In the file, for one listener alone.
    Listener {
        path: Arc<PathBuf>,
        /// Counted from 1.
        line: usize,
    },
    Flag(&'static str),
    /// A variable of slotcar's own.
    Environment(String),
    File {
        path: Arc<PathBuf>,
        /// Counted from 1.
        line: usize,
    },
    /// A variable that apps use.
    AppName(&'static str),
}

/// `value` as a message may quote it: in quotation marks, escaped, not too long, and not at all if it
/// could carry a password, as URLs do.
pub(super) fn shown(value: &str) -> String {
    if may_hold_password(value) {
        return "the value (not shown, it may hold a password)".to_owned();
    }
    if value.chars().count() > SHOWN_CHARS_MAX {
        let start: String = value.chars().take(SHOWN_CHARS_MAX).collect();
        return format!("{start:?}…");
    }
    format!("{value:?}")
}

/// As URLs do.
pub(super) fn may_hold_password(value: &str) -> bool {
    value.contains('@') || value.contains("://")
}

/// The one of `names` that somebody meant who wrote `name`: at most two letters away, but not the same.
pub(super) fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = names.map(|meant| (distance(name, meant), meant)).min()?;
    (1..=2).contains(&near.0).then_some(near.1)
}

/// How many letters must be inserted, deleted or replaced to make `b` of `a` (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(b.chars()) {
            let replaced = diagonal + usize::from(from != to);
            diagonal = *cell;
            left = replaced.min(diagonal + 1).min(left + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

impl Origin {
    /// Whether both were set in the same kind of place, so that neither wins.
    pub(super) fn rivals(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }

    /// The lower wins.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::Listener { .. } => 0,
            Self::Flag(_) => 1,
            Self::Environment(_) => 2,
            Self::File { .. } => 3,
            Self::AppName(_) => 4,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "flag --{name}"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::File { path, line } | Self::Listener { path, line } => {
                write!(f, "{}:{line}", path.display())
            }
            Self::AppName(name) => write!(f, "environment {name}"),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Some(origin) => write!(f, "{} ({origin}): {}", self.key, self.problem),
            None => write!(f, "{}: {}", self.key, self.problem),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [one] => write!(f, "the configuration has a mistake:\n  {one}"),
            many => {
                write!(f, "the configuration has {} mistakes:", many.len())?;
                many.iter()
                    .try_for_each(|mistake| write!(f, "\n  {mistake}"))
            }
        }
    }
}

impl std::error::Error for ConfigError {}

const SHOWN_CHARS_MAX: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_near_and_another_word_is_not() {
        let names = || ["listen", "cluster", "log-level", "log-format"].into_iter();
        for (name, meant) in [
            ("listn", Some("listen")),
            ("clutser", Some("cluster")),
            ("log_level", Some("log-level")),
            ("listen", None),
            ("timeout", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, names()), meant, "{name}");
        }
    }
}
