//! The kinds of server that tests run, and one server process of such a kind.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::process::Process;
use super::{Conn, address, wait_until};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerKind {
    Redis7,
    Valkey8,
}

impl ServerKind {
    pub fn program(self) -> &'static str {
        match self {
            ServerKind::Redis7 => "redis-server",
            ServerKind::Valkey8 => "valkey-server",
        }
    }
}

/// One server with a folder and an address of its own; it may be down.
pub struct Server {
    kind: ServerKind,
    addr: SocketAddr,
    dir: PathBuf,
    options: Vec<(String, String)>,
    process: Option<Process>,
}

impl Server {
    /// Nothing runs yet. The address is one that nobody else uses.
    pub fn prepare(kind: ServerKind, dir: PathBuf, options: &[(&str, &str)]) -> Server {
        Server::prepare_at(address::unused(), kind, dir, options)
    }

    /// The same at an address of this machine.
    pub fn prepare_at(
        addr: SocketAddr,
        kind: ServerKind,
        dir: PathBuf,
        options: &[(&str, &str)],
    ) -> Server {
        std::fs::create_dir_all(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
        let options = options
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Server {
            kind,
            addr,
            dir,
            options,
            process: None,
        }
    }

    /// A standalone server that answers.
    pub fn start_plain(kind: ServerKind) -> Server {
        Server::start_plain_with(kind, &[])
    }

    /// The same with these options.
    pub fn start_plain_with(kind: ServerKind, options: &[(&str, &str)]) -> Server {
        let addr = address::unused();
        let name = format!("plain-{}-{}", std::process::id(), addr.port());
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let mut server = Server::prepare(kind, dir, options);
        server.launch();
        server.wait_answering();
        server
    }

    pub fn launch(&mut self) {
        assert!(self.process.is_none(), "{} runs already", self.addr);
        let dir = self.dir.display().to_string();
        let (ip, port) = (self.addr.ip().to_string(), self.addr.port().to_string());
        let fixed = [
            ("bind", ip.as_str()),
            // Cluster nodes take the source of a connection for the address of their peer.
            ("bind-source-addr", &ip),
            ("port", &port),
            ("dir", &dir),
            ("save", ""),
            ("appendonly", "no"),
            ("protected-mode", "no"),
            ("repl-diskless-sync-delay", "0"),
        ];
        let args: Vec<String> = fixed
            .into_iter()
            .chain(self.options.iter().map(|(name, value)| (&**name, &**value)))
            .flat_map(|(name, value)| [format!("--{name}"), value.to_owned()])
            .collect();
        let log = self.dir.join("log");
        self.process = Some(Process::start(Path::new(self.kind.program()), &args, &log));
    }

    pub fn wait_answering(&mut self) {
        let addr = self.addr;
        let process = self.process.as_mut().expect("launched before");
        wait_until("a server answers", START_LIMIT, || {
            process.must_run();
            Conn::try_open(addr).is_ok_and(|mut conn| {
                conn.try_cmd(&["PING"])
                    .is_ok_and(|reply| reply.error().is_none())
            })
        });
    }

    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Ends it as an operator does, and waits until it is gone.
    pub fn terminate(&mut self) {
        let addr = self.addr;
        let process = self.process.as_mut().expect("launched before");
        process.signal("TERM");
        let status = process.wait(START_LIMIT);
        assert!(status.is_some(), "{addr} does not end on SIGTERM");
        self.process = None;
    }

    /// For the next launch, over an earlier value.
    pub fn set_option(&mut self, name: &str, value: &str) {
        self.options.push((name.to_owned(), value.to_owned()));
    }

    /// Silent but not gone: its sockets stay open.
    pub fn stop(&self) {
        self.running().signal("STOP");
    }

    pub fn cont(&self) {
        self.running().signal("CONT");
    }

    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn log(&self) -> String {
        self.running().log()
    }

    fn running(&self) -> &Process {
        self.process
            .as_ref()
            .unwrap_or_else(|| panic!("{} is down", self.addr))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        // What is left behind lies in the target folder and harms nobody.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

const START_LIMIT: Duration = Duration::from_secs(20);
