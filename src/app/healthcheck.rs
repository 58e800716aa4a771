//! `slotcar healthcheck`: asks a slotcar with the same configuration how it is, for images without a shell and without curl.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::config::Probe;

/// What it said.
pub enum Health {
    Good,
    /// Its reasons, a line each.
    Bad(String),
}

/// For connecting, and for each piece of the answer. A worker may take two seconds to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Reasons are lines; there are not more of them than nodes.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// Asks whoever serves at `admin`.
///
/// # Errors
/// When nobody answers there, or not as slotcar does.
pub fn ask(admin: SocketAddr, probe: Probe) -> io::Result<Health> {
    let address = reachable(admin);
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET {} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n",
        probe.path()
    )?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    match head.split(' ').nth(1) {
        Some("200") => Ok(Health::Good),
        Some("503") => Ok(Health::Bad(body.trim_end().to_owned())),
        Some(_) | None => Err(io::Error::other("what answers there is no slotcar")),
    }
}

/// Where somebody on this machine reaches who listens there.
fn reachable(admin: SocketAddr) -> SocketAddr {
    let ip = match admin.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, admin.port())
}
