//! `PUBLISH` and `PUBSUB NUM…`: numbers as one server would give them.
//!
//! A node counts our ear once, where there may be many sessions or none. So what a node says is corrected when it comes
//! in: less our ear there, and once (with the first part) more by our own sessions.

use crate::clock::Now;
use crate::command::{Counts, Row, Subscription};
use crate::downstream::replies::Seat;
use crate::resp::reply::Reply;
use crate::resp::request::Request;
use crate::resp::write;
use crate::route::part::{NodeId, Part, Purpose, SessionId, Target, Ticket, UserId};
use crate::topology::Slot;
use crate::worker::hub::Hub;
use crate::worker::hub::place::Body;

impl Hub {
    /// Publishes at the owner of the channel's slot, where our sessions listen, and asks the other primaries who else does.
    pub(in crate::worker::hub) fn publish(
        &mut self,
        now: Now,
        id: SessionId,
        row: &'static Row,
        request: Request<'_>,
    ) {
        let channel = request.arg(1);
        let slot = Slot::of_key(channel);
        let others = self.reachable_primaries_but(slot);
        let numsub = self.commands.row("pubsub|numsub");
        let Some(numsub) = numsub.filter(|_| !others.is_empty()) else {
            return self.send_whole(now, id, row, slot, request);
        };
        let gather = self.start_gather(row.merge, 1 + others.len(), &[]);
        let Some((ticket, profile)) = self.open_seat(id, Seat::Gathers(gather)) else {
            return;
        };
        let publish = Part::new(ticket, Target::Slot(slot), row, profile);
        self.place(now, publish, Body::Borrowed(request.bytes));
        let mut bytes = Vec::new();
        write::command(&mut bytes, &[&b"PUBSUB"[..], b"NUMSUB", channel]);
        for (part, other) in (1u16..).zip(others) {
            let part = Part {
                brief: true,
                ..Part::new(
                    Ticket { part, ..ticket },
                    Target::Slot(other),
                    numsub,
                    profile,
                )
            };
            self.place(now, part, Body::Borrowed(&bytes));
        }
    }

    /// Whether a message that is published at `node` would pass our own sessions by: its channel has just moved there, or
    /// the link to the node was lost, and the node has not agreed to tell us yet.
    pub(in crate::worker::hub) fn would_be_missed(
        &self,
        node: NodeId,
        part: &Part,
        request: &[u8],
    ) -> bool {
        let Some(Counts::Receivers(kind)) = part.row.counts else {
            return false;
        };
        let topics = &self.pubsub.topics;
        let channel = Reply::new(request).items().nth(1);
        let channel = channel.and_then(|channel| channel.text());
        channel.is_some_and(|channel| {
            let mut named = topics.named(kind, channel);
            named.any(|topic| topic.will_be_heard_at(node))
        })
    }

    /// Whether a node may still count us for what nobody listens to any more: it has not said that it has heard so.
    pub(in crate::worker::hub) fn is_unsubscribing_at(&self, node: NodeId) -> bool {
        let at_node = (node, UserId::SLOTCAR)..=(node, UserId(u32::MAX));
        let ears = self.pubsub.ears.range(at_node);
        let mut ears = ears.filter_map(|(_, ear)| self.link(ear.link));
        ears.any(|ear| {
            let mut parts = ear.queue().parts();
            parts.any(|part| part.purpose == Purpose::Swallow)
        })
    }

    /// One slot of each primary that answers, but not of the owner of `slot`.
    fn reachable_primaries_but(&self, slot: Slot) -> Vec<Slot> {
        let owner = self.owners.of(slot);
        let answers = |slot: &&Slot| {
            let node = self.owners.of(**slot);
            let is_known = |node| self.owners.node(node).is_some_and(|n| !n.suspect);
            node != owner && node.is_some_and(is_known)
        };
        let primaries = self.owners.primaries().iter();
        primaries.filter(answers).copied().collect()
    }

    /// A part that is not worth waiting for is in trouble.
    pub(in crate::worker::hub) fn answer_nothing(&mut self, now: Now, part: &Part) {
        if let Purpose::Answer(ticket) = part.purpose {
            self.deliver(now, ticket, b":0\r\n");
        }
    }

    /// Answers what is not worth waiting for, at nodes that do not answer.
    pub(in crate::worker::hub) fn skip_brief(&mut self, now: Now) {
        let mut skipped = Vec::new();
        for (_, place) in &mut self.links {
            let node = self.owners.node(place.link.node);
            if !node.is_some_and(|node| node.suspect) {
                continue;
            }
            let parts = place.link.queue_mut().parts_mut();
            for part in parts.filter(|part| part.brief) {
                skipped.push(*part);
                part.purpose = Purpose::Swallow;
            }
        }
        for part in skipped {
            self.answer_nothing(now, &part);
        }
    }

    /// The answer of a node to a part, if it is a number that only we can make right.
    pub(in crate::worker::hub) fn recount(
        &self,
        node: NodeId,
        part: &Part,
        request: &[u8],
        frame: &[u8],
    ) -> Option<Vec<u8>> {
        let counts = part.row.counts?;
        let Purpose::Answer(ticket) = part.purpose else {
            return None;
        };
        let recount = Recount {
            hub: self,
            node,
            // Our own sessions are counted once.
            with_ours: ticket.part == 0,
        };
        let reply = Reply::new(frame);
        let mut out = Vec::with_capacity(frame.len() + 8);
        match counts {
            Counts::Receivers(kind) => {
                let channel = Reply::new(request).items().nth(1)?.text()?;
                write::integer(&mut out, recount.receivers(reply.integer()?, kind, channel));
            }
            Counts::Subscribers(kind) => {
                write::array(&mut out, reply.count().filter(|_| !reply.is_error())?);
                let mut items = reply.items();
                while let (Some(name), Some(count)) = (items.next(), items.next()) {
                    out.extend_from_slice(name.bytes());
                    let (name, count) = (name.text()?, count.integer()?);
                    write::integer(&mut out, recount.subscribers(count, kind, name));
                }
            }
            Counts::Patterns => write::integer(&mut out, recount.patterns(reply.integer()?)),
        }
        Some(out)
    }
}

impl Hub {
    /// How many have got a message, of which the node of a slot has counted its own.
    pub(in crate::worker::hub) fn receivers(
        &self,
        slot: Slot,
        count: i64,
        kind: Subscription,
        channel: &[u8],
    ) -> i64 {
        let node = self.owners.of(slot).unwrap_or(NodeId(u32::MAX));
        let recount = Recount {
            hub: self,
            node,
            with_ours: true,
        };
        recount.receivers(count, kind, channel)
    }
}

/// Corrects what one node has counted.
struct Recount<'a> {
    hub: &'a Hub,
    node: NodeId,
    with_ours: bool,
}

impl Recount<'_> {
    fn receivers(&self, count: i64, kind: Subscription, channel: &[u8]) -> i64 {
        let topics = &self.hub.pubsub.topics;
        let ear = topics.own_receivers_at(self.node, kind, channel);
        self.corrected(count, ear, topics.receivers(kind, channel))
    }

    fn subscribers(&self, count: i64, kind: Subscription, name: &[u8]) -> i64 {
        let topics = &self.hub.pubsub.topics;
        let heard = topics.named(kind, name);
        let ears = heard.filter(|topic| topic.is_confirmed_at(self.node));
        let ours = topics
            .named(kind, name)
            .map(|topic| topic.subscribers.len());
        self.corrected(count, ears.count(), ours.sum())
    }

    fn patterns(&self, count: i64) -> i64 {
        let topics = self.hub.pubsub.topics.iter().map(|(_, topic)| topic);
        let patterns = topics.filter(|topic| topic.kind == Subscription::Pattern);
        let (mut at_node, mut ours) = (0, 0);
        for pattern in patterns {
            at_node += usize::from(pattern.is_confirmed_at(self.node));
            ours += usize::from(!pattern.subscribers.is_empty());
        }
        self.corrected(count, at_node, ours)
    }

    fn corrected(&self, count: i64, ear: usize, ours: usize) -> i64 {
        let number = |n| i64::try_from(n).unwrap_or(i64::MAX);
        let others = count.saturating_sub(number(ear)).max(0);
        if self.with_ours {
            others.saturating_add(number(ours))
        } else {
            others
        }
    }
}
