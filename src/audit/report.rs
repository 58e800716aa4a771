//! What an audit has found, for people and for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::patterns::{Pattern, Seen};
use super::propose::{Known, propose};
use super::shapes::Named;
use super::{Audit, Finding, RowKey};

/// All of it, the most frequent first.
#[derive(Clone, Debug, Serialize)]
pub struct AuditReport {
    /// Requests that were looked at.
    pub requests: u64,
    /// Keys in them, each as often as it was named.
    pub keys_named: u64,
    /// Of each finding, how many requests.
    pub totals: BTreeMap<&'static str, u64>,
    pub findings: Vec<FindingRow>,
    /// Requests with a finding that is not in a row of its own, because there were too many.
    pub findings_other: u64,
    pub proposal: ProposalRow,
    /// The most named ones.
    pub patterns: Vec<PatternRow>,
    /// Keys of patterns that were not counted, because there were too many.
    pub patterns_other: u64,
    /// The cluster that was thought of: `--keep-together` and `--databases` as they are set.
    pub assumed: Assumed,
}

/// Requests of one command with keys of the same patterns.
#[derive(Clone, Debug, Serialize)]
pub struct FindingRow {
    pub finding: &'static str,
    pub effect: &'static str,
    pub command: &'static str,
    pub patterns: Vec<String>,
    pub requests: u64,
    /// Keys of the first one.
    pub example: Vec<String>,
}

/// What would help.
#[derive(Clone, Debug, Serialize)]
pub struct ProposalRow {
    /// For `--keep-together`, in this order, in front of those that there are.
    pub rules: Vec<String>,
    pub groups: Vec<GroupRow>,
    /// Patterns that would be in several slots all the same.
    pub remaining: Vec<Vec<String>>,
    /// Requests with keys in several slots of which not all keys are remembered: the rules may lack some.
    pub unknown: u64,
    /// Requests that a cluster would refuse whatever the rules.
    pub refused_anyway: u64,
}

/// Keys that would be on one shard.
#[derive(Clone, Debug, Serialize)]
pub struct GroupRow {
    pub rules: Vec<String>,
    pub patterns: Vec<String>,
    pub keys_named: u64,
    /// Of all keys that were named. `0 <= share <= 1`
    pub share: f64,
}

#[derive(Clone, Debug, Serialize)]
pub struct PatternRow {
    pub pattern: String,
    pub keys_named: u64,
    pub example: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct Assumed {
    pub databases: u32,
    pub keep_together: Vec<String>,
}

impl AuditReport {
    pub(super) fn of(audit: &Audit) -> Self {
        let patterns = audit.patterns.all();
        Self {
            requests: audit.requests,
            keys_named: audit.keys,
            totals: (audit.counts())
                .map(|(finding, count)| (finding.name(), count))
                .collect(),
            findings: findings(audit),
            findings_other: audit.rows_missing,
            proposal: proposal(audit, &patterns),
            patterns: most_named(&patterns),
            patterns_other: audit.patterns.others(),
            assumed: Assumed {
                databases: audit.cluster.databases,
                keep_together: (audit.cluster.rules.iter())
                    .map(|rule| format!("{}={}", text(&rule.pattern), tag(&rule.tag)))
                    .collect(),
            },
        }
    }

    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// For people.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        self.write_text(&mut out).map(|()| out).unwrap_or_default()
    }

    /// In one line.
    pub fn summary(&self) -> String {
        let totals = self.totals.iter().filter(|(_, count)| **count > 0);
        let mut totals: Vec<String> = totals
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        if totals.is_empty() {
            totals.push("nothing that a cluster would do otherwise".to_owned());
        }
        let rules = match self.proposal.rules.as_slice() {
            [] => String::new(),
            rules => format!("; would help: --keep-together {}", quoted(rules)),
        };
        let totals = totals.join(", ");
        format!("audit of {} requests: {totals}{rules}", self.requests)
    }

    fn write_text(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "{} requests, {} keys named.",
            self.requests, self.keys_named
        )?;
        if self.findings.is_empty() {
            writeln!(
                out,
                "\nA cluster would serve all of them as this server does."
            )?;
        }
        for finding in Finding::ALL {
            let total = self.totals.get(finding.name()).copied().unwrap_or(0);
            if total == 0 {
                continue;
            }
            writeln!(out, "\n{finding}: {total}\n  {}", finding.about())?;
            let rows = self.findings.iter();
            for row in rows.filter(|row| row.finding == finding.name()) {
                writeln!(out, "  {:>10}  {}", row.requests, row.shown())?;
            }
        }
        if self.findings_other > 0 {
            let count = self.findings_other;
            writeln!(
                out,
                "\n{count} requests more are in no row: there were too many kinds."
            )?;
        }
        self.write_proposal(out)
    }

    fn write_proposal(&self, out: &mut String) -> std::fmt::Result {
        let proposal = &self.proposal;
        if !proposal.rules.is_empty() {
            writeln!(
                out,
                "\nWith these rules what is in several slots now would share one:\n"
            )?;
            for rule in &proposal.rules {
                writeln!(out, "  --keep-together '{rule}'")?;
            }
            writeln!(out, "\nWhat would be in one slot, and so on one shard:\n")?;
        }
        for group in &proposal.groups {
            let (rules, percent) = (group.rules.join(" "), group.share * 100.0);
            let patterns = group.patterns.join(" ");
            writeln!(
                out,
                "  {percent:>5.1} % of the keys named  {rules}\n           for {patterns}"
            )?;
        }
        for patterns in &proposal.remaining {
            let patterns = patterns.join(" ");
            writeln!(out, "\nNo rule was found for {patterns}.")?;
        }
        if proposal.unknown > 0 {
            let count = proposal.unknown;
            writeln!(
                out,
                "\nOf {count} requests not all keys are remembered: the rules may lack some."
            )?;
        }
        if proposal.refused_anyway > 0 {
            let count = proposal.refused_anyway;
            writeln!(
                out,
                "\nNo rule helps {count} requests that a cluster would refuse."
            )?;
        }
        Ok(())
    }
}

impl FindingRow {
    fn shown(&self) -> String {
        let example = match self.example.as_slice() {
            [] => String::new(),
            keys => format!("  (first: {})", keys.join(" ")),
        };
        let patterns = self.patterns.iter().map(|pattern| format!(" {pattern}"));
        format!("{}{}{example}", self.command, patterns.collect::<String>())
    }
}

fn findings(audit: &Audit) -> Vec<FindingRow> {
    let mut rows: BTreeMap<RowKey, (u64, &[Named])> = BTreeMap::new();
    for ((finding, command, patterns), found) in &audit.rows {
        let current = patterns
            .iter()
            .map(|pattern| audit.patterns.current(pattern));
        let mut current: Vec<Pattern> = current.collect();
        current.sort_unstable();
        current.dedup();
        let place = rows.entry((*finding, command, current));
        let row = place.or_insert((0, &found.example));
        row.0 += found.requests;
    }
    let mut findings: Vec<FindingRow> = rows
        .into_iter()
        .map(
            |((finding, command, patterns), (requests, example))| FindingRow {
                finding: finding.name(),
                effect: finding.effect().name(),
                command,
                patterns: patterns.iter().map(|pattern| text(pattern)).collect(),
                requests,
                example: example.iter().map(|key| shortened(&key.name)).collect(),
            },
        )
        .collect();
    findings.sort_by_key(|row| std::cmp::Reverse(row.requests));
    findings
}

fn proposal(audit: &Audit, patterns: &BTreeMap<Pattern, Seen>) -> ProposalRow {
    let shapes = audit.shapes.all(&audit.patterns);
    let known = Known {
        patterns,
        shapes: &shapes,
        rules: &audit.cluster.rules,
        databases: audit.cluster.databases,
    };
    let proposal = propose(&known);
    let texts = |patterns: &[Pattern]| patterns.iter().map(|p| text(p)).collect();
    let mut groups: Vec<GroupRow> = (proposal.groups.iter())
        .map(|group| GroupRow {
            rules: group.rules.clone(),
            patterns: texts(&group.patterns),
            keys_named: group.named,
            share: share(group.named, audit.keys),
        })
        .collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.keys_named));
    ProposalRow {
        rules: proposal.rules().into_iter().map(str::to_owned).collect(),
        groups,
        remaining: proposal.remaining.iter().map(|p| texts(p)).collect(),
        unknown: audit.shapes.unknown,
        refused_anyway: audit.refused_anyway,
    }
}

fn most_named(patterns: &BTreeMap<Pattern, Seen>) -> Vec<PatternRow> {
    let mut rows: Vec<(&Pattern, &Seen)> = patterns.iter().collect();
    rows.sort_by_key(|(_, seen)| std::cmp::Reverse(seen.named));
    let rows = rows.into_iter().take(PATTERNS_SHOWN_MAX);
    let row = |(pattern, seen): (&Pattern, &Seen)| PatternRow {
        pattern: text(pattern),
        keys_named: seen.named,
        example: shortened(&seen.example),
    };
    rows.map(row).collect()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a share for people, not a count"
)]
fn share(part: u64, all: u64) -> f64 {
    if all == 0 {
        0.0
    } else {
        part as f64 / all as f64
    }
}

fn quoted(rules: &[String]) -> String {
    let quoted = rules.iter().map(|rule| format!("'{rule}'"));
    quoted.collect::<Vec<_>>().join(" --keep-together ")
}

fn shortened(name: &[u8]) -> String {
    match name.get(..NAME_BYTES_SHOWN) {
        Some(start) if start.len() < name.len() => format!("{}…", text(start)),
        Some(_) | None => text(name),
    }
}

/// A tag without its braces.
fn tag(tag: &[u8]) -> String {
    text(tag).trim_matches(['{', '}']).to_owned()
}

/// On one line, whatever is in it.
fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let plain = |c: char| if c.is_control() { '?' } else { c };
    text.chars().map(plain).collect()
}

const PATTERNS_SHOWN_MAX: usize = 100;
const NAME_BYTES_SHOWN: usize = 64;
