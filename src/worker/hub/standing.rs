//! What nodes tell a session by themselves, `CLIENT TRACKING` and `MONITOR`: the links that this takes, and the answer to
//! whoever ordered it, which waits for them.
//!
//! Such links are one session's own, set up as they are opened, and closed in the end: they never get into the pool.

use super::Hub;
use crate::clock::Now;
use crate::downstream::replies::Seat;
use crate::downstream::session::Wait;
use crate::downstream::standing::{Asked, Order, Standing};
use crate::reply::errors;
use crate::resp::write;
use crate::route::part::{LinkId, NodeId, Profile, SessionId};
use crate::upstream::link::{Link, LinkDown, Role, Use};

impl Hub {
    pub(super) fn dial_standing(
        &mut self,
        now: Now,
        session: SessionId,
        node: NodeId,
        (profile, role, set_up): (Profile, Role, Vec<u8>),
    ) -> Result<LinkId, Now> {
        let mut link = Link::new(node, profile, Use::Leased(Some(session)));
        link.role = role;
        link.set_up = (!set_up.is_empty()).then(|| set_up.into());
        let id = self.dial(now, link)?;
        if let Some(session) = self.session_mut(session) {
            session.own_links.push(id);
        }
        Ok(id)
    }

    pub(super) fn standing_link(
        &self,
        session: SessionId,
        node: NodeId,
        role: Role,
    ) -> Option<LinkId> {
        let own = &self.session(session)?.own_links;
        let is_it = |link: &Link| link.node == node && link.role == role;
        own.iter()
            .copied()
            .find(|&id| self.link(id).is_some_and(is_it))
    }

    /// A link is ready.
    pub(super) fn on_standing_link_open(&mut self, now: Now, id: LinkId) {
        let Some(link) = self.link(id).filter(|link| link.role != Role::Requests) else {
            return;
        };
        let (Some(owner), role) = (link.owner(), link.role) else {
            return;
        };
        if role == Role::Invalidations {
            self.lanes.end_pauses();
        }
        let standing = self.session(owner).and_then(|s| s.standing.as_ref());
        if role == Role::Tracks && standing.is_some_and(|s| s.broadcasts() && s.asked.is_none()) {
            // Nobody has listened to this node until now.
            self.flush_cache(owner);
        }
        self.meet_needs(now, owner);
    }

    /// A link is gone.
    pub(super) fn on_standing_link_down(
        &mut self,
        now: Now,
        link: &Link,
        owner: Option<SessionId>,
        why: &LinkDown,
    ) {
        let (Some(owner), true) = (owner, link.role != Role::Requests) else {
            return;
        };
        let Some(standing) = self.session(owner).and_then(|s| s.standing.as_ref()) else {
            return;
        };
        let asked = standing.asked;
        let partner = match link.role {
            Role::Tracks => Some(Role::Invalidations),
            Role::Invalidations => Some(Role::Tracks),
            Role::Requests | Role::Monitors => None,
        };
        if link.role == Role::Tracks && link.is_open() {
            self.flush_cache(owner);
        }
        if let Some(partner) = partner.and_then(|role| self.standing_link(owner, link.node, role)) {
            self.close_link(now, partner);
        }
        match (why, asked) {
            (LinkDown::NotSetUp(text), Some(asked)) => self.refuse_order(now, owner, asked, text),
            (LinkDown::NotSetUp(text), None) => self.cut_off(owner, text),
            _ => self.check_standing(now + self.settings.retry.pause_min),
        }
    }

    /// `RESET`
    pub(super) fn end_standing(&mut self, now: Now, id: SessionId) {
        self.end_tracking(now, id);
        self.end_monitor(now, id);
    }

    /// Looks after links that are missing or needed no more.
    pub(super) fn expire_standing(&mut self, now: Now) {
        if self.standing_check.is_none_or(|at| at > now) {
            return;
        }
        self.standing_check = None;
        for id in self.standing.clone() {
            self.drop_needless(now, id);
            self.meet_needs(now, id);
            let asked = self.session(id).and_then(|s| s.standing.as_ref()?.asked);
            if let Some(asked) =
                asked.filter(|a| now.since(a.since) >= self.settings.retry.hold_max)
            {
                let held = now.since(asked.since);
                self.note_failed(asked.ticket);
                self.refuse_order(now, id, asked, &errors::node_unreachable("a primary", held));
            }
        }
    }

    pub(super) fn order(&mut self, id: SessionId, change: impl FnOnce(&mut Standing)) {
        if let Some(session) = self.session_mut(id) {
            change(session.standing.get_or_insert_default());
            self.standing.insert(id);
        }
    }

    /// The answer to the request that is run waits until everything is set up.
    pub(super) fn ask(&mut self, now: Now, id: SessionId, order: Order) {
        let Some((ticket, _)) = self.open_seat(id, Seat::Waits) else {
            return;
        };
        let asked = Asked {
            order,
            ticket,
            since: now,
        };
        if let Some(session) = self.session_mut(id)
            && let Some(standing) = &mut session.standing
        {
            standing.asked = Some(asked);
            session.wait = Wait::Answers;
        }
        if self.owners.is_empty() {
            let text = self.no_topology_yet();
            self.note_failed(ticket);
            return self.refuse_order(now, id, asked, &text);
        }
        self.meet_needs(now, id);
    }

    /// Dials what a session's orders lack; answers the one who asked once that is nothing any more.
    pub(super) fn meet_needs(&mut self, now: Now, id: SessionId) {
        let Some(session) = self.session(id) else {
            return;
        };
        let Some(standing) = &session.standing else {
            return;
        };
        let (profile, asked) = (session.identity.profile(), standing.asked);
        let (tracks, everywhere) = (standing.tracks(profile.proto), standing.broadcasts());
        let monitors = standing.monitors;
        let primaries = self.primary_nodes();
        let is_open = |hub: &Self, link: Result<LinkId, Now>| {
            let link = link.ok().and_then(|link| hub.link(link));
            link.is_some_and(Link::is_open)
        };
        let mut lacks = primaries.is_empty();
        if tracks && everywhere {
            for &node in &primaries {
                let link = self.own_link(now, id, node, profile);
                lacks |= !is_open(self, link);
            }
        } else if tracks && asked.is_some() {
            // One link shows whether the nodes take these options.
            let mut links = primaries
                .iter()
                .map(|&node| self.own_link(now, id, node, profile));
            let link = links.find(Result::is_ok);
            lacks |= !link.is_some_and(|link| is_open(self, link));
        }
        for &node in primaries.iter().filter(|_| monitors) {
            let link = self.monitor_link(now, id, node);
            lacks |= !is_open(self, link);
        }
        match asked {
            _ if lacks => self.check_standing(now + self.settings.retry.pause_max),
            Some(asked) => {
                self.end_asking(id);
                self.deliver(now, asked.ticket, b"+OK\r\n");
            }
            None => {}
        }
    }

    /// Closes links to nodes that are no primaries any more.
    fn drop_needless(&mut self, now: Now, id: SessionId) {
        let primaries = self.primary_nodes();
        let links = self.session(id).map(|s| s.own_links.clone());
        for link_id in links.unwrap_or_default() {
            let needless = |link: &Link| {
                link.role != Role::Requests
                    && link.queue().is_empty()
                    && !link.kept
                    && !primaries.contains(&link.node)
            };
            if !primaries.is_empty() && self.link(link_id).is_some_and(needless) {
                self.close_link(now, link_id);
            }
        }
    }

    fn primary_nodes(&self) -> Vec<NodeId> {
        let slots = self.owners.primaries().iter();
        slots.filter_map(|&slot| self.owners.of(slot)).collect()
    }

    pub(super) fn check_standing(&mut self, at: Now) {
        let check = self.standing_check.get_or_insert(at);
        *check = at.min(*check);
    }

    fn end_asking(&mut self, id: SessionId) {
        let session = self.session_mut(id);
        if let Some(standing) = session.and_then(|s| s.standing.as_mut()) {
            standing.asked = None;
        }
    }

    /// What was ordered cannot be had.
    fn refuse_order(&mut self, now: Now, id: SessionId, asked: Asked, text: &str) {
        self.end_asking(id);
        match asked.order {
            Order::Tracking => self.end_tracking(now, id),
            Order::Monitor => self.end_monitor(now, id),
        }
        self.counters.errors += 1;
        let mut frame = Vec::new();
        write::error(&mut frame, text);
        self.deliver(now, asked.ticket, &frame);
    }

    /// A node refuses what others have taken: nothing can be promised to this client any more.
    pub(in crate::worker::hub) fn cut_off(&mut self, id: SessionId, text: &str) {
        let worker = self.settings.worker;
        if let Some(session) = self.session_mut(id) {
            tracing::warn!(
                session = session.identity.id,
                client = %session.identity.peer,
                worker,
                error = text,
                "cut: a node does not tell it what others do"
            );
            session.cut = true;
            self.note_session_woken(id);
        }
    }

    pub(super) fn end_if_over(&mut self, id: SessionId) {
        if let Some(session) = self.session_mut(id)
            && session.standing.as_ref().is_some_and(|s| s.is_over())
        {
            session.standing = None;
            self.standing.remove(&id);
        }
    }

    pub(super) fn interject(&mut self, id: SessionId, message: &[u8]) {
        let index = id.index as usize;
        let session = self
            .sessions
            .get_mut(index)
            .filter(|s| s.generation == id.generation);
        if let Some(session) = session {
            session.out.adopt(&mut self.pool);
            session.replies.interject(message, &mut session.out);
            self.note_session_woken(id);
        }
    }
}
