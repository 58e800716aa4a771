//! Names of keys on their way in and out, where they are stored under others than the app's (`keep-together`).
//!
//! A request is rewritten before anything else looks at it, so everything behind knows stored names only; an answer gets the app's names back before it
//! reaches its seat or is put together with others.

use std::collections::HashMap;
use std::sync::Arc;

use sha1::{Digest as _, Sha1};

use super::Hub;
use super::request::Ran;
use crate::clock::Now;
use crate::command::keys::KeyList;
use crate::command::{Names, Row, Script, Subscription};
use crate::downstream::session::{NamingBlock, Session};
use crate::reply::errors;
use crate::resp::request::{Arg, Request, RequestScan, Scanned};
use crate::resp::write;
use crate::route::naming::Naming;
use crate::route::naming::lua::{self, Prelude};
use crate::route::naming::replies::{Named, Told};
use crate::route::part::{Noted, Part, Purpose, SessionId, Ticket};
use crate::topology::Slot;

/// Kept for the next request.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    bytes: Vec<u8>,
    args: Vec<Arg>,
    keys: KeyList,
}

/// Scripts by the names that clients know, and by those of what the nodes have instead.
#[derive(Debug, Default)]
pub(super) struct ScriptNames {
    to_node: HashMap<Sha, Sha>,
    to_client: HashMap<Sha, Sha>,
}

/// 40 hexadecimal digits in lower case.
type Sha = [u8; 40];

impl ScriptNames {
    /// What a node is told instead of a script.
    fn body(&mut self, prelude: &Prelude, body: &[u8], scripts_max: usize) -> Vec<u8> {
        let own = prelude.apply(body);
        if self.to_node.len() >= scripts_max {
            // Clients load them again when a node says that it has none of that name.
            self.to_node.clear();
            self.to_client.clear();
        }
        let (client, node) = (sha_of(body), sha_of(&own));
        self.to_node.insert(client, node);
        self.to_client.insert(node, client);
        own
    }

    /// The name that a node knows. What has not passed by is not there for the client, also if a node has it: that would not know the app's names.
    fn name(&self, name: &[u8]) -> Vec<u8> {
        let known = Sha::try_from(name.to_ascii_lowercase()).ok();
        let own = known.and_then(|name| self.to_node.get(&name));
        own.map_or_else(|| NO_SCRIPT.to_vec(), |own| own.to_vec())
    }

    /// An answer in which nodes' names of scripts may stand, with those that clients know: they are as long. None: there are none.
    pub(super) fn answer(&self, frame: &[u8]) -> Option<Vec<u8>> {
        if self.to_client.is_empty() {
            return None;
        }
        let mut own: Option<Vec<u8>> = None;
        let mut at = 0;
        while let Some(name) = frame.get(at..at + 40) {
            match name.iter().rposition(|byte| !byte.is_ascii_hexdigit()) {
                Some(other) => at += other + 1,
                None => {
                    let known = Sha::try_from(name).ok();
                    if let Some(client) = known.and_then(|name| self.to_client.get(&name)) {
                        let own = own.get_or_insert_with(|| frame.to_vec());
                        if let Some(place) = own.get_mut(at..at + 40) {
                            place.copy_from_slice(client);
                        }
                    }
                    at += 40;
                }
            }
        }
        own
    }
}

fn sha_of(body: &[u8]) -> Sha {
    let mut name = [0; 40];
    for (place, byte) in name.chunks_exact_mut(2).zip(Sha1::digest(body)) {
        place.copy_from_slice(format!("{byte:02x}").as_bytes());
    }
    name
}

/// What tells a script or a function which database is selected.
fn database_word(database: u32, request: Request<'_>) -> Option<Vec<u8>> {
    let keys: usize = std::str::from_utf8(request.arg(2)).ok()?.parse().ok()?;
    // Else the node says that these are too few.
    let arguments = request.len().checked_sub(keys.checked_add(3)?)?;
    let last = request.arg(request.len() - 1);
    lua::selected(database, if arguments > 0 { last } else { &[] })
}

/// What no script is called.
const NO_SCRIPT: &Sha = b"ffffffffffffffffffffffffffffffffffffffff";

impl Hub {
    /// Runs a request with the names under which its keys are stored.
    pub(super) fn run_renamed(
        &mut self,
        now: Now,
        id: SessionId,
        row: &'static Row,
        request: Request<'_>,
    ) -> Ran {
        let Some(naming) = self.settings.naming.clone() else {
            return self.run_row(now, id, row, request);
        };
        let database = if naming.has_databases() {
            self.session(id).map_or(0, Session::database_of_names)
        } else {
            0
        };
        // As it is done in the short way: most requests need no more.
        if let Some(at) = row.first_key().filter(|&at| at < request.len()) {
            let tag = naming.tag(database, request.arg(at));
            if !tag.text().is_empty() && self.pass_tagged(now, id, row, request, Some(tag)) {
                return Ran::Taken;
            }
        }
        // Scripts and functions.
        let is_told_database = naming.has_databases() && row.answers_as_it_likes();
        let speaks_of_scripts =
            !matches!(row.script, Script::None | Script::Flush) || is_told_database;
        if let Some(prelude) = naming.prelude().filter(|_| speaks_of_scripts) {
            let mut words = self.script_words(prelude, row, request);
            if is_told_database {
                words.extend(database_word(database, request));
            }
            return self.run_words(id, row, &words, |hub, request| {
                hub.run_stored(now, id, row, request, (&naming, database))
            });
        }
        if let Some(words) = naming.of_database(database, row, request) {
            return self.run_words(id, row, &words, |hub, request| {
                hub.run_row(now, id, row, request)
            });
        }
        self.run_stored(now, id, row, request, (&naming, database))
    }

    /// Runs words in the place of a request that must not be run as it is: it speaks of other names.
    fn run_words(
        &mut self,
        id: SessionId,
        row: &'static Row,
        words: &[Vec<u8>],
        run: impl FnOnce(&mut Self, Request<'_>) -> Ran,
    ) -> Ran {
        let mut bytes = Vec::new();
        write::command(&mut bytes, words);
        let mut scan = RequestScan::new();
        match scan.advance(&bytes, &self.settings.request) {
            Ok(Scanned::Multibulk(_)) => run(self, scan.request(&bytes)),
            Ok(Scanned::Inline(_) | Scanned::Nothing(_) | Scanned::Wants(_)) | Err(_) => {
                self.note_request(id, Some(row));
                self.refuse_transaction(id);
                self.refuse(id, errors::TOO_LARGE_REWRITTEN);
                Ran::Taken
            }
        }
    }

    /// The words of a request that speaks of scripts.
    fn script_words(&mut self, prelude: &Prelude, row: &Row, request: Request<'_>) -> Vec<Vec<u8>> {
        let mut words: Vec<Vec<u8>> = (0..request.len())
            .map(|at| request.arg(at).to_vec())
            .collect();
        let scripts_max = self.settings.limits.mapped_scripts_max;
        match row.script {
            Script::Body(at) => {
                if let Some(body) = words.get_mut(usize::from(at)) {
                    *body = self.script_names.body(prelude, body, scripts_max);
                }
            }
            Script::Sha(at) => {
                if let Some(name) = words.get_mut(usize::from(at)) {
                    *name = self.script_names.name(name);
                }
            }
            Script::Asks => {
                for name in words.iter_mut().skip(2) {
                    *name = self.script_names.name(name);
                }
            }
            Script::Library => {
                if let Some(body) = words.get_mut(2..).and_then(<[Vec<u8>]>::last_mut) {
                    *body = prelude.apply_to_library(body);
                }
            }
            Script::None | Script::Flush => {}
        }
        words
    }

    fn run_stored(
        &mut self,
        now: Now,
        id: SessionId,
        row: &'static Row,
        request: Request<'_>,
        (naming, database): (&Naming, u32),
    ) -> Ran {
        let mut scratch = std::mem::take(&mut self.names);
        scratch.bytes.clear();
        scratch.args.clear();
        let Scratch { bytes, args, keys } = &mut scratch;
        let ran = if naming.request(database, row, request, keys, bytes, args) {
            self.run_row(now, id, row, Request { bytes, args })
        } else {
            self.run_row(now, id, row, request)
        };
        scratch
            .bytes
            .shrink_to(self.settings.limits.scratch_bytes_max);
        self.names = scratch;
        ran
    }

    /// An answer of a node with the app's names; None: as it is. `request`: what was sent.
    pub(super) fn own_names(
        &mut self,
        part: &Part,
        request: &[u8],
        frame: &[u8],
    ) -> Option<Vec<u8>> {
        let naming = self.settings.naming.clone()?;
        if matches!(part.purpose, Purpose::Try(..)) && part.row.names == Some(Names::Streams) {
            // It is put together with others first.
            return None;
        }
        let places = if part.noted.contains(Noted::NAMES) {
            self.take_places(part)
        } else {
            None
        };
        let own = match places {
            Some(places) => naming.replies(&places, frame),
            None => naming.reply(part.row.names, request, frame),
        };
        let speaks_of_scripts = part.row.script != Script::None || part.replies > 1;
        if !speaks_of_scripts {
            return own;
        }
        let with_names = self.script_names.answer(own.as_deref().unwrap_or(frame));
        with_names.or(own)
    }

    /// A block of a transaction goes on its way; whether its answers name keys.
    pub(super) fn note_names(&mut self, ticket: Ticket, names: &[Named]) -> bool {
        if self.settings.naming.is_none() || names.is_empty() {
            return false;
        }
        if let Some(session) = self.session_mut(ticket.session) {
            let Session {
                naming, replies, ..
            } = session;
            let blocks = naming.get_or_insert_default();
            if (blocks.first()).is_some_and(|block| !replies.is_open(block.seat)) {
                // Answered here, in trouble: such blocks name nothing.
                blocks.retain(|block| replies.is_open(block.seat));
            }
            blocks.push(NamingBlock {
                seat: ticket.seat,
                part: ticket.part,
                places: names.to_vec(),
            });
        }
        true
    }

    fn take_places(&mut self, part: &Part) -> Option<Vec<Named>> {
        let Purpose::Answer(ticket) = part.purpose else {
            return None;
        };
        let session = self.session_mut(ticket.session)?;
        let blocks = session.naming.as_mut()?;
        let is_it = |block: &NamingBlock| (block.seat, block.part) == (ticket.seat, ticket.part);
        let at = blocks.iter().position(is_it)?;
        let places = blocks.swap_remove(at).places;
        if blocks.is_empty() {
            session.naming = None;
        }
        Some(places)
    }

    /// Where a script without keys runs.
    pub(super) fn script_home(&self, id: SessionId) -> Slot {
        let naming = self.settings.naming.as_ref();
        let home = naming.and_then(|naming| naming.script_home());
        home.unwrap_or_else(|| self.any_primary(id))
    }

    /// The slot of all keys, if a rule keeps all of them together.
    pub(super) fn home(&self) -> Option<Slot> {
        self.settings.naming.as_ref()?.home()
    }

    /// The slot where a request finds all names that it asks for.
    pub(super) fn home_of_names(&self, row: &Row, request: Request<'_>) -> Option<Slot> {
        self.settings.naming.as_ref()?.home_of(row, request)
    }

    /// What a node says on a channel, with the app's names. Err: it is not what anybody has asked for.
    pub(super) fn own_message(
        &self,
        topic: (Subscription, &[u8]),
        channel: &[u8],
        frame: &[u8],
    ) -> Result<Option<Vec<u8>>, ()> {
        let Some(naming) = self.naming_of(channel) else {
            return Ok(None);
        };
        match naming.message(topic, frame) {
            Told::AsItIs => Ok(None),
            Told::So(own) => Ok(Some(own)),
            Told::Nobody => Err(()),
        }
    }

    /// The name of a topic as the app has given it.
    pub(super) fn own_topic(&self, kind: Subscription, name: &[u8]) -> Option<Vec<u8>> {
        let naming = self.naming_of(name)?;
        Some(match kind {
            Subscription::Channel | Subscription::Shard => naming.shown_channel(name),
            Subscription::Pattern => naming.shown_pattern(name),
        })
    }

    /// What a node is asked for in the place of a topic: another kind and name, if it knows it under such.
    pub(super) fn asked_as(
        &self,
        kind: Subscription,
        name: &[u8],
    ) -> Option<(Subscription, Vec<u8>)> {
        let pattern = self.naming_of(name)?.heard_as(kind, name)?;
        Some((Subscription::Pattern, pattern))
    }

    /// The channel for which a node was asked for a pattern.
    pub(super) fn channel_heard_as(&self, pattern: &[u8]) -> Option<Vec<u8>> {
        self.naming_of(pattern)?.channel_heard_as(pattern)
    }

    /// A message about keys that have changed, with the app's names.
    pub(super) fn own_invalidation(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let naming = self.settings.naming.as_ref()?;
        Some(naming.invalidated(frame))
    }

    /// A line of `MONITOR`: scripts and libraries are shown as clients have sent them.
    pub(super) fn own_monitor_line(&self, line: &[u8]) -> Option<Vec<u8>> {
        let naming = self.settings.naming.as_deref()?;
        let told = naming.has_databases().then(|| lua::without_database(line));
        let line = told.as_deref().unwrap_or(line);
        let own = naming.without_tags(line);
        let original = lua::original(own.as_deref().unwrap_or(line));
        original.or(own).or(told)
    }

    /// What several nodes have said of streams.
    pub(super) fn own_streams(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let naming = self.settings.naming.as_ref()?;
        naming.reply(Some(Names::Streams), &[], frame)
    }

    /// A text for people, in which names of keys may stand.
    pub(super) fn own_text(&self, text: &[u8]) -> Option<Vec<u8>> {
        self.settings.naming.as_ref()?.without_tags(text)
    }

    /// The rules, if there are any and a channel may tell of keys.
    fn naming_of(&self, channel: &[u8]) -> Option<&Arc<Naming>> {
        let naming = self.settings.naming.as_ref();
        naming.filter(|_| channel.starts_with(b"__key"))
    }
}
