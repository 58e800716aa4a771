//! Accepts connections and hands each to the worker that has the fewest.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{Semaphore, mpsc, watch};
use tracing::Instrument as _;

use super::hub::DoorCounts;
use super::{Bell, Shared};
use crate::clock::{self, Now};
use crate::downstream::local::Address;
use crate::net::{BACKLOG, Bound, ServerTls, SocketFile, Stream, descriptors_max};
use crate::reply::errors;

/// Pause after an accept that failed for want of something (descriptors, memory).
const PAUSE: Duration = Duration::from_millis(100);

/// How often it is said that this happens.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// A connection on its way to its worker.
pub struct Accepted {
    pub stream: Stream,
    /// Transactions over several slots are split on this listener.
    pub splits_transactions: bool,
    pub id: u64,
    pub peer: Address,
    pub local: Address,
}

/// A socket that listens, on the acceptor's runtime.
pub enum Listener {
    Tcp(TcpListener, SocketAddr),
    /// The socket's file is removed with it.
    Unix(UnixListener, SocketFile),
}

/// Where connections go.
#[derive(Clone)]
pub struct Doors {
    pub workers: Arc<[Door]>,
    /// The id of the newest client: `CLIENT ID`.
    pub ids: Arc<AtomicU64>,
    /// May change.
    pub clients_max: Arc<AtomicUsize>,
    pub counts: Arc<DoorCounts>,
    /// There are as many clients as there may be.
    pub full: Rc<RefCell<Trouble>>,
    /// Clients that were turned away may read why for this long, and as many of them at a time.
    pub linger: Duration,
    pub lingering: Arc<Semaphore>,
    pub splits_transactions: bool,
    /// How clients' connections are secured here; those over Unix sockets are not.
    pub tls: Option<ServerTls>,
    /// Handshakes that are under way at a time, and how long each may take.
    pub handshakes: Arc<Semaphore>,
    pub handshake: Duration,
}

/// The way to one worker. When the last one is gone, the worker serves its clients out and ends.
pub struct Door {
    /// Closed in the end: None.
    sender: Option<mpsc::Sender<Accepted>>,
    bell: Bell,
    shared: Arc<Shared>,
}

/// Accepts until `stop` has lost its sender. Whoever has connected by then is handed over before the listener closes.
pub async fn run(listener: Listener, doors: Doors, mut stop: watch::Receiver<()>) {
    let mut trouble = Trouble::default();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.changed() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(accepted) => {
                if trouble.ends() {
                    tracing::info!("connections are accepted again");
                }
                take_in(&doors, accepted, &stop).await;
            }
            Err(error) => {
                if is_of_one_connection(&error) {
                    tracing::debug!(%error, "a connection failed before it was accepted");
                } else {
                    doors.counts.accept_errors.fetch_add(1, Ordering::Relaxed);
                    if trouble.begins(clock::now()) {
                        tell_starved(&doors, &error);
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
    // The runtime looks at its sockets before it goes on here.
    tokio::task::yield_now().await;
    for _ in 0..BACKLOG {
        tokio::select! {
            biased;
            Ok(accepted) = listener.accept() => take_in(&doors, accepted, &stop).await,
            () = std::future::ready(()) => break,
            else => break,
        }
    }
}

/// This machine lacks something for connections.
fn tell_starved(doors: &Doors, error: &io::Error) {
    let max = descriptors_max().map_or_else(|| "any number of".to_owned(), |max| max.to_string());
    tracing::warn!(
        clients = doors.clients(),
        %error,
        "cannot accept connections, with {max} file descriptors at most"
    );
}

/// Whether an accept failed because of the connection that it was to take. Source: accept(2), "Error handling".
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, HostUnreachable, NetworkDown, NetworkUnreachable,
        PermissionDenied,
    };
    let kinds = [
        ConnectionAborted,
        ConnectionReset,
        HostUnreachable,
        NetworkDown,
        NetworkUnreachable,
        PermissionDenied,
    ];
    kinds.contains(&error.kind())
}

/// What has been said of something that goes wrong again and again: its beginning and its end, and not every minute anew.
#[derive(Default)]
pub struct Trouble {
    said: Option<Now>,
    is_over: bool,
}

impl Trouble {
    /// It goes wrong. Returns whether that is to be said.
    fn begins(&mut self, now: Now) -> bool {
        let is_news = self.said.is_none_or(|said| now.since(said) >= SAY_EVERY);
        if is_news {
            (self.said, self.is_over) = (Some(now), false);
        }
        is_news
    }

    /// It goes well. Returns whether that is to be said.
    fn ends(&mut self) -> bool {
        self.said.is_some() && !std::mem::replace(&mut self.is_over, true)
    }
}

impl Doors {
    /// Connections of all workers.
    fn clients(&self) -> usize {
        self.workers.iter().map(Door::load).sum()
    }
}

impl Door {
    pub(super) fn new(sender: mpsc::Sender<Accepted>, bell: Bell, shared: Arc<Shared>) -> Self {
        Self {
            sender: Some(sender),
            bell,
            shared,
        }
    }

    /// Rings at the worker whenever there is something new for it.
    pub fn announce<T>(
        &self,
        mut changes: watch::Receiver<T>,
    ) -> impl Future<Output = ()> + use<T> {
        let bell = self.bell.clone();
        async move {
            while changes.changed().await.is_ok() {
                bell.ring();
            }
        }
    }

    async fn hand_over(&self, accepted: Accepted) {
        self.shared.sessions.fetch_add(1, Ordering::Relaxed);
        let sent = match &self.sender {
            Some(sender) => sender.send(accepted).await.is_ok(),
            None => false,
        };
        if sent {
            self.bell.ring();
        } else {
            self.shared.sessions.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn load(&self) -> usize {
        self.shared.sessions.load(Ordering::Relaxed)
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.sender = None;
        self.bell.ring();
    }
}

impl Listener {
    /// Takes a bound socket onto this runtime.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(bound: Bound) -> io::Result<Self> {
        Ok(match bound {
            Bound::Tcp(listener) => {
                let local = listener.local_addr()?;
                Self::Tcp(TcpListener::from_std(listener)?, local)
            }
            Bound::Unix(listener, file) => Self::Unix(UnixListener::from_std(listener)?, file),
        })
    }

    async fn accept(&self) -> io::Result<Arrival> {
        let (stream, peer, local) = match self {
            Self::Tcp(listener, local) => {
                let (stream, peer) = listener.accept().await?;
                let local = if local.ip().is_unspecified() {
                    stream.local_addr()?
                } else {
                    *local
                };
                (
                    Arrived::Tcp(stream),
                    Address::Tcp(peer),
                    Address::Tcp(local),
                )
            }
            Self::Unix(listener, file) => {
                let (stream, _) = listener.accept().await?;
                let path = Address::Unix(file.path().to_string_lossy().into());
                (Arrived::Unix(stream.into_std()?), path.clone(), path)
            }
        };
        Ok(Arrival {
            stream,
            peer,
            local,
        })
    }
}

/// A connection that has just been accepted, on the acceptor's runtime.
struct Arrival {
    stream: Arrived,
    peer: Address,
    local: Address,
}

enum Arrived {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Brings a connection to a worker; one that is to be secured first, when it is.
async fn take_in(doors: &Doors, arrival: Arrival, stop: &watch::Receiver<()>) {
    let Arrival {
        stream,
        peer,
        local,
    } = arrival;
    match (stream, doors.tls.clone()) {
        (Arrived::Tcp(stream), Some(tls)) => {
            let mut stop = stop.clone();
            let permit = tokio::select! {
                permit = doors.handshakes.clone().acquire_owned() => permit,
                _ = stop.changed() => return,
            };
            let doors = doors.clone();
            let securing = async move {
                // Nobody waits for a client that has asked for nothing yet.
                let secured = tokio::select! {
                    secured = secure(&tls, stream, doors.handshake) => secured,
                    _ = stop.changed() => return,
                };
                match secured {
                    Ok(stream) => hand_over(&doors, (stream, peer, local)).await,
                    Err(why) => {
                        doors.counts.tls_errors.fetch_add(1, Ordering::Relaxed);
                        tracing::debug!(client = %peer, error = why, "a client was refused: TLS");
                    }
                }
                drop(permit);
            };
            tokio::task::spawn_local(securing.in_current_span());
        }
        (Arrived::Tcp(stream), None) => match stream.into_std() {
            Ok(stream) => hand_over(doors, (Stream::Tcp(stream), peer, local)).await,
            Err(error) => {
                tracing::debug!(client = %peer, %error, "a connection failed when it was accepted");
            }
        },
        (Arrived::Unix(stream), _) => hand_over(doors, (Stream::Unix(stream), peer, local)).await,
    }
}

async fn secure(
    tls: &ServerTls,
    mut stream: TcpStream,
    patience: Duration,
) -> Result<Stream, String> {
    let mut first = [0];
    match tokio::time::timeout(patience, stream.peek(&mut first)).await {
        Ok(Ok(1)) if first != [TLS_HANDSHAKE] => {
            let text = format!("-{}\r\n", errors::TLS_EXPECTED);
            // It has just connected: there is room for this.
            drop(stream.try_write(text.as_bytes()));
            drop(stream.shutdown().await);
            Err("it does not speak it".to_owned())
        }
        Ok(Ok(0)) => Err("it has left".to_owned()),
        Ok(Ok(_)) => {
            let secured = tls.accept(stream, patience).await?;
            Ok(Stream::Tls(Box::new(secured)))
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_elapsed) => Err(format!("nothing within {patience:?}")),
    }
}

/// The first byte that a client of TLS sends (RFC 8446, 5.1).
const TLS_HANDSHAKE: u8 = 22;

async fn hand_over(doors: &Doors, (stream, peer, local): (Stream, Address, Address)) {
    doors.counts.received.fetch_add(1, Ordering::Relaxed);
    if doors.clients() >= doors.clients_max.load(Ordering::Relaxed) {
        doors.counts.refused.fetch_add(1, Ordering::Relaxed);
        if doors.full.borrow_mut().begins(clock::now()) {
            let clients = doors.clients();
            tracing::warn!(client = %peer, clients, "clients are turned away: max-clients");
        }
        return turn_away(doors, stream);
    }
    if doors.full.borrow_mut().ends() {
        tracing::info!("clients are taken again");
    }
    let Some(door) = doors.workers.iter().min_by_key(|door| door.load()) else {
        return;
    };
    let accepted = Accepted {
        stream,
        splits_transactions: doors.splits_transactions,
        id: doors.ids.fetch_add(1, Ordering::Relaxed) + 1,
        peer,
        local,
    };
    door.hand_over(accepted).await;
}

/// Says why and closes, so that the client can read it even if it has sent something already; if many such clients are
/// there, at once, as a server does.
fn turn_away(doors: &Doors, mut stream: Stream) {
    let lingers = doors.lingering.clone().try_acquire_owned().ok();
    let limit = lingers.as_ref().map_or(Duration::ZERO, |_| doors.linger);
    tokio::task::spawn_local(async move {
        let text = format!("-{}\r\n", errors::MAX_CLIENTS);
        // A new socket takes this much at once; an error means that the client has left.
        drop(stream.write(&[IoSlice::new(text.as_bytes())]));
        stream.end(limit).await;
        drop(lingers);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_said_when_it_begins_and_ends_and_once_a_minute() {
        let mut trouble = Trouble::default();
        assert!(!trouble.ends());
        for (seconds, begins, ends) in [
            (0, true, true),
            (1, false, false),
            (59, false, false),
            (60, true, true),
            (61, false, false),
        ] {
            let now = Now::at(Duration::from_secs(seconds));
            assert_eq!(trouble.begins(now), begins, "{seconds} s");
            assert_eq!(trouble.ends(), ends, "{seconds} s");
        }
    }
}
