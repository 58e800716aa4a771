//! Numbers that differ from process to process, for jitter and choices. Not for secrets.
//!
//! The seed is given, so that a simulation can repeat itself.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// A xorshift64* generator. Source: Vigna, "An experimental exploration of Marsaglia's xorshift generators".
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        // The state must not be zero.
        Self(seed.wrapping_mul(GOLDEN) | 1)
    }

    /// Seeded by the operating system, through the standard library's hash keys.
    pub(super) fn from_system() -> Self {
        Self::new(RandomState::new().hash_one(GOLDEN))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// `0 <= below(n) < n`, or 0 for `n == 0`.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next().checked_rem(n).unwrap_or(0)
    }

    /// A time from `least` to `most`, in steps of a microsecond.
    pub(super) fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let width = u64::try_from(most.saturating_sub(least).as_micros()).unwrap_or(u64::MAX - 1);
        least + Duration::from_micros(self.below(width + 1))
    }

    /// `time` ± `percent`.
    pub(super) fn around(&mut self, time: Duration, percent: u32) -> Duration {
        let width = time * percent / 100;
        self.between(time.saturating_sub(width), time + width)
    }

    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            let other = usize::try_from(self.below(end as u64 + 1)).unwrap_or(end);
            items.swap(end, other);
        }
    }
}

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_within_their_bounds_and_differ() {
        let mut random = Random::new(0);
        let (least, most) = (Duration::from_millis(100), Duration::from_millis(200));
        let times: Vec<Duration> = (0..1000).map(|_| random.between(least, most)).collect();
        assert!(times.iter().all(|time| (least..=most).contains(time)));
        assert!(times.iter().any(|time| *time < Duration::from_millis(110)));
        assert!(times.iter().any(|time| *time > Duration::from_millis(190)));
        assert_eq!(random.between(most, least), most);
        assert_eq!(random.below(0), 0);
    }

    #[test]
    fn shuffling_keeps_everything_and_moves_something() {
        let mut items: Vec<u32> = (0..50).collect();
        Random::new(1).shuffle(&mut items);
        assert_ne!(items, (0..50).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..50).collect::<Vec<_>>());
    }
}
