//! Values by name, in the order in which the names came: what merging replies of several nodes needs, however many names
//! they send.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;

/// `places[name]` is where `name` first stands in `entries`.
pub(super) struct Named<N, V> {
    entries: Vec<(N, V)>,
    places: HashMap<N, usize>,
}

impl<N, V> Default for Named<N, V> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            places: HashMap::new(),
        }
    }
}

impl<N: Clone + Eq + Hash, V> Named<N, V> {
    /// Adds a value behind all others, also if there is one of that name, which stays the one that the name has.
    pub(super) fn push(&mut self, name: N, value: V) {
        self.places
            .entry(name.clone())
            .or_insert(self.entries.len());
        self.entries.push((name, value));
    }

    /// Adds a value, or joins it with the one that the name has.
    pub(super) fn join(&mut self, name: N, value: V, join: impl FnOnce(&mut V, V)) {
        match self.places.entry(name) {
            Entry::Occupied(known) => {
                if let Some((_, known)) = self.entries.get_mut(*known.get()) {
                    join(known, value);
                }
            }
            Entry::Vacant(new) => {
                self.entries.push((new.key().clone(), value));
                new.insert(self.entries.len() - 1);
            }
        }
    }

    pub(super) fn get<Q: Eq + Hash + ?Sized>(&self, name: &Q) -> Option<&V>
    where
        N: Borrow<Q>,
    {
        let place = *self.places.get(name)?;
        self.entries.get(place).map(|(_, value)| value)
    }

    pub(super) fn get_mut<Q: Eq + Hash + ?Sized>(&mut self, name: &Q) -> Option<&mut V>
    where
        N: Borrow<Q>,
    {
        let place = *self.places.get(name)?;
        self.entries.get_mut(place).map(|(_, value)| value)
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.entries.iter_mut().map(|(_, value)| value)
    }

    pub(super) fn entries(&self) -> &[(N, V)] {
        &self.entries
    }

    pub(super) fn into_entries(self) -> Vec<(N, V)> {
        self.entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_the_order_in_which_they_came() {
        let mut sums: Named<&str, i64> = Named::default();
        for (name, value) in [("b", 1), ("a", 2), ("b", 3)] {
            sums.join(name, value, |sum, value| *sum += value);
        }
        assert_eq!(sums.entries(), [("b", 4), ("a", 2)]);
        sums.values_mut().for_each(|sum| *sum += 1);
        assert_eq!((sums.get("a"), sums.get("c")), (Some(&3), None));
        assert_eq!(sums.get_mut("b"), Some(&mut 5));
        sums.push("a", 7);
        assert_eq!((sums.get("a"), sums.entries().len()), (Some(&3), 3));
    }
}
