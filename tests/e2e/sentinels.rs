//! A primary that Sentinels watch: found, followed, and never mistaken.

use std::time::{Duration, Instant};

use crate::support::sentinels::Passwords;
use crate::support::{Conn, ServerKind, SetOnDrop, Slotcar, Watched, wait_until};

on_both!(
    any_sentinel_is_enough_and_all_work_is_done_at_the_primary,
    a_name_that_nobody_watches_is_told,
    a_dead_primary_is_followed_and_never_written_to_again,
    a_silent_primary_is_left_for_the_new_one,
    a_failover_by_hand_shows_no_error,
    sentinels_have_credentials_of_their_own,
    a_sentinel_that_is_lost_is_replaced_by_one_that_was_learnt,
);

fn before(watched: &Watched) -> Slotcar {
    Slotcar::start(&["--sentinel", &watched.addrs(), "--failover-hold", HOLD])
}

fn any_sentinel_is_enough_and_all_work_is_done_at_the_primary(kind: ServerKind) {
    let watched = Watched::start(kind, 2);
    let dead = crate::support::address::unused();
    let seeds = format!("{dead},{}", watched.sentinel(1));
    let mut slotcar = Slotcar::start(&["--sentinel", &seeds, "--master-name", "mymaster"]);
    slotcar.expect_log(&dead.to_string());
    let mut conn = slotcar.conn();
    conn.ok(&["MSET", "a", "1", "b", "2"]);
    conn.ok(&["SELECT", "3"]);
    conn.ok(&["SET", "c", "3"]);
    assert_eq!(
        watched.conn(0).ok(&["MGET", "a", "b"]).list()[1].text(),
        "2"
    );
    assert_eq!(
        conn.ok(&["INFO", "keyspace"]).text().matches("db").count(),
        2
    );
}

fn a_name_that_nobody_watches_is_told(kind: ServerKind) {
    let watched = Watched::start(kind, 0);
    let mut slotcar =
        Slotcar::start_listening(&["--sentinel", &watched.addrs(), "--master-name", "other"]);
    slotcar.expect_log("it watches no primary called other");
    let mut conn = slotcar.conn();
    wait_until("a client is told", LIMIT, || {
        let reply = conn.cmd(&["GET", "k"]);
        reply
            .error()
            .is_some_and(|text| text.contains("it watches no primary called other"))
    });
}

fn a_dead_primary_is_followed_and_never_written_to_again(kind: ServerKind) {
    let mut watched = Watched::start(kind, 2);
    let mut slotcar = before(&watched);
    let old = watched.server(0).addr().to_string();
    slotcar.expect_log(&old);
    let mut conn = slotcar.conn();
    conn.ok(&["SET", "k", "before"]);
    assert_eq!(conn.ok(&["WAIT", "2", "5000"]).int(), 2);
    watched.server_mut(0).kill();
    let killed = Instant::now();
    conn.send_raw(&crate::support::conn::encode(&["SET", "k", "after"]));
    let new = watched.wait_failover(0, 0);
    let elected = killed.elapsed();
    assert!(conn.recv().is_ok(), "it was held");
    let served = killed.elapsed();
    println!("the Sentinels took {elected:?}, slotcar served after {served:?}");
    assert!(served < elected + Duration::from_millis(500), "{served:?}");
    assert_eq!(watched.conn(new).ok(&["GET", "k"]).text(), "after");

    // It comes back as a primary, until the Sentinels have told it otherwise.
    watched.server_mut(0).launch();
    watched.server_mut(0).wait_answering();
    let mut written = 0;
    wait_until("the old primary follows the new one", LIMIT, || {
        conn.ok(&["SET", &format!("later:{written}"), "v"]);
        written += 1;
        watched.info(0, "master_link_status") == "up"
    });
    let key = |number: &usize| format!("later:{number}");
    let mut at_new = watched.conn(new);
    let lost = (0..written).filter(|number| at_new.ok(&["EXISTS", &key(number)]).int() == 0);
    assert_eq!(lost.count(), 0, "of {written} writes");
}

fn a_silent_primary_is_left_for_the_new_one(kind: ServerKind) {
    let watched = Watched::start(kind, 2);
    let mut slotcar = before(&watched);
    slotcar.expect_log("primary");
    slotcar.expect_log("held");
    let mut conn = slotcar.conn();
    conn.ok(&["SET", "k", "v"]);
    assert_eq!(conn.ok(&["WAIT", "2", "5000"]).int(), 2);
    watched.server(0).stop();
    let start = Instant::now();
    assert_eq!(conn.ok(&["GET", "k"]).text(), "v");
    println!("the read took {:?}", start.elapsed());
    conn.ok(&["SET", "k", "new"]);
    let new = watched.wait_failover(1, 0);
    assert_eq!(watched.conn(new).ok(&["GET", "k"]).text(), "new");
    watched.server(0).cont();
    wait_until("the old primary follows the new one", LIMIT, || {
        watched.info(0, "master_link_status") == "up"
    });
    conn.ok(&["SET", "k", "newer"]);
    assert_eq!(watched.conn(new).ok(&["GET", "k"]).text(), "newer");
}

fn a_failover_by_hand_shows_no_error(kind: ServerKind) {
    let watched = Watched::start(kind, 2);
    let mut slotcar = before(&watched);
    slotcar.expect_log("held");
    let addr = slotcar.addr();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let (mut old, mut longest) = (0, Duration::ZERO);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|client| {
                let stop = &stop;
                scope.spawn(move || {
                    let (mut conn, mut count) = (Conn::open(addr), 0_i64);
                    let key = format!("count:{client}");
                    let mut longest = Duration::ZERO;
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        let start = Instant::now();
                        let reply = conn.cmd(&["INCR", &key]);
                        assert!(reply.error().is_none(), "{reply:?}");
                        longest = longest.max(start.elapsed());
                        count += 1;
                    }
                    (count, longest)
                })
            })
            .collect();
        let end = SetOnDrop(&stop);
        for _ in 0..2 {
            let mut sentinel = watched.sentinel_conn(0);
            wait_until("the Sentinels are ready for a failover", LIMIT, || {
                sentinel.cmd(&["SENTINEL", "FAILOVER", "mymaster"]).is_ok()
            });
            old = watched.wait_failover(0, old);
            wait_until("the others follow", LIMIT, || {
                let followers = (0..3).filter(|&index| index != old);
                followers
                    .into_iter()
                    .all(|index| watched.info(index, "master_link_status") == "up")
            });
        }
        drop(end);
        for client in clients {
            let (count, waited) = client.join().expect("no error");
            assert!(count > 100);
            longest = longest.max(waited);
        }
    });
    println!("two failovers by hand, the longest wait {longest:?}");
}

fn sentinels_have_credentials_of_their_own(kind: ServerKind) {
    let passwords = Passwords {
        servers: "of-the-nodes",
        sentinels: "of-the-sentinels",
    };
    let mut watched = Watched::start_with(kind, 1, Some(passwords), &[]);
    let folder = std::env::temp_dir();
    let file = |name: &str, secret: &str| {
        let path = folder.join(format!("slotcar-{}-{kind:?}-{name}", std::process::id()));
        std::fs::write(&path, secret).expect("a file of ours");
        path.display().to_string()
    };
    let (nodes, sentinels) = (
        file("nodes", passwords.servers),
        file("sentinels", passwords.sentinels),
    );
    let mut wrong =
        Slotcar::start_listening(&["--sentinel", &watched.addrs(), "--password-file", &nodes]);
    wrong.expect_log("NOAUTH");
    wait_until("a client is told", LIMIT, || {
        let reply = wrong.conn().cmd(&["GET", "k"]);
        reply.error().is_some_and(|text| text.contains("NOAUTH"))
    });
    let mut slotcar = Slotcar::start(&[
        "--sentinel",
        &watched.addrs(),
        "--password-file",
        &nodes,
        "--sentinel-password-file",
        &sentinels,
        "--failover-hold",
        HOLD,
    ]);
    slotcar.expect_log(&watched.server(0).addr().to_string());
    let mut conn = slotcar.conn();
    conn.ok(&["SET", "k", "v"]);
    assert_eq!(conn.ok(&["WAIT", "1", "5000"]).int(), 1);
    watched.server_mut(0).kill();
    assert_eq!(conn.ok(&["GET", "k"]).text(), "v");
    for path in [nodes, sentinels] {
        std::fs::remove_file(path).expect("a file of ours");
    }
}

fn a_sentinel_that_is_lost_is_replaced_by_one_that_was_learnt(kind: ServerKind) {
    let mut watched = Watched::start(kind, 2);
    let only = watched.sentinel(0).to_string();
    let mut slotcar = Slotcar::start(&["--sentinel", &only, "--failover-hold", HOLD]);
    slotcar.expect_log(&only);
    slotcar.expect_log(&watched.server(0).addr().to_string());
    let mut conn = slotcar.conn();
    conn.ok(&["SET", "k", "v"]);
    assert_eq!(conn.ok(&["WAIT", "2", "5000"]).int(), 2);
    watched.kill_sentinel(0);
    watched.server_mut(0).kill();
    assert_eq!(conn.ok(&["GET", "k"]).text(), "v");
    assert!(conn.ok(&["SET", "k", "new"]).is_ok());
    let new = watched.wait_failover(1, 0);
    assert_eq!(watched.conn(new).ok(&["GET", "k"]).text(), "new");
}

/// Sentinels that have voted for each other try again after 10 s.
const HOLD: &str = "60s";
/// As `ANSWER_LIMIT` of a connection.
const LIMIT: Duration = Duration::from_secs(75);
