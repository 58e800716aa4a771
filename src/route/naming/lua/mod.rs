//! Scripts and libraries of functions: what is added to one, so that it speaks the app's names and the node hears the stored ones.
//!
//! In front of it comes one line without an end, so its own lines keep their numbers: `names.lua`. `KEYS` gets the app's names back, and `redis.call` and
//! `redis.pcall` become functions that know from the table (`data.rs`) where the names of keys stand. A call in a `return` is put in parentheses (`rewrite.rs`):
//! Lua would forget otherwise on which line it was.
//!
//! While a library is loaded there is nothing but a `redis` that registers functions: no `redis.call`, no `type`, no metatables. So its `register_function` is
//! replaced in the text, by one that registers functions which get everything ready when they are called: `library.lua`. (`redis['register_function']` is not
//! seen: what is registered so gets stored names.)
//!
//! Whatever is added stands between marks, comments that are nowhere in the script. So [`original`] finds the script again, byte by byte, from nothing but what
//! a node has, and nodes may hand it on to each other:
//!
//! ```text
//! #!lua name=lib
//! --[[slotcar]]local redis,server… --[[slotcar]]return --[[slotcar]](--[[slotcar]]redis.call('get', k)--[[slotcar]])--[[slotcar]]
//! ```

mod data;
mod database;
mod glob;
mod marks;
mod rewrite;
mod scan;

pub use self::database::{selected, without_database};
pub use self::marks::original;

use super::Naming;

/// What is put in front of scripts and of libraries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prelude {
    script: Vec<u8>,
    library: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Script,
    Library,
}

impl Prelude {
    /// None: no rule is for scripts.
    pub fn new(naming: &Naming) -> Option<Self> {
        let is_for_scripts = match naming.whole() {
            Some(rule) => rule.in_scripts,
            None => naming.has_databases() || naming.rules.iter().any(|rule| rule.in_scripts),
        };
        if !is_for_scripts {
            return None;
        }
        let data = [data::rules(naming), data::keys(), data::answers()];
        let data = data.map(|table| format!("{{{table}}}")).join(",");
        // With one rule for all keys, patterns are mapped as keys are.
        let glob = if naming.whole().is_some() { "" } else { GLOB };
        let names = NAMES.replace("$GLOB", glob);
        let with = |prelude: &str| {
            let prelude = prelude.replace("$NAMES", &names);
            let prelude = squeezed(&prelude, naming.has_databases());
            prelude.replace("$DATA", &data).into_bytes()
        };
        Some(Self {
            script: with(SCRIPT),
            library: with(LIBRARY),
        })
    }

    /// The script as the node gets it.
    pub fn apply(&self, body: &[u8]) -> Vec<u8> {
        put_in_front(&self.script, Kind::Script, body)
    }

    /// The library as the node gets it. One that has been changed already, and was read from a node, is not changed twice.
    pub fn apply_to_library(&self, body: &[u8]) -> Vec<u8> {
        if !body.starts_with(SHEBANG) {
            // The node refuses it.
            return body.to_vec();
        }
        let is_changed = marks::is_marked(split_shebang(body).1);
        let original = original(body).filter(|_| is_changed);
        let body = original.as_deref().unwrap_or(body);
        put_in_front(&self.library, Kind::Library, body)
    }
}

fn put_in_front(prelude: &[u8], kind: Kind, body: &[u8]) -> Vec<u8> {
    let (first, rest) = split_shebang(body);
    if rest.is_empty() {
        return body.to_vec();
    }
    let mark = marks::mark_beside(rest);
    let mut out = first.to_vec();
    marks::add(prelude, &mark, &mut out);
    rewrite::rewrite(rest, kind, &mark, &mut out);
    out
}

/// `#!lua flags=…` has to stay the first line.
fn split_shebang(body: &[u8]) -> (&[u8], &[u8]) {
    if !body.starts_with(SHEBANG) {
        return (&[], body);
    }
    let end = memchr::memchr(b'\n', body).map_or(body.len(), |end| end + 1);
    body.split_at_checked(end).unwrap_or((body, &[]))
}

/// One line, without comments and blanks that mean nothing. Lines that end in a comment `--if databases` or `--if one database` are there only then.
fn squeezed(code: &str, has_databases: bool) -> String {
    let lines = code.lines().filter_map(|line| {
        let (code, comment) = line.split_once("--").unwrap_or((line, ""));
        let is_there = match comment {
            _ if comment.starts_with("if databases") => has_databases,
            _ if comment.starts_with("if one database") => !has_databases,
            _ => true,
        };
        Some(code.trim()).filter(|code| is_there && !code.is_empty())
    });
    lines.collect::<Vec<_>>().join(" ") + " "
}

const SHEBANG: &[u8] = b"#!";
/// What a prelude begins with.
const BEGINNING: &[u8] = b"local redis,server";

/// In front of a script. `$NAMES` and `$DATA` as in [`LIBRARY`].
const SCRIPT: &str = "local redis,server=($NAMES)(redis,KEYS,ARGV,$DATA)";
/// In front of a library. `$NAMES`: [`NAMES`]; `$DATA`: the tables of [`data`].
const LIBRARY: &str = include_str!("library.lua");
/// The function that both need. `$GLOB`: [`GLOB`], if it is needed.
const NAMES: &str = include_str!("names.lua");
const GLOB: &str = include_str!("glob.lua");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::naming::tests::naming;

    #[test]
    fn a_shebang_stays_the_first_line_and_lines_keep_their_numbers() {
        let prelude = Prelude::new(&naming(&["*=t"])).unwrap();
        for (script, line) in [("return 1", 0), ("#!lua flags=no-writes\nreturn 1\n", 1)] {
            for made in [
                prelude.apply(script.as_bytes()),
                prelude.apply_to_library(script.as_bytes()),
            ] {
                let made = String::from_utf8(made).unwrap();
                assert_eq!(made.lines().count(), script.lines().count());
                assert_eq!(made.lines().next().unwrap().starts_with("#!"), line == 1);
                let code = made.lines().nth(line).unwrap();
                assert!(code.ends_with("return 1"));
            }
        }
        for body in ["", "#!lua", "#!lua name=x\n"] {
            assert_eq!(prelude.apply(body.as_bytes()), body.as_bytes());
        }
        let unnamed = b"redis.register_function('f', f)";
        assert_eq!(prelude.apply_to_library(unnamed), unnamed);
        for made in [prelude.script, prelude.library] {
            assert!(made.starts_with(BEGINNING) && !made.contains(&b'\n'));
            assert!(made.len() < 8 * 1024, "{} bytes", made.len());
        }
    }

    #[test]
    fn what_was_loaded_is_found_again() {
        let prelude = Prelude::new(&naming(&["*=t", "a?b=u"])).unwrap();
        let pieces = [
            "return ",
            "redis.call",
            "(",
            ")",
            "server.register_function",
            "--[[slotcar",
            "--[[slotcar]]",
            "--[[slotcar1]]",
            "--[[slotcar99999999999]]",
            "]]",
            "\n",
            "local redis,server",
            "'",
            "x",
            "slotcar",
        ];
        for one in pieces {
            for two in pieces {
                for three in pieces {
                    let body = [one, two, three, two, one, ")"].concat();
                    let made = prelude.apply(body.as_bytes());
                    assert_eq!(original(&made), Some(body.clone().into_bytes()));
                    let library = format!("#!lua name=x\nx{body}");
                    let made = prelude.apply_to_library(library.as_bytes());
                    let again = prelude.apply_to_library(&made);
                    assert_eq!(original(&made), Some(library.into_bytes()));
                    assert_eq!(again, made, "not changed twice");
                }
            }
        }
        for text in [
            "",
            "--[[slotcar",
            "--[[slotcar]]",
            "--[[slotcar]]local redis,server",
            "--[[slotcar]]x--[[slotcar]]",
        ] {
            assert_eq!(original(text.as_bytes()), None, "{text}");
        }
    }
}
