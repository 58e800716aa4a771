//! The newest few of something, each with a number of its own.

use std::collections::VecDeque;

/// The newest of them, oldest first.
#[derive(Clone, Debug)]
pub struct Ring<T> {
    max: usize,
    next: u64,
    items: VecDeque<(u64, T)>,
}

impl<T> Ring<T> {
    pub fn new(max: usize) -> Self {
        Self {
            max,
            next: 0,
            items: VecDeque::new(),
        }
    }

    /// The oldest makes room if there are `max`.
    pub fn push(&mut self, item: T) {
        if self.items.len() >= self.max {
            self.items.pop_front();
        }
        if self.max > 0 {
            self.items.push_back((self.next, item));
        }
        self.next += 1;
    }

    /// Number and item, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, &T)> {
        self.items.iter().map(|(number, item)| (*number, item))
    }

    pub fn len(&self) -> usize {
        self.items.len()
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub fn clear(&mut self) {
        self.items.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_stay_and_keep_their_numbers() {
        let mut ring = Ring::new(2);
        "abcd".chars().for_each(|c| ring.push(c));
        assert_eq!(ring.iter().collect::<Vec<_>>(), [(2, &'c'), (3, &'d')]);
        ring.clear();
        ring.push('e');
        assert_eq!(ring.iter().collect::<Vec<_>>(), [(4, &'e')]);
        let mut none = Ring::new(0);
        none.push(1);
        assert!(none.is_empty());
    }
}
