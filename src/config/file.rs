//! The configuration file: TOML, its keys those of [`KEYS`], every value known by its line.
//!
//! A syntax error does not hide what could be understood, and is told without the line's text: that may be a
//! password.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::draft::Given;
use super::key::Key;
use super::keys::KEYS;
use super::mistake::{Mistake, Origin, nearest};
use super::parse::{self, Problem};

/// What the file at `path` says; `origin` is where the path was set.
pub(super) fn read(path: &Path, origin: Origin, mistakes: &mut Vec<Mistake>) -> Vec<Given> {
    match fs::read_to_string(path) {
        Ok(text) => Source {
            path: Arc::new(path.to_owned()),
            text,
        }
        .keys(mistakes),
        Err(error) => {
            mistakes.push(Mistake {
                key: "config".to_owned(),
                origin: Some(origin),
                problem: format!(
                    "cannot read {}: {error}; expected a TOML file",
                    path.display()
                ),
            });
            Vec::new()
        }
    }
}

struct Source {
    path: Arc<PathBuf>,
    text: String,
}

impl Source {
    fn keys(&self, mistakes: &mut Vec<Mistake>) -> Vec<Given> {
        let (table, errors) = DeTable::parse_recoverable(&self.text);
        mistakes.extend(errors.iter().map(|error| Mistake {
            key: "syntax".to_owned(),
            origin: Some(self.at(error.span().unwrap_or_default())),
            problem: format!("{}; expected TOML", error.message()),
        }));
        let mut given = Vec::new();
        for (name, value) in table.get_ref() {
            let origin = self.at(name.span());
            match find(name.get_ref()).and_then(|key| Ok((key, texts(key, value.get_ref())?))) {
                Ok((key, values)) => given.push(Given {
                    key,
                    origin,
                    values,
                }),
                Err(problem) => mistakes.push(Mistake {
                    key: name.get_ref().to_string(),
                    origin: Some(origin),
                    problem,
                }),
            }
        }
        given
    }

    fn at(&self, span: Range<usize>) -> Origin {
        let before = self.text.bytes().take(span.start);
        Origin::File {
            path: Arc::clone(&self.path),
            line: 1 + before.filter(|byte| *byte == b'\n').count(),
        }
    }
}

fn find(name: &str) -> Result<&'static Key, Problem> {
    let known = || KEYS.iter().filter(|key| key.is_in_file);
    if let Some(key) = known().find(|key| key.name == name) {
        return Ok(key);
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
        DeValue::Table(table) if key.is_list => node(table),
        DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => None,
    };
    text.ok_or_else(|| {
        format!(
            "has a value of a wrong type ({}); expected {}",
            value.type_str(),
            key.expected
        )
    })
}

/// `{ host = "a", port = 6379 }` as one text.
fn node(table: &DeTable<'_>) -> Option<String> {
    let item = |name: &str| {
        table
            .iter()
            .find(|(key, _)| key.get_ref() == name)
            .map(|(_, value)| value.get_ref())
    };
    let host = item("host")?.as_str()?;
    let port = match item("port") {
        None => return Some(parse::join(host, None)),
        Some(DeValue::Integer(number)) => number.as_str(),
        Some(other) => other.as_str()?,
    };
    Some(parse::join(host, Some(port)))
}
