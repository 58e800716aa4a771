//! Merges of replies that describe a server: `MEMORY STATS`, `FUNCTION STATS` and the texts of the doctors.
//!
//! Rare requests: these merges allocate.

use crate::resp::Proto;
use crate::resp::reply::{Kind, Reply};
use crate::resp::write;

use super::named::Named;

/// Whether a `FUNCTION STATS` reply shows a running script. Libraries are the same on every primary.
pub(super) fn runs_a_script(reply: &Reply<'_>) -> bool {
    pairs(*reply).any(|(name, value)| name == b"running_script" && !value.is_null())
}

/// The texts that differ, one after another.
pub(super) fn texts<'a>(replies: impl Iterator<Item = Reply<'a>>) -> Vec<u8> {
    let mut distinct: Vec<&[u8]> = Vec::new();
    // As many as there are nodes.
    for text in replies.filter_map(|reply| reply.text()) {
        if !distinct.contains(&text) {
            distinct.push(text);
        }
    }
    distinct.join(&b'\n')
}

/// `MEMORY STATS`: byte counts and key counts are summed, ratios and percentages computed again. False if a reply is no map.
pub(super) fn memory<'a>(
    replies: impl Iterator<Item = Reply<'a>>,
    proto: Proto,
    out: &mut Vec<u8>,
) -> bool {
    let mut tree = Tree::default();
    for reply in replies {
        if !matches!(reply.kind(), Kind::Map | Kind::Array) {
            return false;
        }
        tree.add(reply, NESTING_MAX);
    }
    for (name, share) in SHARES {
        let value = share.of(&tree);
        if let (Some(Node::Ratio(ratio)), Some(value)) = (tree.find_mut(name), value) {
            *ratio = value;
        }
    }
    if let (Some(keys), Some(used)) = (tree.sum(b"keys.count"), Share::used(&tree))
        && let Some(Node::Sum(each)) = tree.find_mut(b"keys.bytes-per-key")
    {
        *each = used.checked_div(keys).unwrap_or(0);
    }
    tree.write(proto, out);
    true
}

/// Key and value of a map; a map is an array in RESP2. Pairs whose key is no text are left out.
pub(super) fn pairs<'a>(reply: Reply<'a>) -> impl Iterator<Item = (&'a [u8], Reply<'a>)> {
    let mut items = reply.items();
    std::iter::from_fn(move || Some((items.next()?, items.next()?)))
        .filter_map(|(name, value)| Some((name.text()?, value)))
}

/// A merged map: names in order of first appearance.
#[derive(Default)]
struct Tree(Named<Vec<u8>, Node>);

enum Node {
    Sum(i64),
    Ratio(f64),
    Tree(Tree),
    /// Something else, as the first node spelled it.
    Other(Vec<u8>),
}

impl Tree {
    fn add(&mut self, map: Reply<'_>, depth_left: u8) {
        for (name, value) in pairs(map) {
            let node = Node::read(value, depth_left);
            self.0.join(name.to_vec(), node, Node::join);
        }
    }

    fn find_mut(&mut self, name: &[u8]) -> Option<&mut Node> {
        self.0.get_mut(name)
    }

    fn sum(&self, name: &[u8]) -> Option<i64> {
        match self.0.get(name)? {
            Node::Sum(sum) => Some(*sum),
            Node::Ratio(_) | Node::Tree(_) | Node::Other(_) => None,
        }
    }

    fn join(&mut self, other: Self) {
        for (name, node) in other.0.into_entries() {
            self.0.join(name, node, Node::join);
        }
    }

    fn write(&self, proto: Proto, out: &mut Vec<u8>) {
        let entries = self.0.entries();
        write::map(out, proto, entries.len());
        for (name, node) in entries {
            write::bulk(out, name);
            match node {
                Node::Sum(sum) => write::integer(out, *sum),
                Node::Ratio(ratio) => write::double(out, proto, &ratio.to_string()),
                Node::Tree(tree) => tree.write(proto, out),
                Node::Other(bytes) => out.extend_from_slice(bytes),
            }
        }
    }
}

impl Node {
    fn read(value: Reply<'_>, depth_left: u8) -> Self {
        if let Some(n) = value.integer() {
            return Self::Sum(n);
        }
        if let Some(ratio) = value
            .text()
            .and_then(|text| std::str::from_utf8(text).ok()?.parse().ok())
        {
            return Self::Ratio(ratio);
        }
        if matches!(value.kind(), Kind::Map | Kind::Array) && depth_left > 0 {
            let mut tree = Tree::default();
            tree.add(value, depth_left - 1);
            return Self::Tree(tree);
        }
        Self::Other(value.bytes().to_vec())
    }

    fn join(&mut self, other: Self) {
        match (self, other) {
            (Self::Sum(sum), Self::Sum(n)) => *sum = sum.saturating_add(n),
            // Whatever is not computed again keeps its worst value.
            (Self::Ratio(ratio), Self::Ratio(n)) => *ratio = ratio.max(n),
            (Self::Tree(tree), Self::Tree(other)) => tree.join(other),
            (Self::Sum(_) | Self::Ratio(_) | Self::Tree(_) | Self::Other(_), _) => {}
        }
    }
}

/// How a ratio follows from sums. Source: `getMemoryOverheadData` in the servers' `object.c`.
#[derive(Clone, Copy)]
enum Share {
    Ratio(&'static [u8], &'static [u8]),
    Percent(&'static [u8], &'static [u8]),
    /// In percent of what was allocated since the start.
    PercentOfUsed(&'static [u8]),
}

impl Share {
    fn of(self, tree: &Tree) -> Option<f64> {
        let (part, whole, scale) = match self {
            Self::Ratio(part, whole) => (tree.sum(part)?, tree.sum(whole)?, 1.0),
            Self::Percent(part, whole) => (tree.sum(part)?, tree.sum(whole)?, 100.0),
            Self::PercentOfUsed(part) => (tree.sum(part)?, Self::used(tree)?, 100.0),
        };
        (whole > 0).then(|| part as f64 * scale / whole as f64)
    }

    fn used(tree: &Tree) -> Option<i64> {
        Some(
            tree.sum(b"total.allocated")?
                .saturating_sub(tree.sum(b"startup.allocated")?),
        )
    }
}

const SHARES: &[(&[u8], Share)] = &[
    (
        b"dataset.percentage",
        Share::PercentOfUsed(b"dataset.bytes"),
    ),
    (
        b"peak.percentage",
        Share::Percent(b"total.allocated", b"peak.allocated"),
    ),
    (
        b"allocator-fragmentation.ratio",
        Share::Ratio(b"allocator.active", b"allocator.allocated"),
    ),
    (
        b"allocator-rss.ratio",
        Share::Ratio(b"allocator.resident", b"allocator.active"),
    ),
];

/// `MEMORY STATS` has one map for each database inside its map.
const NESTING_MAX: u8 = 2;
