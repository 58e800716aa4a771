//! RESP2 and RESP3 as bytes: cut requests and replies out of a stream, look into them, write them.
//!
//! Pure. Owns the grammar and its limits. Knows no command, no socket and no routing.
//! Both scanners are resumable: a byte is looked at once however the stream is cut, and memory is
//! constant whatever a length or a nesting claims.

pub mod grammar;
pub mod inline;
pub mod reply;
mod reply_scan;
pub mod request;
pub mod write;

/// The protocol version of one connection, as `HELLO` chose it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Proto {
    #[default]
    Resp2,
    Resp3,
}

impl Proto {
    /// As `HELLO` spells it.
    pub const fn number(self) -> u8 {
        match self {
            Self::Resp2 => 2,
            Self::Resp3 => 3,
        }
    }
}
