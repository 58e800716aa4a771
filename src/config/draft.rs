//! What the rows of the table of keys fill in, piece by piece, until a configuration is made of it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tracing::level_filters::LevelFilter;

use super::key::Key;
use super::mistake::Origin;
use super::parse::ListenerDraft;
use super::url::ServerUrl;
use super::{CrossSlot, LogFormat, Logins, ReadFrom, Secret, UnknownOutcome};
use crate::command::rules::Pattern;
use crate::command::together::Rule;
use crate::topology::Endpoint;

/// One key and the texts given for it in one place.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) key: &'static Key,
    pub(super) origin: Origin,
    /// At least one; several only from lists and repeated flags.
    pub(super) values: Vec<String>,
}

/// What the rows fill in, before it is known whether all of it fits together.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) listen: Vec<ListenerDraft>,
    pub(super) seeds: Vec<Endpoint>,
    pub(super) sentinels: Vec<Endpoint>,
    pub(super) master_name: String,
    pub(super) sentinel_username: Option<String>,
    pub(super) sentinel_password: Option<Secret>,
    pub(super) server: Option<ServerUrl>,
    /// Its port is 0 if it names none: then it is `port`.
    pub(super) host: Option<Endpoint>,
    pub(super) port: u16,
    pub(super) username: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) tls: bool,
    pub(super) tls_files: FilesDraft,
    pub(super) tls_server_name: Option<String>,
    pub(super) sentinel_tls: Option<bool>,
    pub(super) listen_tls_files: FilesDraft,
    pub(super) client_name: String,
    pub(super) workers: usize,
    pub(super) clients_max: usize,
    pub(super) client_idle_timeout: Duration,
    pub(super) failover_hold: Duration,
    pub(super) cross_slot: CrossSlot,
    pub(super) memory_max: Option<usize>,
    pub(super) unknown_outcome: UnknownOutcome,
    pub(super) probe_interval: Duration,
    pub(super) shutdown_grace: Duration,
    pub(super) logins: Logins,
    pub(super) keep_together: Vec<Rule>,
    pub(super) databases: u32,
    pub(super) audits: bool,
    pub(super) read_from: ReadFrom,
    pub(super) read_own_writes: Duration,
    pub(super) replica_lag_max: Duration,
    pub(super) zone: Option<String>,
    pub(super) node_zones: HashMap<String, Arc<str>>,
    pub(super) denied: Vec<Pattern>,
    pub(super) allowed: Vec<Pattern>,
    pub(super) reads_only: bool,
    pub(super) protected: bool,
    pub(super) log_level: LevelFilter,
    pub(super) log_format: LogFormat,
    pub(super) admin: Option<SocketAddr>,
    pub(super) node_info_interval: Duration,
    pub(super) slow_log_threshold: Duration,
    pub(super) sample_every: u32,
    pub(super) file: Option<PathBuf>,
}

/// Files of one side of TLS, as far as they have been named.
#[derive(Debug, Default)]
pub(super) struct FilesDraft {
    pub(super) ca: Option<PathBuf>,
    pub(super) cert: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
}

impl Default for Draft {
    /// Nothing set. The defaults of the table are applied on top, as if somebody had written them.
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            seeds: Vec::new(),
            sentinels: Vec::new(),
            master_name: String::new(),
            sentinel_username: None,
            sentinel_password: None,
            server: None,
            host: None,
            port: 0,
            username: None,
            password: None,
            tls: false,
            tls_files: FilesDraft::default(),
            tls_server_name: None,
            sentinel_tls: None,
            listen_tls_files: FilesDraft::default(),
            client_name: String::new(),
            workers: 0,
            clients_max: 0,
            client_idle_timeout: Duration::ZERO,
            failover_hold: Duration::ZERO,
            cross_slot: CrossSlot::Refuse,
            memory_max: None,
            unknown_outcome: UnknownOutcome::Error,
            probe_interval: Duration::ZERO,
            shutdown_grace: Duration::ZERO,
            logins: Logins::Anybody,
            keep_together: Vec::new(),
            databases: 1,
            audits: false,
            read_from: ReadFrom::Primary,
            read_own_writes: Duration::ZERO,
            replica_lag_max: Duration::ZERO,
            zone: None,
            node_zones: HashMap::new(),
            denied: Vec::new(),
            allowed: Vec::new(),
            reads_only: false,
            protected: true,
            log_level: LevelFilter::OFF,
            log_format: LogFormat::Human,
            admin: None,
            node_info_interval: Duration::ZERO,
            slow_log_threshold: Duration::ZERO,
            sample_every: 0,
            file: None,
        }
    }
}
