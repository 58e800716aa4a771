//! A cluster of nodes that are only listeners: they say what they are like real ones, and do with requests for data what
//! a test tells them.

use std::io::{self, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, RwLock};
use std::thread;

use crate::support::conn::encode;
use crate::support::{Value, address, slot_of};

/// What a node does with a request: it writes whatever it likes. An error closes the connection.
pub(crate) type Manner = Arc<dyn Fn(&[String], &mut TcpStream) -> io::Result<()> + Send + Sync>;

pub(crate) struct FakeNodes {
    nodes: Vec<Arc<FakeNode>>,
}

struct FakeNode {
    addr: SocketAddr,
    /// All nodes; each has an equal share of the slots.
    addrs: Vec<SocketAddr>,
    /// For requests that want data; `None`: as a node does.
    data: RwLock<Option<Manner>>,
    /// The same for what a proxy asks.
    about: RwLock<Option<Manner>>,
    /// The reply to CLUSTER SLOTS.
    slots: RwLock<Vec<u8>>,
}

impl FakeNodes {
    /// So many primaries, each with an equal share of the slots.
    pub(crate) fn start(count: usize) -> FakeNodes {
        let listeners: Vec<TcpListener> = (0..count)
            .map(|_| TcpListener::bind(address::unused()).unwrap())
            .collect();
        let addrs: Vec<SocketAddr> = listeners
            .iter()
            .map(|it| it.local_addr().unwrap())
            .collect();
        let slots = slots_of(&addrs);
        let nodes = listeners.into_iter().map(|listener| {
            let node = Arc::new(FakeNode {
                addr: listener.local_addr().unwrap(),
                addrs: addrs.clone(),
                data: RwLock::new(None),
                about: RwLock::new(None),
                slots: RwLock::new(slots.clone()),
            });
            let serving = Arc::clone(&node);
            // They end with the process.
            thread::spawn(move || serving.accept(&listener));
            node
        });
        FakeNodes {
            nodes: nodes.collect(),
        }
    }

    pub(crate) fn addr(&self, node: usize) -> SocketAddr {
        self.nodes[node].addr
    }

    pub(crate) fn seeds(&self) -> String {
        let addrs: Vec<String> = self
            .nodes
            .iter()
            .map(|node| node.addr.to_string())
            .collect();
        addrs.join(",")
    }

    /// From now on `node` does this with requests for data.
    pub(crate) fn set(
        &self,
        node: usize,
        manner: impl Fn(&[String], &mut TcpStream) -> io::Result<()> + Send + Sync + 'static,
    ) {
        *self.nodes[node].data.write().unwrap() = Some(Arc::new(manner));
    }

    /// From now on `node` does this with whatever it is asked.
    pub(crate) fn set_all(&self, node: usize, manner: Manner) {
        *self.nodes[node].data.write().unwrap() = Some(Arc::clone(&manner));
        *self.nodes[node].about.write().unwrap() = Some(manner);
    }

    /// From now on `node` answers CLUSTER SLOTS with these bytes.
    pub(crate) fn set_slots(&self, node: usize, reply: Vec<u8>) {
        *self.nodes[node].slots.write().unwrap() = reply;
    }

    /// `node` is a good node again.
    pub(crate) fn heal(&self, node: usize) {
        *self.nodes[node].data.write().unwrap() = None;
        *self.nodes[node].about.write().unwrap() = None;
        self.set_slots(node, self.slots());
    }

    /// What a good node answers to CLUSTER SLOTS.
    pub(crate) fn slots(&self) -> Vec<u8> {
        let addrs: Vec<SocketAddr> = self.nodes.iter().map(|node| node.addr).collect();
        slots_of(&addrs)
    }

    /// The `number`th key that `node` serves.
    pub(crate) fn key(&self, node: usize, number: usize) -> String {
        let count = self.nodes.len();
        let keys = (0..).map(|number| format!("key:{number}"));
        keys.filter(|key| owner(usize::from(slot_of(key)), count) == node)
            .nth(number)
            .unwrap()
    }
}

impl FakeNode {
    fn accept(self: Arc<Self>, listener: &TcpListener) {
        for stream in listener.incoming() {
            let (node, Ok(stream)) = (Arc::clone(&self), stream) else {
                return;
            };
            thread::spawn(move || node.serve(stream));
        }
    }

    fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream.try_clone()?);
        loop {
            let words: Vec<String> = match Value::read(&mut reader)? {
                Value::Array(words) => words.iter().map(Value::text).collect(),
                _ => return Ok(()),
            };
            let (manner, answer) = match self.answer(&words) {
                Some(answer) => (&self.about, answer),
                None => (&self.data, self.data_reply(&words)),
            };
            let usual: Manner = Arc::new(move |_, stream| stream.write_all(&answer));
            let manner = manner.read().unwrap().clone().unwrap_or(usual);
            if let Err(error) = manner(&words, &mut stream) {
                let _ = stream.shutdown(std::net::Shutdown::Both);
                return Err(error);
            }
        }
    }

    /// A good reply, or where to get it.
    fn data_reply(&self, words: &[String]) -> Vec<u8> {
        let slot = words.get(1).map_or(0, slot_of);
        match self.addrs[owner(usize::from(slot), self.addrs.len())] {
            owner if owner == self.addr || words.len() < 2 => good_reply(words),
            owner => format!("-MOVED {slot} {owner}\r\n").into_bytes(),
        }
    }

    /// The answer to a request that is not for data.
    fn answer(&self, words: &[String]) -> Option<Vec<u8>> {
        let name = words.first()?.to_ascii_uppercase();
        let second = words.get(1).map(|word| word.to_ascii_uppercase());
        Some(match (name.as_str(), second.as_deref()) {
            ("PING", _) => b"+PONG\r\n".to_vec(),
            ("HELLO", _) => b"%1\r\n$5\r\nproto\r\n:3\r\n".to_vec(),
            ("CLIENT", Some("ID")) => b":7\r\n".to_vec(),
            ("CLIENT", _) => b"+OK\r\n".to_vec(),
            ("COMMAND", _) => b"*0\r\n".to_vec(),
            ("INFO", _) => bulk("# Server\r\nredis_version:7.0.15\r\n"),
            ("CLUSTER", Some("SLOTS")) => self.slots.read().unwrap().clone(),
            ("CLUSTER", Some("INFO")) => bulk("cluster_state:ok\r\ncluster_current_epoch:1\r\n"),
            ("CLUSTER", Some("MYID")) => bulk(&id(self.addr)),
            _ => return None,
        })
    }
}

/// `GET` tells the key it was asked for, so that a reply in the wrong place shows.
pub(crate) fn well_behaved(words: &[String], stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(&good_reply(words))
}

pub(crate) fn good_reply(words: &[String]) -> Vec<u8> {
    match (words[0].to_ascii_uppercase().as_str(), words.get(1)) {
        ("GET", Some(key)) => bulk(&value_of(key)),
        _ => b"+OK\r\n".to_vec(),
    }
}

pub(crate) fn value_of(key: &str) -> String {
    format!("value of {key}")
}

pub(crate) fn bulk(text: &str) -> Vec<u8> {
    format!("${}\r\n{text}\r\n", text.len()).into_bytes()
}

/// One entry of a CLUSTER SLOTS reply.
pub(crate) fn slots_entry(first: i64, last: i64, addr: SocketAddr) -> Vec<u8> {
    let node = [
        b"*3\r\n".to_vec(),
        bulk(&addr.ip().to_string()),
        format!(":{}\r\n", addr.port()).into_bytes(),
        bulk(&id(addr)),
    ];
    [
        format!("*3\r\n:{first}\r\n:{last}\r\n").into_bytes(),
        node.concat(),
    ]
    .concat()
}

fn slots_of(addrs: &[SocketAddr]) -> Vec<u8> {
    let width = SLOTS.div_ceil(addrs.len());
    let mut reply = format!("*{}\r\n", addrs.len()).into_bytes();
    for (node, addr) in addrs.iter().enumerate() {
        let (first, last) = (node * width, SLOTS.min((node + 1) * width) - 1);
        reply.extend(slots_entry(first as i64, last as i64, *addr));
    }
    reply
}

fn owner(slot: usize, nodes: usize) -> usize {
    slot / SLOTS.div_ceil(nodes)
}

fn id(addr: SocketAddr) -> String {
    format!("{:0>40}", addr.port())
}

/// The bytes of a request, for whoever wants to send it in pieces.
pub(crate) fn get(key: &str) -> Vec<u8> {
    encode(&["GET", key])
}

const SLOTS: usize = 16_384;
