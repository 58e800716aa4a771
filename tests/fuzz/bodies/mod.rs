//! What must hold for any bytes whatever. Run by the fuzzer (`targets/`) on what it invents, and by the property tests on
//! the corpus (`corpus/`) and on random bytes.

#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a body says what is wrong by a panic"
)]

pub(crate) mod control;
pub(crate) mod hub;
pub(crate) mod replies;
pub(crate) mod requests;
#[allow(dead_code, reason = "shared with the simulation, which uses all of it")]
#[path = "../../sim/rig.rs"]
pub(crate) mod rig;

/// Bytes read as decisions; zeros when they are used up.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    /// A number below `end`, which is at most 256.
    fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end
    }

    fn number(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// As many bytes as the next one says, or what is left.
    fn chunk(&mut self) -> &'a [u8] {
        let len = usize::from(self.byte()).min(self.0.len());
        let (chunk, rest) = self.0.split_at(len);
        self.0 = rest;
        chunk
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// Places at which to cut `len` bytes, the last at `len`: a pattern of steps that is repeated.
    fn cuts(&mut self, len: usize) -> Vec<usize> {
        let steps = [self.byte(), self.byte(), self.byte()];
        let mut cuts = Vec::new();
        let mut at = 0;
        for step in steps.into_iter().cycle() {
            at += 1 + usize::from(step);
            if at >= len {
                break;
            }
            cuts.push(at);
        }
        cuts.push(len);
        cuts
    }
}
