//! How long something took, how often: counts by ranges of time.

use std::time::Duration;

use super::Count;
use crate::clock::Now;

/// Upper ends of the ranges, inclusive, in nanoseconds; what takes longer than the last has a range of its own. 20 µs is less than a
/// node on the same machine takes, 20 s more than requests are held.
pub const BOUNDS: [u64; 19] = {
    const US: u64 = 1_000;
    const MS: u64 = 1_000 * US;
    const S: u64 = 1_000 * MS;
    [
        20 * US,
        50 * US,
        100 * US,
        200 * US,
        500 * US,
        MS,
        2 * MS,
        5 * MS,
        10 * MS,
        20 * MS,
        50 * MS,
        100 * MS,
        200 * MS,
        500 * MS,
        S,
        2 * S,
        5 * S,
        10 * S,
        20 * S,
    ]
};

/// Counts of times. `counts().sum() == count()`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; BOUNDS.len() + 1],
    sum_nanos: u64,
}

impl Histogram {
    /// `times` things took this long.
    pub fn observe(&mut self, took: Duration, times: u64) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let range = BOUNDS.partition_point(|&bound| bound < nanos);
        if let Some(count) = self.counts.get_mut(range) {
            *count += times;
        }
        self.sum_nanos = self.sum_nanos.saturating_add(nanos.saturating_mul(times));
    }

    /// By range, each for itself.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum_nanos)
    }
}

impl Count for Histogram {
    fn add(&mut self, more: Self) {
        self.counts.add(more.counts);
        self.sum_nanos = self.sum_nanos.saturating_add(more.sum_nanos);
    }
}

/// Things in a row that began at the same moment: they are observed at once. What began nobody knows when is not.
#[derive(Clone, Copy, Debug, Default)]
pub struct Batch {
    began: Option<Now>,
    count: u64,
}

impl Batch {
    /// The next one, which began then. False: those before began at another moment, so it [is the first](Self::turn) of others.
    #[inline(always)]
    pub fn takes(&mut self, began: Option<Now>) -> bool {
        let is_same = self.began == began;
        self.count += u64::from(is_same);
        is_same
    }

    /// All that have been taken end now and go `into` a histogram; the first of others began then.
    pub fn turn(&mut self, now: Now, began: Option<Now>, into: impl FnOnce(Duration, u64)) {
        self.flush(now, into);
        *self = Self { began, count: 1 };
    }

    /// All that have been taken end now and go `into` a histogram.
    pub fn flush(&mut self, now: Now, into: impl FnOnce(Duration, u64)) {
        let Self { began, count } = std::mem::take(self);
        if let Some(began) = began {
            into(now.since(began), count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_counted_in_the_first_range_that_reaches_it() {
        let mut all = Histogram::default();
        for (micros, range) in [
            (0, 0),
            (20, 0),
            (21, 1),
            (999, 5),
            (1_000, 5),
            (30_000_000, 19),
        ] {
            let mut one = Histogram::default();
            one.observe(Duration::from_micros(micros), 3);
            let at = one.counts().iter().position(|&count| count == 3);
            assert_eq!(at, Some(range), "{micros} µs");
            assert_eq!(one.sum(), Duration::from_micros(3 * micros));
            all.add(one);
        }
        assert_eq!(all.count(), 18);
    }

    #[test]
    fn what_began_together_is_observed_at_once_and_what_nobody_timed_is_not() {
        let at = |millis| Now::at(Duration::from_millis(millis));
        let (mut batch, mut seen) = (Batch::default(), Vec::new());
        let mut into = |took: Duration, times| seen.push((took.as_millis(), times));
        for began in [Some(1), Some(1), Some(1), Some(2), None, None, Some(3)] {
            let began = began.map(at);
            if !batch.takes(began) {
                batch.turn(at(10), began, &mut into);
            }
        }
        batch.flush(at(10), &mut into);
        batch.flush(at(10), &mut into);
        assert_eq!(seen, [(9, 3), (8, 1), (7, 1)]);
    }
}
