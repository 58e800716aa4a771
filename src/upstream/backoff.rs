//! When a node may be dialled again: doubling, capped, with full jitter so that a fleet does not knock in step.

use std::time::Duration;

use crate::clock::Now;

/// Dial failures of one node in a row.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    failures: u32,
    not_before: Option<Now>,
}

/// The bounds of the wait between two dials.
#[derive(Clone, Copy, Debug)]
pub struct BackoffLimits {
    pub min: Duration,
    pub max: Duration,
}

impl Backoff {
    /// Notes a failure. `random` is uniform over u32.
    pub fn on_failure(&mut self, now: Now, limits: &BackoffLimits, random: u32) {
        let doubled = limits
            .min
            .saturating_mul(1 << self.failures.min(16))
            .min(limits.max);
        self.failures = self.failures.saturating_add(1);
        // Between half and all of the doubled wait.
        let half = doubled / 2;
        let jitter = half.mul_f64(f64::from(random) / f64::from(u32::MAX));
        self.not_before = Some(now + half + jitter);
    }

    pub fn on_success(&mut self) {
        *self = Self::default();
    }

    /// Whether the last dial was none of several failures in a row.
    pub fn is_clear(&self) -> bool {
        self.failures == 0
    }

    /// The moment before which no dial may start, if that is still to come.
    pub fn wait_until(&self, now: Now) -> Option<Now> {
        self.not_before.filter(|&at| at > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_success_clears_them() {
        let limits = BackoffLimits {
            min: Duration::from_millis(50),
            max: Duration::from_secs(1),
        };
        let mut backoff = Backoff::default();
        let mut waits = Vec::new();
        for _ in 0..8 {
            backoff.on_failure(Now::ZERO, &limits, u32::MAX);
            waits.push(
                backoff
                    .wait_until(Now::ZERO)
                    .unwrap()
                    .since(Now::ZERO)
                    .as_millis(),
            );
        }
        assert_eq!(waits, [50, 100, 200, 400, 800, 1000, 1000, 1000]);
        backoff.on_success();
        assert_eq!(backoff.wait_until(Now::ZERO), None);
    }
}
