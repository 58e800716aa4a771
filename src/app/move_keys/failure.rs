//! Why a run ends before its end, in words.

use std::fmt;

use crate::control::AskFailure;
use crate::topology::Endpoint;

/// What cannot be mended by trying again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// A node refused; its words.
    Refused { node: Endpoint, text: String },
    /// A node does not let us in, or cannot be spoken to.
    Closed { node: Endpoint, why: AskFailure },
    /// For longer than `failover-hold`: what was the trouble last.
    TooLong(String),
    /// The target does not know the format of the source's values.
    TooOld {
        source: String,
        node: Endpoint,
        target: String,
    },
    /// Another one is at work in the same cluster.
    NotAlone(Endpoint),
    /// What was given does not go together.
    Unfit(String),
    /// The state file.
    State(String),
    /// Somebody wants it to end.
    Stopped,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { node, text } => match forbidden(text) {
                Some(command) => write!(
                    f,
                    "the user may not {} at {node}, and move-keys needs it ({text})",
                    command.to_uppercase()
                ),
                None => write!(f, "{node} refuses: {text}"),
            },
            Self::Closed { node, why } => write!(f, "{node}: {why}"),
            Self::TooLong(what) => write!(f, "given up after failover-hold: {what}"),
            Self::TooOld {
                source,
                node,
                target,
            } => write!(
                f,
                "{node} ({target}) does not understand the values of the source ({source}): the target has to be at least as new"
            ),
            Self::NotAlone(node) => write!(
                f,
                "another slotcar move-keys is connected to {node}; two at a time could undo each other's work"
            ),
            Self::Unfit(what) | Self::State(what) => f.write_str(what),
            Self::Stopped => f.write_str("stopped"),
        }
    }
}

impl std::error::Error for Failure {}

/// What time may mend, in words.
///
/// # Errors
/// It may not.
pub(super) fn passing(node: &Endpoint, why: AskFailure) -> Result<String, Failure> {
    let node = node.clone();
    match why {
        AskFailure::Refused(text) => {
            if PASSING.iter().any(|word| text.starts_with(word)) {
                return Ok(format!("{node}: {text}"));
            }
            Err(Failure::Refused { node, text })
        }
        why @ (AskFailure::Auth(_)
        | AskFailure::Malformed(_)
        | AskFailure::Tls(_)
        | AskFailure::ClusterDisabled
        | AskFailure::UnknownMaster(_)
        | AskFailure::Slots(_)) => Err(Failure::Closed { node, why }),
        why @ (AskFailure::Resolve(_)
        | AskFailure::Connect(_)
        | AskFailure::Local(_)
        | AskFailure::Timeout
        | AskFailure::Closed(_)
        | AskFailure::NoSlots
        | AskFailure::NotPrimary(_)) => Ok(format!("{node}: {why}")),
    }
}

/// What a node refuses only now.
const PASSING: [&str; 3] = ["LOADING", "BUSY ", "MASTERDOWN"];

/// The command that a user may not use. Redis and Valkey name it in quotation marks.
fn forbidden(text: &str) -> Option<&str> {
    let (before, named) = text.split_once("no permissions to run the '")?;
    let is_known = before.contains("NOPERM") || before.contains("ACL") || before.contains("ERR");
    named.split('\'').next().filter(|_| is_known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_that_is_missing_is_named() {
        let node = Endpoint::new("a", 1);
        for (text, expected) in [
            (
                "NOPERM this user has no permissions to run the 'dump' command",
                "the user may not DUMP at a:1, and move-keys needs it (NOPERM",
            ),
            (
                "NOPERM User app has no permissions to run the 'cluster|nodes' command",
                "the user may not CLUSTER|NODES at a:1",
            ),
            ("OOM command not allowed", "a:1 refuses: OOM"),
        ] {
            let failure = Failure::Refused {
                node: node.clone(),
                text: text.to_owned(),
            };
            assert!(failure.to_string().starts_with(expected), "{failure}");
        }
    }
}
