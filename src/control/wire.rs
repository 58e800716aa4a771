//! One connection of the control thread to a node: dial, AUTH, ask, close. RESP2, one question after another.
//! Every dial takes a token of the process's [`Budget`].
//!
//! Knows no meaning of any reply but AUTH's. Times out nothing: [`within`] does, for whoever asks.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use redis_protocol::resp2::{decode::decode_bytes, types::BytesFrame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use super::budget::Budget;
use super::random::Random;
use super::{AskFailure, Credentials};
use crate::clock::now;
use crate::config::limits::Limits;
use crate::net::{ClientTls, Io, Names, Patience, dial};
use crate::resp::reply::{ReplyLimits, ReplyScan, ReplyScanned};
use crate::resp::write;
use crate::topology::Endpoint;

/// Opens wires.
#[derive(Clone)]
pub(super) struct Dialer {
    credentials: Option<Rc<Credentials>>,
    names: Names,
    tls: Option<ClientTls>,
    budget: Rc<RefCell<Budget>>,
    random: Rc<RefCell<Random>>,
    patience: Patience,
}

impl Dialer {
    pub(super) fn new(
        credentials: Option<Credentials>,
        names: Names,
        tls: Option<ClientTls>,
    ) -> Self {
        let limits = Limits::default();
        Self {
            credentials: credentials.map(Rc::new),
            names,
            tls,
            budget: Rc::new(RefCell::new(Budget::new(0))),
            random: Rc::new(RefCell::new(Random::from_system())),
            patience: Patience {
                unacknowledged: limits.link_unacknowledged_timeout,
                silent: limits.link_silent_timeout,
            },
        }
    }

    /// The same, with its budget, for servers of another kind.
    pub(super) fn for_others(
        &self,
        credentials: Option<Credentials>,
        tls: Option<ClientTls>,
    ) -> Self {
        Self {
            credentials: credentials.map(Rc::new),
            tls,
            ..self.clone()
        }
    }

    /// The cluster has so many nodes now.
    pub(super) fn set_nodes(&self, nodes: usize) {
        self.budget.borrow_mut().set_nodes(nodes);
    }

    /// Waits until one more connection may be opened.
    pub(super) async fn turn(&self) {
        let wait = self.budget.borrow_mut().take(now());
        if !wait.is_zero() {
            sleep(wait).await;
        }
    }

    /// Connects within `patience` to one of the addresses that the name means now, beginning with any of them.
    /// Wait for your [`Self::turn`] first.
    pub(super) async fn dial(
        &self,
        endpoint: &Endpoint,
        patience: Duration,
    ) -> Result<Wire, AskFailure> {
        let turn = usize::try_from(self.random.borrow_mut().next()).unwrap_or(0);
        let address = (&*endpoint.host, endpoint.port);
        let connection = dial(&self.names, address, patience, turn).await?;
        // The bytes flow without; the probe notices a peer that is gone before the system does.
        let _ = connection.tune(self.patience);
        let host = &endpoint.host;
        let connection = connection
            .secured(self.tls.as_ref(), host, patience)
            .await?;
        let greeting = self.credentials.as_deref().map(auth);
        Ok(Wire {
            stream: connection.into_io(),
            input: BytesMut::new(),
            scan: ReplyScan::new(),
            greeting,
        })
    }
}

pub(super) struct Wire {
    stream: Box<dyn Io>,
    input: BytesMut,
    scan: ReplyScan,
    /// AUTH, until it travels in front of the first question.
    greeting: Option<Vec<u8>>,
}

impl Wire {
    /// Sends these requests in one write and waits for as many replies, each as it came.
    pub(super) async fn ask(&mut self, requests: &[&[&str]]) -> Result<Vec<Bytes>, AskFailure> {
        let greeting = self.greeting.take();
        let greeted = greeting.is_some();
        let mut output = greeting.unwrap_or_default();
        requests
            .iter()
            .for_each(|request| write::command(&mut output, request));
        self.stream.write_all(&output).await.map_err(closed)?;
        if greeted {
            let reply = self.reply().await?;
            if let BytesFrame::Error(text) = decode(&reply)? {
                return Err(AskFailure::Auth(text.to_string()));
            }
        }
        let mut replies = Vec::with_capacity(requests.len());
        for _ in requests {
            replies.push(self.reply().await?);
        }
        Ok(replies)
    }

    /// Returns when the node closes the connection, or says something unasked, which is no better.
    pub(super) async fn ended(&mut self) {
        let _ = self.stream.read_buf(&mut self.input).await;
    }

    /// Waits for what the other says unasked.
    pub(super) async fn next(&mut self) -> Result<Bytes, AskFailure> {
        self.reply().await
    }

    /// Waits for the rest of an answer that did not come in time.
    pub(super) async fn late_answer(&mut self) -> Result<(), AskFailure> {
        self.reply().await.map(drop)
    }

    async fn reply(&mut self) -> Result<Bytes, AskFailure> {
        loop {
            // Nesting and lengths are limited before anything is decoded.
            let scanned = self.scan.advance(&self.input, &ReplyLimits::default());
            if let ReplyScanned::Complete(len) =
                scanned.map_err(|_| AskFailure::Malformed("not RESP"))?
            {
                return Ok(self.input.split_to(len).freeze());
            }
            if self.input.len() > REPLY_BYTES_MAX {
                return Err(AskFailure::Malformed("a reply without an end"));
            }
            if self
                .stream
                .read_buf(&mut self.input)
                .await
                .map_err(closed)?
                == 0
            {
                return Err(AskFailure::Closed("closed by the node".to_owned()));
            }
        }
    }
}

/// Decodes one reply that [`Wire::ask`] returned.
pub(super) fn decode(reply: &Bytes) -> Result<BytesFrame, AskFailure> {
    let decoded = decode_bytes(reply).map_err(|_| AskFailure::Malformed("not RESP2"))?;
    decoded
        .map(|(frame, _)| frame)
        .ok_or(AskFailure::Malformed("not RESP2"))
}

/// The answer, if it comes in time.
pub(super) async fn within<T>(
    patience: Duration,
    answer: impl Future<Output = Result<T, AskFailure>>,
) -> Result<T, AskFailure> {
    timeout(patience, answer)
        .await
        .unwrap_or(Err(AskFailure::Timeout))
}

fn auth(Credentials { user, password }: &Credentials) -> Vec<u8> {
    let mut output = Vec::new();
    let password = password.expose();
    match user {
        Some(user) => write::command(&mut output, &[b"AUTH", user.as_bytes(), &password]),
        None => write::command(&mut output, &[b"AUTH".as_slice(), &password]),
    }
    output
}

fn closed(error: io::Error) -> AskFailure {
    AskFailure::Closed(error.to_string())
}

/// `COMMAND` is about 300 KiB, `CLUSTER SLOTS` of 1,000 shards as much, of 16,384 lone slots about 4 MiB.
const REPLY_BYTES_MAX: usize = 16 * 1024 * 1024;
