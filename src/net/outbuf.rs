//! What is to be written to one connection: small pieces copied into one contiguous buffer, large ones
//! kept by reference, in the order in which they came.
//!
//! Copying a small piece is cheaper than keeping it alive and gives one long slice to write; copying a
//! large one is not. An empty `OutBuf` holds no more than [`IDLE_BYTES_MAX`] bytes of memory, none at all
//! after [`OutBuf::release`].
//!
//! Invariants: `start <= copied.len()`; for each shared piece `start <= at <= copied.len()`; the `at` never
//! descend; no shared piece is empty.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

use super::Pool;

/// From this length on, [`OutBuf::push_bytes`] keeps a reference instead of copying.
pub const LARGE_BYTES_MIN: usize = 8 * 1024;

/// An ordered queue of bytes on their way out.
#[derive(Debug, Default)]
pub struct OutBuf {
    /// All copied bytes, those before `start` gone already.
    copied: Vec<u8>,
    start: usize,
    shared: VecDeque<Shared>,
    shared_len: usize,
}

/// A piece kept by reference.
#[derive(Debug)]
struct Shared {
    /// It leaves when the copied bytes before this offset have left.
    at: usize,
    bytes: Bytes,
}

impl OutBuf {
    /// Empty, without memory.
    pub const fn new() -> Self {
        Self {
            copied: Vec::new(),
            start: 0,
            shared: VecDeque::new(),
            shared_len: 0,
        }
    }

    /// Appends a copy.
    pub fn push_copy(&mut self, bytes: &[u8]) {
        self.copied.extend_from_slice(bytes);
    }

    /// Appends `bytes`, by reference from [`LARGE_BYTES_MIN`] on, else as a copy, so that a few bytes do
    /// not keep the buffer alive that they were cut from.
    pub fn push_bytes(&mut self, bytes: Bytes) {
        if bytes.len() < LARGE_BYTES_MIN {
            return self.push_copy(&bytes);
        }
        self.shared_len += bytes.len();
        self.shared.push_back(Shared {
            at: self.copied.len(),
            bytes,
        });
    }

    /// The contiguous end, to be written to directly. Append only: what is in it belongs to others.
    pub fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.copied
    }

    /// Takes `n` bytes off the front: they are written. `n <= len()`; what is beyond is ignored.
    pub fn advance(&mut self, n: usize) {
        debug_assert!(n <= self.len(), "{n} bytes written of {}", self.len());
        let mut left = n;
        if self.shared.is_empty() {
            self.start = self.copied.len().min(self.start + n);
            left = 0;
        }
        while left > 0 && !self.is_empty() {
            let until = self.shared.front().map_or(self.copied.len(), |s| s.at);
            let copied = left.min(until - self.start);
            self.start += copied;
            left -= copied;
            left -= self.advance_shared(left);
        }
        if self.is_empty() {
            self.reset();
        } else if self.start >= COMPACT_BYTES_MIN && self.start > self.copied.len() / 2 {
            self.compact();
        }
    }

    /// Gets a buffer from `pool` if it has none: call before writing.
    pub fn adopt(&mut self, pool: &mut Pool) {
        if self.copied.capacity() == 0 {
            self.copied = pool.take();
        }
    }

    /// If everything is written, gives its buffer to `pool` and holds no memory any more.
    pub fn release(&mut self, pool: &mut Pool) {
        if self.is_empty() {
            pool.give(std::mem::take(&mut self.copied));
            self.start = 0;
            if self.shared.capacity() > 0 {
                self.shared = VecDeque::new();
            }
        }
    }

    /// What is to be written, if that is one piece.
    #[inline]
    pub fn one_slice(&self) -> Option<&[u8]> {
        if self.shared.is_empty() {
            self.copied.get(self.start..)
        } else {
            None
        }
    }

    /// Bytes not written yet.
    pub fn len(&self) -> usize {
        self.copied.len() - self.start + self.shared_len
    }

    /// `len() == 0`
    pub fn is_empty(&self) -> bool {
        self.start == self.copied.len() && self.shared.is_empty()
    }

    /// Bytes of memory that are its own: what [`OutBuf::push_bytes`] keeps by reference is not counted.
    pub fn capacity(&self) -> usize {
        self.copied.capacity() + self.shared.capacity() * size_of::<Shared>()
    }

    /// Fills `into` from the front with what is to be written next, for one vectored write, and says how
    /// many slices there are. None is empty. If `into` is too short for all, a later call gives the rest.
    pub fn slices<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        let mut places = into.iter_mut();
        let mut filled = 0;
        let mut put = |bytes: &'a [u8]| {
            if bytes.is_empty() {
                return true;
            }
            let Some(place) = places.next() else {
                return false;
            };
            *place = IoSlice::new(bytes);
            filled += 1;
            true
        };
        let mut from = self.start;
        for piece in &self.shared {
            if !put(self.copied.get(from..piece.at).unwrap_or_default()) || !put(&piece.bytes) {
                return filled;
            }
            from = piece.at;
        }
        put(self.copied.get(from..).unwrap_or_default());
        filled
    }

    /// Takes up to `n` bytes off the first shared piece if its turn has come; says how many.
    fn advance_shared(&mut self, n: usize) -> usize {
        let Some(piece) = self.shared.front_mut().filter(|s| s.at == self.start) else {
            return 0;
        };
        let taken = n.min(piece.bytes.len());
        piece.bytes.advance(taken);
        self.shared_len -= taken;
        if piece.bytes.is_empty() {
            self.shared.pop_front();
        }
        taken
    }

    /// Everything is written: starts again at the front, and gives memory back if there is much.
    fn reset(&mut self) {
        self.copied.clear();
        self.start = 0;
        if self.copied.capacity() > IDLE_BYTES_MAX {
            self.copied = Vec::new();
        }
        if self.shared.capacity() > IDLE_PIECES_MAX {
            self.shared = VecDeque::new();
        }
    }

    /// Drops the copied bytes that are written. More is dropped than moved: constant time per byte.
    fn compact(&mut self) {
        self.copied.drain(..self.start);
        for piece in &mut self.shared {
            piece.at -= self.start;
        }
        self.start = 0;
    }
}

/// An empty buffer larger than this is freed: a burst should not be paid for while a client is idle.
const IDLE_BYTES_MAX: usize = 64 * 1024;
/// The same for the list of shared pieces.
const IDLE_PIECES_MAX: usize = 16;
/// Fewer written bytes than this are not worth moving what is behind them.
const COMPACT_BYTES_MIN: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What comes out when at most `slice_count` slices are offered to a writer that takes `step` bytes at a time.
    fn drain(out: &mut OutBuf, slice_count: usize, step: usize) -> Vec<u8> {
        let mut got = Vec::new();
        while !out.is_empty() {
            let taken = write_some(out, slice_count, step, &mut got);
            assert!(taken > 0, "no progress with {} bytes left", out.len());
        }
        got
    }

    fn write_some(out: &mut OutBuf, slice_count: usize, step: usize, got: &mut Vec<u8>) -> usize {
        let mut slices = vec![IoSlice::new(&[]); slice_count];
        let count = out.slices(&mut slices);
        assert!(slices.iter().take(count).all(|slice| !slice.is_empty()));
        let offered: Vec<u8> = slices
            .iter()
            .take(count)
            .flat_map(|s| s.iter().copied())
            .collect();
        let taken = step.min(offered.len());
        got.extend_from_slice(&offered[..taken]);
        out.advance(taken);
        taken
    }

    #[test]
    fn small_pieces_leave_as_one_slice_and_large_ones_by_reference() {
        let large = Bytes::from(vec![b'L'; LARGE_BYTES_MIN]);
        let mut out = OutBuf::new();
        out.push_copy(b"ab");
        out.push_bytes(Bytes::from_static(b"cd"));
        out.tail().extend_from_slice(b"ef");
        out.push_bytes(large.clone());
        out.push_copy(b"gh");
        assert_eq!(out.len(), 8 + LARGE_BYTES_MIN);
        let mut slices = [IoSlice::new(&[]); 8];
        assert_eq!(out.slices(&mut slices), 3);
        assert_eq!(&*slices[0], b"abcdef");
        assert_eq!(slices[1].as_ptr(), large.as_ptr());
        assert_eq!(&*slices[2], b"gh");
        out.advance(7);
        let mut slices = [IoSlice::new(&[]); 1];
        assert_eq!(out.slices(&mut slices), 1);
        assert_eq!(slices[0].len(), LARGE_BYTES_MIN - 1);
    }

    #[test]
    fn an_empty_buffer_gives_much_memory_back_and_keeps_little() {
        let mut out = OutBuf::new();
        assert_eq!(out.capacity(), 0);
        out.push_copy(&[0; 100]);
        out.advance(100);
        let little = out.capacity();
        assert!(little >= 100);
        out.push_copy(&vec![0; 10 * IDLE_BYTES_MAX]);
        for _ in 0..IDLE_PIECES_MAX + 1 {
            out.push_bytes(Bytes::from(vec![0; LARGE_BYTES_MIN]));
        }
        out.advance(out.len());
        assert_eq!(out.capacity(), 0);
    }

    #[test]
    fn a_released_buffer_goes_to_the_pool_and_comes_back() {
        let mut pool = Pool::new(4 * 4096, 4096);
        let mut out = OutBuf::new();
        out.push_copy(b"hello");
        out.release(&mut pool);
        assert_eq!((out.len(), pool.len()), (5, 0), "not yet written");
        out.advance(5);
        out.release(&mut pool);
        assert_eq!((out.capacity(), pool.len()), (0, 1));
        out.adopt(&mut pool);
        out.adopt(&mut pool);
        assert!(out.capacity() >= 5 && out.is_empty() && pool.is_empty());
    }

    #[test]
    fn a_writer_that_never_catches_up_does_not_grow_the_buffer() {
        let mut out = OutBuf::new();
        for _ in 0..10_000 {
            out.push_copy(&[7; 1000]);
            if out.len() > 10_000 {
                out.advance(1000);
            }
        }
        assert!(out.capacity() < 4 * COMPACT_BYTES_MIN, "{}", out.capacity());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Copy(usize),
        Share(usize),
        Tail(usize),
        Write { slices: usize, bytes: usize },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let length = prop_oneof![
            4 => 0..200_usize,
            2 => LARGE_BYTES_MIN - 1..LARGE_BYTES_MIN + 2,
            1 => 20_000..80_000_usize,
        ];
        let step = prop_oneof![
            length.clone().prop_map(Step::Copy),
            length.clone().prop_map(Step::Share),
            length.clone().prop_map(Step::Tail),
            (1..5_usize, length).prop_map(|(slices, bytes)| Step::Write { slices, bytes }),
        ];
        proptest::collection::vec(step, 0..40)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_goes_in_comes_out_whatever_is_written_when(steps in steps(), rest in 1..100_000_usize) {
            let mut out = OutBuf::new();
            let (mut given, mut got) = (Vec::new(), Vec::new());
            let mut seed = 0_u8;
            let mut bytes = |n: usize| -> Vec<u8> {
                seed = seed.wrapping_add(1);
                (0..=250).cycle().take(n).map(|i: u8| i.wrapping_add(seed)).collect()
            };
            for step in steps {
                let new = match step {
                    Step::Copy(n) => { let new = bytes(n); out.push_copy(&new); new }
                    Step::Share(n) => { let new = bytes(n); out.push_bytes(Bytes::from(new.clone())); new }
                    Step::Tail(n) => { let new = bytes(n); out.tail().extend_from_slice(&new); new }
                    Step::Write { slices, bytes } => { write_some(&mut out, slices, bytes, &mut got); Vec::new() }
                };
                given.extend_from_slice(&new);
                prop_assert_eq!(out.len(), given.len() - got.len());
                prop_assert_eq!(out.is_empty(), given.len() == got.len());
            }
            got.extend(drain(&mut out, 2, rest));
            prop_assert!(got == given);
            prop_assert!(out.capacity() <= IDLE_BYTES_MAX + 1024);
        }
    }
}
