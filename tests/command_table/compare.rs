//! The comparisons, one function each. A difference is a line of text.

use std::collections::BTreeSet;
use std::fmt;

use slotcar::command::check;
use slotcar::command::keys::{KeyList, find_keys};
use slotcar::command::lookup::{CommandTable, Lookup};
use slotcar::command::together::Rule;
use slotcar::command::{Access, Begin, Find, Flags, KeySpec, Merge, Route, Row};
use slotcar::resp::request::{Arg, Request, RequestLimits, RequestScan, Scanned};
use slotcar::resp::write;
use slotcar::route::naming::Naming;

use crate::arguments;
use crate::exceptions::{About, exception, getkeys_errs};
use crate::server::{Connection, Server, Value};

#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) counts: Counts,
    pub(crate) differences: Vec<String>,
    /// Positions of the exceptions that were met.
    pub(crate) exceptions: BTreeSet<usize>,
}

#[derive(Debug, Default)]
pub(crate) struct Counts {
    rows: usize,
    argument_lists: usize,
    mapped: usize,
    errors: usize,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rows, lists, errors) = (self.rows, self.argument_lists, self.errors);
        let mapped = self.mapped;
        write!(
            f,
            "{rows} rows, {lists} argument lists, {mapped} of them with other names, {errors} error texts"
        )
    }
}

pub(crate) fn all(table: &CommandTable, server: &Server) -> Report {
    let mut report = Report::default();
    let mut connection = server.connect();
    let commands = connection.ask(&[b"COMMAND"]);
    let docs = connection.ask(&[b"COMMAND", b"DOCS"]);
    let mut rows = Vec::new();
    for entry in commands.list() {
        rows.extend(report.compare_entry(table, entry));
        for sub in entry.list()[9].list() {
            rows.extend(report.compare_entry(table, sub));
        }
    }
    report.compare_names(table, &connection.ask(&[b"COMMAND", b"LIST"]));
    report.compare_keys(table, &docs, &mut connection);
    report.compare_errors(table, &rows, &mut connection);
    report
}

impl Report {
    /// `COMMAND LIST` names commands only; its subcommands have been seen in `COMMAND`.
    fn compare_names(&mut self, table: &CommandTable, names: &Value) {
        for name in names.texts() {
            if table.row(name).is_none() {
                self.differences.push(format!("{name}: no row"));
            }
        }
    }

    /// Arity, flags, key specifications and tips of one command or subcommand.
    fn compare_entry(&mut self, table: &CommandTable, entry: &Value) -> Option<&'static Row> {
        let entry = entry.list();
        let name = entry[0].text();
        self.counts.rows += 1;
        let Some(row) = table.row(name) else {
            self.differences.push(format!("{name}: no row"));
            return None;
        };
        let arity = entry[1].integer();
        self.expect(name, About::Arity, &i64::from(row.arity), &arity);
        let flags = flags_of(&entry[2].texts()) | (row.flags & Flags::CONTAINER);
        self.expect(name, About::Flags, &row.flags, &flags);
        let container = !entry[9].list().is_empty();
        if container != row.flags.contains(Flags::CONTAINER) {
            self.differences.push(format!("{name}: container or not"));
        }
        let specs: Vec<String> = entry[8].list().iter().map(live_spec).collect();
        let ours: Vec<String> = row.keys.iter().map(our_spec).collect();
        self.expect(name, About::KeySpecs, &ours, &specs);
        self.expect(name, About::Tips, &policies(row), &tips(&entry[7].texts()));
        Some(row)
    }

    fn expect<T: PartialEq + fmt::Debug>(&mut self, name: &str, about: About, ours: &T, live: &T) {
        if ours == live {
            return;
        }
        match exception(name, about) {
            Some(at) => {
                self.exceptions.insert(at);
            }
            None => {
                let text = format!("{name}: {about:?}: table {ours:?}, server {live:?}");
                self.differences.push(text);
            }
        }
    }

    /// Key positions, through `COMMAND GETKEYS`.
    fn compare_keys(&mut self, table: &CommandTable, docs: &Value, connection: &mut Connection) {
        let mut requests = Vec::new();
        for (name, docs) in docs.pairs() {
            match docs.field("subcommands") {
                None => requests.extend(arguments::requests(name, docs)),
                Some(subs) => {
                    for (name, docs) in subs.pairs() {
                        requests.extend(arguments::requests(name, docs));
                    }
                }
            }
        }
        let ask = |words: &Vec<Vec<u8>>| {
            let prefix = [b"COMMAND".to_vec(), b"GETKEYS".to_vec()];
            prefix.into_iter().chain(words.iter().cloned()).collect()
        };
        let questions: Vec<Vec<Vec<u8>>> = requests.iter().map(ask).collect();
        let answers = connection.ask_all(&questions);
        for (words, answer) in requests.iter().zip(&answers) {
            self.counts.argument_lists += 1;
            let (ours, live) = (our_keys(table, words), live_keys(answer, words));
            if ours != live && !getkeys_errs(words) {
                let words = String::from_utf8_lossy(&words.join(&b' ')).into_owned();
                let text = format!("{words}: keys: table {ours:?}, server {live:?}");
                self.differences.push(text);
            }
        }
        self.compare_mapped(table, &requests, connection);
    }

    /// Keys that are kept together: the server finds the names under which they are stored, and no others; and where the arguments of such a
    /// request are, is known without looking.
    fn compare_mapped(
        &mut self,
        table: &CommandTable,
        requests: &[Vec<Vec<u8>>],
        connection: &mut Connection,
    ) {
        let all = [Rule::parse("*=t").unwrap()];
        for (rules, database, tag) in [
            (&all[..], 0, "{t}"),
            (&[], 3, "@db3:"),
            (&all, 3, "@db3:{t}"),
        ] {
            let naming = Naming::new(rules, database + 1).unwrap();
            self.compare_mapped_by(table, (&naming, database, tag), requests, connection);
        }
    }

    fn compare_mapped_by(
        &mut self,
        table: &CommandTable,
        (naming, database, tag): (&Naming, u32, &str),
        requests: &[Vec<Vec<u8>>],
        connection: &mut Connection,
    ) {
        let mapped: Vec<(&Words, Words)> = requests
            .iter()
            .filter(|words| !getkeys_errs(words))
            .filter_map(|words| Some((words, mapped(table, (naming, database), words)?)))
            .collect();
        let prefix = [b"COMMAND".to_vec(), b"GETKEYS".to_vec()];
        let ask = |words: &Vec<Vec<u8>>| prefix.iter().chain(words).cloned().collect();
        let questions: Vec<Vec<Vec<u8>>> = mapped.iter().map(|(_, words)| ask(words)).collect();
        let answers = connection.ask_all(&questions);
        for ((words, mapped), answer) in mapped.iter().zip(&answers) {
            self.counts.mapped += 1;
            let ours = our_keys(table, words);
            let ours = ours.map(|keys| keys.iter().map(|key| format!("{tag}{key}")).collect());
            let live = live_keys(answer, mapped);
            if ours != live {
                let words = String::from_utf8_lossy(&mapped.join(&b' ')).into_owned();
                let text = format!("{words}: mapped: ours {ours:?}, server {live:?}");
                self.differences.push(text);
            }
        }
    }

    /// Errors for what no server executes.
    fn compare_errors(
        &mut self,
        table: &CommandTable,
        rows: &[&'static Row],
        connection: &mut Connection,
    ) {
        let mut requests = unknown_requests();
        for row in rows {
            if exception(row.name, About::Arity).is_none() {
                requests.extend(misfits(row));
            }
        }
        requests.retain(|words| our_error(table, words).is_some());
        let answers = connection.ask_all(&requests);
        for (words, answer) in requests.iter().zip(&answers) {
            self.counts.errors += 1;
            let ours = our_error(table, words).unwrap_or_default();
            if !matches!(answer, Value::Error(live) if *live == ours) {
                let live = match answer {
                    Value::Error(live) => String::from_utf8_lossy(live).into_owned(),
                    Value::Text(_) | Value::Integer(_) | Value::List(_) | Value::Null => {
                        format!("{answer:?}")
                    }
                };
                let words = String::from_utf8_lossy(&words.join(&b' ')).into_owned();
                let ours = String::from_utf8_lossy(&ours);
                let text = format!("{words}: error: table {ours:?}, server {live:?}");
                self.differences.push(text);
            }
        }
    }
}

fn our_error(table: &CommandTable, words: &[Vec<u8>]) -> Option<Vec<u8>> {
    with_request(words, |request| {
        check::refuse(table.lookup(request), request)
    })
}

/// Requests of this row with too few and too many arguments.
fn misfits(row: &Row) -> Vec<Vec<Vec<u8>>> {
    let name: Vec<Vec<u8>> = row.name.split('|').map(|word| word.into()).collect();
    let want = usize::from(row.arity.unsigned_abs());
    let lengths = [name.len(), want - 1, want + 1, want + 2];
    let padded = |len: usize| {
        let pad = std::iter::repeat_n(b"x".to_vec(), len.saturating_sub(name.len()));
        name.iter().cloned().chain(pad).collect()
    };
    lengths
        .iter()
        .filter(|len| **len >= name.len() && !row.takes(**len))
        .map(|len| padded(*len))
        .collect()
}

/// Unknown commands and subcommands, and the bounds of what their errors quote.
fn unknown_requests() -> Vec<Vec<Vec<u8>>> {
    let mut requests: Vec<Vec<Vec<u8>>> = Vec::new();
    for line in [
        "nope",
        "nope a b",
        "config|get x",
        "CoNfIg nope",
        "config",
        "cluster NOPE",
        "client|id",
        "XGROUP foo bar",
        "f\r\noo a\r\nb c",
        "fo\0o x\0y z",
        "config a\0b",
        "config a\nb",
    ] {
        requests.push(line.split(' ').map(|word| word.into()).collect());
    }
    requests.push(vec![vec![]]);
    requests.push(vec![b"nope".to_vec(), vec![], vec![]]);
    requests.push(vec![b"config".to_vec(), vec![]]);
    requests.push(vec![b"nope".to_vec(), b"\xff\xfe".to_vec()]);
    for len in [1, 60, 123, 124, 125, 126, 127, 128, 129, 300] {
        let long = vec![b'a'; len];
        requests.push(vec![long.clone(), b"b".to_vec()]);
        requests.push(vec![b"nope".to_vec(), long.clone(), b"bcd".to_vec()]);
        requests.push(vec![
            b"nope".to_vec(),
            long.clone(),
            long.clone(),
            long.clone(),
        ]);
        requests.push(vec![b"config".to_vec(), long, b"b".to_vec()]);
    }
    requests
}

/// The names of the keys, shard channels aside: servers do not count those.
fn our_keys(table: &CommandTable, words: &[Vec<u8>]) -> Result<Vec<String>, String> {
    with_request(words, |request| {
        let Lookup::Row(row) = table.lookup(request) else {
            return Err("no row".to_owned());
        };
        let is_channel = |spec: &KeySpec| spec.access == Access::NotKey;
        let mut keys = KeyList::new();
        if !row.keys.iter().any(is_channel) {
            find_keys(row, request, &mut keys).map_err(|error| format!("{error:?}"))?;
        }
        if let Some(at) = row.first_key()
            && !row.keys.iter().any(is_channel)
            && at < request.len()
            && keys.as_slice() != [u32::try_from(at).unwrap()]
        {
            return Err(format!("first_key() says {at}, find_keys() {keys:?}"));
        }
        let name = |at: usize| String::from_utf8_lossy(request.arg(at)).into_owned();
        Ok(keys.iter().map(name).collect())
    })
}

type Words = Vec<Vec<u8>>;

/// The words of a request with other names; none: it stays as it is.
fn mapped(
    table: &CommandTable,
    (naming, database): (&Naming, u32),
    words: &[Vec<u8>],
) -> Option<Vec<Vec<u8>>> {
    let mut bytes = Vec::new();
    write::command(&mut bytes, words);
    let mut scan = RequestScan::new();
    let scanned = scan.advance(&bytes, &RequestLimits::default());
    assert!(matches!(scanned, Ok(Scanned::Multibulk(_))), "{words:?}");
    let request = Request {
        bytes: &bytes,
        args: scan.args(),
    };
    let Lookup::Row(row) = table.lookup(request) else {
        return None;
    };
    let (mut out, mut args) = (Vec::new(), Vec::new());
    if !naming.request(
        database,
        row,
        request,
        &mut KeyList::new(),
        &mut out,
        &mut args,
    ) {
        return None;
    }
    let mut again = RequestScan::new();
    let scanned = again.advance(&out, &RequestLimits::default());
    assert!(
        matches!(scanned, Ok(Scanned::Multibulk(len)) if len == out.len()),
        "{words:?}"
    );
    assert_eq!(again.args(), args, "{words:?}");
    let word = |arg: &Arg| out[arg.start as usize..arg.end as usize].to_vec();
    Some(args.iter().map(word).collect())
}

fn live_keys(answer: &Value, words: &[Vec<u8>]) -> Result<Vec<String>, String> {
    let Value::Error(error) = answer else {
        return Ok(answer.texts().into_iter().map(str::to_owned).collect());
    };
    let error = String::from_utf8_lossy(error).into_owned();
    match error.as_str() {
        "ERR The command has no key arguments" | "ERR Invalid arguments specified for command" => {
            Ok(Vec::new())
        }
        // GETKEYS of Redis 7.0 wants more than a name.
        "ERR wrong number of arguments for 'command|getkeys' command" if words.len() == 1 => {
            Ok(Vec::new())
        }
        _ => Err(error),
    }
}

fn with_request<T>(words: &[Vec<u8>], ask: impl FnOnce(Request<'_>) -> T) -> T {
    let mut bytes = Vec::new();
    let mut args = Vec::new();
    for word in words {
        let start = u32::try_from(bytes.len()).unwrap();
        bytes.extend(word);
        let end = u32::try_from(bytes.len()).unwrap();
        args.push(Arg { start, end });
    }
    ask(Request {
        bytes: &bytes,
        args: &args,
    })
}

fn flags_of(names: &[&str]) -> Flags {
    let flag = |name: &&str| match *name {
        "write" => Flags::WRITE,
        "readonly" => Flags::READ,
        "fast" => Flags::FAST,
        "denyoom" => Flags::DENYOOM,
        "admin" => Flags::ADMIN,
        "blocking" => Flags::BLOCKING,
        "pubsub" => Flags::PUBSUB,
        "noscript" => Flags::NOSCRIPT,
        "no_multi" => Flags::NO_MULTI,
        "loading" => Flags::LOADING,
        "stale" => Flags::STALE,
        "no_auth" => Flags::NO_AUTH,
        "skip_monitor" => Flags::SKIP_MONITOR,
        _ => Flags::empty(),
    };
    names.iter().map(flag).collect()
}

fn our_spec(spec: &KeySpec) -> String {
    let access = match spec.access {
        Access::Read => "RO",
        Access::ReadWrite => "RW",
        Access::Overwrite => "OW",
        Access::Remove => "RM",
        Access::NotKey => "not_key",
    };
    let begin = match spec.begin {
        Begin::Index(at) => format!("index {at}"),
        Begin::Keyword { word, from } => format!("{word} from {from}"),
        other @ (Begin::SortStore | Begin::GeoStore | Begin::MigrateKeys) => format!("{other:?}"),
    };
    let find = match spec.find {
        Find::Range { last, step, limit } => format!("range {last} {step} {limit}"),
        Find::KeyNum {
            count_at,
            first,
            step,
        } => format!("keynum {count_at} {first} {step}"),
    };
    format!("{access} {begin} {find}")
}

/// A specification of `COMMAND`, in the words of [`our_spec`].
fn live_spec(spec: &Value) -> String {
    let flags = spec.field("flags").unwrap().texts();
    let access = ["RO", "RW", "OW", "RM", "not_key"];
    let access = access.iter().find(|flag| flags.contains(flag));
    let part = |name: &str| {
        let part = spec.field(name).unwrap();
        let kind = part.field("type").unwrap().text();
        let values = part.field("spec").unwrap();
        let values = values.pairs().map(|(name, value)| match name {
            "keyword" => value.text().to_owned(),
            _ => value.integer().to_string(),
        });
        (kind.to_owned(), values.collect::<Vec<_>>())
    };
    let (kind, values) = part("begin_search");
    let begin = match kind.as_str() {
        "keyword" => values.join(" from "),
        _ => format!("{kind} {}", values.join(" ")),
    };
    let (kind, values) = part("find_keys");
    let find = format!("{kind} {}", values.join(" "));
    format!("{} {begin} {find}", access.unwrap_or(&"?"))
}

/// Where a row goes and how its answers are merged, in the words of tips.
fn policies(row: &Row) -> [&'static str; 2] {
    let request = match row.route {
        Route::AllNodes => "all_nodes",
        Route::AllPrimaries => "all_shards",
        Route::Split => "multi_shard",
        Route::Scan => "special",
        Route::Slot
        | Route::AnyPrimary
        | Route::Local(_)
        | Route::Connection(_)
        | Route::Refuse(_) => "",
    };
    let response = match row.merge {
        Merge::AllSucceeded => "all_succeeded",
        Merge::OneSucceeded => "one_succeeded",
        Merge::Sum => "agg_sum",
        Merge::Min | Merge::MinEach => "agg_min",
        Merge::AndEach => "agg_logical_and",
        Merge::AsIs if row.route == Route::Scan => "special",
        // What a missing tip means: arrays are joined, in the order of the keys if there are some.
        Merge::AsIs
        | Merge::Concat
        | Merge::ConcatDistinct
        | Merge::KeyOrder
        | Merge::Receivers
        | Merge::SlowlogGet => "",
        Merge::MapSum
        | Merge::Info
        | Merge::RandomNonNull
        | Merge::FunctionStats
        | Merge::MemoryDoctor
        | Merge::MemoryMallocStats
        | Merge::MemoryStats
        | Merge::LatencyDoctor
        | Merge::LatencyGraph
        | Merge::LatencyHistogram
        | Merge::LatencyHistory
        | Merge::LatencyLatest
        | Merge::HotKeys => "special",
    };
    [request, response]
}

fn tips<'a>(tips: &[&'a str]) -> [&'a str; 2] {
    ["request_policy:", "response_policy:"].map(|policy| {
        let tip = tips.iter().find_map(|tip| tip.strip_prefix(policy));
        tip.unwrap_or_default()
    })
}
