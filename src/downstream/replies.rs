//! The seats of one session: replies leave in the order of its requests, whatever order they arrive in.
//!
//! A reply for the head seat goes straight to the output; one that is early is kept in an arena of the session until
//! all before it have left. Invariant: no full seat is ever at the head.

use std::collections::VecDeque;

use super::execution::Execution;
use crate::command::class::Class;
use crate::measure::Outcome;
use crate::net::OutBuf;
use crate::route::scan::Walk;

/// An arena larger than this is given back when it becomes empty.
const KEEP_BYTES_MAX: usize = 16 * 1024;
/// Dead bytes in the arena are squeezed out when they are this many and the larger half.
const SQUEEZE_BYTES_MIN: usize = 32 * 1024;
const KEEP_SEATS_MAX: usize = 64;

/// The seats of one session.
#[derive(Debug, Default)]
pub struct Replies {
    seats: VecDeque<Place>,
    /// The number of the head seat (wrapping).
    first: u32,
    arena: Vec<u8>,
    arena_live: usize,
    /// Messages that no request asked for, each behind the seat of this number.
    late: VecDeque<(u32, Box<[u8]>)>,
    late_bytes: usize,
}

#[derive(Debug)]
struct Place {
    seat: Seat,
    /// The client wants no reply: whatever comes is dropped.
    silent: bool,
    class: Class,
    /// If it ends with an error, that is one of ours.
    failed: bool,
}

/// The seat of a request has got its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "it is counted"]
pub struct Ended {
    pub class: Class,
    /// As the reply says, and whose it is.
    pub outcome: Outcome,
}

/// What a seat waits for, or holds.
#[derive(Debug)]
pub enum Seat {
    /// One reply, passed on as it is.
    Waits,
    /// Several replies that become one: the hub's gather of this index.
    Gathers(u32),
    /// A step of a walk through the keyspace.
    Walks(Box<Walk>),
    /// The replies to the blocks of a transaction.
    Executes(Box<Execution>),
    /// A reply whose beginning has left; at the head.
    Passes,
    /// A reply that is early, in the arena.
    Full { at: u32, len: u32 },
    /// No reply: the connection ends when its turn comes.
    Closes,
}

impl Replies {
    /// Opens the next seat and returns its number.
    #[inline(always)]
    pub fn open(&mut self, seat: Seat, silent: bool, class: Class) -> u32 {
        let number = self.first.wrapping_add(to_u32(self.seats.len()));
        self.seats.push_back(Place {
            seat,
            silent,
            class,
            failed: false,
        });
        number
    }

    /// An error that was made here is a part of what this seat waits for.
    pub fn note_failed(&mut self, number: u32) {
        if let Some(place) = self.seats.get_mut(number.wrapping_sub(self.first) as usize) {
            place.failed = true;
        }
    }

    /// The seat of this number, if it has not left.
    pub fn seat_mut(&mut self, number: u32) -> Option<&mut Seat> {
        self.seats
            .get_mut(number.wrapping_sub(self.first) as usize)
            .map(|place| &mut place.seat)
    }

    /// Whether the seat of this number still waits.
    pub fn is_open(&self, number: u32) -> bool {
        let place = self.seats.get(number.wrapping_sub(self.first) as usize);
        place.is_some_and(|place| !matches!(place.seat, Seat::Full { .. }))
    }

    /// Fills a seat with what `write` appends; it and all that waited only for it go to `out`.
    pub fn fill_with(
        &mut self,
        number: u32,
        out: &mut OutBuf,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Ended {
        let mut outcome = Outcome::Ok;
        let (class, failed) = self.put(number, out, |into| {
            let at = into.len();
            write(into);
            outcome = Outcome::of(into.get(at..).unwrap_or_default());
        });
        if outcome == Outcome::Error && failed {
            outcome = Outcome::Failed;
        }
        Ended { class, outcome }
    }

    /// The class of its request, and whether an error is ours.
    fn put(
        &mut self,
        number: u32,
        out: &mut OutBuf,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> (Class, bool) {
        let index = number.wrapping_sub(self.first) as usize;
        let Some(place) = self.seats.get_mut(index) else {
            debug_assert!(false, "a seat is filled once");
            return (Class::default(), false);
        };
        let into = if index == 0 {
            out.tail()
        } else {
            &mut self.arena
        };
        let at = into.len();
        write(into);
        let put = (place.class, place.failed);
        if place.silent {
            into.truncate(at);
        }
        if index == 0 {
            self.leave(out);
            self.drain(out);
        } else {
            let len = self.arena.len() - at;
            self.arena_live += len;
            place.seat = Seat::Full {
                at: to_u32(at),
                len: to_u32(len),
            };
            self.squeeze();
        }
        put
    }

    /// Fills a seat with a whole frame.
    pub fn fill(&mut self, number: u32, out: &mut OutBuf, frame: &[u8]) -> Ended {
        self.fill_with(number, out, |buf| buf.extend_from_slice(frame))
    }

    /// As [`Replies::fill`] with a frame that is no error, or what is left of it, if the seat waits for a whole frame and its client
    /// wants it. None: nothing was done.
    pub fn pass(&mut self, number: u32, out: &mut OutBuf, frame: &[u8]) -> Option<Class> {
        let index = number.wrapping_sub(self.first) as usize;
        let class = match self.seats.get(index) {
            Some(Place {
                seat: Seat::Waits,
                silent: false,
                class,
                ..
            }) => *class,
            Some(_) | None => return None,
        };
        if index > 0 || !self.late.is_empty() {
            return Some(self.put(number, out, |buf| buf.extend_from_slice(frame)).0);
        }
        out.push_copy(frame);
        self.seats.pop_front();
        self.first = self.first.wrapping_add(1);
        self.drain(out);
        Some(class)
    }

    /// Whether the next thing that leaves is the reply for this seat, as it is.
    pub fn is_next(&self, number: u32) -> bool {
        let waits = matches!(
            self.seats.front(),
            Some(Place {
                seat: Seat::Waits,
                silent: false,
                ..
            })
        );
        waits && number == self.first && self.late.is_empty()
    }

    /// The reply for this seat leaves as it arrives, if it is the next; false: it has to wait.
    pub fn begin_passing(&mut self, number: u32) -> bool {
        let is_next = self.is_next(number);
        if let Some(place) = self.seats.front_mut().filter(|_| is_next) {
            place.seat = Seat::Passes;
        }
        is_next
    }

    /// A reply is on its way out that has not arrived to its end: nothing may come in between.
    pub fn is_passing(&self) -> bool {
        let head = self.seats.front();
        head.is_some_and(|place| matches!(place.seat, Seat::Passes))
    }

    /// The reply that passes has left to its end; all that waited only for it go to `out`.
    pub fn end_passing(&mut self, out: &mut OutBuf) -> Option<Class> {
        let class = self.seats.front()?.class;
        self.is_passing().then(|| {
            self.leave(out);
            self.drain(out);
            class
        })
    }

    /// A message that no request asked for: behind every reply that has come before it.
    pub fn interject(&mut self, message: &[u8], out: &mut OutBuf) {
        let answered = |place: &Place| !matches!(place.seat, Seat::Waits);
        match self.seats.iter().rposition(answered) {
            None => out.push_copy(message),
            Some(index) => self.put_behind(index, message),
        }
    }

    /// As [`Replies::interject`], once more when all replies that are due now have left: they may be older than it.
    pub fn interject_twice(&mut self, message: &[u8], out: &mut OutBuf) {
        if self.is_passing() {
            self.put_behind(0, message);
        } else {
            out.push_copy(message);
        }
        if let Some(last) = self.seats.len().checked_sub(1) {
            self.put_behind(last, message);
        }
    }

    /// Puts a message behind the last seat that is open.
    pub fn interject_last(&mut self, message: &[u8]) {
        if let Some(last) = self.seats.len().checked_sub(1) {
            self.put_behind(last, message);
        }
    }

    /// Whether the connection is to end as soon as what is before has been written.
    pub fn closes(&self) -> bool {
        let head = self.seats.front();
        head.is_some_and(|place| matches!(place.seat, Seat::Closes))
    }

    pub fn len(&self) -> usize {
        self.seats.len()
    }

    pub fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    /// Bytes of early replies, and of messages behind them.
    pub fn held_bytes(&self) -> usize {
        self.arena_live + self.late_bytes
    }

    /// Every seat, to give back what it stands for when the session ends.
    pub fn seats(&self) -> impl Iterator<Item = &Seat> {
        self.seats.iter().map(|place| &place.seat)
    }

    fn leave(&mut self, out: &mut OutBuf) {
        self.seats.pop_front();
        let left = self.first;
        self.first = self.first.wrapping_add(1);
        while let Some((behind, message)) = self.late.front()
            && *behind == left
        {
            self.late_bytes -= message.len();
            out.push_copy(message);
            self.late.pop_front();
        }
    }

    fn put_behind(&mut self, index: usize, message: &[u8]) {
        let behind = self.first.wrapping_add(to_u32(index));
        let before = |other: u32| other.wrapping_sub(self.first) as usize <= index;
        let place = self.late.partition_point(|(other, _)| before(*other));
        self.late.insert(place, (behind, message.into()));
        self.late_bytes += message.len();
    }

    fn drain(&mut self, out: &mut OutBuf) {
        while let Some(Place {
            seat: Seat::Full { at, len },
            ..
        }) = self.seats.front()
        {
            let (at, len) = (*at as usize, *len as usize);
            out.push_copy(self.arena.get(at..at + len).unwrap_or_default());
            self.arena_live -= len;
            self.leave(out);
        }
        if self.arena_live == 0 {
            self.arena.clear();
            if self.arena.capacity() > KEEP_BYTES_MAX {
                self.arena = Vec::new();
            }
        }
        if self.seats.is_empty() && self.seats.capacity() > KEEP_SEATS_MAX {
            self.seats = VecDeque::new();
        }
    }

    fn squeeze(&mut self) {
        let dead = self.arena.len() - self.arena_live;
        if dead < SQUEEZE_BYTES_MIN || dead < self.arena_live {
            return;
        }
        let mut squeezed = Vec::with_capacity(self.arena_live);
        for place in &mut self.seats {
            if let Seat::Full { at, len } = &mut place.seat {
                let from = *at as usize;
                *at = to_u32(squeezed.len());
                squeezed.extend_from_slice(
                    self.arena
                        .get(from..from + *len as usize)
                        .unwrap_or_default(),
                );
            }
        }
        self.arena = squeezed;
    }
}

/// What is early in one session is far less than 4 GiB: see `session_output_bytes_max`.
fn to_u32(n: usize) -> u32 {
    debug_assert!(u32::try_from(n).is_ok());
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(out: &OutBuf) -> String {
        let mut slices = [std::io::IoSlice::new(&[]); 4];
        let used = out.slices(&mut slices);
        let bytes = slices[..used].iter().flat_map(|slice| slice.to_vec());
        String::from_utf8(bytes.collect()).unwrap()
    }

    #[test]
    fn a_message_stands_behind_all_replies_that_came_before_it() {
        let (mut replies, mut out) = (Replies::default(), OutBuf::default());
        replies.interject(b"!0 ", &mut out);
        let seats: Vec<u32> = (0..4)
            .map(|_| replies.open(Seat::Waits, false, Class::Read))
            .collect();
        replies.interject(b"!1 ", &mut out);
        assert_eq!(text(&out), "!0 !1 ");
        let _ = replies.fill(seats[2], &mut out, b"c ");
        replies.interject(b"!2 ", &mut out);
        let _ = replies.fill(seats[1], &mut out, b"b ");
        replies.interject(b"!3 ", &mut out);
        assert_eq!((text(&out).as_str(), replies.held_bytes()), ("!0 !1 ", 10));
        let _ = replies.fill(seats[0], &mut out, b"a ");
        assert_eq!(text(&out), "!0 !1 a b c !2 !3 ");
        assert_eq!(replies.held_bytes(), 0);
        replies.interject(b"!4 ", &mut out);
        let _ = replies.fill(seats[3], &mut out, b"d ");
        assert_eq!(text(&out), "!0 !1 a b c !2 !3 !4 d ");
    }

    #[test]
    fn a_message_for_what_is_on_its_way_stands_behind_that_too() {
        let (mut replies, mut out) = (Replies::default(), OutBuf::default());
        replies.interject_twice(b"! ", &mut out);
        replies.interject_last(b"never ");
        assert_eq!(text(&out), "! ");
        let seats: Vec<u32> = (0..3)
            .map(|_| replies.open(Seat::Waits, false, Class::Read))
            .collect();
        replies.interject_twice(b"!! ", &mut out);
        let _ = replies.fill(seats[1], &mut out, b"b ");
        replies.interject(b"!b ", &mut out);
        let _ = replies.fill(seats[0], &mut out, b"a ");
        assert_eq!(text(&out), "! !! a b !b ");
        let _ = replies.fill(seats[2], &mut out, b"c ");
        assert_eq!(text(&out), "! !! a b !b c !! ");
    }
}
