//! What the table of commands and the rules of replay mean, in words for people: docs/commands.md, and what `slotcar explain`
//! says of one request. Nothing is decided here.

use super::verdict;
use crate::command::notes::NOTES;
use crate::command::table::GROUPS;
use crate::command::{Connection, Counts, Find, Flags, KeySpec, Merge, Names, Refuse, Route, Row};

/// The page: every command by group, those that behave alike in one line.
pub fn page() -> String {
    let mut out = String::from(PAGE_START);
    for (title, rows) in GROUPS {
        let lines = lines(rows);
        if lines.is_empty() {
            continue;
        }
        out.push_str(&format!("\n## {title}\n\n{TABLE_START}"));
        for Line { names, words } in lines {
            out.push_str(&format!(
                "| {} | {} |\n",
                names.join(" "),
                words.join(" | ")
            ));
        }
        let is_here = |name: &str| rows.iter().any(|row| row.name == name);
        let notes = NOTES.iter();
        let notes = notes.filter(|note| note.commands.first().is_some_and(|name| is_here(name)));
        let notes: Vec<String> = notes
            .map(|note| {
                let names: Vec<String> = note.commands.iter().map(|name| shown(name)).collect();
                format!("- {}: {}\n", names.join(" "), note.text)
            })
            .collect();
        if !notes.is_empty() {
            out.push_str(&format!("\n{}", notes.concat()));
        }
    }
    out
}

/// Who gets a request of this kind.
pub fn way(row: &Row) -> &'static str {
    match row.route {
        Route::Slot if row.names == Some(Names::Streams) => "the owners of its keys' slots",
        Route::Slot if row.counts.is_some() => OF_CHANNEL,
        Route::Slot if has_one_key(row) => "the owner of its key's slot",
        Route::Slot => "the owner of its keys' slot; of several slots: `CROSSSLOT`",
        Route::Split => "the owners of its keys' slots",
        Route::AnyPrimary if matches!(row.counts, Some(Counts::Receivers(_))) => OF_CHANNEL,
        Route::AnyPrimary => "any primary",
        Route::AllPrimaries => "every primary",
        Route::AllNodes => "every node",
        Route::Scan => "one primary after another",
        Route::Local(_) => "slotcar",
        Route::Connection(connection) => match connection {
            Connection::Blocking if row.names == Some(Names::First) => {
                "the owners of its keys' slots"
            }
            Connection::Blocking => "the owner of its keys' slot; of several slots: `CROSSSLOT`",
            Connection::Multi | Connection::Discard | Connection::Unwatch => "slotcar",
            Connection::Exec => "the owner of the slot of its transaction",
            Connection::Watch => "the owner of its keys' slot; of several slots: `CROSSSLOT`",
            Connection::Wait | Connection::Monitor | Connection::Tracking => "every primary",
            Connection::Subscribe(_) | Connection::Unsubscribe(_) => OF_CHANNEL,
            Connection::HashImport => REFUSED,
        },
        Route::Refuse(_) => REFUSED,
    }
}

/// What its answer is made of.
pub fn reply(row: &Row) -> &'static str {
    match row.merge {
        Merge::AsIs => match (row.route, way(row)) {
            (_, REFUSED) => "an error",
            (_, "slotcar") | (Route::Connection(Connection::Tracking), _) => "slotcar's",
            (Route::Connection(Connection::Subscribe(_) | Connection::Unsubscribe(_)), _) => {
                "slotcar's"
            }
            (Route::Connection(Connection::Monitor), _) => "all of them",
            (Route::Scan, _) => "the node's, with a cursor of slotcar's",
            _ => "the node's",
        },
        Merge::AllSucceeded => "the first, if all succeed",
        Merge::Sum => "the sum",
        Merge::Min => "the smallest",
        Merge::MinEach => "the smallest of each number",
        Merge::AndEach => "1 where all say 1",
        Merge::OneSucceeded => "one success is enough",
        Merge::Concat => "all, one after the other",
        Merge::ConcatDistinct => "all, each once",
        Merge::SlowlogGet => "all and slotcar's own, newest first",
        Merge::KeyOrder => "in the order of the keys",
        Merge::MapSum => "the sum for each name",
        Merge::Receivers => "the sum of all who listen",
        Merge::RandomNonNull => "the first that is not null",
        Merge::HotKeys => "the first node's",
        Merge::FunctionStats => "of the one that runs a script",
        Merge::Info
        | Merge::MemoryDoctor
        | Merge::MemoryMallocStats
        | Merge::MemoryStats
        | Merge::LatencyDoctor
        | Merge::LatencyGraph
        | Merge::LatencyHistogram
        | Merge::LatencyHistory
        | Merge::LatencyLatest => "one, made of all",
    }
}

/// What becomes of a request that had left when its connection broke. [`verdict::judge`] decides.
pub fn if_lost(row: &Row) -> Lost {
    let waits = row.flags.contains(Flags::BLOCKING);
    match row.route {
        Route::Local(_) | Route::Refuse(_) => Lost::NotSent,
        _ if verdict::is_harmless(row) => Lost::Repeated,
        Route::Connection(connection) => match connection {
            Connection::Blocking => Lost::WaitsOn,
            Connection::Multi
            | Connection::Discard
            | Connection::Unwatch
            | Connection::HashImport => Lost::NotSent,
            Connection::Exec | Connection::Wait => Lost::Unknown,
            Connection::Watch => Lost::Repeated,
            Connection::Subscribe(_)
            | Connection::Unsubscribe(_)
            | Connection::Monitor
            | Connection::Tracking => Lost::SetUpAnew,
        },
        Route::Slot if waits => Lost::UnknownUnlessItWaits,
        Route::Slot
        | Route::AnyPrimary
        | Route::AllPrimaries
        | Route::AllNodes
        | Route::Split
        | Route::Scan => Lost::Unknown,
    }
}

/// See [`if_lost`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    NotSent,
    Repeated,
    Unknown,
    WaitsOn,
    UnknownUnlessItWaits,
    SetUpAnew,
}

impl Lost {
    const fn word(self) -> &'static str {
        match self {
            Self::NotSent => "–",
            Self::Repeated => "sent again",
            Self::Unknown => "error",
            Self::WaitsOn => "waits on",
            Self::UnknownUnlessItWaits => "error; with `BLOCK` waits on",
            Self::SetUpAnew => "set up anew",
        }
    }

    /// The same as a sentence.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::NotSent => "nothing is sent",
            Self::Repeated => "sent again when its connection breaks",
            Self::Unknown => {
                "sent again only if it had not left: else nobody knows whether it was executed, and the client is told so"
            }
            Self::WaitsOn => "waits on elsewhere when its connection breaks",
            Self::UnknownUnlessItWaits => {
                "with BLOCK waits on elsewhere; else sent again only if it had not left, and the client is told that nobody knows"
            }
            Self::SetUpAnew => "set up anew when its connection breaks",
        }
    }
}

/// Commands that behave alike.
struct Line {
    names: Vec<String>,
    words: [&'static str; 3],
}

fn lines(rows: &[Row]) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for row in rows {
        let is_browser = row.route == Route::Refuse(Refuse::CrossProtocol);
        let (container, subcommand) = row.name.split_once('|').unwrap_or((row.name, ""));
        let is_alike = all_alike(rows, container);
        let is_bare = row.flags.contains(Flags::CONTAINER) && row.arity < -1;
        let is_told = if is_alike {
            !subcommand.is_empty()
        } else {
            is_bare
        };
        if is_browser || is_told {
            continue;
        }
        let more = if is_alike { " …" } else { "" };
        let name = shown(&format!("{}{more}", row.name));
        let words = words(row);
        match lines.iter_mut().find(|line| line.words == words) {
            Some(line) => line.names.push(name),
            None => lines.push(Line {
                names: vec![name],
                words,
            }),
        }
    }
    lines
}

/// Whether a command has subcommands that all behave as it does itself.
fn all_alike(rows: &[Row], container: &str) -> bool {
    let Some(top) = rows.iter().find(|row| row.name == container) else {
        return false;
    };
    let mut subs = rows
        .iter()
        .filter(|row| matches!(row.name.split_once('|'), Some((of, _)) if of == container));
    top.flags.contains(Flags::CONTAINER) && subs.all(|sub| words(sub) == words(top))
}

fn words(row: &Row) -> [&'static str; 3] {
    [way(row), reply(row), if_lost(row).word()]
}

/// `config|set` as people write it.
fn shown(name: &str) -> String {
    format!("`{}`", name.to_uppercase().replace('|', " "))
}

fn has_one_key(row: &Row) -> bool {
    let is_one = |spec: &KeySpec| matches!(spec.find, Find::Range { last: 0, .. });
    matches!(row.keys, [only] if is_one(only))
}

const OF_CHANNEL: &str = "the owner of the channel's slot";
const REFUSED: &str = "nobody: refused";
const TABLE_START: &str = "\
| command | goes to | reply | if its connection breaks |
|---|---|---|---|
";
const PAGE_START: &str = "\
# Commands

Every command of Redis 7.0 to 8.10 and Valkey 8.0 to 9.1, before a **cluster**. This page is made from the table in `src/command/table.rs` and the rules in `src/route/`;
`slotcar explain GET foo` says the same of one request, and which node it would go to now.

**Goes to.** *Owner* is the primary that serves a slot now. `CROSSSLOT` is said here, and names two keys and their slots; `--keep-together` [avoids it](keep-together.md). Before Sentinels or one server there is
one node: all keys work together, and it gets all that slotcar does not answer. With `--read-from`, what only reads may go to replicas (not `SCAN` and its like).

**Reply.** Of several nodes, one error makes it an error.

**If its connection breaks**, or its node dies, before the answer has come. What had not left yet is sent to the slot's new owner, always. What had:

- *sent again*: it only reads, so nothing can happen twice.
- *error*: nobody knows whether it was executed, and [the error](errors.md) says so. It is never sent again. What was executed was executed once.
- *waits on*: it goes on at the slot's new owner, with the time that is left.
- *set up anew*, without the client's doing.
- –: nothing was sent.

Commands of modules, and of servers that are newer than this page, are taken over from what the nodes say in `COMMAND`: where their keys are, whether they read or write, and how their replies are put together.
Where only the module's own code knows the keys, they go to any primary.
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::lookup::CommandTable;

    #[test]
    fn what_is_said_of_a_row_is_what_is_done() {
        let table = CommandTable::new();
        let cases = [
            (
                "get",
                "the owner of its key's slot",
                "the node's",
                "sent again",
            ),
            ("set", "the owner of its key's slot", "the node's", "error"),
            (
                "mget",
                "the owners of its keys' slots",
                "in the order of the keys",
                "sent again",
            ),
            (
                "rename",
                "the owner of its keys' slot; of several slots: `CROSSSLOT`",
                "the node's",
                "error",
            ),
            (
                "blpop",
                "the owners of its keys' slots",
                "the node's",
                "waits on",
            ),
            (
                "xreadgroup",
                "the owners of its keys' slots",
                "the node's",
                "error; with `BLOCK` waits on",
            ),
            ("wait", "every primary", "the smallest", "error"),
            (
                "watch",
                "the owner of its keys' slot; of several slots: `CROSSSLOT`",
                "the node's",
                "sent again",
            ),
            ("shutdown", "nobody: refused", "an error", "–"),
            ("ping", "slotcar", "slotcar's", "–"),
        ];
        for (name, goes_to, replies, lost) in cases {
            let row = table.row(name).unwrap();
            assert_eq!(words(row), [goes_to, replies, lost], "{name}");
        }
    }

    #[test]
    fn every_command_is_on_the_page() {
        let page = page();
        for row in CommandTable::new().rows() {
            let (container, _) = row.name.split_once('|').unwrap_or((row.name, ""));
            let is_there = [
                row.name.to_owned(),
                format!("{container} …"),
                container.to_owned(),
            ]
            .iter()
            .any(|name| page.contains(&shown(name)));
            let is_bare = row.flags.contains(Flags::CONTAINER) && row.arity < -1;
            let is_browser = row.route == Route::Refuse(Refuse::CrossProtocol);
            assert!(is_there || is_bare || is_browser, "{}", row.name);
        }
    }
}
