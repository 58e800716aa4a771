//! Opens TCP connections: a name may have several addresses, and not every failure is the peer's.
//!
//! Names are resolved anew for every connection; nothing is remembered here.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::timeout;

use super::{ClientTls, Patience, Stream, TlsStream, tune_link};

/// How names become addresses.
#[derive(Clone, Default)]
pub enum Names {
    /// As the system resolves them.
    #[default]
    System,
    /// As this function does: a test moves a name from one address to another.
    Given(Arc<GivenNames>),
}

/// The addresses of a host and a port.
pub type GivenNames = dyn Fn(&str, u16) -> Vec<SocketAddr> + Send + Sync;

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DialError {
    /// The name means no address.
    Resolve(String),
    /// The peer or the network on the way to it refused.
    Connect(String),
    /// No answer from any address within this time.
    TimedOut(Duration),
    /// It is there, and cannot be spoken to in private.
    Tls(String),
    /// This machine could not even try: out of descriptors, of ports, of memory, or its network is down. Says
    /// nothing about the peer.
    Local(String),
}

/// A connection that has just been made, on the runtime of whoever dialled.
#[derive(Debug)]
pub enum Connection {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

/// What bytes come from and go to.
pub trait Io: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Io for T {}

impl Connection {
    /// Sets what links need: see [`tune_link`]. What a socket of the same machine has no use for, it is not told.
    ///
    /// # Errors
    /// What the system says.
    pub fn tune(&self, patience: Patience) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => tune_link(stream, patience),
            Self::Tls(stream) => tune_link(stream.get_ref().0, patience),
            Self::Unix(_) => Ok(()),
        }
    }

    /// Takes it off the runtime.
    ///
    /// # Errors
    /// What the system says.
    pub fn into_stream(self) -> io::Result<Stream> {
        Ok(match self {
            Self::Tcp(stream) => Stream::Tcp(stream.into_std()?),
            Self::Unix(stream) => Stream::Unix(stream.into_std()?),
            Self::Tls(stream) => {
                let (stream, session) = stream.into_inner();
                let stream = TlsStream::new(stream.into_std()?, session.into());
                Stream::Tls(Box::new(stream))
            }
        })
    }

    /// Leaves it on the runtime.
    pub fn into_io(self) -> Box<dyn Io> {
        match self {
            Self::Tcp(stream) => Box::new(stream),
            Self::Unix(stream) => Box::new(stream),
            Self::Tls(stream) => stream,
        }
    }

    /// Secures it; a Unix socket stays as it is.
    ///
    /// # Errors
    /// [`DialError::Tls`].
    pub async fn secured(
        self,
        tls: Option<&ClientTls>,
        host: &str,
        patience: Duration,
    ) -> Result<Self, DialError> {
        match (self, tls) {
            (Self::Tcp(stream), Some(tls)) => {
                let stream = tls.wrap(stream, host, patience).await?;
                Ok(Self::Tls(Box::new(stream)))
            }
            (connection, _) => Ok(connection),
        }
    }
}

/// Connects to one of the addresses that the host means now, within `patience`. A host that begins with `/` is the path of a
/// Unix socket.
///
/// `turn`: where in the list of addresses to begin, so that repeated attempts need not begin with the same one. At most
/// three are tried, each for its share of the time: a silent one must not use up what another could answer in.
///
/// # Errors
/// Why the last address that was tried gave no connection.
pub async fn dial(
    names: &Names,
    (host, port): (&str, u16),
    patience: Duration,
    turn: usize,
) -> Result<Connection, DialError> {
    let dialed = async {
        if host.starts_with('/') {
            return connect_unix(host).await;
        }
        let mut addresses = names.resolve(host, port).await?;
        let turn = turn.checked_rem(addresses.len()).unwrap_or(0);
        addresses.rotate_left(turn);
        connect(&addresses, patience).await.map(Connection::Tcp)
    };
    timeout(patience, dialed)
        .await
        .unwrap_or(Err(DialError::TimedOut(patience)))
}

impl Names {
    async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, DialError> {
        match self {
            Self::Given(addresses_of) => Ok(addresses_of(host, port)),
            Self::System => match lookup_host((host, port)).await {
                Ok(addresses) => Ok(addresses.collect()),
                Err(error) if is_local(&error) => Err(DialError::Local(error.to_string())),
                Err(error) => Err(DialError::Resolve(error.to_string())),
            },
        }
    }
}

async fn connect(addresses: &[SocketAddr], patience: Duration) -> Result<TcpStream, DialError> {
    let tried = addresses.len().min(ADDRESSES_MAX);
    let share = patience / u32::try_from(tried.max(1)).unwrap_or(u32::MAX);
    let mut failure = DialError::Resolve("no address".to_owned());
    for address in addresses.iter().take(tried) {
        failure = match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            // The next address would fare no better.
            Ok(Err(error)) if is_local(&error) => return Err(DialError::Local(error.to_string())),
            Ok(Err(error)) => DialError::Connect(error.to_string()),
            Err(_elapsed) => DialError::TimedOut(share),
        };
    }
    Err(failure)
}

async fn connect_unix(path: &str) -> Result<Connection, DialError> {
    match UnixStream::connect(path).await {
        Ok(stream) => Ok(Connection::Unix(stream)),
        Err(error) if is_local(&error) => Err(DialError::Local(error.to_string())),
        Err(error) => Err(DialError::Connect(error.to_string())),
    }
}

/// Whether an error is this machine's own trouble.
///
/// `ENETUNREACH` is not among them: the way to a node that is gone may be missing too, and its failover must be noticed.
fn is_local(error: &io::Error) -> bool {
    let is_local_kind = matches!(
        error.kind(),
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::NetworkDown | io::ErrorKind::OutOfMemory
    );
    is_local_kind
        || error
            .raw_os_error()
            .is_some_and(|code| LOCAL_CODES.contains(&code))
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::System => "System",
            Self::Given(_) => "Given",
        })
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve(why) => write!(f, "cannot resolve the name: {why}"),
            Self::Connect(why) => write!(f, "cannot connect: {why}"),
            Self::Tls(why) => write!(f, "TLS: {why}"),
            Self::TimedOut(patience) => write!(f, "no answer within {patience:?}"),
            Self::Local(why) => write!(f, "cannot open a connection here: {why}"),
        }
    }
}

impl std::error::Error for DialError {}

/// Addresses of one name that are tried in one attempt; the next attempt may begin with others.
const ADDRESSES_MAX: usize = 3;

/// `ENFILE`, `EMFILE` and Linux's `ENOBUFS`, which the standard library gives no kind of their own.
const LOCAL_CODES: [i32; 3] = [23, 24, 105];

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(future)
    }

    fn given(addresses: Vec<SocketAddr>) -> Names {
        Names::Given(Arc::new(move |_, _| addresses.clone()))
    }

    /// A listener whose queue is full: the system drops what knocks, as a dead machine does.
    fn silent() -> (TcpListener, Vec<socket2::Socket>, SocketAddr) {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        socket.bind(&any.into()).unwrap();
        socket.listen(0).unwrap();
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().unwrap();
        let knock = |_| {
            let knocker =
                socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            knocker.set_nonblocking(true).unwrap();
            let _ = knocker.connect(&address.into());
            knocker
        };
        (listener, (0..8).map(knock).collect(), address)
    }

    #[test]
    fn dead_and_silent_addresses_of_a_name_leave_time_for_a_live_one() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let live = listener.local_addr().unwrap();
        let dead = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let (_silent, _knockers, silent) = silent();
        let patience = Duration::from_millis(900);
        for (addresses, reached) in [
            (vec![live], true),
            (vec![dead, live], true),
            (vec![silent, dead, live], true),
            (vec![silent], false),
            (vec![dead], false),
            (vec![dead, dead, dead, live], false),
            (vec![], false),
        ] {
            let what = format!("{addresses:?}");
            let dialed = block_on(dial(&given(addresses), ("name", 1), patience, 0));
            assert_eq!(dialed.is_ok(), reached, "{what}: {dialed:?}");
        }
        // Another turn, another first address.
        let dialed = block_on(dial(
            &given(vec![dead, dead, dead, live]),
            ("name", 1),
            patience,
            3,
        ));
        let Connection::Tcp(stream) = dialed.unwrap() else {
            panic!("a name is no path");
        };
        assert_eq!(stream.peer_addr().unwrap(), live);
    }

    #[test]
    fn what_this_machine_lacks_is_not_the_peers_fault() {
        for (code, local) in [
            (24, true),   // EMFILE
            (23, true),   // ENFILE
            (105, true),  // ENOBUFS
            (12, true),   // ENOMEM
            (99, true),   // EADDRNOTAVAIL: no port is left
            (100, true),  // ENETDOWN
            (101, false), // ENETUNREACH
            (111, false), // ECONNREFUSED
            (113, false), // EHOSTUNREACH
            (110, false), // ETIMEDOUT
        ] {
            assert_eq!(
                is_local(&io::Error::from_raw_os_error(code)),
                local,
                "{code}"
            );
        }
    }
}
