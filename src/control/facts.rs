//! What the control thread learns about nodes besides slots: `INFO server`, `CLUSTER INFO`, `COMMAND`.

use bytes::Bytes;
use redis_protocol::resp2::types::BytesFrame;

use super::AskFailure;
use super::wire::{Wire, decode};

/// What kind of server stands behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    /// `redis` or `valkey`.
    pub server: String,
    /// The Redis version, or the one that a Valkey claims to be compatible with.
    pub redis_version: String,
    pub valkey_version: Option<String>,
}

impl Default for NodeFacts {
    /// Before any node has answered: the oldest that is supported.
    fn default() -> Self {
        Self {
            server: "redis".to_owned(),
            redis_version: "7.0.0".to_owned(),
            valkey_version: None,
        }
    }
}

impl NodeFacts {
    /// The version that clients should see: the server's own.
    pub fn shown_version(&self) -> &str {
        self.valkey_version
            .as_deref()
            .unwrap_or(&self.redis_version)
    }

    /// Reads the text of `INFO server`; `None` without a version.
    pub fn parse(info: &str) -> Option<Self> {
        Some(Self {
            server: word(info, "server_name").unwrap_or("redis").to_owned(),
            redis_version: word(info, "redis_version")?.to_owned(),
            valkey_version: word(info, "valkey_version").map(ToOwned::to_owned),
        })
    }
}

/// What `CLUSTER INFO` says about how far a node's word can be trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClusterInfo {
    /// `cluster_current_epoch`
    pub epoch: Option<u64>,
    /// `cluster_my_epoch`: of its shard's last election, or of the last slot that it took over.
    pub own_epoch: Option<u64>,
    /// `cluster_state`
    pub state_ok: Option<bool>,
}

impl ClusterInfo {
    /// What cannot be read, for want of permission or otherwise, is not known.
    pub fn from_reply(reply: &BytesFrame) -> Self {
        let info = text(reply).unwrap_or_default();
        let epoch = |name| field(info, name).and_then(|epoch| epoch.parse().ok());
        Self {
            epoch: epoch("cluster_current_epoch"),
            own_epoch: epoch("cluster_my_epoch"),
            state_ok: field(info, "cluster_state").map(|state| state == "ok"),
        }
    }
}

/// Asks a node what it is; if that differs from `known`, also for its commands.
pub(super) async fn learn(
    wire: &mut Wire,
    known: Option<&NodeFacts>,
) -> Result<Option<Lesson>, AskFailure> {
    let info = ask_one(wire, &["INFO", "server"]).await?;
    let info = decode(&info)?;
    if let BytesFrame::Error(text) = &info {
        return Err(AskFailure::Refused(text.to_string()));
    }
    let facts = text(&info).and_then(NodeFacts::parse);
    let facts = facts.ok_or(AskFailure::Malformed("INFO without a version"))?;
    if Some(&facts) == known {
        return Ok(None);
    }
    let commands = ask_one(wire, &["COMMAND"]).await?;
    Ok(Some(Lesson { facts, commands }))
}

/// What [`learn`] found to be new.
pub(super) struct Lesson {
    pub(super) facts: NodeFacts,
    /// Its reply, which is an error if it does not let us ask.
    pub(super) commands: Bytes,
}

async fn ask_one(wire: &mut Wire, request: &[&str]) -> Result<Bytes, AskFailure> {
    let replies = wire.ask(&[request]).await?;
    replies
        .into_iter()
        .next()
        .ok_or(AskFailure::Malformed("no reply"))
}

/// The text of a simple or bulk string.
pub(super) fn text(reply: &BytesFrame) -> Option<&str> {
    match reply {
        BytesFrame::BulkString(bytes) | BytesFrame::SimpleString(bytes) => {
            std::str::from_utf8(bytes).ok()
        }
        BytesFrame::Error(_) | BytesFrame::Integer(_) | BytesFrame::Array(_) | BytesFrame::Null => {
            None
        }
    }
}

/// A short value in a line `name:value`: clients and logs are shown it.
fn word<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    let is_short =
        |value: &&str| value.len() <= WORD_BYTES_MAX && !value.contains(char::is_control);
    field(info, name).filter(is_short)
}

/// The value in a line `name:value`.
pub(super) fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(str::trim)
}

/// Longer than any version or name of a server.
const WORD_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_say_what_they_are() {
        let redis = "# Server\r\nredis_version:7.0.15\r\nredis_mode:cluster\r\n";
        let valkey =
            "# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.0.1\r\n";
        for (info, expected) in [
            (redis, Some(("7.0.15", None, "redis"))),
            (valkey, Some(("7.2.4", Some("8.0.1"), "valkey"))),
            ("", None),
            ("redis_version\r\n", None),
            ("redis_version:7\r0\n", None),
            (&format!("redis_version:{}\n", "7".repeat(65)), None),
        ] {
            let expected = expected.map(|(version, valkey_version, server)| NodeFacts {
                redis_version: version.to_owned(),
                valkey_version: valkey_version.map(ToOwned::to_owned),
                server: server.to_owned(),
            });
            assert_eq!(NodeFacts::parse(info), expected, "{info}");
        }
    }

    #[test]
    fn cluster_info_is_read_where_it_can_be() {
        let bulk = |text: &'static str| BytesFrame::BulkString(Bytes::from_static(text.as_bytes()));
        for (reply, epoch, own_epoch, state_ok) in [
            (
                bulk("cluster_state:ok\r\ncluster_current_epoch:7\r\ncluster_my_epoch:3\r\n"),
                Some(7),
                Some(3),
                Some(true),
            ),
            (
                bulk("cluster_state:fail\r\ncluster_current_epoch:x\r\n"),
                None,
                None,
                Some(false),
            ),
            (BytesFrame::Error("NOPERM".into()), None, None, None),
            (BytesFrame::Null, None, None, None),
        ] {
            let expected = ClusterInfo {
                epoch,
                own_epoch,
                state_ok,
            };
            assert_eq!(ClusterInfo::from_reply(&reply), expected);
        }
    }
}
