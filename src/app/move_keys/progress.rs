//! Says how far it has come: a bar where somebody looks, a line now and then where nobody does.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::tally::{Tally, size};
use crate::clock::{Now, now};

#[derive(Debug)]
pub(super) struct Progress {
    looked_at: u64,
    /// What the nodes said that they have. What is moved may be counted twice.
    total: u64,
    started_at: Now,
    told_at: Now,
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(super) fn new() -> Self {
        let style = ProgressStyle::with_template(BAR).ok();
        let style = style.filter(|_| io::stderr().is_terminal());
        let now = now();
        Self {
            looked_at: 0,
            total: 0,
            started_at: now,
            told_at: now,
            bar: style.map(|style| ProgressBar::new(0).with_style(style)),
        }
    }

    /// So many keys are to be looked at, beside those that were known of.
    pub(super) fn expect(&mut self, keys: u64) {
        self.total += keys;
        if let Some(bar) = &self.bar {
            bar.set_length(self.total);
        }
    }

    pub(super) fn look(&mut self, keys: usize, tally: &Tally) {
        self.looked_at += keys as u64;
        let text = format!("{} moved, {}", tally.moved, size(tally.bytes));
        match &self.bar {
            Some(bar) => {
                bar.set_position(self.looked_at.min(self.total));
                bar.set_message(text);
            }
            None if now().since(self.told_at) >= TOLD_EVERY => {
                self.told_at = now();
                let (at, total) = (self.looked_at, self.total);
                self.say(&format!("{at} of about {total} keys looked at, {text}"));
            }
            None => {}
        }
    }

    /// A line that stays.
    pub(super) fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => eprintln!("slotcar: {text}"),
        }
    }

    /// The bar goes away; returns how long it took.
    pub(super) fn end(&self) -> Duration {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        now().since(self.started_at)
    }
}

const BAR: &str = "{wide_bar} {pos}/{len} keys, {msg}, {eta} left";
const TOLD_EVERY: Duration = Duration::from_secs(10);
