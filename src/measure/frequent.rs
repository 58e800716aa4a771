//! What comes most often, in a bounded table: the "Space-Saving" sketch of Metwally, Agrawal and El Abbadi (2005,
//! <https://doi.org/10.1007/978-3-540-30570-5_27>).
//!
//! Anything that makes up more than one in `max` of all is in the table; a count is too high by at most what was there
//! before in its place.

use super::Count;

/// Longer names are cut.
const NAME_BYTES_MAX: usize = 256;

/// The table.
#[derive(Clone, Debug)]
pub struct Frequent {
    max: usize,
    seen: u64,
    entries: Vec<Entry>,
}

/// One name in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: Box<[u8]>,
    /// What was done with it last.
    pub verb: &'static str,
    /// Times that it was noted, or up to `error` less.
    pub count: u64,
    pub error: u64,
}

impl Frequent {
    pub fn new(max: usize) -> Self {
        Self {
            max,
            seen: 0,
            entries: Vec::new(),
        }
    }

    pub fn note(&mut self, name: &[u8], verb: &'static str) {
        let name = name.get(..NAME_BYTES_MAX).unwrap_or(name);
        self.count(name, verb, 1);
    }

    fn count(&mut self, name: &[u8], verb: &'static str, count: u64) {
        self.seen += count;
        if let Some(known) = self.entries.iter_mut().find(|e| *e.name == *name) {
            known.count += count;
            known.verb = verb;
            return;
        }
        let entry = |over: u64| Entry {
            name: name.into(),
            verb,
            count: over + count,
            error: over,
        };
        if self.entries.len() < self.max {
            self.entries.push(entry(0));
        } else if let Some(least) = self.entries.iter_mut().min_by_key(|e| e.count) {
            *least = entry(least.count);
        }
    }

    /// Times that anything was noted.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Those that are surely not there by chance, most frequent first.
    pub fn top(&self) -> Vec<Entry> {
        let sure = |e: &&Entry| e.count - e.error > e.error;
        let mut top: Vec<Entry> = self.entries.iter().filter(sure).cloned().collect();
        top.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(&b.name)));
        top
    }

    /// With other names.
    pub fn named(&self, mut name: impl FnMut(&[u8]) -> Box<[u8]>) -> Self {
        let mut named = self.clone();
        (named.entries.iter_mut()).for_each(|entry| entry.name = name(&entry.name));
        named
    }

    /// Halves all counts: what was asked for long ago counts less and less.
    pub fn fade(&mut self) {
        self.seen /= 2;
        for entry in &mut self.entries {
            entry.count /= 2;
            entry.error /= 2;
        }
        self.entries.retain(|entry| entry.count > 0);
    }
}

impl Count for Frequent {
    fn add(&mut self, more: Self) {
        let listed: u64 = more.entries.iter().map(|e| e.count - e.error).sum();
        for entry in &more.entries {
            self.count(&entry.name, entry.verb, entry.count - entry.error);
        }
        self.seen += more.seen.saturating_sub(listed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hot_one_is_found_among_many_that_come_once() {
        let mut table = Frequent::new(8);
        for n in 0..10_000_u32 {
            table.note(format!("cold:{n}").as_bytes(), "get");
            if n % 4 == 0 {
                table.note(b"hot", "set");
            }
        }
        let top = table.top();
        let first = top.first().unwrap();
        assert_eq!((&*first.name, first.verb), (b"hot".as_slice(), "set"));
        assert!(first.count - first.error <= 2_500 && first.count >= 2_500);
        assert_eq!(table.seen(), 12_500);
        assert!(top.len() <= 8);
    }

    #[test]
    fn tables_of_workers_become_one_and_old_counts_fade() {
        let (mut a, mut b) = (Frequent::new(4), Frequent::new(4));
        (0..30).for_each(|_| a.note(b"x", "get"));
        (0..10).for_each(|_| b.note(b"x", "get"));
        (0..20).for_each(|_| b.note(b"y", "get"));
        a.add(b);
        let counts = |table: &Frequent| table.top().iter().map(|e| e.count).collect::<Vec<_>>();
        assert_eq!((counts(&a), a.seen()), (vec![40, 20], 60));
        a.fade();
        assert_eq!((counts(&a), a.seen()), (vec![20, 10], 30));
        (0..6).for_each(|_| a.fade());
        assert_eq!(counts(&a), Vec::<u64>::new());
    }
}
