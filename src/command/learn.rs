//! Rows learnt from a node's `COMMAND`: modules, and whatever is newer than the table.
//!
//! What is learnt never changes what is known: a row of the table stays as it is. Learnt rows live as long
//! as the process, so their number and size are bounded, and a name is learnt once, however often nodes are
//! asked. Where the keys are that only a module's own code can tell (`getkeys-api` without key
//! specifications) is not learnt: such a command goes to any primary.

use redis_protocol::resp3::decode::complete::decode;
use redis_protocol::resp3::types::{OwnedFrame, Resp3Frame};

use super::lookup::CommandTable;
use super::{Access, Begin, Connection, Find, Flags, KeySpec, Merge, Route, Row, Split};
use crate::resp::reply::Reply;

impl CommandTable {
    /// This table and the commands and subcommands of `command_reply` that it lacks. The reply is the
    /// whole frame, RESP2 or RESP3, of which a scanner has already limited the nesting. What cannot be
    /// understood is left out.
    #[must_use]
    pub fn learn(&self, command_reply: &[u8]) -> CommandTable {
        let room = LEARNT_MAX.saturating_sub(self.learnt());
        // One after the other: the whole reply would be megabytes of small pieces.
        let entries = Reply::new(command_reply).items();
        let entries = entries.filter_map(|entry| decode(entry.bytes()).ok().flatten());
        let new: Vec<&'static Row> = entries
            .flat_map(|(entry, _)| self.rows_of(&entry))
            .take(room)
            .map(|row| &*Box::leak(Box::new(row)))
            .collect();
        if new.is_empty() {
            return self.clone();
        }
        let learnt = self.learnt() + new.len();
        Self::of(self.rows().chain(new), learnt)
    }

    /// The unknown ones of a command and its subcommands.
    fn rows_of(&self, entry: &OwnedFrame) -> Vec<Row> {
        let subs = items(entry).get(9).map(|subs| items(subs));
        let subs = subs.unwrap_or_default();
        let container = match subs.is_empty() {
            true => Flags::empty(),
            false => Flags::CONTAINER,
        };
        let top = self.row_of(entry, container);
        let subs = subs.into_iter();
        let rows = subs.map(|sub| self.row_of(sub, Flags::empty()));
        std::iter::once(top).chain(rows).flatten().collect()
    }

    /// `[name, arity, flags, first, last, step, categories, tips, key specifications, subcommands]`
    fn row_of(&self, entry: &OwnedFrame, more: Flags) -> Option<Row> {
        let entry = items(entry);
        let name = text(entry.first()?).filter(|name| name.len() <= NAME_MAX)?;
        let name = name.to_ascii_lowercase();
        if name.is_empty() || self.row(&name).is_some() {
            return None;
        }
        let arity = i16::try_from(integer(entry.get(1)?)?).ok()?;
        let flags = entry.get(2).map_or(Flags::empty(), |flags| flags_of(flags)) | more;
        let tips: Vec<&str> = entry
            .get(7)
            .map(|tips| items(tips).into_iter().filter_map(text).collect())
            .unwrap_or_default();
        let keys = keys_of(&entry);
        let row = Row::new(leak(&name), arity, Box::leak(keys.into()), flags);
        Some(with_policies(row, &tips))
    }
}

/// Where the node's command tips send it. Policies that need knowledge of the command are not followed.
fn with_policies(row: Row, tips: &[&str]) -> Row {
    if row.flags.contains(Flags::BLOCKING) {
        let route = Route::Connection(Connection::Blocking);
        return Row { route, ..row };
    }
    let policy = |of: &str| tips.iter().find_map(|tip| tip.strip_prefix(of));
    let merge = match policy("response_policy:") {
        None if row.keys.is_empty() => Merge::Concat,
        None => Merge::KeyOrder,
        Some("all_succeeded") => Merge::AllSucceeded,
        Some("one_succeeded") => Merge::OneSucceeded,
        Some("agg_sum") => Merge::Sum,
        Some("agg_min") => Merge::Min,
        Some("agg_logical_and") => Merge::AndEach,
        Some(_) => return row,
    };
    let (route, shape) = match (policy("request_policy:"), row.keys.is_empty()) {
        (Some("all_nodes"), true) => (Route::AllNodes, None),
        (Some("all_shards"), true) => (Route::AllPrimaries, None),
        (Some("multi_shard"), false) => match shape_of(row.keys) {
            None => return row,
            shape => (Route::Split, shape),
        },
        _ => return row,
    };
    Row {
        route,
        merge,
        shape,
        ..row
    }
    .without_only_key()
}

/// How keys that reach from the first argument to the last can be dealt out.
fn shape_of(keys: &[KeySpec]) -> Option<Split> {
    let [only] = keys else { return None };
    match (only.begin, only.find) {
        (
            Begin::Index(1),
            Find::Range {
                last: -1,
                step,
                limit: 0 | 1,
            },
        ) => match step {
            1 => Some(Split::Keys),
            2 => Some(Split::KeyValues),
            3 => Some(Split::Triples),
            _ => None,
        },
        _ => None,
    }
}

fn flags_of(names: &OwnedFrame) -> Flags {
    let names = items(names).into_iter().filter_map(text);
    names.map(flag_of).collect()
}

/// The flag that `COMMAND` calls `name`; none if slotcar does not keep it.
fn flag_of(name: &str) -> Flags {
    match name {
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
    }
}

/// The key specifications; of a server before 7.0, which has none, the first, last and step.
fn keys_of(entry: &[&OwnedFrame]) -> Vec<KeySpec> {
    let specs = entry.get(8).map(|specs| items(specs)).unwrap_or_default();
    let specs = specs.into_iter().filter_map(key_spec);
    let specs: Vec<KeySpec> = specs.take(KEY_SPECS_MAX).collect();
    match specs.is_empty() {
        true => first_last_step(entry).into_iter().collect(),
        false => specs,
    }
}

fn first_last_step(entry: &[&OwnedFrame]) -> Option<KeySpec> {
    let number = |at: usize| entry.get(at).copied().and_then(integer);
    let first = u16::try_from(number(3)?).ok().filter(|first| *first > 0)?;
    let last = i32::try_from(number(4)?).ok()?;
    let step = u16::try_from(number(5)?).ok()?;
    let last = match last < 0 {
        true => last,
        false => last - i32::from(first),
    };
    Some(KeySpec {
        begin: Begin::Index(first),
        find: Find::Range {
            last,
            step,
            limit: 0,
        },
        access: Access::ReadWrite,
    })
}

/// `{flags: […], begin_search: {type: …, spec: {…}}, find_keys: {type: …, spec: {…}}}`
fn key_spec(spec: &OwnedFrame) -> Option<KeySpec> {
    let (search, found) = (field(spec, "begin_search")?, field(spec, "find_keys")?);
    let (begin, find) = (field(search, "spec")?, field(found, "spec")?);
    let find = match text(field(found, "type")?)? {
        "range" => Find::Range {
            last: narrow(find, "lastkey")?,
            step: narrow(find, "keystep")?,
            limit: narrow(find, "limit")?,
        },
        "keynum" => Find::KeyNum {
            count_at: narrow(find, "keynumidx")?,
            first: narrow(find, "firstkey")?,
            step: narrow(find, "keystep")?,
        },
        _ => return None,
    };
    let flags: Vec<&str> = items(field(spec, "flags")?)
        .into_iter()
        .filter_map(text)
        .collect();
    let access = match flags.as_slice() {
        flags if flags.contains(&"not_key") => Access::NotKey,
        flags if flags.contains(&"RO") => Access::Read,
        flags if flags.contains(&"OW") => Access::Overwrite,
        flags if flags.contains(&"RM") => Access::Remove,
        _ => Access::ReadWrite,
    };
    // Last: what is left out must not leave a word behind.
    let begin = match text(field(search, "type")?)? {
        // The name is no key.
        "index" => Begin::Index(narrow(begin, "index").filter(|index| *index > 0)?),
        "keyword" => Begin::Keyword {
            from: narrow(begin, "startfrom")?,
            word: leak(text(field(begin, "keyword")?).filter(|word| word.len() <= NAME_MAX)?),
        },
        _ => return None,
    };
    Some(KeySpec {
        begin,
        find,
        access,
    })
}

/// The elements of an array or a set; keys and values of a map, in turns.
pub(super) fn items(frame: &OwnedFrame) -> Vec<&OwnedFrame> {
    match frame {
        OwnedFrame::Array { data, .. } | OwnedFrame::Push { data, .. } => data.iter().collect(),
        OwnedFrame::Set { data, .. } => data.iter().collect(),
        OwnedFrame::Map { data, .. } => data.iter().flat_map(|(key, value)| [key, value]).collect(),
        OwnedFrame::BlobString { .. }
        | OwnedFrame::BlobError { .. }
        | OwnedFrame::SimpleString { .. }
        | OwnedFrame::SimpleError { .. }
        | OwnedFrame::Boolean { .. }
        | OwnedFrame::Null
        | OwnedFrame::Number { .. }
        | OwnedFrame::Double { .. }
        | OwnedFrame::BigNumber { .. }
        | OwnedFrame::VerbatimString { .. }
        | OwnedFrame::ChunkedString(_)
        | OwnedFrame::Hello { .. } => Vec::new(),
    }
}

/// The value of `name` in a map, or in an array of keys and values in turns.
fn field<'a>(map: &'a OwnedFrame, name: &str) -> Option<&'a OwnedFrame> {
    let pairs = items(map);
    let mut pairs = pairs.chunks_exact(2);
    pairs.find_map(|pair| match pair {
        [key, value] if text(key) == Some(name) => Some(*value),
        _ => None,
    })
}

fn narrow<N: TryFrom<i64>>(map: &OwnedFrame, name: &str) -> Option<N> {
    N::try_from(integer(field(map, name)?)?).ok()
}

pub(super) fn text(frame: &OwnedFrame) -> Option<&str> {
    frame.as_str()
}

fn integer(frame: &OwnedFrame) -> Option<i64> {
    if let OwnedFrame::Number { data, .. } = frame {
        return Some(*data);
    }
    text(frame)?.parse().ok()
}

fn leak(text: &str) -> &'static str {
    Box::leak(text.into())
}

/// Rows that may be learnt, subcommands included.
pub const LEARNT_MAX: usize = 4096;
/// Bytes of a name, or of the word before keys.
const NAME_MAX: usize = 64;
const KEY_SPECS_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Access;

    /// One command as RESP2 says it, with `name` and `tips`, that has two subcommands if `subs`.
    fn entry(name: &str, flags: &[&str], tips: &[&str], specs: &str, subs: &[String]) -> String {
        format!(
            "*10\r\n{}:-2\r\n{}:1\r\n:1\r\n:1\r\n*0\r\n{}{specs}{}",
            bulk(name),
            array(flags.iter().map(|flag| format!("+{flag}\r\n"))),
            array(tips.iter().map(|tip| bulk(tip))),
            array(subs.iter().cloned()),
        )
    }

    fn bulk(text: &str) -> String {
        format!("${}\r\n{text}\r\n", text.len())
    }

    fn array(items: impl Iterator<Item = String>) -> String {
        let items: Vec<String> = items.collect();
        format!("*{}\r\n{}", items.len(), items.concat())
    }

    /// All arguments from the first to the last, `step` apart.
    fn range_spec(step: u16) -> String {
        format!(
            "*1\r\n*6\r\n+flags\r\n*1\r\n+RO\r\n+begin_search\r\n*4\r\n+type\r\n+index\r\n+spec\r\n*2\r\n\
             +index\r\n:1\r\n+find_keys\r\n*4\r\n+type\r\n+range\r\n+spec\r\n*6\r\n\
             +lastkey\r\n:-1\r\n+keystep\r\n:{step}\r\n+limit\r\n:0\r\n"
        )
    }

    fn learnt_from(entries: &[String]) -> CommandTable {
        CommandTable::new().learn(array(entries.iter().cloned()).as_bytes())
    }

    #[test]
    fn a_module_command_becomes_a_row() {
        let flags = ["readonly", "module", "fast"];
        let table = learnt_from(&[entry("Foo.Get", &flags, &[], &range_spec(1), &[])]);
        let row = table.row("foo.get").expect("learnt");
        assert_eq!(
            (row.name, row.arity, row.flags, row.route),
            ("foo.get", -2, Flags::READ | Flags::FAST, Route::Slot)
        );
        let [spec] = row.keys else { panic!("{row:?}") };
        assert_eq!((spec.begin, spec.access), (Begin::Index(1), Access::Read));
        assert_eq!(table.learnt(), 1);
    }

    #[test]
    fn tips_say_where_a_learnt_command_goes() {
        let cases: &[(&[&str], &str, Route, Merge)] = &[
            (&[], "*0\r\n", Route::Slot, Merge::AsIs),
            (
                &["request_policy:multi_shard", "response_policy:agg_sum"],
                &range_spec(1),
                Route::Split,
                Merge::Sum,
            ),
            (
                &["request_policy:multi_shard"],
                &range_spec(7),
                Route::Slot,
                Merge::AsIs,
            ),
            (
                &["request_policy:all_shards", "response_policy:special"],
                &range_spec(1),
                Route::Slot,
                Merge::AsIs,
            ),
        ];
        for (tips, specs, route, merge) in cases {
            let table = learnt_from(&[entry("foo.x", &["write"], tips, specs, &[])]);
            let row = table.row("foo.x").expect("learnt");
            assert_eq!((row.route, row.merge), (*route, *merge), "{tips:?}");
            assert_eq!(row.shape.is_some(), row.route == Route::Split);
        }
    }

    #[test]
    fn what_is_known_stays_as_it_is_and_is_learnt_once() {
        let sub = |name| entry(name, &[], &[], "*0\r\n", &[]);
        let entries = [
            entry("get", &["write"], &[], "*0\r\n", &[]),
            entry("foo", &[], &[], "*0\r\n", &[sub("foo|a"), sub("foo|b")]),
            entry("config", &[], &[], "*0\r\n", &[sub("config|shiny")]),
        ];
        let table = learnt_from(&entries);
        assert_eq!(table.row("get").map(|row| row.arity), Some(2));
        assert!(table.row("foo|b").is_some());
        assert!(table.row("config|shiny").is_some());
        assert_eq!(table.learnt(), 4);
        let again = table.learn(array(entries.into_iter()).as_bytes());
        assert_eq!(again.learnt(), 4);
    }

    #[test]
    fn nonsense_teaches_nothing_and_too_much_is_cut_off() {
        let known = CommandTable::new().rows().count();
        let long = entry(&"x".repeat(65), &[], &[], "*0\r\n", &[]);
        for reply in [
            "",
            "+OK\r\n",
            "*1\r\n",
            "*1\r\n*1\r\n:5\r\n",
            "*2\r\n*0\r\n:1\r\n",
        ] {
            let table = CommandTable::new().learn(reply.as_bytes());
            assert_eq!(table.rows().count(), known, "{reply:?}");
        }
        assert_eq!(learnt_from(&[long]).rows().count(), known);
        let many: Vec<String> = (0..LEARNT_MAX + 9)
            .map(|n| entry(&format!("foo.{n}"), &[], &[], "*0\r\n", &[]))
            .collect();
        assert_eq!(learnt_from(&many).learnt(), LEARNT_MAX);
    }
}
