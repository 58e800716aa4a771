//! Sockets and output buffers: how bytes get in and out of the process.
//!
//! Owns binding, socket options and buffer memory. Knows neither Redis nor any other part of this
//! crate: what the bytes mean is decided elsewhere.

mod address;
mod descriptors;
mod dial;
mod listen;
mod outbuf;
mod pool;
mod stream;
mod tls;

pub use address::{BadListenAddr, ListenAddr};
pub use descriptors::{descriptors_max, raise_descriptors_max};
pub use dial::{Connection, DialError, GivenNames, Io, Names, dial};
pub use listen::{BACKLOG, Bound, Patience, SocketFile, bind, tune_link};
pub use outbuf::{LARGE_BYTES_MIN, OutBuf};
pub use pool::Pool;
pub use stream::Stream;
pub use tls::{ClientTls, ServerTls, TlsFiles, TlsStream};
