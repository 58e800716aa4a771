//! Real servers and clusters for a test, and waiting for them.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use slotcar::clock::now;
use slotcar::topology::{Endpoint, SLOT_COUNT, Slot};

#[track_caller]
pub fn await_that(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = now();
    while !is_so() {
        assert!(
            now().since(start) < PATIENCE,
            "waited {PATIENCE:?} in vain until {what}"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A port that nobody listens at.
pub fn dead_endpoint() -> Endpoint {
    Endpoint::new("127.0.0.1", Ports::free().data)
}

pub fn key_in(slot: Slot) -> String {
    let mut keys = (0..).map(|number: u32| number.to_string());
    keys.find(|key| Slot::of_key(key.as_bytes()) == slot)
        .unwrap()
}

pub struct Cluster {
    pub servers: Vec<Server>,
    /// Behind the servers: they go first.
    place: Place,
}

impl Cluster {
    /// `servers[..primaries]` are the primaries, each with as many slots; the rest are their replicas in turn.
    pub fn start(program: &str, primaries: usize, replicas: usize, options: &[&str]) -> Self {
        let place = Place::new();
        let start = |_| Server::start(program, &place, Ports::free(), options);
        let servers: Vec<Server> = (0..primaries + replicas).map(start).collect();
        let password = options
            .iter()
            .skip_while(|option| **option != "--requirepass")
            .nth(1);
        Self::form(place, servers, primaries, password.copied())
    }

    pub fn form(
        place: Place,
        mut servers: Vec<Server>,
        primaries: usize,
        password: Option<&str>,
    ) -> Self {
        for server in &mut servers {
            server.password = password.map(ToOwned::to_owned);
        }
        for (index, server) in servers.iter().enumerate() {
            assert_eq!(
                server.ask(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]),
                "OK"
            );
            if index < primaries {
                let bound = |index: usize| index * SLOT_COUNT / primaries;
                let (first, last) = (bound(index).to_string(), (bound(index + 1) - 1).to_string());
                assert_eq!(
                    server.ask(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]),
                    "OK"
                );
            }
            let Ports { data, bus } = servers[0].ports;
            assert_eq!(
                server.ask(&[
                    "CLUSTER",
                    "MEET",
                    "127.0.0.1",
                    &data.to_string(),
                    &bus.to_string()
                ]),
                "OK"
            );
        }
        let cluster = Self { servers, place };
        let everybody = format!("cluster_known_nodes:{}", cluster.servers.len());
        cluster.await_everywhere(&everybody, |server| {
            server.ask(&["CLUSTER", "INFO"]).contains(&everybody)
        });
        for (index, replica) in cluster.servers.iter().enumerate().skip(primaries) {
            let primary = cluster.servers[index % primaries].ask(&["CLUSTER", "MYID"]);
            assert_eq!(replica.ask(&["CLUSTER", "REPLICATE", &primary]), "OK");
            await_that("the replica is in sync", || {
                replica
                    .ask(&["INFO", "replication"])
                    .contains("master_link_status:up")
            });
        }
        cluster.await_content();
        // Replicas are listed once their replication offset is known not to be 0: something must be written.
        for (index, primary) in cluster.servers.iter().take(primaries).enumerate() {
            let first = u16::try_from(index * SLOT_COUNT / primaries).unwrap();
            assert_eq!(
                primary.ask(&["SET", &key_in(Slot::new(first).unwrap()), "written"]),
                "OK"
            );
        }
        cluster.await_calm();
        cluster
    }

    fn await_content(&self) {
        self.await_everywhere("state ok", |server| {
            server
                .ask(&["CLUSTER", "INFO"])
                .contains("cluster_state:ok")
        });
    }

    fn await_everywhere(&self, what: &str, is_so: impl Fn(&Server) -> bool) {
        await_that(what, || self.servers.iter().all(&is_so));
    }

    pub fn seeds(&self) -> Vec<Endpoint> {
        self.servers.iter().map(Server::endpoint).collect()
    }

    pub fn endpoint(&self, index: usize) -> Endpoint {
        self.servers[index].endpoint()
    }

    pub fn has(&self, port: u16) -> bool {
        self.servers.iter().any(|server| server.ports.data == port)
    }

    pub fn server_at(&self, endpoint: &Endpoint) -> &Server {
        self.servers
            .iter()
            .find(|server| server.endpoint() == *endpoint)
            .unwrap()
    }

    pub fn kill(&mut self, endpoint: &Endpoint) {
        self.servers.retain(|server| server.endpoint() != *endpoint);
    }

    /// Starts a killed server again as what it was, and waits until it has found its place.
    pub fn revive(&mut self, program: &str, endpoint: &Endpoint, ports: Ports, options: &[&str]) {
        assert_eq!(endpoint.port, ports.data);
        self.restart(program, ports, options);
        await_that("the revived server is a replica in sync", || {
            self.server_at(endpoint)
                .ask(&["INFO", "replication"])
                .contains("master_link_status:up")
        });
        self.await_calm();
    }

    /// Starts a server that was killed with what it remembers.
    pub fn restart(&mut self, program: &str, ports: Ports, options: &[&str]) {
        assert!(!self.has(ports.data), "it runs");
        let server = Server::start(program, &self.place, ports, options);
        self.servers.push(server);
    }

    /// Every server is content and lists every server.
    pub fn await_calm(&self) {
        self.await_content();
        let lists_all = |server: &Server| {
            let slots = server.ask(&["CLUSTER", "SLOTS"]);
            self.servers.iter().all(|server| {
                slots
                    .lines()
                    .any(|line| line == server.ports.data.to_string())
            })
        };
        self.await_everywhere("every node lists every node", lists_all);
    }
}

pub struct Server {
    process: Child,
    pub ports: Ports,
    password: Option<String>,
}

impl Server {
    pub fn start(program: &str, place: &Place, ports: Ports, options: &[&str]) -> Self {
        let dir = place.0.join(ports.data.to_string());
        std::fs::create_dir_all(&dir).unwrap();
        let mut command = Command::new(program);
        command.args([
            "--port",
            &ports.data.to_string(),
            "--cluster-port",
            &ports.bus.to_string(),
        ]);
        command.args([
            "--bind",
            "127.0.0.1",
            "--cluster-enabled",
            "yes",
            "--cluster-node-timeout",
            "2000",
        ]);
        command
            .args([
                "--save",
                "",
                "--appendonly",
                "no",
                "--repl-diskless-sync-delay",
                "0",
                "--dir",
            ])
            .arg(&dir);
        command
            .args(options)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let server = Self {
            process: command.spawn().unwrap(),
            ports,
            password: None,
        };
        await_that("the server listens", || {
            TcpStream::connect(("127.0.0.1", ports.data)).is_ok()
        });
        server
    }

    pub fn endpoint(&self) -> Endpoint {
        Endpoint::new("127.0.0.1", self.ports.data)
    }

    /// What the server thinks of a question about this slot; `None` if it serves it.
    pub fn keys_slot_refusal(&self, slot: Slot) -> Option<String> {
        let key = key_in(slot);
        let reply = self.ask(&["EXISTS", &key]);
        reply.parse::<u64>().is_err().then_some(reply)
    }

    /// The reply as text, elements of arrays in lines.
    pub fn ask(&self, request: &[&str]) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.ports.data)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let auth = self.password.as_ref().map(|password| ["AUTH", password]);
        let requests = auth.iter().map(|auth| &auth[..]).chain([request]);
        let mut output = String::new();
        for request in requests {
            output += &format!("*{}\r\n", request.len());
            request
                .iter()
                .for_each(|word| output += &format!("${}\r\n{word}\r\n", word.len()));
        }
        stream.write_all(output.as_bytes()).unwrap();
        let mut input = BufReader::new(stream);
        if auth.is_some() {
            read_reply(&mut input).unwrap();
        }
        read_reply(&mut input).unwrap()
    }

    /// A connection that stays open.
    pub fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.ports.data)).unwrap()
    }

    pub fn signal(&self, name: &str) {
        let kill = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.process.id().to_string())
            .status();
        assert!(kill.unwrap().success());
    }
}

impl Drop for Server {
    /// SIGKILL, which also ends a stopped process.
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Asks one server again and again whether it takes a write to a slot.
pub struct Writer {
    input: BufReader<TcpStream>,
    request: String,
}

impl Writer {
    pub fn new(server: &Server, slot: Slot) -> Self {
        let key = key_in(slot);
        Self {
            input: BufReader::new(server.connect()),
            request: format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n$1\r\nx\r\n", key.len()),
        }
    }

    pub fn writes(&mut self) -> bool {
        let stream = self.input.get_mut();
        stream.write_all(self.request.as_bytes()).unwrap();
        read_reply(&mut self.input).unwrap() == "OK"
    }
}

fn read_reply(input: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    input.read_line(&mut line)?;
    let (kind, rest) = line.trim_end().split_at(1);
    match (kind, rest.parse::<i64>()) {
        ("$", Ok(len @ 0..)) => {
            let mut body = vec![0; usize::try_from(len).unwrap() + 2];
            input.read_exact(&mut body)?;
            Ok(String::from_utf8_lossy(&body[..body.len() - 2]).into_owned())
        }
        ("*", Ok(items)) => (0..items)
            .map(|_| read_reply(input).map(|item| item + "\n"))
            .collect(),
        _ => Ok(rest.to_owned()),
    }
}

#[derive(Clone, Copy)]
pub struct Ports {
    pub data: u16,
    bus: u16,
}

impl Ports {
    pub fn free() -> Self {
        let listeners = [(); 2].map(|()| TcpListener::bind(("127.0.0.1", 0)).unwrap());
        let [data, bus] = listeners
            .each_ref()
            .map(|listener| listener.local_addr().unwrap().port());
        Self { data, bus }
    }
}

/// A directory that goes with the test.
pub struct Place(PathBuf);

impl Place {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "slotcar-e2e-topology-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Far more than anything here takes on an idle machine.
const PATIENCE: Duration = Duration::from_secs(30);
