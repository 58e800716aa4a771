//! Slots that move, are in two places, or are nowhere, and what metrics make of them.

use std::io::{self, Write};

use crate::fake_nodes::{FakeNodes, slots_entry, well_behaved};
use crate::shown::{SECONDS, Samples, Shown};
use crate::support::conn::encode;
use crate::support::{Cluster, ServerKind, slot_of};

causes! {
    real a_slot_moves {
        "+slotcar_redirections_total kind=moved"
        "+slotcar_replays_total rule=refused"
        "+slotcar_delayed_requests_total"
        "+slotcar_topology_refreshes_total"
        "+slotcar_topology_changes_total"
        "-slotcar_topology_age_seconds"
    }
    real a_slot_is_in_two_places {
        "+slotcar_redirections_total kind=ask"
        "+slotcar_refusals_total"
        "+slotcar_replays_total rule=refused"
        "+slotcar_holds_total"
        "+slotcar_held_requests"
        "+slotcar_held_bytes"
        "+slotcar_held_requests_total"
        "+slotcar_delayed_requests_total"
        "+slotcar_longest_delay_seconds"
    }
    fake nodes_name_each_other {
        "+slotcar_redirections_total kind=moved"
        "+slotcar_refusals_total"
        "+slotcar_held_requests_total"
        "+slotcar_given_up_total reason=hold_ran_out"
    }
    fake nobody_has_some_of_the_slots {
        "-slotcar_slots state=served"
        "+slotcar_slots state=unserved"
        "-slotcar_nodes role=primary"
        "+slotcar_topology_changes_total"
        "-slotcar_ready"
    }
}

fn a_slot_moves(kind: ServerKind) -> Vec<Samples> {
    let cluster = Cluster::start(kind, 3, 0);
    let shown = Shown::before(&cluster, &[]);
    let slot = slot_of("key");
    let (from, to) = (cluster.owner_of(slot), (cluster.owner_of(slot) + 1) % 3);
    let age = "slotcar_topology_age_seconds";
    let before = shown.wait_for("all is calm", SECONDS(10), |samples| samples.sum(age) > 1.0);
    cluster.move_slots(from, to, &[slot]);
    shown.slotcar.conn().ok(&["GET", "key"]);
    let changes = "slotcar_topology_changes_total";
    let known = shown.wait_for("the move is known", SECONDS(40), |samples| {
        samples.sum(changes) > before.sum(changes)
    });
    vec![before, known]
}

fn a_slot_is_in_two_places(kind: ServerKind) -> Vec<Samples> {
    let cluster = Cluster::start(kind, 3, 0);
    let shown = Shown::before(&cluster, &[]);
    let slot = slot_of("{s}");
    let (from, to) = (cluster.owner_of(slot), (cluster.owner_of(slot) + 1) % 3);
    let mut conn = shown.slotcar.conn();
    conn.ok(&["MSET", "{s}moved", "1", "{s}stays", "2"]);
    let mover = cluster.mover(from, to);
    mover.open(&[slot]);
    mover.move_key("{s}moved");

    let before = shown.metrics();
    assert_eq!(conn.ok(&["GET", "{s}moved"]).text(), "1");
    let asked = shown.metrics();
    assert_eq!(asked.sum("slotcar_redirections_total kind=ask"), 1.0);
    assert_eq!(asked.sum("slotcar_redirections_total kind=moved"), 0.0);
    assert_eq!(asked.sum("slotcar_refusals_total"), 0.0);
    // One of its keys is here and one there: refused until both are there.
    conn.send_raw(&encode(&["MGET", "{s}moved", "{s}stays"]));
    let held = shown.wait_for("it waits", SECONDS(10), |samples| {
        samples.sum("slotcar_held_requests") > 0.0 && samples.sum("slotcar_refusals_total") > 0.0
    });
    mover.move_key("{s}stays");
    mover.close(&[slot], &mut []);
    assert_eq!(conn.recv().list()[1].text(), "2");
    vec![before, held, shown.metrics()]
}

fn nodes_name_each_other() -> Vec<Samples> {
    let nodes = FakeNodes::start(2);
    let shown = before_fakes(&nodes);
    let before = shown.metrics();
    let key = nodes.key(0, 0);
    let slot = slot_of(&key);
    for node in 0..2 {
        let says = format!("-MOVED {slot} {}\r\n", nodes.addr(1 - node));
        nodes.set(node, move |_, stream| stream.write_all(says.as_bytes()));
    }
    let reply = shown.slotcar.conn().cmd(&["SET", &key, "v"]);
    assert!(reply.error().is_some(), "{reply:?}");
    let after = shown.metrics();
    let refused = "slotcar_replays_total rule=refused";
    let followed = after.grown(&before, "slotcar_redirections_total");
    let paused = after.sum("slotcar_refusals_total");
    assert_eq!(after.sum(refused), followed + paused);
    // Nobody can be followed to there.
    let says = format!("-MOVED {slot} {}:0\r\n", nodes.addr(0).ip());
    for node in 0..2 {
        let says = says.clone();
        nodes.set(node, move |_, stream| stream.write_all(says.as_bytes()));
    }
    let reply = shown.slotcar.conn().cmd(&["SET", &key, "v"]);
    assert!(reply.error().is_some(), "{reply:?}");
    let nowhere = shown.metrics();
    assert_eq!(nowhere.grown(&after, "slotcar_redirections_total"), 0.0);
    assert!(nowhere.grown(&after, "slotcar_refusals_total") > 0.0);
    vec![before, after, nowhere]
}

fn nobody_has_some_of_the_slots() -> Vec<Samples> {
    let nodes = FakeNodes::start(3);
    let mut shown = before_fakes(&nodes);
    shown.slotcar.expect_log("slots without a primary");
    let before = shown.metrics();
    let entries = [(0, 5_460, 0), (5_461, 9_999, 1)];
    let entries = entries.map(|(first, last, node)| slots_entry(first, last, nodes.addr(node)));
    let reply = [b"*2\r\n".to_vec(), entries.concat()].concat();
    (0..3).for_each(|node| nodes.set_slots(node, reply.clone()));
    // A closed link makes slotcar ask.
    nodes.set(0, |_, _| Err(io::ErrorKind::Other.into()));
    let _ = shown.slotcar.conn().cmd(&["SET", &nodes.key(0, 0), "v"]);
    nodes.set(0, well_behaved);
    let lost = shown.wait_for("it is known", SECONDS(20), |samples| {
        samples.sum("slotcar_slots state=unserved") > 0.0 && samples.sum("slotcar_ready") == 0.0
    });
    assert_eq!(lost.sum("slotcar_slots state=unserved"), 6_384.0);
    assert_eq!(lost.sum("slotcar_slots state=served"), 10_000.0);
    assert_eq!(lost.sum("slotcar_nodes role=primary"), 2.0);
    vec![before, lost]
}

fn before_fakes(nodes: &FakeNodes) -> Shown {
    let mut shown = Shown::start(&["--cluster", &nodes.seeds(), "--failover-hold", "700ms"]);
    shown.slotcar.expect_log(&nodes.addr(0).to_string());
    shown
}
