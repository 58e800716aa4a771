//! Requests: every name of a key in them becomes the one under which it is stored.

use super::Naming;
use crate::command::keys::{KeyList, find_keys};
use crate::command::{Access, KeySpec, Names, Row};
use crate::resp::request::{Arg, Request};
use crate::resp::write;

/// What stands in the place of an argument: as many arguments as there are texts.
type Edit = (usize, Vec<Vec<u8>>);

impl Naming {
    /// Appends `request` with other names to `out`, and where its arguments are then to `args`, which are empty; false, and nothing is appended: it stays as it
    /// is. `keys` is used and left as it may be.
    pub fn request(
        &self,
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
            return renames && self.rename_one(request, at, out, args);
        }
        let edits = self.edits(row, request);
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
            let tag = keys.next_if_eq(&at).map_or(&[][..], |_| self.tag(key));
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
        request: Request<'_>,
        at: usize,
        out: &mut Vec<u8>,
        args: &mut Vec<Arg>,
    ) -> bool {
        let key = request.arg(at);
        let tag = self.tag(key);
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
    fn edits(&self, row: &Row, request: Request<'_>) -> Vec<Edit> {
        let arguments = || 1..request.len();
        let mut edits: Vec<Edit> = match row.names {
            Some(Names::Found) => vec![(1, vec![self.pattern(request.arg(1)).0])],
            Some(Names::Scanned) => {
                let mut edits = Vec::new();
                let mut at = 2;
                while at + 1 < request.len() {
                    if request.arg(at).eq_ignore_ascii_case(b"match") {
                        edits.push((at + 1, vec![self.pattern(request.arg(at + 1)).0]));
                    }
                    at += 2;
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
            Some(Names::Patterns) => self.sort_edits(request),
            Some(Names::One | Names::First | Names::Streams | Names::Script | Names::Library)
            | None => Vec::new(),
        };
        if row.names == Some(Names::Patterns) && !edits.is_empty() {
            let mut keys = KeyList::new();
            if find_keys(row, request, &mut keys).is_ok() {
                let key = |at| {
                    (
                        at,
                        vec![[self.tag(request.arg(at)), request.arg(at)].concat()],
                    )
                };
                edits.extend(keys.iter().map(key));
            }
        }
        edits.sort_by_key(|(at, _)| *at);
        edits
    }

    /// `SORT … BY p GET p`: a pattern that makes names of keys. `#` and what has no `*` are none.
    fn sort_edits(&self, request: Request<'_>) -> Vec<Edit> {
        let mut edits = Vec::new();
        let mut at = 2;
        while at + 1 < request.len() {
            let option = request.arg(at);
            let value = request.arg(at + 1);
            let names_keys =
                option.eq_ignore_ascii_case(b"by") || option.eq_ignore_ascii_case(b"get");
            if names_keys && value.contains(&b'*') {
                edits.push((at + 1, vec![[self.tag(value), value].concat()]));
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

    /// `__keyspace@0__:key` tells of that key.
    fn channel(&self, channel: &[u8]) -> Option<Vec<u8>> {
        let (start, key) = split_channel(channel)?;
        let tag = self.tag(key);
        (!tag.is_empty()).then(|| [start, tag, key].concat())
    }

    fn channel_pattern(&self, pattern: &[u8]) -> Option<Vec<u8>> {
        let (start, keys) = split_channel(pattern)?;
        Some([start, &self.pattern(keys).0].concat())
    }
}

/// A channel or a pattern of channels that tells of keys: what comes before the key, and the key.
pub(super) fn split_channel(channel: &[u8]) -> Option<(&[u8], &[u8])> {
    if !channel.starts_with(b"__keyspace@") {
        return None;
    }
    let at = memchr::memmem::find(channel, SEPARATOR)? + SEPARATOR.len();
    channel.split_at_checked(at)
}

fn write_edited(request: Request<'_>, edits: &[Edit], out: &mut Vec<u8>, args: &mut Vec<Arg>) {
    let added: usize = edits
        .iter()
        .map(|(_, texts)| texts.len().saturating_sub(1))
        .sum();
    write::command_header(out, request.len() + added);
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
    let (start, end) = (header_of(request, at), end_of(request, at));
    out.reserve(request.bytes.len() + tag.len() + 2);
    out.extend_from_slice(request.bytes.get(..start).unwrap_or_default());
    write::bulk_of(out, &[tag, request.arg(at)]);
    out.extend_from_slice(request.bytes.get(end..).unwrap_or_default());
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
