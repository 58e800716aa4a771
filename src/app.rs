//! Puts the pieces together: control plane, workers, acceptors; and takes them down again.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::command::lookup::CommandTable;
use crate::config::{Config, CrossSlot, ListenAddr, Upstream};
use crate::control::{self, Control, Credentials, NodeFacts, Source};
use crate::net;
use crate::resp::reply::ReplyLimits;
use crate::resp::request::RequestLimits;
use crate::route::scan::ScanBook;
use crate::route::verdict::RetryLimits;
use crate::upstream::backoff::BackoffLimits;
use crate::upstream::handshake::Greeting;
use crate::worker::accept::{self, Door, Doors, Listener};
use crate::worker::hub::{Hub, Settings};
use crate::worker::{self, Setup, Shared};

/// How long requests in flight may take to end once we are told to stop.
const GRACE: Duration = Duration::from_secs(5);

/// Connections that wait for one worker to take them.
const WAITING_MAX: usize = 128;

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// When a listener cannot be bound or the system refuses a thread.
pub fn run(config: Config) -> anyhow::Result<()> {
    let config = Arc::new(config);
    let runtime = worker::runtime().context("cannot start a runtime")?;
    runtime.block_on(serve(config))
}

async fn serve(config: Arc<Config>) -> anyhow::Result<()> {
    let mut listeners: Vec<(Listener, bool)> = Vec::new();
    // What INFO shows; 0 where there are only Unix sockets, as a server would say.
    let mut port = 0;
    for listener in &config.listeners {
        let bound = net::bind(&listener.address)
            .with_context(|| format!("cannot listen on {}", listener.address))?;
        let address = bound.address()?;
        tracing::info!("listening on {address}");
        if let (0, ListenAddr::Tcp(address)) = (port, &address) {
            port = address.port();
        }
        let splits = listener.cross_slot_transactions == CrossSlot::Split;
        listeners.push((Listener::new(bound)?, splits));
    }
    let (control, control_thread) =
        control::start(source(&config)).context("cannot start the control plane")?;
    let (doors, threads) = start_workers(&config, port, &control)?;
    let accept = |(listener, splits_transactions)| {
        let doors = Doors {
            splits_transactions,
            ..doors.clone()
        };
        tokio::task::spawn_local(accept::run(listener, doors))
    };
    let acceptors: Vec<_> = listeners.into_iter().map(accept).collect();
    wait_for_signal().await?;
    tracing::info!("stopping: no new connections, finishing what is in flight");
    for acceptor in acceptors {
        acceptor.abort();
        // An aborted task has given back its listener and its way to the workers once it is joined.
        drop(acceptor.await);
    }
    drop(doors);
    tokio::task::spawn_blocking(move || threads.into_iter().for_each(|thread| drop(thread.join())))
        .await?;
    control_thread.stop();
    Ok(())
}

async fn wait_for_signal() -> anyhow::Result<()> {
    let (mut term, mut int) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    Ok(())
}

fn source(config: &Config) -> Source {
    let Upstream::Cluster { seeds } = &config.upstream;
    let credentials = config.credentials.as_ref();
    Source {
        credentials: credentials.map(|c| Credentials {
            user: c.username.clone(),
            password: c.password.clone(),
        }),
        probe_interval: config.probe_interval,
        ..Source::new(seeds.clone())
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
) -> anyhow::Result<(Doors, Vec<JoinHandle<()>>)> {
    let random = RandomState::new();
    let scan_book = Arc::new(std::sync::Mutex::new(ScanBook::new(
        config.limits.scan_tokens_max,
        random.hash_one("scan"),
    )));
    let mut doors = Vec::new();
    let mut threads = Vec::new();
    for index in 0..config.workers {
        let settings = Arc::new(settings(config, port, &random, index));
        let (sender, accepted) = mpsc::channel(WAITING_MAX);
        let shared = Arc::new(Shared::default());
        doors.push(Door {
            sender,
            shared: shared.clone(),
        });
        let (published, changes, hints) = (
            control.published.clone(),
            control.changes(),
            control.hints.clone(),
        );
        let (book, face) = (scan_book.clone(), worker::face(&NodeFacts::default()));
        let thread = thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(move || {
                let hub = Hub::new(settings, Arc::new(CommandTable::new()), face, book);
                let setup = Setup {
                    hub,
                    published,
                    changes,
                    hints,
                    accepted,
                    shared,
                };
                match worker::runtime() {
                    Ok(runtime) => runtime.block_on(worker::run(setup, GRACE)),
                    Err(error) => tracing::error!("worker {index} cannot start: {error}"),
                }
            })?;
        threads.push(thread);
    }
    let doors = Doors {
        workers: doors.into(),
        ids: Arc::default(),
        clients_max: config.clients_max,
        refused: Arc::default(),
        splits_transactions: false,
    };
    Ok((doors, threads))
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
        backoff: BackoffLimits {
            min: limits.dial_backoff_min,
            max: limits.dial_backoff_max,
        },
        greeting: Greeting {
            user: credentials.and_then(|c| c.username.clone()),
            password: credentials.map(|c| c.password.clone()),
            client_name: config.client_name.clone(),
        },
        request: RequestLimits::default(),
        reply: ReplyLimits::default(),
        limits,
        run_id: run_id(random),
        process_id: std::process::id(),
        port,
        clients_max: config.clients_max as u64,
        seed: random.hash_one(worker),
    }
}

/// 40 hexadecimal digits, the same for all workers of a process.
fn run_id(random: &RandomState) -> String {
    let words = (0..3).map(|word| format!("{:016x}", random.hash_one(("run id", word))));
    words.collect::<String>().chars().take(40).collect()
}
