//! How many requests of which class ended how.

use super::Count;
use crate::command::class::Class;

/// How a request ended, as its client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Ok,
    /// A node answered with an error.
    Error,
    /// slotcar answered with an error.
    Failed,
}

impl Outcome {
    pub const ALL: [Self; 3] = [Self::Ok, Self::Error, Self::Failed];

    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Failed => "failed",
        }
    }

    /// What a reply that begins so is, if a node has said it.
    #[inline]
    pub fn of(reply: &[u8]) -> Self {
        match reply.first() {
            Some(b'-' | b'!') => Self::Error,
            Some(_) | None => Self::Ok,
        }
    }
}

/// Requests that have been answered, by class and outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally([u64; PLACES]);

/// A power of two, so that a place needs no check.
const PLACES: usize = 32;
const _: () = assert!(Class::ALL.len() * OUTCOMES <= PLACES && PLACES.is_power_of_two());
const OUTCOMES: usize = 4;
const _: () = assert!(Outcome::ALL.len() <= OUTCOMES);

const fn place(class: Class, outcome: Outcome) -> usize {
    (class as usize * OUTCOMES + outcome as usize) % PLACES
}

impl Count for Tally {
    fn add(&mut self, more: Self) {
        self.0.add(more.0);
    }
}

impl Tally {
    #[inline]
    pub fn note(&mut self, class: Class, outcome: Outcome) {
        if let Some(count) = self.0.get_mut(place(class, outcome)) {
            *count += 1;
        }
    }

    /// Every class with every outcome.
    pub fn rows(&self) -> impl Iterator<Item = (Class, Outcome, u64)> {
        let all = Class::ALL
            .into_iter()
            .flat_map(|class| Outcome::ALL.map(|outcome| (class, outcome)));
        all.map(|(class, outcome)| {
            let count = self.0.get(place(class, outcome));
            (class, outcome, count.copied().unwrap_or(0))
        })
    }

    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// All requests with one outcome.
    pub fn of(&self, wanted: Outcome) -> u64 {
        let rows = self.rows().filter(|(_, outcome, _)| *outcome == wanted);
        rows.map(|(_, _, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_and_outcome_is_counted_for_itself() {
        let mut tally = Tally::default();
        for (n, (class, outcome, _)) in Tally::default().rows().enumerate() {
            (0..n).for_each(|_| tally.note(class, outcome));
        }
        let counts: Vec<u64> = tally.rows().map(|(_, _, count)| count).collect();
        assert_eq!(counts, (0..counts.len() as u64).collect::<Vec<_>>());
        let sums = Outcome::ALL.map(|outcome| tally.of(outcome));
        assert_eq!(sums.iter().sum::<u64>(), counts.iter().sum::<u64>());
    }
}
