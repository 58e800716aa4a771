//! What changed between two snapshots, in words for a log.
//!
//! Nodes are matched by id: a node that only changed its address has not lost its slots.

use std::collections::HashMap;
use std::fmt;

use super::{Endpoint, Node, Role, SLOT_COUNT, Slot, SlotRange, Topology};

/// What a later snapshot changed. Prints as one line of bounded length; empty if nothing changed.
#[derive(Debug, Default)]
pub struct Difference<'a> {
    /// Slots whose primary is another node now, or has come, or has gone.
    pub moved: Vec<Move<'a>>,
    /// Replicas that are primaries now.
    pub promoted: Vec<&'a Endpoint>,
    /// Primaries that are replicas now.
    pub demoted: Vec<&'a Endpoint>,
    /// Nodes with a new endpoint: from, to.
    pub readdressed: Vec<(&'a Endpoint, &'a Endpoint)>,
    pub joined: Vec<&'a Endpoint>,
    pub left: Vec<&'a Endpoint>,
}

/// Neighbouring slots with the same fate.
#[derive(Debug, PartialEq, Eq)]
pub struct Move<'a> {
    pub range: SlotRange,
    pub from: Option<&'a Endpoint>,
    pub to: Option<&'a Endpoint>,
}

impl<'a> Difference<'a> {
    pub(super) fn between(earlier: &'a Topology, later: &'a Topology) -> Self {
        let mut difference = Self {
            moved: moves(earlier, later),
            ..Self::default()
        };
        let before: HashMap<&str, &Node> =
            earlier.nodes.iter().map(|node| (&*node.id, node)).collect();
        let after: HashMap<&str, &Node> =
            later.nodes.iter().map(|node| (&*node.id, node)).collect();
        for node in &later.nodes {
            match before.get(&*node.id) {
                Some(old) => difference.note_kept(old, node),
                None => difference.joined.push(&node.endpoint),
            }
        }
        let gone = earlier
            .nodes
            .iter()
            .filter(|node| !after.contains_key(&*node.id));
        difference.left.extend(gone.map(|node| &node.endpoint));
        difference
    }

    pub fn is_empty(&self) -> bool {
        let Self {
            moved,
            promoted,
            demoted,
            readdressed,
            joined,
            left,
        } = self;
        let nodes = [promoted, demoted, joined, left];
        moved.is_empty() && readdressed.is_empty() && nodes.iter().all(|list| list.is_empty())
    }

    fn note_kept(&mut self, old: &'a Node, new: &'a Node) {
        if old.endpoint != new.endpoint {
            self.readdressed.push((&old.endpoint, &new.endpoint));
        }
        match (old.role, new.role) {
            (Role::Replica, Role::Primary) => self.promoted.push(&new.endpoint),
            (Role::Primary, Role::Replica) => self.demoted.push(&new.endpoint),
            (Role::Primary, Role::Primary) | (Role::Replica, Role::Replica) => {}
        }
    }
}

impl fmt::Display for Difference<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list = Listing {
            f,
            said: 0,
            left_out: 0,
        };
        for Move { range, from, to } in &self.moved {
            let plural = if range.count() == 1 { "slot" } else { "slots" };
            match (from, to) {
                (Some(from), Some(to)) => {
                    list.say(format_args!("{plural} {range} moved {from} → {to}"))?
                }
                (Some(from), None) => list.say(format_args!("{plural} {range} lost by {from}"))?,
                (None, Some(to)) => list.say(format_args!("{plural} {range} taken by {to}"))?,
                (None, None) => {}
            }
        }
        for endpoint in &self.promoted {
            list.say(format_args!("{endpoint} became primary"))?;
        }
        for endpoint in &self.demoted {
            list.say(format_args!("{endpoint} became replica"))?;
        }
        for (from, to) in &self.readdressed {
            list.say(format_args!("{from} is now at {to}"))?;
        }
        for endpoint in &self.joined {
            list.say(format_args!("{endpoint} joined"))?;
        }
        for endpoint in &self.left {
            list.say(format_args!("{endpoint} left"))?;
        }
        list.end()
    }
}

struct Listing<'f, 'g> {
    f: &'f mut fmt::Formatter<'g>,
    said: usize,
    left_out: usize,
}

impl Listing<'_, '_> {
    fn say(&mut self, item: fmt::Arguments<'_>) -> fmt::Result {
        if self.said == ITEMS_MAX {
            self.left_out += 1;
            return Ok(());
        }
        if self.said > 0 {
            self.f.write_str(", ")?;
        }
        self.said += 1;
        self.f.write_fmt(item)
    }

    fn end(self) -> fmt::Result {
        match self.left_out {
            0 => Ok(()),
            more => write!(self.f, " and {more} more"),
        }
    }
}

fn moves<'a>(earlier: &'a Topology, later: &'a Topology) -> Vec<Move<'a>> {
    let mut moves: Vec<Move<'a>> = Vec::new();
    for slot in SlotRange::ALL.slots() {
        let (from, to) = (earlier.owner_node(slot), later.owner_node(slot));
        if from.map(|node| &node.id) != to.map(|node| &node.id) {
            extend(
                &mut moves,
                slot,
                from.map(|node| &node.endpoint),
                to.map(|node| &node.endpoint),
            );
        }
    }
    debug_assert!(moves.len() <= SLOT_COUNT);
    moves
}

fn extend<'a>(
    moves: &mut Vec<Move<'a>>,
    slot: Slot,
    from: Option<&'a Endpoint>,
    to: Option<&'a Endpoint>,
) {
    let next_to = |range: SlotRange| range.last().get() + 1 == slot.get();
    if let Some(last) = moves.last_mut()
        && next_to(last.range)
        && (last.from, last.to) == (from, to)
    {
        last.range = SlotRange::new(last.range.first(), slot).unwrap_or(last.range);
    } else if let Some(range) = SlotRange::new(slot, slot) {
        moves.push(Move { range, from, to });
    }
}

/// So much of a difference fits in one line of a log.
const ITEMS_MAX: usize = 12;

#[cfg(test)]
mod tests {
    use super::super::tests::picture;

    #[test]
    fn differences_are_told_in_words() {
        for (before, after, words) in [
            ("a:1 0-99", "a:1 0-99", ""),
            (
                "a:1 0-99 | b:1 100-200",
                "a:1 0-49 | b:1 50-200",
                "slots 50-99 moved a:1 → b:1",
            ),
            (
                "a:1 0-9 | b:1 10-20",
                "a:1 0-8 | b:1 10-20",
                "slot 9 lost by a:1",
            ),
            (
                "a:1 0-9 | b:1 11-20",
                "a:1 0-10 | b:1 11-20",
                "slot 10 taken by a:1",
            ),
            (
                "a:1 0-9 + b:1",
                "b:1 0-9 + a:1",
                "slots 0-9 moved a:1 → b:1, b:1 became primary, a:1 became replica",
            ),
            ("a:1 0-9 + b:1", "a:1 0-9 + c:1", "c:1 joined, b:1 left"),
            ("x@a:1 0-9", "x@z:9 0-9", "a:1 is now at z:9"),
        ] {
            let (before, after) = (picture(before), picture(after));
            let difference = before.difference(&after);
            assert_eq!(difference.to_string(), words);
            assert_eq!(difference.is_empty(), words.is_empty());
        }
    }

    #[test]
    fn a_long_difference_is_cut() {
        let even: Vec<String> = (0..8000).step_by(2).map(|slot| slot.to_string()).collect();
        let odd: Vec<String> = (1..8000).step_by(2).map(|slot| slot.to_string()).collect();
        let text = |a: &str, b: &str| format!("{a} {} | {b} {}", even.join(" "), odd.join(" "));
        let (before, after) = (picture(&text("a:1", "b:1")), picture(&text("b:1", "a:1")));
        let words = before.difference(&after).to_string();
        assert!(
            words.len() < 1000 && words.ends_with(" and 7988 more"),
            "{words}"
        );
    }
}
