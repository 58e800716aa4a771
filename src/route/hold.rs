//! Parts that cannot go on yet, by target, in the order in which their sessions sent them.
//!
//! A lane exists while something of its target waits here or is in flight at the wrong node; every other part
//! of the target joins the lane in the order in which the parts were first placed, so nothing overtakes: neither
//! a new part one that waits, nor a waiting part an older one that comes back. Bounded by bytes, by count and by time.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use super::part::{Part, Purpose, Target};
use crate::clock::Now;

/// A part that waits.
#[derive(Debug)]
pub struct Held {
    pub part: Part,
    pub bytes: Bytes,
}

/// All lanes of one worker.
#[derive(Debug, Default)]
pub struct Lanes {
    lanes: HashMap<Target, Lane>,
    held_parts: usize,
    held_bytes: usize,
}

#[derive(Debug, Default)]
struct Lane {
    parts: VecDeque<Held>,
    /// Parts of the target in flight at a node that does not serve it, any more or yet.
    misplaced: usize,
    /// Not before this; None: as soon as nothing is misplaced.
    retry_at: Option<Now>,
}

impl Lanes {
    /// Whether nothing is held and nothing is misplaced: the only question on the way of an ordinary request.
    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    pub fn contains(&self, target: Target) -> bool {
        self.lanes.contains_key(&target)
    }

    pub fn held_parts(&self) -> usize {
        self.held_parts
    }

    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Whether the part of this purpose waits here.
    pub fn holds(&self, target: Target, purpose: Purpose) -> bool {
        let parts = self.lanes.get(&target).map(|lane| &lane.parts);
        parts.is_some_and(|parts| parts.iter().any(|held| held.part.purpose == purpose))
    }

    /// Whether a part of the target that is older than `seq` waits.
    pub fn has_older(&self, target: Target, seq: u64) -> bool {
        let front = self.lanes.get(&target).and_then(|lane| lane.parts.front());
        front.is_some_and(|held| held.part.seq < seq)
    }

    /// Every part that waits, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Held> {
        self.lanes.values().flat_map(|lane| &lane.parts)
    }

    /// Drops the parts that `unwanted` picks: nobody waits for their answers.
    pub fn forget(&mut self, unwanted: impl Fn(&Part) -> bool) {
        let mut dropped = Vec::new();
        self.lanes.retain(|_, lane| {
            let parts = std::mem::take(&mut lane.parts).into_iter();
            let (gone, stay): (VecDeque<_>, VecDeque<_>) =
                parts.partition(|held| unwanted(&held.part));
            lane.parts = stay;
            dropped.extend(gone);
            !(lane.parts.is_empty() && lane.misplaced == 0)
        });
        self.note_taken(&mut dropped);
    }

    /// Puts a part into its place in its lane, which is not to be sent before `retry_at`.
    pub fn hold(&mut self, held: Held, retry_at: Option<Now>) {
        self.held_parts += 1;
        self.held_bytes += held.bytes.len();
        let lane = self.lanes.entry(held.part.target).or_default();
        let place = lane
            .parts
            .partition_point(|other| other.part.seq < held.part.seq);
        lane.parts.insert(place, held);
        lane.retry_at = lane.retry_at.max(retry_at);
    }

    /// Counts one more part of `target` in flight at the wrong node.
    pub fn note_misplaced(&mut self, target: Target) {
        self.lanes.entry(target).or_default().misplaced += 1;
    }

    /// One misplaced part of `target` has been answered or has come back.
    pub fn note_settled(&mut self, target: Target) {
        if let Some(lane) = self.lanes.get_mut(&target) {
            lane.misplaced = lane.misplaced.saturating_sub(1);
        }
    }

    /// Forgets all misplaced parts: they are about to be counted again.
    pub fn clear_misplaced(&mut self) {
        for lane in self.lanes.values_mut() {
            lane.misplaced = 0;
        }
    }

    /// Something has changed: every pause is over.
    pub fn end_pauses(&mut self) {
        for lane in self.lanes.values_mut() {
            lane.retry_at = None;
        }
    }

    /// Takes the parts of every lane that may go on now, in the order in which they were first placed.
    pub fn take_ready(&mut self, now: Now) -> Vec<Held> {
        let ready = |lane: &Lane| lane.misplaced == 0 && lane.retry_at.is_none_or(|at| at <= now);
        let mut parts = Vec::new();
        self.lanes.retain(|_, lane| {
            if ready(lane) {
                parts.extend(lane.parts.drain(..));
            }
            !(lane.parts.is_empty() && lane.misplaced == 0)
        });
        self.note_taken(&mut parts);
        parts
    }

    /// Takes every part that has been in trouble for `hold_max` or longer.
    pub fn take_expired(&mut self, now: Now, hold_max: Duration) -> Vec<Held> {
        let mut expired = Vec::new();
        for lane in self.lanes.values_mut() {
            let due = |held: &Held| {
                held.part
                    .troubled_since
                    .is_some_and(|since| now.since(since) >= hold_max)
            };
            // The oldest part need not be the one that has waited longest, but it soon will be.
            while lane.parts.front().is_some_and(due) {
                expired.extend(lane.parts.pop_front());
            }
        }
        self.lanes
            .retain(|_, lane| !(lane.parts.is_empty() && lane.misplaced == 0));
        self.note_taken(&mut expired);
        expired
    }

    /// When [`Lanes::take_ready`] or [`Lanes::take_expired`] will have something to give.
    pub fn deadline(&self, hold_max: Duration) -> Option<Now> {
        let of_lane = |lane: &Lane| {
            let expires = lane
                .parts
                .front()
                .and_then(|h| h.part.troubled_since)
                .map(|since| since + hold_max);
            let ready = if lane.misplaced == 0 && !lane.parts.is_empty() {
                Some(lane.retry_at.unwrap_or(Now::ZERO))
            } else {
                None
            };
            [expires, ready].into_iter().flatten().min()
        };
        self.lanes.values().filter_map(of_lane).min()
    }

    fn note_taken(&mut self, taken: &mut [Held]) {
        // Lanes come in no order, and a run that is repeated should go the same way.
        taken.sort_unstable_by_key(|held| held.part.seq);
        self.held_parts -= taken.len();
        self.held_bytes -= taken.iter().map(|h| h.bytes.len()).sum::<usize>();
    }
}
