//! The largest values that have passed by, in a bounded table, each name once.

use super::Count;

/// Longer names are cut.
const NAME_BYTES_MAX: usize = 256;

/// The table.
#[derive(Clone, Debug)]
pub struct Largest {
    max: usize,
    entries: Vec<Sized>,
    /// What is not larger than this is not taken.
    floor: usize,
}

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sized {
    pub name: Box<[u8]>,
    /// What was done with it.
    pub verb: &'static str,
    /// On the wire, in one request or reply.
    pub bytes: usize,
}

impl Largest {
    pub fn new(max: usize) -> Self {
        Self {
            max,
            entries: Vec::new(),
            floor: 0,
        }
    }

    /// Whether a value of so many bytes could be in the table.
    #[inline]
    pub fn takes(&self, bytes: usize) -> bool {
        bytes > self.floor
    }

    pub fn note(&mut self, name: &[u8], verb: &'static str, bytes: usize) {
        self.put(name, verb, bytes);
        if self.entries.len() >= self.max {
            let sizes = self.entries.iter().map(|entry| entry.bytes);
            self.floor = sizes.min().unwrap_or(usize::MAX);
        }
    }

    fn put(&mut self, name: &[u8], verb: &'static str, bytes: usize) {
        let name = name.get(..NAME_BYTES_MAX).unwrap_or(name);
        if let Some(known) = self.entries.iter_mut().find(|e| *e.name == *name) {
            if known.bytes < bytes {
                (known.bytes, known.verb) = (bytes, verb);
            }
            return;
        }
        let entry = Sized {
            name: name.into(),
            verb,
            bytes,
        };
        if self.entries.len() < self.max {
            self.entries.push(entry);
        } else if let Some(least) = self.entries.iter_mut().min_by_key(|e| e.bytes)
            && least.bytes < bytes
        {
            *least = entry;
        }
    }

    /// Largest first.
    pub fn top(&self) -> Vec<Sized> {
        let mut top = self.entries.clone();
        top.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
        top
    }

    /// With other names.
    pub fn named(&self, mut name: impl FnMut(&[u8]) -> Box<[u8]>) -> Self {
        let mut named = self.clone();
        (named.entries.iter_mut()).for_each(|entry| entry.name = name(&entry.name));
        named
    }
}

impl Count for Largest {
    fn add(&mut self, more: Self) {
        for entry in &more.entries {
            self.note(&entry.name, entry.verb, entry.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_stay_and_each_name_is_there_once() {
        let mut table = Largest::new(3);
        for (name, bytes) in [
            ("a", 5),
            ("b", 9),
            ("a", 7),
            ("a", 6),
            ("c", 1),
            ("d", 2),
            ("e", 1),
        ] {
            table.note(name.as_bytes(), "get", bytes);
        }
        let sizes: Vec<_> = table.top().iter().map(|e| (e.name[0], e.bytes)).collect();
        assert_eq!(sizes, [(b'b', 9), (b'a', 7), (b'd', 2)]);
        assert!(table.takes(3) && !table.takes(2));
    }
}
