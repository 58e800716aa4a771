//! How far a run has come, on disk: what it belongs to, a cursor for each process that is scanned, and the counts.
//!
//! A cursor means something to one process only, so it is kept under that process's `run_id`, together with what the process said about its slots
//! when the scan began. The file is replaced whole. Losing it costs time, never keys.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::tally::Tally;
use crate::clock::Now;

/// What a run is about: another one's state is of no use to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct About {
    /// Empty: keys are renamed.
    pub(super) from: String,
    pub(super) upstream: String,
    pub(super) rules: Vec<String>,
    pub(super) databases: u32,
    pub(super) verify: bool,
}

/// One process that is scanned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// For people.
    pub(super) node: String,
    /// What it said about its slots when the scan began.
    pub(super) slots: String,
    pub(super) cursor: u64,
    pub(super) done: bool,
}

/// All that is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// `slotcar move-keys 1`
    format: String,
    pub(super) about: About,
    /// By `run_id`.
    pub(super) places: BTreeMap<String, Place>,
    pub(super) tally: Tally,
}

/// The state, and the file that it is kept in, if there is to be one.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) state: State,
    path: Option<PathBuf>,
    /// Never: nothing but that it has begun.
    saved_at: Option<Now>,
}

impl State {
    pub(super) fn new(about: About) -> Self {
        Self {
            format: FORMAT.to_owned(),
            about,
            places: BTreeMap::new(),
            tally: Tally::default(),
        }
    }

    /// Reads what an earlier run about the same has written.
    ///
    /// # Errors
    /// Why it is of no use, in words.
    fn parse(text: &str, about: &About) -> Result<Self, String> {
        let state: Self = serde_json::from_str(text)
            .map_err(|error| format!("is no state of slotcar move-keys: {error}"))?;
        if state.format != FORMAT {
            return Err(format!("has the format {:?}, not {FORMAT:?}", state.format));
        }
        let was = &state.about;
        let rules = |about: &About| about.rules.join(", ");
        let verify = |about: &About| if about.verify { "on" } else { "off" }.to_owned();
        for (what, was, is) in [
            ("source", was.from.clone(), about.from.clone()),
            ("upstream", was.upstream.clone(), about.upstream.clone()),
            ("set of rules", rules(was), rules(about)),
            ("--verify", verify(was), verify(about)),
        ] {
            if was != is {
                return Err(format!(
                    "belongs to a run with another {what}: there it is {was:?}, here {is:?}; name another file, or remove this one to begin anew"
                ));
            }
        }
        Ok(state)
    }
}

impl Book {
    /// Opens what an earlier run has left, or begins anew.
    ///
    /// # Errors
    /// The file cannot be read, or belongs to something else.
    pub(super) fn open(path: Option<&Path>, about: About) -> Result<Self, String> {
        let found = path.map(|path| (path, fs::read_to_string(path)));
        let state = match found {
            None => State::new(about),
            Some((path, Ok(text))) => {
                let refuse = |problem| format!("{} {problem}", path.display());
                State::parse(&text, &about).map_err(refuse)?
            }
            Some((_, Err(error))) if error.kind() == io::ErrorKind::NotFound => State::new(about),
            Some((path, Err(error))) => {
                return Err(format!("{} cannot be read: {error}", path.display()));
            }
        };
        let book = Self {
            state,
            path: path.map(Path::to_owned),
            saved_at: None,
        };
        // What cannot be written is better known now than at the end.
        book.write()?;
        Ok(book)
    }

    /// Writes it down if that has not been done just now.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn note(&mut self, now: Now) -> Result<(), String> {
        if (self.saved_at).is_none_or(|at| now.since(at) >= SAVED_EVERY) {
            self.saved_at = Some(now);
            self.write()?;
        }
        Ok(())
    }

    /// Writes it down.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn write(&self) -> Result<(), String> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        replace(path, &self.state)
            .map_err(|error| format!("{} cannot be written: {error}", path.display()))
    }

    /// Nothing is left to be remembered.
    pub(super) fn close(&self) {
        if let Some(path) = &self.path {
            // What stays is found by the next run, which has nothing to do then.
            let _ = fs::remove_file(path);
        }
    }

    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }
}

/// Whoever reads it at any moment sees one of the two.
fn replace(path: &Path, state: &State) -> io::Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let mut file = File::create(&fresh)?;
    file.write_all(&serde_json::to_vec_pretty(state)?)?;
    file.sync_data()?;
    fs::rename(&fresh, path)
}

const FORMAT: &str = "slotcar move-keys 1";
const SAVED_EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn about(from: &str, rules: &[&str]) -> About {
        About {
            from: from.to_owned(),
            upstream: "cluster a:1".to_owned(),
            rules: rules.iter().map(|&rule| rule.to_owned()).collect(),
            databases: 1,
            verify: false,
        }
    }

    #[test]
    fn a_state_is_found_again_and_belongs_to_one_thing() {
        let mut state = State::new(about("server b:1", &["q:*={q}"]));
        state.tally.moved = 7;
        let place = Place {
            cursor: u64::MAX,
            ..Place::default()
        };
        state.places.insert("id".to_owned(), place);
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(State::parse(&text, &state.about), Ok(state.clone()));
        for (other, expected) in [
            (
                about("", &["q:*={q}"]),
                "another source: there it is \"server b:1\", here \"\"",
            ),
            (about("server b:1", &["q:*={x}"]), "another set of rules"),
        ] {
            let problem = State::parse(&text, &other).unwrap_err();
            assert!(problem.contains(expected), "{problem}");
        }
        for text in ["", "{}", "[1]"] {
            let problem = State::parse(text, &state.about).unwrap_err();
            assert!(problem.starts_with("is no state of"), "{problem}");
        }
    }
}
