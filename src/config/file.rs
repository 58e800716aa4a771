//! The configuration file: TOML, its keys those of [`KEYS`], every value known by its line.
//!
//! A syntax error does not hide what could be understood, and is told without the line's text: that may be a
//! password.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::draft::Given;
use super::key::Key;
use super::keys::KEYS;
use super::mistake::{Mistake, Origin, nearest};
use super::parse::Problem;

/// What a file says.
#[derive(Default)]
pub(super) struct Said {
    pub(super) given: Vec<Given>,
    /// What listeners have for themselves.
    pub(super) listeners: Vec<Own>,
}

/// A `[[listener]]`: its own settings.
pub(super) struct Own {
    /// Where it begins.
    pub(super) origin: Origin,
    pub(super) given: Vec<Given>,
}

/// What the file at `path` says; `origin` is where the path was set.
pub(super) fn read(path: &Path, origin: Origin, mistakes: &mut Vec<Mistake>) -> Said {
    match fs::read_to_string(path) {
        Ok(text) => Source {
            path: Arc::new(path.to_owned()),
            text,
        }
        .said(mistakes),
        Err(error) => {
            mistakes.push(Mistake {
                key: "config".to_owned(),
                origin: Some(origin),
                problem: format!(
                    "cannot read {}: {error}; expected a TOML file",
                    path.display()
                ),
            });
            Said::default()
        }
    }
}

struct Source {
    path: Arc<PathBuf>,
    text: String,
}

impl Source {
    fn said(&self, mistakes: &mut Vec<Mistake>) -> Said {
        let (table, errors) = DeTable::parse_recoverable(&self.text);
        mistakes.extend(errors.iter().map(|error| Mistake {
            key: "syntax".to_owned(),
            origin: Some(self.at(error.span().unwrap_or_default())),
            problem: format!("{}; expected TOML", error.message()),
        }));
        let table = table.get_ref();
        let is_listener = |name: &str| name == LISTENER;
        let settings = table
            .iter()
            .filter(|(name, _)| !is_listener(name.get_ref()));
        let origin = |span| self.at(span);
        let given = settings
            .filter_map(|(name, value)| {
                let key = find(name.get_ref(), false);
                self.given(key, (name, value), origin, mistakes)
            })
            .collect();
        let blocks = table.iter().filter(|(name, _)| is_listener(name.get_ref()));
        let mut listeners = Vec::new();
        for (name, value) in blocks {
            match own_tables(value.get_ref()) {
                Some(tables) => {
                    listeners.extend(tables.map(|(span, table)| self.own(span, table, mistakes)));
                }
                None => mistakes.push(Mistake {
                    key: LISTENER.to_owned(),
                    origin: Some(self.at(name.span())),
                    problem: format!("is no table; expected [[{LISTENER}]] and its settings below"),
                }),
            }
        }
        Said { given, listeners }
    }

    fn own(&self, span: Range<usize>, table: &DeTable<'_>, mistakes: &mut Vec<Mistake>) -> Own {
        let origin = |span| Origin::Listener {
            path: Arc::clone(&self.path),
            line: self.line(span),
        };
        let given = table.iter().filter_map(|(name, value)| {
            let key = find(name.get_ref(), true);
            self.given(key, (name, value), origin, mistakes)
        });
        Own {
            given: given.collect(),
            origin: origin(span),
        }
    }

    fn given(
        &self,
        key: Result<&'static Key, Problem>,
        (name, value): (&Spanned<DeString<'_>>, &Spanned<DeValue<'_>>),
        origin: impl Fn(Range<usize>) -> Origin,
        mistakes: &mut Vec<Mistake>,
    ) -> Option<Given> {
        let origin = origin(name.span());
        match key.and_then(|key| Ok((key, texts(key, value.get_ref())?))) {
            Ok((key, values)) => Some(Given {
                key,
                origin,
                values,
            }),
            Err(problem) => {
                mistakes.push(Mistake {
                    key: name.get_ref().to_string(),
                    origin: Some(origin),
                    problem,
                });
                None
            }
        }
    }

    fn at(&self, span: Range<usize>) -> Origin {
        Origin::File {
            path: Arc::clone(&self.path),
            line: self.line(span),
        }
    }

    fn line(&self, span: Range<usize>) -> usize {
        let before = self.text.bytes().take(span.start);
        1 + before.filter(|byte| *byte == b'\n').count()
    }
}

/// The tables below `[[listener]]`, each with where it begins.
fn own_tables<'a>(
    value: &'a DeValue<'a>,
) -> Option<impl Iterator<Item = (Range<usize>, &'a DeTable<'a>)>> {
    let tables = value.as_array()?;
    let table = |item: &'a Spanned<DeValue<'a>>| Some((item.span(), item.get_ref().as_table()?));
    let tables: Option<Vec<_>> = tables.iter().map(table).collect();
    tables.map(Vec::into_iter)
}

/// The key of this name, with dashes or underscores, in the file or, if it `is_own`, in the settings of a listener.
fn find(name: &str, is_own: bool) -> Result<&'static Key, Problem> {
    let known = || {
        KEYS.iter()
            .filter(|key| key.is_in_file && !(is_own && key.is_of_process))
    };
    let dashed = name.replace('_', "-");
    if let Some(key) = known().find(|key| key.name == dashed) {
        return Ok(key);
    }
    if is_own
        && KEYS
            .iter()
            .any(|key| key.is_of_process && key.name == dashed)
    {
        return Err(format!(
            "is of the whole process; expected it above the first [[{LISTENER}]]"
        ));
    }
    let names = || known().map(|key| key.name);
    Err(match nearest(name, names()) {
        Some(meant) => format!("there is no such key; expected {meant}"),
        None => {
            let names: Vec<_> = names().collect();
            format!("there is no such key; expected one of {}", names.join(", "))
        }
    })
}

/// The texts in `value`, as if they had been given as flags.
fn texts(key: &Key, value: &DeValue<'_>) -> Result<Vec<String>, Problem> {
    let Some(items) = value.as_array().filter(|_| key.is_list) else {
        return text(key, value).map(|text| vec![text]);
    };
    if items.is_empty() {
        return Err(format!("is empty; expected {}", key.expected));
    }
    items.iter().map(|item| text(key, item.get_ref())).collect()
}

fn text(key: &Key, value: &DeValue<'_>) -> Result<String, Problem> {
    let text = match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        DeValue::Table(table) => key.table.and_then(|to_text| to_text(table)),
        DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_) => None,
    };
    text.ok_or_else(|| {
        format!(
            "has a value of a wrong type ({}); expected {}",
            value.type_str(),
            key.expected
        )
    })
}

/// What the settings of one listener stand below.
pub(super) const LISTENER: &str = "listener";
