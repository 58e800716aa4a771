//! From names of keys to patterns of them: `user:123:cart` is one of `user:*:cart`. Bounded, and the same for the same keys in whatever order.
//!
//! A name is cut behind each separator, and a piece that looks like a number, a hash or a UUID becomes `*` (`words`). Where more than
//! `VALUES_MAX` different pieces follow the same beginning, all of them do. A pattern fits all names that it was made of, as `KEYS` and rules
//! of `keep-together` understand it.

use std::collections::BTreeMap;

use super::words::{Piece, pieces};

/// A pattern as `KEYS` takes it.
pub type Pattern = Box<[u8]>;

/// What is known of the names that fit a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// How often requests have named such a key.
    pub named: u64,
    /// The first one of them.
    pub example: Box<[u8]>,
}

/// All patterns of the keys that have been seen.
#[derive(Clone, Debug)]
pub struct Patterns {
    tree: Node,
    /// Below the root. `nodes <= nodes_max`, unless several workers' have been put together.
    nodes: usize,
    nodes_max: usize,
    seen: BTreeMap<Pattern, Seen>,
    seen_max: usize,
    /// Names that fit none of them, because there were too many already.
    others: u64,
}

/// A place in the tree of pieces.
#[derive(Clone, Debug, Default)]
struct Node {
    /// Any piece may follow.
    is_any: bool,
    children: BTreeMap<Piece, Self>,
}

impl Patterns {
    pub fn new(patterns_max: usize) -> Self {
        Self {
            tree: Node::default(),
            nodes: 0,
            nodes_max: patterns_max.saturating_mul(NODES_PER_PATTERN),
            seen: BTreeMap::new(),
            seen_max: patterns_max,
            others: 0,
        }
    }

    /// A request has named this key; its pattern. None: there are too many.
    pub fn note(&mut self, key: &[u8]) -> Option<Pattern> {
        self.add(key, 1, key)
    }

    /// What another worker has seen.
    pub fn merge(&mut self, other: &Self) {
        self.tree.absorb(other.tree.clone(), BEGINNINGS_MAX);
        self.nodes = self.tree.size();
        for (pattern, seen) in &other.seen {
            self.add(pattern, seen.named, &seen.example);
        }
        self.others += other.others;
    }

    /// The pattern as it is by now: pieces of it may have become `*`.
    pub fn current(&self, pattern: &[u8]) -> Pattern {
        self.tree.pattern(&pieces(pattern))
    }

    /// All patterns as they are by now.
    pub fn all(&self) -> BTreeMap<Pattern, Seen> {
        let mut all: BTreeMap<Pattern, Seen> = BTreeMap::new();
        for (pattern, seen) in &self.seen {
            let place = all.entry(self.current(pattern));
            let known = place.or_insert_with(|| Seen {
                named: 0,
                example: seen.example.clone(),
            });
            known.named += seen.named;
        }
        all
    }

    /// Names that fit none of the patterns.
    pub fn others(&self) -> u64 {
        self.others
    }

    fn add(&mut self, name: &[u8], named: u64, example: &[u8]) -> Option<Pattern> {
        let pieces = pieces(name);
        let room = self.nodes_max.saturating_sub(self.nodes);
        let (pattern, added) = self.tree.learn(&pieces, room);
        self.nodes = self.nodes.saturating_add_signed(added);
        if pattern.is_none() {
            self.others += named;
        }
        let pattern = pattern?;
        if let Some(seen) = self.seen.get_mut(&pattern) {
            seen.named += named;
            return Some(pattern);
        }
        if self.seen.len() >= self.seen_max {
            self.seen = self.all();
        }
        if self.seen.len() >= self.seen_max {
            self.others += named;
            return None;
        }
        let example = example.get(..EXAMPLE_BYTES_MAX).unwrap_or(example).into();
        self.seen.insert(pattern.clone(), Seen { named, example });
        Some(pattern)
    }
}

impl Node {
    /// The pattern of a name, and how many nodes there are more (or fewer) than before; no pattern if there is no `room` for it.
    fn learn(&mut self, pieces: &[Piece], mut room: usize) -> (Option<Pattern>, isize) {
        let mut node = self;
        let mut pattern = Vec::new();
        let mut added = 0_isize;
        for (depth, piece) in pieces.iter().enumerate() {
            let values_max = if depth == 0 {
                BEGINNINGS_MAX
            } else {
                VALUES_MAX
            };
            let is_new = !node.is_any && !node.children.contains_key(piece);
            if is_new && (node.values() >= values_max || room == 0) && !piece.is_any() {
                let before = node.size();
                node.make_any();
                let fewer = before - node.size();
                room += fewer;
                added -= isize::try_from(fewer).unwrap_or_default();
            }
            let piece = node.piece(piece);
            piece.write(&mut pattern);
            if !node.children.contains_key(&piece) {
                if room == 0 {
                    return (None, added);
                }
                room -= 1;
                added += 1;
            }
            node = node.children.entry(piece).or_default();
        }
        (Some(pattern.into()), added)
    }

    /// The pattern of a name that has been learnt.
    fn pattern(&self, pieces: &[Piece]) -> Pattern {
        let mut node = Some(self);
        let mut pattern = Vec::new();
        for piece in pieces {
            let own = node.map_or_else(|| piece.clone(), |node| node.piece(piece));
            own.write(&mut pattern);
            node = node.and_then(|node| node.children.get(&own));
        }
        pattern.into()
    }

    fn piece(&self, piece: &Piece) -> Piece {
        if self.is_any {
            piece.any()
        } else {
            piece.clone()
        }
    }

    /// How many different pieces may follow, `*` aside.
    fn values(&self) -> usize {
        self.children.keys().filter(|piece| !piece.is_any()).count()
    }

    /// From now on any piece may follow: what followed one may follow each.
    fn make_any(&mut self) {
        self.is_any = true;
        for (piece, child) in std::mem::take(&mut self.children) {
            let place = self.children.entry(piece.any()).or_default();
            place.absorb(child, VALUES_MAX);
        }
    }

    fn absorb(&mut self, other: Self, values_max: usize) {
        self.is_any |= other.is_any;
        for (piece, child) in other.children {
            let place = self.children.entry(piece).or_default();
            place.absorb(child, VALUES_MAX);
        }
        if self.is_any || self.values() > values_max {
            self.make_any();
        }
    }

    fn size(&self) -> usize {
        let below = self.children.values().map(|child| 1 + child.size());
        below.sum()
    }
}

/// So many kinds of keys an app may have, by what they begin with.
const BEGINNINGS_MAX: usize = 256;
/// More different pieces than these at one place are values, not words.
const VALUES_MAX: usize = 32;
/// Places in the tree for each pattern: patterns share their beginnings.
const NODES_PER_PATTERN: usize = 4;
/// Of an example.
const EXAMPLE_BYTES_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::glob;

    fn patterns_of(keys: &[&str]) -> Vec<String> {
        let mut patterns = Patterns::new(100);
        keys.iter().for_each(|key| {
            patterns.note(key.as_bytes());
        });
        let text = |pattern: &Pattern| String::from_utf8_lossy(pattern).into_owned();
        patterns.all().keys().map(text).collect()
    }

    #[test]
    fn values_become_stars_and_words_stay() {
        for (key, pattern) in [
            ("user:123:cart", "user:*:cart"),
            ("user:{42}:cart", "user:{*}:cart"),
            ("session:550e8400-e29b-41d4-a716-446655440000", "session:*"),
            ("abcdefab-cdef-abcd-efab-cdefabcdefab:x", "*:x"),
            ("cache:9f86d081884c7d65", "cache:*"),
            ("day:2024-01-05:hits", "day:*:hits"),
            ("ip/10.0.0.1", "ip/*"),
            ("queue7", "queue*"),
            ("v2/items", "v*/items"),
            ("h2o:2fa", "h2o:2fa"),
            ("_kombu.binding.celery", "_kombu.binding.celery"),
            ("job:2024-01-05T10", "job:*"),
            ("a b?[c]", "a?b??c]"),
            ("tr\u{e4}ger:1", "*:*"),
            ("w_*", "w_*"),
            ("", "*"),
        ] {
            assert_eq!(patterns_of(&[key]), [pattern], "{key}");
            let fits = glob::matches(pattern.as_bytes(), key.as_bytes());
            assert!(fits || key.is_empty(), "{key}");
        }
        let long = format!("a:{}", "b:".repeat(500));
        let pattern = patterns_of(&[&long]).remove(0);
        assert!(pattern.len() < 100 && pattern.ends_with('*'), "{pattern}");
        assert!(glob::matches(pattern.as_bytes(), long.as_bytes()));
    }

    #[test]
    fn many_words_at_one_place_are_values() {
        let names = |count: u8| -> Vec<String> {
            let letter = |n: u8| char::from(b'a' + n % 26);
            (0..count)
                .map(|n| format!("user:{}{}x:name", letter(n / 26), letter(n)))
                .collect()
        };
        let keys: Vec<String> = names(32);
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        assert_eq!(patterns_of(&keys).len(), 32);
        let keys: Vec<String> = names(33);
        let mut keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        keys.push("user:9:mail");
        assert_eq!(patterns_of(&keys), ["user:*:mail", "user:*:name"]);
        keys.reverse();
        assert_eq!(patterns_of(&keys), ["user:*:mail", "user:*:name"]);
    }

    #[test]
    fn workers_together_know_what_one_would() {
        let keys: Vec<String> = (b'a'..=b'z')
            .flat_map(|a| (b'a'..=b'c').map(move |b| [char::from(a), char::from(b)]))
            .map(|[a, b]| format!("t:{a}{b}:n"))
            .collect();
        let (mut one, mut two, mut all) = (Patterns::new(99), Patterns::new(99), Patterns::new(99));
        for (at, key) in keys.iter().enumerate() {
            let half = if at < 30 { &mut one } else { &mut two };
            half.note(key.as_bytes());
            all.note(key.as_bytes());
        }
        one.merge(&two);
        let counts = |patterns: &Patterns| -> Vec<(Pattern, u64)> {
            let all = patterns.all().into_iter();
            all.map(|(pattern, seen)| (pattern, seen.named)).collect()
        };
        assert_eq!(counts(&one), counts(&all));
        assert_eq!(counts(&one), [((*b"t:*:n").into(), 78)]);
    }

    #[test]
    fn there_is_an_end_of_patterns() {
        let mut patterns = Patterns::new(10);
        let mut random = 1_u64;
        for _ in 0..20_000 {
            let mut key = Vec::new();
            for _ in 0..6 {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                key.push(b"abcdefgh:/.-{}_#"[(random >> 60) as usize]);
            }
            if let Some(pattern) = patterns.note(&key) {
                assert!(glob::matches(&pattern, &key), "{pattern:?} {key:?}");
            }
            assert!(patterns.seen.len() <= 10 && patterns.nodes <= patterns.nodes_max);
            assert_eq!(patterns.nodes, patterns.tree.size());
        }
        let named: u64 = patterns.all().values().map(|seen| seen.named).sum();
        assert_eq!(named + patterns.others(), 20_000);
    }
}
