//! One side, source or target: who is there, connections to them, and how long to be patient.
//!
//! Owns the topology. Trouble is met with patience for as long as slotcar would hold requests (`failover-hold`).

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use tokio::time::{sleep, timeout};

use super::failure::Failure;
use super::job::{error, number};
use crate::clock::{Now, now};
use crate::config::Limits;
use crate::control::{
    self, AskFailure, Control, ControlThread, Credentials, Dialer, Hint, Source, Wire, within,
};
use crate::topology::{Endpoint, Keyspace, Topology};

/// One side.
pub(super) struct Side {
    pub(super) control: Control,
    _thread: ControlThread,
    pub(super) keyspace: Keyspace,
    dialer: Dialer,
    database: u32,
    /// How our connections are called.
    client_name: String,
    pub(super) patience: Duration,
    limits: Limits,
    stop: Rc<Cell<bool>>,
}

impl Side {
    /// # Errors
    /// The system gives no thread.
    pub(super) fn start(
        source: Source,
        keyspace: Keyspace,
        database: u32,
        client_name: String,
        patience: Duration,
        stop: Rc<Cell<bool>>,
    ) -> anyhow::Result<Self> {
        let source = Source {
            client_name: client_name.clone(),
            ..source
        };
        let credentials: Option<Credentials> = source.credentials.clone();
        let (names, tls) = (source.names.clone(), source.tls.clone());
        let dialer = Dialer::new(credentials, &client_name, names, tls);
        let (control, thread) = control::start(source).context("cannot start the control plane")?;
        Ok(Self {
            control,
            _thread: thread,
            keyspace,
            dialer,
            database,
            client_name,
            patience,
            limits: Limits::default(),
            stop,
        })
    }

    pub(super) fn topology(&self) -> Arc<Topology> {
        self.control.published.topology.load_full()
    }

    /// Waits until somebody has said who serves what. None: he has; else why not.
    pub(super) async fn unreachable(&self) -> Option<String> {
        let mut changes = self.control.changes();
        let learnt =
            async { while self.topology().is_empty() && changes.changed().await.is_ok() {} };
        let in_time = timeout(self.patience.max(LEARNT_WITHIN), learnt).await;
        let trouble = self.control.published.trouble.load();
        in_time.is_err().then(|| trouble.to_string())
    }

    pub(super) fn client_name(&self) -> &str {
        &self.client_name
    }

    pub(super) fn database(&self) -> u32 {
        self.database
    }

    /// A new connection, in the right database.
    pub(super) async fn dial(&self, node: &Endpoint) -> Result<Wire, AskFailure> {
        let nodes = self.topology().nodes().len();
        self.dialer.set_nodes(nodes * DIALS_PER_NODE);
        self.dialer.turn().await;
        let mut wire = self.dialer.dial(node, self.limits.dial_timeout).await?;
        let database = self.database.to_string();
        let select: &[&str] = &["SELECT", &database];
        let replies = within(self.limits.link_greeting_timeout, wire.ask(&[select])).await?;
        match replies.first().and_then(|reply| error(reply)) {
            // Users of clusters often may not SELECT, and there is but one database.
            Some(text) if self.database != 0 || text.starts_with("LOADING") => {
                Err(AskFailure::Refused(text))
            }
            Some(text) if text.starts_with("NOAUTH") => Err(AskFailure::Auth(text)),
            Some(_) | None => Ok(wire),
        }
    }

    /// Waits for a moment in trouble.
    pub(super) async fn pause(&self, trouble: &mut Trouble) -> Result<(), Failure> {
        if self.stop.get() {
            return Err(Failure::Stopped);
        }
        let since = *trouble.since.get_or_insert(now());
        if now().since(since) > self.patience {
            return Err(Failure::TooLong(std::mem::take(&mut trouble.what)));
        }
        let most = self.limits.refused_pause_max;
        trouble.pause = (trouble.pause * 2).clamp(self.limits.refused_pause_min, most);
        sleep(trouble.pause).await;
        Ok(())
    }

    pub(super) fn hint(&self, hint: Hint) {
        self.control.hints.send(hint);
    }

    pub(super) fn is_primary(&self, node: &Endpoint) -> bool {
        self.topology()
            .primary_nodes()
            .any(|known| known.endpoint == *node)
    }

    /// Writes, and returns as many replies. With `confirm` it comes back when a replica has all that was written.
    pub(super) async fn send(
        &self,
        node: &Endpoint,
        wire: Option<Wire>,
        requests: &[u8],
        replies: usize,
        confirm: bool,
    ) -> Result<(Wire, Vec<Bytes>), AskFailure> {
        let gone = || AskFailure::Closed("it serves nothing any more, or is silent".to_owned());
        tokio::select! {
            answer = self.exchange(node, wire, requests, replies, confirm) => answer,
            () = self.left(node) => Err(gone()),
        }
    }

    async fn exchange(
        &self,
        node: &Endpoint,
        wire: Option<Wire>,
        requests: &[u8],
        replies: usize,
        confirm: bool,
    ) -> Result<(Wire, Vec<Bytes>), AskFailure> {
        let mut wire = match wire {
            Some(wire) => wire,
            None => self.dial(node).await?,
        };
        let answers = wire.exchange(requests, replies, REPLY_BYTES_MAX).await?;
        if !confirm {
            return Ok((wire, answers));
        }
        let start = now();
        loop {
            let reply = wire.ask(&[&["WAIT", "1", "1000"]]).await?;
            let reply = reply.first().map_or(&b""[..], |reply| reply);
            match number(reply) {
                Some(0) if now().since(start) <= self.patience => {}
                Some(0) => {
                    let text = "no replica says that it has what was written".to_owned();
                    return Err(AskFailure::Refused(text));
                }
                Some(_) => return Ok((wire, answers)),
                None => return Err(AskFailure::Refused(error(reply).unwrap_or_default())),
            }
        }
    }

    /// Comes back when a node that was a primary is none any more, or has been silent for long.
    async fn left(&self, node: &Endpoint) {
        let mut changes = self.control.changes();
        let was_primary = self.is_primary(node);
        let gone = async {
            loop {
                if changes.changed().await.is_err() || (was_primary && !self.is_primary(node)) {
                    return;
                }
            }
        };
        let _ = timeout(SILENCE_MAX, gone).await;
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for node in self.topology().primary_nodes() {
            write!(f, "{} ", node.endpoint)?;
        }
        write!(f, "database {}", self.database)
    }
}

/// What has gone wrong since things last went well.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    pub(super) since: Option<Now>,
    pause: Duration,
    pub(super) what: String,
}

/// A value has at most 512 MiB by default, and what `DUMP` makes of one is hardly longer.
const REPLY_BYTES_MAX: usize = 1 << 30;

/// Per second. One process moves keys, not a thousand.
const DIALS_PER_NODE: usize = 16;

/// For one batch: a node may take that long for the largest values, or be gone without the topology saying so.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Longer than one round of questions at seeds that do not answer.
const LEARNT_WITHIN: Duration = Duration::from_secs(5);
