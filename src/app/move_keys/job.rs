//! What is asked about one key, and what its answers mean for where to ask. Pure.

use bytes::Bytes;

use crate::reply::redirect::{Host, Refusal, Target, refusal};
use crate::resp::write;
use crate::topology::Endpoint;

/// Requests about one key, for one node, one after another. May be sent again: whoever makes them knows.
#[derive(Clone, Debug, Default)]
pub(super) struct Job {
    pub(super) key: Vec<u8>,
    pub(super) requests: Vec<u8>,
    pub(super) replies: usize,
}

/// The replies to a [`Job`].
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) node: Endpoint,
    pub(super) replies: Vec<Bytes>,
    /// It was sent before, and nobody knows what came of it.
    pub(super) again: bool,
}

/// Where a job goes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Done,
    /// A node said so: the key's slot is there now, or this key alone (`asking`).
    Elsewhere {
        node: Endpoint,
        asking: bool,
    },
    /// To the owner of its slot, after a pause: why.
    Later(String),
}

impl Job {
    pub(super) fn new(key: &[u8]) -> Self {
        Self {
            key: key.to_owned(),
            ..Self::default()
        }
    }

    pub(super) fn ask(mut self, words: &[&[u8]]) -> Self {
        write::command(&mut self.requests, words);
        self.replies += 1;
        self
    }
}

impl Answer {
    pub(super) fn reply(&self, at: usize) -> &[u8] {
        self.replies.get(at).map_or(b"", |reply| reply)
    }

    /// The first error at the top, without its sign.
    pub(super) fn error(&self) -> Option<String> {
        self.replies.iter().find_map(|reply| error(reply))
    }
}

/// What a reply says, if it is an error.
pub(super) fn error(reply: &[u8]) -> Option<String> {
    let text = reply.strip_prefix(b"-")?;
    Some(String::from_utf8_lossy(text).trim_end().to_owned())
}

/// The bytes of a string, if the reply is one.
pub(super) fn bulk(reply: &Bytes) -> Option<Bytes> {
    let line_end = reply.iter().position(|byte| *byte == b'\n')?;
    (reply.first() == Some(&b'$') && reply.get(1) != Some(&b'-'))
        .then(|| reply.slice(line_end + 1..reply.len().saturating_sub(2)))
}

/// The number, if the reply is one.
pub(super) fn number(reply: &[u8]) -> Option<i64> {
    let digits = reply.strip_prefix(b":")?;
    std::str::from_utf8(digits).ok()?.trim_end().parse().ok()
}

/// What the replies of a node to one job mean.
pub(super) fn judge(node: &Endpoint, replies: &[Bytes]) -> Next {
    for reply in replies {
        let Some(text) = error(reply) else { continue };
        let later = || Next::Later(format!("{node}: {text}"));
        let Some(refusal) = refusal(reply) else {
            if BUSY.iter().any(|word| text.starts_with(word)) {
                return later();
            }
            continue;
        };
        return match refusal {
            Refusal::Moved { to, .. } | Refusal::Redirect { to } => {
                located(to, node).map_or_else(later, |node| Next::Elsewhere {
                    node,
                    asking: false,
                })
            }
            Refusal::Ask { to, .. } => {
                located(to, node).map_or_else(later, |node| Next::Elsewhere { node, asking: true })
            }
            Refusal::TryAgain
            | Refusal::ClusterDown
            | Refusal::Loading
            | Refusal::MasterDown
            | Refusal::ReadOnly
            | Refusal::Unblocked => later(),
            // Scripts are sent whole.
            Refusal::NoScript => continue,
        };
    }
    Next::Done
}

fn located(target: Target<'_>, answered_by: &Endpoint) -> Option<Endpoint> {
    match target.host {
        Host::Same => Some(Endpoint::new(&answered_by.host, target.port)),
        Host::Unknown => None,
        Host::Named(host) => Some(Endpoint::new(host, target.port)),
    }
}

/// A script that takes long; a primary whose replicas are away (`min-replicas-to-write`).
const BUSY: [&str; 2] = ["BUSY ", "NOREPLICAS "];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_where_to_ask() {
        let node = Endpoint::new("a", 1);
        let elsewhere = |host: &str, asking| Next::Elsewhere {
            node: Endpoint::new(host, 7),
            asking,
        };
        for (replies, expected) in [
            (&["+OK\r\n", ":1\r\n"][..], Next::Done),
            (&["-MOVED 1 b:7\r\n"], elsewhere("b", false)),
            (&["-MOVED 1 :7\r\n"], elsewhere("a", false)),
            (
                &["+OK\r\n", "-ASK 1 b:7\r\n", "-EXECABORT x\r\n"],
                elsewhere("b", true),
            ),
            (
                &["-BUSYKEY Target key name already exists.\r\n"],
                Next::Done,
            ),
            (
                &["-BUSY a script\r\n"],
                Next::Later("a:1: BUSY a script".to_owned()),
            ),
            (
                &["-LOADING x\r\n"],
                Next::Later("a:1: LOADING x".to_owned()),
            ),
        ] {
            let replies: Vec<Bytes> = replies
                .iter()
                .map(|reply| Bytes::from_static(reply.as_bytes()))
                .collect();
            assert_eq!(judge(&node, &replies), expected, "{replies:?}");
        }
    }

    #[test]
    fn replies_are_read_without_being_copied() {
        let reply = Bytes::from_static(b"$4\r\n\r\n\r\n\r\n");
        assert_eq!(bulk(&reply).unwrap(), &b"\r\n\r\n"[..]);
        assert_eq!(bulk(&Bytes::from_static(b"$-1\r\n")), None);
        assert_eq!(bulk(&Bytes::from_static(b"$0\r\n\r\n")).unwrap(), &b""[..]);
        assert_eq!(number(b":-2\r\n"), Some(-2));
        assert_eq!(number(b"+OK\r\n"), None);
        assert_eq!(error(b"-ERR x\r\n").unwrap(), "ERR x");
    }
}
