//! Where a node listens, and the spellings in which people and servers write that down.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Where a node listens, as the cluster announces it: a host name or an address, and a port.
///
/// IPv6 addresses are kept without brackets. A host that begins with `/` is the path of a Unix socket; its port is 0.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    pub host: Arc<str>,
    pub port: u16,
}

impl Endpoint {
    pub fn new(host: &str, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
        }
    }

    /// Reads `host:port` or `[IPv6]:port`, as people write them in a configuration.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        let (host, port) = text.rsplit_once(':').ok_or(EndpointError::NoPort)?;
        let bracketed = host
            .strip_prefix('[')
            .map(|inner| inner.strip_suffix(']').ok_or(EndpointError::Brackets));
        let host = match bracketed {
            Some(inner) => inner?,
            None if host.contains(':') => return Err(EndpointError::Brackets),
            None if host.contains(['[', ']']) => return Err(EndpointError::Brackets),
            None => host,
        };
        if host.is_empty() {
            return Err(EndpointError::NoHost);
        }
        Ok(Self::new(
            host,
            port_number(port).ok_or(EndpointError::Port)?,
        ))
    }

    /// Reads the endpoint of a `MOVED` or `ASK` that `answered_by` sent.
    ///
    /// The port stands behind the last colon; servers print IPv6 without brackets. An empty host means
    /// the host that answered; `?` means that the server does not know, which is `None`, like nonsense.
    /// Source: the cluster specification, "MOVED Redirection".
    pub fn from_redirect(text: &[u8], answered_by: &Self) -> Option<Self> {
        let (host, port) = std::str::from_utf8(text).ok()?.rsplit_once(':')?;
        let port = port_number(port)?;
        match host {
            "" => Some(Self {
                host: Arc::clone(&answered_by.host),
                port,
            }),
            "?" => None,
            _ => {
                let inner = host
                    .strip_prefix('[')
                    .and_then(|rest| rest.strip_suffix(']'));
                Some(Self::new(inner.unwrap_or(host), port))
            }
        }
    }
}

/// Whether this can be a host name or an address: 1 to 255 bytes (RFC 1035), nothing that would break a line of a log
/// or of an error reply.
pub fn is_host(text: &str) -> bool {
    let breaks = |c: char| c.is_whitespace() || c.is_control();
    !text.is_empty() && text.len() <= HOST_BYTES_MAX && !text.contains(breaks)
}

const HOST_BYTES_MAX: usize = 255;

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.starts_with('/') {
            write!(f, "unix:{}", self.host)
        } else if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// What is wrong with a text that should be an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointError {
    NoHost,
    NoPort,
    Port,
    Brackets,
}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoHost => "the host is missing, expected host:port",
            Self::NoPort => "the port is missing, expected host:port",
            Self::Port => "the port must be a number from 1 to 65535",
            Self::Brackets => "an IPv6 address is written in brackets, as in [::1]:6379",
        })
    }
}

impl std::error::Error for EndpointError {}

/// A decimal port, `1..=65535`, without a sign.
fn port_number(text: &str) -> Option<u16> {
    let digits_only = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| digits_only && *port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configured_endpoint_is_a_host_and_a_port() {
        for (text, expected) in [
            ("localhost:6379", Ok(("localhost", 6379))),
            ("10.0.0.1:1", Ok(("10.0.0.1", 1))),
            ("[::1]:6379", Ok(("::1", 6379))),
            (
                "redis-0.redis.svc.cluster.local:65535",
                Ok(("redis-0.redis.svc.cluster.local", 65535)),
            ),
            ("localhost", Err(EndpointError::NoPort)),
            ("", Err(EndpointError::NoPort)),
            (":6379", Err(EndpointError::NoHost)),
            ("[]:6379", Err(EndpointError::NoHost)),
            ("::1:6379", Err(EndpointError::Brackets)),
            ("[::1:6379", Err(EndpointError::Brackets)),
            ("::1]:6379", Err(EndpointError::Brackets)),
            ("a:0", Err(EndpointError::Port)),
            ("a:65536", Err(EndpointError::Port)),
            ("a:+1", Err(EndpointError::Port)),
            ("a:", Err(EndpointError::Port)),
            ("a:b", Err(EndpointError::Port)),
        ] {
            let expected = expected.map(|(host, port)| Endpoint::new(host, port));
            assert_eq!(Endpoint::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn a_redirection_is_read_as_servers_print_it() {
        let answered_by = Endpoint::new("here", 1);
        for (text, expected) in [
            (&b"127.0.0.1:7000"[..], Some(("127.0.0.1", 7000))),
            (b"::1:7000", Some(("::1", 7000))),
            (b"[::1]:7000", Some(("::1", 7000))),
            (b"node-1.example:7000", Some(("node-1.example", 7000))),
            (b":7000", Some(("here", 7000))),
            (b"?:7000", None),
            (b"host:", None),
            (b"host:0", None),
            (b"host", None),
            (b"\xff:7000", None),
        ] {
            let expected = expected.map(|(host, port)| Endpoint::new(host, port));
            assert_eq!(
                Endpoint::from_redirect(text, &answered_by),
                expected,
                "{}",
                text.escape_ascii()
            );
        }
    }

    #[test]
    fn a_host_is_short_and_stays_on_its_line() {
        for (text, expected) in [
            ("10.0.0.1", true),
            ("fe80::1%eth0", true),
            ("node_1.example", true),
            ("", false),
            ("a b", false),
            ("a\nb", false),
            ("a\u{7f}", false),
            ("a\u{2028}b", false),
        ] {
            assert_eq!(is_host(text), expected, "{text:?}");
        }
        assert!(is_host(&"a".repeat(255)));
        assert!(!is_host(&"a".repeat(256)));
    }

    #[test]
    fn what_is_printed_can_be_read_again() {
        for endpoint in [
            Endpoint::new("a", 1),
            Endpoint::new("::1", 2),
            Endpoint::new("10.0.0.1", 3),
        ] {
            assert_eq!(Endpoint::parse(&endpoint.to_string()), Ok(endpoint));
        }
    }
}
