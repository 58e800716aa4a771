//! A small blocking client: what a test says, and what came back. Panics when the connection fails, unless asked not to.

use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::Value;

pub struct Conn {
    addr: SocketAddr,
    reader: BufReader<TcpStream>,
}

impl Conn {
    pub fn open(addr: SocketAddr) -> Conn {
        Conn::try_open(addr).unwrap_or_else(|error| panic!("cannot connect to {addr}: {error}"))
    }

    pub fn try_open(addr: SocketAddr) -> io::Result<Conn> {
        Conn::try_open_within(addr, ANSWER_LIMIT)
    }

    /// No step takes longer than `limit`: connecting, writing, waiting for more of a reply.
    pub fn try_open_within(addr: SocketAddr, limit: Duration) -> io::Result<Conn> {
        let stream = TcpStream::connect_timeout(&addr, limit)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        let reader = BufReader::with_capacity(64 << 10, stream);
        Ok(Conn { addr, reader })
    }

    /// The same, switched to RESP3.
    pub fn open_resp3(addr: SocketAddr) -> Conn {
        let mut conn = Conn::open(addr);
        let hello = conn.cmd(&["HELLO", "3"]);
        assert!(hello.error().is_none(), "HELLO 3: {hello:?}");
        conn
    }

    /// One request, one reply.
    pub fn cmd<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Value {
        let addr = self.addr;
        self.try_cmd(args)
            .unwrap_or_else(|error| panic!("{} at {addr}: {error}", show(args)))
    }

    /// The same for what must not be an error reply.
    pub fn ok<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Value {
        let reply = self.cmd(args);
        if let Some(error) = reply.any_error() {
            panic!("{} at {}: -{error}", show(args), self.addr);
        }
        reply
    }

    pub fn try_cmd<A: AsRef<[u8]>>(&mut self, args: &[A]) -> io::Result<Value> {
        self.try_send(&encode(args))?;
        self.try_recv()
    }

    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes)
    }

    pub fn try_recv(&mut self) -> io::Result<Value> {
        Value::read(&mut self.reader)
    }

    /// All requests are written while the replies are read, so that no size of pipeline can jam.
    pub fn pipeline<A: AsRef<[u8]>>(&mut self, requests: &[Vec<A>]) -> Vec<Value> {
        let bytes: Vec<u8> = requests.iter().flat_map(|args| encode(args)).collect();
        self.exchange(&bytes, requests.len())
    }

    /// Writes `bytes` as they are and reads `replies` replies meanwhile.
    pub fn exchange(&mut self, bytes: &[u8], replies: usize) -> Vec<Value> {
        let addr = self.addr;
        let mut writer = self.stream().try_clone().expect("a second handle");
        std::thread::scope(|scope| {
            scope.spawn(move || {
                writer
                    .write_all(bytes)
                    .unwrap_or_else(|error| panic!("writing to {addr}: {error}"));
            });
            (0..replies).map(|_| self.recv()).collect()
        })
    }

    /// Writes bytes as they are, reads nothing.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        let addr = self.addr;
        self.reader
            .get_mut()
            .write_all(bytes)
            .unwrap_or_else(|error| panic!("writing to {addr}: {error}"));
    }

    pub fn recv(&mut self) -> Value {
        let addr = self.addr;
        Value::read(&mut self.reader)
            .unwrap_or_else(|error| panic!("reading a reply of {addr}: {error}"))
    }

    /// Everything up to the end of the stream, which the peer has to close.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self.reader.read_to_end(&mut bytes) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("waiting for {} to close: {error}", self.addr),
        }
        bytes
    }

    pub fn stream(&self) -> &TcpStream {
        self.reader.get_ref()
    }
}

/// A request as an array of bulk strings.
pub fn encode<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        let arg = arg.as_ref();
        bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        bytes.extend_from_slice(arg);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

fn show<A: AsRef<[u8]>>(args: &[A]) -> String {
    let mut shown: Vec<String> = args
        .iter()
        .take(8)
        .map(|arg| arg.as_ref().escape_ascii().to_string())
        .collect();
    shown.iter_mut().for_each(|arg| arg.truncate(80));
    shown.join(" ")
}

/// Longer than any hold of slotcar's: a test that waits longer has failed.
/// A Sentinel that has seen the clock jump by two seconds does nothing for 30 (its TILT mode), and an election may need several tries.
const ANSWER_LIMIT: Duration = Duration::from_secs(75);
