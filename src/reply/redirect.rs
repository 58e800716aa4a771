//! Reads the error replies by which a node declines to serve: where it sends us, or why it cannot now.
//!
//! Only recognises them. What is done about a refusal is decided in `route`.
//! A frame that is no error costs one look at its first byte.

use crate::topology::{SLOT_COUNT, is_host};

/// A node declined, and nothing was executed. Source: <https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/>.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal<'a> {
    /// The slot lives elsewhere from now on.
    Moved { slot: u16, to: Target<'a> },
    /// This key may already live elsewhere; ask there once, after `ASKING`.
    Ask { slot: u16, to: Target<'a> },
    /// The keys of the request are on both sides of a migration just now.
    TryAgain,
    /// The slot is not served. Also a `MOVED` or `ASK` that makes no sense: all there is to do is to ask for the topology.
    ClusterDown,
    /// The node reads its dataset from disk.
    Loading,
    /// A replica without its primary that must not serve stale data.
    MasterDown,
    /// A replica was asked to write.
    ReadOnly,
    /// Valkey without cluster mode, after a failover: the primary is there.
    Redirect { to: Target<'a> },
    /// The node does not know the script of an `EVALSHA`.
    NoScript,
    /// A blocked command was sent away because the node is no primary any more.
    Unblocked,
}

/// Where a redirection points. `port > 0`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    pub host: Host<'a>,
    pub port: u16,
}

/// The host of a redirection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host<'a> {
    /// Left empty: the host that gave the answer (`cluster-preferred-endpoint-type unknown-endpoint`).
    Same,
    /// `?`: the node has no host name though host names are preferred.
    Unknown,
    /// An address or a host name, without brackets.
    Named(&'a str),
}

/// The refusal in a complete reply frame; `None` for every other reply, errors included.
pub fn refusal(frame: &[u8]) -> Option<Refusal<'_>> {
    let line = frame.strip_prefix(b"-")?;
    let line = line.strip_suffix(b"\r\n").unwrap_or(line);
    let word_end = line.iter().position(|&b| b == b' ').unwrap_or(line.len());
    let (word, rest) = line.split_at_checked(word_end)?;
    let rest = rest.strip_prefix(b" ").unwrap_or(rest);
    match word {
        b"MOVED" => Some(
            located(rest).map_or(Refusal::ClusterDown, |(slot, to)| Refusal::Moved {
                slot,
                to,
            }),
        ),
        b"ASK" => {
            Some(located(rest).map_or(Refusal::ClusterDown, |(slot, to)| Refusal::Ask { slot, to }))
        }
        b"REDIRECT" => {
            Some(target(rest).map_or(Refusal::ClusterDown, |to| Refusal::Redirect { to }))
        }
        b"TRYAGAIN" => Some(Refusal::TryAgain),
        b"CLUSTERDOWN" => Some(Refusal::ClusterDown),
        b"LOADING" => Some(Refusal::Loading),
        b"MASTERDOWN" => Some(Refusal::MasterDown),
        b"READONLY" => Some(Refusal::ReadOnly),
        b"NOSCRIPT" => Some(Refusal::NoScript),
        // The other one is what CLIENT UNBLOCK asked for.
        b"UNBLOCKED" if rest.starts_with(b"force") => Some(Refusal::Unblocked),
        _ => None,
    }
}

/// `3999 127.0.0.1:6381`
fn located(rest: &[u8]) -> Option<(u16, Target<'_>)> {
    let text = std::str::from_utf8(rest).ok()?;
    let (slot, at) = text.split_once(' ')?;
    let slot = slot
        .parse()
        .ok()
        .filter(|&slot| usize::from(slot) < SLOT_COUNT)?;
    Some((slot, target(at.as_bytes())?))
}

/// `127.0.0.1:6381`, `::1:6381`, `[::1]:6381`, `name:6381`, `:6381`, `?:6381`
fn target(at: &[u8]) -> Option<Target<'_>> {
    let text = std::str::from_utf8(at).ok()?;
    let first = text.split(' ').next()?;
    let (host, port) = first.rsplit_once(':')?;
    let port = port.parse().ok().filter(|&port| port > 0)?;
    let host = match host {
        "" => Host::Same,
        "?" => Host::Unknown,
        named => {
            let inner = named.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
            Host::Named(inner.or(Some(named)).filter(|host| is_host(host))?)
        }
    };
    Some(Target { host, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(host: Host<'_>, port: u16) -> Target<'_> {
        Target { host, port }
    }

    #[test]
    fn every_refusal_is_recognised_by_its_first_word() {
        let v4 = to(Host::Named("127.0.0.1"), 6381);
        let cases: &[(&str, Refusal<'_>)] = &[
            (
                "MOVED 3999 127.0.0.1:6381",
                Refusal::Moved { slot: 3999, to: v4 },
            ),
            (
                "MOVED 0 ::1:6381",
                Refusal::Moved {
                    slot: 0,
                    to: to(Host::Named("::1"), 6381),
                },
            ),
            (
                "MOVED 0 [fe80::1]:6381",
                Refusal::Moved {
                    slot: 0,
                    to: to(Host::Named("fe80::1"), 6381),
                },
            ),
            (
                "MOVED 1 node-1.svc:7000",
                Refusal::Moved {
                    slot: 1,
                    to: to(Host::Named("node-1.svc"), 7000),
                },
            ),
            (
                "MOVED 16383 :6381",
                Refusal::Moved {
                    slot: 16383,
                    to: to(Host::Same, 6381),
                },
            ),
            (
                "MOVED 5 ?:6381",
                Refusal::Moved {
                    slot: 5,
                    to: to(Host::Unknown, 6381),
                },
            ),
            (
                "ASK 3999 127.0.0.1:6381",
                Refusal::Ask { slot: 3999, to: v4 },
            ),
            ("REDIRECT 127.0.0.1:6381", Refusal::Redirect { to: v4 }),
            (
                "TRYAGAIN Multiple keys request during rehashing of slot",
                Refusal::TryAgain,
            ),
            ("CLUSTERDOWN Hash slot not served", Refusal::ClusterDown),
            ("CLUSTERDOWN The cluster is down", Refusal::ClusterDown),
            (
                "LOADING Redis is loading the dataset in memory",
                Refusal::Loading,
            ),
            (
                "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
                Refusal::MasterDown,
            ),
            (
                "READONLY You can't write against a read only replica.",
                Refusal::ReadOnly,
            ),
            (
                "NOSCRIPT No matching script. Please use EVAL.",
                Refusal::NoScript,
            ),
            (
                "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
                Refusal::Unblocked,
            ),
            ("TRYAGAIN", Refusal::TryAgain),
        ];
        for (text, expected) in cases {
            assert_eq!(
                refusal(format!("-{text}\r\n").as_bytes()),
                Some(*expected),
                "{text}"
            );
        }
    }

    #[test]
    fn a_redirection_that_makes_no_sense_asks_for_the_topology() {
        for text in [
            "MOVED",
            "MOVED 3999",
            "MOVED x 127.0.0.1:1",
            "MOVED 16384 127.0.0.1:1",
            "MOVED 1 127.0.0.1:0",
            "MOVED 1 127.0.0.1",
            "MOVED 1 127.0.0.1:99999",
            "MOVED -1 h:1",
            "ASK 1 ",
            "REDIRECT",
            "REDIRECT host",
            "MOVED 1 []:1",
            "MOVED 1 a\nb:1",
            "MOVED 1 a\tb:1",
            &format!("MOVED 1 {}:1", "a".repeat(256)),
        ] {
            assert_eq!(
                refusal(format!("-{text}\r\n").as_bytes()),
                Some(Refusal::ClusterDown),
                "{text}"
            );
        }
    }

    #[test]
    fn everything_else_is_no_refusal() {
        for frame in [
            &b""[..],
            b"-",
            b"-\r\n",
            b"-ERR unknown command\r\n",
            b"-MOVEDX 1 h:1\r\n",
            b"-WRONGTYPE Operation\r\n",
            b"+MOVED 1 h:1\r\n",
            b"$5\r\nMOVED\r\n",
            b":1\r\n",
            b"-ERR MOVED 1 h:1\r\n",
            b"-\xff\xfe\r\n",
        ] {
            assert_eq!(refusal(frame), None, "{frame:?}");
        }
    }
}
