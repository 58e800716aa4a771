//! What requests and replies have in common: numbers, header lines, and what follows a header line.
//!
//! Stateless. The scanners remember how far they are; the view of a reply starts anew at each value.

/// Reads a decimal number as the servers do (`string2ll`): an optional `-`, no `+`, no leading zeros, no spaces.
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() <= I64_DIGITS_MAX => {}
        _ => return None,
    }
    let mut value = 0u64;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + u64::from(digit);
    }
    if negative {
        0i64.checked_sub_unsigned(value)
    } else {
        i64::try_from(value).ok()
    }
}

/// Reads `<digits>\r\n` at the start of `line` where it is whole, ordinary and not negative: the number and how
/// many bytes it took. `None` means no more than "look closer": torn, long, signed or wrong.
#[inline]
pub(super) fn plain_length(line: &[u8]) -> Option<(u32, usize)> {
    match line {
        [a @ b'0'..=b'9', b'\r', b'\n', ..] => Some((digit(*a), 3)),
        [a @ b'1'..=b'9', b @ b'0'..=b'9', b'\r', b'\n', ..] => {
            Some((digit(*a) * 10 + digit(*b), 4))
        }
        [b'1'..=b'9', ..] => longer_length(line),
        _ => None,
    }
}

/// As [`plain_length`] for up to nine digits: every length below 1 GB.
fn longer_length(line: &[u8]) -> Option<(u32, usize)> {
    let mut value = 0;
    for (at, &byte) in line.iter().enumerate().take(10) {
        match byte {
            b'0'..=b'9' if at < 9 => value = value * 10 + digit(byte),
            b'\r' if line.get(at + 1) == Some(&b'\n') => return Some((value, at + 2)),
            _ => return None,
        }
    }
    None
}

#[inline]
fn digit(byte: u8) -> u32 {
    u32::from(byte.wrapping_sub(b'0'))
}

/// Where the first `\r\n` at or after `from` starts; else from where to look again when there are more bytes.
#[inline]
pub(super) fn find_line_end(bytes: &[u8], from: usize) -> Result<usize, usize> {
    let mut from = from;
    loop {
        let Some(found) = bytes
            .get(from..)
            .and_then(|rest| memchr::memchr(b'\r', rest))
        else {
            return Err(from.max(bytes.len()));
        };
        let at = from + found;
        match bytes.get(at + 1) {
            Some(b'\n') => return Ok(at),
            Some(_) => from = at + 1,
            None => return Err(at),
        }
    }
}

/// What comes after the header line of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Follow {
    /// The line is all.
    Nothing,
    /// This many bytes and a line end.
    Bytes(u64),
    /// This many values (a pair is two).
    Values(u64),
    /// This many values that describe the value that comes after them.
    Attribute(u64),
}

/// How the header line of a reply is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// The content stands in the line.
    Line,
    /// The line holds a length, bytes follow.
    Blob,
    /// The line holds a number of values.
    List,
    /// The line holds a number of pairs of values.
    Pairs,
    /// As [`Shape::Pairs`], and then the value that they belong to.
    Attribute,
}

impl Shape {
    /// `None` where no RESP type starts with this byte.
    #[inline]
    pub(super) fn of(first: u8) -> Option<Shape> {
        match first {
            b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => Some(Shape::Line),
            b'$' | b'=' | b'!' => Some(Shape::Blob),
            b'*' | b'~' | b'>' => Some(Shape::List),
            b'%' => Some(Shape::Pairs),
            b'|' => Some(Shape::Attribute),
            _ => None,
        }
    }

    /// What a header line with this number announces. `None` where the number is not possible.
    #[inline]
    pub(super) fn follow(self, first: u8, number: i64) -> Option<Follow> {
        if number == -1 && matches!(first, b'$' | b'*') {
            return Some(Follow::Nothing);
        }
        let number = u64::try_from(number).ok()?;
        Some(match self {
            Shape::Line => Follow::Nothing,
            Shape::Blob => Follow::Bytes(number),
            Shape::List => Follow::Values(number),
            Shape::Pairs => Follow::Values(number.saturating_mul(2)),
            Shape::Attribute => Follow::Attribute(number.saturating_mul(2)),
        })
    }
}

/// `i64::MAX` has 19 digits; 19 digits always fit a `u64`.
const I64_DIGITS_MAX: usize = 19;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_the_servers_read_them() {
        let cases: &[(&str, Option<i64>)] = &[
            ("0", Some(0)),
            ("7", Some(7)),
            ("-1", Some(-1)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("-9223372036854775809", None),
            ("9999999999999999999", None),
            ("99999999999999999999", None),
            ("", None),
            ("-", None),
            ("-0", None),
            ("00", None),
            ("01", None),
            ("+1", None),
            (" 1", None),
            ("1 ", None),
            ("1a", None),
            ("?", None),
        ];
        for &(text, expected) in cases {
            assert_eq!(parse_i64(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn a_plain_length_is_whole_and_ordinary() {
        let cases: &[(&str, Option<(u32, usize)>)] = &[
            ("0\r\n", Some((0, 3))),
            ("3\r\nfoo", Some((3, 3))),
            ("10\r\n", Some((10, 4))),
            ("999999999\r\n", Some((999_999_999, 11))),
            ("1000000000\r\n", None),
            ("01\r\n", None),
            ("-1\r\n", None),
            ("3\r", None),
            ("3\rx", None),
            ("3", None),
            ("\r\n", None),
            ("", None),
        ];
        for &(line, expected) in cases {
            assert_eq!(plain_length(line.as_bytes()), expected, "{line:?}");
        }
    }

    #[test]
    fn a_line_end_is_found_or_it_is_known_where_to_look_again() {
        let cases: &[(&str, usize, Result<usize, usize>)] = &[
            ("ab\r\n", 0, Ok(2)),
            ("a\rb\r\n", 0, Ok(3)),
            ("a\r\r\n", 0, Ok(2)),
            ("a\r\nb\r\n", 2, Ok(4)),
            ("ab", 0, Err(2)),
            ("ab\r", 0, Err(2)),
            ("", 0, Err(0)),
            ("", 5, Err(5)),
        ];
        for &(line, from, expected) in cases {
            assert_eq!(find_line_end(line.as_bytes(), from), expected, "{line:?}");
        }
    }
}
