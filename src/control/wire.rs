//! One connection to a node, of the control thread or of a task: dial, AUTH, say our name, ask, close. RESP2, one question after
//! another. Every dial takes a token of the process's [`Budget`].
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
    /// For `CLIENT SETNAME`, so that people at the node see who is who. Empty: none.
    client_name: Rc<str>,
    names: Names,
    tls: Option<ClientTls>,
    budget: Rc<RefCell<Budget>>,
    random: Rc<RefCell<Random>>,
    patience: Patience,
}

impl Dialer {
    /// With a budget of its own.
    pub fn new(
        credentials: Option<Credentials>,
        client_name: &str,
        names: Names,
        tls: Option<ClientTls>,
    ) -> Self {
        let limits = Limits::default();
        Self {
            credentials: credentials.map(Rc::new),
            client_name: client_name.into(),
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

    /// Connects within `patience` to one of the addresses that the name means now, beginning with any of them, and asks.
    /// Wait for your [`Self::turn`] first.
    ///
    /// # Errors
    /// Of what took the time or failed: connecting, TLS or the answer. No second limit around all of it would know.
    pub async fn ask(
        &self,
        endpoint: &Endpoint,
        patience: Duration,
        questions: &[&[&str]],
    ) -> Result<(Wire, Vec<Bytes>), AskFailure> {
        let start = now();
        let mut wire = self.dial(endpoint, patience).await?;
        let rest = patience.saturating_sub(now().since(start));
        let replies = within(rest, wire.ask(questions)).await?;
        Ok((wire, replies))
    }

    /// The same without a question.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn dial(&self, endpoint: &Endpoint, patience: Duration) -> Result<Wire, AskFailure> {
        let start = now();
        let turn = usize::try_from(self.random.borrow_mut().next()).unwrap_or(0);
        let address = (&*endpoint.host, endpoint.port);
        let connection = dial(&self.names, address, patience, turn).await?;
        // The bytes flow without; the probe notices a peer that is gone before the system does.
        let _ = connection.tune(self.patience);
        let (host, rest) = (&endpoint.host, patience.saturating_sub(now().since(start)));
        let connection = connection.secured(self.tls.as_ref(), host, rest).await?;
        Ok(Wire {
            stream: connection.into_io(),
            input: BytesMut::new(),
            scan: ReplyScan::new(),
            greeting: Greeting::new(self.credentials.as_deref(), &self.client_name),
            reply_bytes_max: REPLY_BYTES_MAX,
        })
    }
}

/// See the module.
pub struct Wire {
    stream: Box<dyn Io>,
    input: BytesMut,
    scan: ReplyScan,
    /// Until it travels in front of the first question.
    greeting: Greeting,
    reply_bytes_max: usize,
}

/// What is said first.
#[derive(Default)]
struct Greeting {
    bytes: Vec<u8>,
    logs_in: bool,
    says_name: bool,
}

impl Greeting {
    fn new(credentials: Option<&Credentials>, client_name: &str) -> Self {
        let mut bytes = credentials.map(auth).unwrap_or_default();
        let says_name = !client_name.is_empty();
        if says_name {
            write::command(&mut bytes, &["CLIENT", "SETNAME", client_name]);
        }
        Self {
            bytes,
            logs_in: credentials.is_some(),
            says_name,
        }
    }
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
        let greeting = std::mem::take(&mut self.greeting);
        let output = [&greeting.bytes, requests].concat();
        self.stream.write_all(&output).await.map_err(closed)?;
        let refusal = self.greeted(&greeting).await?;
        let mut answers = Vec::with_capacity(replies);
        for _ in 0..replies {
            match (self.reply().await, &refusal) {
                // It refuses us, not our name: too many clients, for example.
                (Err(AskFailure::Closed(_)), Some(text)) if answers.is_empty() => {
                    return Err(AskFailure::Refused(text.clone()));
                }
                (reply, _) => answers.push(reply?),
            }
        }
        Ok(answers)
    }

    /// Takes the answers to the greeting. Returns with what words our name was refused: older servers and strict ACLs may.
    async fn greeted(&mut self, greeting: &Greeting) -> Result<Option<String>, AskFailure> {
        if greeting.logs_in
            && let BytesFrame::Error(text) = decode(&self.reply().await?)?
        {
            return Err(AskFailure::Auth(text.to_string()));
        }
        if greeting.says_name
            && let BytesFrame::Error(text) = decode(&self.reply().await?)?
        {
            return Ok(Some(text.to_string()));
        }
        Ok(None)
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

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use tokio::runtime::{Builder, LocalOptions};

    use super::*;

    /// What becomes of a `PING` on a wire of this name, when the node says `reply` to all of it and closes.
    fn ask(client_name: &str, reply: &'static [u8]) -> Result<Vec<Bytes>, AskFailure> {
        const PATIENCE: Duration = Duration::from_secs(10);
        let node = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = node.local_addr().unwrap().port();
        let served = std::thread::spawn(move || {
            let (mut stream, _) = node.accept().unwrap();
            let mut asked = [0; 512];
            let len = stream.read(&mut asked).unwrap();
            stream.write_all(reply).unwrap();
            asked[..len].to_vec()
        });
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build_local(LocalOptions::default())
            .unwrap();
        let replies = runtime.block_on(async {
            let dialer = Dialer::new(None, client_name, Names::System, None);
            let node = Endpoint::new("127.0.0.1", port);
            let mut wire = dialer.dial(&node, PATIENCE).await?;
            within(PATIENCE, wire.ask(&[&["PING"]])).await
        });
        let asked = String::from_utf8(served.join().unwrap()).unwrap();
        assert_eq!(asked.contains("SETNAME"), !client_name.is_empty());
        replies
    }

    #[test]
    fn our_name_travels_in_front_of_the_first_question() {
        let pong = Bytes::from_static(b"+PONG\r\n");
        for (name, reply) in [
            ("", b"+PONG\r\n".as_slice()),
            ("us", b"+OK\r\n+PONG\r\n"),
            ("us", b"-NOPERM not you\r\n+PONG\r\n"),
        ] {
            assert_eq!(ask(name, reply), Ok(vec![pong.clone()]), "{name}");
        }
    }

    #[test]
    fn a_node_that_takes_nobody_says_so_instead_of_taking_the_name() {
        let full = b"-ERR max number of clients reached\r\n";
        let refused = AskFailure::Refused("ERR max number of clients reached".to_owned());
        assert_eq!(ask("us", full), Err(refused));
        let gone = AskFailure::Closed("closed by the node".to_owned());
        assert_eq!(ask("us", b"+OK\r\n"), Err(gone));
    }
}
