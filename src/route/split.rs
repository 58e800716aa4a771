//! Cuts one multi-key request into one part per slot, and remembers where each answer belongs.
//!
//! A server refuses keys of several slots in one command even when it owns both, so a part is the keys of
//! one slot; parts for one node still leave together. Knows nothing of sockets or of who owns a slot.

use std::ops::Range;

use crate::command::Split;
use crate::resp::request::Request;
use crate::resp::write;
use crate::topology::{Keyspace, SLOT_COUNT, Slot};

const NO_PART: u16 = u16::MAX;

/// Splits requests; keeps its tables between them. A new one has none yet.
#[derive(Debug, Default)]
pub struct Splitter {
    /// For each slot the part that has it, while a request is split.
    part_of_slot: Vec<u16>,
    slots: Vec<Slot>,
    /// For each unit (a key with its values) in request order, its part.
    unit_parts: Vec<u16>,
    /// Units ordered by part, and where each part's units begin.
    units: Vec<u32>,
    starts: Vec<u32>,
    shape: Shape,
}

/// How the arguments after the name are made up.
#[derive(Clone, Copy, Debug, Default)]
struct Shape {
    /// Arguments per unit, the key first.
    step: usize,
    /// Arguments at the end that every part gets.
    shared: usize,
}

/// What a request's keys say.
#[derive(Debug, PartialEq, Eq)]
pub enum Cut {
    /// All keys share this slot: the request goes as it is.
    Whole(Slot),
    /// [`Splitter::slots`] lists the parts.
    Parts,
    /// The arguments do not make whole units: a node will say so.
    Malformed,
}

impl Splitter {
    /// Groups the keys of `request` by slot, in order of first appearance.
    pub fn split(&mut self, split: Split, request: Request<'_>, keyspace: Keyspace) -> Cut {
        self.shape = match split {
            Split::Keys => Shape { step: 1, shared: 0 },
            Split::KeyValues => Shape { step: 2, shared: 0 },
            Split::KeysThenLast => Shape { step: 1, shared: 1 },
            Split::Triples => Shape { step: 3, shared: 0 },
        };
        let arguments = request.len().saturating_sub(1 + self.shape.shared);
        if arguments == 0 || !arguments.is_multiple_of(self.shape.step) {
            return Cut::Malformed;
        }
        self.part_of_slot.resize(SLOT_COUNT, NO_PART);
        self.slots.clear();
        self.unit_parts.clear();
        for unit in 0..arguments / self.shape.step {
            let slot = keyspace.slot(request.arg(1 + unit * self.shape.step));
            let part = self.part_for(slot);
            self.unit_parts.push(part);
        }
        for slot in &self.slots {
            if let Some(entry) = self.part_of_slot.get_mut(slot.index()) {
                *entry = NO_PART;
            }
        }
        match self.slots.as_slice() {
            [only] => Cut::Whole(*only),
            _ => {
                self.sort_units();
                Cut::Parts
            }
        }
    }

    /// The slot of each part.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// For each key in request order, its part.
    pub fn key_parts(&self) -> &[u16] {
        &self.unit_parts
    }

    /// Appends the request of one part.
    pub fn write_part(&self, part: usize, request: Request<'_>, out: &mut Vec<u8>) {
        let range = |i: usize| self.starts.get(i).map_or(0, |&s| s as usize);
        let units = self
            .units
            .get(range(part)..range(part + 1))
            .unwrap_or_default();
        let Shape { step, shared } = self.shape;
        write::command_header(out, 1 + units.len() * step + shared);
        out.extend_from_slice(raw(request, 0..1));
        for &unit in units {
            let first = 1 + unit as usize * step;
            out.extend_from_slice(raw(request, first..first + step));
        }
        out.extend_from_slice(raw(request, request.len() - shared..request.len()));
    }

    fn part_for(&mut self, slot: Slot) -> u16 {
        let next = u16::try_from(self.slots.len()).unwrap_or(NO_PART);
        let Some(entry) = self.part_of_slot.get_mut(slot.index()) else {
            return 0;
        };
        if *entry == NO_PART {
            *entry = next;
            self.slots.push(slot);
        }
        *entry
    }

    /// A counting sort: stable, so that a key given twice keeps its order.
    fn sort_units(&mut self) {
        self.starts.clear();
        self.starts.resize(self.slots.len() + 1, 0);
        for &part in &self.unit_parts {
            if let Some(count) = self.starts.get_mut(usize::from(part) + 1) {
                *count += 1;
            }
        }
        let mut sum = 0;
        for start in &mut self.starts {
            sum += *start;
            *start = sum;
        }
        self.units.clear();
        self.units.resize(self.unit_parts.len(), 0);
        // Filling from behind moves each part's end to its start.
        for (unit, &part) in self.unit_parts.iter().enumerate().rev() {
            if let Some(end) = self.starts.get_mut(usize::from(part) + 1) {
                *end -= 1;
                if let Some(place) = self.units.get_mut(*end as usize) {
                    *place = u32::try_from(unit).unwrap_or(u32::MAX);
                }
            }
        }
        // Now starts[p + 1] is where part p begins: shift down and close with the length.
        self.starts.remove(0);
        self.starts
            .push(u32::try_from(self.units.len()).unwrap_or(u32::MAX));
    }
}

/// The bytes of whole arguments, their length lines included.
fn raw(request: Request<'_>, args: Range<usize>) -> &[u8] {
    let end_of = |i: usize| request.args.get(i).map_or(0, |a| a.end as usize + 2);
    let start = match args.start.checked_sub(1) {
        Some(before) => end_of(before),
        None => memchr::memchr(b'\n', request.bytes).map_or(0, |i| i + 1),
    };
    if args.is_empty() {
        return &[];
    }
    request
        .bytes
        .get(start..end_of(args.end - 1))
        .unwrap_or_default()
}
