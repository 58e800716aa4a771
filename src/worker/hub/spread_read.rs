//! Readings of streams in several slots: split by slot, asked round by round, merged; with BLOCK until there is something.
//!
//! All parts of a round are answered before the next one. Where a reading begins is settled once, before the first round.

use super::Hub;
use super::place::Body;
use super::spread::{Waiting, Work};
use crate::clock::Now;
use crate::command::Row;
use crate::command::attempt::Kind;
use crate::command::streams::{self as streams_of, BEGINNING, LAST_ENTRY_COMMAND, Streams};
use crate::downstream::replies::Seat;
use crate::reply::streams;
use crate::resp::reply::Reply;
use crate::resp::request::Request;
use crate::resp::write;
use crate::route::part::{Part, Profile, Purpose, SessionId, Target, WaiterId};
use crate::topology::Slot;

/// A request that reads streams of several slots.
#[derive(Debug)]
pub(super) struct Reading {
    row: &'static Row,
    streams: Streams,
    waits: bool,
    /// What the nodes are being asked, part by part.
    parts: Vec<Asked>,
    /// For each stream, its part.
    part_of: Vec<usize>,
    missing: usize,
    /// How many rounds have found nothing; `None`: where to begin is being asked.
    rounds: Option<usize>,
}

#[derive(Debug)]
struct Asked {
    slot: Slot,
    streams: Vec<usize>,
    answer: Option<Vec<u8>>,
}

impl Reading {
    pub(super) fn new(row: &'static Row, streams: Streams, waits: bool) -> Self {
        Self {
            row,
            streams,
            waits,
            parts: Vec::new(),
            part_of: Vec::new(),
            missing: 0,
            rounds: None,
        }
    }

    /// One part for each slot.
    fn deal_by_slot(&mut self) {
        self.parts.clear();
        self.part_of.clear();
        for (at, name) in self.streams.names().iter().enumerate() {
            let slot = Slot::of_key(name);
            let known = self.parts.iter().position(|part| part.slot == slot);
            let part = known.unwrap_or(self.parts.len());
            if known.is_none() {
                let streams = Vec::new();
                self.parts.push(Asked {
                    slot,
                    streams,
                    answer: None,
                });
            }
            if let Some(part) = self.parts.get_mut(part) {
                part.streams.push(at);
            }
            self.part_of.push(part);
        }
    }

    /// One part for each stream that is read from its end.
    fn deal_ends(&mut self) {
        let ends = self.streams.at_end();
        let names = self.streams.names();
        let slots = ends
            .iter()
            .map(|&at| names.get(at).map_or(Slot::FIRST, |name| Slot::of_key(name)));
        self.parts = slots
            .zip(&ends)
            .map(|(slot, &at)| Asked {
                slot,
                streams: vec![at],
                answer: None,
            })
            .collect();
    }

    fn answers(&mut self) -> Vec<Vec<u8>> {
        let answers = self.parts.iter_mut().map(|part| part.answer.take());
        answers.map(Option::unwrap_or_default).collect()
    }

    /// The parts that have no answer yet.
    pub(super) fn unanswered(&self, waiter: WaiterId) -> impl Iterator<Item = (Target, Purpose)> {
        let parts = (0..).zip(&self.parts);
        parts
            .filter(|(_, part)| part.answer.is_none())
            .map(move |(n, part)| (Target::Slot(part.slot), Purpose::Try(waiter, n)))
    }

    /// Whether what it reads is then not there for others: what is on its way must reach its client.
    pub(super) fn takes(&self) -> bool {
        !self.row.reads_only()
    }
}

impl Hub {
    /// Answers from several nodes what is one request; does not wait.
    pub(super) fn read_over_slots(
        &mut self,
        now: Now,
        id: SessionId,
        row: &'static Row,
        request: Request<'_>,
        (a, b): (usize, usize),
    ) {
        let Some(streams) = Streams::of(row, request, &self.keys) else {
            return self.refuse_cross_slot(id, request.arg(a), request.arg(b));
        };
        let Some((ticket, profile)) = self.open_seat(id, Seat::Waits) else {
            return;
        };
        let waiter = self.spread.waits.next_waiter();
        let reading = Reading::new(row, streams, false);
        self.spread
            .requests
            .insert(waiter, Waiting::new(ticket, profile, Work::reads(reading)));
        self.start_round(now, waiter);
        self.grant_wishes(now);
    }

    /// Finds out where a reading that waits begins, then begins.
    pub(super) fn start_reading(&mut self, now: Now, waiter: WaiterId) {
        let row = self.commands.row(LAST_ENTRY_COMMAND);
        let (Some((reading, profile)), Some(row)) = (self.reading(waiter), row) else {
            return;
        };
        reading.deal_ends();
        reading.missing = reading.parts.len();
        if reading.missing == 0 {
            return self.await_streams(waiter);
        }
        let names = reading.streams.names().to_vec();
        let ends = reading.streams.at_end();
        let names = ends.iter().filter_map(|&at| names.get(at));
        for (n, name) in (0u16..).zip(names) {
            let mut bytes = Vec::new();
            streams_of::write_last_entry(name, &mut bytes);
            let target = Target::Slot(Slot::of_key(name));
            let part = Part::with(Purpose::Try(waiter, n), target, row, profile);
            self.place(now, part, Body::Borrowed(&bytes));
        }
    }

    fn await_streams(&mut self, waiter: WaiterId) {
        if let Some((reading, _)) = self.reading(waiter) {
            let names = reading.streams.names().to_vec();
            let names = names.iter().map(|name| &**name);
            self.spread.waits.wait(waiter, Kind::Stream, names);
        }
    }

    /// Asks every node for its streams.
    pub(super) fn start_round(&mut self, now: Now, waiter: WaiterId) {
        let Some((reading, profile)) = self.reading(waiter) else {
            return;
        };
        reading.deal_by_slot();
        reading.missing = reading.parts.len();
        reading.rounds.get_or_insert(0);
        let row = reading.row;
        let written = reading.parts.iter().map(|part| {
            let mut bytes = Vec::new();
            reading.streams.write(&part.streams, &mut bytes);
            (part.slot, bytes)
        });
        let written: Vec<(Slot, Vec<u8>)> = written.collect();
        self.counters.spread_tries += 1;
        for (n, (slot, bytes)) in (0u16..).zip(written) {
            let part = Part::with(Purpose::Try(waiter, n), Target::Slot(slot), row, profile);
            self.place(now, part, Body::Borrowed(&bytes));
        }
    }

    /// A node has answered a part of a round, or it has been given up.
    pub(super) fn on_read(&mut self, now: Now, waiter: WaiterId, part: u16, frame: &[u8]) {
        let Some((reading, _)) = self.reading(waiter) else {
            return;
        };
        let Some(asked) = reading.parts.get_mut(usize::from(part)) else {
            return;
        };
        if asked.answer.is_some() {
            debug_assert!(false, "a part is answered once");
            return;
        }
        asked.answer = Some(frame.to_vec());
        reading.missing = reading.missing.saturating_sub(1);
        if reading.missing > 0 {
            return;
        }
        match reading.rounds {
            None => self.on_ends(now, waiter),
            Some(rounds) => self.on_round(now, waiter, rounds),
        }
    }

    /// It is known where the streams end.
    fn on_ends(&mut self, now: Now, waiter: WaiterId) {
        let Some((reading, _)) = self.reading(waiter) else {
            return;
        };
        let answers = reading.answers();
        if let Some(error) = answers.iter().find(|frame| Reply::new(frame).is_error()) {
            return self.answer_waiter(now, waiter, error);
        }
        for (at, frame) in reading.streams.at_end().into_iter().zip(&answers) {
            reading
                .streams
                .set_id(at, streams::last_id(frame).unwrap_or(BEGINNING));
        }
        self.await_streams(waiter);
    }

    fn on_round(&mut self, now: Now, waiter: WaiterId, rounds: usize) {
        let Some((reading, profile)) = self.reading(waiter) else {
            return;
        };
        let mut answers = reading.answers();
        let mut error = None;
        for frame in answers
            .iter_mut()
            .filter(|frame| Reply::new(frame).is_error())
        {
            // As at a server, who waits for a stream goes on waiting when something else takes its place.
            let is_other_type = Reply::new(frame).error_code() == Some(b"WRONGTYPE");
            let frame = std::mem::take(frame);
            if !(is_other_type && rounds > 0 && !reading.takes()) {
                error.get_or_insert(frame);
            }
        }
        let takes = reading.takes();
        let mut merged = Vec::new();
        let names = reading.streams.names();
        let any = streams::merge(
            names,
            &reading.part_of,
            &answers,
            profile.proto,
            &mut merged,
        );
        match error {
            // What a group has given to this client is told: otherwise it would be pending, and nobody would know.
            Some(error) if !(any && takes) => return self.answer_waiter(now, waiter, &error),
            Some(_) | None => {}
        }
        if any {
            return self.answer_waiter(now, waiter, &merged);
        }
        self.counters.spread_tries_in_vain += 1;
        let is_over = self
            .spread
            .requests
            .get(&waiter)
            .is_none_or(|request| request.expired);
        let Some((reading, _)) = self.reading(waiter) else {
            return;
        };
        if is_over || !reading.waits {
            write::null_array(&mut merged, profile.proto);
            return self.answer_waiter(now, waiter, &merged);
        }
        reading.rounds = Some(rounds + 1);
        reading.parts.clear();
        reading.streams.expect_first();
        self.spread.waits.on_read_nothing(waiter);
    }

    fn reading(&mut self, waiter: WaiterId) -> Option<(&mut Reading, Profile)> {
        let request = self.spread.requests.get_mut(&waiter)?;
        match &mut request.work {
            Work::Reads(reading) => Some((reading, request.profile)),
            Work::Takes { .. } => None,
        }
    }
}
