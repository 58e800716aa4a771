//! What is true of the whole process, and what a file may change of it.

use std::fs;

use crate::shown::{SECONDS, Samples, Shown};
use crate::support::conn::encode;
use crate::support::{Server, ServerKind};

causes! {
    real a_restart {
        "+process_start_time_seconds"
    }
    real the_end_while_a_client_waits {
        "+slotcar_draining"
        "-slotcar_ready"
    }
    real a_file_changes {
        "+slotcar_sessions_max"
        "+slotcar_memory_max_bytes"
    }
    real a_flood_of_lines {
        "+slotcar_log_lines_dropped_total"
    }
}

fn url(server: &Server) -> String {
    format!("redis://{}", server.addr())
}

fn a_restart(kind: ServerKind) -> Vec<Samples> {
    let server = Server::start_plain(kind);
    let runs = [(); 2].map(|()| Shown::start(&["--upstream", &url(&server)]).metrics());
    runs.into()
}

fn the_end_while_a_client_waits(kind: ServerKind) -> Vec<Samples> {
    let server = Server::start_plain(kind);
    let flags = ["--shutdown-grace", "60s", "--probe-interval", "0"];
    let mut shown = Shown::start(&[&["--upstream", &url(&server)], &flags[..]].concat());
    let mut conn = shown.slotcar.conn();
    conn.ok(&["SET", "key", "1"]);
    let before = shown.metrics();
    server.stop();
    conn.send_raw(&encode(&["INCR", "key"]));
    assert_eq!(shown.ask("POST", "/drain", "Host: localhost\r\n").0, 202);
    let ending = shown.wait_for("it is told to end", SECONDS(10), |samples| {
        samples.sum("slotcar_draining") == 1.0
    });
    server.cont();
    assert_eq!(conn.recv().int(), 2);
    assert!(shown.slotcar.wait_end().success());
    vec![before, ending]
}

fn a_file_changes(kind: ServerKind) -> Vec<Samples> {
    let server = Server::start_plain(kind);
    let file = server.dir().join("slotcar.toml");
    let write = |clients: usize, memory: &str| {
        let text = format!(
            "upstream = \"{}\"\nmax-clients = {clients}\nmax-memory = \"{memory}\"\n",
            url(&server)
        );
        fs::write(&file, text).expect("a file of ours");
    };
    write(30, "64mb");
    let shown = Shown::start(&["--config", &file.display().to_string()]);
    let before = shown.metrics();
    assert_eq!(before.sum("slotcar_sessions_max"), 30.0);
    assert_eq!(before.sum("slotcar_memory_max_bytes"), f64::from(64 << 20));
    write(40, "128mb");
    shown.slotcar.signal("HUP");
    let after = shown.wait_for("the file is read again", SECONDS(10), |samples| {
        samples.sum("slotcar_sessions_max") == 40.0
            && samples.sum("slotcar_memory_max_bytes") == f64::from(128 << 20)
    });
    vec![before, after]
}

fn a_flood_of_lines(kind: ServerKind) -> Vec<Samples> {
    let server = Server::start_plain(kind);
    let shown = Shown::start(&["--upstream", &url(&server), "--log-level", "debug"]);
    let before = shown.metrics();
    for _ in 0..100 {
        assert_eq!(shown.ask("not a", "method", "").0, 400);
    }
    let cut = shown.wait_for("lines are left out", SECONDS(10), |samples| {
        samples.grown(&before, "slotcar_log_lines_dropped_total") > 0.0
    });
    vec![before, cut]
}
