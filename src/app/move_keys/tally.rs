//! What has been done so far, and how people are told. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::plan::Way;

/// Counts of keys, over all runs that share a state file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tally {
    pub(super) moved: u64,
    /// As the nodes spell values for `DUMP`.
    pub(super) bytes: u64,
    /// Had their stored name, or were at the target with the same value.
    pub(super) there: u64,
    /// No rule fits them.
    pub(super) free: u64,
    /// Were gone, by themselves or by somebody else, before they could be moved.
    pub(super) vanished: u64,
    /// How often one had changed while it was moved, and was moved again.
    pub(super) again: u64,
    /// Compared with what they were made from (`--verify`).
    pub(super) verified: u64,
    /// Another value has the name.
    pub(super) conflicts: Named,
    /// Did not become what they were.
    pub(super) different: Named,
    /// Could not be moved, and why.
    pub(super) failed: Named,
    /// Of each rule, for a dry run.
    pub(super) rules: BTreeMap<String, Group>,
}

/// A count, and the first of what was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Named {
    pub(super) count: u64,
    names: Vec<String>,
}

/// Keys that one rule moves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Group {
    pub(super) count: u64,
    examples: Vec<String>,
}

impl Named {
    pub(super) fn add(&mut self, name: &[u8], more: &str) {
        self.count += 1;
        if self.names.len() < NAMES_MAX {
            self.names.push(format!("{}{more}", name.escape_ascii()));
        }
    }

    fn tell(&self, what: &str, text: &mut String) {
        if self.count > 0 {
            text.push_str(&format!("{what:<14}{}\n", self.count));
            for name in &self.names {
                text.push_str(&format!("              {name}\n"));
            }
            if self.count > NAMES_MAX as u64 {
                text.push_str("              …\n");
            }
        }
    }
}

impl Tally {
    /// For a dry run: this rule, or none, would move it.
    pub(super) fn would_move(&mut self, rule: String, name: &[u8], stored: &[u8]) {
        let group = self.rules.entry(rule).or_default();
        group.count += 1;
        if group.examples.len() < EXAMPLES_MAX {
            let (name, stored) = (name.escape_ascii(), stored.escape_ascii());
            group.examples.push(format!("{name} → {stored}"));
        }
    }

    /// Whether everything is as it should be.
    pub(super) fn is_good(&self) -> bool {
        [&self.conflicts, &self.different, &self.failed]
            .iter()
            .all(|named| named.count == 0)
    }

    /// The end of a run, in lines.
    pub(super) fn report(&self, way: Way, took: Duration) -> String {
        let Self {
            moved,
            bytes,
            there,
            free,
            vanished,
            again,
            verified,
            ..
        } = self;
        let verb = match way {
            Way::Rename => "renamed",
            Way::Copy => "copied",
        };
        let mut text = format!("{verb:<14}{moved} ({})\n", size(*bytes));
        let mut line = |what: &str, count: u64| {
            if count > 0 {
                text.push_str(&format!("{what:<14}{count}\n"));
            }
        };
        line("there already", *there);
        line("no rule", *free);
        line("vanished", *vanished);
        line("moved again", *again);
        line("verified", *verified);
        self.conflicts.tell("conflicts", &mut text);
        self.different.tell("different", &mut text);
        self.failed.tell("failed", &mut text);
        text.push_str(&format!("{:<14}{:.1} s\n", "time", took.as_secs_f64()));
        if self.conflicts.count > 0 {
            text.push_str("Of a conflict both stay: what stands under the stored name, and what was to be moved there.\n");
        }
        text
    }

    /// The end of a dry run, in lines.
    pub(super) fn plan(&self) -> String {
        let mut text = String::new();
        for (rule, group) in &self.rules {
            text.push_str(&format!("{rule}: {} keys would be moved\n", group.count));
            for example in &group.examples {
                text.push_str(&format!("    {example}\n"));
            }
        }
        if self.rules.is_empty() {
            text.push_str("nothing would be moved\n");
        }
        for (what, count) in [
            ("have their stored name", self.there),
            ("fit no rule", self.free),
        ] {
            if count > 0 {
                text.push_str(&format!("{count} keys {what}\n"));
            }
        }
        text
    }
}

/// For people.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..=9_999 => format!("{bytes} bytes"),
        10_000..=9_999_999 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}

/// Of conflicts and the like.
const NAMES_MAX: usize = 10;

/// Of each rule, in a dry run.
const EXAMPLES_MAX: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_ten_conflicts_are_named() {
        let mut tally = Tally::default();
        assert!(tally.is_good());
        for number in 0..12 {
            tally.conflicts.add(format!("q:\n{number}").as_bytes(), "");
        }
        assert!(!tally.is_good());
        let report = tally.report(Way::Rename, Duration::from_millis(1234));
        assert!(report.contains("conflicts     12\n"), "{report}");
        assert!(
            report.contains("q:\\n9\n") && !report.contains("q:\\n10"),
            "{report}"
        );
        assert!(report.contains("time          1.2 s\n"), "{report}");
    }

    #[test]
    fn a_dry_run_tells_of_each_rule() {
        let mut tally = Tally::default();
        assert_eq!(tally.plan(), "nothing would be moved\n");
        for number in 0..5 {
            let name = format!("q:{number}");
            tally.would_move(
                "q:*".to_owned(),
                name.as_bytes(),
                format!("{{q}}{name}").as_bytes(),
            );
        }
        tally.free = 2;
        let plan = tally.plan();
        assert!(
            plan.starts_with("q:*: 5 keys would be moved\n    q:0 → {q}q:0\n"),
            "{plan}"
        );
        assert!(
            plan.ends_with("q:2 → {q}q:2\n2 keys fit no rule\n"),
            "{plan}"
        );
    }
}
