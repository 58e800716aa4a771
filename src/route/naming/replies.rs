//! Answers and messages: every name of a key in them becomes the app's own.

use super::databases::{self, of_channel};
use super::requests::{shown_number, split_channel, vague_end};
use super::{Naming, lua};
use crate::command::{Names, Subscription};
use crate::resp::reply::{Kind, Reply};
use crate::resp::write;
use crate::route::glob;

impl Naming {
    /// An answer with the app's names, if any is in it. `request`: what was sent, with stored names.
    pub fn reply(&self, names: Option<Names>, request: &[u8], frame: &[u8]) -> Option<Vec<u8>> {
        let reply = Reply::new(frame);
        // What has a length is not of the node itself but of a script.
        if frame.starts_with(b"-") {
            return self.without_tags(frame);
        }
        let mut out = Vec::with_capacity(frame.len());
        match names? {
            Names::One => self.name(reply, &mut out),
            Names::First => self.first(reply, &mut out),
            Names::Streams => self.streams(reply, &mut out),
            Names::Found => {
                let pattern = Reply::new(request).items().nth(1);
                self.keys_found(reply, self.asked(pattern), &mut out);
            }
            Names::Scanned => {
                let mut items = reply.items();
                let (Some(cursor), Some(keys)) = (items.next(), items.next()) else {
                    return None;
                };
                write::array(&mut out, 2);
                out.extend_from_slice(cursor.bytes());
                self.keys_found(keys, self.asked(scanned(request)), &mut out);
            }
            Names::Library => libraries(reply, &mut out),
            Names::Script
            | Names::Channels
            | Names::ChannelPatterns
            | Names::Patterns
            | Names::Copied => return None,
        }
        Some(out)
    }

    /// Answers to several requests in one, where some name keys.
    pub fn replies(&self, named: &[Named], frame: &[u8]) -> Option<Vec<u8>> {
        let replies = Reply::new(frame);
        if replies.is_error() {
            return self.reply(None, &[], frame);
        }
        if replies.kind() != Kind::Array {
            return None;
        }
        let mut out = replies.head().to_vec();
        for (at, reply) in replies.items().enumerate() {
            let named = named.iter().find(|named| named.place == at);
            let (names, request) = match named {
                Some(named) => (Some(named.names), &*named.request),
                None => (None, &[][..]),
            };
            match self.reply(names, request, reply.bytes()) {
                Some(own) => out.extend_from_slice(&own),
                None => out.extend_from_slice(reply.bytes()),
            }
        }
        Some(out)
    }

    /// What a node tells by itself: a message on a channel, or that keys have changed. None: no key is named, or, if `is_wanted` is
    /// given and is false then, nobody has asked for it.
    pub fn message(&self, (kind, name): (Subscription, &[u8]), frame: &[u8]) -> Told {
        let message = Reply::new(frame);
        let items: Vec<Reply<'_>> = message.items().collect();
        let texts: Vec<&[u8]> = items
            .iter()
            .map(|item| item.text().unwrap_or_default())
            .collect();
        let (pattern, channel, payload) = match texts.as_slice() {
            [b"message" | b"smessage", channel, payload] => (None, *channel, *payload),
            [b"pmessage", pattern, channel, payload] => (Some(*pattern), *channel, *payload),
            _ => return Told::AsItIs,
        };
        let (mut own_channel, mut own_payload) = (channel.to_vec(), payload);
        if split_channel(channel).is_some() {
            own_channel = self.shown_channel(channel);
        } else if channel.starts_with(b"__keyevent@") {
            let (database, key) = self.found(payload);
            own_payload = key;
            own_channel = in_database(channel, database);
        }
        let own_pattern = pattern.filter(|_| kind == Subscription::Pattern);
        let own_pattern = own_pattern.map(|pattern| self.shown_pattern(pattern));
        let is_asked_for = match &own_pattern {
            Some(pattern) => glob::matches(pattern, &own_channel),
            None => own_channel == self.shown_channel(name),
        };
        if !is_asked_for {
            return Told::Nobody;
        }
        let verb = texts.first().copied().unwrap_or_default();
        let mut out = Vec::with_capacity(frame.len());
        if own_pattern.is_some() || pattern.is_none() {
            out.extend_from_slice(message.head());
            write::bulk(&mut out, verb);
        } else {
            // A channel that was asked for by a pattern.
            out.extend_from_slice(b">3\r\n");
            write::bulk(&mut out, b"message");
        }
        own_pattern
            .into_iter()
            .for_each(|pattern| write::bulk(&mut out, pattern));
        write::bulk(&mut out, own_channel);
        write::bulk(&mut out, own_payload);
        Told::So(out)
    }

    /// The name of a channel, or a pattern, as the app has given it.
    pub fn shown_channel(&self, channel: &[u8]) -> Vec<u8> {
        match split_channel(channel) {
            Some((start, key)) => {
                let (database, key) = self.found(key);
                [&in_database(start, database), key].concat()
            }
            None => channel.to_vec(),
        }
    }

    /// The same of a pattern.
    pub fn shown_pattern(&self, pattern: &[u8]) -> Vec<u8> {
        if let Some(own) = shown_number("", pattern).filter(|_| self.has_databases()) {
            return own;
        }
        if let Some((start, rest)) = vague_end(pattern).and_then(|at| pattern.split_at_checked(at))
        {
            return [start, rest.get(1..).unwrap_or_default()].concat();
        }
        let Some((start, keys)) = split_channel(pattern) else {
            return pattern.to_vec();
        };
        if self.has_databases() && of_channel(start).is_none() {
            return [start, keys.get(1..).unwrap_or_default()].concat();
        }
        let (database, keys, _) = self.own_pattern(keys);
        [&in_database(start, database), keys].concat()
    }

    /// `invalidate` with keys, whose names become the app's.
    pub fn invalidated(&self, frame: &[u8]) -> Vec<u8> {
        let message = Reply::new(frame);
        let mut out = message.head().to_vec();
        for item in message.items() {
            if item.kind() == Kind::Array {
                out.extend_from_slice(item.head());
                item.items().for_each(|key| self.name(key, &mut out));
            } else {
                out.extend_from_slice(item.bytes());
            }
        }
        out
    }

    /// A text in which stored names stand somewhere. None: none does.
    pub fn without_tags(&self, text: &[u8]) -> Option<Vec<u8>> {
        let mut own: Option<Vec<u8>> = None;
        for tag in self.tags() {
            let sofar = own.as_deref().unwrap_or(text);
            let mut found = memchr::memmem::find_iter(sofar, tag).peekable();
            if found.peek().is_none() {
                continue;
            }
            let (mut out, mut from) = (Vec::with_capacity(sofar.len()), 0);
            for at in found {
                out.extend_from_slice(sofar.get(from..at).unwrap_or_default());
                from = at + tag.len();
            }
            out.extend_from_slice(sofar.get(from..).unwrap_or_default());
            own = Some(out);
        }
        if self.has_databases() {
            let without = without_prefixes(own.as_deref().unwrap_or(text));
            own = without.or(own);
        }
        own
    }

    fn name(&self, reply: Reply<'_>, out: &mut Vec<u8>) {
        match reply.text() {
            Some(stored) => write::bulk(out, self.unmap(stored)),
            None => out.extend_from_slice(reply.bytes()),
        }
    }

    /// The first of several values is a key.
    fn first(&self, reply: Reply<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(reply.head());
        for (at, item) in reply.items().enumerate() {
            match at {
                0 => self.name(item, out),
                _ => out.extend_from_slice(item.bytes()),
            }
        }
    }

    /// A map by key, or an array of pairs with a key first.
    fn streams(&self, reply: Reply<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(reply.head());
        let is_map = reply.kind() == Kind::Map;
        for (at, item) in reply.items().enumerate() {
            match (is_map, at % 2) {
                (true, 0) => self.name(item, out),
                (true, _) => out.extend_from_slice(item.bytes()),
                (false, _) => self.first(item, out),
            }
        }
    }

    /// An array of keys, without those of other databases and those that the app's pattern does not fit.
    fn keys_found(&self, keys: Reply<'_>, (wanted, asked): Asked<'_>, out: &mut Vec<u8>) {
        let own = keys
            .items()
            .filter_map(|key| key.text())
            .map(|key| self.found(key));
        let own: Vec<&[u8]> = own
            .filter(|(database, key)| {
                *database == wanted && asked.is_none_or(|pattern| glob::matches(pattern, key))
            })
            .map(|(_, key)| key)
            .collect();
        write::array(out, own.len());
        own.into_iter().for_each(|key| write::bulk(out, key));
    }

    /// The database that was asked, and the app's pattern if what it has found has to be looked at once more.
    fn asked<'a>(&self, pattern: Option<Reply<'a>>) -> Asked<'a> {
        match pattern.and_then(|pattern| pattern.text()) {
            Some(pattern) => {
                let (database, pattern, is_vague) = self.own_pattern(pattern);
                (database, Some(pattern).filter(|_| is_vague))
            }
            None => (0, None),
        }
    }
}

/// A database, and a pattern that fits the keys which are wanted of it.
type Asked<'a> = (u32, Option<&'a [u8]>);

/// A channel about keys, of this database.
fn in_database(channel: &[u8], database: u32) -> Vec<u8> {
    match of_channel(channel) {
        Some((start, 0, rest)) => [start, database.to_string().as_bytes(), rest].concat(),
        _ => channel.to_vec(),
    }
}

/// A text without the prefixes of databases that stand somewhere. None: none does.
fn without_prefixes(text: &[u8]) -> Option<Vec<u8>> {
    let mut own: Option<Vec<u8>> = None;
    let mut from = 0;
    for at in memchr::memchr_iter(b'@', text) {
        let rest = text.get(at..).unwrap_or_default();
        if let Some((_, behind)) = databases::split(rest) {
            let own = own.get_or_insert_default();
            own.extend_from_slice(text.get(from..at).unwrap_or_default());
            from = text.len() - behind.len();
        }
    }
    if let Some(own) = &mut own {
        own.extend_from_slice(text.get(from..).unwrap_or_default());
    }
    own
}

/// One of several requests, whose answer names keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its place among the answers.
    pub place: usize,
    pub names: Names,
    /// What was sent, if that says which keys are meant.
    request: Box<[u8]>,
}

impl Named {
    pub fn new(place: usize, names: Names, request: &[u8]) -> Self {
        let says_which = matches!(names, Names::Found | Names::Scanned);
        Self {
            place,
            names,
            request: if says_which {
                request.into()
            } else {
                Box::default()
            },
        }
    }
}

/// What becomes of something that a node tells.
#[derive(Debug, PartialEq, Eq)]
pub enum Told {
    AsItIs,
    So(Vec<u8>),
    /// The node's pattern fits more than the app's.
    Nobody,
}

/// What `FUNCTION LIST` says, with the code that clients have loaded.
fn libraries(reply: Reply<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(reply.head());
    for library in reply.items() {
        out.extend_from_slice(library.head());
        for field in library.items() {
            match field.text().and_then(lua::original) {
                Some(code) => write::bulk(out, code),
                None => out.extend_from_slice(field.bytes()),
            }
        }
    }
}

/// The last pattern of a `SCAN`.
fn scanned(request: &[u8]) -> Option<Reply<'_>> {
    let words: Vec<Reply<'_>> = Reply::new(request).items().collect();
    let mut options = words.get(2..)?.chunks_exact(2).rev();
    let is_match = |option: &&[Reply<'_>]| {
        let name = option.first().and_then(|word| word.text());
        name.is_some_and(|name| name.eq_ignore_ascii_case(b"match"))
    };
    options.find(is_match)?.get(1).copied()
}
