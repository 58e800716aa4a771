//! Accepts connections and hands each to the worker that has the fewest.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;

use super::Shared;
use crate::clock::Now;
use crate::downstream::local::{Address, Identity};
use crate::net::{Bound, SocketFile, Stream, tune_stream};
use crate::reply::errors;

/// Pause after an accept that failed for want of something (descriptors, memory).
const PAUSE: Duration = Duration::from_millis(100);

/// A connection on its way to its worker.
pub struct Accepted {
    pub stream: Socket,
    /// Transactions over several slots are split on this listener.
    pub splits_transactions: bool,
    pub id: u64,
    pub peer: Address,
    pub local: Address,
}

/// A socket that belongs to no runtime yet.
pub enum Socket {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

/// A socket that listens, on the acceptor's runtime.
pub enum Listener {
    Tcp(tokio::net::TcpListener),
    /// The socket's file is removed with it.
    Unix(tokio::net::UnixListener, SocketFile),
}

/// Where connections go.
#[derive(Clone)]
pub struct Doors {
    pub workers: Arc<[Door]>,
    /// The id of the newest client: `CLIENT ID`.
    pub ids: Arc<AtomicU64>,
    pub clients_max: usize,
    pub refused: Arc<AtomicUsize>,
    pub splits_transactions: bool,
}

/// The way to one worker.
pub struct Door {
    pub sender: mpsc::Sender<Accepted>,
    pub shared: Arc<Shared>,
}

impl Accepted {
    /// The session's identity and its stream, on the worker's runtime.
    pub(super) fn arrive(self, now: Now) -> io::Result<(Stream, Identity)> {
        let stream = match self.stream {
            Socket::Tcp(socket) => Stream::Tcp(tokio::net::TcpStream::from_std(socket)?),
            Socket::Unix(socket) => Stream::Unix(tokio::net::UnixStream::from_std(socket)?),
        };
        Ok((
            stream,
            Identity::new(self.id, self.peer, self.local, true, now),
        ))
    }
}

/// Accepts until the task is dropped.
pub async fn run(listener: Listener, doors: Doors) {
    let mut failing = false;
    loop {
        match listener.accept().await {
            Ok((socket, peer, local)) => {
                failing = false;
                hand_over(&doors, socket, peer, local).await;
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!("cannot accept connections: {error}");
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

impl Listener {
    /// Takes a bound socket onto this runtime.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(bound: Bound) -> io::Result<Self> {
        Ok(match bound {
            Bound::Tcp(listener) => Self::Tcp(tokio::net::TcpListener::from_std(listener)?),
            Bound::Unix(listener, file) => {
                Self::Unix(tokio::net::UnixListener::from_std(listener)?, file)
            }
        })
    }

    async fn accept(&self) -> io::Result<(Socket, Address, Address)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                let local = stream.local_addr()?;
                if let Err(error) = tune_stream(&stream) {
                    tracing::debug!(client = %peer, "socket options: {error}");
                }
                Ok((
                    Socket::Tcp(stream.into_std()?),
                    Address::Tcp(peer),
                    Address::Tcp(local),
                ))
            }
            Self::Unix(listener, file) => {
                let (stream, _) = listener.accept().await?;
                let path = Address::Unix(file.path().to_string_lossy().into());
                Ok((Socket::Unix(stream.into_std()?), path.clone(), path))
            }
        }
    }
}

async fn hand_over(doors: &Doors, socket: Socket, peer: Address, local: Address) {
    let load = |door: &Door| door.shared.sessions.load(Ordering::Relaxed);
    if doors.workers.iter().map(load).sum::<usize>() >= doors.clients_max {
        doors.refused.fetch_add(1, Ordering::Relaxed);
        return turn_away(socket);
    }
    let Some(door) = doors.workers.iter().min_by_key(|door| load(door)) else {
        return;
    };
    door.shared.sessions.fetch_add(1, Ordering::Relaxed);
    let id = doors.ids.fetch_add(1, Ordering::Relaxed) + 1;
    if door
        .sender
        .send(Accepted {
            stream: socket,
            splits_transactions: doors.splits_transactions,
            id,
            peer,
            local,
        })
        .await
        .is_err()
    {
        door.shared.sessions.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Says why, as far as the socket takes it at once, and closes.
fn turn_away(socket: Socket) {
    use std::io::Write;
    let text = format!("-{}\r\n", errors::MAX_CLIENTS);
    let said = match socket {
        Socket::Tcp(mut socket) => socket.write(text.as_bytes()),
        Socket::Unix(mut socket) => socket.write(text.as_bytes()),
    };
    if let Err(error) = said {
        tracing::debug!("a client that was turned away is gone: {error}");
    }
}
