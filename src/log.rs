//! How many lines the log may have. Each place in the code that writes some may write so many at once, and then one a second.
//!
//! Whatever is broken, and however often, the log stays readable and nobody waits long for it. What is left out is counted,
//! and, if it was for this limit, told in a line of its own ([`Limit::watch`]). What a line says is up to whoever writes it. Bounded: one entry for each place
//! in the code that has written something, however different its lines are.

mod lines;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata};
use tracing_subscriber::layer::{Context, Filter};

pub use self::lines::Lines;
use crate::clock::{self, Now};

/// A failover of a large cluster, of which each node says something, should be told as a whole.
pub const AT_ONCE: u32 = 20;

/// From then on one line in this time.
pub const EACH: Duration = Duration::from_secs(1);

/// How often it is told how many were left out, while it goes on.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// When it is looked for that, once something was left out.
const TELL_AFTER: Duration = Duration::from_secs(1);

/// Of what an omitted line says.
const LIKE_CHARS_MAX: usize = 200;

/// The limit of a process. Clones share it; as a filter it is one of what writes the lines.
#[derive(Clone, Default)]
pub struct Limit(Arc<Shared>);

#[derive(Default)]
struct Shared {
    #[expect(
        clippy::disallowed_types,
        reason = "only who writes a line of the log takes it, and the log has a lock itself"
    )]
    places: std::sync::Mutex<HashMap<Identifier, Place>>,
    left_out: AtomicU64,
    /// Something is to be told.
    news: Notify,
}

/// A place in the code, and what it has written.
struct Place {
    level: Level,
    bucket: Bucket,
    untold: u64,
    /// What the first of those says.
    like: String,
    told: Option<Now>,
}

/// What may be written, in lines. Full it holds [`AT_ONCE`].
#[derive(Debug)]
struct Bucket {
    lines: u32,
    /// When it last got some.
    since: Now,
}

/// A line about lines.
#[derive(Debug, PartialEq, Eq)]
struct Omitted {
    level: Level,
    count: u64,
    like: String,
}

impl Limit {
    /// Lines that were left out since the process began.
    pub fn left_out(&self) -> u64 {
        self.0.left_out.load(Ordering::Relaxed)
    }

    /// One that could have been written was not.
    fn count_left_out(&self) {
        self.0.left_out.fetch_add(1, Ordering::Relaxed);
    }

    /// Tells again and again what was left out. Never ends.
    pub async fn watch(self) {
        loop {
            self.0.news.notified().await;
            while self.is_untold() {
                tokio::time::sleep(TELL_AFTER).await;
                self.tell(clock::now());
            }
        }
    }

    /// Tells what has not been told for a while.
    fn tell(&self, now: Now) {
        let is_due = |place: &Place| place.told.is_none_or(|told| now.since(told) >= TELL_EVERY);
        self.take_untold(now, is_due)
            .into_iter()
            .for_each(Omitted::tell);
    }

    /// Tells everything: the process is about to end.
    pub fn tell_rest(&self) {
        let rest = self.take_untold(clock::now(), |_| true);
        rest.into_iter().for_each(Omitted::tell);
    }

    fn is_untold(&self) -> bool {
        let places = self.0.places.lock();
        places.is_ok_and(|places| places.values().any(|place| place.untold > 0))
    }

    /// Written later: a line takes the lock itself.
    fn take_untold(&self, now: Now, is_wanted: impl Fn(&Place) -> bool) -> Vec<Omitted> {
        let Ok(mut places) = self.0.places.lock() else {
            return Vec::new();
        };
        let wanted = places
            .values_mut()
            .filter(|place| place.untold > 0 && is_wanted(place));
        wanted.map(|place| place.take_untold(now)).collect()
    }

    /// Whether this line may be written.
    fn admits(&self, now: Now, event: &Event<'_>) -> bool {
        let metadata = event.metadata();
        // What tells of the others; there are few of them.
        if metadata.target() == module_path!() {
            return true;
        }
        let Ok(mut places) = self.0.places.lock() else {
            return true;
        };
        let place = places
            .entry(metadata.callsite())
            .or_insert_with(|| Place::new(now, *metadata.level()));
        if place.bucket.take(now) {
            return true;
        }
        if place.untold == 0 {
            event.record(&mut Message(&mut place.like));
        }
        place.untold += 1;
        drop(places);
        self.count_left_out();
        self.0.news.notify_one();
        false
    }
}

impl<S> Filter<S> for Limit {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        self.admits(clock::now(), event)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::TRACE)
    }
}

impl Place {
    fn new(now: Now, level: Level) -> Self {
        Self {
            level,
            bucket: Bucket::full(now),
            untold: 0,
            like: String::new(),
            told: None,
        }
    }

    fn take_untold(&mut self, now: Now) -> Omitted {
        self.told = Some(now);
        Omitted {
            level: self.level,
            count: std::mem::take(&mut self.untold),
            like: std::mem::take(&mut self.like),
        }
    }
}

impl Bucket {
    fn full(now: Now) -> Self {
        Self {
            lines: AT_ONCE,
            since: now,
        }
    }

    /// Takes one line, if there is one.
    fn take(&mut self, now: Now) -> bool {
        let each = EACH.as_nanos();
        let waited = now.since(self.since).as_nanos();
        let came = u32::try_from(waited / each).unwrap_or(u32::MAX);
        self.lines = self.lines.saturating_add(came);
        if self.lines >= AT_ONCE {
            *self = Self::full(now);
        } else {
            self.since = self.since + EACH * came;
        }
        let one = self.lines.checked_sub(1);
        self.lines = one.unwrap_or(0);
        one.is_some()
    }
}

impl Omitted {
    /// As loud as what it is about.
    fn tell(self) {
        const TEXT: &str = "lines were left out: too many of the same kind";
        let Self { level, count, like } = self;
        match level {
            Level::ERROR => tracing::error!(left_out = count, like, "{TEXT}"),
            Level::WARN => tracing::warn!(left_out = count, like, "{TEXT}"),
            Level::INFO => tracing::info!(left_out = count, like, "{TEXT}"),
            Level::DEBUG | Level::TRACE => tracing::debug!(left_out = count, like, "{TEXT}"),
        }
    }
}

/// The words of a line, without its other fields.
struct Message<'a>(&'a mut String);

impl Visit for Message<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            *self.0 = format!("{value:?}");
            let end = self.0.char_indices().nth(LIKE_CHARS_MAX);
            self.0.truncate(end.map_or(self.0.len(), |(at, _)| at));
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::Layer;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    fn seconds(seconds: u64) -> Now {
        Now::at(Duration::from_secs(seconds))
    }

    #[test]
    fn so_many_at_once_and_then_one_a_second() {
        let mut bucket = Bucket::full(seconds(100));
        let mut taken = |now| (0..1000).filter(|_| bucket.take(now)).count();
        for (now, expected) in [
            (100, 20),
            (100, 0),
            (101, 1),
            (104, 3),
            (104, 0),
            (110, 6),
            (129, 19),
            (1000, 20),
            (1001, 1),
        ] {
            assert_eq!(taken(seconds(now)), expected, "at {now} s");
        }
    }

    #[test]
    fn what_comes_between_two_seconds_is_not_lost() {
        let mut bucket = Bucket::full(Now::ZERO);
        let at = |step: u64| Now::at(Duration::from_millis(step * 300));
        let taken = (0..=1000).filter(|step| bucket.take(at(*step))).count();
        // One for each of the 300 seconds.
        assert!((319..=321).contains(&taken), "{taken}");
    }

    /// Counts the lines that come through, and keeps what those about others say.
    #[derive(Clone, Default)]
    struct Written(Arc<AtomicU64>);

    impl<S: tracing::Subscriber> Layer<S> for Written {
        fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_flood_is_cut_at_its_place_and_nowhere_else_and_what_is_cut_is_told() {
        let (limit, written) = (Limit::default(), Written::default());
        let layer = written.clone().with_filter(limit.clone());
        let count = || written.0.load(Ordering::Relaxed);
        let began = clock::now();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            for client in 0..10_000 {
                tracing::warn!(client, "a client was refused, number {client}");
            }
            tracing::info!("something else");
            let seconds = clock::now().since(began).as_secs() + 1;
            assert!((21..=21 + seconds).contains(&count()), "{}", count());
            assert_eq!(count() + limit.left_out(), 10_001);
            let told = limit.take_untold(clock::now(), |_| true);
            let like = "a client was refused, number 20".to_owned();
            let (level, count) = (Level::WARN, limit.left_out());
            assert_eq!(told, [Omitted { level, count, like }]);
        });
        assert!(!limit.is_untold());
    }

    #[test]
    fn what_is_left_out_is_told_at_once_and_then_now_and_then() {
        let (limit, written) = (Limit::default(), Written::default());
        let layer = written.clone().with_filter(limit.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            // How many lines tell of others, after some more were left out.
            let told_at = |now| {
                (0..2 * AT_ONCE).for_each(|_| tracing::debug!("again"));
                let before = written.0.load(Ordering::Relaxed);
                limit.tell(seconds(now));
                written.0.load(Ordering::Relaxed) - before
            };
            for (now, expected) in [(1000, 1), (1001, 0), (1009, 0), (1010, 1), (1011, 0)] {
                assert_eq!(told_at(now), expected, "at {now} s");
            }
            assert!(limit.is_untold());
            limit.tell_rest();
            assert!(!limit.is_untold());
        });
    }

    #[test]
    fn of_what_was_left_out_a_piece_is_shown() {
        let limit = Limit::default();
        let layer = Written::default().with_filter(limit.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let long = "é".repeat(10_000);
            (0..=AT_ONCE).for_each(|_| tracing::info!("{long}"));
        });
        let told = limit.take_untold(Now::ZERO, |_| true);
        assert_eq!(told[0].like, "é".repeat(LIKE_CHARS_MAX));
    }
}
