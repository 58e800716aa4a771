//! Flags, environment and file resolved into one [`Config`], or every mistake at once.
//!
//! Flags win over slotcar's own variables, those over the file, the file over the variables that apps use. Owns
//! what may be set and how it is spelled ([`keys::KEYS`]) and the bounds nobody sets ([`limits`]); knows
//! nothing of how any of it is used.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tracing::level_filters::LevelFilter;

pub use environment::Environment;
pub use flags::{CommandLine, Flags, Probe, Task};
pub use limits::Limits;
pub use live::{Changes, Said};
pub use mistake::{ConfigError, Mistake, Origin};
pub use move_keys::{MoveKeys, Plain};
pub use reload::{Changed, Reloading};
pub use resolve::resolve;
pub use secret::Secret;
pub use show::{Shown, rows, show};
pub use users::{Logins, Users};

use crate::command::rules::Rules;
use crate::command::together::Rule;
pub use crate::net::ListenAddr;
use crate::net::{ClientTls, ServerTls};
use crate::topology::Endpoint;

mod draft;
mod environment;
mod file;
mod flags;
mod key;
pub mod keys;
pub mod limits;
mod live;
mod mistake;
mod move_keys;
mod parse;
pub mod reference;
mod reload;
mod resolve;
mod secret;
mod show;
mod tables;
mod url;
mod users;
mod words;

/// Everything that a process is told, complete and valid.
#[derive(Clone, Debug)]
pub struct Config {
    /// At least one.
    pub listeners: Vec<Listener>,
    pub upstream: Upstream,
    /// How connections to nodes are secured; none: they are not.
    pub tls: Option<ClientTls>,
    /// How connections to Sentinels are secured.
    pub sentinel_tls: Option<ClientTls>,
    /// How to log in at the nodes; none if they ask for nothing.
    pub credentials: Option<Credentials>,
    /// What the links are called in the nodes' `CLIENT LIST`.
    pub client_name: String,
    /// `1 <= workers <= 64`
    pub workers: usize,
    /// Clients at a time, all workers together. `1 <= clients_max <= 1_000_000`
    pub clients_max: usize,
    /// How long a client may ask for nothing; none: for ever.
    pub client_idle_timeout: Option<Duration>,
    /// How long requests wait for a shard without a usable primary; zero: not at all.
    pub failover_hold: Duration,
    /// Bytes that the process may have; 0: as many as it wants; none: what the system suggests.
    pub memory_max: Option<usize>,
    /// What a client is told whose request may or may not have been executed.
    pub unknown_outcome: UnknownOutcome,
    /// How often a silent node is probed; none: never.
    pub probe_interval: Option<Duration>,
    /// How long clients are served once slotcar is told to stop.
    pub shutdown_grace: Duration,
    /// Whom clients have to be; none: nobody in particular.
    pub logins: Logins,
    /// Under which names keys are stored.
    pub keep_together: Vec<Rule>,
    /// Of a cluster. `>= 1`
    pub databases: u32,
    /// What a cluster would refuse is counted; not before one.
    pub audits: bool,
    pub read_from: ReadFrom,
    /// How long a session reads at the primary what it has written; zero: not for that reason.
    pub read_own_writes: Duration,
    /// How far behind a replica may be that is read from.
    pub replica_lag_max: Duration,
    /// Where we are.
    pub zone: Option<String>,
    /// Where nodes are that do not say it themselves, by host.
    pub node_zones: HashMap<String, Arc<str>>,
    /// What clients may not use, and may though it is refused to all otherwise.
    pub rules: Arc<Rules>,
    /// Where a part of it stands.
    pub file: Option<PathBuf>,
    /// Of listeners that have their own, which are none of `listeners`.
    pub others: Vec<Self>,
    /// What of it was set, to be compared with what is set later.
    pub said: Said,
    pub log_level: LevelFilter,
    pub log_format: LogFormat,
    /// Where health and metrics are served; none: nowhere.
    pub admin: Option<SocketAddr>,
    /// How often each node is asked how it is; none: never.
    pub node_info_interval: Option<Duration>,
    /// Requests that take longer are remembered; none: none are.
    pub slow_log_threshold: Option<Duration>,
    /// One of so many requests is looked at; 0: none.
    pub sample_every: u32,
    pub limits: Limits,
}

/// One place where apps connect, and what is true for those who connect there.
#[derive(Clone, Debug)]
pub struct Listener {
    pub address: ListenAddr,
    /// Of a Unix socket, as chmod has it; none: as the process makes files.
    pub mode: Option<u32>,
    /// How clients' connections are secured; none: they are not.
    pub tls: Option<ServerTls>,
    pub cross_slot_transactions: CrossSlot,
}

/// What is done about a transaction with keys in several slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrossSlot {
    /// An error that names the keys, as a cluster has it.
    Refuse,
    /// One transaction per slot.
    Split,
}

/// Which nodes are asked for what only reads: see [`crate::route::readers`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadFrom {
    #[default]
    Primary,
    PreferReplica,
    Replica,
    Nearest,
    ZoneAffinity,
}

/// What becomes of a client when nobody knows whether its request was executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownOutcome {
    /// It gets an error that says so.
    Error,
    /// Its connection is closed, as by a server that dies.
    Close,
}

/// What stands behind slotcar.
#[derive(Clone, Debug)]
pub enum Upstream {
    Cluster {
        /// At least one, none twice, in the order given.
        seeds: Vec<Endpoint>,
    },
    /// The primary that Sentinels watch.
    Sentinel {
        /// At least one, none twice, in the order given.
        sentinels: Vec<Endpoint>,
        master_name: String,
        /// How to log in at the Sentinels.
        credentials: Option<Credentials>,
    },
    /// One server.
    Server {
        endpoint: Endpoint,
        /// Where sessions begin.
        database: u32,
    },
}

/// What `AUTH` is told.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// None: the user `default`.
    pub username: Option<String>,
    pub password: Secret,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Human,
    /// One object a line.
    Json,
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster { seeds } => {
                f.write_str("cluster")?;
                seeds.iter().try_for_each(|seed| write!(f, " {seed}"))
            }
            Self::Sentinel {
                sentinels,
                master_name,
                credentials: _,
            } => {
                write!(f, "{master_name} of the Sentinels")?;
                sentinels.iter().try_for_each(|one| write!(f, " {one}"))
            }
            Self::Server { endpoint, database } => match database {
                0 => write!(f, "server {endpoint}"),
                _ => write!(f, "server {endpoint}, database {database}"),
            },
        }
    }
}
