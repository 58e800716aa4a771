//! One connected socket, whatever it runs over. It never blocks and belongs to no runtime.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::{RecvFlags, SendFlags, recv, send};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::TlsStream;

/// A connected socket.
#[derive(Debug)]
pub enum Stream {
    Tcp(std::net::TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream>),
}

impl Stream {
    /// Reads what is there into `buf`. 0: the peer will send nothing more.
    ///
    /// # Errors
    /// What the system says; `WouldBlock` if nothing is there now.
    pub fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if let Self::Tls(stream) = self {
            return stream.read(buf);
        }
        // As the standard library does it, but for a wrapper that makes each call a point of cancellation.
        Ok(recv(self, buf, RecvFlags::empty()).map(|(read, _)| read)?)
    }

    /// Writes as much of `slices` as the socket takes.
    ///
    /// # Errors
    /// What the system says; `WouldBlock` if the socket takes nothing now.
    pub fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if let Self::Tls(stream) = self {
            return stream.write(slices);
        }
        Ok(match slices {
            [only] => send(self, only, SendFlags::NOSIGNAL)?,
            _ => rustix::io::writev(self, slices)?,
        })
    }

    /// Writes what it has taken and not written; a plain socket keeps nothing.
    ///
    /// # Errors
    /// What the system says; `WouldBlock` if the socket takes nothing now.
    pub fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => Ok(()),
            Self::Tls(stream) => stream.flush(),
        }
    }

    /// Whether there may be room after it has taken `taken` of `offered` bytes.
    pub fn has_room_after(&self, taken: usize, offered: usize) -> bool {
        match self {
            Self::Tcp(_) | Self::Unix(_) => taken == offered,
            Self::Tls(stream) => !stream.has_pending(),
        }
    }

    /// Ends the connection so that what was written last is not lost: tells the peer that nothing more comes, then drops
    /// whatever it still sends, until it has closed its end or `limit` is over. On a runtime.
    ///
    /// Closing at once would answer bytes that are unread, or still on their way, with a reset, and that may overtake
    /// what the peer has not read (RFC 1122, 4.2.2.13).
    pub async fn end(self, limit: Duration) {
        // Over or not, failed or not: it ends here.
        match self {
            Self::Tcp(stream) => {
                if let Ok(stream) = tokio::net::TcpStream::from_std(stream) {
                    drop(timeout(limit, drop_rest(stream)).await);
                }
            }
            Self::Unix(stream) => {
                if let Ok(stream) = tokio::net::UnixStream::from_std(stream) {
                    drop(timeout(limit, drop_rest(stream)).await);
                }
            }
            Self::Tls(stream) => {
                let (stream, last) = stream.finish();
                if let Ok(mut stream) = tokio::net::TcpStream::from_std(stream) {
                    let ending = async {
                        stream.write_all(&last).await?;
                        drop_rest(stream).await
                    };
                    drop(timeout(limit, ending).await);
                }
            }
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
            Self::Tls(stream) => stream.socket().as_fd(),
        }
    }
}

async fn drop_rest(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin) -> io::Result<()> {
    stream.shutdown().await?;
    let mut dropped = [0; DROPPED_BYTES];
    while stream.read(&mut dropped).await? > 0 {}
    Ok(())
}

/// One read of what nobody wants.
const DROPPED_BYTES: usize = 4096;
