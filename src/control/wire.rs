//! One connection to a node, of the control thread or of a task: dial, AUTH, ask, close. RESP2, one question after another.
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
pub struct Dialer {
    credentials: Option<Rc<Credentials>>,
    names: Names,
    tls: Option<ClientTls>,
    budget: Rc<RefCell<Budget>>,
    random: Rc<RefCell<Random>>,
    patience: Patience,
}

impl Dialer {
    /// With a budget of its own.
    pub fn new(credentials: Option<Credentials>, names: Names, tls: Option<ClientTls>) -> Self {
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
    pub fn set_nodes(&self, nodes: usize) {
        self.budget.borrow_mut().set_nodes(nodes);
    }

    /// Waits until one more connection may be opened.
    pub async fn turn(&self) {
        let wait = self.budget.borrow_mut().take(now());
        if !wait.is_zero() {
            sleep(wait).await;
        }
    }

    /// Connects within `patience` to one of the addresses that the name means now, beginning with any of them.
    /// Wait for your [`Self::turn`] first.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn dial(&self, endpoint: &Endpoint, patience: Duration) -> Result<Wire, AskFailure> {
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
            reply_bytes_max: REPLY_BYTES_MAX,
        })
    }
}

/// See the module.
pub struct Wire {
    stream: Box<dyn Io>,
    input: BytesMut,
    scan: ReplyScan,
    /// AUTH, until it travels in front of the first question.
    greeting: Option<Vec<u8>>,
    reply_bytes_max: usize,
}

impl Wire {
    /// Sends these requests in one write and waits for as many replies, each as it came.
    ///
    /// # Errors
    /// Why there are none.
    pub async fn ask<A: AsRef<[u8]>>(
        &mut self,
        requests: &[&[A]],
    ) -> Result<Vec<Bytes>, AskFailure> {
        let mut output = Vec::new();
        requests
            .iter()
            .for_each(|request| write::command(&mut output, request));
        self.exchange(&output, requests.len(), REPLY_BYTES_MAX)
            .await
    }

    /// The same for requests that are written already; none of the replies may be longer than `reply_bytes_max`.
    ///
    /// # Errors
    /// Why there are none.
    pub async fn exchange(
        &mut self,
        requests: &[u8],
        replies: usize,
        reply_bytes_max: usize,
    ) -> Result<Vec<Bytes>, AskFailure> {
        self.reply_bytes_max = reply_bytes_max;
        if let Some(mut greeting) = self.greeting.take() {
            greeting.extend_from_slice(requests);
            self.stream.write_all(&greeting).await.map_err(closed)?;
            let reply = self.reply().await?;
            if let BytesFrame::Error(text) = decode(&reply)? {
                return Err(AskFailure::Auth(text.to_string()));
            }
        } else {
            self.stream.write_all(requests).await.map_err(closed)?;
        }
        let mut answers = Vec::with_capacity(replies);
        for _ in 0..replies {
            answers.push(self.reply().await?);
        }
        Ok(answers)
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
            if self.input.len() > self.reply_bytes_max {
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
///
/// # Errors
/// It is not RESP2.
pub fn decode(reply: &Bytes) -> Result<BytesFrame, AskFailure> {
    let decoded = decode_bytes(reply).map_err(|_| AskFailure::Malformed("not RESP2"))?;
    decoded
        .map(|(frame, _)| frame)
        .ok_or(AskFailure::Malformed("not RESP2"))
}

/// The answer, if it comes in time.
///
/// # Errors
/// Those of the answer, and [`AskFailure::Timeout`].
pub async fn within<T>(
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
