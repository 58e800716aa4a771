//! The only place that reads the clock. Everything else is told the time as a [`Now`].

use std::fmt;
use std::num::NonZeroU64;
use std::ops::{Add, Sub};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A moment: nanoseconds since this process first asked for one. Monotonic; lasts 584 years. An `Option` of it takes no more room:
/// the first moment is 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Now(NonZeroU64);

impl Now {
    /// The moment of the first reading.
    pub const ZERO: Self = Self(NonZeroU64::MIN);

    /// A moment by its distance from the first reading. For tests and simulations.
    pub fn at(since_start: Duration) -> Self {
        Self::from_nanos(nanos(since_start))
    }

    const fn from_nanos(since_start: u64) -> Self {
        Self(NonZeroU64::MIN.saturating_add(since_start))
    }

    /// Time since the first reading.
    pub const fn since_start(self) -> Duration {
        self.since(Self::ZERO)
    }

    /// The moment that was `by` earlier, or the first.
    pub fn earlier(self, by: Duration) -> Self {
        let nanos = self.0.get().saturating_sub(nanos(by));
        Self(NonZeroU64::new(nanos).unwrap_or(NonZeroU64::MIN))
    }

    /// Time from `earlier` to this moment; zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.get().saturating_sub(earlier.0.get()))
    }
}

impl Default for Now {
    fn default() -> Self {
        Self::ZERO
    }
}

fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

impl Add<Duration> for Now {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(nanos(rhs)))
    }
}

impl Sub<Duration> for Now {
    type Output = Self;
    fn sub(self, rhs: Duration) -> Self {
        self.earlier(rhs)
    }
}

impl Sub for Now {
    type Output = Duration;
    fn sub(self, rhs: Self) -> Duration {
        self.since(rhs)
    }
}

impl fmt::Debug for Now {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.since_start())
    }
}

/// Reads the clock.
#[expect(clippy::disallowed_methods, reason = "this is the place")]
pub fn now() -> Now {
    static START: OnceLock<Instant> = OnceLock::new();
    Now::at(START.get_or_init(Instant::now).elapsed())
}

/// Wall-clock time in Unix milliseconds, for what people read (`CLIENT LIST`, logs).
#[expect(clippy::disallowed_methods, reason = "this is the place")]
pub fn unix_millis() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}
