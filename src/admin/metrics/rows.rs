//! The table itself, in the order of the page.

use std::time::Duration;

use super::Kind::{Counter as C, Gauge as G, Histogram as H};
use super::{Kind, Look, Of, Process, Row, Samples};
use crate::admin::health::unserved;
use crate::admin::snapshot::Snapshot;
use crate::control::NodeInfo;
use crate::memory;
use crate::topology::{Endpoint, Role};
use crate::worker::hub::report::LinkCounts;

/// A value for every node that has said how it is.
fn of_infos(look: &Look<'_>, samples: &mut Samples, value: impl Fn(&NodeInfo) -> u64) {
    for (node, info) in &look.snapshot.infos {
        samples.count(&[&node.to_string()], value(info));
    }
}

fn of_links(links: &LinkCounts) -> [(&'static str, [usize; 2]); 3] {
    [
        ("shared", links.shared),
        ("leased", links.leased),
        ("other", links.other),
    ]
}

/// Whether it answers, as far as we know: primaries are probed, some nodes are asked for the topology, and all how they are.
pub(in crate::admin) fn is_up(snapshot: &Snapshot, node: &Endpoint) -> bool {
    !snapshot.suspects.contains(node) && !snapshot.failures.contains_key(node)
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

/// The table, in the order of the page.
#[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
pub static ROWS: &[Row] = &[
    row(
        "slotcar_build_info",
        G,
        &["version"],
        "Always 1; the version is in its label",
        "",
        |_, to| {
            to.count(&[env!("CARGO_PKG_VERSION")], 1);
        },
    ),
    of_process(
        "process_start_time_seconds",
        G,
        "When the process began, in seconds since 1970",
        "a restart",
        |p| p.started_ms as f64 / 1e3,
    ),
    of_process(
        "process_resident_memory_bytes",
        G,
        "Memory that the process has, the program included",
        "clients, values under way",
        |p| p.usage.resident_bytes as f64,
    ),
    of_process(
        "process_cpu_seconds_total",
        C,
        "CPU time that the process has used, of user and system",
        "traffic",
        |p| seconds(p.usage.cpu),
    ),
    of_process(
        "process_open_fds",
        G,
        "File descriptors that are open",
        "clients, links",
        |p| p.usage.open_descriptors as f64,
    ),
    of_process(
        "process_max_fds",
        G,
        "File descriptors that may be open",
        "",
        |p| p.usage.descriptors_max as f64,
    ),
    of_process(
        "slotcar_draining",
        G,
        "1 from the moment on when the process has been told to end",
        "SIGTERM, /drain",
        |p| f64::from(u8::from(p.draining)),
    ),
    of_process(
        "slotcar_log_lines_dropped_total",
        C,
        "Lines of the log that were left out: their place in the code had written too many, or nobody reads them",
        "a fault that repeats itself",
        |p| p.log_lines_left_out as f64,
    ),
    of_process(
        "slotcar_memory_used_bytes",
        G,
        "Memory that is allocated, as it is compared with the budget",
        "clients, values under way",
        |_| memory::used() as f64,
    ),
    row(
        "slotcar_memory_max_bytes",
        G,
        &[],
        "The budget of memory; 0: none",
        "max-memory",
        |look, to| {
            to.count(&[], look.snapshot.memory_max as u64);
        },
    ),
    row(
        "slotcar_memory_shortages_total",
        C,
        &[],
        "Times in which memory was short and who held much had to wait",
        "large values, clients that do not read",
        |look, to| {
            to.count(&[], look.snapshot.workers.counters.memory_shortages);
        },
    ),
    row(
        "slotcar_ready",
        G,
        &[],
        "1 if /readyz says so",
        "a primary that does not answer for longer than requests are held",
        |look, to| {
            to.count(&[], u64::from(look.ready));
        },
    ),
    row(
        "slotcar_requests_total",
        C,
        &["class", "outcome"],
        "Requests that have been answered, by kind of command; outcome: ok, error (a node said so), failed (slotcar said so)",
        "traffic",
        |look, to| {
            for (class, outcome, count) in look.snapshot.workers.tally.rows() {
                to.count(&[class.name(), outcome.name()], count);
            }
        },
    ),
    row(
        "slotcar_request_duration_seconds",
        H,
        &["stage"],
        "How long parts of requests were where; wait: read but not yet written to a node, node: until its answer came, slotcar: until that was written to the client",
        "slow nodes; a busy machine; holds",
        |look, to| {
            let stages = &look.snapshot.workers.stages;
            to.times(&["wait"], &stages.wait);
            to.times(&["node"], &stages.node);
            to.times(&["slotcar"], &stages.slotcar);
        },
    ),
    row(
        "slotcar_node_request_duration_seconds",
        H,
        &["node"],
        "How long each node took to answer, network included; what waits by itself (BLPOP, WAIT) is left out",
        "a slow node",
        |look, to| {
            for (node, times) in &look.snapshot.workers.nodes {
                to.times(&[&node.to_string()], &times.times);
            }
        },
    ),
    row(
        "slotcar_command_duration_seconds",
        H,
        &["command"],
        "How long requests took from being read to being answered, of one in sample-every",
        "slow commands",
        |look, to| {
            for (command, times) in &look.snapshot.workers.commands {
                to.times(&[command], times);
            }
        },
    ),
    row(
        "slotcar_redirections_total",
        C,
        &["kind"],
        "Redirections that were followed",
        "resharding, failovers",
        |look, to| {
            let counters = &look.snapshot.workers.counters;
            let ask = counters.redirections_ask;
            to.count(&["moved"], counters.redirections - ask);
            to.count(&["ask"], ask);
        },
    ),
    row(
        "slotcar_refusals_total",
        C,
        &[],
        "TRYAGAIN, CLUSTERDOWN, LOADING, MASTERDOWN and READONLY, and redirections in a circle or to nowhere, that were waited out",
        "failovers, resharding",
        |look, to| {
            to.count(&[], look.snapshot.workers.counters.refusals);
        },
    ),
    row(
        "slotcar_held_requests",
        G,
        &[],
        "Parts of requests that wait for a usable primary now",
        "a failover",
        |look, to| {
            to.count(&[], look.snapshot.workers.load.held as u64);
        },
    ),
    row(
        "slotcar_held_bytes",
        G,
        &[],
        "Bytes of those",
        "a failover",
        |look, to| {
            to.count(&[], look.snapshot.workers.load.held_bytes as u64);
        },
    ),
    row(
        "slotcar_held_requests_total",
        C,
        &[],
        "Parts of requests that had to wait for a usable primary",
        "failovers, resharding",
        |look, to| {
            to.count(&[], look.snapshot.workers.counters.held);
        },
    ),
    row(
        "slotcar_holds_total",
        C,
        &[],
        "Times during which requests of a worker were held, if only for a moment",
        "failovers, resharding, lost links",
        |look, to| {
            to.count(&[], look.snapshot.workers.counters.holds);
        },
    ),
    row(
        "slotcar_delayed_requests_total",
        C,
        &[],
        "Parts that were answered after they had been held, redirected or sent again",
        "failovers, resharding",
        |look, to| {
            to.count(&[], look.snapshot.workers.counters.delayed);
        },
    ),
    row(
        "slotcar_longest_delay_seconds",
        G,
        &[],
        "The longest time that took since the start",
        "failovers",
        |look, to| {
            let millis = look.snapshot.workers.counters.longest_delay_ms.0;
            to.number(&[], millis as f64 / 1e3);
        },
    ),
    row(
        "slotcar_replays_total",
        C,
        &["rule"],
        "Parts that were sent again; unsent: they had not left, refused: the node did not execute them, reads: they only read",
        "lost links, failovers",
        |look, to| {
            let counters = &look.snapshot.workers.counters;
            to.count(&["unsent"], counters.resent - counters.resent_reads);
            to.count(&["refused"], counters.redirections + counters.refusals);
            to.count(&["reads"], counters.resent_reads);
        },
    ),
    row(
        "slotcar_given_up_total",
        C,
        &["reason"],
        "Parts whose clients were told that they could not be served",
        "a node that dies with a write under way; a shard that is away for too long",
        |look, to| {
            let given_up = look.snapshot.workers.counters.given_up;
            to.count(&["unknown_outcome"], given_up.unknown_outcome);
            to.count(&["hold_ran_out"], given_up.hold_ran_out);
            to.count(&["hold_full"], given_up.hold_full);
            to.count(&["unreachable"], given_up.unreachable);
            to.count(&["no_topology"], given_up.no_topology);
        },
    ),
    row(
        "slotcar_topology_refreshes_total",
        C,
        &[],
        "Rounds of questions about the topology",
        "time, redirections, lost links",
        |look, to| {
            to.count(&[], look.snapshot.learning.rounds);
        },
    ),
    row(
        "slotcar_topology_changes_total",
        C,
        &[],
        "Topologies that were different from the one before",
        "failovers, resharding",
        |look, to| {
            to.count(&[], look.snapshot.learning.changes);
        },
    ),
    row(
        "slotcar_failovers_total",
        C,
        &[],
        "Topologies in which a replica had become a primary",
        "failovers",
        |look, to| {
            to.count(&[], look.snapshot.learning.failovers);
        },
    ),
    row(
        "slotcar_topology_age_seconds",
        G,
        &[],
        "Time since nodes last agreed on a topology; none if they never have",
        "nodes that do not answer",
        |look, to| {
            if let Some(age) = look.snapshot.learning.agreed_age {
                to.number(&[], seconds(age));
            }
        },
    ),
    row(
        "slotcar_slots",
        G,
        &["state"],
        "Slots with and without a primary",
        "a cluster that is not whole",
        |look, to| {
            let unserved: usize = unserved(&look.snapshot.topology)
                .iter()
                .map(|range| range.count())
                .sum();
            to.count(&["served"], (crate::topology::SLOT_COUNT - unserved) as u64);
            to.count(&["unserved"], unserved as u64);
        },
    ),
    row(
        "slotcar_nodes",
        G,
        &["role"],
        "Nodes of the topology",
        "nodes that join or leave",
        |look, to| {
            for (role, name) in [(Role::Primary, "primary"), (Role::Replica, "replica")] {
                let nodes = look.snapshot.topology.nodes().iter();
                to.count(
                    &[name],
                    nodes.filter(|node| node.role == role).count() as u64,
                );
            }
        },
    ),
    row(
        "slotcar_suspect_nodes",
        G,
        &[],
        "Primaries that do not answer probes",
        "a dead or stopped node",
        |look, to| {
            to.count(&[], look.snapshot.suspects.len() as u64);
        },
    ),
    row(
        "slotcar_node_up",
        G,
        &["node", "role"],
        "1 if the node has answered when it was asked last",
        "a dead or stopped node",
        |look, to| {
            for node in look.snapshot.topology.nodes() {
                let up = is_up(look.snapshot, &node.endpoint);
                let role = match node.role {
                    Role::Primary => "primary",
                    Role::Replica => "replica",
                };
                to.count(&[&node.endpoint.to_string(), role], u64::from(up));
            }
        },
    ),
    row(
        "slotcar_links",
        G,
        &["kind", "state"],
        "Connections to nodes; shared by all clients, leased to one, or other (subscriptions and such)",
        "traffic, workers, nodes",
        |look, to| {
            for (kind, [open, connecting]) in of_links(&look.snapshot.workers.links) {
                to.count(&[kind, "open"], open as u64);
                to.count(&[kind, "connecting"], connecting as u64);
            }
        },
    ),
    row(
        "slotcar_links_dialed_total",
        C,
        &[],
        "Connections to nodes that were begun",
        "new nodes, lost links, leases",
        |look, to| {
            to.count(&[], look.snapshot.workers.counters.dials);
        },
    ),
    row(
        "slotcar_links_lost_total",
        C,
        &[],
        "Connections to nodes that failed or could not be made",
        "dead nodes",
        |look, to| {
            to.count(&[], look.snapshot.workers.counters.links_lost);
        },
    ),
    row(
        "slotcar_leases_total",
        C,
        &[],
        "Times that a connection was leased to one client",
        "WATCH, blocking commands",
        |look, to| {
            to.count(&[], look.snapshot.workers.counters.leases);
        },
    ),
    row(
        "slotcar_leases_reused_total",
        C,
        &[],
        "Of those, with a connection that was there",
        "WATCH, blocking commands",
        |look, to| {
            to.count(&[], look.snapshot.workers.counters.leases_reused);
        },
    ),
    row(
        "slotcar_sessions",
        G,
        &[],
        "Clients that are connected",
        "clients",
        |look, to| {
            to.count(&[], look.snapshot.workers.load.sessions as u64);
        },
    ),
    row(
        "slotcar_sessions_blocked",
        G,
        &[],
        "Of those, clients that wait for something (BLPOP, WAIT, CLIENT PAUSE)",
        "clients",
        |look, to| {
            to.count(&[], look.snapshot.workers.blocked);
        },
    ),
    row(
        "slotcar_sessions_max",
        G,
        &[],
        "Clients that may be connected",
        "max-clients",
        |look, to| {
            to.count(&[], look.snapshot.clients_max as u64);
        },
    ),
    row(
        "slotcar_connections_total",
        C,
        &["outcome"],
        "Connections of clients: accepted; refused, for there being too many; accept_error, tls_error",
        "clients",
        |look, to| {
            let [
                (_, received),
                (_, refused),
                (_, accept_errors),
                (_, tls_errors),
            ] = look.snapshot.doors;
            to.count(&["accepted"], received.saturating_sub(refused));
            to.count(&["refused"], refused);
            to.count(&["accept_error"], accept_errors);
            to.count(&["tls_error"], tls_errors);
        },
    ),
    row(
        "slotcar_clients_closed_total",
        C,
        &["reason"],
        "Clients whose connections slotcar has closed",
        "clients that do not read; a node that dies with a write under way",
        |look, to| {
            let counters = &look.snapshot.workers.counters;
            to.count(&["memory"], counters.clients_shed);
            to.count(&["slow_reader"], counters.slow_readers_cut);
            to.count(&["slow_subscriber"], counters.slow_subscribers_cut);
            to.count(&["idle"], counters.idle_clients_closed);
            to.count(&["unknown_outcome"], counters.hung_up);
            to.count(&["torn_reply"], counters.replies_torn);
        },
    ),
    row(
        "slotcar_bytes_total",
        C,
        &["side", "direction"],
        "Bytes that were read and written",
        "traffic",
        |look, to| {
            let counters = &look.snapshot.workers.counters;
            to.count(&["client", "in"], counters.client_bytes_in);
            to.count(&["client", "out"], counters.client_bytes_out);
            to.count(&["node", "in"], counters.node_bytes_in);
            to.count(&["node", "out"], counters.node_bytes_out);
        },
    ),
    row(
        "slotcar_cluster_ok",
        G,
        &[],
        "Share of the nodes that say that the cluster is well (cluster_state); 1: all who were asked",
        "a cluster that is not whole",
        |look, to| {
            let said: Vec<bool> = look
                .snapshot
                .infos
                .values()
                .filter_map(|info| info.cluster_ok)
                .collect();
            if !said.is_empty() {
                let well = said.iter().filter(|ok| **ok).count();
                to.number(&[], well as f64 / said.len() as f64);
            }
        },
    ),
    row(
        "slotcar_node_memory_used_bytes",
        G,
        &["node"],
        "Memory of the node (INFO: used_memory)",
        "data",
        |look, to| {
            of_infos(look, to, |info| info.memory_used_bytes);
        },
    ),
    row(
        "slotcar_node_memory_max_bytes",
        G,
        &["node"],
        "Memory that the node may use (maxmemory); 0: no limit",
        "its configuration",
        |look, to| {
            of_infos(look, to, |info| info.memory_max_bytes);
        },
    ),
    row(
        "slotcar_node_clients",
        G,
        &["node"],
        "Connections to the node, of anybody (connected_clients)",
        "clients",
        |look, to| {
            of_infos(look, to, |info| info.clients);
        },
    ),
    row(
        "slotcar_node_hits_total",
        C,
        &["node"],
        "Keys that were looked up and found, by anybody (keyspace_hits)",
        "reads",
        |look, to| {
            of_infos(look, to, |info| info.hits);
        },
    ),
    row(
        "slotcar_node_misses_total",
        C,
        &["node"],
        "Keys that were looked up and not found, by anybody (keyspace_misses)",
        "reads",
        |look, to| {
            of_infos(look, to, |info| info.misses);
        },
    ),
    row(
        "slotcar_node_evicted_keys_total",
        C,
        &["node"],
        "Keys that had to go for want of memory (evicted_keys)",
        "too little memory",
        |look, to| {
            of_infos(look, to, |info| info.evicted_keys);
        },
    ),
    row(
        "slotcar_node_commands_total",
        C,
        &["node"],
        "Commands that the node has executed, for anybody (total_commands_processed)",
        "traffic",
        |look, to| {
            of_infos(look, to, |info| info.commands);
        },
    ),
    row(
        "slotcar_node_keys",
        G,
        &["node"],
        "Keys at the node",
        "data",
        |look, to| {
            of_infos(look, to, |info| info.keys);
        },
    ),
    row(
        "slotcar_node_info_age_seconds",
        G,
        &["node"],
        "Time since the node said all that (node-info-interval)",
        "a node that does not answer",
        |look, to| {
            for (node, info) in &look.snapshot.infos {
                to.number(&[&node.to_string()], seconds(look.now.since(info.at)));
            }
        },
    ),
    row(
        "slotcar_audited_requests_total",
        C,
        &[],
        "Requests that --audit has looked at",
        "traffic, with audit on",
        |look, to| {
            if let Some((requests, _)) = &look.snapshot.workers.audited {
                to.count(&[], *requests);
            }
        },
    ),
    row(
        "slotcar_audit_requests_total",
        C,
        &["finding"],
        "Of those, requests that a cluster would refuse or serve otherwise",
        "an app that is not made for a cluster, with audit on",
        |look, to| {
            for (finding, count) in look
                .snapshot
                .workers
                .audited
                .iter()
                .flat_map(|(_, all)| all)
            {
                to.count(&[finding.name()], *count);
            }
        },
    ),
];

const fn row(
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    about: &'static str,
    cause: &'static str,
    of: fn(&Look<'_>, &mut Samples),
) -> Row {
    Row {
        name,
        kind,
        labels,
        about,
        cause,
        of: Of::Service(of),
    }
}

const fn of_process(
    name: &'static str,
    kind: Kind,
    about: &'static str,
    cause: &'static str,
    of: fn(&Process) -> f64,
) -> Row {
    Row {
        name,
        kind,
        labels: &[],
        about,
        cause,
        of: Of::Process(of),
    }
}
