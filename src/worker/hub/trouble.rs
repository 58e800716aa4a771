//! Trouble as people see it: how long requests were held, what was given up, and nodes that stay silent.
//!
//! Nothing here decides what becomes of a part (`route::verdict` does), but for one thing: a node that says nothing for
//! as long as requests are held, and that nobody replaces, is not waited for any longer.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Hub;
use super::facts::GivenUp;
use crate::clock::Now;
use crate::measure::{Count as _, Most};
use crate::route::part::{LinkId, NodeId, Part};
use crate::route::verdict::{GiveUp, waits};
use crate::upstream::link::LinkDown;

/// So long without anything held, and the next time is another one.
const CALM: Duration = Duration::from_secs(1);

/// A node may think this long about anything, however short the hold is.
const SILENCE_MIN: Duration = Duration::from_secs(1);

/// Shorter ones are not worth a line in the log: a slot that migrates has many.
const TOLD_FROM: Duration = Duration::from_millis(100);

/// Nodes that are named in a line of the log.
const NODES_TOLD_MAX: usize = 8;

/// A time during which something was held.
#[derive(Debug)]
pub(super) struct Hold {
    began: Now,
    /// When something was last held.
    last: Now,
    /// The log says that it has begun.
    told: bool,
    /// What the counters said when it began.
    delayed: u64,
    given_up: u64,
    longest_delay: Duration,
}

/// Requests for one node and no other: those that its link has been waiting for, and when to look again. Nobody probes replicas.
#[derive(Debug, Default)]
pub(super) struct Oldest {
    check: Option<Now>,
    /// The oldest part of each link when it was last looked at, by its `seq`.
    seen: Vec<(LinkId, u64)>,
}

impl Hub {
    /// A part has been put into a lane.
    pub(super) fn note_held(&mut self, now: Now) {
        self.counters.held += 1;
        match &mut self.hold {
            Some(hold) => hold.last = now,
            None => {
                self.counters.holds += 1;
                self.hold = Some(Hold {
                    began: now,
                    last: now,
                    told: false,
                    delayed: self.counters.delayed,
                    given_up: self.counters.given_up.sum(),
                    longest_delay: Duration::ZERO,
                });
            }
        }
    }

    /// A part has been answered that did not go its first way.
    pub(super) fn note_delayed(&mut self, now: Now, since: Now) {
        let delay = now.since(since);
        self.counters.delayed += 1;
        self.counters.longest_delay_ms.add(Most(millis(delay)));
        if let Some(hold) = &mut self.hold {
            hold.longest_delay = hold.longest_delay.max(delay);
        }
    }

    /// A part's client is told that it could not be served.
    pub(super) fn note_given_up(&mut self, part: &Part, why: GiveUp) {
        let GivenUp {
            unknown_outcome,
            hold_ran_out,
            hold_full,
            unreachable,
            ..
        } = &mut self.counters.given_up;
        let count = match why {
            GiveUp::WatchLost => return,
            GiveUp::OutcomeUnknown => unknown_outcome,
            GiveUp::HoldFull => hold_full,
            GiveUp::TooManyRedirects | GiveUp::HeldTooLong if part.target.is_node() => unreachable,
            GiveUp::TooManyRedirects | GiveUp::HeldTooLong => hold_ran_out,
        };
        *count += 1;
    }

    /// Tells that requests are held, and what that came to, once it is over.
    pub(super) fn look_after_hold(&mut self, now: Now) {
        if self.lanes.held_parts() > 0 {
            if let Some(hold) = &mut self.hold {
                hold.last = now;
                let is_news = !hold.told && now.since(hold.began) >= TOLD_FROM;
                hold.told |= is_news;
                if is_news {
                    self.tell_hold();
                }
            }
            return;
        }
        let Some(hold) = self.hold.take_if(|hold| now >= hold.last + CALM) else {
            return;
        };
        let lasted = hold.last.since(hold.began);
        if !hold.told && lasted < TOLD_FROM && hold.longest_delay < TOLD_FROM {
            return;
        }
        tracing::info!(
            event = "hold_over",
            worker = self.settings.worker,
            delayed = self.counters.delayed - hold.delayed,
            given_up = self.counters.given_up.sum() - hold.given_up,
            longest_delay_ms = millis(hold.longest_delay),
            "requests were held for {lasted:.1?}"
        );
    }

    /// Names those that the requests are for.
    fn tell_hold(&self) {
        let targets = self.lanes.iter().map(|held| held.part.target);
        let nodes: BTreeSet<NodeId> = targets
            .filter_map(|target| self.owners.of_target(target))
            .collect();
        let nodes = nodes.iter().filter_map(|id| self.owners.node(*id));
        let nodes: Vec<String> = (nodes.take(NODES_TOLD_MAX))
            .map(|node| node.endpoint.to_string())
            .collect();
        tracing::info!(
            event = "hold",
            worker = self.settings.worker,
            node = nodes.join(","),
            held = self.lanes.held_parts(),
            "requests are held"
        );
    }

    /// When [`Hub::look_after_hold`] and [`Hub::give_up_silent`] have something to do.
    pub(super) fn trouble_ends(&self) -> Option<Now> {
        let hold = self.hold.as_ref().map(|hold| hold.last + CALM);
        let silent = self.owners.silent_since();
        let silent = silent.map(|since| since + self.silence_max());
        let checks = [hold, silent, self.oldest.check];
        checks.into_iter().flatten().min()
    }

    /// Ends the links of nodes that have been silent for as long as requests are held: what they owe gets its verdict.
    pub(super) fn give_up_silent(&mut self, now: Now) {
        for (node, since) in self.owners.take_silent(now, self.silence_max()) {
            for id in self.links_of(&[node]) {
                self.give_up_link(now, id, since);
            }
        }
    }

    /// A part for one node and no other is on its way.
    pub(super) fn note_for_one_node(&mut self, now: Now) {
        if self.oldest.check.is_none() {
            self.oldest.check = Some(now + self.silence_max());
        }
    }

    /// Ends the links whose oldest part is for this node and no other, and was the oldest when they were last looked at.
    pub(super) fn check_oldest(&mut self, now: Now) {
        if self.oldest.check.is_none_or(|at| now < at) {
            return;
        }
        let before = std::mem::take(&mut self.oldest.seen);
        let since = now - self.silence_max();
        for (index, place) in &self.links {
            let oldest = place.link.queue().parts().next();
            if let Some(part) = oldest.filter(|part| part.target.is_node() && !waits(part)) {
                self.oldest.seen.push((place.id(index), part.seq));
            }
        }
        let stuck: Vec<(LinkId, u64)> = self
            .oldest
            .seen
            .extract_if(.., |seen| before.contains(seen))
            .collect();
        for (id, _) in stuck {
            self.give_up_link(now, id, since);
        }
        self.oldest.check = (!self.oldest.seen.is_empty()).then(|| now + self.silence_max());
    }

    /// How long a node that nobody replaces may say nothing while it is waited for.
    fn silence_max(&self) -> Duration {
        self.settings.retry.hold_max.max(SILENCE_MIN)
    }

    fn give_up_link(&mut self, now: Now, id: LinkId, since: Now) {
        let Some(link) = self.link_mut(id) else {
            return;
        };
        for part in link.queue_mut().parts_mut() {
            part.troubled_since.get_or_insert(since);
        }
        self.counters.silent_links_cut += 1;
        self.note_link_woken(id);
        let silence = now.since(since);
        let why = format!("the node has not answered for {silence:.1?}");
        self.on_link_down(now, id, &LinkDown::Lost(why));
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl GivenUp {
    /// All of them.
    pub fn sum(&self) -> u64 {
        let Self {
            unknown_outcome,
            hold_ran_out,
            hold_full,
            unreachable,
            no_topology,
        } = self;
        unknown_outcome + hold_ran_out + hold_full + unreachable + no_topology
    }
}
