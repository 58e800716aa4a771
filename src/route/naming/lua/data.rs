//! What the prelude has to know, as Lua: the rules, and where commands have keys, from the table of commands.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::glob;
use crate::command::{Access, Begin, Find, KeySpec, Names, Row, table};
use crate::route::naming::Naming;

/// The rules in order: `{'{t}','^a.*$'},`. A pattern `nil` is for all names; `,1` behind it: scripts use the stored names themselves.
pub(super) fn rules(naming: &Naming) -> String {
    let mut rules = String::new();
    for rule in &naming.rules {
        let tag = string(&rule.tag);
        let pattern = match &*rule.pattern {
            b"*" => "nil".to_owned(),
            pattern => string(&glob::pattern(pattern)),
        };
        let off = if rule.in_scripts { "" } else { ",1" };
        let _ = write!(rules, "{{{tag},{pattern}{off}}},");
    }
    rules
}

/// Commands by where their keys are: `{' get set ',{'i',1,'r',0,1,0}},`.
pub(super) fn keys() -> String {
    by_class(|row| {
        let are_keys = row.keys.iter().all(|key| key.access != Access::NotKey);
        let specs: Option<String> = row.keys.iter().map(spec).collect();
        specs.filter(|specs| are_keys && !specs.is_empty())
    })
}

/// None: no script calls it.
fn spec(key: &KeySpec) -> Option<String> {
    let begin = match key.begin {
        Begin::Index(at) => format!("'i',{at},0"),
        Begin::Keyword { word, from } => format!("'k',{from},'{}'", word.to_lowercase()),
        Begin::SortStore => "'s',2,0".to_owned(),
        Begin::GeoStore => "'g',5,0".to_owned(),
        Begin::MigrateKeys => return None,
    };
    Some(match key.find {
        Find::Range { last, step, limit } => format!("{{{begin},'r',{last},{step},{limit}}},"),
        Find::KeyNum {
            count_at,
            first,
            step,
        } => format!("{{{begin},'n',{count_at},{first},{step}}},"),
    })
}

/// Commands by where their answers and patterns name keys: `{' keys ','found'},`.
pub(super) fn answers() -> String {
    by_class(|row| {
        let word = match row.names? {
            Names::Found => "found",
            Names::Scanned => "scanned",
            Names::One => "one",
            Names::First => "first",
            Names::Streams => "streams",
            Names::Script
            | Names::Library
            | Names::Channels
            | Names::ChannelPatterns
            | Names::Patterns
            | Names::Copied => return None,
        };
        Some(format!("'{word}'"))
    })
}

/// The names of commands with what they have in common.
fn by_class(class: impl Fn(&Row) -> Option<String>) -> String {
    let mut classes: BTreeMap<String, String> = BTreeMap::new();
    for row in table::rows() {
        if let Some(class) = class(row) {
            let names = classes.entry(class).or_insert_with(|| " ".to_owned());
            let _ = write!(names, "{} ", row.name);
        }
    }
    let classes = classes.iter();
    classes
        .map(|(class, names)| format!("{{'{names}',{class}}},"))
        .collect()
}

/// A literal of these bytes.
fn string(bytes: &[u8]) -> String {
    let mut text = String::from("'");
    for &byte in bytes {
        match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => text.push(char::from(byte)),
            _ => {
                let _ = write!(text, "\\{byte:03}");
            }
        }
    }
    text.push('\'');
    text
}
