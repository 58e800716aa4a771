//! Names of keys on their way in and out, where they are stored under others than the app's (`keep-together`).
//!
//! A request is rewritten before anything else looks at it, so everything behind knows stored names only; an answer gets the app's names back before it
//! reaches its seat or is put together with others.

use std::sync::Arc;

use super::Hub;
use super::request::Ran;
use crate::clock::Now;
use crate::command::keys::KeyList;
use crate::command::{Names, Row, Subscription};
use crate::downstream::session::NamingBlock;
use crate::resp::request::{Arg, Request};
use crate::route::naming::Naming;
use crate::route::naming::replies::Told;
use crate::route::part::{Part, Purpose, SessionId, Ticket};
use crate::topology::Slot;

/// Kept for the next request.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    bytes: Vec<u8>,
    args: Vec<Arg>,
    keys: KeyList,
}

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
        let mut scratch = std::mem::take(&mut self.names);
        scratch.bytes.clear();
        scratch.args.clear();
        let Scratch { bytes, args, keys } = &mut scratch;
        let ran = if naming.request(row, request, keys, bytes, args) {
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
        if part.names {
            let places = self.take_places(part).unwrap_or_default();
            return naming.replies(&places, frame);
        }
        naming.reply(part.row.names, request, frame)
    }

    /// A block of a transaction goes on its way; whether its answers name keys.
    pub(super) fn note_names(&mut self, ticket: Ticket, names: &[(usize, Names)]) -> bool {
        if self.settings.naming.is_none() || names.is_empty() {
            return false;
        }
        if let Some(session) = self.session_mut(ticket.session) {
            session.naming.get_or_insert_default().push(NamingBlock {
                seat: ticket.seat,
                part: ticket.part,
                places: names.to_vec(),
            });
        }
        true
    }

    fn take_places(&mut self, part: &Part) -> Option<Vec<(usize, Names)>> {
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

    /// The slot of all keys, if a rule keeps all of them together.
    pub(super) fn home(&self) -> Option<Slot> {
        self.settings.naming.as_ref()?.home()
    }

    /// What a node says on a channel, with the app's names. Err: it is not what anybody has asked for.
    pub(super) fn own_message(&self, channel: &[u8], frame: &[u8]) -> Result<Option<Vec<u8>>, ()> {
        let Some(naming) = self.naming_of(channel) else {
            return Ok(None);
        };
        match naming.message(frame) {
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

    /// A message about keys that have changed, with the app's names.
    pub(super) fn own_invalidation(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let naming = self.settings.naming.as_ref()?;
        Some(naming.invalidated(frame))
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
