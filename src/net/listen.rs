//! Opens listening sockets, and sets the options of the streams that they accept.
//!
//! Everything is non-blocking and from the standard library, ready to be handed to a runtime.

use std::fs::{self, Permissions};
use std::io;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, TcpKeepalive, Type};

use super::ListenAddr;

/// A socket that listens.
#[derive(Debug)]
pub enum Bound {
    Tcp(TcpListener),
    /// The file lives as long as the [`SocketFile`].
    Unix(UnixListener, SocketFile),
}

/// The file of a Unix socket that this process made; removed when dropped.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

/// Binds and listens. The listener is non-blocking.
///
/// `SO_REUSEADDR` is set, so that a restart need not wait for connections in `TIME_WAIT`; an IPv6
/// listener takes IPv6 only, so that `0.0.0.0` and `[::]` can stand side by side. Accepted streams have
/// their options from the listener (tcp(7)): no Nagle delay, since we write whole batches ourselves, and keep-alive, so that a
/// peer that vanished without a word is noticed.
/// The file of a Unix socket nobody listens on any more is replaced; it has this `mode` before anybody can connect.
///
/// # Errors
/// What the system says; [`io::ErrorKind::AddrInUse`] when somebody else listens there.
pub fn bind(address: &ListenAddr, mode: Option<u32>) -> io::Result<Bound> {
    match address {
        ListenAddr::Tcp(address) => {
            let socket = Socket::new(
                Domain::for_address(*address),
                Type::STREAM,
                Some(Protocol::TCP),
            )?;
            socket.set_reuse_address(true)?;
            if address.is_ipv6() {
                socket.set_only_v6(true)?;
            }
            tune_listener(&socket)?;
            start(&socket, &SockAddr::from(*address), || Ok(()))?;
            Ok(Bound::Tcp(socket.into()))
        }
        ListenAddr::Unix(path) => {
            remove_stale(path)?;
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            let set_mode = || match mode {
                Some(mode) => fs::set_permissions(path, Permissions::from_mode(mode)),
                None => Ok(()),
            };
            start(&socket, &SockAddr::unix(path)?, set_mode)?;
            Ok(Bound::Unix(socket.into(), SocketFile(path.clone())))
        }
    }
}

/// What every accepted stream has.
fn tune_listener(socket: &Socket) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    socket.set_tcp_keepalive(&keepalive)
}

/// How long the system waits for a peer that we have dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Bytes that the peer has not acknowledged, or has left no room for, end the connection after this time.
    pub unacknowledged: Duration,
    /// Silence after which the system asks whether the peer is there; asked again three times as often. Whole seconds.
    pub silent: Duration,
}

/// Sets the options of a TCP stream to a node, as [`bind`] does for clients, with less patience: `TCP_USER_TIMEOUT` bounds how
/// long we wait for a peer that vanished, with bytes under way and, by keep-alive, without.
///
/// # Errors
/// What the system says, for instance when the peer is gone already.
pub fn tune_link(stream: &impl AsFd, patience: Patience) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(patience.unacknowledged))?;
    let keepalive = TcpKeepalive::new()
        .with_time(patience.silent)
        .with_interval((patience.silent / 3).max(SECOND))
        .with_retries(KEEPALIVE_PROBES);
    socket.set_tcp_keepalive(&keepalive)
}

impl Bound {
    /// Where it listens, with the port that the system chose for port 0.
    ///
    /// # Errors
    /// What the system says.
    pub fn address(&self) -> io::Result<ListenAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(ListenAddr::Tcp),
            Self::Unix(_, file) => Ok(ListenAddr::Unix(file.0.clone())),
        }
    }
}

impl SocketFile {
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Someone may have removed it before us; then there is nothing left to do.
        let _ = fs::remove_file(&self.0);
    }
}

/// `prepare`: what is to be done before anybody can connect.
fn start(
    socket: &Socket,
    address: &SockAddr,
    prepare: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.bind(address)?;
    prepare()?;
    socket.listen(BACKLOG.into())
}

/// Removes the file of a socket whose process is gone. Leaves anything else alone, for `bind` to complain about.
fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if !is_socket {
        return Ok(());
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Connections that wait to be accepted. As the server's `tcp-backlog`; the system caps it at `net.core.somaxconn`.
pub const BACKLOG: u16 = 511;
/// As the server's `tcp-keepalive` of 300 s and the way it divides it: a probe after 300 s of silence,
/// then three more, a third of that apart.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(300);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(100);
const KEEPALIVE_PROBES: u32 = 3;
/// The system counts keep-alive in whole seconds.
const SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn port_0_gets_a_port_and_the_port_can_be_bound_again_at_once() {
        let any = "127.0.0.1:0".parse().unwrap();
        let bound = bind(&any, None).unwrap();
        let address = bound.address().unwrap();
        assert_ne!(address, any);
        let ListenAddr::Tcp(tcp) = address else {
            panic!("not TCP")
        };
        let _client = TcpStream::connect(tcp).unwrap();
        let Bound::Tcp(listener) = &bound else {
            panic!("not TCP")
        };
        listener.set_nonblocking(false).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let socket = SockRef::from(&accepted);
        assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE_IDLE);
        assert_eq!(
            bind(&ListenAddr::Tcp(tcp), None).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
        drop(bound);
        bind(&ListenAddr::Tcp(tcp), None).unwrap();
    }

    #[test]
    fn a_link_to_a_peer_that_takes_nothing_ends_in_time_and_one_that_is_taken_lives() {
        use std::io::{Read, Write};
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut link = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        let patience = Patience {
            unacknowledged: Duration::from_millis(600),
            silent: Duration::from_secs(3),
        };
        tune_link(&link, patience).unwrap();
        let socket = SockRef::from(&link);
        assert_eq!(
            socket.tcp_user_timeout().unwrap(),
            Some(patience.unacknowledged)
        );
        assert!(socket.keepalive().unwrap() && link.nodelay().unwrap());
        link.write_all(b"taken").unwrap();
        peer.read_exact(&mut [0; 5]).unwrap();
        // Fills every buffer, then waits for room that never comes.
        let error = loop {
            if let Err(error) = link.write(&[0; 65_536]) {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
    }

    #[test]
    fn a_unix_socket_leaves_no_file_and_replaces_a_dead_one_only() {
        let folder = std::env::temp_dir().join(format!("slotcar-listen-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("a.sock");
        let address = ListenAddr::Unix(path.clone());

        let bound = bind(&address, None).unwrap();
        assert_eq!(bound.address().unwrap(), address);
        assert_eq!(
            bind(&address, None).unwrap_err().kind(),
            io::ErrorKind::AddrInUse,
            "alive"
        );
        drop(bound);
        assert!(!path.exists());

        drop(UnixListener::bind(&path).unwrap()); // as a killed process leaves it
        assert!(path.exists());
        drop(bind(&address, None).unwrap());

        fs::write(&path, "not a socket").unwrap();
        assert_eq!(
            bind(&address, None).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "not a socket");
        fs::remove_dir_all(&folder).unwrap();
    }
}
