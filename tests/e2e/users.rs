//! Users of slotcar's own: nobody else is served.

use std::path::PathBuf;
use std::time::Duration;

use crate::support::conn::encode;
use crate::support::{Conn, Server, ServerKind, Slotcar, wait_until};

on_both!(only_who_has_logged_in_is_served, users_change_while_it_runs,);

/// SHA-256 of `secret` and of `other`.
const SECRET: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
const OTHER: &str = "d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa";

struct Guarded {
    // Ends first.
    slotcar: Slotcar,
    file: PathBuf,
    server: Server,
}

impl Guarded {
    fn start(kind: ServerKind, users: &str) -> Guarded {
        let server = Server::start_plain(kind);
        let file = std::env::temp_dir().join(format!("slotcar-users-{}", server.addr().port()));
        std::fs::write(&file, users).expect("a file of ours");
        let (url, path) = (
            format!("redis://{}", server.addr()),
            file.display().to_string(),
        );
        let slotcar = Slotcar::start_listening(&["--upstream", &url, "--users-file", &path]);
        wait_until("slotcar knows the server", LIMIT, || {
            slotcar.log().contains("topology learned")
        });
        Guarded {
            file,
            server,
            slotcar,
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // It lies in the folder for such things.
        let _ = std::fs::remove_file(&self.file);
    }
}

fn only_who_has_logged_in_is_served(kind: ServerKind) {
    let guarded = Guarded::start(
        kind,
        &format!("default #{SECRET}\napp #{OTHER} #{SECRET}\n"),
    );
    let slotcar = &guarded.slotcar;
    let mut plain = Conn::open(guarded.server.addr());
    plain.ok(&["CONFIG", "SET", "requirepass", "secret"]);
    let mut plain = Conn::open(guarded.server.addr());
    let mut conn = slotcar.conn();
    // As a server with a password has it, word by word.
    for request in [
        &["GET", "k"][..],
        &["PING"],
        &["MULTI"],
        &["SUBSCRIBE", "news"],
        &["CLIENT", "LIST"],
        &["INFO"],
        &["NONESUCH"],
        &["GET"],
        &["AUTH", "wrong"],
        &["AUTH", "app", "wrong"],
        &["AUTH", "nobody", "secret"],
        &["HELLO", "2", "AUTH", "default", "wrong"],
    ] {
        assert_eq!(conn.cmd(request), plain.cmd(request), "{request:?}");
    }
    // Nobody needs more to log in.
    for claim in ["*11\r\n", "*2\r\n$16385\r\n"] {
        for addr in [slotcar.addr(), guarded.server.addr()] {
            let mut stranger = Conn::open(addr);
            stranger.send_raw(claim.as_bytes());
            let said = String::from_utf8_lossy(&stranger.read_to_end()).into_owned();
            assert!(said.starts_with("-ERR Protocol error: "), "{addr}: {said}");
        }
    }
    conn.ok(&["AUTH", "secret"]);
    plain.ok(&["AUTH", "secret"]);
    for request in [&["PING"][..], &["RESET"], &["PING"], &["QUIT"]] {
        assert_eq!(conn.cmd(request), plain.cmd(request), "{request:?}");
    }
}

fn users_change_while_it_runs(kind: ServerKind) {
    let guarded = Guarded::start(kind, &format!("app #{SECRET}\n"));
    let slotcar = &guarded.slotcar;
    let mut old = slotcar.conn();
    old.ok(&["AUTH", "app", "secret"]);
    old.ok(&["SET", "k", "v"]);
    assert!(old.ok(&["CLIENT", "INFO"]).text().contains(" user=app "));
    std::fs::write(&guarded.file, format!("app #{OTHER}\n")).expect("a file of ours");
    wait_until("the file has been read again", LIMIT, || {
        slotcar.log().contains("have been read again")
    });
    let mut new = slotcar.conn();
    assert!(new.cmd(&["AUTH", "app", "secret"]).error().is_some());
    new.ok(&["HELLO", "3", "AUTH", "app", "other"]);
    assert_eq!(new.ok(&["GET", "k"]).text(), "v");
    assert_eq!(
        old.ok(&["GET", "k"]).text(),
        "v",
        "who is logged in stays so"
    );
    assert!(
        new.ok(&["INFO", "slotcar"])
            .text()
            .contains("logins_refused:1\r\n")
    );
    new.ok(&["RESET"]);
    assert!(new.cmd(&["GET", "k"]).error().is_some());
    // A pipeline before and behind AUTH.
    let mut piped = slotcar.conn();
    let requests = [&["GET", "k"][..], &["AUTH", "app", "other"], &["GET", "k"]];
    let bytes: Vec<u8> = requests
        .iter()
        .flat_map(|request| encode(request))
        .collect();
    let replies = piped.exchange(&bytes, 3);
    assert!(
        replies[0]
            .error()
            .is_some_and(|error| error.starts_with("NOAUTH"))
    );
    assert_eq!(replies[2].text(), "v");
}

const LIMIT: Duration = Duration::from_secs(10);
