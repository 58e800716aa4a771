//! TLS to servers and to clients: who is let in, who is not and why, and certificates and passwords that change.

use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::support::certificates::Pair;
use crate::support::conn::encode;
use crate::support::process::Process;
use crate::support::{
    Authority, Conn, Server, ServerKind, SetOnDrop, Slotcar, Value, address, wait_until,
};

on_both!(
    a_server_is_reached_over_tls_and_everything_fits_through,
    what_is_wrong_with_a_server_is_told,
    a_server_may_want_a_certificate,
    one_name_may_stand_for_all_servers,
    a_cluster_is_followed_over_tls,
    sentinels_are_asked_and_followed_over_tls,
    clients_are_served_over_tls,
    clients_may_have_to_show_a_certificate,
    who_means_another_port_is_told,
    a_handshake_that_never_comes_holds_nobody_up,
    certificates_and_passwords_change_without_an_error,
    keys_are_copied_from_a_server_over_tls,
);

/// A server that listens plainly, for the test, and with this certificate.
struct Secured {
    server: Server,
    tls: SocketAddr,
}

impl Secured {
    fn start(kind: ServerKind, pair: &Pair, ca: &str, wants_certificates: bool) -> Secured {
        let wants = if wants_certificates { "yes" } else { "no" };
        Secured::start_with(kind, pair, ca, wants, &[])
    }

    fn start_with(
        kind: ServerKind,
        pair: &Pair,
        ca: &str,
        wants_certificates: &str,
        more: &[(&str, &str)],
    ) -> Secured {
        let tls = address::unused();
        let dir = std::env::temp_dir().join(format!("slotcar-{}-{}", tls.ip(), tls.port()));
        let port = tls.port().to_string();
        let own = [
            ("tls-port", port.as_str()),
            ("tls-cert-file", &pair.cert),
            ("tls-key-file", &pair.key),
            ("tls-ca-cert-file", ca),
            ("tls-auth-clients", wants_certificates),
        ];
        let mut server = Server::prepare(kind, dir, &[&own, more].concat());
        server.launch();
        server.wait_answering();
        Secured { server, tls }
    }

    fn url(&self) -> String {
        format!("rediss://{}", self.tls)
    }
}

fn host() -> String {
    address::unused().ip().to_string()
}

/// A client that speaks TLS.
struct TlsConn(BufReader<StreamOwned<ClientConnection, TcpStream>>);

impl TlsConn {
    fn open(addr: SocketAddr, ca: &str, own: Option<&Pair>) -> TlsConn {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(ca).expect("a file of ours") {
            roots
                .add(certificate.expect("a certificate"))
                .expect("of an authority");
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        let config = match own {
            None => config.with_no_client_auth(),
            Some(pair) => {
                let own = CertificateDer::pem_file_iter(&pair.cert).expect("a file of ours");
                let own = own.map(|each| each.expect("a certificate")).collect();
                let key = PrivateKeyDer::from_pem_file(&pair.key).expect("a key");
                config.with_client_auth_cert(own, key).expect("they fit")
            }
        };
        let name = ServerName::try_from(addr.ip().to_string()).expect("an address");
        let session = ClientConnection::new(Arc::new(config), name).expect("a session");
        let stream = TcpStream::connect(addr).expect("slotcar listens");
        stream.set_read_timeout(Some(LIMIT)).expect("a socket");
        TlsConn(BufReader::new(StreamOwned::new(session, stream)))
    }

    fn try_cmd(&mut self, words: &[&str]) -> std::io::Result<Value> {
        let stream = self.0.get_mut();
        stream.write_all(&encode(words))?;
        stream.flush()?;
        Value::read(&mut self.0)
    }

    fn cmd(&mut self, words: &[&str]) -> Value {
        self.try_cmd(words)
            .unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }
}

fn a_server_is_reached_over_tls_and_everything_fits_through(kind: ServerKind) {
    let authority = Authority::new();
    let pair = authority.issue("node", &[&host()]);
    let secured = Secured::start(kind, &pair, &authority.ca, false);
    let slotcar = Slotcar::start(&["--upstream", &secured.url(), "--tls-ca", &authority.ca]);
    exercise(|words| slotcar_reply(&slotcar, words), &secured.server);
    let mut conn = slotcar.conn();
    conn.ok(&["SELECT", "3"]);
    let many: Vec<Vec<String>> = (0..20_000)
        .map(|n| vec!["SET".to_owned(), format!("k:{n}"), "v".repeat(n % 100)])
        .collect();
    assert!(conn.pipeline(&many).iter().all(Value::is_ok));
    assert_eq!(conn.ok(&["DBSIZE"]).int(), 20_000);
    let lists = Conn::open(secured.server.addr())
        .ok(&["CLIENT", "LIST"])
        .text();
    assert!(lists.contains("name=slotcar"), "{lists}");
}

fn keys_are_copied_from_a_server_over_tls(kind: ServerKind) {
    let authority = Authority::new();
    let pair = authority.issue("node", &[&host()]);
    let secured = Secured::start(kind, &pair, &authority.ca, false);
    let mut conn = Conn::open(secured.server.addr());
    conn.ok(&["SET", "q:1", "v"]);
    conn.ok(&["CONFIG", "SET", "requirepass", "secret"]);
    let url = format!("rediss://:secret@{}", secured.tls);
    let file = std::env::temp_dir().join(format!("slotcar-from-{}", secured.tls.port()));
    std::fs::write(&file, url).unwrap();
    let target = Server::start_plain(kind);
    let upstream = format!("redis://{}", target.addr());
    let copy = |ca: &[&str]| {
        let mut command = std::process::Command::new(crate::support::slotcar::program());
        command.args([
            "move-keys",
            "--upstream",
            &upstream,
            "--keep-together",
            "q:*",
        ]);
        command.arg("--from-file").arg(&file).args(ca).env_clear();
        command.output().expect("it ends")
    };
    let output = copy(&[]);
    assert_eq!(
        output.status.code(),
        Some(3),
        "nobody is trusted: {output:?}"
    );
    let output = copy(&["--from-tls-ca", &authority.ca]);
    assert!(output.status.success(), "{output:?}");
    let mut conn = Conn::open(target.addr());
    assert_eq!(conn.ok(&["GET", "{q}q:1"]).text(), "v");
    let _ = std::fs::remove_file(file);
}

fn slotcar_reply(slotcar: &Slotcar, words: &[&str]) -> Value {
    slotcar.conn().ok(words)
}

/// Values of many sizes, there and back.
fn exercise(mut ask: impl FnMut(&[&str]) -> Value, server: &Server) {
    for size in [1, 100, 16_000, 20_000, 70_000, 300_000, 3_000_000] {
        let value: String = (0..size)
            .map(|at| char::from(b'a' + (at % 23) as u8))
            .collect();
        ask(&["SET", "large", &value]);
        assert_eq!(ask(&["GET", "large"]).text(), value, "{size}");
        assert_eq!(
            Conn::open(server.addr()).ok(&["STRLEN", "large"]).int(),
            size as i64
        );
    }
}

fn what_is_wrong_with_a_server_is_told(kind: ServerKind) {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let good = authority.issue("node", &[&host()]);
    let expired = authority.issue_until("expired", &[&host()], 2020);
    let other = authority.issue("other", &["other.test"]);
    let (good, expired, other) = (
        Secured::start(kind, &good, &authority.ca, false),
        Secured::start(kind, &expired, &authority.ca, false),
        Secured::start(kind, &other, &authority.ca, false),
    );
    let strict = authority.issue("strict", &[&host()]);
    let strict = Secured::start(kind, &strict, &authority.ca, true);
    let plain = format!("rediss://{}", good.server.addr());
    let cases = [
        (expired.url(), &authority.ca, "the certificate has expired"),
        (
            other.url(),
            &authority.ca,
            "the certificate is not for 127.",
        ),
        (
            good.url(),
            &stranger.ca,
            "the certificate is signed by nobody who is trusted",
        ),
        (plain, &authority.ca, "TLS"),
        (strict.url(), &authority.ca, "ertificate"),
    ];
    for (url, ca, expected) in cases {
        is_told(&["--upstream", &url, "--tls-ca", ca], expected);
    }
    let to_tls = format!("redis://{}", good.tls);
    is_told(&["--upstream", &to_tls], "the connection ended");
}

/// A client hears that there is no server, and why.
fn is_told(flags: &[&str], expected: &str) {
    let mut slotcar = Slotcar::start_listening(flags);
    slotcar.expect_log("cannot learn the topology");
    wait_until(expected, LIMIT, || {
        let reply = slotcar.conn().cmd(&["GET", "k"]);
        let text = reply.error().unwrap_or_default().to_owned();
        text.starts_with("LOADING slotcar has not reached the server yet")
            && text.contains(expected)
    });
}

fn a_server_may_want_a_certificate(kind: ServerKind) {
    let authority = Authority::new();
    let (node, own) = (
        authority.issue("node", &[&host()]),
        authority.issue("own", &["me.test"]),
    );
    let secured = Secured::start(kind, &node, &authority.ca, true);
    let slotcar = Slotcar::start(&[
        "--upstream",
        &secured.url(),
        "--tls-ca",
        &authority.ca,
        "--tls-cert",
        &own.cert,
        "--tls-key",
        &own.key,
    ]);
    exercise(|words| slotcar_reply(&slotcar, words), &secured.server);
}

fn one_name_may_stand_for_all_servers(kind: ServerKind) {
    let authority = Authority::new();
    let pair = authority.issue("node", &["redis.test"]);
    let secured = Secured::start(kind, &pair, &authority.ca, false);
    let url = secured.url();
    let flags = [
        "--upstream",
        &url,
        "--tls-ca",
        &authority.ca,
        "--tls-server-name",
    ];
    let slotcar = Slotcar::start(&[&flags[..], &["redis.test"]].concat());
    assert!(slotcar.conn().ok(&["SET", "k", "v"]).is_ok());
    is_told(
        &[&flags[..], &["other.test"]].concat(),
        "the certificate is not for other.test",
    );
}

/// Three primaries that speak TLS to each other and announce those ports.
fn secured_cluster(kind: ServerKind, pair: &Pair, ca: &str) -> Vec<Secured> {
    let nodes: Vec<Secured> = (0..3)
        .map(|_| {
            let more = [
                ("cluster-enabled", "yes"),
                ("tls-cluster", "yes"),
                ("cluster-node-timeout", "2000"),
            ];
            Secured::start_with(kind, pair, ca, "no", &more)
        })
        .collect();
    for (node, slots) in nodes
        .iter()
        .zip([["0", "5460"], ["5461", "10922"], ["10923", "16383"]])
    {
        let mut conn = Conn::open(node.server.addr());
        conn.ok(&["CLUSTER", "ADDSLOTSRANGE", slots[0], slots[1]]);
        for other in &nodes {
            let (ip, port) = (other.tls.ip().to_string(), other.tls.port().to_string());
            conn.ok(&["CLUSTER", "MEET", &ip, &port]);
        }
    }
    wait_until("the cluster is one", LIMIT, || {
        nodes.iter().all(|node| {
            let info = Conn::open(node.server.addr())
                .ok(&["CLUSTER", "INFO"])
                .text();
            info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
        })
    });
    nodes
}

fn a_cluster_is_followed_over_tls(kind: ServerKind) {
    let authority = Authority::new();
    let pair = authority.issue("nodes", &[&host()]);
    let nodes = secured_cluster(kind, &pair, &authority.ca);
    let seed = nodes[1].tls.to_string();
    let flags = ["--cluster", &seed, "--tls", "on", "--tls-ca", &authority.ca];
    let slotcar = Slotcar::start(&flags);
    let mut conn = slotcar.conn();
    for round in 0..200 {
        conn.ok(&["SET", &format!("k:{round}"), "v"]);
    }
    let keys: Vec<String> = (0..200).map(|round| format!("k:{round}")).collect();
    let mget: Vec<&str> = std::iter::once("MGET")
        .chain(keys.iter().map(String::as_str))
        .collect();
    assert!(
        conn.ok(&mget)
            .list()
            .iter()
            .all(|value| value.text() == "v")
    );
    for node in &nodes {
        let mut plain = Conn::open(node.server.addr());
        assert!(plain.ok(&["DBSIZE"]).int() > 40, "each has its share");
    }
    // It says that a slot has moved, and the port that it names is that of TLS.
    let (from, to) = (&nodes[0], &nodes[2]);
    let slot = "0";
    let id = |node: &Secured| {
        Conn::open(node.server.addr())
            .ok(&["CLUSTER", "MYID"])
            .text()
    };
    let (source, target) = (id(from), id(to));
    let set = |node: &Secured, words: [&str; 2]| {
        Conn::open(node.server.addr())
            .ok(&[&["CLUSTER", "SETSLOT", slot], words.as_slice()].concat());
    };
    // The target's epoch grows only if it was importing; else the source's next ping takes the slot back.
    set(to, ["IMPORTING", &source]);
    set(from, ["MIGRATING", &target]);
    set(to, ["NODE", &target]);
    set(from, ["NODE", &target]);
    let key = (0..)
        .map(|n| format!("s:{n}"))
        .find(|key| crate::support::slot_of(key) == 0);
    conn.ok(&["SET", &key.expect("a key of this slot"), "moved"]);
}

/// A Sentinel, its primary and a replica that speak TLS to each other, and to slotcar.
fn sentinels_are_asked_and_followed_over_tls(kind: ServerKind) {
    let authority = Authority::new();
    let pair = authority.issue("all", &[&host()]);
    let replication = ("tls-replication", "yes");
    let mut primary = Secured::start_with(kind, &pair, &authority.ca, "no", &[replication]);
    let follows = format!("{} {}", primary.tls.ip(), primary.tls.port());
    let more = [replication, ("replicaof", &follows)];
    let replica = Secured::start_with(kind, &pair, &authority.ca, "no", &more);
    wait_until("the replica follows", LIMIT, || {
        let mut conn = Conn::open(replica.server.addr());
        let info = conn.ok(&["INFO", "replication"]).text();
        info.contains("master_link_status:up")
    });
    let at = address::unused();
    let dir = primary.server.dir().join("sentinel");
    std::fs::create_dir_all(&dir).expect("a folder of ours");
    let conf = format!(
        "bind {ip}\nport 0\ntls-port {port}\ndir {}\ntls-cert-file {}\ntls-key-file {}\ntls-ca-cert-file {}\n\
         tls-auth-clients no\ntls-replication yes\nsentinel announce-ip {ip}\nsentinel announce-port {port}\n\
         sentinel monitor mymaster {follows} 1\nsentinel down-after-milliseconds mymaster 1000\n\
         sentinel failover-timeout mymaster 10000\n",
        dir.display(),
        pair.cert,
        pair.key,
        authority.ca,
        ip = at.ip(),
        port = at.port(),
    );
    let file = dir.join("sentinel.conf");
    std::fs::write(&file, conf).expect("a folder of ours");
    let args = [file.display().to_string(), "--sentinel".to_owned()];
    let _sentinel = Process::start(Path::new(kind.program()), &args, &dir.join("log"));
    let seed = at.to_string();
    let flags = [
        "--sentinel",
        &seed,
        "--tls",
        "on",
        "--tls-ca",
        &authority.ca,
    ];
    let flags = [&flags[..], &["--failover-hold", "60s"]].concat();
    let mut slotcar = Slotcar::start(&flags);
    slotcar.expect_log(" WARN ");
    let mut conn = slotcar.conn();
    conn.ok(&["SET", "k", "v"]);
    assert_eq!(conn.ok(&["WAIT", "1", "5000"]).int(), 1);
    let mut sentinel = TlsConn::open(at, &authority.ca, None);
    wait_until("the Sentinel knows the replica", LIMIT, || {
        sentinel
            .cmd(&["SENTINEL", "REPLICAS", "mymaster"])
            .list()
            .len()
            == 1
    });
    primary.server.kill();
    assert_eq!(conn.ok(&["GET", "k"]).text(), "v");
    conn.ok(&["SET", "k", "w"]);
    let mut new = Conn::open(replica.server.addr());
    assert_eq!(new.ok(&["GET", "k"]).text(), "w");
    // To the Sentinel alone it would have to be said.
    let plain = ["--sentinel", &seed, "--sentinel-tls", "off"];
    let slotcar = Slotcar::start_listening(
        &[&plain[..], &["--tls", "on", "--tls-ca", &authority.ca]].concat(),
    );
    let mut refused = slotcar.conn();
    wait_until("it is told", LIMIT, || {
        let reply = refused.cmd(&["GET", "k"]);
        reply
            .error()
            .is_some_and(|text| text.starts_with("LOADING slotcar has not reached"))
    });
    let mut slotcar = slotcar;
    slotcar.expect_log(" WARN ");
}

fn clients_are_served_over_tls(kind: ServerKind) {
    let authority = Authority::new();
    let pair = authority.issue("slotcar", &[&host()]);
    let server = Server::start_plain(kind);
    let slotcar = secured_slotcar(&server, &pair, &[]);
    let mut conn = TlsConn::open(slotcar.addr(), &authority.ca, None);
    exercise(|words| conn.cmd(words), &server);
    // A client that is slow to read gets all of it.
    let mut slow = TlsConn::open(slotcar.addr(), &authority.ca, None);
    let stream = slow.0.get_mut();
    for _ in 0..5 {
        stream
            .write_all(&encode(&["GET", "large"]))
            .expect("it is read");
    }
    stream.flush().expect("it is read");
    std::thread::sleep(Duration::from_millis(300));
    for _ in 0..5 {
        let value = Value::read(&mut slow.0).expect("a reply");
        assert_eq!(value.bytes().map(<[u8]>::len), Some(3_000_000));
    }
    let (mut waits, mut speaks) = (
        TlsConn::open(slotcar.addr(), &authority.ca, None),
        TlsConn::open(slotcar.addr(), &authority.ca, None),
    );
    waits
        .0
        .get_mut()
        .write_all(&encode(&["SUBSCRIBE", "news"]))
        .expect("it is read");
    Value::read(&mut waits.0).expect("a confirmation");
    assert_eq!(speaks.cmd(&["PUBLISH", "news", "hello"]).int(), 1);
    assert_eq!(
        Value::read(&mut waits.0).expect("a message").list()[2].text(),
        "hello"
    );
    assert!(conn.cmd(&["QUIT"]).is_ok());
    let mut rest = Vec::new();
    assert_eq!(conn.0.read_to_end(&mut rest).expect("a proper end"), 0);
}

fn secured_slotcar(server: &Server, pair: &Pair, flags: &[&str]) -> Slotcar {
    let url = format!("redis://{}", server.addr());
    let ours = [
        "--upstream",
        &url,
        "--listen-tls-cert",
        &pair.cert,
        "--listen-tls-key",
        &pair.key,
    ];
    let slotcar = Slotcar::start_listening(&[&ours, flags].concat());
    wait_until("slotcar knows the server", LIMIT, || {
        slotcar.log().contains("topology learned")
    });
    slotcar
}

fn clients_may_have_to_show_a_certificate(kind: ServerKind) {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let pair = authority.issue("slotcar", &[&host()]);
    let (friend, other) = (
        authority.issue("app", &["app"]),
        stranger.issue("app", &["app"]),
    );
    let server = Server::start_plain(kind);
    let slotcar = secured_slotcar(&server, &pair, &["--listen-tls-client-ca", &authority.ca]);
    let mut conn = TlsConn::open(slotcar.addr(), &authority.ca, Some(&friend));
    exercise(|words| conn.cmd(words), &server);
    for own in [None, Some(&other)] {
        let mut refused = TlsConn::open(slotcar.addr(), &authority.ca, own);
        assert!(refused.try_cmd(&["PING"]).is_err(), "{own:?}");
    }
    // With the one that has looked whether slotcar listens. Each is counted when its end has been noticed here, too.
    wait_until("all three are counted", LIMIT, || {
        let info = conn.cmd(&["INFO", "slotcar"]).text();
        info.contains("tls_errors:3\r\n")
    });
}

/// Somebody connects and says nothing: neither others nor the end wait for it.
fn a_handshake_that_never_comes_holds_nobody_up(kind: ServerKind) {
    let authority = Authority::new();
    let pair = authority.issue("slotcar", &[&host()]);
    let server = Server::start_plain(kind);
    let mut slotcar = secured_slotcar(&server, &pair, &[]);
    let addr = slotcar.addr();
    let silent: Vec<_> = (0..20)
        .map(|_| TcpStream::connect(addr).expect("slotcar listens"))
        .collect();
    let mut conn = TlsConn::open(addr, &authority.ca, None);
    assert_eq!(conn.cmd(&["PING"]).text(), "PONG");
    let start = Instant::now();
    slotcar.signal("TERM");
    assert!(slotcar.wait_end().success());
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    drop(silent);
}

fn who_means_another_port_is_told(kind: ServerKind) {
    let authority = Authority::new();
    let pair = authority.issue("slotcar", &[&host()]);
    let server = Server::start_plain(kind);
    let tls = secured_slotcar(&server, &pair, &[]);
    let reply = tls.conn().cmd(&["PING"]);
    assert_eq!(
        reply.error(),
        Some("ERR slotcar: this port speaks TLS only")
    );
    let plain = Slotcar::start(&["--upstream", &format!("redis://{}", server.addr())]);
    let mut stream = TcpStream::connect(plain.addr()).expect("slotcar listens");
    stream
        .write_all(&[22, 3, 1, 2, 0, 1, 0])
        .expect("it is read");
    let mut said = String::new();
    stream.read_to_string(&mut said).expect("a word and an end");
    assert_eq!(said, "-ERR slotcar: this port does not speak TLS\r\n");
}

fn certificates_and_passwords_change_without_an_error(kind: ServerKind) {
    let authority = Authority::new();
    let node = authority.issue("node", &[&host()]);
    let pair = authority.issue("slotcar", &[&host()]);
    let secured = Secured::start(kind, &node, &authority.ca, false);
    let mut admin = Conn::open(secured.server.addr());
    admin.ok(&["ACL", "SETUSER", "app", "on", ">one", "~*", "&*", "+@all"]);
    let file =
        std::env::temp_dir().join(format!("slotcar-rotates-{}-{kind:?}", std::process::id()));
    std::fs::write(&file, "one\n").expect("a file of ours");
    let password = file.display().to_string();
    let url = secured.url();
    let slotcar = Slotcar::start_listening(&[
        "--upstream",
        &url,
        "--tls-ca",
        &authority.ca,
        "--username",
        "app",
        "--password-file",
        &password,
        "--listen-tls-cert",
        &pair.cert,
        "--listen-tls-key",
        &pair.key,
    ]);
    wait_until("slotcar knows the server", LIMIT, || {
        slotcar.log().contains("topology learned")
    });
    let (addr, stop) = (slotcar.addr(), AtomicBool::new(false));
    let wait_for_reload = |times: usize| {
        wait_until("slotcar has read its files again", LIMIT, || {
            slotcar.log().matches("have been read again").count() >= times
        });
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..3)
            .map(|client| {
                let (stop, ca) = (&stop, &authority.ca);
                scope.spawn(move || {
                    let mut served = 0;
                    while !stop.load(Ordering::Relaxed) {
                        // Old connections and new ones.
                        let mut conn = TlsConn::open(addr, ca, None);
                        for _ in 0..50 {
                            let key = format!("count:{client}");
                            let reply = conn.cmd(&["INCR", &key]);
                            assert!(reply.error().is_none(), "{reply:?}");
                            served += 1;
                        }
                    }
                    served
                })
            })
            .collect();
        let over = SetOnDrop(&stop);
        authority.issue("slotcar", &[&host()]);
        wait_for_reload(1);
        admin.ok(&["ACL", "SETUSER", "app", ">two"]);
        std::fs::write(&file, "two\n").expect("a file of ours");
        wait_for_reload(2);
        admin.ok(&["ACL", "SETUSER", "app", "<one"]);
        std::thread::sleep(Duration::from_millis(200));
        drop(over);
        for client in clients {
            assert!(client.join().expect("no error") > 100);
        }
    });
    let mut conn = TlsConn::open(addr, &authority.ca, None);
    conn.cmd(&["SELECT", "1"]);
    assert!(
        conn.cmd(&["SET", "k", "v"]).is_ok(),
        "a new link, with the new password"
    );
    std::fs::write(&pair.key, "nonsense").expect("a file of ours");
    wait_until("the mistake is told", LIMIT, || {
        slotcar.log().contains("stay as they were")
    });
    let mut conn = TlsConn::open(addr, &authority.ca, None);
    assert_eq!(conn.cmd(&["PING"]).text(), "PONG");
    let mut slotcar = slotcar;
    slotcar.expect_log("stay as they were");
    std::fs::remove_file(&file).expect("a file of ours");
}

const LIMIT: Duration = Duration::from_secs(10);
