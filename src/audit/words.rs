//! The pieces of a key's name, and which of them are values: numbers, hashes, UUIDs, and what no people write.

/// A word and the separators behind it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Piece {
    /// Letters and digits, or `*`, or letters and `*`.
    word: Box<[u8]>,
    /// What stands behind it, as a pattern: what would mean something there is `?`.
    separators: Box<[u8]>,
}

impl Piece {
    /// Whether its word may be any.
    pub(super) fn is_any(&self) -> bool {
        *self.word == *ANY
    }

    /// The same with any word.
    pub(super) fn any(&self) -> Self {
        Self {
            word: ANY.into(),
            separators: self.separators.clone(),
        }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.word);
        out.extend_from_slice(&self.separators);
    }
}

/// The pieces of a name, or of a pattern that was made of some: then they are the same again.
pub(super) fn pieces(name: &[u8]) -> Vec<Piece> {
    let mut rest = name;
    let mut pieces: Vec<Piece> = Vec::new();
    let mut bytes = 0;
    while !rest.is_empty() {
        let is_last = pieces.len() + 1 == PIECES_MAX || bytes > BYTES_MAX;
        let (next, behind) = if is_last {
            (piece(ANY, &[]), &[][..])
        } else {
            let (word, behind) = split_word(rest);
            let count = behind.iter().take_while(|byte| is_separator(byte)).count();
            let (separators, behind) = behind.split_at(count.min(SEPARATORS_MAX));
            bytes += word.len() + separators.len();
            (piece(&generalized(word), separators), behind)
        };
        rest = behind;
        match pieces.last_mut().filter(|last| belongs_to(last, &next)) {
            // Dates, addresses: one value.
            Some(last) => *last = next,
            None => pieces.push(next),
        }
    }
    if pieces.is_empty() {
        // A rule fits the empty name only if it fits all.
        pieces.push(piece(ANY, &[]));
    }
    pieces
}

fn piece(word: &[u8], separators: &[u8]) -> Piece {
    let shown = |byte: &u8| {
        if IN_PATTERNS.contains(byte) {
            *byte
        } else {
            b'?'
        }
    };
    Piece {
        word: word.into(),
        separators: separators.iter().map(shown).collect(),
    }
}

/// Whether two values with a dash between them are one.
fn belongs_to(last: &Piece, next: &Piece) -> bool {
    let is_joined = matches!(*last.separators, [b'-' | b'.' | b'_']);
    last.is_any() && next.is_any() && is_joined
}

/// The word that a name begins with, and what is behind it.
fn split_word(name: &[u8]) -> (&[u8], &[u8]) {
    let end = name.iter().position(is_separator).unwrap_or(name.len());
    let is_uuid =
        name.get(..UUID_LEN).is_some_and(is_uuid) && name.get(UUID_LEN).is_none_or(is_separator);
    name.split_at(if is_uuid { UUID_LEN } else { end })
}

fn is_uuid(text: &[u8]) -> bool {
    (0..).zip(text).all(|(at, byte)| match at {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    })
}

/// A word of people as it is; else `*`, with the letters in front if digits follow them.
fn generalized(word: &[u8]) -> Vec<u8> {
    let is_plain = word.iter().all(u8::is_ascii_alphanumeric);
    let digits = word.iter().filter(|byte| byte.is_ascii_digit()).count();
    let letters = word.iter().take_while(|b| b.is_ascii_alphabetic()).count();
    let stem = word.get(..letters).unwrap_or_default();
    let behind = word.get(letters..).unwrap_or_default();
    let is_hash =
        digits > 0 && word.len() >= HASH_LEN_MIN && word.iter().all(u8::is_ascii_hexdigit);
    let is_numbered = letters > 0 && (behind == ANY || behind.iter().all(u8::is_ascii_digit));
    if word.is_empty() || word.len() <= WORD_LEN_MAX && is_plain && digits == 0 {
        return word.to_vec();
    }
    let is_value = word.len() > WORD_LEN_MAX
        || digits == word.len()
        || is_hash
        || letters == 0 && digits > 0 && word.len() >= HASH_LEN_MIN;
    if is_numbered && !is_value {
        return [stem, ANY].concat();
    }
    let is_long = digits > 0 && word.len() >= MIXED_LEN_MIN;
    if is_value || is_long || !is_plain {
        ANY.to_vec()
    } else {
        word.to_vec()
    }
}

fn is_separator(byte: &u8) -> bool {
    byte.is_ascii() && !byte.is_ascii_alphanumeric() && !byte.is_ascii_control() && *byte != b'*'
}

const ANY: &[u8] = b"*";
/// Separators that mean nothing in a pattern, in a rule or in a shell's quotation marks.
const IN_PATTERNS: &[u8] = b":/.|-_#@{},;+~$%&()<>!]^`";
/// Pieces of a name that are looked at; the rest is `*`.
const PIECES_MAX: usize = 16;
/// Bytes of a name that are looked at.
const BYTES_MAX: usize = 128;
const SEPARATORS_MAX: usize = 4;
const UUID_LEN: usize = 36;
/// From this length on, hexadecimal digits are a hash.
const HASH_LEN_MIN: usize = 4;
/// From this length on, letters and digits mixed are made by a program.
const MIXED_LEN_MIN: usize = 8;
/// The longest word of people.
const WORD_LEN_MAX: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(name: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        pieces(name).iter().for_each(|piece| piece.write(&mut out));
        out
    }

    #[test]
    fn a_pattern_is_its_own_pattern() {
        let mut random = 7_u64;
        for _ in 0..20_000 {
            let mut name = Vec::new();
            for _ in 0..random % 40 {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                name.push(b"ab1*:-_. {}?[\\\xe4\0\nzZ9f4#/|'\"=]^"[(random >> 40) as usize % 30]);
            }
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let once = pattern(&name);
            assert_eq!(pattern(&once), once, "{name:?} {once:?}");
            let fits = crate::route::glob::matches(&once, &name);
            assert!(fits || name.is_empty(), "{name:?} {once:?}");
        }
    }
}
