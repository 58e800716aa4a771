//! Rules for `--keep-together` under which what was seen would work, as few as there can be of it, and what they cost. They are tried on
//! the keys that were seen, by the code that will use them.
//!
//! Patterns that some request had in several slots make a group ([`Groups`]). Rules are made of each ([`rules_of`]), and tried: where keys that were together
//! are not any more, for one of them has got a rule, groups become one. So it ends, at the latest with one rule for all keys.

use std::collections::{BTreeMap, BTreeSet};

use super::patterns::{Pattern, Seen};
use super::shapes::Shape;
use crate::command::together::Rule;
use crate::route::glob;
use crate::route::naming::Naming;

/// What is known: all patterns, and which of them are needed together.
#[derive(Debug)]
pub struct Known<'a> {
    pub patterns: &'a BTreeMap<Pattern, Seen>,
    pub shapes: &'a BTreeMap<Vec<Pattern>, Shape>,
    /// The rules that there are already: they come behind the new ones.
    pub rules: &'a [Rule],
    pub databases: u32,
}

/// Rules, by groups of patterns that are needed together.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Proposal {
    pub groups: Vec<Group>,
    /// What would be in several slots all the same.
    pub remaining: Vec<Vec<Pattern>>,
}

/// Rules with one tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// As `--keep-together` takes them.
    pub rules: Vec<String>,
    pub patterns: Vec<Pattern>,
    /// How often requests have named keys that these rules fit.
    pub named: u64,
}

/// What to keep together.
pub fn propose(known: &Known<'_>) -> Proposal {
    let mut groups = Groups::default();
    for (patterns, shape) in known.shapes {
        if shape.conflicts > 0 {
            groups.join(patterns);
        }
    }
    if groups.is_empty() {
        return Proposal::default();
    }
    for _ in 0..ROUNDS_MAX {
        let made = made_of(known, &groups);
        let naming = made.naming(known);
        let broken = broken(known, naming.as_ref());
        if broken.is_empty() || !join_all(known, &mut groups, &broken, naming.as_ref(), &made) {
            return made.proposal(known, broken);
        }
    }
    let whole = Made::whole(known);
    let broken = broken(known, whole.naming(known).as_ref());
    whole.proposal(known, broken)
}

/// The shapes whose keys are not together.
fn broken(known: &Known<'_>, naming: Option<&Naming>) -> Vec<Vec<Pattern>> {
    let shapes = known.shapes.iter();
    shapes
        .filter(|(_, shape)| !shape.holds(naming))
        .map(|(patterns, _)| patterns.clone())
        .collect()
}

/// Joins what belongs together after all; false: it does already.
fn join_all(
    known: &Known<'_>,
    groups: &mut Groups,
    broken: &[Vec<Pattern>],
    naming: Option<&Naming>,
    made: &Made,
) -> bool {
    let before = (groups.len(), groups.count());
    for patterns in broken {
        groups.join(patterns);
        // Another group's rule may fit keys of this one.
        let shape = known.shapes.get(patterns);
        let keys = shape.iter().flat_map(|shape| shape.examples.iter().flatten());
        for key in keys {
            let rule = naming.and_then(|naming| naming.rule_of(&key.name));
            let taker = rule.and_then(|rule| made.group_with(&rule.tag));
            let pair = taker.and_then(|taker| taker.first()).zip(patterns.first());
            if let Some((one, other)) = pair {
                groups.join(&[one.clone(), other.clone()]);
            }
        }
    }
    (groups.len(), groups.count()) != before
}

/// Sets of patterns that grow together.
#[derive(Debug, Default)]
struct Groups {
    /// Of each pattern the number of its group.
    of: BTreeMap<Pattern, usize>,
    made: usize,
}

impl Groups {
    fn join(&mut self, patterns: &[Pattern]) {
        let known = patterns.iter().filter_map(|pattern| self.of.get(pattern));
        let old: BTreeSet<usize> = known.copied().collect();
        let number = old.first().copied().unwrap_or(self.made);
        self.made += usize::from(old.is_empty());
        for group in self.of.values_mut().filter(|group| old.contains(group)) {
            *group = number;
        }
        for pattern in patterns {
            self.of.insert(pattern.clone(), number);
        }
    }

    fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// How many patterns.
    fn len(&self) -> usize {
        self.of.len()
    }

    /// How many groups.
    fn count(&self) -> usize {
        self.of.values().collect::<BTreeSet<_>>().len()
    }

    fn all(&self) -> Vec<Vec<Pattern>> {
        let mut all: BTreeMap<usize, Vec<Pattern>> = BTreeMap::new();
        for (pattern, number) in &self.of {
            all.entry(*number).or_default().push(pattern.clone());
        }
        all.into_values().collect()
    }
}

/// Rules that have been made of groups.
#[derive(Debug)]
struct Made {
    /// Of each group its patterns, its tag, and the patterns of its rules.
    groups: Vec<(Vec<Pattern>, String, Vec<Pattern>)>,
}

fn made_of(known: &Known<'_>, groups: &Groups) -> Made {
    let mut tags: BTreeSet<String> = known.rules.iter().map(|rule| bare_tag(&rule.tag)).collect();
    let groups = groups.all().into_iter().map(|patterns| {
        let rules = rules_of(known, &patterns);
        let first = rules.first().map(|rule| text(rule)).unwrap_or_default();
        let own = Rule::own_tag(&first);
        let tag = (1..).map(|n| match n {
            1 => own.to_owned(),
            n => format!("{own}-{n}"),
        });
        let tag = tag.into_iter().find(|tag| !tags.contains(tag));
        let tag = tag.unwrap_or_default();
        tags.insert(tag.clone());
        (patterns, tag, rules)
    });
    Made {
        groups: groups.collect(),
    }
}

impl Made {
    /// One rule for all keys.
    fn whole(known: &Known<'_>) -> Self {
        let all = known.patterns.keys().cloned().collect();
        Self {
            groups: vec![(all, "all".to_owned(), vec![EVERYTHING.into()])],
        }
    }

    /// All rules in the order in which they have to be given: those that fit less come first.
    fn rules(&self) -> Vec<(&Pattern, &str)> {
        let groups = self.groups.iter();
        let mut rules: Vec<(&Pattern, &str)> = groups
            .flat_map(|(_, tag, rules)| rules.iter().map(move |rule| (rule, tag.as_str())))
            .collect();
        rules.sort_by_key(|(rule, _)| (std::cmp::Reverse(literals(rule)), *rule));
        rules
    }

    fn naming(&self, known: &Known<'_>) -> Option<Naming> {
        let new = self.rules().into_iter();
        let new = new.filter_map(|(rule, tag)| Rule::parse(&spelled(rule, tag)).ok());
        let all: Vec<Rule> = new.chain(known.rules.iter().cloned()).collect();
        Naming::new(&all, known.databases)
    }

    /// The patterns of the group with this tag.
    fn group_with(&self, tag: &[u8]) -> Option<&Vec<Pattern>> {
        let tag = bare_tag(tag);
        let mut groups = self.groups.iter();
        let found = groups.find(|(_, own, _)| *own == tag);
        found.map(|(patterns, ..)| patterns)
    }

    fn proposal(&self, known: &Known<'_>, remaining: Vec<Vec<Pattern>>) -> Proposal {
        let naming = self.naming(known);
        let fits = |seen: &Seen, tag: &str| {
            let rule = naming.as_ref().and_then(|naming| naming.rule_of(&seen.example));
            rule.is_some_and(|rule| bare_tag(&rule.tag) == tag)
        };
        let rules = self.rules();
        let groups = self.groups.iter().map(|(patterns, own, _)| {
            let rules = rules.iter().filter(|(_, tag)| tag == own);
            let seen = known.patterns.values().filter(|seen| fits(seen, own));
            Group {
                rules: rules.map(|(rule, tag)| spelled(rule, tag)).collect(),
                patterns: patterns.clone(),
                named: seen.map(|seen| seen.named).sum(),
            }
        });
        Proposal {
            groups: groups.collect(),
            remaining,
        }
    }
}

impl Proposal {
    /// All rules in the order in which they have to be given: what fits less comes first.
    pub fn rules(&self) -> Vec<&str> {
        let rules = self.groups.iter().flat_map(|group| &group.rules);
        let mut rules: Vec<&str> = rules.map(String::as_str).collect();
        let pattern = |rule: &str| Rule::parse(rule).map(|rule| rule.pattern).unwrap_or_default();
        rules.sort_by_key(|rule| (std::cmp::Reverse(literals(&pattern(rule))), pattern(rule)));
        rules
    }
}

/// Patterns for the rules of a group: its own, but one for all that begin alike if nothing else begins so.
fn rules_of(known: &Known<'_>, patterns: &[Pattern]) -> Vec<Pattern> {
    let own: BTreeSet<&Pattern> = patterns.iter().collect();
    let others: Vec<_> = (known.patterns.iter())
        .filter(|(pattern, _)| !own.contains(pattern))
        .collect();
    let is_other = |beginning: &[u8]| {
        let mut others = others.iter();
        others.any(|(pattern, seen)| {
            pattern.starts_with(beginning) || seen.example.starts_with(beginning)
        })
    };
    let mut rules: Vec<Pattern> = Vec::new();
    let mut rest: Vec<&Pattern> = patterns.iter().collect();
    while let Some(first) = rest.first().copied() {
        let beginnings = beginnings(first);
        let worth = |beginning: &&[u8]| {
            let alike = rest.iter().filter(|other| other.starts_with(beginning));
            alike.count() > 1 && !is_other(beginning)
        };
        match beginnings.iter().copied().find(worth) {
            Some(beginning) => {
                let alike: Vec<&Pattern> = (rest.iter().copied())
                    .filter(|other| other.starts_with(beginning))
                    .collect();
                // As long as all of them have it in common.
                let longest = beginnings.iter().rev().copied();
                let longest = longest.filter(|b| alike.iter().all(|other| other.starts_with(b)));
                let beginning = longest.max_by_key(|b| b.len()).unwrap_or(beginning);
                rest.retain(|other| !other.starts_with(beginning));
                rules.push([beginning, EVERYTHING].concat().into());
            }
            None => {
                rules.push(first.clone());
                rest.retain(|other| *other != first);
            }
        }
    }
    rules.sort_by_key(|rule| literals(rule));
    let mut needed: Vec<Pattern> = Vec::new();
    for rule in rules {
        if !needed.iter().any(|wider| glob::matches(wider, &rule)) {
            needed.push(rule);
        }
    }
    needed
}

/// How a pattern begins, up to each of its separators, the shortest first; nothing that could be any key.
fn beginnings(pattern: &[u8]) -> Vec<&[u8]> {
    let special = pattern.iter().position(|byte| b"*?".contains(byte));
    let literal = pattern.get(..special.unwrap_or(pattern.len()));
    let literal = literal.unwrap_or_default();
    let is_end = |at: &usize| {
        let byte = literal.get(at - 1);
        byte.is_some_and(|byte| !byte.is_ascii_alphanumeric() && *byte != b'{')
    };
    let mut ends: Vec<usize> = (2..=literal.len()).filter(is_end).collect();
    if literal.len() >= WORD_LEN_MIN {
        // `celery` and `celery-1`, `queue*`.
        ends.push(literal.len());
    }
    ends.dedup();
    ends.iter().filter_map(|end| literal.get(..*end)).collect()
}

/// How much of a pattern is fixed.
fn literals(pattern: &[u8]) -> usize {
    pattern.iter().filter(|byte| !b"*?".contains(byte)).count()
}

/// A rule as `--keep-together` takes it, with its tag if it is not the one that it has anyway.
fn spelled(pattern: &[u8], tag: &str) -> String {
    let pattern = text(pattern);
    let is_own = Rule::own_tag(&pattern) == tag;
    if is_own { pattern } else { format!("{pattern}={tag}") }
}

fn text(pattern: &[u8]) -> String {
    String::from_utf8_lossy(pattern).into_owned()
}

fn bare_tag(tag: &[u8]) -> String {
    let tag = tag.strip_prefix(b"{").unwrap_or(tag);
    text(tag.strip_suffix(b"}").unwrap_or(tag))
}

const EVERYTHING: &[u8] = b"*";
/// So often groups are joined and rules tried before it is one rule for all.
const ROUNDS_MAX: usize = 32;
/// A beginning without a separator has at least so many letters.
const WORD_LEN_MIN: usize = 3;
