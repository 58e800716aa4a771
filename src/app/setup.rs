//! What control plane and workers are given, made of a configuration.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{now, unix_millis};
use crate::config::{self, Config, ReadFrom, Upstream};
use crate::control::{Credentials, ReplicaReads, Source, SourceKind};
use crate::downstream::local::Databases;
use crate::resp::reply::ReplyLimits;
use crate::resp::request::RequestLimits;
use crate::route::naming::Naming;
use crate::route::verdict::RetryLimits;
use crate::topology::{Endpoint, Keyspace};
use crate::upstream::backoff::BackoffLimits;
use crate::upstream::handshake::Greeting;
use crate::worker::hub::{Live, Settings};

pub(super) fn source(config: &Config) -> Source {
    let kind = match &config.upstream {
        Upstream::Cluster { .. } => SourceKind::Cluster,
        Upstream::Sentinel {
            master_name,
            credentials,
            ..
        } => SourceKind::Sentinel {
            master_name: master_name.as_str().into(),
            credentials: credentials.as_ref().map(log_in),
            tls: config.sentinel_tls.clone(),
        },
        Upstream::Server { .. } => SourceKind::Server,
    };
    Source {
        kind,
        credentials: config.credentials.as_ref().map(log_in),
        client_name: config.client_name.clone(),
        tls: config.tls.clone(),
        replica_reads: (config.read_from != ReadFrom::Primary).then(|| ReplicaReads {
            by_distance: config.read_from == ReadFrom::Nearest,
            lag_max: config.replica_lag_max,
            zones: Arc::new(config.node_zones.clone()),
        }),
        info_interval: config.node_info_interval.filter(|_| config.admin.is_some()),
        rules: config.rules.clone(),
        probe_interval: config.probe_interval,
        ..Source::new(seeds(&config.upstream))
    }
}

/// What stands behind, in a word.
pub(super) fn kind(upstream: &Upstream) -> &'static str {
    match upstream {
        Upstream::Cluster { .. } => "cluster",
        Upstream::Sentinel { .. } => "sentinel",
        Upstream::Server { .. } => "server",
    }
}

/// Whom to ask first.
pub(super) fn seeds(upstream: &Upstream) -> Vec<Endpoint> {
    match upstream {
        Upstream::Cluster { seeds } => seeds.clone(),
        Upstream::Sentinel { sentinels, .. } => sentinels.clone(),
        Upstream::Server { endpoint, .. } => vec![endpoint.clone()],
    }
}

/// What may change while workers work.
pub(super) fn live(config: &Config) -> Live {
    Live {
        hold_max: config.failover_hold,
        unknown_outcome: config.unknown_outcome,
        memory_max: config.memory_max.unwrap_or(0),
        clients_max: config.clients_max as u64,
        client_idle_timeout: config.client_idle_timeout,
        read_own_writes: config.read_own_writes,
        slow_after: config.slow_log_threshold,
        sample_every: config.sample_every,
    }
}

pub(super) fn log_in(credentials: &config::Credentials) -> Credentials {
    Credentials {
        user: credentials.username.clone(),
        password: credentials.password.clone(),
    }
}

/// How keys are spread over what stands behind.
pub(super) fn keyspace(upstream: &Upstream) -> Keyspace {
    match upstream {
        Upstream::Cluster { .. } => Keyspace::Hashed,
        Upstream::Sentinel { .. } | Upstream::Server { .. } => Keyspace::Whole,
    }
}

/// Under which names keys are stored. An audit only asks what would be if there were rules: today's data stays where it is.
fn naming(config: &Config) -> Option<Naming> {
    let rules = if config.audits {
        &[]
    } else {
        config.keep_together.as_slice()
    };
    Naming::new(rules, databases(config).names)
}

pub(super) fn databases(config: &Config) -> Databases {
    match config.upstream {
        Upstream::Server { database, .. } => Databases {
            first: database,
            ..Databases::default()
        },
        Upstream::Sentinel { .. } => Databases::default(),
        Upstream::Cluster { .. } => Databases {
            names: config.databases,
            ..Databases::default()
        },
    }
}

pub(super) fn settings(
    config: &Config,
    port: u16,
    random: &RandomState,
    worker: usize,
) -> Settings {
    let limits = config.limits.clone();
    let credentials = config.credentials.as_ref();
    Settings {
        retry: RetryLimits {
            hold_max: config.failover_hold,
            redirects_max: limits.redirects_max,
            pause_min: limits.refused_pause_min,
            pause_max: limits.refused_pause_max,
        },
        unknown_outcome: config.unknown_outcome,
        memory_max: config.memory_max.unwrap_or(0),
        backoff: BackoffLimits {
            min: limits.dial_backoff_min,
            max: limits.dial_backoff_max,
        },
        keyspace: keyspace(&config.upstream),
        naming: naming(config).map(Arc::new),
        read_from: config.read_from,
        read_own_writes: config.read_own_writes,
        slow_after: config.slow_log_threshold,
        sample_every: config.sample_every,
        zone: config.zone.clone(),
        audit_databases: config.audits.then_some(config.databases),
        audit_rules: config.keep_together.clone(),
        greeting: Greeting {
            user: credentials.and_then(|c| c.username.clone()),
            password: credentials.map(|c| c.password.clone()),
            client_name: config.client_name.clone(),
            reads_replicas: config.read_from != ReadFrom::Primary
                && keyspace(&config.upstream) == Keyspace::Hashed,
        },
        request: RequestLimits::default(),
        reply: ReplyLimits::default(),
        limits,
        run_id: run_id(random),
        process_id: std::process::id(),
        port,
        clients_max: config.clients_max as u64,
        client_idle_timeout: config.client_idle_timeout,
        started_at: Duration::from_millis(unix_millis()).saturating_sub(now().since_start()),
        workers: config.workers,
        doors: Arc::default(),
        worker,
        seed: random.hash_one(worker),
    }
}

/// 40 hexadecimal digits, the same for all workers of a process.
fn run_id(random: &RandomState) -> String {
    let words = (0..3).map(|word| format!("{:016x}", random.hash_one(("run id", word))));
    words.collect::<String>().chars().take(40).collect()
}
