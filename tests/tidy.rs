//! The architecture as data: this test fails when code leaves the picture that `ARCHITECTURE.md` draws.
//!
//! It reads sources as text, with comments, strings and unit tests blanked out, so it needs no compiler and sees every
//! configuration. Changing a table here is a design decision: say why in the commit.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// Which module may use which others. What is below in the picture comes first:
/// `resp ◀ command ◀ topology ◀ route ◀ {downstream, upstream, reply} ◀ worker ◀ app`; `control` and `admin` stand beside.
const MAY_USE: &[(&str, &[&str])] = &[
    // Leaves. `config` holds endpoints, addresses, names of commands and the bounds of the grammar; it asks nobody what they do.
    ("clock", &[]),
    ("memory", &[]),
    ("log", &["clock"]),
    ("measure", &["clock", "command"]),
    ("net", &[]),
    ("config", &["resp", "command", "topology", "net"]),
    // The pure core, bottom up.
    ("resp", &[]),
    ("command", &["resp"]),
    ("topology", &["resp", "command"]),
    ("route", &["clock", "config", "resp", "command", "topology"]),
    (
        "reply",
        &[
            "clock", "config", "net", "resp", "command", "topology", "route",
        ],
    ),
    (
        "upstream",
        &[
            "clock", "measure", "config", "net", "resp", "command", "topology", "route",
        ],
    ),
    (
        "downstream",
        &[
            "clock", "measure", "config", "net", "resp", "command", "topology", "route", "reply",
        ],
    ),
    (
        // What a cluster would do, by the code that does it; what sessions would be told is `downstream`'s.
        "audit",
        &[
            "config",
            "resp",
            "command",
            "topology",
            "route",
            "downstream",
        ],
    ),
    // What moves.
    (
        "control",
        &[
            // What is known of nodes that may be read from.
            "route", "clock", "config", "net", "resp", "command", "topology", "upstream",
        ],
    ),
    (
        "worker",
        &[
            "clock",
            "memory",
            "measure",
            "config",
            "net",
            "resp",
            "command",
            "topology",
            "route",
            "reply",
            "upstream",
            "downstream",
            "audit",
            // What it publishes, and what it is told.
            "control",
        ],
    ),
    (
        "admin",
        &[
            "clock", "log", "memory", "measure", "config", "net", "command", "topology", "audit",
            "control", "worker",
        ],
    ),
    (
        "app",
        &[
            "clock",
            "log",
            "memory",
            "measure",
            "config",
            "net",
            "resp",
            "command",
            "topology",
            "route",
            "reply",
            "upstream",
            "downstream",
            "audit",
            "control",
            "worker",
            "admin",
        ],
    ),
];

/// The files where bytes move and time passes; everything else is pure.
const PUMPS: &[&str] = &[
    "src/worker/client.rs",
    "src/worker/node.rs",
    "src/worker/errands.rs",
    "src/worker/sockets.rs",
    "src/worker/accept.rs",
    "src/worker/mod.rs",
    "src/control/",
    "src/admin/",
    "src/net/",
    // When a line was written.
    "src/log.rs",
    "src/app.rs",
    "src/app/",
    "src/main.rs",
];

/// What only some files may do: the words that give it away, and the files or folders.
const EFFECTS: &[(&str, &[&str], &[&str])] = &[
    (
        "uses sockets or the runtime",
        &[
            "tokio",
            "mio",
            "socket2",
            "TcpStream",
            "TcpListener",
            "UnixStream",
            "UnixListener",
            "UdpSocket",
        ],
        PUMPS,
    ),
    (
        "asks crate::clock for the time",
        &["clock::now", "clock::unix_millis"],
        PUMPS,
    ),
    (
        "reads a clock of its own",
        &["Instant", "SystemTime", "elapsed"],
        &["src/clock.rs"],
    ),
    (
        "starts threads",
        &["std::thread", "thread::spawn"],
        &["src/app/", "src/control/", "src/admin/", "src/log/"],
    ),
    (
        "reads files or the environment",
        &["std::fs", "fs::read", "std::env", "env::vars_os"],
        &[
            "src/config/",
            "src/net/",
            "src/memory.rs",
            // What the system says of the process.
            "src/admin/process.rs",
            // What a run of move-keys remembers for the next one.
            "src/app/move_keys/state.rs",
        ],
    ),
    (
        "makes its own randomness",
        &["rand", "fastrand", "getrandom", "RandomState"],
        PUMPS,
    ),
];

/// Names that say nothing, for files and folders.
const EMPTY_NAMES: &[&str] = &[
    "util", "utils", "common", "helper", "helpers", "misc", "manager",
];
/// Marks of work that was put off; spelled so that this file does not contain them.
const MARKS: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("HA", "CK"),
];
const CODE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

/// (rule, file, why): what is let through. An exception that is not needed any more fails too.
const EXCEPTIONS: &[(&str, &str, &str)] = &[];

#[test]
fn modules_use_only_what_is_below_them() {
    check("imports", |file| {
        let Some(module) = file.module() else {
            return Vec::new();
        };
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == module) else {
            return vec![format!(
                "module {module} has no place in the picture: give it one in MAY_USE"
            )];
        };
        let mut complaints = Vec::new();
        for (line, used) in file.uses() {
            if used != module && !allowed.contains(&used.as_str()) {
                complaints.push(format!(
                    "line {line}: {module} may not use {used}, only {allowed:?}"
                ));
            }
        }
        for (line, text) in file.lines() {
            if text.contains("super::super") {
                complaints.push(format!(
                    "line {line}: say crate:: instead of super::super::"
                ));
            }
        }
        complaints
    });
}

#[test]
fn effects_stay_where_they_belong() {
    check("effects", |file| {
        let mut complaints = Vec::new();
        for (what, words, places) in EFFECTS {
            if places.iter().any(|place| file.path.starts_with(place)) {
                continue;
            }
            for (line, text) in file.lines() {
                for word in words.iter().filter(|word| has_word(text, word)) {
                    complaints.push(format!(
                        "line {line}: {word}: {what}, which only {places:?} may"
                    ));
                }
            }
        }
        complaints
    });
}

#[test]
fn files_and_functions_are_short() {
    check("file length", |file| {
        let lines = file
            .lines()
            .filter(|(_, text)| !text.trim().is_empty())
            .count();
        let tables = [
            "src/command/table.rs",
            "src/config/keys.rs",
            "src/admin/metrics/rows.rs",
        ];
        let is_table = tables.contains(&file.path.as_str());
        let fits = lines <= CODE_LINES_MAX || is_table;
        complain_unless(fits, || {
            format!("{lines} lines of code, at most {CODE_LINES_MAX}")
        })
    });
    check("function length", |file| {
        let functions = file.functions();
        let long = functions
            .iter()
            .filter(|(_, _, lines)| *lines > FUNCTION_LINES_MAX);
        long.map(|(line, name, lines)| {
            format!("line {line}: {name} has {lines} lines, at most {FUNCTION_LINES_MAX}")
        })
        .collect()
    });
}

#[test]
fn every_file_says_what_it_is() {
    check("file header", |file| {
        complain_unless(file.text.starts_with("//! "), || {
            "must open with `//!`: what it owns, what not".to_owned()
        })
    });
    check("file name", |file| {
        let mut names = file.path.trim_end_matches(".rs").split('/');
        complain_unless(!names.any(|name| EMPTY_NAMES.contains(&name)), || {
            "has a name that says nothing".to_owned()
        })
    });
}

#[test]
fn nothing_is_put_off_in_a_comment() {
    check("marks", |file| {
        let lines = file.text.lines().zip(1..);
        let marked = lines.filter(|(text, _)| MARKS.iter().any(|mark| has_word(text, mark)));
        marked
            .map(|(text, line)| format!("line {line}: {}", text.trim()))
            .collect()
    });
}

#[test]
fn every_exception_has_a_reason_and_is_needed_for_a_file_that_exists() {
    for (rule, path, why) in EXCEPTIONS {
        assert!(why.len() > 20, "{rule} in {path}: why?");
        assert!(
            Path::new(path).exists(),
            "{path} is gone: so should be its exception"
        );
    }
}

#[test]
fn the_picture_has_no_circle() {
    let mut placed = BTreeSet::from(["clock", "net"]);
    loop {
        let ready = |uses: &[&str]| uses.iter().all(|name| placed.contains(name));
        let next = MAY_USE
            .iter()
            .find(|(name, uses)| !placed.contains(name) && ready(uses));
        match next {
            Some((name, _)) => placed.insert(name),
            None => break,
        };
    }
    let rest: Vec<_> = MAY_USE
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| !placed.contains(name))
        .collect();
    assert!(rest.is_empty(), "in or above a circle: {rest:?}");
}

/// One source file.
struct File {
    /// From the repository's root, with `/`.
    path: String,
    text: String,
    /// `text` with comments, literals and unit tests blanked out, line by line where it was.
    code: String,
}

/// Runs a rule over all files and fails with everything that it complains about.
fn check(rule: &str, complaints: impl Fn(&File) -> Vec<String>) {
    let mut report = String::new();
    for file in files() {
        let found = complaints(&file);
        let excused = EXCEPTIONS
            .iter()
            .any(|(name, path, _)| *name == rule && *path == file.path);
        if excused && found.is_empty() {
            writeln!(report, "{}: needs no exception any more", file.path).unwrap();
        }
        for complaint in found.iter().filter(|_| !excused) {
            writeln!(report, "{}: {complaint}", file.path).unwrap();
        }
    }
    assert!(report.is_empty(), "\n{rule}:\n{report}");
}

fn complain_unless(holds: bool, complaint: impl Fn() -> String) -> Vec<String> {
    if holds { Vec::new() } else { vec![complaint()] }
}

/// All Rust files of the repository.
fn files() -> Vec<File> {
    let mut paths = Vec::new();
    for root in ["src", "tests", "benches"] {
        collect(Path::new(root), &mut paths);
    }
    assert!(paths.len() > 10, "sources not found");
    paths.sort();
    let read = |path: String| {
        let text = fs::read_to_string(&path).unwrap();
        let code = without_tests(&blank(&text));
        File { path, text, code }
    };
    paths.into_iter().map(read).collect()
}

fn collect(folder: &Path, paths: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_str().unwrap();
        if entry.file_type().unwrap().is_dir() {
            let is_foreign = name.starts_with('.') || name == "node_modules" || name == "target";
            if !is_foreign {
                collect(&path, paths);
            }
        } else if name.ends_with(".rs") {
            paths.push(path.to_str().unwrap().to_owned());
        }
    }
}

impl File {
    /// The module under the crate's root that it belongs to; none for the root itself, tests and benches.
    fn module(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?;
        let module = inside.split('/').next()?.trim_end_matches(".rs");
        (module != "lib" && module != "main").then_some(module)
    }

    /// Numbered lines of code; none in files outside `src`, which only `text` is read of.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let is_code = self.path.starts_with("src/") && !self.path.ends_with("/tests.rs");
        (1..).zip(self.code.lines()).take_while(move |_| is_code)
    }

    /// Every `crate::name` and each name of `crate::{…}`, with its line.
    fn uses(&self) -> Vec<(usize, String)> {
        let mut uses = Vec::new();
        let code: String = self.lines().flat_map(|(_, text)| [text, "\n"]).collect();
        for (at, found) in code.match_indices("crate::") {
            let line = 1 + code[..at].matches('\n').count();
            let rest = &code[at + found.len()..];
            let names = match rest.strip_prefix('{') {
                Some(group) => first_names(group),
                None => vec![identifier(rest)],
            };
            uses.extend(names.into_iter().map(|name| (line, name)));
        }
        uses
    }

    /// Line, name and length in lines of every function with a body.
    fn functions(&self) -> Vec<(usize, String, usize)> {
        let code: String = self.lines().flat_map(|(_, text)| [text, "\n"]).collect();
        let mut functions = Vec::new();
        for (at, found) in code.match_indices("fn ") {
            let name = identifier(&code[at + found.len()..]);
            let is_word = !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            if let Some(body) = body(&code[at..]).filter(|_| is_word && !name.is_empty()) {
                let line = 1 + code[..at].matches('\n').count();
                functions.push((line, name, body.matches('\n').count() + 1));
            }
        }
        functions
    }
}

/// The text from a function's `fn` to the brace that closes it; none if it has no body.
fn body(code: &str) -> Option<&str> {
    let mut depth = 0_usize;
    let mut open = Vec::new();
    for (at, c) in code.char_indices() {
        match c {
            ';' if open.is_empty() && depth == 0 => return None,
            '(' | '[' => depth += 1,
            ')' | ']' => depth = depth.checked_sub(1)?,
            '{' => open.push(depth),
            '}' => {
                let is_body = open.pop()? == 0;
                if is_body && open.is_empty() {
                    return Some(&code[..=at]);
                }
            }
            _ => {}
        }
    }
    None
}

/// The first name of each path in a `{…}` of a `use`.
fn first_names(group: &str) -> Vec<String> {
    let mut depth = 1;
    let mut names = Vec::new();
    let mut starts = true;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => starts = true,
            c if starts && !c.is_whitespace() => {
                names.push(identifier(&group[at..]));
                starts = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names
}

fn identifier(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

/// Whether `word` stands in `text` on its own.
fn has_word(text: &str, word: &str) -> bool {
    let joins = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + word.len()..]);
        !before.ends_with(joins) && !after.starts_with(joins)
    })
}

/// Blanks everything behind the first `#[cfg(test)]` that stands before a module: unit tests end a file.
fn without_tests(code: &str) -> String {
    let mut lines = code.lines().peekable();
    let mut kept = String::new();
    while let Some(line) = lines.next() {
        let next = lines.peek().copied().unwrap_or_default().trim_start();
        if line.trim() == "#[cfg(test)]" && next.starts_with("mod ") && next.ends_with('{') {
            break;
        }
        kept.push_str(line);
        kept.push('\n');
    }
    kept
}

/// `text` with comments and the insides of string and character literals taken out; line breaks stay.
fn blank(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skipped = match literal_length(rest, code.chars().next_back()) {
            0 => {
                code.push(c);
                c.len_utf8()
            }
            length => {
                code.extend(rest[..length].chars().filter(|c| *c == '\n'));
                length
            }
        };
        rest = &rest[skipped..];
    }
    code
}

/// The length of the comment or literal that `text` begins with; 0 if it begins with neither.
fn literal_length(text: &str, before: Option<char>) -> usize {
    let is_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return block_comment_length(text);
    }
    let prefix = if is_word {
        0
    } else {
        text.bytes().take_while(|b| b"bcr".contains(b)).count()
    };
    let hashes = text[prefix..].bytes().take_while(|b| *b == b'#').count();
    if prefix > 0 && text[..prefix].ends_with('r') && text[prefix + hashes..].starts_with('"') {
        let start = prefix + hashes + 1;
        let end = format!("\"{}", "#".repeat(hashes));
        return text[start..]
            .find(&end)
            .map_or(text.len(), |at| start + at + end.len());
    }
    if text[prefix..].starts_with('"') {
        return prefix + quoted_length(&text[prefix..], '"');
    }
    let mut inside = text.strip_prefix('\'').unwrap_or_default().chars();
    let is_char = match inside.next() {
        Some('\\') => true,
        Some(_) => inside.next() == Some('\''),
        None => false,
    };
    if is_char {
        quoted_length(text, '\'')
    } else {
        0
    }
}

fn quoted_length(text: &str, quote: char) -> usize {
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn block_comment_length(text: &str) -> usize {
    let mut depth = 0_usize;
    for at in text.match_indices(['/', '*']).map(|(at, _)| at) {
        if text[at..].starts_with("/*") {
            depth += 1;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            if depth == 0 {
                return at + 2;
            }
        }
    }
    text.len()
}

#[test]
fn this_test_reads_rust_as_it_is_written() {
    let text = "use crate::{a::{x, y}, b};\nfn one(a: [u8; 2]) -> char {\n    // crate::c\n    \"crate::d \\\" \\\n }\";\n    \
                r#\"crate::e\" }\"#; b'}'; '\\''; let x: &'static str = crate::f::g();\n}\n/* crate::h /* } */ */\n\
                trait T {\n    fn none(&self);\n}\n#[cfg(test)]\nmod tests {\n    use crate::i;\n}\n";
    let path = "src/x.rs".to_owned();
    let file = File {
        path,
        text: text.to_owned(),
        code: without_tests(&blank(text)),
    };
    let uses: Vec<_> = file
        .uses()
        .into_iter()
        .map(|(line, name)| format!("{line}{name}"))
        .collect();
    assert_eq!(uses, ["1a", "1b", "6f"]);
    assert_eq!(file.functions(), [(2, "one".to_owned(), 6)]);
    assert!(has_word("tokio::spawn", "tokio") && !has_word("my_tokio", "tokio"));
}
