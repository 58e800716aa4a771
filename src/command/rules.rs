//! Which commands clients may use, beyond what is refused to all: by name or ACL category, or reads only.
//!
//! A table of rows is made anew for it, so that a request costs nothing more. Source of the categories:
//! <https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/>, "Command categories", and the nodes' own `COMMAND`.

use std::collections::HashMap;
use std::str::FromStr;

use redis_protocol::resp3::decode::complete::decode;
use redis_protocol::resp3::types::OwnedFrame;

use super::learn::{items, text};
use super::lookup::CommandTable;
use super::{Flags, Refuse, Route, Row, Script};
use crate::resp::reply::Reply;

/// What is denied and what is allowed. Allowed wins over denied, and over what slotcar refuses to all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    pub denied: Vec<Pattern>,
    pub allowed: Vec<Pattern>,
    /// Whatever may change data is denied, scripts that do not promise to read only included.
    pub reads_only: bool,
}

/// Some commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// `config` with all its subcommands, or `config|set`; lower case.
    Command(String),
    /// One of [`CATEGORIES`], without its `@`.
    Category(String),
}

/// Names of categories by command, as a node tells them.
type Told<'a> = HashMap<String, Vec<String>>;

impl FromStr for Pattern {
    type Err = String;

    /// `flushall`, `config|set`, `@dangerous`
    fn from_str(word: &str) -> Result<Self, String> {
        let word = word.to_ascii_lowercase();
        if let Some(category) = word.strip_prefix('@') {
            return if CATEGORIES.contains(&category) {
                Ok(Self::Category(category.to_owned()))
            } else {
                Err("is no ACL category".to_owned())
            };
        }
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"|-_.".contains(&byte);
        if word.is_empty() || !word.bytes().all(is_name) {
            return Err("is no command".to_owned());
        }
        Ok(Self::Command(word))
    }
}

impl Rules {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether categories must be known to follow them.
    pub fn needs_categories(&self) -> bool {
        let mut all = self.denied.iter().chain(&self.allowed);
        all.any(|pattern| matches!(pattern, Pattern::Category(_)))
    }

    /// Where a command goes if not where its row says.
    fn route(&self, row: &Row, told: &Told<'_>) -> Option<Route> {
        let any = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.means(row, told));
        if any(&self.allowed) {
            let is_refused = matches!(
                row.route,
                Route::Refuse(
                    Refuse::NodeControl | Refuse::Replication | Refuse::DataMove | Refuse::Modules
                )
            );
            return is_refused.then_some(match row.keys {
                [] => Route::AnyPrimary,
                [_, ..] => Route::Slot,
            });
        }
        if matches!(row.route, Route::Refuse(_)) {
            return None;
        }
        if self.reads_only && row.may_write() {
            return Some(Route::Refuse(Refuse::ReadsOnly));
        }
        any(&self.denied).then_some(Route::Refuse(Refuse::Denied))
    }
}

impl Pattern {
    fn means(&self, row: &Row, told: &Told<'_>) -> bool {
        match self {
            Self::Command(name) => {
                let subcommand = row.name.strip_prefix(name.as_str());
                subcommand.is_some_and(|rest| rest.is_empty() || rest.starts_with('|'))
            }
            Self::Category(category) => match told.get(row.name) {
                Some(categories) => categories.contains(category),
                None => is_in(row, category),
            },
        }
    }
}

impl CommandTable {
    /// This table as the rules leave it. `command_reply`: a node's answer to `COMMAND`, which knows the categories; of a command
    /// that it does not have, its flags say some.
    #[must_use]
    pub fn restricted(&self, rules: &Rules, command_reply: &[u8]) -> CommandTable {
        if rules.is_empty() {
            return self.clone();
        }
        let told = if rules.needs_categories() {
            categories(command_reply)
        } else {
            HashMap::new()
        };
        let rows = self.rows().map(|row| match rules.route(row, &told) {
            // Once for each command, and again only when a node has new ones.
            Some(route) => &*Box::leak(Box::new(Row {
                route,
                shape: None,
                ..row.clone().without_only_key()
            })),
            None => row,
        });
        Self::of(rows, self.learnt())
    }
}

/// As far as flags can tell: how servers derive these categories (`ACLSetImplicitCategories` in `server.c`).
fn is_in(row: &Row, category: &str) -> bool {
    let has = |flags: Flags| row.flags.contains(flags);
    match category {
        "all" => true,
        "write" => has(Flags::WRITE),
        "read" => has(Flags::READ),
        "admin" | "dangerous" => has(Flags::ADMIN),
        "pubsub" => has(Flags::PUBSUB),
        "blocking" => has(Flags::BLOCKING),
        "fast" => has(Flags::FAST),
        "slow" => !has(Flags::FAST),
        "scripting" => row.script != Script::None,
        _ => false,
    }
}

/// The categories of each command and subcommand in an answer to `COMMAND`.
fn categories(command_reply: &[u8]) -> HashMap<String, Vec<String>> {
    let mut told = HashMap::new();
    for entry in Reply::new(command_reply).items() {
        if let Ok(Some((entry, _))) = decode(entry.bytes()) {
            tell(&entry, &mut told);
        }
    }
    told
}

fn tell(entry: &OwnedFrame, told: &mut HashMap<String, Vec<String>>) {
    let entry = items(entry);
    let words = entry.get(6).map(|words| items(words)).unwrap_or_default();
    let words = words.into_iter().filter_map(text);
    let words = words.map(|word| word.trim_start_matches('@').to_owned());
    if let Some(name) = entry.first().and_then(|name| text(name)) {
        told.insert(name.to_ascii_lowercase(), words.collect());
    }
    let subcommands = entry.get(9).map(|subs| items(subs)).unwrap_or_default();
    for subcommand in subcommands {
        tell(subcommand, told);
    }
}

/// All that servers have, and `all`.
pub const CATEGORIES: &[&str] = &[
    "all",
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(denied: &str, allowed: &str, reads_only: bool) -> Rules {
        let patterns = |words: &str| {
            let words = words.split_whitespace();
            words.map(|word| word.parse().unwrap()).collect()
        };
        Rules {
            denied: patterns(denied),
            allowed: patterns(allowed),
            reads_only,
        }
    }

    fn route(table: &CommandTable, name: &str) -> Route {
        table.row(name).unwrap().route
    }

    const DENIED: Route = Route::Refuse(Refuse::Denied);
    const READS_ONLY: Route = Route::Refuse(Refuse::ReadsOnly);

    #[test]
    fn commands_are_denied_by_name_and_by_category() {
        let command = b"*1\r\n*7\r\n$3\r\nGET\r\n:2\r\n*0\r\n:1\r\n:1\r\n:1\r\n*1\r\n+@string\r\n";
        let table = CommandTable::new().restricted(
            &rules(
                "FLUSHALL config script|flush @string @write",
                "config|get set",
                false,
            ),
            command,
        );
        for (name, expected) in [
            ("flushall", DENIED),
            ("config|set", DENIED),
            ("config|get", route(&CommandTable::new(), "config|get")),
            ("script|flush", DENIED),
            ("script|load", route(&CommandTable::new(), "script|load")),
            ("get", DENIED),
            ("del", DENIED),
            ("set", Route::Slot),
            ("exists", Route::Split),
            ("shutdown", Route::Refuse(Refuse::NodeControl)),
        ] {
            assert_eq!(route(&table, name), expected, "{name}");
        }
        assert_eq!(table.row("get").unwrap().first_key(), None);
        assert_eq!(table.row("set").unwrap().first_key(), Some(1));
    }

    #[test]
    fn what_is_refused_to_all_can_be_allowed() {
        let allowed = rules("@admin", "debug migrate", false);
        let table = CommandTable::new().restricted(&allowed, b"");
        assert_eq!(route(&table, "debug"), Route::AnyPrimary);
        assert_eq!(route(&table, "migrate"), Route::Slot);
        assert_eq!(
            route(&table, "replicaof"),
            Route::Refuse(Refuse::Replication)
        );
    }

    #[test]
    fn reads_only_leaves_what_cannot_write() {
        let table = CommandTable::new().restricted(&rules("", "", true), b"");
        for name in [
            "set", "del", "mset", "eval", "evalsha", "fcall", "flushall", "blpop", "sort",
        ] {
            assert_eq!(route(&table, name), READS_ONLY, "{name}");
        }
        for name in [
            "get",
            "mget",
            "eval_ro",
            "sort_ro",
            "xread",
            "ping",
            "subscribe",
            "publish",
        ] {
            assert_eq!(
                route(&table, name),
                route(&CommandTable::new(), name),
                "{name}"
            );
        }
    }

    #[test]
    fn a_pattern_is_a_command_or_a_category() {
        for (word, expected) in [
            ("@Dangerous", Ok(Pattern::Category("dangerous".into()))),
            ("Config|Set", Ok(Pattern::Command("config|set".into()))),
            ("@nope", Err("is no ACL category".into())),
            ("get all", Err("is no command".into())),
            ("", Err("is no command".to_owned())),
        ] {
            assert_eq!(word.parse::<Pattern>(), expected, "{word}");
        }
    }
}
