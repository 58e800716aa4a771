//! The process: signals, files that change, and a service for each configuration.

pub mod healthcheck;
pub mod move_keys;
mod service;
mod setup;
pub mod tasks;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::{Builder, LocalOptions};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::level_filters::LevelFilter;

use self::service::Service;
use crate::admin::{self, Events};
use crate::config::{Changed, Config, ConfigError, Reloading, Shown};
use crate::log::Limit;
use crate::worker::Drained;
use crate::{memory, net};

/// How the process gets a newer configuration, and has its log follow it.
pub struct Renewal {
    /// Reads everything anew.
    pub resolve: Box<dyn Fn() -> Result<Config, ConfigError>>,
    /// What everything is, for people.
    pub rows: Box<dyn Fn() -> Result<Vec<Shown>, ConfigError>>,
    pub set_log_level: Box<dyn Fn(LevelFilter)>,
}

/// What becomes of the lines of the log, besides that they are written.
pub struct Log {
    pub events: Events,
    pub limit: Limit,
}

/// Runs until SIGTERM or SIGINT, and then until the clients have what they had asked for.
///
/// # Errors
/// When a listener cannot be bound or the system refuses a thread, and when a second signal cuts the clients off.
pub fn run(mut config: Config, renewal: Renewal, log: Log) -> anyhow::Result<()> {
    if let Err(error) = net::raise_descriptors_max() {
        tracing::debug!(%error, "the limit of file descriptors stays as it is");
    }
    fit_memory(&mut config);
    fit_clients(&mut config, net::descriptors_max());
    let runtime = Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build_local(LocalOptions::default())
        .context("cannot start a runtime")?;
    runtime.block_on(serve(config, renewal, log))
}

async fn serve(config: Config, renewal: Renewal, log: Log) -> anyhow::Result<()> {
    // First: from the moment that somebody can see us, we end and reload as we should.
    let mut signals = Signals::new()?;
    let mut hangup = signal(SignalKind::hangup())?;
    let (mut services, mut workers) = (Vec::new(), 0);
    for own in std::iter::once(&config).chain(&config.others) {
        services.push(Service::start(own, workers, config.others.is_empty())?);
        workers += own.workers;
    }
    tokio::task::spawn_local(log.limit.clone().watch());
    let line = admin::Line::new(log.limit);
    start_admin(&config, &services, log.events, &line)?;
    let mut process = Process {
        line,
        reloading: Reloading::of(&config),
        config,
        renewal,
        services,
    };
    process.show_configuration();
    loop {
        tokio::select! {
            () = signals.next() => break,
            () = process.line.drain.notified() => break,
            _ = hangup.recv() => process.renew(EVERYTHING),
            () = tokio::time::sleep(FILES_CHECK), if !process.reloading.is_empty() => {
                let changed = process.reloading.changed();
                process.renew(changed);
            }
        }
    }
    tracing::info!(
        event = "drain",
        "stopping: no new connections, finishing what is in flight"
    );
    process.line.note_draining();
    for service in &mut process.services {
        service.close();
    }
    tokio::select! {
        drained = drain(process.services) => tracing::info!(
            served_out = drained.served_out, cut = drained.cut, "stopped"
        ),
        () = signals.next() => anyhow::bail!("stopped at once, by a second signal"),
    }
    Ok(())
}

/// Serves health, metrics and the status page, if they are wanted.
fn start_admin(
    config: &Config,
    services: &[Service],
    events: Events,
    line: &admin::Line,
) -> anyhow::Result<()> {
    let Some(address) = config.admin else {
        return Ok(());
    };
    let listener = std::net::TcpListener::bind(address)
        .with_context(|| format!("cannot listen on {address} (admin)"))?;
    let address = listener.local_addr()?;
    tracing::info!(listen = %address, "health, metrics and the status page are served");
    let watched = services.iter().map(Service::watched).collect();
    admin::start(listener, watched, events, line.clone()).context("cannot serve health and metrics")
}

/// What runs, and what it was told.
struct Process {
    line: admin::Line,
    /// As it counts now.
    config: Config,
    reloading: Reloading,
    renewal: Renewal,
    services: Vec<Service>,
}

impl Process {
    /// Takes anew what has changed.
    fn renew(&mut self, changed: Changed) {
        if changed.named {
            match self.reloading.reload().as_slice() {
                [] => tracing::info!("passwords, certificates and users have been read again"),
                problems => tracing::warn!(
                    error = problems.join("; "),
                    "passwords, certificates and users stay as they were"
                ),
            }
        }
        if changed.configuration {
            match (self.renewal.resolve)() {
                Ok(newer) => self.take(&newer),
                Err(error) => tracing::warn!(%error, "all stays as it was"),
            }
        }
    }

    /// Has the admin side know what counts.
    fn show_configuration(&self) {
        if let Ok(rows) = (self.renewal.rows)() {
            self.line.config.store(Arc::new(rows));
        }
    }

    fn take(&mut self, newer: &Config) {
        let changes = self.config.take_live(newer);
        if !changes.left.is_empty() {
            let left = changes.left.join(", ");
            tracing::warn!("changed, and needs a restart to count: {left}");
        }
        if changes.taken.is_empty() {
            return;
        }
        fit_clients(&mut self.config, net::descriptors_max());
        let configs = std::iter::once(&self.config).chain(&self.config.others);
        for (service, config) in self.services.iter().zip(configs) {
            service.take_live(config);
        }
        (self.renewal.set_log_level)(self.config.log_level);
        tracing::info!("changed: {}", changes.taken.join(", "));
        self.show_configuration();
    }
}

/// At SIGHUP.
const EVERYTHING: Changed = Changed {
    configuration: true,
    named: true,
};

/// How often it is looked whether files have changed.
const FILES_CHECK: Duration = Duration::from_secs(1);

/// Waits until all of them have ended.
async fn drain(services: Vec<Service>) -> Drained {
    let mut all = Drained::default();
    for service in services {
        let drained = service.drain().await;
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
    // It is of the process, and so of all of them.
    (config.others.iter_mut()).for_each(|other| other.memory_max = Some(max));
}

/// Lowers `max-clients` to what the file descriptors of the process allow, as a server does; of several configurations, each in proportion.
fn fit_clients(config: &mut Config, descriptors: Option<u64>) {
    let Some(descriptors) = descriptors else {
        return;
    };
    let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
    let fitting = clients_beside(config.limits.reserved_descriptors_min, descriptors);
    let others = config.others.iter().map(|other| other.clients_max);
    let wanted = config.clients_max + others.sum::<usize>();
    if fitting >= wanted {
        return;
    }
    tracing::warn!(
        "max-clients is {fitting} instead of {wanted}: there are {descriptors} file descriptors, \
         and {} of them are kept for links, listeners and the control plane",
        descriptors.saturating_sub(fitting),
    );
    let fit = |clients_max: &mut usize| *clients_max = (*clients_max * fitting / wanted).max(1);
    fit(&mut config.clients_max);
    (config.others.iter_mut()).for_each(|other| fit(&mut other.clients_max));
}

/// How many clients so many descriptors are good for.
fn clients_beside(reserved: usize, descriptors: usize) -> usize {
    (descriptors - reserved.min(descriptors / 2)).max(1)
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
