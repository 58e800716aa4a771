//! Why a node gave no useful answer to the control thread, in words for logs and the status page.

use std::fmt;

use crate::net::DialError;
use crate::topology::SlotsError;

/// Why a node that was asked did not help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AskFailure {
    /// The name means no address.
    Resolve(String),
    /// No connection.
    Connect(String),
    /// It cannot be spoken to in private.
    Tls(String),
    /// This machine could not even try; says nothing about the node.
    Local(String),
    /// No answer in time.
    Timeout,
    /// The connection ended before the answer did.
    Closed(String),
    /// What came is not RESP2, or larger than any reply should be.
    Malformed(&'static str),
    /// AUTH was refused; the node's words.
    Auth(String),
    /// The node wants AUTH or gives no permission, or refuses otherwise; its words.
    Refused(String),
    /// The node is no member of a cluster, and never will be as it is configured.
    ClusterDisabled,
    /// The node knows of no slot that is served: it has left the cluster, or not yet joined it.
    NoSlots,
    /// A Sentinel does not know a primary of this name.
    UnknownMaster(String),
    /// A Sentinel names a primary that says that it is none.
    NotPrimary(String),
    /// The node describes something that cannot be.
    Slots(SlotsError),
}

impl AskFailure {
    /// Whether the node has not answered, or not as a node does. False: what it said says that it lives.
    pub fn is_silence(&self) -> bool {
        match self {
            Self::Resolve(_)
            | Self::Connect(_)
            | Self::Tls(_)
            | Self::Timeout
            | Self::Closed(_)
            | Self::Malformed(_) => true,
            Self::Local(_)
            | Self::Auth(_)
            | Self::Refused(_)
            | Self::ClusterDisabled
            | Self::NoSlots
            | Self::UnknownMaster(_)
            | Self::NotPrimary(_)
            | Self::Slots(_) => false,
        }
    }
}

impl From<SlotsError> for AskFailure {
    fn from(error: SlotsError) -> Self {
        match error {
            SlotsError::Refused(text) if text.contains("cluster support disabled") => {
                Self::ClusterDisabled
            }
            SlotsError::Refused(text) => Self::Refused(text),
            SlotsError::NotAList
            | SlotsError::Entry { .. }
            | SlotsError::Overlap(_)
            | SlotsError::TooManyNodes => Self::Slots(error),
        }
    }
}

impl From<DialError> for AskFailure {
    fn from(error: DialError) -> Self {
        match error {
            DialError::Resolve(why) => Self::Resolve(why),
            DialError::Connect(why) => Self::Connect(why),
            DialError::Local(why) => Self::Local(why),
            DialError::TimedOut(_) => Self::Timeout,
            DialError::Tls(why) => Self::Tls(why),
        }
    }
}

impl fmt::Display for AskFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve(why) => write!(f, "cannot resolve the name: {why}"),
            Self::Connect(why) => write!(f, "cannot connect: {why}"),
            Self::Tls(why) => write!(f, "TLS: {why}"),
            Self::Local(why) => write!(f, "cannot open a connection here: {why}"),
            Self::Timeout => f.write_str("no answer in time"),
            Self::Closed(why) => write!(f, "the connection ended: {why}"),
            Self::Malformed(what) => write!(f, "not a Redis answer: {what}"),
            Self::Auth(text) => write!(f, "AUTH refused: {text:.WORDS_MAX$}"),
            Self::Refused(text) => write!(f, "refused: {text:.WORDS_MAX$}"),
            Self::ClusterDisabled => {
                f.write_str("not a cluster node: it runs with cluster support disabled")
            }
            Self::NoSlots => {
                f.write_str("it knows of no served slot: not (yet) a member of a cluster")
            }
            Self::UnknownMaster(name) => write!(f, "it watches no primary called {name}"),
            Self::NotPrimary(node) => {
                write!(
                    f,
                    "it names {node} as primary, which says that it is a replica"
                )
            }
            Self::Slots(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for AskFailure {}

/// Characters of a node's words that are passed on to people and to clients.
const WORDS_MAX: usize = 256;
