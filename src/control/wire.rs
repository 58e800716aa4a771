//! One connection of the control thread to a node: dial, AUTH, ask, close. RESP2, one question after another.
//!
//! Knows no meaning of any reply but AUTH's. Times out nothing: [`within`] does, for whoever asks.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use redis_protocol::resp2::{decode::decode_bytes, types::BytesFrame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::random::Random;
use super::{AskFailure, Credentials};
use crate::resp::reply::{ReplyLimits, ReplyScan, ReplyScanned};
use crate::resp::write;
use crate::topology::Endpoint;

pub(super) struct Wire {
    stream: TcpStream,
    input: BytesMut,
    scan: ReplyScan,
    /// AUTH, until it travels in front of the first question.
    greeting: Option<Vec<u8>>,
}

impl Wire {
    /// Connects to one of the addresses that the name means now, beginning with any of them.
    pub(super) async fn dial(
        endpoint: &Endpoint,
        credentials: Option<&Credentials>,
        random: &mut Random,
        patience: Duration,
    ) -> Result<Self, AskFailure> {
        let found = lookup_host((&*endpoint.host, endpoint.port)).await;
        let mut addresses: Vec<SocketAddr> = found
            .map_err(|error| AskFailure::Resolve(error.to_string()))?
            .collect();
        random.shuffle(&mut addresses);
        let stream = connect(&addresses, patience).await?;
        // Only a matter of speed.
        let _ = stream.set_nodelay(true);
        let greeting = credentials.map(auth);
        Ok(Self {
            stream,
            input: BytesMut::new(),
            scan: ReplyScan::new(),
            greeting,
        })
    }

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

/// Each address gets its share of the time: a silent one must not use up what another could answer in.
async fn connect(addresses: &[SocketAddr], patience: Duration) -> Result<TcpStream, AskFailure> {
    let mut failure = AskFailure::Resolve("no address".to_owned());
    let tried = addresses.len().min(ADDRESSES_MAX);
    let share = patience / u32::try_from(tried.max(1)).unwrap_or(u32::MAX);
    for address in addresses.iter().take(tried) {
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failure = AskFailure::Connect(error.to_string()),
            Err(_elapsed) => failure = AskFailure::Timeout,
        }
    }
    Err(failure)
}

fn auth(Credentials { user, password }: &Credentials) -> Vec<u8> {
    let mut output = Vec::new();
    match user {
        Some(user) => write::command(&mut output, &[b"AUTH", user.as_bytes(), password.expose()]),
        None => write::command(&mut output, &[b"AUTH".as_slice(), password.expose()]),
    }
    output
}

fn closed(error: io::Error) -> AskFailure {
    AskFailure::Closed(error.to_string())
}

/// `COMMAND` is about 300 KiB, `CLUSTER SLOTS` of 1,000 shards as much, of 16,384 lone slots about 4 MiB.
const REPLY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Addresses of one name that are tried in one attempt; the next attempt begins with others.
const ADDRESSES_MAX: usize = 3;
