//! Where a listener stands: an IP address and port, or the path of a Unix socket.
//!
//! Names are refused: `localhost` is two addresses on many machines, and a listener has one.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// Where to listen. Written `127.0.0.1:6379`, `[::1]:6379` or `unix:/path/to.sock`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAddr {
    /// Port 0 lets the system choose one.
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// The text is no [`ListenAddr`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadListenAddr {
    /// Neither `unix:` nor an IP address with a port.
    NoAddress,
    /// `unix:` and no path behind it.
    NoPath,
}

impl FromStr for ListenAddr {
    type Err = BadListenAddr;

    fn from_str(text: &str) -> Result<Self, BadListenAddr> {
        match text.strip_prefix("unix:") {
            Some("") => Err(BadListenAddr::NoPath),
            Some(path) => Ok(Self::Unix(PathBuf::from(path))),
            None => text
                .parse()
                .map(Self::Tcp)
                .map_err(|_| BadListenAddr::NoAddress),
        }
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Display for BadListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoAddress => "is not an IP address with a port",
            Self::NoPath => "names no path",
        })
    }
}

impl std::error::Error for BadListenAddr {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_as_it_is_read() {
        for text in [
            "127.0.0.1:6379",
            "[::1]:0",
            "0.0.0.0:65535",
            "unix:/run/redis.sock",
        ] {
            let address: ListenAddr = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn names_and_halves_are_refused() {
        for (text, why) in [
            ("localhost:6379", BadListenAddr::NoAddress),
            ("127.0.0.1", BadListenAddr::NoAddress),
            (":6379", BadListenAddr::NoAddress),
            ("::1:6379", BadListenAddr::NoAddress),
            ("127.0.0.1:65536", BadListenAddr::NoAddress),
            ("", BadListenAddr::NoAddress),
            ("unix:", BadListenAddr::NoPath),
        ] {
            assert_eq!(text.parse::<ListenAddr>(), Err(why), "{text}");
        }
    }
}
