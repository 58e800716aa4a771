//! What one link owes and is owed: the bytes of every part that is not answered yet, in wire order.
//!
//! Small parts are copied into one contiguous log, large ones are kept by reference. Bytes stay until the
//! answer has come, so that a refused part can be sent elsewhere without anybody else having kept a copy.
//!
//! Invariants: `answered <= sent <= queued` (in entries, in order); an entry is *sent* from its first written byte on.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;

use super::times::Times;
use crate::clock::Now;
use crate::measure::Histogram;
use crate::net::Pool;
use crate::route::part::{Noted, Part, Purpose, Ticket};

/// Parts of at least this many bytes are kept by reference instead of being copied.
pub const BY_REFERENCE_BYTES_MIN: usize = 16 * 1024;

/// Parts for which an idle queue has room: at least, and at most (some 400 KiB).
const KEEP_PARTS_MIN: usize = 64;
const KEEP_PARTS_MAX: usize = 4096;

/// Answered bytes at the front are dropped once they are this many and the larger half.
const COMPACT_BYTES_MIN: usize = 32 * 1024;

/// The parts of one link between being queued and being answered.
#[derive(Debug, Default)]
pub struct Queue {
    entries: VecDeque<Entry>,
    times: Times,
    /// Bytes of the copied entries, the answered ones up to `log_start` included.
    log: Vec<u8>,
    log_start: usize,
    /// Where in `log` the first unwritten copied byte lies.
    log_unsent: usize,
    /// How many entries at the front have been written whole.
    sent: usize,
    /// Bytes of the entry after those that have been written.
    sent_of_next: usize,
    unsent_bytes: usize,
    /// The most parts of late, halved whenever all are answered.
    peak: usize,
    /// What the entries that are not in `log` consist of, in their order.
    shared: VecDeque<Bytes>,
    /// How many of these belong to entries that have been written whole.
    shared_sent: usize,
}

#[derive(Debug)]
struct Entry {
    part: Part,
    len: u32,
    /// Of [`Part::replies`], those that are still to come.
    replies: u32,
    is_shared: bool,
}

/// Whose the oldest reply is.
#[derive(Debug)]
pub enum Answered {
    /// It answers this part, or is the last of its replies; the part was sent then, as [`Queue::drop_oldest`] says.
    Part(Part, Option<Now>),
    /// It is one of several replies to the oldest part, and not the last.
    OneOfSeveral,
}

/// A part that comes out of a queue together with its bytes.
#[derive(Debug)]
pub struct Orphan {
    pub part: Part,
    pub bytes: Bytes,
    pub sent: bool,
}

impl Queue {
    /// Queues a part whose bytes `write` appends.
    pub fn push_with(&mut self, part: Part, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.log.len();
        write(&mut self.log);
        let len = self.log.len() - before;
        self.note_queued(part, len, false);
    }

    /// Queues a part whose bytes are kept as they are.
    pub fn push_shared(&mut self, part: Part, bytes: Bytes) {
        self.note_queued(part, bytes.len(), true);
        self.shared.push_back(bytes);
    }

    fn note_queued(&mut self, part: Part, len: usize, is_shared: bool) {
        debug_assert!(len > 0, "a part has bytes");
        self.unsent_bytes += len;
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        self.entries.push_back(Entry {
            part,
            len,
            replies: part.replies,
            is_shared,
        });
        self.times.note_queued(part.since);
        self.peak = self.peak.max(self.entries.len());
    }

    /// A reply has come: takes the oldest part if that was all. None if nothing that was sent is unanswered.
    pub fn answer(&mut self) -> Option<Answered> {
        if self.sent == 0 {
            return None;
        }
        let front = self.entries.front_mut()?;
        if front.replies > 1 {
            front.replies -= 1;
            return Some(Answered::OneOfSeveral);
        }
        let part = front.part;
        let sent_at = self.drop_oldest();
        Some(Answered::Part(part, sent_at))
    }

    /// The oldest part, which has been sent, is answered: returns when it was sent, if anybody wanted to know.
    pub fn drop_oldest(&mut self) -> Option<Now> {
        debug_assert!(self.sent > 0, "it has been sent");
        let entry = self.entries.pop_front()?;
        self.sent -= 1;
        if entry.is_shared {
            self.shared.pop_front();
            self.shared_sent -= 1;
        } else {
            self.drop_from_log(entry.len as usize);
        }
        self.times.note_answered()
    }

    /// When the oldest part was sent that is unanswered, as [`Queue::drop_oldest`] says.
    pub fn oldest_sent_at(&self) -> Option<Now> {
        self.times.oldest_sent_at()
    }

    /// The oldest sent part and its bytes, still in the queue.
    pub fn front(&self) -> Option<(&Part, &[u8])> {
        if self.sent == 0 {
            return None;
        }
        let entry = self.entries.front()?;
        let bytes = match self.shared.front() {
            Some(shared) if entry.is_shared => shared,
            Some(_) | None => self.logged(entry, self.log_start),
        };
        Some((&entry.part, bytes))
    }

    /// Whether something that was sent is unanswered.
    pub fn has_sent(&self) -> bool {
        self.sent > 0
    }

    /// The ticket of the oldest part, if it has been sent and its next reply is for its seat, as it is.
    pub fn plain_ticket(&self) -> Option<Ticket> {
        self.ticket_if(Part::is_plain)
    }

    /// The same if its reply may pass through, however it came to this link and whoever counts it.
    pub fn passing_ticket(&self) -> Option<Ticket> {
        self.ticket_if(Part::may_pass)
    }

    #[inline]
    fn ticket_if(&self, fits: impl Fn(&Part) -> bool) -> Option<Ticket> {
        let entry = self.entries.front().filter(|_| self.sent > 0)?;
        match entry.part.purpose {
            Purpose::Answer(ticket) if entry.replies == 1 && fits(&entry.part) => Some(ticket),
            Purpose::Answer(_)
            | Purpose::Try(..)
            | Purpose::Look(..)
            | Purpose::PutBack
            | Purpose::Listen(_)
            | Purpose::Swallow => None,
        }
    }

    /// Gets a buffer from `pool` if it has none: call before queueing.
    #[inline]
    pub fn adopt(&mut self, pool: &mut Pool) {
        if self.log.capacity() == 0 {
            self.log = pool.take();
        }
    }

    /// If all is answered, gives its buffer to `pool`, and the memory for many parts back if few have come lately.
    pub fn release(&mut self, pool: &mut Pool) {
        if !self.entries.is_empty() {
            return;
        }
        pool.give(std::mem::take(&mut self.log));
        (self.log_start, self.log_unsent) = (0, 0);
        let capacity = self.entries.capacity();
        if capacity > KEEP_PARTS_MIN && (self.peak < capacity / 4 || capacity > KEEP_PARTS_MAX) {
            let kept = (self.peak * 2).clamp(KEEP_PARTS_MIN, KEEP_PARTS_MAX);
            self.entries.shrink_to(kept);
            self.shared.shrink_to(kept);
        }
        self.times.release();
        self.peak /= 2;
    }

    /// Every part, oldest first.
    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        self.entries.iter().map(|e| &e.part)
    }

    /// Every part, and how many bytes of it are kept.
    pub fn sizes(&self) -> impl Iterator<Item = (&Part, usize)> {
        self.entries.iter().map(|e| (&e.part, e.len as usize))
    }

    /// As [`Queue::parts`].
    pub fn parts_mut(&mut self) -> impl Iterator<Item = &mut Part> {
        self.entries.iter_mut().map(|e| &mut e.part)
    }

    /// Takes everything: the link is gone.
    pub fn take_all(&mut self) -> Vec<Orphan> {
        let mut this = std::mem::take(self);
        let mut shared = std::mem::take(&mut this.shared).into_iter();
        let mut at = this.log_start;
        let mut orphans = Vec::with_capacity(this.entries.len());
        for (i, entry) in this.entries.iter().enumerate() {
            let bytes = if entry.is_shared {
                shared.next().unwrap_or_default()
            } else {
                let bytes = Bytes::copy_from_slice(this.logged(entry, at));
                at += entry.len as usize;
                bytes
            };
            // A block is executed by its last request.
            let begun = i == this.sent && this.sent_of_next > 0 && entry.part.replies == 1;
            let sent = i < this.sent || begun;
            orphans.push(Orphan {
                part: entry.part,
                bytes,
                sent,
            });
        }
        orphans
    }

    /// Takes the unsent parts that `wanted` picks, oldest first; the others close up.
    pub fn recall(&mut self, wanted: impl Fn(&Part) -> bool) -> Vec<Orphan> {
        let torn = usize::from(self.sent_of_next > 0);
        let first = self.sent + torn;
        if first >= self.entries.len() || !self.entries.range(first..).any(|e| wanted(&e.part)) {
            return Vec::new();
        }
        let torn = self.entries.get(self.sent).filter(|_| torn > 0);
        let (rest_of_torn, shared_torn) = match torn {
            Some(entry) if entry.is_shared => (0, 1),
            Some(entry) => (entry.len as usize - self.sent_of_next, 0),
            None => (0, 0),
        };
        let tail = self.log.split_off(self.log_unsent + rest_of_torn);
        let shared = self.shared.split_off(self.shared_sent + shared_torn);
        let (mut shared, mut at, mut recalled) = (shared.into_iter(), 0, Vec::new());
        for entry in self.entries.split_off(first) {
            let (part, len) = (entry.part, entry.len as usize);
            let is_wanted = wanted(&part);
            if is_wanted {
                self.unsent_bytes -= len;
            }
            let bytes = if entry.is_shared {
                shared.next().unwrap_or_default()
            } else {
                let bytes = tail.get(at..at + len).unwrap_or_default();
                at += len;
                if !is_wanted {
                    self.log.extend_from_slice(bytes);
                    self.entries.push_back(entry);
                    continue;
                }
                Bytes::copy_from_slice(bytes)
            };
            if is_wanted {
                let sent = false;
                recalled.push(Orphan { part, bytes, sent });
            } else {
                self.shared.push_back(bytes);
                self.entries.push_back(entry);
            }
        }
        let waiting = self.entries.range(self.sent..);
        self.times.requeue(waiting.map(|entry| entry.part.since));
        recalled
    }

    /// Fills `slices` with unwritten bytes and says how many slices it used.
    pub fn unsent<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        if self.shared_sent == self.shared.len() {
            let bytes = self.log.get(self.log_unsent..).unwrap_or_default();
            return put(slices, 0, bytes);
        }
        let (mut used, mut at, mut skip) = (0, self.log_unsent, self.sent_of_next);
        let mut run = at;
        let mut shared = self.shared.range(self.shared_sent..);
        for entry in self.entries.range(self.sent..) {
            if !entry.is_shared {
                at += entry.len as usize - skip;
                skip = 0;
                continue;
            }
            let Some(shared) = shared.next() else { break };
            used = put(slices, used, self.log.get(run..at).unwrap_or_default());
            used = put(slices, used, shared.get(skip..).unwrap_or_default());
            run = at;
            skip = 0;
            if used == slices.len() {
                return used;
            }
        }
        put(slices, used, self.log.get(run..at).unwrap_or_default())
    }

    /// Notes that `n` of the unsent bytes have been written. How long parts had waited for that goes into `waits`;
    /// those that have been waiting since before `late_before` are [late](Noted::LATE).
    pub fn note_written(
        &mut self,
        mut n: usize,
        now: Now,
        late_before: Now,
        waits: &mut Histogram,
    ) {
        debug_assert!(n <= self.unsent_bytes);
        self.unsent_bytes = self.unsent_bytes.saturating_sub(n);
        let first = self.sent;
        while n > 0 {
            let Some(entry) = self.entries.get_mut(self.sent) else {
                break;
            };
            let step = n.min(entry.len as usize - self.sent_of_next);
            if !entry.is_shared {
                self.log_unsent += step;
            }
            n -= step;
            self.sent_of_next += step;
            if self.sent_of_next == entry.len as usize {
                self.sent += 1;
                self.sent_of_next = 0;
                self.shared_sent += usize::from(entry.is_shared);
            }
        }
        self.note_sent(first, now, late_before, waits);
    }

    /// The parts from that one on have just been written.
    fn note_sent(&mut self, mut first: usize, now: Now, late_before: Now, waits: &mut Histogram) {
        let Self { entries, times, .. } = self;
        times.note_sent(self.sent - first, now, |since, count| {
            let these = first..first + count;
            first = these.end;
            let Some(since) = since else { return };
            waits.observe(now.since(since), count as u64);
            if since < late_before {
                let late = entries.range_mut(these);
                late.for_each(|entry| entry.part.noted |= Noted::LATE);
            }
        });
    }

    pub fn unsent_bytes(&self) -> usize {
        self.unsent_bytes
    }

    /// Parts that wait for their answer or for being sent.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The bytes of a copied entry that begins there in the log.
    fn logged(&self, entry: &Entry, at: usize) -> &[u8] {
        let bytes = self.log.get(at..at + entry.len as usize);
        bytes.unwrap_or_default()
    }

    fn drop_from_log(&mut self, len: usize) {
        self.log_start += len;
        if self.log_start == self.log.len() {
            self.log.clear();
            (self.log_start, self.log_unsent) = (0, 0);
        } else if self.log_start >= COMPACT_BYTES_MIN && self.log_start > self.log.len() / 2 {
            self.log.drain(..self.log_start);
            self.log_unsent -= self.log_start;
            self.log_start = 0;
        }
    }
}

fn put<'a>(slices: &mut [IoSlice<'a>], used: usize, bytes: &'a [u8]) -> usize {
    match slices.get_mut(used) {
        Some(slice) if !bytes.is_empty() => {
            *slice = IoSlice::new(bytes);
            used + 1
        }
        Some(_) | None => used,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::*;
    use crate::command::lookup::CommandTable;
    use crate::route::part::Profile;
    use crate::route::part::{Target, Way};
    use crate::topology::Slot;

    /// What a queue should hold: number and bytes of each part, and how much of the first unsent one has left.
    #[derive(Default)]
    struct Model {
        parts: VecDeque<(u64, Vec<u8>)>,
        sent: usize,
        torn: usize,
        /// Of each that was sent: when, if it is timed, and whether it had waited for long.
        times: VecDeque<(Option<Now>, bool)>,
        timed: u64,
    }

    /// When a part was placed: some at the same moment, some nobody knows when.
    fn since(seq: u64) -> Option<Now> {
        (!seq.is_multiple_of(11)).then(|| Now::at(Duration::from_micros(seq / 7)))
    }

    impl Model {
        fn unsent(&self) -> Vec<u8> {
            let rest = self
                .parts
                .iter()
                .skip(self.sent)
                .flat_map(|(_, bytes)| bytes);
            rest.skip(self.torn).copied().collect()
        }
    }

    #[test]
    fn whatever_is_written_answered_and_recalled_bytes_and_times_stay_with_their_parts() {
        let row = CommandTable::new().row("get").unwrap();
        let part = |seq| Part {
            brief: false,
            purpose: Purpose::Swallow,
            target: Target::Slot(Slot::FIRST),
            row,
            profile: Profile::default(),
            elsewhere: false,
            way: Way::Shared,
            replies: 1,
            seq,
            troubled_since: None,
            redirects: 0,
            refusals: 0,
            heals: 0,
            asking: false,
            since: since(seq),
            noted: Noted::empty(),
        };
        let state = Cell::new(1u64);
        let random = |below: usize| {
            state.set(
                state
                    .get()
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1),
            );
            usize::try_from(state.get() >> 33).unwrap() % below
        };
        let (mut queue, mut model) = (Queue::default(), Model::default());
        let mut waits = Histogram::default();
        for seq in 0..2_000 {
            match random(8) {
                0..=3 => {
                    let len = if random(20) == 0 {
                        BY_REFERENCE_BYTES_MIN + random(99)
                    } else {
                        1 + random(99)
                    };
                    let bytes = vec![u8::try_from(seq % 251).unwrap(); len];
                    if len < BY_REFERENCE_BYTES_MIN {
                        queue.push_with(part(seq), |log| log.extend_from_slice(&bytes));
                    } else {
                        queue.push_shared(part(seq), Bytes::from(bytes.clone()));
                    }
                    model.parts.push_back((seq, bytes));
                }
                4..=5 => {
                    let mut n = random(queue.unsent_bytes() + 1);
                    let now = Now::at(Duration::from_millis(seq / 5));
                    let late_before = Now::at(Duration::from_micros(seq / 8));
                    queue.note_written(n, now, late_before, &mut waits);
                    while n > 0 {
                        let left = model.parts[model.sent].1.len() - model.torn;
                        let step = n.min(left);
                        (n, model.torn) = (n - step, model.torn + step);
                        if step == left {
                            let since = since(model.parts[model.sent].0);
                            let is_late = since.is_some_and(|since| since < late_before);
                            model.times.push_back((since.and(Some(now)), is_late));
                            model.timed += u64::from(since.is_some());
                            (model.sent, model.torn) = (model.sent + 1, 0);
                        }
                    }
                }
                6 => {
                    let front = queue
                        .front()
                        .map(|(part, bytes)| (part.seq, bytes.to_vec()));
                    let answered = queue.answer().map(|answered| match answered {
                        Answered::Part(part, sent_at) => {
                            (part.seq, (sent_at, part.noted.contains(Noted::LATE)))
                        }
                        Answered::OneOfSeveral => panic!("no part is a block"),
                    });
                    let seq = front.as_ref().map(|(seq, _)| *seq);
                    assert_eq!(answered, seq.zip(model.times.pop_front()));
                    let expected = if model.sent > 0 {
                        model.parts.pop_front()
                    } else {
                        None
                    };
                    assert_eq!(front, expected);
                    model.sent -= usize::from(expected.is_some());
                }
                _ => {
                    let wanted = |seq: u64| seq.is_multiple_of(3);
                    let recalled = queue.recall(|part| wanted(part.seq));
                    let rest = model.parts.split_off(
                        (model.sent + usize::from(model.torn > 0)).min(model.parts.len()),
                    );
                    let (expected, stay): (Vec<_>, Vec<_>) =
                        rest.into_iter().partition(|(seq, _)| wanted(*seq));
                    model.parts.extend(stay);
                    let recalled: Vec<_> = recalled
                        .into_iter()
                        .map(|o| (o.part.seq, o.bytes.to_vec()))
                        .collect();
                    assert_eq!(recalled, expected);
                }
            }
            assert_eq!(
                (queue.len(), queue.unsent_bytes()),
                (model.parts.len(), model.unsent().len())
            );
            let mut slices = vec![IoSlice::new(&[]); 4096];
            let used = queue.unsent(&mut slices);
            let unsent: Vec<u8> = slices[..used]
                .iter()
                .flat_map(|slice| slice.to_vec())
                .collect();
            assert_eq!(unsent, model.unsent());
        }
        assert_eq!(waits.count(), model.timed);
        assert!(model.timed > 500);
        let sent = |i| i < model.sent || (i == model.sent && model.torn > 0);
        let expected: Vec<_> = (0..)
            .zip(&model.parts)
            .map(|(i, (seq, bytes))| (*seq, bytes.clone(), sent(i)))
            .collect();
        let all: Vec<_> = queue
            .take_all()
            .into_iter()
            .map(|o| (o.part.seq, o.bytes.to_vec(), o.sent))
            .collect();
        assert_eq!(all, expected);
    }
}
