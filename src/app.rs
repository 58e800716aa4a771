//! Puts the pieces together: control plane, workers, acceptors; and takes them down again.

pub mod tasks;

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::{Builder, LocalOptions};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;

use crate::config::{self, Config, CrossSlot, ListenAddr, ReadFrom, Reloading, Upstream};
use crate::control::{self, Control, Credentials, NodeFacts, ReplicaReads, Source, SourceKind};
use crate::memory::{self, Gauge};
use crate::net::{self, ServerTls};
use crate::resp::reply::ReplyLimits;
use crate::resp::request::RequestLimits;
use crate::route::scan::ScanBook;
use crate::route::verdict::RetryLimits;
use crate::topology::Keyspace;
use crate::upstream::backoff::BackoffLimits;
use crate::upstream::handshake::Greeting;
use crate::worker::accept::{self, Doors, Listener};
use crate::worker::errands::{self, Errands};
use crate::worker::hub::{DoorCounts, Hub, Settings};
use crate::worker::{self, Drained, Setup, Worker};

/// Runs until SIGTERM or SIGINT, and then until the clients have what they had asked for.
///
/// # Errors
/// When a listener cannot be bound or the system refuses a thread, and when a second signal cuts the clients off.
pub fn run(mut config: Config) -> anyhow::Result<()> {
    if let Err(error) = net::raise_descriptors_max() {
        tracing::debug!("the limit of file descriptors stays as it is: {error}");
    }
    fit_memory(&mut config);
    fit_clients(&mut config, net::descriptors_max());
    let config = Arc::new(config);
    let runtime = Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build_local(LocalOptions::default())
        .context("cannot start a runtime")?;
    runtime.block_on(serve(config))
}

async fn serve(config: Arc<Config>) -> anyhow::Result<()> {
    // First: from the moment that somebody can see us, we end and reload as we should.
    let mut signals = Signals::new()?;
    let hangup = signal(SignalKind::hangup())?;
    let mut listeners: Vec<(Listener, bool, Option<ServerTls>)> = Vec::new();
    // What INFO shows; 0 where there are only Unix sockets, as a server would say.
    let mut port = 0;
    for listener in &config.listeners {
        let bound = net::bind(&listener.address, listener.mode)
            .with_context(|| format!("cannot listen on {}", listener.address))?;
        let address = bound.address()?;
        tracing::info!("listening on {address}");
        if let (0, ListenAddr::Tcp(address)) = (port, &address) {
            port = address.port();
        }
        let splits = listener.cross_slot_transactions == CrossSlot::Split;
        listeners.push((Listener::new(bound)?, splits, listener.tls.clone()));
    }
    let (control, control_thread) =
        control::start(source(&config)).context("cannot start the control plane")?;
    let (errands, orders) = errands::channel();
    tokio::task::spawn_local(errands::run(orders, config.tls.clone()));
    let (doors, mut workers) = start_workers(&config, port, &control, errands)?;
    for door in &*doors.workers {
        tokio::task::spawn_local(door.announce(control.changes()));
    }
    let (stop, stopped) = watch::channel(());
    let accept = |(listener, splits_transactions, tls)| {
        let doors = Doors {
            tls,
            splits_transactions,
            ..doors.clone()
        };
        tokio::task::spawn_local(accept::run(listener, doors, stopped.clone()))
    };
    let acceptors: Vec<_> = listeners.into_iter().map(accept).collect();
    let reloading = tokio::task::spawn_local(keep_fresh(Reloading::of(&config), hangup));
    signals.next().await;
    reloading.abort();
    tracing::info!("stopping: no new connections, finishing what is in flight");
    drop((doors, stop));
    tokio::select! {
        drained = drain(acceptors, &mut workers) => tracing::info!(
            served_out = drained.served_out, cut = drained.cut, "stopped"
        ),
        () = signals.next() => anyhow::bail!("stopped at once, by a second signal"),
    }
    control_thread.stop();
    Ok(())
}

/// Takes passwords and certificates anew when their files change, and at SIGHUP.
async fn keep_fresh(mut reloading: Reloading, mut hangup: Signal) {
    loop {
        tokio::select! {
            _ = hangup.recv() => {}
            () = tokio::time::sleep(FILES_CHECK), if !reloading.is_empty() => {
                if !reloading.has_changed() {
                    continue;
                }
            }
        }
        match reloading.reload().as_slice() {
            [] => tracing::info!("passwords and certificates have been read again"),
            problems => tracing::warn!(
                "passwords and certificates stay as they were: {}",
                problems.join("; ")
            ),
        }
    }
}

/// How often it is looked whether files have changed.
const FILES_CHECK: Duration = Duration::from_secs(1);

/// Waits until the acceptors have closed and every worker has ended.
async fn drain(acceptors: Vec<JoinHandle<()>>, workers: &mut mpsc::Receiver<Drained>) -> Drained {
    for acceptor in acceptors {
        // Each has given back its listener and its way to the workers once it is joined.
        drop(acceptor.await);
    }
    let mut all = Drained::default();
    while let Some(drained) = workers.recv().await {
        all.served_out += drained.served_out;
        all.cut += drained.cut;
    }
    all
}

/// What tells us to stop.
struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}

/// Settles how much memory there is to be had, and says so.
fn fit_memory(config: &mut Config) {
    const MIB: usize = 1 << 20;
    let found = config.memory_max.is_none().then(memory::find_limit);
    let max = *config
        .memory_max
        .get_or_insert(found.as_ref().map_or(0, |found| found.max));
    match found {
        _ if max == 0 => tracing::info!("max-memory: no limit"),
        Some(found) => tracing::info!("max-memory: {} MiB, {}", max / MIB, found.source),
        None => tracing::info!("max-memory: {} MiB", max / MIB),
    }
}

/// Lowers `max-clients` to what the file descriptors of the process allow, as a server does.
fn fit_clients(config: &mut Config, descriptors: Option<u64>) {
    let Some(descriptors) = descriptors else {
        return;
    };
    let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
    let fitting = clients_beside(config.limits.reserved_descriptors_min, descriptors);
    if fitting < config.clients_max {
        tracing::warn!(
            "max-clients is {fitting} instead of {}: there are {descriptors} file descriptors, \
             and {} of them are kept for links, listeners and the control plane",
            config.clients_max,
            descriptors.saturating_sub(fitting),
        );
        config.clients_max = fitting;
    }
}

/// How many clients so many descriptors are good for.
fn clients_beside(reserved: usize, descriptors: usize) -> usize {
    (descriptors - reserved.min(descriptors / 2)).max(1)
}

fn source(config: &Config) -> Source {
    let (seeds, kind) = match &config.upstream {
        Upstream::Cluster { seeds } => (seeds.clone(), SourceKind::Cluster),
        Upstream::Sentinel {
            sentinels,
            master_name,
            credentials,
        } => {
            let kind = SourceKind::Sentinel {
                master_name: master_name.as_str().into(),
                credentials: credentials.as_ref().map(log_in),
                tls: config.sentinel_tls.clone(),
            };
            (sentinels.clone(), kind)
        }
        Upstream::Server { endpoint, .. } => (vec![endpoint.clone()], SourceKind::Server),
    };
    Source {
        kind,
        credentials: config.credentials.as_ref().map(log_in),
        tls: config.tls.clone(),
        replica_reads: (config.read_from != ReadFrom::Primary).then(|| ReplicaReads {
            lag_max: config.replica_lag_max,
            zones: Arc::new(config.node_zones.clone()),
        }),
        rules: config.rules.clone(),
        probe_interval: config.probe_interval,
        ..Source::new(seeds)
    }
}

fn log_in(credentials: &config::Credentials) -> Credentials {
    Credentials {
        user: credentials.username.clone(),
        password: credentials.password.clone(),
    }
}

/// How keys are spread over what stands behind.
fn keyspace(upstream: &Upstream) -> Keyspace {
    match upstream {
        Upstream::Cluster { .. } => Keyspace::Hashed,
        Upstream::Sentinel { .. } | Upstream::Server { .. } => Keyspace::Whole,
    }
}

/// Where sessions begin.
fn database(upstream: &Upstream) -> u32 {
    match upstream {
        Upstream::Server { database, .. } => *database,
        Upstream::Cluster { .. } | Upstream::Sentinel { .. } => 0,
    }
}

#[expect(
    clippy::disallowed_types,
    reason = "SCAN tokens are good at every worker; one short lock per SCAN"
)]
fn start_workers(
    config: &Config,
    port: u16,
    control: &Control,
    errands: Errands,
) -> anyhow::Result<(Doors, mpsc::Receiver<Drained>)> {
    let random = RandomState::new();
    let scan_book = Arc::new(std::sync::Mutex::new(ScanBook::new(
        config.limits.scan_tokens_max,
        random.hash_one("scan"),
    )));
    let counts = Arc::new(DoorCounts::default());
    let mut doors = Vec::new();
    let (ended, workers) = mpsc::channel(config.workers);
    for index in 0..config.workers {
        let settings = Arc::new(Settings {
            doors: counts.clone(),
            ..settings(config, port, &random, index)
        });
        let face = worker::face(
            &NodeFacts::default(),
            database(&config.upstream),
            config.logins.clone(),
        );
        let commands = control.published.commands.load_full();
        let (worker, door) = Worker::new(Setup {
            hub: Hub::new(settings, commands, face, scan_book.clone()),
            published: control.published.clone(),
            changes: control.changes(),
            hints: control.hints.clone(),
            errands: errands.clone(),
            gauge: Gauge::new(config.memory_max.unwrap_or(0)),
            database: database(&config.upstream),
            logins: config.logins.clone(),
        })?;
        doors.push(door);
        let (ended, grace) = (ended.clone(), config.shutdown_grace);
        thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(move || match worker.run(grace) {
                // Nobody waits for it after a second signal.
                Ok(drained) => drop(ended.try_send(drained)),
                Err(error) => tracing::error!("worker {index} has ended: {error}"),
            })?;
    }
    let doors = Doors {
        workers: doors.into(),
        ids: Arc::default(),
        clients_max: config.clients_max,
        counts,
        linger: config.limits.linger_timeout,
        lingering: Arc::new(Semaphore::new(config.limits.lingering_clients_max)),
        splits_transactions: false,
        tls: None,
        handshakes: Arc::new(Semaphore::new(config.limits.tls_handshaking_clients_max)),
        handshake: config.limits.tls_handshake_timeout,
    };
    Ok((doors, workers))
}

fn settings(config: &Config, port: u16, random: &RandomState, worker: usize) -> Settings {
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
        read_from: config.read_from,
        read_own_writes: config.read_own_writes,
        zone: config.zone.clone(),
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
        doors: Arc::default(),
        seed: random.hash_one(worker),
    }
}

/// 40 hexadecimal digits, the same for all workers of a process.
fn run_id(random: &RandomState) -> String {
    let words = (0..3).map(|word| format!("{:016x}", random.hash_one(("run id", word))));
    words.collect::<String>().chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_leave_descriptors_for_everything_else_but_never_more_than_half() {
        for (descriptors, expected) in [(20_000, 19_744), (1024, 768), (512, 256), (41, 21), (1, 1)]
        {
            assert_eq!(clients_beside(256, descriptors), expected, "{descriptors}");
        }
    }
}
