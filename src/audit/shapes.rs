//! Which patterns of keys requests need in one slot together, with examples to try rules on.

use std::collections::BTreeMap;

use super::patterns::{Pattern, Patterns};
use crate::route::naming::Naming;
use crate::topology::Slot;

/// A key as a request named it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    pub name: Box<[u8]>,
    pub database: u32,
    /// `SORT … BY name`: all keys that fit it.
    pub is_pattern: bool,
}

impl Named {
    /// Of what its pattern is made: of `object_*->field` the key.
    pub fn key(&self) -> &[u8] {
        let end = memchr::memmem::find(&self.name, b"->").filter(|_| self.is_pattern);
        self.name
            .get(..end.unwrap_or(self.name.len()))
            .unwrap_or_default()
    }

    /// The same for a report, where long names end early.
    pub fn shown(&self) -> Self {
        let start = self.name.get(..NAME_BYTES_MAX);
        Self {
            name: start.unwrap_or(&self.name).into(),
            ..*self
        }
    }

    /// Where it is with these rules. None: it may be anywhere.
    pub fn slot(&self, naming: Option<&Naming>) -> Option<Slot> {
        let stored = |naming: &Naming| naming.stored(self.database, &self.name);
        let is_mapped = !self.is_pattern || self.name.contains(&b'*');
        let stored = naming.filter(|_| is_mapped).map(stored);
        let name = stored.as_deref().unwrap_or(&self.name);
        if self.is_pattern {
            Slot::of_pattern(name)
        } else {
            Some(Slot::of_key(name))
        }
    }
}

/// Keys that one request, or one transaction, needs in one slot.
#[derive(Clone, Debug, Default)]
pub struct Bundle {
    /// At most `EXAMPLES_MAX` of each pattern.
    keys: BTreeMap<Pattern, Vec<Named>>,
    /// One of them is of no pattern, or there were too many.
    is_partly_known: bool,
}

impl Bundle {
    pub fn add(&mut self, pattern: Option<&Pattern>, key: &Named) {
        let has_room = self.keys.len() < BUNDLE_PATTERNS_MAX;
        let Some(pattern) = pattern.filter(|pattern| has_room || self.keys.contains_key(*pattern))
        else {
            self.is_partly_known = true;
            return;
        };
        let known = self.keys.entry(pattern.clone()).or_default();
        if known.len() < EXAMPLES_MAX && !known.contains(key) && key.name.len() <= NAME_BYTES_MAX {
            known.push(key.clone());
        }
    }

    /// How many different keys, as far as they are remembered.
    fn count(&self) -> usize {
        self.keys.values().map(Vec::len).sum()
    }

    pub fn keys(&self) -> impl Iterator<Item = &Named> {
        self.keys.values().flatten()
    }
}

/// What is known of all bundles with the same patterns.
#[derive(Clone, Debug, Default)]
pub struct Shape {
    /// How often.
    pub requests: u64,
    /// How often they were in several slots.
    pub conflicts: u64,
    /// Keys that were named together; those in several slots first. At most `BUNDLES_MAX`.
    pub examples: Vec<Vec<Named>>,
}

/// All bundles by their patterns.
#[derive(Clone, Debug)]
pub struct Shapes {
    shapes: BTreeMap<Vec<Pattern>, Shape>,
    max: usize,
    /// Bundles that are not, or not wholly, among them although they were in several slots.
    pub unknown: u64,
}

impl Shapes {
    pub fn new(max: usize) -> Self {
        Self {
            shapes: BTreeMap::new(),
            max,
            unknown: 0,
        }
    }

    pub fn note(&mut self, bundle: &Bundle, is_conflict: bool) {
        if is_conflict && (bundle.is_partly_known || bundle.count() < 2) {
            self.unknown += 1;
        }
        if bundle.count() < 2 {
            return;
        }
        let patterns: Vec<Pattern> = bundle.keys.keys().cloned().collect();
        let shape = Shape {
            requests: 1,
            conflicts: u64::from(is_conflict),
            examples: vec![bundle.keys().cloned().collect()],
        };
        if self.shapes.len() >= self.max && !self.shapes.contains_key(&patterns) {
            self.unknown += shape.conflicts;
        } else {
            self.shapes.entry(patterns).or_default().add(&shape);
        }
    }

    pub fn merge(&mut self, other: &Self) {
        self.unknown += other.unknown;
        for (patterns, shape) in &other.shapes {
            self.shapes.entry(patterns.clone()).or_default().add(shape);
        }
    }

    /// All of them, by the patterns as they are by now.
    pub fn all(&self, patterns: &Patterns) -> BTreeMap<Vec<Pattern>, Shape> {
        let mut all: BTreeMap<Vec<Pattern>, Shape> = BTreeMap::new();
        for (own, shape) in &self.shapes {
            let mut current: Vec<Pattern> = own.iter().map(|own| patterns.current(own)).collect();
            current.sort_unstable();
            current.dedup();
            all.entry(current).or_default().add(shape);
        }
        all
    }
}

impl Shape {
    /// Whether all keys of each example share a slot with these rules.
    pub fn holds(&self, naming: Option<&Naming>) -> bool {
        self.examples.iter().all(|keys| is_together(keys, naming))
    }

    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.conflicts += other.conflicts;
        for example in &other.examples {
            let is_conflict = !is_together(example, None);
            if self.examples.len() >= BUNDLES_MAX {
                let is_calm = |known: &Vec<Named>| is_together(known, None);
                if !(is_conflict && self.examples.last().is_some_and(is_calm)) {
                    continue;
                }
                self.examples.pop();
            }
            let at = if is_conflict { 0 } else { self.examples.len() };
            if !self.examples.contains(example) {
                self.examples.insert(at, example.clone());
            }
        }
    }
}

fn is_together(keys: &[Named], naming: Option<&Naming>) -> bool {
    let mut slots = keys.iter().map(|key| key.slot(naming));
    let Some(first) = slots.next() else {
        return true;
    };
    first.is_some() && slots.all(|slot| slot == first)
}

/// Patterns of one bundle.
const BUNDLE_PATTERNS_MAX: usize = 16;
/// Keys of each of them: two show whether a pattern alone keeps its keys together.
const EXAMPLES_MAX: usize = 2;
/// Examples of each shape.
const BUNDLES_MAX: usize = 3;
/// Longer names are no examples.
const NAME_BYTES_MAX: usize = 128;
