//! Links from their dial to their end, and the bytes that come in on them.

use super::{Hub, LinkPlace};
use crate::clock::Now;
use crate::control::Hint;
use crate::downstream::session::Wait;
use crate::route::part::{LinkId, NodeId, Part, Profile, Purpose, UserId};
use crate::upstream::link::{Link, LinkDown, Passing, Use};

impl Hub {
    /// The shared link to a node, dialled if there is none; Err: not before that moment.
    pub(super) fn link_to(
        &mut self,
        now: Now,
        id: NodeId,
        profile: Profile,
    ) -> Result<LinkId, Now> {
        self.check_usable(now, id)?;
        let node = self.owners.node(id);
        if let Some(link) = node.and_then(|node| node.link(profile)) {
            return Ok(link);
        }
        let link = self.dial(now, Link::new(id, profile, Use::Shared))?;
        if let Some(node) = self.owners.node_mut(id) {
            node.set_link(profile, Some(link));
        }
        Ok(link)
    }

    /// Err: nothing is sent to this node before that moment.
    pub(super) fn check_usable(&self, now: Now, id: NodeId) -> Result<(), Now> {
        match self.owners.node(id) {
            None => Err(now + self.settings.backoff.max),
            Some(node) if node.suspect => Err(now + self.settings.retry.pause_max),
            Some(_) => Ok(()),
        }
    }

    /// Opens a new link to its node; Err: not before that moment.
    pub(super) fn dial(&mut self, now: Now, link: Link) -> Result<LinkId, Now> {
        let Some(node) = self.owners.node(link.node) else {
            return Err(now + self.settings.backoff.max);
        };
        if let Some(not_before) = node.backoff.wait_until(now) {
            return Err(not_before);
        }
        if !self.logins.is_known(link.profile.user) {
            // Whoever asked has left, or it would be known.
            return Err(now + self.settings.backoff.max);
        }
        let endpoint = node.endpoint.clone();
        self.generations = self.generations.wrapping_add(1);
        let place = LinkPlace {
            generation: self.generations,
            wake_noted: false,
            link,
        };
        let index = u32::try_from(self.links.insert(place)).unwrap_or(u32::MAX);
        let link = LinkId {
            index,
            generation: self.generations,
        };
        self.effects.dials.push((link, endpoint));
        self.counters.dials += 1;
        Ok(link)
    }

    /// The node has accepted the connection.
    pub fn on_dialed(&mut self, id: LinkId) {
        let settings = self.settings.clone();
        let user = self.link(id).map(|link| link.profile.user);
        if user.is_some_and(|user| !self.logins.is_known(user)) {
            // It must not greet as somebody else; it ends because it does not greet at all.
            return;
        }
        let login = user.and_then(|user| self.logins.login(user).cloned());
        if let Some(link) = self.link_mut(id) {
            link.on_dialed(&settings.greeting, login.as_ref());
        }
    }

    /// A link has ended: everything that it owed gets a verdict.
    pub fn on_link_down(&mut self, now: Now, id: LinkId, why: &LinkDown) {
        if self.link_mut(id).is_none() {
            return;
        }
        let link = self.links.remove(id.index as usize).link;
        let (worked, node) = (link.is_open(), link.node);
        let user = link.profile.user;
        let is_of_database = link.profile.database != 0 && link.set_up.is_none();
        let is_of_user = user != UserId::SLOTCAR && link.set_up.is_none();
        if let LinkDown::NotSetUp(text) = why {
            self.note_kept_out(now, user, text);
        }
        self.note_link_down(now, id, &link, why, worked);
        let passing = link.passing;
        let (mut orphans, waiting) = link.into_orphans();
        for session in waiting {
            self.end_wait_for_link(session);
        }
        for orphan in &orphans {
            if orphan.part.is_misplaced() {
                self.lanes.note_settled(orphan.part.target);
            }
        }
        if let Some(Passing { ticket, .. }) = passing {
            // Its reply has been passed on in part.
            orphans.remove(0);
            self.cut_passing(ticket.session);
        }
        // A topology that is confirmed is not published again: only a failure says that a redirection was wrong.
        let blames_node = !matches!(
            why,
            LinkDown::Retired | LinkDown::Local(_) | LinkDown::NotSetUp(_)
        );
        if !worked && blames_node && self.owners.distrust(node) {
            orphans.extend(self.count_misplaced());
            orphans.sort_unstable_by_key(|orphan| orphan.part.seq);
        }
        for orphan in orphans {
            match why {
                // A replica may not know the user yet: the primary is asked.
                LinkDown::NotSetUp(_) if orphan.part.elsewhere => {
                    self.on_orphan(now, node, orphan);
                }
                LinkDown::NotSetUp(text) if is_of_user => {
                    self.on_user_refused(now, user, &orphan.part, text);
                }
                // There is no such database, or we may not use it.
                LinkDown::NotSetUp(text) if is_of_database => {
                    self.answer_refused(now, &orphan.part, text);
                }
                LinkDown::Dial(_)
                | LinkDown::Local(_)
                | LinkDown::Refused(_)
                | LinkDown::NotSetUp(_)
                | LinkDown::Lost(_)
                | LinkDown::Desync(_)
                | LinkDown::Retired => self.on_orphan(now, node, orphan),
            }
        }
        self.release_held(now);
        self.tend_watches(now);
        self.tend_topics(now);
    }

    pub fn link_exists(&self, id: LinkId) -> bool {
        self.links
            .get(id.index as usize)
            .is_some_and(|p| p.generation == id.generation)
    }

    /// Whether the node has accepted the greeting; false also if there is no such link (any more).
    pub fn is_link_open(&self, id: LinkId) -> bool {
        self.link(id).is_some_and(Link::is_open)
    }

    pub fn link_count(&self) -> usize {
        self.links.len()
    }

    /// Where a link leads to, for the log.
    pub(super) fn node_at(&self, id: LinkId) -> Option<String> {
        let node = self.owners.node(self.link(id)?.node)?;
        Some(node.endpoint.to_string())
    }

    pub(super) fn link(&self, id: LinkId) -> Option<&Link> {
        let place = self
            .links
            .get(id.index as usize)
            .filter(|p| p.generation == id.generation)?;
        Some(&place.link)
    }

    pub(super) fn link_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        let place = self.links.get_mut(id.index as usize);
        let place = place.filter(|p| p.generation == id.generation)?;
        Some(&mut place.link)
    }

    /// A part has been queued: wake the link, and stop its session if the link has too much to do.
    pub(super) fn note_queued(&mut self, id: LinkId, part: &Part) {
        let (bytes_soft, parts_max) = (
            self.settings.limits.link_queue_bytes_soft,
            self.settings.limits.link_queue_requests_max,
        );
        self.note_link_woken(id);
        let Some(link) = self.link_mut(id) else {
            return;
        };
        if link.queue().unsent_bytes() < bytes_soft && link.queue().len() < parts_max {
            return;
        }
        let Purpose::Answer(ticket) = part.purpose else {
            return;
        };
        if let Some(session) = self.session_mut(ticket.session)
            && session.wait == Wait::Nothing
        {
            session.wait = Wait::Link;
            if let Some(link) = self.link_mut(id) {
                link.waiting_sessions.push(ticket.session);
            }
        }
    }

    /// Nothing new is sent on this link, and it ends when all is answered: the name of its node may mean another server by now.
    pub(super) fn leave_link(&mut self, id: LinkId) {
        let Some(link) = self.link_mut(id) else {
            return;
        };
        link.retiring = true;
        let (node, profile) = (link.node, link.profile);
        if let Some(node) = self.owners.node_mut(node)
            && node.link(profile) == Some(id)
        {
            node.set_link(profile, None);
        }
    }

    /// Closes the links of nodes that are gone once they owe nothing, or when they have owed it for too long.
    pub(super) fn retire_links(&mut self, now: Now, gone: &[NodeId]) {
        for id in self.links_of(gone) {
            if let Some(link) = self.link_mut(id).filter(|link| !link.retiring) {
                link.retiring = true;
                self.retiring.push((id, now));
                self.end_if_retired(now, id);
            }
        }
    }

    /// Ends the links that have been retiring for as long as requests are held.
    pub(super) fn expire_retiring(&mut self, now: Now) {
        let hold_max = self.settings.retry.hold_max;
        for (id, since) in std::mem::take(&mut self.retiring) {
            let Some(node) = self.link_mut(id).map(|link| link.node) else {
                continue;
            };
            if self.owners.node(node).is_some_and(|node| node.known) {
                // It has come back.
                if let Some(link) = self.link_mut(id) {
                    link.retiring = false;
                }
            } else if now.since(since) < hold_max {
                self.retiring.push((id, since));
            } else {
                self.note_link_woken(id);
                let why = "the node has left the cluster and does not answer";
                self.on_link_down(now, id, &LinkDown::Lost(why.into()));
            }
        }
    }

    /// Ends the links of nodes that do not answer and that nobody asks any more.
    pub(super) fn drop_links(&mut self, now: Now, nodes: &[NodeId]) {
        for id in self.links_of(nodes) {
            self.note_link_woken(id);
            self.on_link_down(
                now,
                id,
                &LinkDown::Lost("the node does not answer and serves nothing any more".into()),
            );
        }
    }

    pub(super) fn links_of(&self, nodes: &[NodeId]) -> Vec<LinkId> {
        let links = self
            .links
            .iter()
            .filter(|(_, place)| nodes.contains(&place.link.node));
        links.map(|(index, place)| place.id(index)).collect()
    }

    fn end_if_retired(&mut self, now: Now, id: LinkId) {
        if self
            .link_mut(id)
            .is_some_and(|link| link.retiring && link.queue().is_empty())
        {
            self.note_link_woken(id);
            self.on_link_down(now, id, &LinkDown::Retired);
        }
    }

    pub(super) fn on_link_open(&mut self, now: Now, id: LinkId) {
        let opened = self.link_mut(id).map(|link| (link.node, link.profile.user));
        let node = opened.map(|(node, _)| node);
        if let Some((_, user)) = opened {
            self.note_let_in(user);
        }
        if let Some(node) = node.and_then(|n| self.owners.node_mut(n)) {
            node.backoff.on_success();
        }
        self.note_link_woken(id);
        self.on_standing_link_open(now, id);
    }

    pub(super) fn after_answers(&mut self, now: Now, id: LinkId) {
        let place = self.links.get_mut(id.index as usize);
        if let Some(place) = place.filter(|p| p.generation == id.generation) {
            place.link.queue_mut().release(&mut self.link_pool);
        }
        self.end_waits_if_room(id);
        self.end_if_retired(now, id);
        self.give_back(now, id);
        self.release_held(now);
        self.tend_watches(now);
        self.tend_topics(now);
    }

    /// Lets the sessions go on that filled a link, once it has half as much to do as stopped them, in bytes and in parts.
    pub(super) fn end_waits_if_room(&mut self, id: LinkId) {
        let (bytes, parts) = (
            self.settings.limits.link_queue_bytes_soft.div_ceil(2),
            self.settings.limits.link_queue_requests_max.div_ceil(2),
        );
        let Some(link) = self
            .link_mut(id)
            .filter(|link| !link.waiting_sessions.is_empty())
        else {
            return;
        };
        if link.queue().unsent_bytes() < bytes && link.queue().len() < parts {
            for session in std::mem::take(&mut link.waiting_sessions) {
                self.end_wait_for_link(session);
            }
        }
    }

    fn note_link_down(&mut self, now: Now, id: LinkId, link: &Link, why: &LinkDown, worked: bool) {
        let random = (self.random() >> 32) as u32;
        let limits = self.settings.backoff;
        match link.used {
            Use::Shared => {
                if let Some(node) = self.owners.node_mut(link.node) {
                    node.scripts.clear();
                }
            }
            Use::Leased(owner) => {
                self.forget_lease(id, link, owner);
                self.on_standing_link_down(now, link, owner, why);
            }
            Use::Watch => self.forget_watch(id, link.node),
            Use::Ear => self.on_ear_lost(link.node, link.profile.user),
        }
        let Some(node) = self.owners.node_mut(link.node) else {
            return;
        };
        if link.used == Use::Shared {
            node.set_link(link.profile, None);
        }
        let endpoint = node.endpoint.clone();
        node.tell_down(now, why, self.settings.worker);
        if !worked && !matches!(why, LinkDown::Retired | LinkDown::NotSetUp(_)) {
            node.backoff.on_failure(now, &limits, random);
        }
        let hint = match why {
            LinkDown::Retired => return,
            // The control thread would blame the node.
            LinkDown::Local(_) | LinkDown::NotSetUp(_) => None,
            LinkDown::Dial(_) | LinkDown::Refused(_) => Some(Hint::DialFailed(endpoint)),
            LinkDown::Lost(_) | LinkDown::Desync(_) => Some(Hint::LinkLost(endpoint)),
        };
        self.effects.hints.extend(hint);
        self.counters.links_lost += 1;
    }

    pub(super) fn note_link_woken(&mut self, id: LinkId) {
        let place = self
            .links
            .get_mut(id.index as usize)
            .filter(|p| p.generation == id.generation);
        if let Some(place) = place
            && !place.wake_noted
        {
            place.wake_noted = true;
            self.effects.links.push(id);
        }
    }
}
