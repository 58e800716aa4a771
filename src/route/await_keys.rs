//! Who waits for which keys, and who may look where now: the rules of waiting for keys that no single node has. Pure.
//!
//! A key that somebody waits for is looked at once on a link whose node says from then on when the key changes; it is
//! *tracked*. Until the node says so, nothing is asked. A key where there may be something is *ready*: its waiters try it, in
//! the order in which they came, each at most one key at a time, and the first of its own list that is ready. As long as
//! tries find something, more are made at once. One that finds nothing ends this, and the key is looked at again.
//!
//! Readers of streams take nothing from each other: whatever changes, each reads all its keys again.
//!
//! Invariants: nobody rests while a key of his may have changed unseen: a key with waiters is ready, being looked at, or
//! tracked. A waiter is in the queues of all its keys or of none.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use super::part::{KeyId, LinkId, WaiterId};
use crate::command::attempt::Kind;

/// How many tries of one key are in flight at most.
const WIDTH_MAX: usize = 64;

/// All waiters of one worker.
#[derive(Debug, Default)]
pub struct AwaitKeys {
    keys: BTreeMap<KeyId, Key>,
    ids: HashMap<Arc<[u8]>, [Option<KeyId>; Kind::ALL.len()]>,
    waiters: HashMap<WaiterId, Waiter>,
    ready: BTreeSet<KeyId>,
    newest: u64,
    places: usize,
    wishes: VecDeque<Wish>,
}

/// What should be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Ask how much there is at the key, on a link that says when it changes.
    Look(KeyId, u64),
    /// Take something from the key, if there is anything.
    Try(WaiterId, KeyId),
    /// Read all streams of the waiter.
    Read(WaiterId),
    /// There is something of another type at one of its keys.
    Refuse(WaiterId),
}

/// What there is at a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    Nothing,
    /// So many elements.
    Something(usize),
    OtherType,
}

/// What a try has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tried {
    Nothing,
    Something,
}

#[derive(Debug)]
struct Key {
    name: Arc<[u8]>,
    kind: Kind,
    waiters: BTreeSet<WaiterId>,
    /// The link that says when the key changes.
    tracked: Option<LinkId>,
    /// Looks are numbered from 1. `answered <= sent`
    sent: u64,
    answered: u64,
    looking: usize,
    /// Who wants to know what a look of that number finds.
    asked: BTreeMap<u64, WaiterId>,
    /// What is there is of another type.
    odd: bool,
    /// How often something has come, as far as is known.
    events: u64,
    trying: usize,
    /// How many tries may be in flight. `trying <= width` where the key is ready
    width: usize,
}

#[derive(Debug)]
struct Waiter {
    kind: Kind,
    keys: Vec<Place>,
    at: At,
    /// A stream has changed since the last reading began.
    stale: bool,
    /// It has not looked at all its keys yet.
    fresh: bool,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    key: KeyId,
    /// Nothing after this key is tried before this look at it has been answered.
    needs: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Rests,
    /// `events` of the key when the try began.
    Tries {
        key: KeyId,
        events: u64,
    },
    Reads,
}

impl AwaitKeys {
    /// A name for the next one who may have to wait: later names are greater.
    pub fn next_waiter(&mut self) -> WaiterId {
        self.newest += 1;
        WaiterId(self.newest)
    }

    /// Somebody waits for these keys from now on, the first of them most of all.
    pub fn wait<'a>(
        &mut self,
        id: WaiterId,
        kind: Kind,
        names: impl IntoIterator<Item = &'a [u8]>,
    ) {
        let mut keys: Vec<Place> = Vec::new();
        let mut seen = BTreeSet::new();
        for name in names {
            let (key, is_new) = self.key(kind, name);
            if !seen.insert(key) {
                continue;
            }
            let is_first = keys.is_empty();
            if let Some(key) = self.keys.get_mut(&key) {
                key.waiters.insert(id);
            }
            let needs = match kind {
                Kind::Stream => 0,
                Kind::List | Kind::SortedSet if is_new && is_first => {
                    self.ready.insert(key);
                    0
                }
                Kind::List | Kind::SortedSet if self.ready.contains(&key) => 0,
                Kind::List | Kind::SortedSet => self.look_for(key, Some(id)),
            };
            keys.push(Place { key, needs });
        }
        self.places += keys.len();
        let at = match kind {
            Kind::Stream => {
                self.wishes.push_back(Wish::Read(id));
                At::Reads
            }
            Kind::List | Kind::SortedSet => At::Rests,
        };
        self.waiters.insert(
            id,
            Waiter {
                kind,
                keys,
                at,
                stale: false,
                fresh: true,
            },
        );
        self.pump();
    }

    /// Somebody waits no more: served, out of patience, or gone.
    pub fn leave(&mut self, id: WaiterId) {
        let Some(waiter) = self.waiters.remove(&id) else {
            return;
        };
        if let At::Tries { key, .. } = waiter.at
            && let Some(key) = self.keys.get_mut(&key)
        {
            key.trying = key.trying.saturating_sub(1);
        }
        self.places -= waiter.keys.len();
        for Place { key: id_of_key, .. } in waiter.keys {
            let Some(key) = self.keys.get_mut(&id_of_key) else {
                continue;
            };
            key.waiters.remove(&id);
            if key.waiters.is_empty() {
                self.forget(id_of_key);
            }
        }
        self.pump();
    }

    /// A look has been answered on `link`, which says from now on when the key changes.
    pub fn on_seen(&mut self, link: LinkId, id: KeyId, number: u64, seen: Seen) {
        let Some(key) = self.keys.get_mut(&id) else {
            return;
        };
        key.looking = key.looking.saturating_sub(1);
        key.answered = key.answered.max(number);
        key.tracked = Some(link);
        key.odd = seen == Seen::OtherType;
        let asked = key.asked.remove(&number);
        match (key.kind, seen) {
            (Kind::Stream, Seen::Something(_)) => self.note_stale(id),
            (Kind::Stream, Seen::Nothing | Seen::OtherType) => {}
            (Kind::List | Kind::SortedSet, Seen::Something(count)) => {
                key.events += 1;
                key.width = count.clamp(1, WIDTH_MAX);
                self.ready.insert(id);
            }
            // What was known before is older than this look.
            (Kind::List | Kind::SortedSet, Seen::Nothing | Seen::OtherType) => {
                key.width = 1;
                self.ready.remove(&id);
            }
        }
        if let Some(waiter) = asked {
            self.settle(waiter);
        }
        self.pump();
    }

    /// Nobody can look at a key. Returns who waits for it.
    pub fn on_look_failed(&mut self, id: KeyId) -> Vec<WaiterId> {
        match self.keys.get_mut(&id) {
            None => Vec::new(),
            Some(key) => {
                key.looking = key.looking.saturating_sub(1);
                key.waiters.iter().copied().collect()
            }
        }
    }

    /// A try has been answered. Who has got something leaves.
    pub fn on_tried(&mut self, id: WaiterId, tried: Tried) {
        let Some(waiter) = self.waiters.get_mut(&id) else {
            return;
        };
        let At::Tries { key: at, events } = waiter.at else {
            return;
        };
        match tried {
            Tried::Something => {
                if let Some(key) = self.keys.get_mut(&at) {
                    key.width = (key.width * 2).min(WIDTH_MAX);
                    self.ready.insert(at);
                }
                self.leave(id);
            }
            Tried::Nothing => {
                waiter.at = At::Rests;
                let own = waiter.keys.iter_mut().find(|place| place.key == at);
                if let Some(own) = own {
                    own.needs = 0;
                }
                if let Some(key) = self.keys.get_mut(&at) {
                    key.trying = key.trying.saturating_sub(1);
                    key.width = 1;
                    if key.events == events {
                        self.ready.remove(&at);
                    }
                }
                self.look_if_unseen(at);
                self.settle(id);
                self.pump();
            }
        }
    }

    /// A reader has found nothing in any of its streams.
    pub fn on_read_nothing(&mut self, id: WaiterId) {
        let Some(waiter) = self.waiters.get_mut(&id) else {
            return;
        };
        waiter.fresh = false;
        if std::mem::take(&mut waiter.stale) {
            self.wishes.push_back(Wish::Read(id));
            return;
        }
        waiter.at = At::Rests;
        let keys: Vec<KeyId> = waiter.keys.iter().map(|place| place.key).collect();
        for key in keys {
            self.look_if_unseen(key);
        }
    }

    /// The node of `link` says that a key has changed. It will not say so again before it is looked at again.
    pub fn on_changed(&mut self, link: LinkId, name: &[u8]) {
        let ids = self.ids.get(name).copied().unwrap_or_default();
        for id in ids.into_iter().flatten() {
            let Some(key) = self.keys.get_mut(&id) else {
                continue;
            };
            if key.tracked == Some(link) {
                key.tracked = None;
            }
            key.odd = false;
            match key.kind {
                Kind::Stream => self.note_stale(id),
                Kind::List | Kind::SortedSet => {
                    key.events += 1;
                    self.ready.insert(id);
                }
            }
        }
        self.pump();
    }

    /// What these links promised to say of these keys counts no more: they are looked at again.
    pub fn untrack(&mut self, lost: impl Fn(LinkId, &[u8]) -> bool) {
        let mut untracked = Vec::new();
        for (&id, key) in &mut self.keys {
            if key.tracked.is_some_and(|link| lost(link, &key.name)) {
                key.tracked = None;
                untracked.push(id);
            }
        }
        for id in untracked {
            self.look_if_unseen(id);
        }
    }

    /// What should be done next.
    pub fn next_wish(&mut self) -> Option<Wish> {
        self.wishes.pop_front()
    }

    /// A key that somebody waits for.
    pub fn find(&self, id: KeyId) -> Option<(Kind, Arc<[u8]>)> {
        self.keys.get(&id).map(|key| (key.kind, key.name.clone()))
    }

    /// Whether somebody waits for the key.
    pub fn is_awaited(&self, id: KeyId) -> bool {
        self.keys.contains_key(&id)
    }

    /// Whether it has not looked at all its keys yet: what is wrong with them is for its client to know.
    pub fn is_fresh(&self, id: WaiterId) -> bool {
        self.waiters.get(&id).is_some_and(|waiter| waiter.fresh)
    }

    /// How many keys are waited for, each as often as somebody waits for it.
    pub fn places(&self) -> usize {
        self.places
    }

    pub fn waiters(&self) -> usize {
        self.waiters.len()
    }

    /// How many keys are waited for.
    pub fn keys(&self) -> usize {
        self.keys.len()
    }

    fn key(&mut self, kind: Kind, name: &[u8]) -> (KeyId, bool) {
        let known = self.ids.get(name).and_then(|ids| ids.get(kind as usize));
        if let Some(&Some(id)) = known {
            return (id, false);
        }
        self.newest += 1;
        let id = KeyId(self.newest);
        let name: Arc<[u8]> = name.into();
        let ids = self.ids.entry(name.clone()).or_default();
        if let Some(place) = ids.get_mut(kind as usize) {
            *place = Some(id);
        }
        self.keys.insert(
            id,
            Key {
                name,
                kind,
                waiters: BTreeSet::new(),
                tracked: None,
                sent: 0,
                answered: 0,
                looking: 0,
                asked: BTreeMap::new(),
                odd: false,
                events: 0,
                trying: 0,
                width: 1,
            },
        );
        (id, true)
    }

    fn forget(&mut self, id: KeyId) {
        let Some(key) = self.keys.remove(&id) else {
            return;
        };
        self.ready.remove(&id);
        if let Some(ids) = self.ids.get_mut(&key.name) {
            if let Some(place) = ids.get_mut(key.kind as usize) {
                *place = None;
            }
            if ids.iter().all(Option::is_none) {
                self.ids.remove(&key.name);
            }
        }
    }

    /// Looks at a key; returns the number of the look.
    fn look_for(&mut self, id: KeyId, asks: Option<WaiterId>) -> u64 {
        let Some(key) = self.keys.get_mut(&id) else {
            return 0;
        };
        key.sent += 1;
        key.looking += 1;
        key.asked.extend(asks.map(|asks| (key.sent, asks)));
        self.wishes.push_back(Wish::Look(id, key.sent));
        key.sent
    }

    fn look_if_unseen(&mut self, id: KeyId) {
        let unseen = |key: &Key| key.tracked.is_none() && key.looking == 0;
        if self.keys.get(&id).is_some_and(unseen) && !self.ready.contains(&id) {
            self.look_for(id, None);
        }
    }

    /// Something may have come to a stream: all its readers read again.
    fn note_stale(&mut self, id: KeyId) {
        let Some(key) = self.keys.get(&id) else {
            return;
        };
        for id in &key.waiters {
            let Some(waiter) = self.waiters.get_mut(id) else {
                continue;
            };
            match waiter.at {
                At::Reads | At::Tries { .. } => waiter.stale = true,
                At::Rests => {
                    waiter.at = At::Reads;
                    self.wishes.push_back(Wish::Read(*id));
                }
            }
        }
    }

    /// Sees whether a newcomer knows all its keys by now.
    fn settle(&mut self, id: WaiterId) {
        let Some(waiter) = self.waiters.get_mut(&id) else {
            return;
        };
        if !waiter.fresh || waiter.at != At::Rests {
            return;
        }
        for place in &waiter.keys {
            let Some(key) = self.keys.get(&place.key) else {
                continue;
            };
            if self.ready.contains(&place.key) || key.answered < place.needs {
                return;
            }
            if key.odd && place.needs > 0 {
                self.wishes.push_back(Wish::Refuse(id));
                return;
            }
        }
        waiter.fresh = false;
    }

    /// Lets as many try what is ready as may.
    fn pump(&mut self) {
        let ready: Vec<KeyId> = self.ready.iter().copied().collect();
        for id in ready {
            let Some(key) = self.keys.get(&id) else {
                continue;
            };
            let room = key.width.saturating_sub(key.trying);
            let candidates = key.waiters.iter().copied();
            let chosen: Vec<WaiterId> = candidates
                .filter(|&waiter| self.would_try(waiter) == Some(id))
                .take(room)
                .collect();
            for chosen in chosen {
                let (Some(waiter), Some(key)) =
                    (self.waiters.get_mut(&chosen), self.keys.get_mut(&id))
                else {
                    continue;
                };
                waiter.at = At::Tries {
                    key: id,
                    events: key.events,
                };
                key.trying += 1;
                self.wishes.push_back(Wish::Try(chosen, id));
            }
        }
    }

    /// The key that a waiter would try next: the first that is ready, if all before it are known to be empty.
    fn would_try(&self, id: WaiterId) -> Option<KeyId> {
        let waiter = self.waiters.get(&id)?;
        if waiter.at != At::Rests || waiter.kind == Kind::Stream {
            return None;
        }
        for place in &waiter.keys {
            if self.ready.contains(&place.key) {
                return Some(place.key);
            }
            if self.keys.get(&place.key)?.answered < place.needs {
                return None;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
