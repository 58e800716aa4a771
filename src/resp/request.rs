//! Cuts client requests (arrays of bulk strings, or lines) out of a byte stream.
//!
//! Accepts what a server accepts and refuses the rest in the server's words (`networking.c`, compared with Redis 7.0
//! and Valkey 8.0), with one thing stricter: every line must end in `\r\n`. Older servers do not look at those two
//! bytes, patched ones (Valkey 7.2.14, 8.0.11, 9.0.6) close the connection on others. Since the bytes of a request
//! travel on as they are, on a link that many sessions share, nothing may pass that any server would close it for.

use super::grammar::{parse_i64, plain_length};
use std::borrow::Cow;

/// Where one argument lies: offsets from the first byte of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arg {
    pub start: u32,
    pub end: u32,
}

/// One complete request: its bytes as they arrived and where its arguments are.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub bytes: &'a [u8],
    pub args: &'a [Arg],
}

/// What a client's bytes may claim. Source: `proto-max-bulk-len`, `PROTO_INLINE_MAX_SIZE`, `client-query-buffer-limit`.
#[derive(Clone, Debug)]
pub struct RequestLimits {
    /// Bytes of one argument. Default 512 MiB.
    pub bulk_bytes_max: u64,
    /// Arguments of one request. Default 1,048,576, as servers before 7.0; newer ones take up to 2^31 - 1.
    pub args_max: u64,
    /// Bytes of an inline request, and of any header line. Default 64 KiB.
    pub inline_bytes_max: usize,
    /// Bytes of one whole request. Default 1 GiB; above 4 GiB it counts as 4 GiB, for [`Arg`] cannot say more.
    pub request_bytes_max: u64,
}

/// What the scanner found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scanned {
    /// A request of this many bytes; [`RequestScan::args`] says where its arguments are. There is at least one.
    Multibulk(usize),
    /// An inline request: one line of this many bytes, line end included; split it with [`super::inline::split`].
    Inline(usize),
    /// Bytes that mean nothing and are skipped without a reply (a blank line, `*0`, `*-1`), this many.
    Nothing(usize),
    /// Not complete; at least this many more bytes are needed. A client's claim: no reason to reserve them.
    Wants(usize),
}

/// The client's bytes are not RESP. The text is the server's, without the leading `-`; say it and close.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtocolError(pub Cow<'static, str>);

/// Finds the end of one request after another, however the stream is cut.
///
/// Looks at a byte once (the bodies of arguments not at all). Memory grows with the arguments that have arrived,
/// never with the number that was announced.
#[derive(Debug, Default)]
pub struct RequestScan {
    args: Vec<Arg>,
    at: At,
    /// First byte of the line, or one past the argument and its line end.
    pos: usize,
    /// No line end before this byte of the line at `pos`.
    seen: usize,
    /// Arguments whose end has not arrived.
    missing: u64,
}

/// What the scanner stands at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Start,
    Length,
    Body,
}

impl<'a> Request<'a> {
    /// Arguments, the name included.
    #[inline]
    pub fn len(&self) -> usize {
        self.args.len()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.args.is_empty()
    }

    /// The argument at `index` (the name is 0); empty where there is none.
    #[inline]
    pub fn arg(&self, index: usize) -> &'a [u8] {
        self.get(index).unwrap_or_default()
    }

    /// The argument at `index` (the name is 0).
    #[inline]
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        let arg = self.args.get(index)?;
        self.bytes.get(arg.start as usize..arg.end as usize)
    }

    /// The command's name as the client spelled it.
    #[inline]
    pub fn name(&self) -> &'a [u8] {
        self.arg(0)
    }
}

impl RequestLimits {
    /// Of clients that have yet to log in: enough for `AUTH` and `HELLO`, as servers have it (`processMultibulkBuffer`).
    pub const UNAUTHENTICATED: Self = Self {
        bulk_bytes_max: 16 << 10,
        args_max: 10,
        inline_bytes_max: 64 << 10,
        request_bytes_max: 1 << 20,
    };
}

impl Default for RequestLimits {
    fn default() -> RequestLimits {
        RequestLimits {
            bulk_bytes_max: 512 << 20,
            args_max: 1 << 20,
            inline_bytes_max: 64 << 10,
            request_bytes_max: 1 << 30,
        }
    }
}

impl ProtocolError {
    fn text(text: &'static str) -> ProtocolError {
        ProtocolError(Cow::Borrowed(text))
    }

    /// The servers replace line ends within an error by spaces.
    fn expected_bulk(got: Option<u8>) -> ProtocolError {
        let got = match got.unwrap_or_default() {
            b'\r' | b'\n' => ' ',
            byte if byte.is_ascii() => char::from(byte),
            _ => '?',
        };
        ProtocolError(Cow::Owned(format!(
            "ERR Protocol error: expected '$', got '{got}'"
        )))
    }
}

impl RequestScan {
    pub fn new() -> RequestScan {
        RequestScan::default()
    }

    /// Looks for the end of the request that starts at `buf`'s first byte.
    ///
    /// After [`Scanned::Wants`], call again with the same bytes and more behind them. After anything else the next
    /// call starts with a new request. After an error the connection is of no use.
    pub fn advance(
        &mut self,
        buf: &[u8],
        limits: &RequestLimits,
    ) -> Result<Scanned, ProtocolError> {
        if self.at == At::Start
            && !self.plain_count(buf, limits)
            && let Some(scanned) = self.any_start(buf, limits)?
        {
            return Ok(scanned);
        }
        if self.at == At::Length && self.seen == self.pos {
            self.whole_arguments(buf, limits);
            if self.missing == 0 {
                return Ok(self.complete());
            }
        }
        self.any_arguments(buf, limits)
    }

    /// Forgets a request that is not complete, and gives back memory that an ordinary request does not need.
    pub fn reset(&mut self) {
        self.args.clear();
        self.args.shrink_to(ARGS_KEPT);
        self.start();
    }

    /// The arguments of the request that the last [`RequestScan::advance`] completed.
    #[inline]
    pub fn args(&self) -> &[Arg] {
        &self.args
    }

    /// The request that the last [`RequestScan::advance`] completed; `bytes` are the ones that it said.
    #[inline]
    pub fn request<'a>(&'a self, bytes: &'a [u8]) -> Request<'a> {
        Request {
            bytes,
            args: &self.args,
        }
    }

    /// The first bytes of a request have been looked at, its end has not been found.
    #[inline]
    pub fn is_torn(&self) -> bool {
        self.at != At::Start || self.seen > 0
    }

    /// With how many bytes of a torn request the next [`RequestScan::advance`] may find more than the last; 0: with any.
    #[inline]
    pub fn needs(&self) -> usize {
        match self.at {
            At::Body => self.pos,
            At::Start | At::Length => 0,
        }
    }

    #[inline]
    fn start(&mut self) {
        self.at = At::Start;
        self.pos = 0;
        self.seen = 0;
        self.missing = 0;
    }

    /// A line, not yet seen to its end.
    fn inline(&mut self, buf: &[u8], limits: &RequestLimits) -> Result<Scanned, ProtocolError> {
        let window = buf.len().min(limits.inline_bytes_max.saturating_add(1));
        let found = buf
            .get(self.seen..window)
            .and_then(|rest| memchr::memchr(b'\n', rest));
        if buf.starts_with(TLS_HANDSHAKE) {
            return Err(ProtocolError::text(TLS_UNEXPECTED));
        }
        let Some(found) = found else {
            self.seen = window;
            return if buf.len() > limits.inline_bytes_max {
                Err(ProtocolError::text(TOO_BIG_INLINE))
            } else {
                Ok(Scanned::Wants(1))
            };
        };
        let end = self.seen + found + 1;
        self.start();
        self.args.clear();
        let blank = buf
            .iter()
            .take(end)
            .all(|&byte| super::inline::is_space(byte));
        Ok(if blank {
            Scanned::Nothing(end)
        } else {
            Scanned::Inline(end)
        })
    }

    /// Takes a `*<count>` that is whole and ordinary; else does nothing and is false.
    #[inline]
    fn plain_count(&mut self, buf: &[u8], limits: &RequestLimits) -> bool {
        if self.seen == 0
            && let [b'*', line @ ..] = buf
            && let Some((count @ 1.., taken)) = plain_length(line)
            && u64::from(count) <= limits.args_max
        {
            self.args.clear();
            self.missing = u64::from(count);
            self.length_at(1 + taken);
            return true;
        }
        false
    }

    /// As [`RequestScan::plain_count`] for any beginning. `None`: arguments follow.
    fn any_start(
        &mut self,
        buf: &[u8],
        limits: &RequestLimits,
    ) -> Result<Option<Scanned>, ProtocolError> {
        match buf.first() {
            None => return Ok(Some(Scanned::Wants(1))),
            Some(b'*') => {}
            Some(_) => return self.inline(buf, limits).map(Some),
        }
        let (count, end) = match self.header(buf, limits, &COUNT)? {
            Header::Number(count, end) => (count, end),
            Header::Wants(more) => return Ok(Some(Scanned::Wants(more))),
        };
        self.args.clear();
        let Ok(count @ 1..) = u64::try_from(count) else {
            self.start();
            return Ok(Some(Scanned::Nothing(end)));
        };
        if count > limits.args_max {
            return Err(ProtocolError::text(COUNT.invalid));
        }
        self.missing = count;
        self.length_at(end);
        Ok(None)
    }

    /// Takes the arguments that have arrived whole and are ordinary; stops without a word before any other.
    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "what is cut off has no bits"
    )]
    fn whole_arguments(&mut self, buf: &[u8], limits: &RequestLimits) {
        let bytes_max = usize::try_from(limits.request_bytes_max.min(u32::MAX.into()));
        let buf = buf.get(..bytes_max.unwrap_or(usize::MAX)).unwrap_or(buf);
        let bulk_bytes_max = u32::try_from(limits.bulk_bytes_max).unwrap_or(u32::MAX);
        let mut rest = buf.get(self.pos..).unwrap_or_default();
        let mut missing = self.missing;
        while missing > 0 {
            let [b'$', line @ ..] = rest else { break };
            let Some((length, taken)) = plain_length(line) else {
                break;
            };
            let Some(body) = line.get(taken..).filter(|_| length <= bulk_bytes_max) else {
                break;
            };
            let Some((_, [b'\r', b'\n', next @ ..])) = body.split_at_checked(length as usize)
            else {
                break;
            };
            // Within `buf`, and so within 32 bits.
            let start = (buf.len() - body.len()) as u32;
            self.args.push(Arg {
                start,
                end: start + length,
            });
            rest = next;
            missing -= 1;
        }
        self.missing = missing;
        self.length_at(buf.len() - rest.len());
    }

    /// As [`RequestScan::whole_arguments`] for any argument: torn, too long, wrong.
    fn any_arguments(
        &mut self,
        buf: &[u8],
        limits: &RequestLimits,
    ) -> Result<Scanned, ProtocolError> {
        loop {
            if self.at == At::Length {
                let (length, start) = match self.header(buf, limits, &LENGTH)? {
                    Header::Number(length, start) => (length, start),
                    Header::Wants(more) => return Ok(Scanned::Wants(more)),
                };
                let arg = argument(start, length, limits)?;
                self.args.push(arg);
                self.at = At::Body;
                self.pos = arg.end as usize + LINE_END.len();
            }
            if buf.len() < self.pos {
                return Ok(Scanned::Wants(self.pos - buf.len()));
            }
            if buf.get(self.pos - LINE_END.len()..self.pos) != Some(LINE_END) {
                return Err(ProtocolError::text(INVALID_LINE_END));
            }
            self.missing -= 1;
            if self.missing == 0 {
                return Ok(self.complete());
            }
            self.length_at(self.pos);
        }
    }

    #[inline]
    fn complete(&mut self) -> Scanned {
        let end = self.pos;
        self.start();
        Scanned::Multibulk(end)
    }

    #[inline]
    fn length_at(&mut self, pos: usize) {
        self.at = At::Length;
        self.pos = pos;
        self.seen = pos;
    }

    /// Reads the header line at `pos`: its number, and where the bytes behind it start. What is wrong with a line is
    /// said when the line is whole, as the servers do.
    fn header(
        &mut self,
        buf: &[u8],
        limits: &RequestLimits,
        rule: &HeaderRule,
    ) -> Result<Header, ProtocolError> {
        let line_max = self.pos.saturating_add(limits.inline_bytes_max);
        let window = buf.len().min(line_max.saturating_add(1));
        let found = buf
            .get(self.seen..window)
            .and_then(|rest| memchr::memchr(b'\r', rest));
        let Some(found) = found else {
            self.seen = self.seen.max(window);
            return if buf.len() > line_max {
                Err(ProtocolError::text(rule.too_long))
            } else {
                Ok(Header::Wants(LINE_END.len()))
            };
        };
        let line_end = self.seen + found;
        let end = line_end + LINE_END.len();
        if buf.len() < end {
            self.seen = line_end;
            return Ok(Header::Wants(1));
        }
        let number = match buf.get(self.pos..line_end) {
            Some([first, text @ ..]) if *first == rule.first => parse_i64(text),
            Some(_) | None => return Err(ProtocolError::expected_bulk(buf.get(self.pos).copied())),
        };
        let Some(number) = number else {
            return Err(ProtocolError::text(rule.invalid));
        };
        if buf.get(line_end..end) != Some(LINE_END) {
            return Err(ProtocolError::text(INVALID_LINE_END));
        }
        Ok(Header::Number(number, end))
    }
}

/// A header line, read.
enum Header {
    /// Its number and the offset behind it.
    Number(i64, usize),
    /// Not whole: at least so many more bytes.
    Wants(usize),
}

/// What a header line must look like, and what is said where it does not.
struct HeaderRule {
    first: u8,
    too_long: &'static str,
    invalid: &'static str,
}

/// The place of an argument of `length` bytes at `start`, where the limits allow it.
#[inline]
fn argument(start: usize, length: i64, limits: &RequestLimits) -> Result<Arg, ProtocolError> {
    let length = match u64::try_from(length) {
        Ok(length) if length <= limits.bulk_bytes_max => length,
        Ok(_) | Err(_) => return Err(ProtocolError::text(LENGTH.invalid)),
    };
    let end = (start as u64).saturating_add(length);
    let fits = end.saturating_add(2) <= limits.request_bytes_max;
    match (u32::try_from(start), u32::try_from(end)) {
        (Ok(start), Ok(end)) if fits => Ok(Arg { start, end }),
        (_, _) => Err(ProtocolError::text(TOO_BIG_REQUEST)),
    }
}

const COUNT: HeaderRule = HeaderRule {
    first: b'*',
    too_long: "ERR Protocol error: too big mbulk count string",
    invalid: "ERR Protocol error: invalid multibulk length",
};
const LENGTH: HeaderRule = HeaderRule {
    first: b'$',
    too_long: "ERR Protocol error: too big bulk count string",
    invalid: "ERR Protocol error: invalid bulk length",
};
/// How every client of TLS begins (RFC 8446, 5.1): somebody means another port.
const TLS_HANDSHAKE: &[u8] = &[22, 3];
const TLS_UNEXPECTED: &str = "ERR slotcar: this port does not speak TLS";
const TOO_BIG_INLINE: &str = "ERR Protocol error: too big inline request";
/// Ours: a server closes the connection without a word (`client-query-buffer-limit`).
const TOO_BIG_REQUEST: &str = "ERR Protocol error: too big request";
/// In the words of the servers that look.
const INVALID_LINE_END: &str = "ERR Protocol error: invalid CRLF in request";
const LINE_END: &[u8] = b"\r\n";
/// 1 KiB: what an idle session may keep.
const ARGS_KEPT: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(bytes: &[u8]) -> Result<Scanned, String> {
        scan_with(bytes, &RequestLimits::default())
    }

    /// At once and byte by byte: the same end, the same error.
    fn scan_with(bytes: &[u8], limits: &RequestLimits) -> Result<Scanned, String> {
        let text = |error: ProtocolError| error.0.into_owned();
        let whole = RequestScan::new().advance(bytes, limits).map_err(text);
        let mut scan = RequestScan::new();
        let mut torn = Ok(Scanned::Wants(1));
        for end in 0..=bytes.len() {
            torn = scan.advance(&bytes[..end], limits).map_err(text);
            if !matches!(torn, Ok(Scanned::Wants(_))) {
                break;
            }
        }
        assert_eq!(whole, torn, "{}", bytes.escape_ascii());
        whole
    }

    fn args(bytes: &[u8]) -> Vec<String> {
        let mut scan = RequestScan::new();
        scan.advance(bytes, &RequestLimits::default()).unwrap();
        let request = scan.request(bytes);
        (0..request.len())
            .map(|index| request.arg(index).escape_ascii().to_string())
            .collect()
    }

    #[test]
    fn a_request_is_its_arguments() {
        assert_eq!(args(b"*1\r\n$4\r\nPING\r\n"), ["PING"]);
        assert_eq!(
            args(b"*3\r\n$3\r\nSET\r\n$2\r\n\r\n\r\n$0\r\n\r\n*1\r\n"),
            ["SET", "\\r\\n", ""]
        );
    }

    #[test]
    fn an_argument_that_is_not_there_is_empty() {
        let request = Request {
            bytes: b"abc",
            args: &[Arg { start: 1, end: 9 }],
        };
        assert_eq!(request.arg(0), b"");
        assert_eq!(request.get(0), None);
        assert_eq!(request.arg(1), b"");
        assert_eq!(request.name(), b"");
        assert_eq!((request.len(), request.is_empty()), (1, false));
    }

    #[test]
    fn what_a_server_accepts_is_accepted() {
        let cases: &[(&str, Scanned)] = &[
            ("*1\r\n$4\r\nPING\r\n", Scanned::Multibulk(14)),
            ("*1\r\n$0\r\n\r\n", Scanned::Multibulk(10)),
            ("*0\r\n", Scanned::Nothing(4)),
            ("*-1\r\n", Scanned::Nothing(5)),
            ("*-9223372036854775808\r\n", Scanned::Nothing(23)),
            ("\r\n", Scanned::Nothing(2)),
            ("\n", Scanned::Nothing(1)),
            (" \t\x0b\n", Scanned::Nothing(4)),
            ("PING\r\n", Scanned::Inline(6)),
            ("PING\n", Scanned::Inline(5)),
            ("PING\r\r\n", Scanned::Inline(7)),
            ("\"\"\n", Scanned::Inline(3)),
        ];
        for &(bytes, expected) in cases {
            assert_eq!(scan(bytes.as_bytes()), Ok(expected), "{bytes:?}");
        }
    }

    #[test]
    fn what_a_server_refuses_is_refused_in_its_words() {
        let cases: &[(&[u8], &str)] = &[
            (b"*abc\r\n", "invalid multibulk length"),
            (b"*\r\n", "invalid multibulk length"),
            (b"*01\r\n", "invalid multibulk length"),
            (b"*+1\r\n", "invalid multibulk length"),
            (b"*-0\r\n", "invalid multibulk length"),
            (b"*1048577\r\n", "invalid multibulk length"),
            (b"*9999999999999999999999\r\n", "invalid multibulk length"),
            (b"*1\r\nx\r\n", "expected '$', got 'x'"),
            (b"*1\r\n\r\n", "expected '$', got ' '"),
            (b"*1\r\n\n\r\n", "expected '$', got ' '"),
            (b"*1\r\n\x07a\r\n", "expected '$', got '\x07'"),
            (b"*1\r\n\xffa\r\n", "expected '$', got '?'"),
            (b"*1\r\n$a\r\n", "invalid bulk length"),
            (b"*1\r\n$\r\n", "invalid bulk length"),
            (b"*1\r\n$-1\r\n", "invalid bulk length"),
            (b"*1\r\n$536870913\r\n", "invalid bulk length"),
            (b"*1\r\n$4294967296\r\n", "invalid bulk length"),
            (b"*1\rx", "invalid CRLF in request"),
            (b"*1\r\n$4\rx", "invalid CRLF in request"),
            (b"*1\r\n$4\r\nPINGxx", "invalid CRLF in request"),
        ];
        for (bytes, text) in cases {
            let expected = Err(format!("ERR Protocol error: {text}"));
            assert_eq!(scan(bytes), expected, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_line_may_be_64_kib_long() {
        let cases: &[(&str, u8, &str)] = &[
            ("*", b'1', "too big mbulk count string"),
            ("*1\r\n$", b'1', "too big bulk count string"),
            ("*1\r\nx", b'x', "too big bulk count string"),
            ("a", b'a', "too big inline request"),
        ];
        for &(start, filler, text) in cases {
            let mut bytes = start.as_bytes().to_vec();
            let before_line = bytes.len() - 1;
            bytes.resize(before_line + (64 << 10), filler);
            assert!(matches!(scan(&bytes), Ok(Scanned::Wants(_))), "{start:?}");
            bytes.push(filler);
            let expected = Err(format!("ERR Protocol error: {text}"));
            assert_eq!(scan(&bytes), expected);
            bytes.extend_from_slice(b"\r\n");
            assert_eq!(scan(&bytes), expected);
        }
    }

    #[test]
    fn a_whole_request_has_a_limit() {
        let limits = RequestLimits {
            request_bytes_max: 19,
            ..RequestLimits::default()
        };
        let fits = b"*2\r\n$2\r\nab\r\n$1\r\nc\r\n";
        let larger = b"*2\r\n$2\r\nab\r\n$2\r\ncd\r\n";
        assert_eq!(scan_with(&fits[..], &limits), Ok(Scanned::Multibulk(19)));
        assert_eq!(
            scan_with(larger, &limits),
            Err("ERR Protocol error: too big request".to_owned())
        );
    }

    #[test]
    fn offsets_never_leave_32_bits() {
        let limits = RequestLimits {
            bulk_bytes_max: u64::MAX,
            request_bytes_max: u64::MAX,
            ..RequestLimits::default()
        };
        for length in [4_294_967_295u64, 4_294_967_296, i64::MAX as u64] {
            let bytes = format!("*1\r\n${length}\r\n");
            let expected = Err("ERR Protocol error: too big request".to_owned());
            assert_eq!(scan_with(bytes.as_bytes(), &limits), expected);
        }
    }

    #[test]
    fn the_wanted_bytes_of_an_argument_are_counted() {
        let cases: &[(&str, usize)] = &[
            ("", 1),
            ("*", 2),
            ("*1\r", 1),
            ("*1\r\n$100\r\n", 102),
            ("*1\r\n$100\r\nabc", 99),
            ("*1\r\n$3\r\nabc\r", 1),
            ("PING\r", 1),
        ];
        for &(bytes, more) in cases {
            assert_eq!(scan(bytes.as_bytes()), Ok(Scanned::Wants(more)));
        }
    }

    #[test]
    fn an_announced_number_reserves_no_memory() {
        let mut scan = RequestScan::new();
        let bytes = b"*1048576\r\n$536870912\r\n";
        let scanned = scan.advance(bytes, &RequestLimits::default());
        assert_eq!(scanned, Ok(Scanned::Wants((512 << 20) + 2)));
        assert!(scan.args.capacity() <= 8);
    }

    #[test]
    fn a_reset_keeps_little_and_starts_anew() {
        let mut scan = RequestScan::new();
        let mut bytes = b"*5000\r\n".to_vec();
        for _ in 0..4999 {
            bytes.extend_from_slice(b"$0\r\n\r\n");
        }
        let limits = RequestLimits::default();
        assert_eq!(scan.advance(&bytes, &limits), Ok(Scanned::Wants(2)));
        assert!(scan.is_torn());
        scan.reset();
        assert!(!scan.is_torn());
        assert!(scan.args.capacity() <= ARGS_KEPT);
        let ping = b"*1\r\n$4\r\nPING\r\n";
        assert_eq!(scan.advance(ping, &limits), Ok(Scanned::Multibulk(14)));
        assert_eq!(scan.args(), [Arg { start: 8, end: 12 }]);
        assert!(!scan.is_torn());
    }

    #[test]
    fn tls_on_a_plain_port_is_seen_however_it_arrives() {
        let limits = RequestLimits::default();
        let hello = [22, 3, 1, 2, 0];
        let mut whole = RequestScan::new();
        assert!(whole.advance(&hello, &limits).is_err());
        let mut cut = RequestScan::new();
        assert_eq!(cut.advance(&hello[..1], &limits), Ok(Scanned::Wants(1)));
        let error = cut.advance(&hello[..2], &limits).unwrap_err();
        assert_eq!(error.0, "ERR slotcar: this port does not speak TLS");
    }
}
