//! Rules for `--keep-together` under which what was seen would work, as few as there can be of it, and what they cost. They are tried on
//! the keys that were seen, by the code that will use them.
//!
//! Patterns that some request had in several slots make a group (`Groups`). Rules are made of each (`rules_of`), and tried: where keys that were together
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
        let keys = shape
            .iter()
            .flat_map(|shape| shape.examples.iter().flatten());
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
        let own = own_tag(&patterns, &rules);
        let tag = (1..).map(|n| match n {
            1 => own.clone(),
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

/// What is telling, and short: what all patterns begin with, or the rule with the longest word that nothing divides.
fn own_tag(patterns: &[Pattern], rules: &[Pattern]) -> String {
    let own = |beginning: &[u8]| Rule::own_tag(&text(beginning)).to_owned();
    let is_telling = |tag: &String| tag != NO_TAG;
    if let Some(tag) = beginning_of(patterns).map(own).filter(is_telling) {
        return tag;
    }
    let pieces = |tag: &str| tag.split([':', '-', '.', '_']).count();
    let tags = rules.iter().map(|rule| own(rule)).filter(is_telling);
    let best = tags.min_by_key(|tag| (pieces(tag), std::cmp::Reverse(tag.len()), tag.clone()));
    best.unwrap_or_else(|| NO_TAG.to_owned())
}

impl Made {
    /// One rule for all keys.
    fn whole(known: &Known<'_>) -> Self {
        let all = known.patterns.keys().cloned().collect();
        Self {
            groups: vec![(all, NO_TAG.to_owned(), vec![EVERYTHING.into()])],
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
            let rule = naming
                .as_ref()
                .and_then(|naming| naming.rule_of(&seen.example));
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
        let pattern = |rule: &str| {
            Rule::parse(rule)
                .map(|rule| rule.pattern)
                .unwrap_or_default()
        };
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

/// What all of them begin with, up to a separator.
fn beginning_of(patterns: &[Pattern]) -> Option<&[u8]> {
    let first = patterns.first()?;
    let is_shared = |beginning: &&[u8]| patterns.iter().all(|other| other.starts_with(beginning));
    beginnings(first)
        .into_iter()
        .filter(is_shared)
        .max_by_key(|beginning| beginning.len())
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
    if is_own {
        pattern
    } else {
        format!("{pattern}={tag}")
    }
}

fn text(pattern: &[u8]) -> String {
    String::from_utf8_lossy(pattern).into_owned()
}

fn bare_tag(tag: &[u8]) -> String {
    let tag = tag.strip_prefix(b"{").unwrap_or(tag);
    text(tag.strip_suffix(b"}").unwrap_or(tag))
}

const EVERYTHING: &[u8] = b"*";
/// The tag of a pattern that begins with nothing in particular.
const NO_TAG: &str = "all";
/// So often groups are joined and rules tried before it is one rule for all.
const ROUNDS_MAX: usize = 32;
/// A beginning without a separator has at least so many letters.
const WORD_LEN_MIN: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::patterns::Patterns;
    use crate::audit::shapes::{Bundle, Named, Shapes};

    /// Requests, keys that are named alone, the rules that there are, and those that are to be made.
    type Case = (
        &'static [&'static str],
        &'static str,
        &'static [&'static str],
        &'static [&'static str],
    );

    /// The rules for an app whose requests name these keys, which all have to be in one slot each time; `alone`: on their own.
    fn rules_for(requests: &[&str], alone: &str, rules: &[&str]) -> (Vec<String>, usize) {
        let mut patterns = Patterns::new(100);
        let mut shapes = Shapes::new(100);
        let existing: Vec<Rule> = rules
            .iter()
            .map(|rule| Rule::parse(rule).unwrap())
            .collect();
        let naming = Naming::new(&existing, 1);
        for key in alone.split_whitespace() {
            patterns.note(key.as_bytes());
        }
        for request in requests {
            let mut bundle = Bundle::default();
            let mut slots = BTreeSet::new();
            for key in request.split(' ') {
                let named = Named {
                    name: key.as_bytes().into(),
                    database: 0,
                    is_pattern: key.contains('*'),
                };
                let pattern = patterns.note(named.key());
                bundle.add(pattern.as_ref(), &named);
                slots.insert(named.slot(naming.as_ref()));
            }
            shapes.note(&bundle, slots.len() > 1 || slots.contains(&None));
        }
        let proposal = propose(&Known {
            patterns: &patterns.all(),
            shapes: &shapes.all(&patterns),
            rules: &existing,
            databases: 1,
        });
        let rules = proposal.rules().into_iter().map(str::to_owned).collect();
        (rules, proposal.remaining.len())
    }

    #[test]
    fn rules_are_few_and_bring_together_what_belongs_together() {
        let cases: &[Case] = &[
            (&[], "a b c", &[], &[]),
            // A hash tag does it already.
            (&["{u1}a {u1}b"], "", &[], &[]),
            (
                &["bull:jobs:wait bull:jobs:active bull:jobs:7"],
                "user:1",
                &[],
                &["bull:jobs:*"],
            ),
            // Each queue has a slot of its own.
            (
                &["q:a:wait q:a:active", "q:b:wait q:b:active"],
                "",
                &[],
                &["q:a:*", "q:b:*"],
            ),
            // What begins so as well stays where it is.
            (
                &["user:1:cart user:1:stock"],
                "user:1:name",
                &[],
                &["user:*:stock", "user:*:cart"],
            ),
            (&["tag:1 tag:2"], "other", &[], &["tag:*"]),
            (
                &["celery unacked", "unacked unacked_index"],
                "user:1",
                &[],
                &["unacked*", "celery=unacked"],
            ),
            // Two groups have one in common.
            (
                &["one:1 two:1", "two:2 six:2"],
                "",
                &[],
                &["one:*", "six:*=one", "two:*=one"],
            ),
            // A rule takes `{u1}a` away from `{u1}b`, so that has to come along.
            (
                &["{u1}a x", "{u1}a {u1}b"],
                "",
                &[],
                &["{u*}a=x", "{u*}b=x", "x"],
            ),
            // One group's pattern fits keys of the other.
            (&["1:x a", "1:2 b"], "", &[], &["*:x=a", "*:*=b", "a", "b"]),
            (&["1:zz:x a", "1:zz b", "9:zz:x 7:zz"], "", &[], &[]),
            // The names of fields are none of keys.
            (
                &["list w_*", "list o_*->f"],
                "user:1",
                &[],
                &["list", "o_*=list", "w_*=list"],
            ),
            // There are rules already.
            (&["q:1 q:2"], "", &["q:*"], &[]),
            (&["q:1 mail"], "", &["q:*"], &["mail", "q:*=mail"]),
            (&["q:1 mail", "q:1 q:x"], "", &["q:*"], &[]),
            (&[" "], "", &[], &[]),
        ];
        for (requests, alone, rules, expected) in cases {
            let (made, remaining) = rules_for(requests, alone, rules);
            if !expected.is_empty() || requests.len() < 2 {
                assert_eq!(made, *expected, "{requests:?}");
            }
            assert_eq!(remaining, 0, "{requests:?} with {made:?}");
        }
    }

    #[test]
    fn whatever_is_asked_the_rules_hold() {
        let mut random = 3_u64;
        let mut next = |below: usize| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (random >> 33) as usize % below
        };
        for _ in 0..300 {
            let mut requests = Vec::new();
            for _ in 0..=next(6) {
                let mut keys = Vec::new();
                for _ in 0..=next(4) {
                    let pieces = ["a", "b", "7", "{t}", ":", "x:", "{a}", "ab-"];
                    let mut key = String::new();
                    for _ in 0..=next(3) {
                        key.push_str(pieces[next(pieces.len())]);
                    }
                    keys.push(key);
                }
                requests.push(keys.join(" "));
            }
            let requests: Vec<&str> = requests.iter().map(String::as_str).collect();
            let (rules, remaining) = rules_for(&requests, "a:b", &[]);
            assert_eq!(remaining, 0, "{requests:?} {rules:?}");
        }
    }
}
