//! A primary and its replicas, watched by three Sentinels that need 2 votes and 1 s of silence. Those that have voted for each other try again after
//! twice the failover-timeout: not later than a client of a test waits for an answer.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::process::Process;
use super::{Conn, Server, ServerKind, address, wait_until};

pub struct Watched {
    servers: Vec<Server>,
    sentinels: Vec<Sentinel>,
    passwords: Option<Passwords>,
    dir: PathBuf,
}

/// What everybody has to say who connects.
#[derive(Clone, Copy)]
pub struct Passwords {
    pub servers: &'static str,
    /// Empty: none.
    pub sentinels: &'static str,
}

struct Sentinel {
    addr: SocketAddr,
    process: Process,
}

/// What the Sentinels call the primary.
pub const NAME: &str = "mymaster";

impl Watched {
    /// Server 0 is the primary, `replicas` follow it.
    pub fn start(kind: ServerKind, replicas: usize) -> Watched {
        Watched::start_with(kind, replicas, None, &[])
    }

    /// The same, where everybody has to say a password, and with the first Sentinels at these addresses.
    pub fn start_with(
        kind: ServerKind,
        replicas: usize,
        passwords: Option<Passwords>,
        sentinels: &[SocketAddr],
    ) -> Watched {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("watched-{}-{number}", std::process::id()));
        let mut servers: Vec<Server> = Vec::new();
        for index in 0..=replicas {
            let follows = servers.first().map(|primary| shown(primary.addr()));
            let mut options: Vec<(&str, &str)> = Vec::new();
            options.extend(follows.as_deref().map(|primary| ("replicaof", primary)));
            if let Some(passwords) = passwords {
                options.push(("requirepass", passwords.servers));
                options.push(("masterauth", passwords.servers));
            }
            let mut server = Server::prepare(kind, dir.join(index.to_string()), &options);
            server.launch();
            servers.push(server);
        }
        let mut watched = Watched {
            servers,
            sentinels: Vec::new(),
            passwords,
            dir,
        };
        for server in &watched.servers {
            wait_until("a server listens", LIMIT, || {
                Conn::try_open(server.addr()).is_ok()
            });
        }
        wait_until("the replicas follow", LIMIT, || {
            (1..=replicas).all(|index| watched.info(index, "master_link_status") == "up")
        });
        for index in 0..3 {
            let addr = sentinels.get(index).copied();
            watched.start_sentinel(kind, index, addr.unwrap_or_else(address::unused));
        }
        wait_until("the Sentinels know everybody", LIMIT, || {
            (0..3).all(|index| {
                let mut conn = watched.sentinel_conn(index);
                let mut known = |what: &str| conn.ok(&["SENTINEL", what, NAME]).list().len();
                (known("SENTINELS"), known("REPLICAS")) == (2, replicas)
            })
        });
        watched
    }

    fn start_sentinel(&mut self, kind: ServerKind, index: usize, addr: SocketAddr) {
        let dir = self.dir.join(format!("sentinel-{index}"));
        std::fs::create_dir_all(&dir).expect("a folder of ours");
        let (ip, port) = (addr.ip(), addr.port());
        let primary = shown(self.servers[0].addr());
        let mut conf = format!(
            "bind {ip}\nport {port}\ndir {}\nsentinel announce-ip {ip}\n\
             sentinel monitor {NAME} {primary} 2\n\
             sentinel down-after-milliseconds {NAME} 1000\n\
             sentinel failover-timeout {NAME} 5000\n\
             sentinel parallel-syncs {NAME} 5\n",
            dir.display()
        );
        if let Some(Passwords { servers, sentinels }) = self.passwords {
            if !sentinels.is_empty() {
                conf.push_str(&format!(
                    "requirepass {sentinels}\nsentinel sentinel-pass {sentinels}\n"
                ));
            }
            conf.push_str(&format!("sentinel auth-pass {NAME} {servers}\n"));
        }
        let file = dir.join("sentinel.conf");
        std::fs::write(&file, conf).expect("a folder of ours");
        let args = [file.display().to_string(), "--sentinel".to_owned()];
        let mut process = Process::start(Path::new(kind.program()), &args, &dir.join("log"));
        wait_until("a Sentinel answers", LIMIT, || {
            process.must_run();
            Conn::try_open(addr).is_ok()
        });
        self.sentinels.push(Sentinel { addr, process });
    }

    /// As `--sentinel` takes them.
    pub fn addrs(&self) -> String {
        let addrs = self.sentinels.iter().map(|one| one.addr.to_string());
        addrs.collect::<Vec<_>>().join(",")
    }

    pub fn sentinel(&self, index: usize) -> SocketAddr {
        self.sentinels[index].addr
    }

    pub fn kill_sentinel(&mut self, index: usize) {
        self.sentinels[index].process.kill();
    }

    pub fn server(&self, index: usize) -> &Server {
        &self.servers[index]
    }

    pub fn server_mut(&mut self, index: usize) -> &mut Server {
        &mut self.servers[index]
    }

    pub fn conn(&self, index: usize) -> Conn {
        let password = self.passwords.map(|passwords| passwords.servers);
        authenticated(self.servers[index].addr(), password)
    }

    pub fn sentinel_conn(&self, index: usize) -> Conn {
        let password = self.passwords.map(|passwords| passwords.sentinels);
        let password = password.filter(|password| !password.is_empty());
        authenticated(self.sentinels[index].addr, password)
    }

    /// The index of the server that this Sentinel calls primary.
    pub fn primary_at(&self, sentinel: usize) -> Option<usize> {
        let mut conn = self.sentinel_conn(sentinel);
        let reply = conn.ok(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME]);
        let [host, port] = reply.list() else {
            return None;
        };
        let addr = format!("{}:{}", host.text(), port.text());
        let found = |server: &Server| server.addr().to_string() == addr;
        self.servers.iter().position(found)
    }

    /// Waits until this Sentinel calls another server primary than `old`; says which.
    pub fn wait_failover(&self, sentinel: usize, old: usize) -> usize {
        let mut new = old;
        wait_until("a Sentinel names another primary", FAILOVER_LIMIT, || {
            new = self.primary_at(sentinel).unwrap_or(old);
            new != old
        });
        new
    }

    /// A field of `INFO replication`; empty without an answer: who makes a server follow another, as Sentinels do,
    /// also ends its connections.
    pub fn info(&self, index: usize, field: &str) -> String {
        let password = self.passwords.map(|passwords| passwords.servers);
        let answer = Conn::try_open(self.servers[index].addr()).and_then(|mut conn| {
            if let Some(password) = password {
                conn.try_cmd(&["AUTH", password])?;
            }
            conn.try_cmd(&["INFO", "replication"])
        });
        let text = answer.map_or_else(|_| String::new(), |reply| reply.text());
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.unwrap_or_default().to_owned()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.sentinels.clear();
        self.servers.clear();
        // What is left behind lies in the target folder and harms nobody.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn authenticated(addr: SocketAddr, password: Option<&str>) -> Conn {
    let mut conn = Conn::open(addr);
    if let Some(password) = password {
        conn.ok(&["AUTH", password]);
    }
    conn
}

fn shown(addr: SocketAddr) -> String {
    format!("{} {}", addr.ip(), addr.port())
}

const LIMIT: Duration = Duration::from_secs(30);
const FAILOVER_LIMIT: Duration = Duration::from_secs(75);
static COUNT: AtomicU32 = AtomicU32::new(0);
