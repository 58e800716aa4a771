//! Answers and messages: every name of a key in them becomes the app's own.

use super::requests::split_channel;
use super::{Naming, lua};
use crate::command::Names;
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
                self.found(reply, self.asked(pattern), &mut out);
            }
            Names::Scanned => {
                let mut items = reply.items();
                let (Some(cursor), Some(keys)) = (items.next(), items.next()) else {
                    return None;
                };
                write::array(&mut out, 2);
                out.extend_from_slice(cursor.bytes());
                self.found(keys, self.asked(scanned(request)), &mut out);
            }
            Names::Library => libraries(reply, &mut out),
            Names::Script | Names::Channels | Names::ChannelPatterns | Names::Patterns => {
                return None;
            }
        }
        Some(out)
    }

    /// Answers to several requests in one, where some name keys: by their places.
    pub fn replies(&self, places: &[(usize, Names)], frame: &[u8]) -> Option<Vec<u8>> {
        let replies = Reply::new(frame);
        if replies.is_error() {
            return self.reply(None, &[], frame);
        }
        if replies.kind() != Kind::Array {
            return None;
        }
        let mut out = replies.head().to_vec();
        for (at, reply) in replies.items().enumerate() {
            let names = places.iter().find(|(place, _)| *place == at);
            let names = names.map(|(_, names)| *names);
            match self.reply(names, &[], reply.bytes()) {
                Some(own) => out.extend_from_slice(&own),
                None => out.extend_from_slice(reply.bytes()),
            }
        }
        Some(out)
    }

    /// What a node tells by itself: a message on a channel, or that keys have changed. None: no key is named, or, if `is_wanted` is
    /// given and is false then, nobody has asked for it.
    pub fn message(&self, frame: &[u8]) -> Told {
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
        if let Some((start, key)) = split_channel(channel) {
            own_channel = [start, self.unmap(key)].concat();
        } else if channel.starts_with(b"__keyevent@") {
            own_payload = self.unmap(payload);
        }
        let own_pattern = pattern.map(|pattern| self.shown_pattern(pattern));
        if let Some(pattern) = &own_pattern
            && !glob::matches(pattern, &own_channel)
        {
            return Told::Nobody;
        }
        let mut out = message.head().to_vec();
        let verb = texts.first().copied().unwrap_or_default();
        write::bulk(&mut out, verb);
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
            Some((start, key)) => [start, self.unmap(key)].concat(),
            None => channel.to_vec(),
        }
    }

    /// The same of a pattern.
    pub fn shown_pattern(&self, pattern: &[u8]) -> Vec<u8> {
        let Some((start, keys)) = split_channel(pattern) else {
            return pattern.to_vec();
        };
        [start, self.own_pattern(keys)].concat()
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

    /// An array of keys, without those that the app's pattern does not fit.
    fn found(&self, keys: Reply<'_>, asked: Option<&[u8]>, out: &mut Vec<u8>) {
        let own = keys
            .items()
            .filter_map(|key| key.text())
            .map(|key| self.unmap(key));
        let own: Vec<&[u8]> = own
            .filter(|key| asked.is_none_or(|pattern| glob::matches(pattern, key)))
            .collect();
        write::array(out, own.len());
        own.into_iter().for_each(|key| write::bulk(out, key));
    }

    /// The app's pattern, if what it has found has to be looked at once more.
    fn asked<'a>(&self, pattern: Option<Reply<'a>>) -> Option<&'a [u8]> {
        if self.whole().is_some() {
            return None;
        }
        pattern?.text().map(|pattern| self.own_pattern(pattern))
    }

    /// What [`Naming::pattern`] has made a pattern of.
    fn own_pattern<'a>(&self, pattern: &'a [u8]) -> &'a [u8] {
        let added = self.whole().map_or(1, |rule| rule.tag.len());
        pattern.get(added..).unwrap_or_default()
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
