//! A connection of the script: it keeps replies and pushed messages apart, and no wait is without end.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::frame::Frame;
use crate::support::conn::encode;

pub(crate) struct Client {
    stream: TcpStream,
    /// How long it waits for what should come.
    patience: Duration,
    unparsed: Vec<u8>,
    replies: VecDeque<Frame>,
    messages: VecDeque<Frame>,
    ended: bool,
}

impl Client {
    pub(crate) fn open(addr: SocketAddr, patience: Duration) -> Client {
        let stream = TcpStream::connect_timeout(&addr, CONNECT_LIMIT)
            .unwrap_or_else(|error| panic!("cannot connect to {addr}: {error}"));
        stream.set_nodelay(true).expect("a socket");
        stream
            .set_write_timeout(Some(CONNECT_LIMIT))
            .expect("a socket");
        Client {
            stream,
            patience,
            unparsed: Vec::new(),
            replies: VecDeque::new(),
            messages: VecDeque::new(),
            ended: false,
        }
    }

    /// All in one write. That the peer has gone is noticed when something is read.
    pub(crate) fn send(&mut self, requests: &[Vec<Vec<u8>>]) {
        let bytes: Vec<u8> = requests.iter().flat_map(|words| encode(words)).collect();
        let _ = self.stream.write_all(&bytes);
    }

    pub(crate) fn ask(&mut self, words: &[&str]) -> Option<Frame> {
        let words = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        self.send(&[words]);
        self.reply()
    }

    /// `None`: nothing came in time.
    pub(crate) fn reply(&mut self) -> Option<Frame> {
        self.read_until(self.patience, |client| !client.replies.is_empty());
        self.replies.pop_front()
    }

    /// `None`: nothing came in time.
    pub(crate) fn message(&mut self) -> Option<Frame> {
        self.read_until(self.patience, |client| !client.messages.is_empty());
        self.messages.pop_front()
    }

    /// All that is there or comes for a while: replies, then messages.
    pub(crate) fn noise(&mut self) -> Vec<Frame> {
        self.read_until(QUIET, |_| false);
        let replies = self.replies.drain(..);
        replies.chain(self.messages.drain(..)).collect()
    }

    /// Whether a reply is there already.
    pub(crate) fn has_reply(&mut self) -> bool {
        self.read_until(Duration::from_millis(1), |client| {
            !client.replies.is_empty()
        });
        !self.replies.is_empty()
    }

    /// Whether the peer ends the connection.
    pub(crate) fn ends(&mut self) -> bool {
        self.read_until(self.patience, |_| false);
        self.ended
    }

    fn read_until(&mut self, limit: Duration, mut done: impl FnMut(&Client) -> bool) {
        let end = Instant::now() + limit;
        while !done(self) && !self.ended {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            self.read_some(left);
        }
    }

    fn read_some(&mut self, limit: Duration) {
        self.stream
            .set_read_timeout(Some(limit))
            .expect("a time that is not 0");
        let mut bytes = [0; 16 << 10];
        match self.stream.read(&mut bytes) {
            Ok(0) => self.ended = true,
            Ok(length) => self.unparsed.extend_from_slice(&bytes[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.ended = true,
        }
        while let Some((frame, length)) = Frame::parse(&self.unparsed) {
            self.unparsed.drain(..length);
            let queue = if frame.is_message() {
                &mut self.messages
            } else {
                &mut self.replies
            };
            queue.push_back(frame);
        }
    }
}

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// A message that should not come would come at once.
const QUIET: Duration = Duration::from_millis(40);
