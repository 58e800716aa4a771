//! What the status page shows, and `/topology`: as JSON. Sizes are bytes, counts are since the start, histograms are counts by range.

use serde::Serialize;

use super::Watched;
use super::events::Kept;
use super::health::unserved;
use super::metrics::is_up;
use super::names::shown;
use super::snapshot::Snapshot;
use crate::clock::Now;
use crate::control::NodeInfo;
use crate::measure::Outcome;
use crate::measure::histogram::BOUNDS;
use crate::memory;
use crate::topology::{Role, SlotRange, Topology};
use crate::worker::hub::Slow;
use crate::worker::hub::report::{ClientLine, NodeTimes, Report, Seen};

/// Of each kind of thing that is listed.
const LISTED_MAX: usize = 100;

#[derive(Serialize)]
pub(super) struct Status {
    pub(super) version: &'static str,
    pub(super) uptime_seconds: f64,
    pub(super) now_ms: u64,
    pub(super) ready: bool,
    pub(super) reasons: Vec<String>,
    pub(super) draining: bool,
    pub(super) services: Vec<ServiceStatus>,
    pub(super) memory: Memory,
    pub(super) events: Vec<Kept>,
}

#[derive(Serialize)]
pub(super) struct Memory {
    pub(super) used: usize,
    pub(super) max: usize,
}

#[derive(Serialize)]
pub(super) struct ServiceStatus {
    listen: Vec<String>,
    upstream: String,
    kind: &'static str,
    ready: bool,
    reasons: Vec<String>,
    sessions: usize,
    blocked: u64,
    links: usize,
    held: Held,
    totals: Totals,
    latency: Latency,
    nodes: Vec<NodeStatus>,
    unserved: Vec<[u16; 2]>,
    clients: Vec<Client>,
    hot_keys: Vec<HotKey>,
    large_values: Vec<LargeValue>,
    commands: Vec<CommandTimes>,
    slow: Vec<SlowRequest>,
}

#[derive(Serialize)]
struct Held {
    requests: usize,
    bytes: usize,
}

#[derive(Serialize)]
struct Totals {
    requests: u64,
    /// Answered with an error by a node, and by slotcar.
    errors: u64,
    failed: u64,
    redirections: u64,
    client_bytes_in: u64,
    client_bytes_out: u64,
}

#[derive(Serialize)]
struct Latency {
    /// Seconds; the last count of each is of what took longer than all of these.
    bounds: Vec<f64>,
    wait: Vec<u64>,
    node: Vec<u64>,
    slotcar: Vec<u64>,
}

/// One node, as `/topology` shows it, too.
#[derive(Serialize)]
pub(super) struct NodeStatus {
    node: String,
    role: &'static str,
    primary: Option<String>,
    slots: Vec<[u16; 2]>,
    up: bool,
    trouble: Option<String>,
    requests: u64,
    latency: Vec<u64>,
    info: Option<Info>,
}

#[derive(Serialize)]
struct Info {
    age_seconds: f64,
    memory_used_bytes: u64,
    memory_max_bytes: u64,
    clients: u64,
    hits: u64,
    misses: u64,
    keys: u64,
    evicted_keys: u64,
    commands: u64,
}

#[derive(Serialize)]
struct Client {
    id: u64,
    address: String,
    name: String,
    age_seconds: u64,
    idle_seconds: u64,
    database: u32,
    protocol: u8,
    command: &'static str,
}

#[derive(Serialize)]
struct HotKey {
    key: String,
    /// Of all requests for keys, at least; of late.
    share: f64,
    command: &'static str,
}

#[derive(Serialize)]
struct LargeValue {
    key: String,
    bytes: usize,
    command: &'static str,
}

#[derive(Serialize)]
struct CommandTimes {
    command: &'static str,
    sampled: u64,
    latency: Vec<u64>,
}

#[derive(Serialize)]
struct SlowRequest {
    id: u64,
    at_ms: u64,
    duration_us: u128,
    wait_us: u128,
    node_us: u128,
    node: String,
    request: String,
    client: String,
    client_name: String,
}

/// `reasons`: why the service is not ready.
pub(super) fn service(
    now: Now,
    now_ms: u64,
    watched: &Watched,
    reasons: Vec<String>,
    snapshot: &Snapshot,
) -> ServiceStatus {
    let workers = &snapshot.workers;
    let (counters, stages) = (&workers.counters, &workers.stages);
    let seen = workers.seen.as_ref();
    let clients = seen.map(|seen| seen.clients.as_slice()).unwrap_or_default();
    let slow = seen.map(|seen| seen.slow.as_slice()).unwrap_or_default();
    ServiceStatus {
        listen: watched.listen.clone(),
        upstream: watched.upstream.clone(),
        kind: watched.kind,
        ready: reasons.is_empty(),
        reasons,
        sessions: workers.load.sessions,
        blocked: workers.blocked,
        links: workers.load.links,
        held: Held {
            requests: workers.load.held,
            bytes: workers.load.held_bytes,
        },
        totals: Totals {
            requests: workers.tally.total(),
            errors: workers.tally.of(Outcome::Error),
            failed: workers.tally.of(Outcome::Failed),
            redirections: counters.redirections,
            client_bytes_in: counters.client_bytes_in,
            client_bytes_out: counters.client_bytes_out,
        },
        latency: Latency {
            bounds: bounds(),
            wait: stages.wait.counts().to_vec(),
            node: stages.node.counts().to_vec(),
            slotcar: stages.slotcar.counts().to_vec(),
        },
        nodes: nodes(now, snapshot),
        unserved: ranges(&unserved(&snapshot.topology)),
        clients: clients
            .iter()
            .take(LISTED_MAX)
            .map(|client| client_line(now, client))
            .collect(),
        hot_keys: seen.map(hot_keys).unwrap_or_default(),
        large_values: seen.map(large_values).unwrap_or_default(),
        commands: commands(workers),
        slow: slow
            .iter()
            .rev()
            .take(LISTED_MAX)
            .map(|(id, slow)| slow_request(now, now_ms, *id, slow))
            .collect(),
    }
}

fn hot_keys(seen: &Seen) -> Vec<HotKey> {
    let all = seen.keys.seen().max(1);
    let top = seen.keys.top().into_iter();
    top.map(|entry| HotKey {
        key: shown(&entry.name),
        share: share(entry.count - entry.error, all),
        command: entry.verb,
    })
    .collect()
}

fn large_values(seen: &Seen) -> Vec<LargeValue> {
    let top = seen.largest.top().into_iter();
    top.map(|entry| LargeValue {
        key: shown(&entry.name),
        bytes: entry.bytes,
        command: entry.verb,
    })
    .collect()
}

fn commands(workers: &Report) -> Vec<CommandTimes> {
    let all = workers.commands.iter();
    all.map(|(command, times)| CommandTimes {
        command,
        sampled: times.count(),
        latency: times.counts().to_vec(),
    })
    .collect()
}

/// Every node of the topology, shard by shard.
pub(super) fn nodes(now: Now, snapshot: &Snapshot) -> Vec<NodeStatus> {
    let topology = &snapshot.topology;
    let mut all = Vec::new();
    for shard in topology.shards() {
        let primary = shard.primary.and_then(|at| topology.nodes().get(at));
        let replicas = shard.replicas.iter();
        let members = shard.primary.iter().chain(replicas);
        for node in members.filter_map(|at| topology.nodes().get(*at)) {
            let NodeTimes { times, .. } = snapshot
                .workers
                .nodes
                .get(&node.endpoint)
                .cloned()
                .unwrap_or_default();
            let is_primary = node.role == Role::Primary;
            let of = primary.filter(|_| !is_primary);
            all.push(NodeStatus {
                node: node.endpoint.to_string(),
                role: if is_primary { "primary" } else { "replica" },
                primary: of.map(|primary| primary.endpoint.to_string()),
                slots: if is_primary {
                    ranges(&shard.ranges)
                } else {
                    Vec::new()
                },
                up: is_up(snapshot, &node.endpoint),
                trouble: trouble(snapshot, &node.endpoint),
                requests: times.count(),
                latency: times.counts().to_vec(),
                info: snapshot.infos.get(&node.endpoint).map(|i| info(now, i)),
            });
        }
    }
    all
}

fn trouble(snapshot: &Snapshot, node: &crate::topology::Endpoint) -> Option<String> {
    let failure = snapshot.failures.get(node).cloned();
    let is_silent = snapshot.suspects.contains(node);
    failure.or_else(|| is_silent.then(|| "does not answer probes".to_owned()))
}

fn info(now: Now, info: &NodeInfo) -> Info {
    Info {
        age_seconds: now.since(info.at).as_secs_f64(),
        memory_used_bytes: info.memory_used_bytes,
        memory_max_bytes: info.memory_max_bytes,
        clients: info.clients,
        hits: info.hits,
        misses: info.misses,
        keys: info.keys,
        evicted_keys: info.evicted_keys,
        commands: info.commands,
    }
}

fn client_line(now: Now, client: &ClientLine) -> Client {
    Client {
        id: client.id,
        address: client.address.clone(),
        name: shown(&client.name),
        age_seconds: now.since(client.created).as_secs(),
        idle_seconds: now.since(client.last_active).as_secs(),
        database: client.database,
        protocol: client.protocol,
        command: client.command.unwrap_or(""),
    }
}

fn slow_request(now: Now, now_ms: u64, id: u64, slow: &Slow) -> SlowRequest {
    let words: Vec<String> = slow.request.iter().map(|word| shown(word)).collect();
    let more = match slow.more {
        0 => String::new(),
        more => format!(" … ({more} more arguments)"),
    };
    let ago = u64::try_from(now.since(slow.at).as_millis()).unwrap_or(u64::MAX);
    SlowRequest {
        id,
        at_ms: now_ms.saturating_sub(ago),
        duration_us: slow.took.as_micros(),
        wait_us: slow.wait.as_micros(),
        node_us: slow.node.as_micros(),
        node: slow.endpoint.clone(),
        request: format!("{}{more}", words.join(" ")),
        client: slow.client.clone(),
        client_name: shown(&slow.client_name),
    }
}

/// Of all services together.
pub(super) fn memory_now(max: usize) -> Memory {
    Memory {
        used: memory::used(),
        max,
    }
}

/// What `/topology` says of one service.
#[derive(Serialize)]
pub(super) struct TopologyStatus {
    listen: Vec<String>,
    upstream: String,
    kind: &'static str,
    version: u64,
    nodes: Vec<NodeStatus>,
    unserved: Vec<[u16; 2]>,
}

pub(super) fn topology(now: Now, watched: &Watched, snapshot: &Snapshot) -> TopologyStatus {
    let topology: &Topology = &snapshot.topology;
    TopologyStatus {
        listen: watched.listen.clone(),
        upstream: watched.upstream.clone(),
        kind: watched.kind,
        version: topology.version(),
        nodes: nodes(now, snapshot),
        unserved: ranges(&unserved(topology)),
    }
}

fn ranges(ranges: &[SlotRange]) -> Vec<[u16; 2]> {
    let ends = ranges.iter().map(|range| [range.first(), range.last()]);
    ends.map(|ends| ends.map(|slot| slot.get())).collect()
}

#[expect(clippy::cast_precision_loss, reason = "bounds of a few digits")]
fn bounds() -> Vec<f64> {
    BOUNDS.iter().map(|&bound| bound as f64 / 1e9).collect()
}

#[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
fn share(count: u64, all: u64) -> f64 {
    count as f64 / all as f64
}
