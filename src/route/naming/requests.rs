//! Requests: every name of a key in them becomes the one under which it is stored.

use super::Naming;
use super::databases::of_channel;
use crate::command::keys::{KeyList, find_keys};
use crate::command::{Access, KeySpec, Names, Row, Subscription};
use crate::resp::request::{Arg, Request};
use crate::resp::write;
use crate::route::glob;

/// What stands in the place of an argument: as many arguments as there are texts.
type Edit = (usize, Vec<Vec<u8>>);

impl Naming {
    /// Appends `request` with other names to `out`, and where its arguments are then to `args`, which are empty; false, and nothing is appended: it stays as it
    /// is. `keys` is used and left as it may be.
    pub fn request(
        &self,
        database: u32,
        row: &Row,
        request: Request<'_>,
        keys: &mut KeyList,
        out: &mut Vec<u8>,
        args: &mut Vec<Arg>,
    ) -> bool {
        if row.names.is_none()
            && let (Some(at), [spec]) = (row.first_key(), row.keys)
        {
            let renames = spec.access != Access::NotKey && at < request.len();
            return renames && self.rename_one(database, request, at, out, args);
        }
        let edits = self.edits(database, row, request);
        if !edits.is_empty() {
            write_edited(request, &edits, out, args);
            return true;
        }
        if find_keys(row, request, keys).is_err() {
            return false;
        }
        let is_key = |spec: &KeySpec| spec.access != Access::NotKey;
        if keys.is_empty() || !row.keys.iter().all(is_key) {
            return false;
        }
        keys.sort();
        let mut keys = keys.iter().filter(|&at| at < request.len()).peekable();
        let mut from = 0;
        for (at, arg) in request.args.iter().enumerate() {
            let key = request.arg(at);
            let tag = keys
                .next_if_eq(&at)
                .map_or(&[][..], |_| self.tag(database, key).text());
            if !tag.is_empty() {
                let start = header_of(request, at);
                out.extend_from_slice(request.bytes.get(from..start).unwrap_or_default());
                write::bulk_of(out, &[tag, key]);
                from = end_of(request, at);
            }
            // What has been written ends with this argument and its line end, or will.
            let end = out.len() + (arg.end as usize + 2 - from.min(arg.end as usize + 2)) - 2;
            args.push(arg_of(end - key.len() - tag.len(), end));
        }
        if from == 0 {
            args.clear();
            return false;
        }
        out.extend_from_slice(request.bytes.get(from..).unwrap_or_default());
        true
    }

    /// The only key of a request.
    fn rename_one(
        &self,
        database: u32,
        request: Request<'_>,
        at: usize,
        out: &mut Vec<u8>,
        args: &mut Vec<Arg>,
    ) -> bool {
        let key = request.arg(at);
        let tag = self.tag(database, key).text();
        if tag.is_empty() {
            return false;
        }
        write_tagged(request, at, tag, out);
        let end = end_of(request, at);
        let behind = request.bytes.len() - end;
        let longer = out.len() - behind - end;
        let key_end = end + longer - 2;
        args.extend_from_slice(request.args.get(..at).unwrap_or_default());
        args.push(arg_of(key_end - tag.len() - key.len(), key_end));
        let behind = request.args.get(at + 1..).unwrap_or_default();
        let moved = |arg: &Arg| arg_of(arg.start as usize + longer, arg.end as usize + longer);
        args.extend(behind.iter().map(moved));
        true
    }

    /// What is to be changed beside keys, and then keys as well. Empty: nothing, or keys alone.
    fn edits(&self, database: u32, row: &Row, request: Request<'_>) -> Vec<Edit> {
        let pattern = |at| (at, vec![self.pattern(database, request.arg(at))]);
        let arguments = || 1..request.len();
        let mut edits: Vec<Edit> = match row.names {
            Some(Names::Found) => vec![pattern(1)],
            Some(Names::Scanned) => {
                let mut edits = Vec::new();
                let mut at = 2;
                while at + 1 < request.len() {
                    if request.arg(at).eq_ignore_ascii_case(b"match") {
                        edits.push(pattern(at + 1));
                    }
                    at += 2;
                }
                if edits.is_empty() && database != 0 {
                    let all = self.pattern(database, b"*");
                    let words = vec![request.arg(1).to_vec(), b"MATCH".to_vec(), all];
                    edits.push((1, words));
                }
                edits
            }
            Some(Names::Channels) => {
                let channel = |at| Some((at, vec![self.channel(request.arg(at))?]));
                arguments().filter_map(channel).collect()
            }
            Some(Names::ChannelPatterns) => {
                let pattern = |at| Some((at, vec![self.channel_pattern(request.arg(at))?]));
                arguments().filter_map(pattern).collect()
            }
            Some(Names::Patterns) => self.sort_edits(database, request),
            Some(Names::Copied) => self.copy_edits(database, request),
            Some(Names::One | Names::First | Names::Streams | Names::Script | Names::Library)
            | None => Vec::new(),
        };
        if row.names == Some(Names::Patterns) && !edits.is_empty() {
            let mut keys = KeyList::new();
            if find_keys(row, request, &mut keys).is_ok() {
                let key = |at| (at, vec![self.stored(database, request.arg(at))]);
                edits.extend(keys.iter().map(key));
            }
        }
        edits.sort_by_key(|(at, _)| *at);
        edits
    }

    /// `SORT … BY p GET p`: a pattern that makes names of keys. `#` and what has no `*` are none.
    fn sort_edits(&self, database: u32, request: Request<'_>) -> Vec<Edit> {
        let mut edits = Vec::new();
        let mut at = 2;
        while at + 1 < request.len() {
            let option = request.arg(at);
            let value = request.arg(at + 1);
            let names_keys =
                option.eq_ignore_ascii_case(b"by") || option.eq_ignore_ascii_case(b"get");
            if names_keys && value.contains(&b'*') {
                edits.push((at + 1, vec![self.stored(database, value)]));
            }
            let skipped = if option.eq_ignore_ascii_case(b"limit") {
                3
            } else {
                usize::from(names_keys) + 1
            };
            at += skipped;
        }
        edits
    }

    /// `COPY a b DB n`: the databases of a cluster are names.
    fn copy_edits(&self, database: u32, request: Request<'_>) -> Vec<Edit> {
        let is_db =
            |&at: &usize| self.has_databases() && request.arg(at).eq_ignore_ascii_case(b"db");
        let Some(at) = (3..request.len()).find(is_db) else {
            return Vec::new();
        };
        let to = std::str::from_utf8(request.arg(at + 1));
        let to = to.ok().and_then(|text| text.parse().ok());
        let Some(to) = to.filter(|to| self.is_database(*to)) else {
            // The node says what is wrong with it, of a key that it does not copy.
            return Vec::new();
        };
        vec![
            (1, vec![self.stored(database, request.arg(1))]),
            (2, vec![self.stored(to, request.arg(2))]),
            (at, Vec::new()),
            (at + 1, Vec::new()),
        ]
    }

    /// `__keyspace@0__:key` tells of that key.
    fn channel(&self, channel: &[u8]) -> Option<Vec<u8>> {
        let (start, database, key) = self.split_channel(channel)?;
        Some([start, &self.stored(database?, key)].concat())
    }

    /// What is shown again by [`Naming::shown_pattern`].
    fn channel_pattern(&self, pattern: &[u8]) -> Option<Vec<u8>> {
        if let Some((start, database, rest)) = self.key_events(pattern) {
            return Some([start, &number_pattern("", database), rest].concat());
        }
        if let Some(at) = vague_end(pattern) {
            let (start, rest) = pattern.split_at_checked(at)?;
            return Some([start, ANYTHING, rest].concat());
        }
        let (start, database, keys) = self.split_channel(pattern)?;
        Some(match database {
            Some(database) => [start, &self.pattern(database, keys)].concat(),
            // Of several databases: what is found is looked at once more.
            None => [start, ANYTHING, keys].concat(),
        })
    }

    /// What a node is asked for instead of the events of another database than 0: a pattern, since events of all have the same channel.
    pub fn heard_as(&self, kind: Subscription, name: &[u8]) -> Option<Vec<u8>> {
        let (start, database, rest) = self
            .key_events(name)
            .filter(|_| kind == Subscription::Channel)?;
        Some([start, &number_pattern(CHANNEL, database), rest].concat())
    }

    /// The channel of another database for which a node was asked for this pattern.
    pub fn channel_heard_as(&self, pattern: &[u8]) -> Option<Vec<u8>> {
        self.has_databases()
            .then(|| shown_number(CHANNEL, pattern))
            .flatten()
    }

    /// `__keyevent@3__:set` of another database than 0, if there are such.
    fn key_events<'a>(&self, channel: &'a [u8]) -> Option<(&'a [u8], u32, &'a [u8])> {
        let (start, database, rest) = of_channel(channel)?;
        let is_one =
            start.starts_with(b"__keyevent@") && database != 0 && self.is_database(database);
        is_one.then_some((start, database, rest))
    }

    /// A channel or a pattern of channels that tells of keys: the node's name for what comes before the key, the database unless it may be
    /// several, and the key.
    fn split_channel<'a>(&self, channel: &'a [u8]) -> Option<(&'a [u8], Option<u32>, &'a [u8])> {
        let (start, key) = split_channel(channel)?;
        match of_channel(channel) {
            _ if !self.has_databases() => Some((start, Some(0), key)),
            Some((_, database, _)) if self.is_database(database) => {
                Some((b"__keyspace@0__:", Some(database), key))
            }
            Some(_) => None,
            None => Some((start, None, key)),
        }
    }
}

/// Where keys begin in a pattern that fits channels about them and others as well, such as `__key*__:name`: anything may be in front of them.
pub(super) fn vague_end(pattern: &[u8]) -> Option<usize> {
    let says_which = pattern.starts_with(KEYSPACE) || pattern.starts_with(KEY_EVENTS);
    if says_which || !glob::may_begin_with(pattern, KEYSPACE) {
        return None;
    }
    memchr::memmem::rfind(pattern, SEPARATOR).map(|at| at + SEPARATOR.len())
}

/// A pattern that of all numbers fits `0` only, and is another for each mark and number.
fn number_pattern(mark: &str, number: u32) -> Vec<u8> {
    let zeros = "0".repeat(number as usize + 1);
    format!("[{mark}{zeros}]").into_bytes()
}

/// The channel with the number that [`number_pattern`] has made a pattern of.
pub(super) fn shown_number(mark: &str, pattern: &[u8]) -> Option<Vec<u8>> {
    let (start, rest) = pattern.split_at_checked(KEY_EVENTS.len())?;
    let rest = rest.strip_prefix(b"[").filter(|_| start == KEY_EVENTS)?;
    let rest = rest.strip_prefix(mark.as_bytes())?;
    let zeros = rest.iter().take_while(|byte| **byte == b'0').count();
    let rest = rest.get(zeros..)?.strip_prefix(b"]")?;
    let number = zeros.checked_sub(1)?.to_string();
    Some([start, number.as_bytes(), rest].concat())
}

/// A channel or a pattern of channels that tells of keys: what comes before the key, and the key.
pub(super) fn split_channel(channel: &[u8]) -> Option<(&[u8], &[u8])> {
    if !channel.starts_with(KEYSPACE) {
        return None;
    }
    let at = memchr::memmem::find(channel, SEPARATOR)? + SEPARATOR.len();
    channel.split_at_checked(at)
}

fn write_edited(request: Request<'_>, edits: &[Edit], out: &mut Vec<u8>, args: &mut Vec<Arg>) {
    let written: usize = edits.iter().map(|(_, texts)| texts.len()).sum();
    write::command_header(out, request.len() - edits.len() + written);
    let mut write = |text: &[u8]| {
        write::bulk(out, text);
        let end = out.len() - 2;
        args.push(arg_of(end - text.len(), end));
    };
    let mut edits = edits.iter().peekable();
    for at in 0..request.len() {
        match edits.next_if(|(edited, _)| *edited == at) {
            Some((_, texts)) => texts.iter().for_each(|text| write(text)),
            None => write(request.arg(at)),
        }
    }
}

fn arg_of(start: usize, end: usize) -> Arg {
    let place = |at| u32::try_from(at).unwrap_or(u32::MAX);
    Arg {
        start: place(start),
        end: place(end),
    }
}

/// Appends a request with a tag in front of one of its arguments.
#[inline(always)]
pub fn write_tagged(request: Request<'_>, at: usize, tag: &[u8], out: &mut Vec<u8>) {
    if tag.is_empty() {
        return out.extend_from_slice(request.bytes);
    }
    let Some(key) = request.args.get(at) else {
        return out.extend_from_slice(request.bytes);
    };
    let start = header_of(request, at);
    let (key, end) = (key.start as usize, key.end as usize);
    out.reserve(request.bytes.len() + tag.len() + 2);
    out.extend_from_slice(request.bytes.get(..start).unwrap_or_default());
    write::bulk_header(out, end - key + tag.len());
    out.extend_from_slice(tag);
    // The key and all behind it stay as they are.
    out.extend_from_slice(request.bytes.get(key..).unwrap_or_default());
}

/// Where the length of an argument begins.
fn header_of(request: Request<'_>, at: usize) -> usize {
    match at.checked_sub(1) {
        Some(before) => end_of(request, before),
        None => memchr::memchr(b'\n', request.bytes).map_or(0, |i| i + 1),
    }
}

/// Where the next argument begins.
fn end_of(request: Request<'_>, at: usize) -> usize {
    request.args.get(at).map_or(0, |arg| arg.end as usize + 2)
}

const SEPARATOR: &[u8] = b"__:";
const KEYSPACE: &[u8] = b"__keyspace@";
const KEY_EVENTS: &[u8] = b"__keyevent@";
const ANYTHING: &[u8] = b"*";

/// Marks what is no client's pattern.
const CHANNEL: &str = "c";
