//! Parts in trouble: what the verdict says is done here.

use std::time::Duration;

use bytes::Bytes;

use super::Hub;
use super::place::Body;
use crate::clock::Now;
use crate::config::UnknownOutcome;
use crate::control::Hint;
use crate::reply::errors;
use crate::reply::redirect::{self, Host, Refusal};
use crate::route::hold::Held;
use crate::route::part::{LinkId, NodeId, Part, Purpose, Target, Ticket, Way};
use crate::route::verdict::{Fault, GiveUp, Verdict, judge, waits};
use crate::topology::{Endpoint, Keyspace, Slot};
use crate::upstream::queue::Orphan;

impl Hub {
    /// A node has refused a part without executing it.
    pub(super) fn on_refused(
        &mut self,
        now: Now,
        from: LinkId,
        orphan: Orphan,
        refusal: &Refusal<'_>,
    ) {
        let Orphan {
            mut part, bytes, ..
        } = orphan;
        if part.way == Way::Own && waits(&part) {
            self.settle_wait(now, &mut part);
        }
        let fault = match refusal {
            Refusal::Moved { .. } => Fault::Moved,
            Refusal::Ask { .. } => Fault::Ask,
            Refusal::TryAgain => Fault::TryAgain,
            Refusal::ClusterDown
            | Refusal::Loading
            | Refusal::MasterDown
            | Refusal::ReadOnly
            | Refusal::NoScript
            | Refusal::Unblocked
            | Refusal::Redirect { .. } => Fault::Refused,
        };
        let verdict = judge(fault, &part, now, &self.settings.retry);
        if matches!(fault, Fault::Moved | Fault::Ask) {
            part.redirects = part.redirects.saturating_add(1);
        }
        part.troubled_since.get_or_insert(now);
        let target = part.target;
        // Also where a lane is: it may stand for a part at another node, and be younger than what is queued here.
        let mut recalled = self.recall(from, target);
        let (named, moved) = self.take_in(from, Some(&part), refusal);
        if matches!(refusal, Refusal::ReadOnly) && self.settings.keyspace == Keyspace::Whole {
            self.leave_link(from);
        }
        recalled.extend(moved);
        let verdict = match (verdict, named) {
            // The node does not know where: as good as a refusal.
            (Verdict::Follow, None) => Verdict::Hold(self.settings.retry.pause(part.refusals)),
            (verdict, _) => verdict,
        };
        match verdict {
            Verdict::Follow => {
                let is_ask = matches!(refusal, Refusal::Ask { .. });
                self.counters.redirections += 1;
                self.counters.redirections_ask += u64::from(is_ask);
                match named.filter(|_| is_ask) {
                    Some(node) => self.follow_ask(now, part, node, bytes),
                    None => self.place_again(now, Held { part, bytes }),
                }
            }
            Verdict::Resend => self.place_again(now, Held { part, bytes }),
            Verdict::Hold(pause) => {
                self.counters.refusals += 1;
                self.pause(now, part, &bytes, pause);
            }
            Verdict::GiveUp(why) => self.give_up(now, &part, why),
        }
        self.place_recalled(now, recalled);
    }

    /// The link of a part, to node `at`, is gone.
    pub(super) fn on_orphan(&mut self, now: Now, at: NodeId, orphan: Orphan) {
        match orphan.part.purpose {
            Purpose::Answer(_) | Purpose::Try(..) | Purpose::Look(..) | Purpose::PutBack => {}
            // Topics are looked after when their link ends.
            Purpose::Swallow | Purpose::Listen(_) => return,
        }
        let Orphan {
            mut part,
            bytes,
            sent,
        } = orphan;
        if !part.is_pipelined() && !self.is_awaited(part.purpose) {
            return;
        }
        if sent && waits(&part) {
            self.settle_wait(now, &mut part);
        }
        let fault = if sent {
            Fault::LostSent
        } else {
            Fault::LostUnsent
        };
        let verdict = judge(fault, &part, now, &self.settings.retry);
        match verdict {
            Verdict::GiveUp(why) => self.give_up_at(now, &part, why, Some(at)),
            Verdict::Hold(pause) => {
                self.note_resent(sent);
                self.pause(now, part, &bytes, pause);
            }
            Verdict::Follow | Verdict::Resend => {
                part.refusals = part.refusals.saturating_add(u8::from(sent));
                part.troubled_since.get_or_insert(now);
                self.note_resent(sent);
                self.place_again(now, Held { part, bytes });
            }
        }
    }

    /// A part goes again, because its link was lost.
    fn note_resent(&mut self, sent: bool) {
        self.counters.resent += 1;
        self.counters.resent_reads += u64::from(sent);
    }

    fn pause(&mut self, now: Now, mut part: Part, bytes: &Bytes, pause: Duration) {
        part.refusals = part.refusals.saturating_add(1);
        self.hold(now, part, &Body::Shared(bytes), Some(now + pause));
    }

    /// Answers a part with the reason why it has no answer.
    pub(super) fn give_up(&mut self, now: Now, part: &Part, why: GiveUp) {
        self.give_up_at(now, part, why, self.owners.of_target(part.target));
    }

    /// Answers a part with the reason why it has no answer, which lies at node `at`.
    fn give_up_at(&mut self, now: Now, part: &Part, why: GiveUp, at: Option<NodeId>) {
        self.note_given_up(part, why);
        if why == GiveUp::OutcomeUnknown
            && self.settings.unknown_outcome == UnknownOutcome::Close
            && let Some(ticket) = self.ticket_of(part.purpose)
        {
            self.hang_up_at(ticket);
        }
        let node = at.and_then(|id| self.owners.node(id));
        let endpoint = node.map(|n| n.endpoint.clone());
        let held_for = part
            .troubled_since
            .map_or(Duration::ZERO, |since| now.since(since));
        let text = match (why, part.target) {
            (GiveUp::WatchLost, _) => return self.answer_watch_lost(now, part),
            (GiveUp::OutcomeUnknown, _) => errors::unknown_outcome(shown(endpoint.as_ref())),
            (_, Target::Node(_)) => errors::node_unreachable(shown(endpoint.as_ref()), held_for),
            (GiveUp::TooManyRedirects, Target::Slot(slot)) => {
                errors::too_many_redirections(slot.get(), u32::from(part.redirects))
            }
            (GiveUp::HeldTooLong, Target::Slot(slot)) => {
                errors::hold_ran_out(self.shown_slot(slot), endpoint.as_ref(), held_for)
            }
            (GiveUp::HoldFull, Target::Slot(slot)) => {
                errors::hold_is_full(self.shown_slot(slot), endpoint.as_ref())
            }
        };
        self.answer_error(now, part, &text);
    }

    /// What is answered before it is known who serves what.
    pub(super) fn no_topology_yet(&self) -> String {
        let upstream = match self.settings.keyspace {
            Keyspace::Hashed => "cluster",
            Keyspace::Whole => "server",
        };
        errors::no_topology_yet(upstream, &self.trouble)
    }

    /// As an error names it: one server has none.
    pub(super) fn shown_slot(&self, slot: Slot) -> Option<u16> {
        (self.settings.keyspace == Keyspace::Hashed).then(|| slot.get())
    }

    /// The seat that waits for a part's answer, be it by way of a try.
    pub(super) fn ticket_of(&self, purpose: Purpose) -> Option<Ticket> {
        match purpose {
            Purpose::Answer(ticket) => Some(ticket),
            Purpose::Try(waiter, _) => self.waiter_ticket(waiter),
            Purpose::Look(..) | Purpose::PutBack | Purpose::Listen(_) | Purpose::Swallow => None,
        }
    }

    pub(super) fn refuse_unreachable(&mut self, now: Now, part: &Part) {
        self.counters.given_up.no_topology += 1;
        let text = self.no_topology_yet();
        self.answer_error(now, part, &text);
    }

    /// Asks the node that imports the part's slot, unless something older waits at the one that exports it.
    fn follow_ask(&mut self, now: Now, part: Part, node: NodeId, bytes: Bytes) {
        if self.lanes.has_older(part.target, part.seq) {
            return self.place_again(now, Held { part, bytes });
        }
        match self.link_for(now, node, &part) {
            Ok(link) => self.place_asking(now, part, link, &bytes),
            Err(not_before) => self.hold(now, part, &Body::Shared(&bytes), Some(not_before)),
        }
    }

    /// Takes in what a refusal says about the cluster; returns the node that it names, and what had not left for a
    /// node that does not serve it any more.
    ///
    /// What waits for the slot is not released here: the refused part has to be in its place first.
    pub(super) fn take_in(
        &mut self,
        from: LinkId,
        part: Option<&Part>,
        refusal: &Refusal<'_>,
    ) -> (Option<NodeId>, Vec<Orphan>) {
        let at = self.link_mut(from).map(|link| link.node);
        let Some(at) = at.and_then(|id| self.owners.node(id)) else {
            return (None, Vec::new());
        };
        let at = at.endpoint.clone();
        let named = match refusal {
            Refusal::Moved { to, .. } | Refusal::Ask { to, .. } => named(to, &at),
            Refusal::TryAgain => return (None, Vec::new()),
            Refusal::ClusterDown
            | Refusal::Loading
            | Refusal::MasterDown
            | Refusal::ReadOnly
            | Refusal::NoScript
            | Refusal::Unblocked
            | Refusal::Redirect { .. } => None,
        };
        let nodes_max = self.settings.limits.named_nodes_max;
        let named = named.filter(|to| self.is_to_be_believed(part, refusal, to));
        let known = named.and_then(|to| Some((self.owners.intern_named(&to, nodes_max)?, to)));
        let Some((node, to)) = known else {
            self.effects.hints.push(Hint::Refused(at));
            return (None, Vec::new());
        };
        let mut recalled = Vec::new();
        if let Refusal::Moved { slot, .. } = refusal
            && let Some(slot) = Slot::new(*slot)
        {
            self.effects.hints.push(Hint::Moved { slot, to });
            if self.owners.patch(slot, node) {
                recalled = self.count_misplaced();
            }
        }
        (Some(node), recalled)
    }
}

impl Hub {
    /// Whether what stands behind can say such a thing: where there are no slots, nobody redirects.
    pub(super) fn may_say(&self, refusal: &Refusal<'_>) -> bool {
        let redirects = matches!(refusal, Refusal::Moved { .. } | Refusal::Ask { .. });
        !redirects || self.settings.keyspace == Keyspace::Hashed
    }

    /// Whether a redirection is followed at once. A script may answer with any text, so of what it says only nodes are believed that are known
    /// already; for others the control thread asks first. And nobody is redirected for a slot that was not asked for.
    fn is_to_be_believed(&self, part: Option<&Part>, refusal: &Refusal<'_>, to: &Endpoint) -> bool {
        let Some(part) = part else { return true };
        let is_of_slot = match (refusal, part.target) {
            (Refusal::Moved { slot, .. } | Refusal::Ask { slot, .. }, Target::Slot(asked)) => {
                *slot == asked.get()
            }
            _ => true,
        };
        let is_scripted = part.row.answers_as_it_likes() || part.replies > 1;
        is_of_slot && (!is_scripted || self.owners.is_known(to))
    }
}

/// The endpoint that a redirection names; an empty host is the host of the node that said so.
fn named(to: &redirect::Target<'_>, at: &Endpoint) -> Option<Endpoint> {
    match to.host {
        Host::Unknown => None,
        Host::Named(host) => Some(Endpoint::new(host, to.port)),
        Host::Same => Some(Endpoint {
            host: at.host.clone(),
            port: to.port,
        }),
    }
}

fn shown(endpoint: Option<&Endpoint>) -> String {
    endpoint.map_or_else(|| "the node".to_owned(), Endpoint::to_string)
}
