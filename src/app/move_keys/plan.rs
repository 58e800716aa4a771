//! What becomes of a key, how many go together, and how fast. Pure.

use std::ops::Range;
use std::time::Duration;

use crate::clock::Now;
use crate::route::naming::Naming;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Keys get other names where they are.
    Rename,
    /// All keys of another server, which keeps them.
    Copy,
}

/// What becomes of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is what slotcar calls an app's key, or could be: such a key is never touched.
    Stored,
    /// No rule fits it.
    Free,
    /// It is to be stored so.
    Moves(Vec<u8>),
}

impl Way {
    /// `database`: the one that is copied into.
    pub(super) fn fate(self, naming: Option<&Naming>, database: u32, name: &[u8]) -> Fate {
        match (self, naming) {
            (Self::Rename, None) => Fate::Free,
            (Self::Rename, Some(naming)) => {
                let (database, own) = naming.in_database(name);
                if !naming.is_database(database) {
                    return Fate::Free;
                }
                if naming.unmap(name).len() < own.len() {
                    return Fate::Stored;
                }
                let stored = naming.stored(database, own);
                if stored == name {
                    Fate::Free
                } else {
                    Fate::Moves(stored)
                }
            }
            (Self::Copy, Some(naming)) => Fate::Moves(naming.stored(database, name)),
            (Self::Copy, None) => Fate::Moves(name.into()),
        }
    }
}

/// Cuts keys of these weights into batches: none with more keys or bytes than that, unless one key alone has more bytes.
pub(super) fn batches(weights: &[u64], keys_max: usize, bytes_max: u64) -> Vec<Range<usize>> {
    let mut batches = Vec::new();
    let (mut start, mut bytes) = (0, 0_u64);
    for (at, weight) in weights.iter().enumerate() {
        let is_full = at - start >= keys_max || bytes.saturating_add(*weight) > bytes_max;
        if at > start && is_full {
            batches.push(start..at);
            (start, bytes) = (at, 0);
        }
        bytes = bytes.saturating_add(*weight);
    }
    if start < weights.len() {
        batches.push(start..weights.len());
    }
    batches
}

/// Keeps all together to so many keys in a second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    keys_per_second: Option<u32>,
    /// When the next key may go.
    next_at: Now,
}

impl Pace {
    pub(super) fn new(keys_per_second: Option<u32>) -> Self {
        Self {
            keys_per_second,
            next_at: Now::ZERO,
        }
    }

    /// How many keys may go at once: those of a tenth of a second.
    pub(super) fn burst(&self) -> usize {
        self.keys_per_second.map_or(usize::MAX, |keys| {
            usize::try_from(keys / 10).map_or(usize::MAX, |keys| keys.max(1))
        })
    }

    /// So many keys want to go: how long they have to wait.
    pub(super) fn take(&mut self, now: Now, keys: usize) -> Duration {
        let Some(keys_per_second) = self.keys_per_second else {
            return Duration::ZERO;
        };
        let start = self.next_at.max(now);
        let keys = u32::try_from(keys).unwrap_or(u32::MAX);
        self.next_at = start + Duration::from_secs(1) * keys / keys_per_second;
        start.since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::together::Rule;

    #[test]
    fn what_has_its_stored_name_already_stays() {
        let rules = ["q:*", "*:job=q"].map(|rule| Rule::parse(rule).unwrap());
        let naming = Naming::new(&rules, 1).unwrap();
        let moves = |stored: &str| Fate::Moves(stored.into());
        for (name, renamed, copied) in [
            ("q:1", moves("{q}q:1"), "{q}q:1"),
            ("a:job", moves("{q}a:job"), "{q}a:job"),
            ("{q}q:1", Fate::Stored, "{q}{q}q:1"),
            ("{q}{q}q:1", Fate::Stored, "{q}{q}{q}q:1"),
            ("{q}mine", Fate::Free, "{q}mine"),
            ("{user}a:job", moves("{q}{user}a:job"), "{q}{user}a:job"),
            ("other", Fate::Free, "other"),
            ("", Fate::Free, ""),
        ] {
            let fate = |way: Way| way.fate(Some(&naming), 0, name.as_bytes());
            assert_eq!(fate(Way::Rename), renamed, "{name}");
            assert_eq!(fate(Way::Copy), moves(copied), "{name}");
            if let Fate::Moves(stored) = renamed {
                let again = Way::Rename.fate(Some(&naming), 0, &stored);
                assert_eq!(again, Fate::Stored, "{name}");
            }
        }
        assert_eq!(Way::Copy.fate(None, 0, b"q:1"), moves("q:1"));
        let naming = Naming::new(&rules, 4).unwrap();
        for (name, renamed, copied) in [
            ("@db3:q:1", moves("@db3:{q}q:1"), "@db3:@db3:q:1"),
            ("@db3:{q}q:1", Fate::Stored, "@db3:@db3:{q}q:1"),
            ("@db3:other", Fate::Free, "@db3:@db3:other"),
            ("@db9:q:1", Fate::Free, "@db3:@db9:q:1"),
            ("q:1", moves("{q}q:1"), "@db3:{q}q:1"),
            ("other", Fate::Free, "@db3:other"),
        ] {
            let fate = |way: Way| way.fate(Some(&naming), 3, name.as_bytes());
            assert_eq!(fate(Way::Rename), renamed, "{name}");
            assert_eq!(fate(Way::Copy), moves(copied), "{name}");
        }
    }

    #[test]
    fn batches_are_bounded_by_keys_and_by_bytes() {
        for (weights, expected) in [
            (&[][..], &[][..]),
            (&[1, 1, 1, 1], &[0..3, 3..4]),
            (&[6, 6, 1], &[0..1, 1..3]),
            (&[99, 1, 99], &[0..1, 1..2, 2..3]),
            (&[u64::MAX, u64::MAX], &[0..1, 1..2]),
        ] {
            assert_eq!(batches(weights, 3, 10), expected, "{weights:?}");
        }
    }

    #[test]
    fn keys_wait_for_those_before_them() {
        let mut pace = Pace::new(Some(100));
        assert_eq!(pace.burst(), 10);
        let second = Duration::from_secs(1);
        let now = Now::at(second * 5);
        assert_eq!(pace.take(now, 50), Duration::ZERO);
        assert_eq!(pace.take(now, 50), second / 2);
        assert_eq!(pace.take(now + second, 1), Duration::ZERO);
        assert_eq!(Pace::new(Some(1)).burst(), 1);
        assert_eq!(Pace::new(None).take(now, 1 << 30), Duration::ZERO);
    }
}
