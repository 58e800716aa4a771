//! One plain server of our own, and a connection to it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use slotcar::clock;

/// A server that ends with this value, also when a test panics.
pub(crate) struct Server {
    /// As INFO says it: `redis 7.0.15`, `valkey 8.0.1`.
    pub(crate) version: String,
    port: u16,
    child: Child,
    directory: PathBuf,
}

impl Server {
    pub(crate) fn start(binary: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let name = format!("slotcar-command-table-{}-{port}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory).unwrap();
        let child = Command::new(binary)
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--logfile", "log"])
            .arg("--dir")
            .arg(&directory)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = child.unwrap_or_else(|error| {
            fs::remove_dir_all(&directory).ok();
            panic!("cannot start {binary}: {error}; install redis-server 7.0 and valkey-server 8.0")
        });
        let mut server = Self {
            version: String::new(),
            port,
            child,
            directory,
        };
        server.version = server.wait_for_version();
        server
    }

    pub(crate) fn connect(&self) -> Connection {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Connection {
            reader: BufReader::new(stream),
        }
    }

    fn wait_for_version(&mut self) -> String {
        let begin = clock::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "the server ended at once: {ended:?}");
            assert!(clock::now().since(begin) < PATIENCE, "the server is silent");
            std::thread::sleep(Duration::from_millis(5));
        }
        let info = self.connect().ask(&[b"INFO", b"server"]);
        let field = |name: &str| {
            let mut lines = info.text().lines();
            lines.find_map(|line| line.strip_prefix(name).map(str::to_owned))
        };
        match field("valkey_version:") {
            Some(version) => format!("valkey {version}"),
            None => format!("redis {}", field("redis_version:").unwrap()),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        fs::remove_dir_all(&self.directory).ok();
    }
}

/// A RESP2 connection.
pub(crate) struct Connection {
    reader: BufReader<TcpStream>,
}

/// A RESP2 reply.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Text(Vec<u8>),
    /// Without the leading `-`.
    Error(Vec<u8>),
    Integer(i64),
    List(Vec<Value>),
    Null,
}

impl Connection {
    pub(crate) fn ask(&mut self, words: &[&[u8]]) -> Value {
        self.send(words);
        self.receive()
    }

    /// All the answers, asked for in batches that fit into the socket's buffers.
    pub(crate) fn ask_all(&mut self, requests: &[Vec<Vec<u8>>]) -> Vec<Value> {
        let mut answers = Vec::with_capacity(requests.len());
        for batch in requests.chunks(50) {
            for request in batch {
                let words: Vec<&[u8]> = request.iter().map(Vec::as_slice).collect();
                self.send(&words);
            }
            answers.extend(batch.iter().map(|_| self.receive()));
        }
        answers
    }

    fn send(&mut self, words: &[&[u8]]) {
        let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            bytes.extend(format!("${}\r\n", word.len()).into_bytes());
            bytes.extend(*word);
            bytes.extend(b"\r\n");
        }
        self.reader.get_mut().write_all(&bytes).unwrap();
    }

    fn receive(&mut self) -> Value {
        let mut line = Vec::new();
        self.reader.read_until(b'\n', &mut line).unwrap();
        let line = line.strip_suffix(b"\r\n").expect("a whole line");
        let (kind, rest) = line.split_first().expect("a type");
        let number = || str::from_utf8(rest).unwrap().parse::<i64>().unwrap();
        match kind {
            b'+' => Value::Text(rest.to_vec()),
            b'-' => Value::Error(rest.to_vec()),
            b':' => Value::Integer(number()),
            b'$' | b'*' if number() < 0 => Value::Null,
            b'$' => {
                let mut text = vec![0; usize::try_from(number()).unwrap() + 2];
                self.reader.read_exact(&mut text).unwrap();
                text.truncate(text.len() - 2);
                Value::Text(text)
            }
            b'*' => Value::List((0..number()).map(|_| self.receive()).collect()),
            other => panic!("not RESP2: {other}"),
        }
    }
}

impl Value {
    pub(crate) fn text(&self) -> &str {
        let Self::Text(text) = self else {
            panic!("not a text: {self:?}")
        };
        str::from_utf8(text).unwrap()
    }

    pub(crate) fn integer(&self) -> i64 {
        let Self::Integer(number) = self else {
            panic!("not an integer: {self:?}")
        };
        *number
    }

    pub(crate) fn list(&self) -> &[Value] {
        let Self::List(items) = self else {
            panic!("not a list: {self:?}")
        };
        items
    }

    pub(crate) fn texts(&self) -> Vec<&str> {
        self.list().iter().map(Self::text).collect()
    }

    /// Keys and values of a map, which RESP2 says in turns.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &Value)> {
        let pairs = self.list().chunks_exact(2);
        pairs.map(|pair| (pair[0].text(), &pair[1]))
    }

    pub(crate) fn field(&self, name: &str) -> Option<&Value> {
        self.pairs()
            .find_map(|(key, value)| (key == name).then_some(value))
    }
}

/// How long a server may take to start or to answer.
const PATIENCE: Duration = Duration::from_secs(10);
