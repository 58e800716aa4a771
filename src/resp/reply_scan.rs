//! Cuts replies out of a byte stream: all of RESP2 and RESP3 that servers send.
//!
//! Does not look into values (a `:abc` is a frame), only for their ends. The streamed types of RESP3 (`$?`, `*?`) are
//! refused: no server sends them. Not recursive; memory is one counter for each level of nesting, up to a limit.

use super::grammar::{Follow, Shape, find_line_end, parse_i64, plain_length};
use std::fmt;

/// What a node's bytes may claim.
#[derive(Clone, Debug)]
pub struct ReplyLimits {
    /// Bytes of one string. Default 512 MiB (`proto-max-bulk-len`).
    pub bulk_bytes_max: u64,
    /// Values in one aggregate (a pair is two). Default 2^32 - 1, the most that a server's collection holds.
    pub elements_max: u64,
    /// Aggregates within one another. Default 128.
    pub depth_max: usize,
    /// Bytes of one line: a simple string, an error, a number. Default 1 MiB.
    pub line_bytes_max: usize,
    /// Bytes of one reply. Default 1 GiB: a client could not be given more (`session_output_bytes_max`).
    pub reply_bytes_max: u64,
}

/// What the scanner found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyScanned {
    /// A frame of this many bytes, attributes included.
    Complete(usize),
    /// Not complete; at least this many more bytes are needed.
    Wants(usize),
}

/// The node's bytes are not RESP, or more than the limits allow. The link is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyError {
    /// No type starts with this byte.
    Type(u8),
    /// A length that is not a number, or not a possible one.
    Length,
    /// A streamed string or aggregate.
    Streamed,
    /// No line end where one must be.
    LineEnd,
    /// A string is longer than `bulk_bytes_max`.
    BulkTooLong,
    /// A line is longer than `line_bytes_max`.
    LineTooLong,
    /// An aggregate has more values than `elements_max`.
    TooManyElements,
    /// More than `depth_max` levels.
    TooDeep,
    /// The reply is, or will be, longer than `reply_bytes_max`.
    TooLong,
}

/// Finds the end of one reply after another, however the stream is cut.
///
/// Looks at a byte once (the bodies of strings not at all).
#[derive(Debug, Default)]
pub struct ReplyScan {
    /// First byte of a header line, or of the line end behind a body.
    pos: usize,
    /// Bytes of this reply that have left the buffer.
    gone: usize,
    /// No line end before this byte of the line at `pos`.
    seen: usize,
    in_body: bool,
    /// Values that are missing at the innermost level; 0 only between frames.
    open: u64,
    /// The same for the levels around it, outermost first.
    outer: Vec<u64>,
}

impl Default for ReplyLimits {
    fn default() -> ReplyLimits {
        ReplyLimits {
            bulk_bytes_max: 512 << 20,
            elements_max: u64::from(u32::MAX),
            depth_max: 128,
            line_bytes_max: 1 << 20,
            reply_bytes_max: 1 << 30,
        }
    }
}

impl ReplyError {
    /// What is wrong, in a few words.
    pub fn reason(self) -> &'static str {
        match self {
            ReplyError::Type(_) => "a byte that no type starts with",
            ReplyError::Length => "an invalid length",
            ReplyError::Streamed => "a streamed type, which is not supported",
            ReplyError::LineEnd => "no line end where one must be",
            ReplyError::BulkTooLong => "a string longer than the limit",
            ReplyError::LineTooLong => "a line longer than the limit",
            ReplyError::TooManyElements => "more elements than the limit",
            ReplyError::TooDeep => "nested deeper than the limit",
            ReplyError::TooLong => "a reply longer than the limit",
        }
    }
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for ReplyError {}

impl ReplyScan {
    pub fn new() -> ReplyScan {
        ReplyScan::default()
    }

    /// Looks for the end of the reply that starts at `buf`'s first byte.
    ///
    /// After [`ReplyScanned::Wants`], call again with the same bytes (less what was [forgotten](ReplyScan::forget)) and
    /// more behind them. After [`ReplyScanned::Complete`] the next call starts with a new reply.
    #[inline]
    pub fn advance(
        &mut self,
        buf: &[u8],
        limits: &ReplyLimits,
    ) -> Result<ReplyScanned, ReplyError> {
        if self.open == 0 {
            if let Some(end) = whole_reply(buf, limits) {
                return Ok(ReplyScanned::Complete(end));
            }
            if buf.is_empty() {
                return Ok(ReplyScanned::Wants(SHORTEST));
            }
            self.open = 1;
        }
        self.values(buf, limits)
    }

    /// Forgets a reply that is not complete.
    pub fn reset(&mut self) {
        self.outer.clear();
        self.open = 0;
        self.start();
    }

    /// The first bytes of a reply have been looked at, its end has not been found.
    #[inline]
    pub fn is_torn(&self) -> bool {
        self.open > 0
    }

    /// How many of the first bytes of a buffer of `buffered` bytes are never looked at again: they may leave it before
    /// the reply is complete, if [`ReplyScan::forget`] is told.
    #[inline]
    pub fn settled(&self, buffered: usize) -> usize {
        self.pos.min(buffered)
    }

    /// The first `bytes` bytes have left the buffer; at most [`ReplyScan::settled`] ones.
    #[inline]
    pub fn forget(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.pos);
        self.gone = self.gone.saturating_add(bytes);
        self.pos = self.pos.saturating_sub(bytes);
        self.seen = self.seen.saturating_sub(bytes);
    }

    fn start(&mut self) {
        self.pos = 0;
        self.gone = 0;
        self.seen = 0;
        self.in_body = false;
    }

    fn values(&mut self, buf: &[u8], limits: &ReplyLimits) -> Result<ReplyScanned, ReplyError> {
        loop {
            if !self.in_body {
                match self.line(buf, limits)? {
                    Line::Wants(more) => return Ok(ReplyScanned::Wants(more)),
                    Line::Whole(Follow::Nothing) => self.check_length(0, 0, limits)?,
                    Line::Whole(Follow::Bytes(length)) => self.enter_body(length, limits)?,
                    Line::Whole(Follow::Values(count)) => {
                        if self.enter_aggregate(count, limits)? {
                            continue;
                        }
                    }
                    Line::Whole(Follow::Attribute(count)) => {
                        self.enter_attribute(count, limits)?;
                        continue;
                    }
                }
            }
            if self.in_body {
                let end = self.pos + LINE_END.len();
                if buf.len() < end {
                    return Ok(ReplyScanned::Wants(end - buf.len()));
                }
                if buf.get(self.pos..end) != Some(LINE_END) {
                    return Err(ReplyError::LineEnd);
                }
                self.in_body = false;
                self.line_at(end);
            }
            if self.leave_value() {
                let end = self.pos;
                self.start();
                return Ok(ReplyScanned::Complete(end));
            }
        }
    }

    fn enter_body(&mut self, length: u64, limits: &ReplyLimits) -> Result<(), ReplyError> {
        if length > limits.bulk_bytes_max {
            return Err(ReplyError::BulkTooLong);
        }
        let length = usize::try_from(length).map_err(|_| ReplyError::BulkTooLong)?;
        let end = self.pos.checked_add(length);
        match end.filter(|end| *end < usize::MAX - LINE_END.len()) {
            Some(end) => self.pos = end,
            None => return Err(ReplyError::BulkTooLong),
        }
        self.in_body = true;
        self.check_length(1, LINE_END.len() as u64, limits)
    }

    /// False for an empty one: it is a value already.
    fn enter_aggregate(&mut self, count: u64, limits: &ReplyLimits) -> Result<bool, ReplyError> {
        if count > limits.elements_max {
            return Err(ReplyError::TooManyElements);
        }
        if self.outer.len() >= limits.depth_max {
            return Err(ReplyError::TooDeep);
        }
        if count == 0 {
            return Ok(false);
        }
        self.check_length(count, SHORTEST as u64, limits)?;
        self.outer.push(self.open - 1);
        self.open = count;
        Ok(true)
    }

    /// An attribute and the value that it belongs to count as so many values more at the same level: no nesting.
    fn enter_attribute(&mut self, count: u64, limits: &ReplyLimits) -> Result<(), ReplyError> {
        if count > limits.elements_max {
            return Err(ReplyError::TooManyElements);
        }
        self.check_length(count, SHORTEST as u64, limits)?;
        self.open = self.open.saturating_add(count);
        Ok(())
    }

    /// Refuses a reply that cannot end within the limit: up to `pos` and `count` times at least `each` bytes.
    fn check_length(&self, count: u64, each: u64, limits: &ReplyLimits) -> Result<(), ReplyError> {
        let known = (self.gone as u64).saturating_add(self.pos as u64);
        let length = known.saturating_add(count.saturating_mul(each));
        match length <= limits.reply_bytes_max {
            true => Ok(()),
            false => Err(ReplyError::TooLong),
        }
    }

    /// True where that was the last value of the frame.
    #[inline]
    fn leave_value(&mut self) -> bool {
        self.open -= 1;
        while self.open == 0 {
            match self.outer.pop() {
                Some(open) => self.open = open,
                None => return true,
            }
        }
        false
    }

    #[inline]
    fn line_at(&mut self, pos: usize) {
        self.pos = pos;
        self.seen = pos;
    }

    /// Reads the header line at `pos`.
    #[inline]
    fn line(&mut self, buf: &[u8], limits: &ReplyLimits) -> Result<Line, ReplyError> {
        let Some([first, rest @ ..]) = buf.get(self.pos..) else {
            return Ok(Line::Wants(
                SHORTEST - (buf.len() - self.pos.min(buf.len())),
            ));
        };
        let shape = Shape::of(*first).ok_or(ReplyError::Type(*first))?;
        if shape != Shape::Line
            && self.seen == self.pos
            && let Some((number, taken)) = plain_length(rest)
        {
            let follow = shape
                .follow(*first, number.into())
                .ok_or(ReplyError::Length)?;
            self.line_at(self.pos + 1 + taken);
            return Ok(Line::Whole(follow));
        }
        self.any_line(buf, *first, shape, limits)
    }

    /// As [`ReplyScan::line`] for a line of any length, torn or not.
    fn any_line(
        &mut self,
        buf: &[u8],
        first: u8,
        shape: Shape,
        limits: &ReplyLimits,
    ) -> Result<Line, ReplyError> {
        let line_max = self.pos.saturating_add(limits.line_bytes_max);
        let window = buf.len().min(line_max.saturating_add(LINE_END.len()));
        let end = match find_line_end(buf.get(..window).unwrap_or(buf), self.seen) {
            Ok(end) => end,
            Err(_) if buf.len() > window => return Err(ReplyError::LineTooLong),
            Err(seen) => {
                self.seen = seen;
                return Ok(Line::Wants(if seen < buf.len() { 1 } else { 2 }));
            }
        };
        let text = buf.get(self.pos + 1..end).unwrap_or_default();
        let follow = match shape {
            Shape::Line => Follow::Nothing,
            Shape::Blob | Shape::List | Shape::Pairs | Shape::Attribute => match text {
                [b'?', ..] => return Err(ReplyError::Streamed),
                text => parse_i64(text)
                    .and_then(|number| shape.follow(first, number))
                    .ok_or(ReplyError::Length)?,
            },
        };
        self.line_at(end + LINE_END.len());
        Ok(Line::Whole(follow))
    }
}

/// A header line, read.
enum Line {
    Whole(Follow),
    /// Not whole: at least so many more bytes.
    Wants(usize),
}

/// The end of the reply that starts at `buf`'s first byte, where it is whole and of the most frequent kinds.
#[inline]
fn whole_reply(buf: &[u8], limits: &ReplyLimits) -> Option<usize> {
    match buf {
        [b'$', b'-', b'1', b'\r', b'\n', ..] | [b'+', b'O', b'K', b'\r', b'\n', ..] => Some(5),
        [b':', line @ ..] => Some(1 + plain_length(line)?.1),
        [b'$', line @ ..] => {
            let (length, taken) = plain_length(line)?;
            if u64::from(length) > limits.bulk_bytes_max {
                return None;
            }
            let end = 1 + taken + length as usize;
            let whole = buf.get(end..)?.starts_with(LINE_END);
            let end = end + LINE_END.len();
            (whole && end as u64 <= limits.reply_bytes_max).then_some(end)
        }
        _ => None,
    }
}

const LINE_END: &[u8] = b"\r\n";
/// `_\r\n`
const SHORTEST: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(bytes: &[u8]) -> Result<ReplyScanned, ReplyError> {
        scan_with(bytes, &ReplyLimits::default())
    }

    /// At once, byte by byte, and byte by byte from a buffer that forgets: the same end, the same error.
    fn scan_with(bytes: &[u8], limits: &ReplyLimits) -> Result<ReplyScanned, ReplyError> {
        let whole = ReplyScan::new().advance(bytes, limits);
        let (mut keeping, mut forgetting) = (ReplyScan::new(), ReplyScan::new());
        let mut forgotten = 0;
        for end in 0..=bytes.len() {
            let kept = keeping.advance(&bytes[..end], limits);
            let rest = forgetting.advance(&bytes[forgotten..end], limits);
            let rest = rest.map(|scanned| match scanned {
                ReplyScanned::Complete(end) => ReplyScanned::Complete(forgotten + end),
                ReplyScanned::Wants(more) => ReplyScanned::Wants(more),
            });
            assert_eq!(kept, rest, "{} {end}", bytes.escape_ascii());
            if !matches!(kept, Ok(ReplyScanned::Wants(_))) || end == bytes.len() {
                assert_eq!(whole, kept, "{}", bytes.escape_ascii());
                break;
            }
            assert_eq!(forgetting.is_torn(), end > 0);
            let settled = forgetting.settled(end - forgotten);
            forgetting.forget(settled);
            forgotten += settled;
        }
        whole
    }

    #[test]
    fn every_type_has_an_end() {
        let frames = [
            "+OK\r\n",
            "+\r\n",
            "+a\rb\nc\r\r\n",
            "-ERR x\r\n",
            ":-12\r\n",
            "$3\r\nfoo\r\n",
            "$0\r\n\r\n",
            "$2\r\n\r\n\r\n",
            "$-1\r\n",
            "*-1\r\n",
            "*0\r\n",
            "_\r\n",
            "#t\r\n",
            ",inf\r\n",
            "(123456789012345678901234567890\r\n",
            "!5\r\nERR x\r\n",
            "=8\r\ntxt:some\r\n",
            "*2\r\n*2\r\n:1\r\n$1\r\na\r\n*0\r\n",
            "%1\r\n+a\r\n*1\r\n:1\r\n",
            "~2\r\n+a\r\n+b\r\n",
            ">2\r\n+message\r\n$1\r\nx\r\n",
            "|1\r\n+a\r\n%1\r\n+k\r\n+v\r\n*2\r\n|0\r\n:1\r\n:2\r\n",
        ];
        for frame in frames {
            let more = format!("{frame}+next\r\n");
            let complete = Ok(ReplyScanned::Complete(frame.len()));
            assert_eq!(scan(frame.as_bytes()), complete, "{frame:?}");
            assert_eq!(scan(more.as_bytes()), complete, "{frame:?}");
        }
    }

    #[test]
    fn what_is_not_a_reply_is_refused() {
        let cases: &[(&str, ReplyError)] = &[
            ("x\r\n", ReplyError::Type(b'x')),
            ("\r\n", ReplyError::Type(b'\r')),
            ("*1\r\n;", ReplyError::Type(b';')),
            ("$a\r\n", ReplyError::Length),
            ("$\r\n", ReplyError::Length),
            ("$-2\r\n", ReplyError::Length),
            ("%-1\r\n", ReplyError::Length),
            (">-1\r\n", ReplyError::Length),
            ("*01\r\n", ReplyError::Length),
            ("$99999999999999999999\r\n", ReplyError::Length),
            ("$?\r\n", ReplyError::Streamed),
            ("*?\r\n", ReplyError::Streamed),
            ("$1\r\nabc", ReplyError::LineEnd),
            ("$536870913\r\n", ReplyError::BulkTooLong),
            ("$4294967296\r\n", ReplyError::BulkTooLong),
            ("$9223372036854775807\r\n", ReplyError::BulkTooLong),
            ("*4294967296\r\n", ReplyError::TooManyElements),
            ("%2147483648\r\n", ReplyError::TooManyElements),
            ("|9223372036854775807\r\n", ReplyError::TooManyElements),
            ("*1000000000\r\n", ReplyError::TooLong),
            ("|1000000000\r\n", ReplyError::TooLong),
        ];
        for &(bytes, error) in cases {
            assert_eq!(scan(bytes.as_bytes()), Err(error), "{bytes:?}");
            assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn no_length_overflows_even_without_limits() {
        let limits = ReplyLimits {
            bulk_bytes_max: u64::MAX,
            elements_max: u64::MAX,
            reply_bytes_max: u64::MAX,
            ..ReplyLimits::default()
        };
        let max = isize::MAX;
        let wanted = scan_with(format!("*2\r\n${max}\r\n").as_bytes(), &limits);
        assert_eq!(wanted, Ok(ReplyScanned::Wants(max.unsigned_abs() + 2)));
        let bytes = format!("*{max}\r\n%{max}\r\n|{max}\r\n|{max}\r\n|{max}\r\n");
        let wanted = scan_with(bytes.as_bytes(), &limits);
        assert_eq!(wanted, Ok(ReplyScanned::Wants(3)));
    }

    #[test]
    fn a_line_has_a_limit() {
        let limits = ReplyLimits {
            line_bytes_max: 8,
            ..ReplyLimits::default()
        };
        let complete = Ok(ReplyScanned::Complete(10));
        assert_eq!(scan_with(b"+1234567\r\n", &limits), complete);
        let refused = Err(ReplyError::LineTooLong);
        assert_eq!(scan_with(b"+12345678\r\n", &limits), refused);
        assert_eq!(
            scan_with(b"*123456789", &limits),
            Ok(ReplyScanned::Wants(2))
        );
        assert_eq!(scan_with(b"*1234567890", &limits), refused);
    }

    #[test]
    fn a_reply_has_a_limit_and_is_refused_as_soon_as_it_is_known_to_be_longer() {
        let limits = ReplyLimits {
            reply_bytes_max: 24,
            ..ReplyLimits::default()
        };
        let refused = Err(ReplyError::TooLong);
        let cases: &[(&str, Result<ReplyScanned, ReplyError>)] = &[
            ("$17\r\n", Ok(ReplyScanned::Wants(19))),
            (
                "$17\r\n12345678901234567\r\n",
                Ok(ReplyScanned::Complete(24)),
            ),
            ("$18\r\n", refused),
            ("*6\r\n", Ok(ReplyScanned::Wants(3))),
            ("*7\r\n", refused),
            ("%3\r\n", Ok(ReplyScanned::Wants(3))),
            ("%4\r\n", refused),
            ("|4\r\n", refused),
            ("*2\r\n$7\r\n1234567\r\n$1\r\n", Ok(ReplyScanned::Wants(3))),
            ("*2\r\n$7\r\n1234567\r\n$2\r\n", refused),
            ("*2\r\n+12345678901234567\r\n", Ok(ReplyScanned::Wants(3))),
            ("*2\r\n+123456789012345678\r\n", refused),
        ];
        for &(bytes, expected) in cases {
            assert_eq!(scan_with(bytes.as_bytes(), &limits), expected, "{bytes:?}");
        }
    }

    #[test]
    fn nesting_is_refused_in_constant_memory() {
        let limits = ReplyLimits::default();
        for header in ["*1\r\n", "%1\r\n", "~3\r\n", ">2\r\n"] {
            let mut scan = ReplyScan::new();
            let deepest = header.repeat(limits.depth_max);
            let scanned = scan.advance(deepest.as_bytes(), &limits);
            assert_eq!(scanned, Ok(ReplyScanned::Wants(3)));
            let mut scan = ReplyScan::new();
            let scanned = scan.advance(header.repeat(1_000_000).as_bytes(), &limits);
            assert_eq!(scanned, Err(ReplyError::TooDeep), "{header:?}");
            assert!(scan.outer.capacity() <= limits.depth_max);
        }
        let mut scan = ReplyScan::new();
        let attributes = "|1\r\n".repeat(1_000_000);
        let scanned = scan.advance(attributes.as_bytes(), &limits);
        assert_eq!(scanned, Ok(ReplyScanned::Wants(3)));
        assert_eq!(scan.outer.capacity(), 0);
    }

    #[test]
    fn the_wanted_bytes_of_a_string_are_counted() {
        let cases: &[(&str, usize)] = &[
            ("", 3),
            ("+", 2),
            ("+a\r", 1),
            ("$100\r\n", 102),
            ("$100\r\nabc", 99),
            ("$3\r\nabc\r", 1),
            ("*2\r\n:1\r\n", 3),
        ];
        for &(bytes, more) in cases {
            assert_eq!(scan(bytes.as_bytes()), Ok(ReplyScanned::Wants(more)));
        }
    }

    #[test]
    fn a_reset_starts_anew() {
        let limits = ReplyLimits::default();
        let mut scan = ReplyScan::new();
        let torn = scan.advance(b"*2\r\n*3\r\n$10\r\nab", &limits);
        assert_eq!(torn, Ok(ReplyScanned::Wants(10)));
        scan.reset();
        assert!(!scan.is_torn());
        let complete = Ok(ReplyScanned::Complete(5));
        assert_eq!(scan.advance(b"+OK\r\n", &limits), complete);
        assert!(!scan.is_torn());
    }
}
