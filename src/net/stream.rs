//! One byte stream, whatever it runs over.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

/// A connected socket.
#[derive(Debug)]
pub enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Reads what is there into `buf`. `Ready(0)`: the peer will send nothing more.
    ///
    /// # Errors
    /// What the system says.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        let polled = match self {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, &mut buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, &mut buf),
        };
        polled.map_ok(|()| buf.filled().len())
    }

    /// Writes as much of `slices` as the socket takes.
    ///
    /// # Errors
    /// What the system says.
    pub fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match (self, slices) {
            (Self::Tcp(stream), [only]) => Pin::new(stream).poll_write(cx, only),
            (Self::Tcp(stream), _) => Pin::new(stream).poll_write_vectored(cx, slices),
            (Self::Unix(stream), [only]) => Pin::new(stream).poll_write(cx, only),
            (Self::Unix(stream), _) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    /// As [`Stream::poll_write`], for whoever does not wait for the socket.
    ///
    /// # Errors
    /// What the system says; `WouldBlock` if the socket takes nothing now.
    pub fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match (self, slices) {
            (Self::Tcp(stream), [only]) => stream.try_write(only),
            (Self::Tcp(stream), _) => stream.try_write_vectored(slices),
            (Self::Unix(stream), [only]) => stream.try_write(only),
            (Self::Unix(stream), _) => stream.try_write_vectored(slices),
        }
    }

    /// Ends the connection so that what was written last is not lost: tells the peer that nothing more comes, then drops
    /// whatever it still sends, until it has closed its end or `limit` is over.
    ///
    /// Closing at once would answer bytes that are unread, or still on their way, with a reset, and that may overtake
    /// what the peer has not read (RFC 1122, 4.2.2.13).
    pub async fn end(mut self, limit: Duration) {
        if poll_fn(|cx| self.poll_shutdown(cx)).await.is_ok() {
            let mut dropped = [0; DROPPED_BYTES];
            let rest = async {
                while let Ok(1..) = poll_fn(|cx| self.poll_read(cx, &mut dropped)).await {}
            };
            // Over or not: it ends here.
            drop(timeout(limit, rest).await);
        }
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// One read of what nobody wants.
const DROPPED_BYTES: usize = 4096;
