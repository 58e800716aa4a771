//! How many requests of which class ended how.

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
pub struct Tally([[u64; Outcome::ALL.len()]; Class::ALL.len()]);

impl Tally {
    #[inline]
    pub fn note(&mut self, class: Class, outcome: Outcome) {
        if let Some(count) = self.0.get_mut(class as usize)
            && let Some(count) = count.get_mut(outcome as usize)
        {
            *count += 1;
        }
    }

    pub fn add(&mut self, other: &Self) {
        for (counts, more) in self.0.iter_mut().zip(other.0) {
            for (count, more) in counts.iter_mut().zip(more) {
                *count += more;
            }
        }
    }

    /// Every class with every outcome.
    pub fn rows(&self) -> impl Iterator<Item = (Class, Outcome, u64)> {
        let counts = self.0;
        Class::ALL
            .into_iter()
            .zip(counts)
            .flat_map(|(class, counts)| {
                let outcomes = Outcome::ALL.into_iter().zip(counts);
                outcomes.map(move |(outcome, count)| (class, outcome, count))
            })
    }

    pub fn total(&self) -> u64 {
        self.0.iter().flatten().sum()
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
