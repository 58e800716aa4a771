//! What people and machines see of a running slotcar over HTTP: health, metrics, topology, the status page.
//!
//! On a thread of its own, so that it answers while others are busy. It asks workers about themselves ([`Desk`]) and looks at what
//! the control threads publish; nothing here is on the way of a request.

mod events;
mod health;
mod http;
pub mod metrics;
mod names;
mod process;
mod snapshot;
mod status;

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::{io, thread};

use arc_swap::ArcSwap;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, watch};

pub use self::events::{Events, Kept};
use crate::config::Shown;
use crate::control::Published;
use crate::log::Limit;
use crate::worker::Desk;
use crate::worker::hub::{DoorCounts, Live};

/// One service, as far as it is looked at.
#[derive(Clone)]
pub struct Watched {
    /// Where its clients connect.
    pub listen: Vec<String>,
    /// What stands behind.
    pub upstream: String,
    pub kind: &'static str,
    pub published: Arc<Published>,
    pub desks: Vec<Desk>,
    pub doors: Arc<DoorCounts>,
    pub clients_max: Arc<AtomicUsize>,
    pub live: watch::Receiver<Live>,
}

/// The way between this side and the rest of the process.
#[derive(Clone)]
pub struct Line {
    /// Somebody wants the process to end as if it had got SIGTERM.
    pub drain: Arc<Notify>,
    /// It is about to.
    draining: Arc<AtomicBool>,
    /// The configuration as it counts now.
    pub config: Arc<ArcSwap<Vec<Shown>>>,
    /// How many lines the log may have, and has left out.
    log: Limit,
}

impl Line {
    pub fn new(log: Limit) -> Self {
        Self {
            drain: Arc::default(),
            draining: Arc::default(),
            config: Arc::default(),
            log,
        }
    }

    pub fn note_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

/// Serves until the process ends.
///
/// # Errors
/// When the system refuses a thread.
pub fn start(
    listener: TcpListener,
    services: Vec<Watched>,
    events: Events,
    line: Line,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    thread::Builder::new()
        .name("admin".to_owned())
        .spawn(move || {
            let runtime = Builder::new_current_thread()
                .enable_io()
                .enable_time()
                .build_local(LocalOptions::default());
            let served = runtime.and_then(|runtime| {
                runtime.block_on(http::serve(listener, services, events, line))
            });
            if let Err(error) = served {
                tracing::error!(%error, "health and metrics are not served any more");
            }
        })?;
    Ok(())
}
