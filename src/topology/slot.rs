//! Hash slots: which of the 16,384 a key belongs to.
//!
//! Source: the cluster specification, "Key distribution model" and "Hash tags".

use std::fmt;

/// How many hash slots a cluster has.
pub const SLOT_COUNT: usize = 16_384;

/// How keys are spread over slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keyspace {
    /// By their hash, as in a cluster.
    #[default]
    Hashed,
    /// All of them are in slot 0: one server has everything, and may use all of it in one request.
    Whole,
}

impl Keyspace {
    #[inline]
    pub fn slot(self, key: &[u8]) -> Slot {
        match self {
            Self::Hashed => Slot::of_key(key),
            Self::Whole => Slot::FIRST,
        }
    }
}

/// One of the 16,384 hash slots. `0 <= .0 < 16384`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(u16);

impl Slot {
    /// Slot 0.
    pub const FIRST: Self = Self(0);

    /// The slot with this number; `None` from 16,384 on.
    pub const fn new(number: u16) -> Option<Self> {
        if (number as usize) < SLOT_COUNT {
            Some(Self(number))
        } else {
            None
        }
    }

    /// The slot of a key: CRC16 (XMODEM) of its hash tag, modulo 16,384.
    pub fn of_key(key: &[u8]) -> Self {
        Self(crc16(hash_tag(key)) & MASK)
    }

    /// The slot of all keys that fit a pattern, as far as its hash tag says that: what nodes ask of `SORT … BY`. Source: `patternHashSlot`
    /// in `cluster.c` (Valkey 8.0, Redis 7.4).
    pub fn of_pattern(pattern: &[u8]) -> Option<Self> {
        let special = pattern.iter().position(|byte| b"*?[\\".contains(byte));
        let literal = pattern.get(..special.unwrap_or(pattern.len()))?;
        let is_tagged = hash_tag(literal).len() < literal.len();
        (special.is_none() || is_tagged).then(|| Self::of_key(literal))
    }

    /// The number as a server prints it.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// The number as an index into a table of [`SLOT_COUNT`] rows.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Neighbouring slots, both ends included. `first <= last`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotRange {
    first: Slot,
    last: Slot,
}

impl SlotRange {
    /// Every slot there is.
    pub const ALL: Self = Self {
        first: Slot(0),
        last: Slot(MASK),
    };

    /// The slots from `first` to `last`; `None` if they are in the wrong order.
    pub fn new(first: Slot, last: Slot) -> Option<Self> {
        (first <= last).then_some(Self { first, last })
    }

    pub const fn first(self) -> Slot {
        self.first
    }

    pub const fn last(self) -> Slot {
        self.last
    }

    /// How many slots. `1 <= count <= 16384`
    pub const fn count(self) -> usize {
        self.last.index() - self.first.index() + 1
    }

    /// What is between and around `ranges`, which are ascending and disjoint.
    pub fn gaps(ranges: &[Self]) -> Vec<Self> {
        let mut gaps = Vec::new();
        let mut next = 0;
        for range in ranges {
            if next < range.first.0 {
                let last = Slot(range.first.0 - 1);
                gaps.extend(Self::new(Slot(next), last));
            }
            next = range.last.0 + 1;
        }
        if next <= MASK {
            gaps.extend(Self::new(Slot(next), Slot(MASK)));
        }
        gaps
    }

    /// The slots in ascending order.
    pub fn slots(self) -> impl Iterator<Item = Slot> {
        (self.first.0..=self.last.0).map(Slot)
    }
}

impl fmt::Display for SlotRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            self.first.fmt(f)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// What of a key is hashed: the bytes between the first `{` and the next `}` if there are any, else all of it.
fn hash_tag(key: &[u8]) -> &[u8] {
    if !has_open_brace(key) {
        return key;
    }
    let Some(after_open) = memchr::memchr(b'{', key).and_then(|open| key.get(open + 1..)) else {
        return key;
    };
    match memchr::memchr(b'}', after_open) {
        None | Some(0) => key,
        Some(end) => after_open.get(..end).unwrap_or(key),
    }
}

/// Eight bytes at a time: keys are short, and few have one.
#[inline]
fn has_open_brace(key: &[u8]) -> bool {
    const ONES: u64 = u64::MAX / 255;
    const BRACES: u64 = ONES * b'{' as u64;
    let (eights, rest) = key.as_chunks::<8>();
    // A byte that is zero borrows from its neighbour: the lowest one that is marked is right, and one is enough.
    let has_one = |eight: &[u8; 8]| {
        let differences = u64::from_ne_bytes(*eight) ^ BRACES;
        differences.wrapping_sub(ONES) & !differences & (ONES << 7) != 0
    };
    eights.iter().any(has_one) || rest.contains(&b'{')
}

/// CRC16 (XMODEM), eight bytes at a time ("slicing by 8", Kounavis and Berry 2005): each byte's contribution is looked up for
/// its distance from the end, so that no lookup waits for the one before it.
fn crc16(bytes: &[u8]) -> u16 {
    let (eights, rest) = bytes.as_chunks::<8>();
    let mut sum = 0u16;
    for &[a, b, c, d, e, f, g, h] in eights {
        let [high, low] = sum.to_be_bytes();
        sum = at(7, a ^ high)
            ^ at(6, b ^ low)
            ^ at(5, c)
            ^ at(4, d)
            ^ at(3, e)
            ^ at(2, f)
            ^ at(1, g)
            ^ at(0, h);
    }
    for &byte in rest {
        let [high, low] = sum.to_be_bytes();
        sum = at(0, byte ^ high) ^ u16::from_be_bytes([low, 0]);
    }
    sum
}

/// What `byte` adds to the sum if `distance` bytes follow it.
fn at(distance: usize, byte: u8) -> u16 {
    TABLES[distance][usize::from(byte)]
}

static TABLES: [[u16; 256]; 8] = tables();

const fn tables() -> [[u16; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte: u16 = 0;
    while byte < 256 {
        // 1021 hexadecimal: x^16 + x^12 + x^5 + 1.
        let (mut sum, mut bit) = (byte << 8, 0);
        while bit < 8 {
            sum = (sum << 1) ^ (0x1021 * (sum >> 15));
            bit += 1;
        }
        tables[0][byte as usize] = sum;
        byte += 1;
    }
    let mut distance = 1;
    while distance < 8 {
        let mut byte = 0;
        while byte < 256 {
            let sum: u16 = tables[distance - 1][byte];
            tables[distance][byte] = tables[0][(sum >> 8) as usize] ^ (sum << 8);
            byte += 1;
        }
        distance += 1;
    }
    tables
}

const MASK: u16 = 16_383;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_has_a_slot_if_all_that_fits_it_has() {
        for (pattern, slot) in [
            (&b"{a}w_*"[..], Some(Slot::of_key(b"a"))),
            (b"x{a}w", Some(Slot::of_key(b"a"))),
            (b"plain", Some(Slot::of_key(b"plain"))),
            (b"{}a*", None),
            (b"w_*", None),
            (b"*{a}", None),
            (b"{a?}*", None),
        ] {
            assert_eq!(Slot::of_pattern(pattern), slot, "{pattern:?}");
        }
    }

    #[test]
    fn slots_of_keys_are_those_that_a_server_computes() {
        // Source: `CLUSTER KEYSLOT` of redis-server 7.0.
        for (key, slot) in [
            (&b""[..], 0),
            (b"123456789", 12739),
            (b"foo", 12182),
            (b"foo{}{bar}", 8363),
            (b"foo{{bar}}zap", 4015),
            (b"foo{bar}{zap}", 5061),
            (b"{user1000}.following", 3443),
            (b"{user1000}.followers", 3443),
            (b"a{", 14311),
            (b"}{", 12793),
        ] {
            assert_eq!(Slot::of_key(key).get(), slot, "{}", key.escape_ascii());
        }
    }

    #[test]
    fn the_sum_is_the_one_that_everybody_else_computes() {
        let bytes: Vec<u8> = (0..=255).map(|n: u8| n.wrapping_mul(167) ^ 0x5a).collect();
        for start in 0..8 {
            for end in start..bytes.len() {
                let key = &bytes[start..end];
                let expected = crc16::State::<crc16::XMODEM>::calculate(key);
                assert_eq!(crc16(key), expected, "{start}..{end}");
            }
        }
    }

    #[test]
    fn only_the_first_tag_counts_and_only_when_it_is_not_empty() {
        for (key, tag) in [
            (&b"a"[..], &b"a"[..]),
            (b"{a}b", b"a"),
            (b"b{a}", b"a"),
            (b"{}a", b"{}a"),
            (b"{a", b"{a"),
            (b"a}", b"a}"),
            (b"}{a}", b"a"),
            (b"{a}{b}", b"a"),
            (b"{{a}}", b"{a"),
            (b"{", b"{"),
            (b"{\0}", b"\0"),
        ] {
            assert_eq!(hash_tag(key), tag, "{}", key.escape_ascii());
        }
    }

    #[test]
    fn numbers_outside_are_no_slots() {
        assert_eq!(Slot::new(16_383).map(Slot::get), Some(16_383));
        assert_eq!(Slot::new(16_384), None);
        assert_eq!(SlotRange::ALL.count(), SLOT_COUNT);
        let (two, one) = (Slot::new(2).unwrap(), Slot::new(1).unwrap());
        assert_eq!(SlotRange::new(two, one), None);
    }
}
