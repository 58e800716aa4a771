//! The latest of what the log says has happened: every line with a field `event` is one.

use std::fmt;
use std::sync::Arc;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::clock::unix_millis;
use crate::measure::Ring;

/// As many as fit on a screen of any size.
const KEPT_MAX: usize = 200;

/// Something that has happened.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Kept {
    pub at_ms: u64,
    pub kind: String,
    pub text: String,
}

/// Those that are kept. Clones share them.
#[derive(Clone)]
#[expect(
    clippy::disallowed_types,
    reason = "a few events an hour, from any thread; nothing of it on the way of a request"
)]
pub struct Events(Arc<std::sync::Mutex<Ring<Kept>>>);

impl Default for Events {
    #[expect(clippy::disallowed_types, reason = "as above")]
    fn default() -> Self {
        Self(Arc::new(std::sync::Mutex::new(Ring::new(KEPT_MAX))))
    }
}

impl Events {
    /// Oldest first.
    pub fn all(&self) -> Vec<Kept> {
        let kept = self.0.lock();
        kept.map_or_else(
            |_| Vec::new(),
            |kept| kept.iter().map(|(_, event)| event.clone()).collect(),
        )
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Events {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut words = Words::default();
        attributes.record(&mut words);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(Around(words.rest));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if event.metadata().fields().field("event").is_none() {
            return;
        }
        let mut words = Words::default();
        event.record(&mut words);
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(Around(fields)) = span.extensions().get() {
                words.rest.push_str(fields);
            }
        }
        let Words { found, text, rest } = words;
        let kept = Kept {
            at_ms: unix_millis(),
            kind: found,
            text: format!("{text}{rest}"),
        };
        if let Ok(mut all) = self.0.lock() {
            all.push(kept);
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::INFO)
    }
}

/// Fields of a span, as the lines inside of it show them.
struct Around(String);

/// What a line says, put together.
#[derive(Default)]
struct Words {
    /// Its `event`.
    found: String,
    text: String,
    rest: String,
}

impl Visit for Words {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "event" {
            value.clone_into(&mut self.found);
        } else {
            self.record_debug(field, &format_args!("{value}"));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.text = format!("{value:?}");
        } else {
            self.rest.push_str(&format!(" {}={value:?}", field.name()));
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn lines_with_an_event_are_kept_and_no_others() {
        let events = Events::default();
        let subscriber = tracing_subscriber::registry().with(events.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("nothing in particular");
            tracing::warn!(event = "node_down", node = %"a:1", "primary does not answer");
            tracing::error_span!("service", listen = "b:1").in_scope(|| {
                tracing::warn!(event = "node_up", node = %"a:1", "primary answers again");
            });
            tracing::info!(
                event = "hold_over",
                delayed = 3,
                "requests were held for {}",
                2
            );
        });
        let all: Vec<_> = events.all().into_iter().map(|e| (e.kind, e.text)).collect();
        let expected = [
            ("node_down", "primary does not answer node=a:1"),
            ("node_up", "primary answers again node=a:1 listen=b:1"),
            ("hold_over", "requests were held for 2 delayed=3"),
        ];
        assert_eq!(all, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }
}
