//! One configuration at work: its listeners, its control plane, its workers.

use std::hash::{BuildHasher as _, RandomState};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::Context as _;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tracing::{Instrument as _, Span};

use super::setup::{databases, kind, live, seeds, settings, source};
use crate::admin::Watched;
use crate::config::{Config, CrossSlot, ListenAddr};
use crate::control::{self, Control, ControlThread, NodeFacts, Seeds};
use crate::net::{self, ServerTls};
use crate::route::scan::ScanBook;
use crate::worker::accept::{self, Doors, Listener};
use crate::worker::errands::{self, Errands};
use crate::worker::hub::{DoorCounts, Hub, Live, Settings};
use crate::worker::{self, Desk, Desks, Drained, Setup, Worker};

/// What serves one configuration.
pub(super) struct Service {
    acceptors: Vec<JoinHandle<()>>,
    workers: mpsc::Receiver<Drained>,
    /// Dropped: the acceptors stop, and then the workers.
    open: Option<Open>,
    control: ControlThread,
    seeds: Seeds,
    live: watch::Sender<Live>,
    clients_max: Arc<AtomicUsize>,
    watched: Watched,
}

/// As long as it is there, clients may come.
struct Open {
    _doors: Doors,
    _acceptors: watch::Sender<()>,
}

/// A listener, whether transactions over slots are split there, and how it is secured.
type Opened = (Listener, bool, Option<ServerTls>);

struct Listening {
    listeners: Vec<Opened>,
    /// Their addresses.
    names: Vec<String>,
    /// What `INFO` shows; 0 where there are only Unix sockets, as a server would say.
    port: u16,
}

impl Service {
    /// Starts all of it. Clients are taken at once. Its workers are numbered from `first_worker` on. `is_alone`: no line of
    /// the log has to say which service it is of.
    ///
    /// # Errors
    /// When an address cannot be bound or the system refuses a thread.
    pub(super) fn start(
        config: &Config,
        first_worker: usize,
        is_alone: bool,
    ) -> anyhow::Result<Self> {
        let Listening {
            listeners,
            names,
            port,
        } = listen(config)?;
        let span = if is_alone {
            Span::none()
        } else {
            // Whatever the level of the log is: its lines have it.
            tracing::error_span!("service", listen = names.join(","))
        };
        let _entered = span.enter();
        let source = source(config);
        let seeds = source.seeds.clone();
        let (control, thread) = control::start(source).context("cannot start the control plane")?;
        let (errands, orders) = errands::channel();
        tokio::task::spawn_local(errands::run(orders, config.tls.clone()).in_current_span());
        let (live, changes) = watch::channel(live(config));
        let numbers = first_worker..first_worker + config.workers;
        let (doors, workers, desks) =
            start_workers(config, numbers, port, &control, errands, &changes)?;
        let watched = Watched {
            listen: names,
            upstream: config.upstream.to_string(),
            kind: kind(&config.upstream),
            published: control.published.clone(),
            desks,
            doors: doors.counts.clone(),
            clients_max: doors.clients_max.clone(),
            live: changes.clone(),
        };
        for door in &*doors.workers {
            tokio::task::spawn_local(door.announce(control.changes()));
            tokio::task::spawn_local(door.announce(changes.clone()));
        }
        let (stop, stopped) = watch::channel(());
        let accept = |(listener, splits_transactions, tls)| {
            let doors = Doors {
                tls,
                splits_transactions,
                ..doors.clone()
            };
            let accepting = accept::run(listener, doors, stopped.clone());
            tokio::task::spawn_local(accepting.in_current_span())
        };
        Ok(Self {
            acceptors: listeners.into_iter().map(accept).collect(),
            workers,
            clients_max: doors.clients_max.clone(),
            open: Some(Open {
                _doors: doors,
                _acceptors: stop,
            }),
            control: thread,
            seeds,
            live,
            watched,
        })
    }

    /// Takes what may change from its newest configuration.
    pub(super) fn take_live(&self, config: &Config) {
        let newest = live(config);
        self.live.send_if_modified(|live| {
            let is_news = *live != newest;
            *live = newest;
            is_news
        });
        self.clients_max
            .store(config.clients_max, Ordering::Relaxed);
        let newest = seeds(&config.upstream);
        if **self.seeds.load() != newest {
            self.seeds.store(Arc::new(newest));
        }
    }

    /// What may be seen of it.
    pub(super) fn watched(&self) -> Watched {
        self.watched.clone()
    }

    /// Takes no new clients.
    pub(super) fn close(&mut self) {
        drop(self.open.take());
    }

    /// Waits until the acceptors have closed and every worker has ended.
    pub(super) async fn drain(mut self) -> Drained {
        self.close();
        for acceptor in self.acceptors {
            // Each has given back its listener and its way to the workers once it is joined.
            drop(acceptor.await);
        }
        let mut all = Drained::default();
        while let Some(drained) = self.workers.recv().await {
            all.served_out += drained.served_out;
            all.cut += drained.cut;
        }
        self.control.stop();
        all
    }
}

fn listen(config: &Config) -> anyhow::Result<Listening> {
    let mut listeners = Vec::new();
    let mut names = Vec::new();
    let mut port = 0;
    for listener in &config.listeners {
        let bound = net::bind(&listener.address, listener.mode)
            .with_context(|| format!("cannot listen on {}", listener.address))?;
        let address = bound.address()?;
        tracing::info!(event = "start", listen = %address, "listening on {address}");
        names.push(address.to_string());
        if let (0, ListenAddr::Tcp(address)) = (port, &address) {
            port = address.port();
        }
        let splits = listener.cross_slot_transactions == CrossSlot::Split;
        listeners.push((Listener::new(bound)?, splits, listener.tls.clone()));
    }
    Ok(Listening {
        listeners,
        names,
        port,
    })
}

#[expect(
    clippy::disallowed_types,
    reason = "SCAN tokens are good at every worker; one short lock per SCAN"
)]
fn start_workers(
    config: &Config,
    numbers: Range<usize>,
    port: u16,
    control: &Control,
    errands: Errands,
    live: &watch::Receiver<Live>,
) -> anyhow::Result<(Doors, mpsc::Receiver<Drained>, Vec<Desk>)> {
    let random = RandomState::new();
    let scan_book = Arc::new(std::sync::Mutex::new(ScanBook::new(
        config.limits.scan_tokens_max,
        random.hash_one("scan"),
    )));
    let counts = Arc::new(DoorCounts::default());
    let mut doors = Vec::new();
    let (mut desks, all_desks) = (Vec::new(), Desks::default());
    let (ended, workers) = mpsc::channel(config.workers);
    for worker_number in numbers {
        let settings = Arc::new(Settings {
            doors: counts.clone(),
            ..settings(config, port, &random, worker_number)
        });
        let face = worker::face(
            &NodeFacts::default(),
            databases(config),
            config.logins.clone(),
        );
        let commands = control.published.commands.load_full();
        let (worker, door, desk) = Worker::new(Setup {
            hub: Hub::new(settings, commands, face, scan_book.clone()),
            published: control.published.clone(),
            changes: control.changes(),
            hints: control.hints.clone(),
            errands: errands.clone(),
            desks: (all_desks.clone(), desks.len()),
            live: live.clone(),
            databases: databases(config),
            logins: config.logins.clone(),
        })?;
        doors.push(door);
        desks.push(desk);
        let (ended, grace, span) = (ended.clone(), config.shutdown_grace, Span::current());
        let serve = move || match worker.run(grace) {
            // Nobody waits for it after a second signal.
            Ok(drained) => drop(ended.try_send(drained)),
            Err(error) => tracing::error!(worker = worker_number, %error, "a worker has ended"),
        };
        thread::Builder::new()
            .name(format!("worker-{worker_number}"))
            .spawn(move || span.in_scope(serve))?;
    }
    // They are set once.
    drop(all_desks.set(desks.clone()));
    let doors = Doors {
        workers: doors.into(),
        ids: Arc::default(),
        clients_max: Arc::new(AtomicUsize::new(config.clients_max)),
        counts,
        full: Rc::default(),
        linger: config.limits.linger_timeout,
        lingering: Arc::new(Semaphore::new(config.limits.lingering_clients_max)),
        splits_transactions: false,
        tls: None,
        handshakes: Arc::new(Semaphore::new(config.limits.tls_handshaking_clients_max)),
        handshake: config.limits.tls_handshake_timeout,
    };
    Ok((doors, workers, desks))
}
