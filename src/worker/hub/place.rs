//! Puts parts on links, or into lanes while they cannot go anywhere.

use bytes::Bytes;

use super::Hub;
use crate::clock::Now;
use crate::command::Route;
use crate::config::ReadFrom;
use crate::resp::write;
use crate::route::hold::Held;
use crate::route::part::{LinkId, NodeId, Noted, Part, Purpose, Target, Way};
use crate::route::verdict::{GiveUp, waits};
use crate::upstream::queue::{BY_REFERENCE_BYTES_MIN, Orphan};

/// The bytes of a part on their way.
pub(super) enum Body<'a> {
    Borrowed(&'a [u8]),
    Shared(&'a Bytes),
}

impl Body<'_> {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Body::Borrowed(bytes) => bytes,
            Body::Shared(bytes) => bytes,
        }
    }

    fn len(&self) -> usize {
        self.bytes().len()
    }

    fn to_bytes(&self) -> Bytes {
        match self {
            Body::Borrowed(bytes) => Bytes::copy_from_slice(bytes),
            Body::Shared(bytes) => (*bytes).clone(),
        }
    }
}

impl Hub {
    /// Sends a part to whoever serves its target, behind everything of its target that waits.
    pub(super) fn place(&mut self, now: Now, mut part: Part, body: Body<'_>) {
        if part.seq == 0 {
            self.begin_part(now, &mut part);
            if !self.standing.is_empty()
                && let Some(bytes) = self.on_tracked_part(&mut part, &body)
            {
                return self.place(now, part, Body::Borrowed(&bytes));
            }
            if self.settings.read_from != ReadFrom::Primary
                && let Some(node) = self.reader_for(now, &part)
                && let Ok(link) = self.link_to(now, node, part.profile)
            {
                part.elsewhere = true;
                self.counters.replica_reads += 1;
                return self.push(link, part, &body);
            }
        }
        if !self.lanes.is_empty() && self.lanes.contains(part.target) {
            return self.hold(now, part, &body, None);
        }
        let Some(node) = self.owners.of_target(part.target) else {
            return self.hold_or_refuse(now, part, &body);
        };
        if part.row.counts.is_some() && self.would_be_missed(node, &part, body.bytes()) {
            let retry_at = now + self.settings.retry.pause_min;
            return self.hold(now, part, &body, Some(retry_at));
        }
        if part.row.counts.is_some() && !part.brief && self.is_unsubscribing_at(node) {
            // It goes on with the node's next word.
            return self.hold(now, part, &body, Some(now));
        }
        match self.link_for(now, node, &part) {
            Ok(link) => {
                if part.target.is_node() {
                    self.note_for_one_node(now);
                }
                if waits(&part) {
                    self.note_wait_placed(now, &part);
                }
                self.push(link, part, &body);
            }
            Err(not_before) => self.hold(now, part, &body, Some(not_before)),
        }
    }

    /// The link to a node that a part takes; Err: not before that moment.
    pub(super) fn link_for(&mut self, now: Now, node: NodeId, part: &Part) -> Result<LinkId, Now> {
        match (part.way, part.purpose) {
            (Way::Own | Way::Pinned | Way::Tracked, Purpose::Answer(ticket)) => {
                self.own_link(now, ticket.session, node, part.profile)
            }
            (Way::Watch, _) => self.watch_link(now, node),
            (Way::Shared, _) | (Way::Own | Way::Pinned | Way::Tracked, _) => {
                self.link_to(now, node, part.profile)
            }
        }
    }

    /// Sends a part to a node that imports its slot; later parts of the slot wait until it has been answered.
    pub(super) fn place_asking(&mut self, now: Now, mut part: Part, link: LinkId, bytes: &Bytes) {
        part.asking = true;
        part.noted.remove(Noted::MISPLACED);
        part.troubled_since.get_or_insert(now);
        let bytes = &self.without_word(&mut part, bytes);
        let asking = Part {
            purpose: Purpose::Swallow,
            replies: 1,
            noted: Noted::empty(),
            ..part
        };
        if let Some(link) = self.link_mut(link) {
            link.push_with(asking, |log| write::command(log, &[b"ASKING"]));
        }
        if part.is_pipelined() {
            part.noted |= Noted::MISPLACED;
            self.lanes.note_misplaced(part.target);
        }
        self.push(link, part, &Body::Shared(bytes));
    }

    /// Keeps a part until `retry_at` or until the owners change.
    pub(super) fn hold(
        &mut self,
        now: Now,
        mut part: Part,
        body: &Body<'_>,
        retry_at: Option<Now>,
    ) {
        if part.brief {
            return self.answer_nothing(now, &part);
        }
        let limits = &self.settings.limits;
        let full = self.lanes.held_parts() >= limits.hold_requests_max
            || self.lanes.held_bytes() + body.len() > limits.hold_bytes_max;
        if full {
            return self.give_up(now, &part, GiveUp::HoldFull);
        }
        part.troubled_since.get_or_insert(now);
        self.note_held(now);
        self.lanes.hold(
            Held {
                part,
                bytes: body.to_bytes(),
            },
            retry_at,
        );
    }

    /// Sends on what may go on.
    pub(super) fn release_held(&mut self, now: Now) {
        if self.lanes.is_empty() {
            return;
        }
        for held in self.lanes.take_ready(now) {
            self.place_again(now, held);
        }
    }

    /// Sends a part that has been somewhere before.
    pub(super) fn place_again(&mut self, now: Now, held: Held) {
        let mut part = Part {
            asking: false,
            elsewhere: false,
            noted: held.part.noted - Noted::MISPLACED,
            ..held.part
        };
        if part.way == Way::Tracked && !self.is_awaited(part.purpose) {
            // Its client is gone, and its links with it.
            part.way = Way::Shared;
        }
        if self.is_pointless(&part) {
            return self.drop_try(part.purpose);
        }
        match part.row.route {
            _ if waits(&part) => self.place_blocked_again(now, &Held { part, ..held }),
            // The cursor that was sent means nothing to another node.
            Route::Scan => self.place_scan_again(now, part, &held.bytes),
            Route::Slot
            | Route::AnyPrimary
            | Route::AllPrimaries
            | Route::AllNodes
            | Route::Split
            | Route::Local(_)
            | Route::Connection(_)
            | Route::Refuse(_) => self.place(now, part, Body::Shared(&held.bytes)),
        }
    }

    /// Gives up what has been held for too long.
    pub(super) fn expire_held(&mut self, now: Now) {
        for held in self.lanes.take_expired(now, self.settings.retry.hold_max) {
            if self.is_pointless(&held.part) {
                self.drop_try(held.part.purpose);
            } else {
                self.give_up(now, &held.part, GiveUp::HeldTooLong);
            }
        }
    }

    /// Nobody waits for this part any more, and nothing depends on it.
    fn is_pointless(&self, part: &Part) -> bool {
        let may_be_dropped = part.way != Way::Shared || matches!(part.purpose, Purpose::Try(..));
        may_be_dropped && !self.is_awaited(part.purpose)
    }

    /// Slots have changed hands: what is in flight at the wrong node is counted, what waits may go on.
    pub(super) fn on_owners_changed(&mut self, now: Now) {
        let recalled = self.count_misplaced();
        self.place_recalled(now, recalled);
        self.release_held(now);
        self.tend_watches(now);
        self.tend_topics(now);
    }

    /// Counts what is in flight at a node that does not serve it, and ends every pause; returns what had not left.
    pub(super) fn count_misplaced(&mut self) -> Vec<Orphan> {
        self.lanes.clear_misplaced();
        self.note_slots_moved();
        let mut recalled = Vec::new();
        for (_, place) in &mut self.links {
            let node = place.link.node;
            // Its session waits for what is on a link of its own; the node says so if it cannot serve it any more.
            let is_misplaced = |part: &Part| match part.target {
                Target::Slot(slot) => {
                    let is_bound = part.is_pipelined() && !part.elsewhere;
                    is_bound && self.owners.of(slot) != Some(node)
                }
                Target::Node(_) => false,
            };
            let queue = place.link.queue_mut();
            recalled.extend(queue.recall(|part| part.may_be_recalled() && is_misplaced(part)));
            for part in queue.parts_mut() {
                part.noted.set(Noted::MISPLACED, is_misplaced(part));
                if part.is_misplaced() {
                    self.lanes.note_misplaced(part.target);
                }
            }
        }
        self.lanes.end_pauses();
        self.pubsub.is_stale = true;
        recalled.sort_unstable_by_key(|orphan| orphan.part.seq);
        recalled
    }

    /// Takes back what has not left for a node that refused an older part of the same target.
    pub(super) fn recall(&mut self, from: LinkId, target: Target) -> Vec<Orphan> {
        match self.link_mut(from) {
            Some(link) => link
                .queue_mut()
                .recall(|part| part.target == target && part.may_be_recalled()),
            None => Vec::new(),
        }
    }

    /// Finds a new way for parts that were taken back.
    pub(super) fn place_recalled(&mut self, now: Now, recalled: Vec<Orphan>) {
        for Orphan { part, bytes, .. } in recalled {
            self.place_again(now, Held { part, bytes });
        }
    }

    fn hold_or_refuse(&mut self, now: Now, part: Part, body: &Body<'_>) {
        if self.owners.is_empty() {
            self.refuse_unreachable(now, &part);
        } else {
            self.hold(now, part, body, Some(now + self.settings.retry.pause_max));
        }
    }

    pub(super) fn push(&mut self, id: LinkId, part: Part, body: &Body<'_>) {
        let bytes = body.bytes();
        let large =
            (bytes.len() >= BY_REFERENCE_BYTES_MIN).then(|| match (body, &self.whole_input) {
                (Body::Shared(bytes), _) => (*bytes).clone(),
                (Body::Borrowed(_), Some(whole)) if std::ptr::eq::<[u8]>(&**whole, bytes) => {
                    whole.clone()
                }
                (Body::Borrowed(_), Some(_) | None) => Bytes::copy_from_slice(bytes),
            });
        let place = self.links.get_mut(id.index as usize);
        let Some(place) = place.filter(|place| place.generation == id.generation) else {
            debug_assert!(false, "a link that was just chosen is there");
            return;
        };
        let link = &mut place.link;
        if part.noted.contains(Noted::SELECTS) || link.profile.database != part.profile.database {
            return self.push_abroad(id, part, bytes);
        }
        link.queue_mut().adopt(&mut self.link_pool);
        match large {
            Some(bytes) => link.queue_mut().push_shared(part, bytes),
            None => link.push_with(part, |log| log.extend_from_slice(bytes)),
        }
        self.note_queued(id, &part);
    }
}
