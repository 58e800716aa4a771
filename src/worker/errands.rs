//! What takes its time and must not take a worker's: connecting to nodes, and ending connections politely. Runs on the
//! runtime of the acceptors; workers send errands and are told what has come of them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tracing::Instrument as _;

use super::hub::Asked;
use super::{Bell, Desk, Shared};
use crate::measure::Count;
use crate::net::{ClientTls, DialError, Names, Patience, Stream, dial};
use crate::route::part::LinkId;
use crate::topology::Endpoint;

/// Something to be done for a worker. As many are under way as it has links, clients and requests at most.
pub(super) enum Errand {
    Dial {
        link: LinkId,
        endpoint: Endpoint,
        patience: Duration,
        /// Of the connection that comes of it.
        tuned: Patience,
        answer: Answer,
    },
    /// Asks other workers what a client wants to know.
    Ask {
        asked: Asked,
        others: Vec<Desk>,
        answer: UnboundedSender<Asked>,
        bell: Bell,
    },
    /// Sees a client off: what was written last should reach it.
    SeeOff {
        stream: Stream,
        limit: Duration,
        shared: Arc<Shared>,
        bell: Bell,
    },
}

/// What has come of a dial.
pub(super) struct Dialed {
    pub(super) link: LinkId,
    pub(super) outcome: Result<Stream, DialError>,
}

/// The way back to a worker.
#[derive(Clone)]
pub(super) struct Answer {
    pub(super) dialed: UnboundedSender<Dialed>,
    pub(super) bell: Bell,
}

/// Takes errands from workers.
#[derive(Clone)]
pub struct Errands(UnboundedSender<Errand>);

/// Errands on their way to [`run`].
pub struct Orders(UnboundedReceiver<Errand>);

/// A sender, and what [`run`] needs.
pub fn channel() -> (Errands, Orders) {
    let (sender, receiver) = unbounded_channel();
    (Errands(sender), Orders(receiver))
}

impl Errands {
    pub(super) fn send(&self, errand: Errand) {
        // Nobody is there any more only when the process ends.
        drop(self.0.send(errand));
    }
}

/// Does errands, all at the same time, until no worker is left. `tls`: how links are secured. On a `LocalRuntime`.
pub async fn run(mut orders: Orders, tls: Option<ClientTls>) {
    while let Some(errand) = orders.0.recv().await {
        tokio::task::spawn_local(go(errand, tls.clone()).in_current_span());
    }
}

async fn go(errand: Errand, tls: Option<ClientTls>) {
    match errand {
        Errand::Dial {
            link,
            endpoint,
            patience,
            tuned,
            answer,
        } => {
            let outcome = connect(&endpoint, tls.as_ref(), patience, tuned).await;
            // The worker may have ended.
            drop(answer.dialed.send(Dialed { link, outcome }));
            answer.bell.ring();
        }
        Errand::Ask {
            mut asked,
            others,
            answer,
            bell,
        } => {
            for desk in others {
                // One that has ended has no clients any more.
                if let Some(told) = desk.tell(asked.ask.clone()).await {
                    asked.told.add(told);
                }
            }
            drop(answer.send(asked));
            bell.ring();
        }
        Errand::SeeOff {
            stream,
            limit,
            shared,
            bell,
        } => {
            stream.end(limit).await;
            shared.sessions.fetch_sub(1, Ordering::Relaxed);
            bell.ring();
        }
    }
}

async fn connect(
    endpoint: &Endpoint,
    tls: Option<&ClientTls>,
    patience: Duration,
    tuned: Patience,
) -> Result<Stream, DialError> {
    let address = (endpoint.host.as_ref(), endpoint.port);
    let connection = dial(&Names::System, address, patience, 0).await?;
    if let Err(error) = connection.tune(tuned) {
        tracing::debug!(node = %endpoint, %error, "a socket has not the options that it should");
    }
    let secured = connection.secured(tls, &endpoint.host, patience).await?;
    let off_runtime = secured.into_stream();
    off_runtime.map_err(|error| DialError::Local(error.to_string()))
}
