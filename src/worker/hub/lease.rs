//! Links that one session has for itself for a while, and the pool that they come from and go back to.
//!
//! Invariant: a link in the pool is clean. It goes there only when everything on it has been answered and nothing that
//! outlives a request was asked of it; a link that anybody may have left unclean is closed.

use super::Hub;
use crate::clock::Now;
use crate::downstream::session::Session;
use crate::route::part::{LinkId, NodeId, Profile, Purpose, SessionId};
use crate::upstream::link::{Link, LinkDown, Role, Use};

impl Hub {
    /// A session's own link to a node: the one that it has, one from the pool, or a new one. Err: not before that moment.
    pub(super) fn own_link(
        &mut self,
        now: Now,
        session: SessionId,
        node: NodeId,
        profile: Profile,
    ) -> Result<LinkId, Now> {
        self.check_usable(now, node)?;
        if let Some(link) = self.own_link_at(session, node, profile) {
            return Ok(link);
        }
        if !self.standing.is_empty() && self.is_tracked(session) {
            return self.tracking_link(now, session, node, profile);
        }
        let at = self.owners.node_mut(node);
        let id = match at.and_then(|node| node.take_idle(profile)) {
            Some(idle) => {
                self.counters.leases_reused += 1;
                idle
            }
            None => self.dial(now, Link::new(node, profile, Use::Leased(None)))?,
        };
        if let Some(link) = self.link_mut(id) {
            link.used = Use::Leased(Some(session));
        }
        if let Some(session) = self.session_mut(session) {
            session.own_links.push(id);
        }
        self.counters.leases += 1;
        Ok(id)
    }

    /// The link to a node that a session has for itself.
    pub(super) fn own_link_at(
        &self,
        session: SessionId,
        node: NodeId,
        profile: Profile,
    ) -> Option<LinkId> {
        let own = &self.session(session)?.own_links;
        own.iter().copied().find(|&id| {
            self.link(id).is_some_and(|link| {
                (link.node, link.profile) == (node, profile) && link.takes_requests()
            })
        })
    }

    /// Puts a leased link back into the pool if it owes nothing and its session does not rely on it.
    pub(super) fn give_back(&mut self, now: Now, id: LinkId) {
        let Some(link) = self.link_mut(id) else {
            return;
        };
        let (Use::Leased(Some(owner)), true, false, Role::Requests) =
            (link.used, link.queue().is_empty(), link.kept, link.role)
        else {
            return;
        };
        link.used = Use::Leased(None);
        let (node, profile, retiring) = (link.node, link.profile, link.retiring);
        self.forget_own(owner, id);
        if retiring {
            return self.close_link(now, id);
        }
        let Some(node) = self.owners.node_mut(node) else {
            return;
        };
        let pool = &mut node.idle;
        pool.push(Idle {
            link: id,
            profile,
            since: now,
        });
        let idle_max = self.settings.limits.idle_links_max;
        if pool.len() > idle_max {
            let oldest = pool.remove(0);
            self.close_link(now, oldest.link);
        }
        self.idle_check
            .get_or_insert(now + self.settings.limits.idle_link_timeout);
    }

    /// Closes what has been in the pool for too long.
    pub(super) fn expire_idle(&mut self, now: Now) {
        if self.idle_check.is_none_or(|at| at > now) {
            return;
        }
        let timeout = self.settings.limits.idle_link_timeout;
        let (mut expired, mut next) = (Vec::new(), None::<Now>);
        for pool in self.owners.idle_pools() {
            let fresh = pool.partition_point(|idle| now.since(idle.since) >= timeout);
            expired.extend(pool.drain(..fresh).map(|idle| idle.link));
            if let Some(oldest) = pool.first() {
                let at = oldest.since + timeout;
                next = Some(next.map_or(at, |sofar| sofar.min(at)));
            }
        }
        self.idle_check = next;
        for link in expired {
            self.close_link(now, link);
        }
    }

    /// A session has ended: what waits for it at the nodes, or was set up for it there, ends with its links.
    pub(super) fn end_own_links(&mut self, now: Now, session: &mut Session) {
        for id in std::mem::take(&mut session.own_links) {
            self.close_link(now, id);
        }
    }

    /// A leased link is gone.
    pub(super) fn forget_lease(&mut self, id: LinkId, link: &Link, owner: Option<SessionId>) {
        match owner {
            None => {
                if let Some(node) = self.owners.node_mut(link.node) {
                    node.idle.retain(|idle| idle.link != id);
                }
            }
            Some(owner) => {
                self.forget_own(owner, id);
                if link.kept {
                    self.on_kept_link_lost(owner, id);
                }
            }
        }
    }

    /// Ends a link on our own account.
    pub(super) fn close_link(&mut self, now: Now, id: LinkId) {
        self.note_link_woken(id);
        self.on_link_down(now, id, &LinkDown::Retired);
    }

    /// Whether the request that a part is of still waits for its answer.
    pub(super) fn is_awaited(&self, purpose: Purpose) -> bool {
        match purpose {
            Purpose::Swallow
            | Purpose::PutBack
            | Purpose::Look(..)
            | Purpose::Try(..)
            | Purpose::Listen(_) => self.is_told_to_somebody(purpose),
            Purpose::Answer(ticket) => self
                .session(ticket.session)
                .is_some_and(|session| session.replies.is_open(ticket.seat)),
        }
    }

    fn forget_own(&mut self, owner: SessionId, id: LinkId) {
        if let Some(session) = self.session_mut(owner) {
            session.own_links.retain(|&own| own != id);
        }
    }
}

/// A leased link that nobody uses at the moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Idle {
    pub(crate) link: LinkId,
    pub(crate) profile: Profile,
    pub(crate) since: Now,
}
