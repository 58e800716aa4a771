//! What nodes say of themselves in `INFO`, asked at a slow pace, one node after the other: for metrics, never for routing.
//!
//! Source of the fields: <https://redis.io/docs/latest/commands/info/>.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use redis_protocol::resp2::types::BytesFrame;
use tokio::time::sleep;

use super::facts::{field, text};
use super::random::Random;
use super::wire::{Dialer, decode};
use super::{AskFailure, ClusterInfo, Failed, Published, SourceKind};
use crate::clock::{Now, now};
use crate::topology::Endpoint;

/// By node: what it said when it was asked last, or why it said nothing. Who does not let us ask is left out.
pub type NodeInfos = BTreeMap<Endpoint, Result<NodeInfo, Failed>>;

/// One node at one moment; what it does not say is 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeInfo {
    pub at: Now,
    pub memory_used_bytes: u64,
    /// 0: no limit.
    pub memory_max_bytes: u64,
    /// Connections of clients.
    pub clients: u64,
    pub hits: u64,
    pub misses: u64,
    pub evicted_keys: u64,
    pub commands: u64,
    /// Of all databases.
    pub keys: u64,
    /// Whether it thinks that its cluster is well; none: it is part of no cluster, or does not say.
    pub cluster_ok: Option<bool>,
}

impl NodeInfo {
    /// Reads the text of `INFO`, and the reply to `CLUSTER INFO` if that was asked.
    fn read(at: Now, info: &str, cluster: Option<&BytesFrame>) -> Self {
        let number = |name| field(info, name).and_then(|value| value.parse().ok());
        let number = |name| number(name).unwrap_or(0);
        Self {
            at,
            memory_used_bytes: number("used_memory"),
            memory_max_bytes: number("maxmemory"),
            clients: number("connected_clients"),
            hits: number("keyspace_hits"),
            misses: number("keyspace_misses"),
            evicted_keys: number("evicted_keys"),
            commands: number("total_commands_processed"),
            keys: info.lines().filter_map(keys_of_database).sum(),
            cluster_ok: cluster.and_then(|reply| ClusterInfo::from_reply(reply).state_ok),
        }
    }
}

/// `db0:keys=3,expires=0,avg_ttl=0`
fn keys_of_database(line: &str) -> Option<u64> {
    let (number, fields) = line.strip_prefix("db")?.split_once(':')?;
    number.parse::<u32>().ok()?;
    let keys = fields.split(',').find_map(|f| f.strip_prefix("keys="))?;
    keys.trim().parse().ok()
}

/// Asks every node of the topology about once in `interval`, for ever.
pub(super) async fn watch(
    published: Arc<Published>,
    dialer: Dialer,
    kind: SourceKind,
    interval: Duration,
) {
    let asks_cluster = matches!(kind, SourceKind::Cluster);
    let mut random = Random::from_system();
    // The first answers come soon: somebody may be looking.
    let mut pace = FIRST;
    loop {
        let topology = published.topology.load_full();
        let nodes = topology.nodes().iter().map(|node| node.endpoint.clone());
        let nodes: Vec<Endpoint> = nodes.collect();
        let Some(count) = u32::try_from(nodes.len()).ok().filter(|count| *count > 0) else {
            sleep(random.around(FIRST, JITTER_PERCENT)).await;
            continue;
        };
        for node in &nodes {
            sleep(random.around(pace / count, JITTER_PERCENT)).await;
            let info = ask(node, &dialer, asks_cluster).await;
            let mut infos = NodeInfos::clone(&published.infos.load());
            infos.retain(|known, _| nodes.contains(known));
            if let Err(why) = &info {
                tracing::debug!(%node, error = %why, "does not say how it is");
            }
            match info {
                Err(why) if !why.is_silence() => drop(infos.remove(node)),
                said => {
                    let said = said.map_err(|why| Failed { why, at: now() });
                    infos.insert(node.clone(), said);
                }
            }
            published.infos.store(Arc::new(infos));
        }
        pace = interval;
    }
}

async fn ask(node: &Endpoint, dialer: &Dialer, asks_cluster: bool) -> Result<NodeInfo, AskFailure> {
    dialer.turn().await;
    let questions: &[&[&str]] = &[&["INFO"], &["CLUSTER", "INFO"]];
    let asked = if asks_cluster { questions.len() } else { 1 };
    let questions = questions.get(..asked).unwrap_or_default();
    let (_wire, replies) = dialer.ask(node, PATIENCE, questions).await?;
    let mut replies = replies.iter().map(decode);
    let info = replies.next().transpose()?;
    let cluster = replies.next().transpose()?;
    if let Some(BytesFrame::Error(why)) = info {
        return Err(AskFailure::Refused(why.to_string()));
    }
    let info = info.as_ref().and_then(text);
    let info = info.ok_or(AskFailure::Malformed("INFO without a text"))?;
    Ok(NodeInfo::read(now(), info, cluster.as_ref()))
}

const FIRST: Duration = Duration::from_secs(1);
const JITTER_PERCENT: u32 = 20;

/// For connecting and for both answers.
const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_that_are_wanted_are_read_and_what_is_missing_is_nothing() {
        const INFO: &str = "# Memory\r\nused_memory:1000\r\nused_memory_rss:2000\r\nmaxmemory:5000\r\n# Clients\r\nconnected_clients:7\r\n\
            # Stats\r\nkeyspace_hits:3\r\nkeyspace_misses:1\r\n# Keyspace\r\ndb0:keys=4,expires=1,avg_ttl=0\r\ndb9:keys=6,expires=0,avg_ttl=0\r\n";
        let cluster = BytesFrame::BulkString("cluster_state:fail\r\n".into());
        let read = NodeInfo::read(Now::ZERO, INFO, Some(&cluster));
        let expected = NodeInfo {
            at: Now::ZERO,
            memory_used_bytes: 1000,
            memory_max_bytes: 5000,
            clients: 7,
            hits: 3,
            misses: 1,
            evicted_keys: 0,
            commands: 0,
            keys: 10,
            cluster_ok: Some(false),
        };
        assert_eq!(read, expected);
    }
}
