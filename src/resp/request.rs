//! Cuts client requests (arrays of bulk strings) out of a byte stream.

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
    /// Arguments of one request. Default 1,048,576.
    pub args_max: u64,
    /// Bytes of an inline request. Default 64 KiB.
    pub inline_bytes_max: usize,
    /// Bytes of one whole request. Default 1 GiB.
    pub request_bytes_max: u64,
}

/// What the scanner found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scanned {
    /// A request of this many bytes; [`RequestScan::args`] says where its arguments are.
    Multibulk(usize),
    /// An inline request: one line of this many bytes, line end included; split it with [`super::inline::split`].
    Inline(usize),
    /// Bytes that mean nothing and are skipped without a reply (an empty line, `*0`, `*-1`), this many.
    Nothing(usize),
    /// Not complete; at least this many more bytes are needed.
    Wants(usize),
}

/// The client's bytes are not RESP. The text is the server's, without the leading `-`; say it and close.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtocolError(pub Cow<'static, str>);
