//! The control thread against real clusters: learning, losing and finding primaries.
//!
//! Every server is a child of the test, lives in a directory of its own, and dies with it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test says what is wrong by panicking, and is nobody's library"
)]

#[path = "e2e_topology/servers.rs"]
mod servers;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use servers::{Cluster, Place, Ports, Server, Writer, await_that, dead_endpoint};
use slotcar::clock::now;
use slotcar::config::Secret;
use slotcar::control::{
    AskFailure, Control, ControlThread, Credentials, Hint, NodeFacts, Source, start,
};
use slotcar::net::Names;
use slotcar::topology::{Endpoint, Role, Slot, Topology};

#[test]
fn one_live_seed_among_dead_ones_is_enough_to_learn_a_redis_cluster() {
    let cluster = Cluster::start("redis-server", 3, 3, &[]);
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let silent = Endpoint::new("127.0.0.1", silent.local_addr().unwrap().port());
    let seeds = vec![
        dead_endpoint(),
        silent,
        refusing_endpoint(),
        dead_endpoint(),
        cluster.endpoint(4),
    ];
    let (control, _thread) = learn(seeds, None);
    await_covered(&control);
    let topology = control.published.topology.load();
    assert_eq!((topology.shards().len(), topology.version() > 0), (3, true));
    await_that("all six nodes are known", || {
        control.published.topology.load().nodes().len() == 6
    });
    let topology = control.published.topology.load();
    for slot in [0, 5460, 5461, 10922, 10923, 16383]
        .into_iter()
        .filter_map(Slot::new)
    {
        let owner = &topology.owner_node(slot).unwrap().endpoint;
        assert_eq!(
            cluster.server_at(owner).keys_slot_refusal(slot),
            None,
            "{slot} at {owner}"
        );
    }
    await_that("the server is known", || {
        **control.published.facts.load() != NodeFacts::default()
    });
    let facts = control.published.facts.load();
    assert!(facts.redis_version.starts_with("7.0."), "{facts:?}");
    assert_eq!(
        (facts.valkey_version.as_deref(), &*facts.server),
        (None, "redis")
    );
    // A plain server has nothing that is not known.
    assert_eq!(control.published.commands.load().learnt(), 0);
}

#[test]
fn a_valkey_cluster_is_learned_and_a_stopped_primary_is_suspected_until_it_goes_on() {
    let cluster = Cluster::start("valkey-server", 3, 0, &["--cluster-node-timeout", "60000"]);
    let (control, _thread) = learn(cluster.seeds(), None);
    await_covered(&control);
    await_that("the server is known", || {
        **control.published.facts.load() != NodeFacts::default()
    });
    let facts = control.published.facts.load();
    assert_eq!(facts.server, "valkey");
    assert!(
        facts
            .valkey_version
            .as_deref()
            .is_some_and(|version| version.starts_with("8.")),
        "{facts:?}"
    );

    let mut changes = control.changes();
    changes.mark_unchanged();
    cluster.servers[1].signal("STOP");
    let stopped = now();
    await_that("the stopped primary is suspected", || {
        control
            .published
            .suspects
            .load()
            .contains(&cluster.endpoint(1))
    });
    assert!(
        now().since(stopped) < Duration::from_secs(4),
        "{:?}",
        now().since(stopped)
    );
    assert!(changes.has_changed().unwrap());
    cluster.servers[1].signal("CONT");
    await_that("nobody is suspected", || {
        control.published.suspects.load().is_empty()
    });
    assert_eq!(control.published.topology.load().version(), 1);
}

#[test]
fn seeds_may_come_up_later() {
    let place = Place::new();
    let ports: Vec<Ports> = (0..3).map(|_| Ports::free()).collect();
    let seeds: Vec<Endpoint> = ports
        .iter()
        .map(|ports| Endpoint::new("127.0.0.1", ports.data))
        .collect();
    let (control, _thread) = learn(seeds.clone(), None);
    await_that("the status names every seed", || {
        let status = control.published.status.load();
        seeds.iter().all(|seed| {
            matches!(
                status.failures.get(seed).map(|failed| &failed.why),
                Some(AskFailure::Connect(_))
            )
        }) && control.published.trouble.load().contains("refused")
    });
    assert!(control.published.topology.load().is_empty());
    let servers = ports
        .into_iter()
        .map(|ports| Server::start("redis-server", &place, ports, &[]))
        .collect();
    let cluster = Cluster::form(place, servers, 3, None);
    await_covered(&control);
    await_that("nothing is wrong any more", || {
        control.published.trouble.load().is_empty()
            && control.published.status.load().failures.is_empty()
    });
    drop(cluster);
}

#[test]
fn a_server_without_cluster_support_is_called_that() {
    let place = Place::new();
    let plain = Server::start(
        "redis-server",
        &place,
        Ports::free(),
        &["--cluster-enabled", "no"],
    );
    let seed = plain.endpoint();
    let (control, thread) = learn(vec![seed.clone()], None);
    await_that("the status says so", || {
        why(&control, &seed) == Some(AskFailure::ClusterDisabled)
    });
    let trouble = control.published.trouble.load();
    assert!(trouble.contains("cluster support disabled"), "{trouble}");
    thread.stop();
}

#[test]
fn credentials_are_needed_and_used() {
    let secret = ["--requirepass", "sesame", "--masterauth", "sesame"];
    let cluster = Cluster::start("redis-server", 3, 0, &secret);
    let account = [
        "ACL",
        "SETUSER",
        "sidecar",
        "on",
        ">pass word",
        "+cluster",
        "+ping",
    ];
    cluster
        .servers
        .iter()
        .for_each(|server| assert_eq!(server.ask(&account), "OK"));
    let credentials = |user: Option<&str>, password: &str| {
        Some(Credentials {
            user: user.map(ToOwned::to_owned),
            password: Secret::new(password.as_bytes()),
        })
    };
    for (credentials, expected) in [
        (None, Some("refused: NOAUTH")),
        (credentials(None, "wrong"), Some("AUTH refused: WRONGPASS")),
        (
            credentials(Some("nobody"), "sesame"),
            Some("AUTH refused: WRONGPASS"),
        ),
        (credentials(None, "sesame"), None),
        (credentials(Some("default"), "sesame"), None),
        // May not ask INFO: the topology does not depend on it.
        (credentials(Some("sidecar"), "pass word"), None),
    ] {
        let (control, _thread) = learn(cluster.seeds(), credentials.clone());
        match expected {
            None => await_covered(&control),
            Some(text) => await_that(text, || {
                why(&control, &cluster.endpoint(0))
                    .is_some_and(|why| why.to_string().starts_with(text))
            }),
        }
        assert!(!format!("{credentials:?}").contains("sesame"));
    }
}

#[test]
fn a_failover_by_hand_is_learned_from_one_moved() {
    let cluster = Cluster::start("redis-server", 3, 3, &[]);
    let (control, _thread) = learn(cluster.seeds(), None);
    await_that("all six nodes are known", || {
        control.published.topology.load().nodes().len() == 6
    });
    let (old, new, slot) = shard_of_slot_0(&control.published.topology.load());
    assert_eq!(cluster.server_at(&new).ask(&["CLUSTER", "FAILOVER"]), "OK");
    await_that("the old primary redirects", || {
        cluster.server_at(&old).keys_slot_refusal(slot).is_some()
    });
    let promoted = now();
    control.hints.send(Hint::Moved {
        slot,
        to: new.clone(),
    });
    await_that("the new primary is published", || {
        owner(&control, slot).is_some_and(|owner| owner == new)
    });
    assert!(
        now().since(promoted) < Duration::from_secs(3),
        "{:?}",
        now().since(promoted)
    );
    assert_eq!(control.published.topology.load().uncovered(), 0);
}

#[test]
fn a_killed_primary_is_noticed_and_its_successor_published_without_any_hint() {
    let mut cluster = Cluster::start("redis-server", 3, 3, &[]);
    let (control, _thread) = learn(cluster.seeds(), None);
    await_that("all six nodes are known", || {
        control.published.topology.load().nodes().len() == 6
    });
    // A probe has its connection once its first interval is over; killing before that is a test as good.
    let (old, new, slot) = shard_of_slot_0(&control.published.topology.load());
    cluster.kill(&old);
    let killed = now();
    await_that("the dead primary is suspected", || {
        control.published.suspects.load().contains(&old)
    });
    let suspected = now().since(killed);
    await_that("its replica says that it is primary", || {
        cluster.server_at(&new).ask(&["ROLE"]).contains("master")
    });
    let promoted = now();
    await_that("the new primary is published", || {
        owner(&control, slot).is_some_and(|owner| owner == new)
    });
    println!(
        "suspected after {suspected:?}, promoted after {:?}, published {:?} later",
        promoted.since(killed),
        now().since(promoted)
    );
    assert!(suspected < Duration::from_secs(3), "{suspected:?}");
    assert!(
        now().since(promoted) < Duration::from_secs(3),
        "{:?}",
        now().since(promoted)
    );
    assert_eq!(control.published.topology.load().uncovered(), 0);
    await_that("nobody is suspected", || {
        control.published.suspects.load().is_empty()
    });
}

/// The cluster's own election takes what it takes; what slotcar adds to it is the time from the moment when the replica
/// takes writes to the moment when the workers are told.
#[test]
fn ten_killed_primaries_are_replaced_in_the_published_topology_within_a_moment() {
    let options = [
        "--cluster-node-timeout",
        "1000",
        "--repl-ping-replica-period",
        "1",
    ];
    let mut cluster = Cluster::start("redis-server", 3, 3, &options);
    let mut source = Source::new(cluster.seeds());
    // A replica that is back is nothing to hurry for.
    source.timings.refresh_period = Duration::from_secs(1);
    let (control, _thread) = start(source).unwrap();
    await_that("all six nodes are known", || {
        control.published.topology.load().nodes().len() == 6
    });
    let mut delays = Vec::new();
    for _ in 0..10 {
        let (old, new, slot) = shard_of_slot_0(&control.published.topology.load());
        let old_ports = cluster.server_at(&old).ports;
        let mut replica = Writer::new(cluster.server_at(&new), slot);
        let mut changes = control.changes();
        changes.mark_unchanged();
        cluster.kill(&old);
        let (mut promoted, mut published) = (None, None);
        await_that("the replica takes writes and that is known", || {
            if promoted.is_none() && replica.writes() {
                promoted = Some(now());
            }
            if published.is_none() && owner(&control, slot).is_some_and(|owner| owner == new) {
                published = Some(now());
            }
            promoted.is_some() && published.is_some()
        });
        delays.push(published.unwrap().since(promoted.unwrap()));
        cluster.revive("redis-server", &old, old_ports, &options);
        await_that("all six nodes are known", || {
            let topology = control.published.topology.load();
            topology.nodes().len() == 6 && control.published.suspects.load().is_empty()
        });
    }
    delays.sort();
    println!("published after the first write: {delays:?}");
    assert!(delays[5] <= Duration::from_millis(150), "{delays:?}");
    assert!(delays[9] <= Duration::from_millis(250), "{delays:?}");
}

#[test]
fn a_cluster_made_anew_behind_the_same_name_is_believed_once_the_old_one_is_gone() {
    let before = Cluster::start("redis-server", 3, 0, &[]);
    let after = Cluster::start("redis-server", 3, 0, &[]);
    let address = |cluster: &Cluster| (Ipv4Addr::LOCALHOST, cluster.endpoint(0).port).into();
    // What the name means now.
    let (set, means) = tokio::sync::watch::channel::<SocketAddr>(address(&before));
    let names = move |host: &str, port: u16| match host {
        "cluster.test" => vec![*means.borrow()],
        _ => vec![SocketAddr::new(host.parse().unwrap(), port)],
    };
    let mut source = Source::new(vec![Endpoint::new("cluster.test", 6379)]);
    source.names = Names::Given(Arc::new(names));
    source.timings.refresh_period = Duration::from_secs(1);
    let (control, _thread) = start(source).unwrap();
    await_covered(&control);
    set.send(address(&after)).unwrap();
    let rounds = control.published.learning(now()).rounds;
    await_that("some rounds have asked both", || {
        control.published.learning(now()).rounds > rounds + 5
    });
    let primaries = || {
        let topology = control.published.topology.load();
        let ports = topology.primary_nodes().map(|node| node.endpoint.port);
        ports.collect::<Vec<u16>>()
    };
    assert!(primaries().iter().all(|port| before.has(*port)));
    drop(before);
    let gone = now();
    await_that("the new cluster is published", || {
        primaries().iter().all(|port| after.has(*port))
    });
    println!("believed after {:?}", now().since(gone));
    assert!(now().since(gone) >= Duration::from_secs(4));
    assert_eq!(control.published.topology.load().uncovered(), 0);
    await_that("all is well", || {
        let learning = control.published.learning(now());
        learning.suspects == 0
            && learning.changes == 2
            && control.published.trouble.load().is_empty()
    });
}

#[test]
fn a_cluster_that_was_gone_is_used_again_within_seconds_and_its_return_changes_nothing() {
    let mut cluster = Cluster::start("redis-server", 3, 3, &[]);
    let (control, _thread) = learn(cluster.seeds(), None);
    await_that("all six nodes are known", || {
        control.published.topology.load().nodes().len() == 6
    });
    let ports: Vec<Ports> = cluster.servers.iter().map(|server| server.ports).collect();
    cluster.servers.clear();
    await_that("all primaries are suspected and nobody answers", || {
        control.published.learning(now()).suspects == 3
            && control.published.trouble.load().contains("no node answers")
    });
    for ports in ports {
        cluster.restart("redis-server", ports, &[]);
    }
    let back = now();
    await_that("nobody is suspected", || {
        control.published.learning(now()).suspects == 0
    });
    println!(
        "nobody is suspected {:?} after the last start",
        now().since(back)
    );
    assert!(now().since(back) < Duration::from_secs(3));
    cluster.await_calm();
    await_that("all is well", || {
        control.published.trouble.load().is_empty()
            && control.published.topology.load().uncovered() == 0
    });
}

#[test]
fn endpoints_are_understood_however_the_nodes_announce_them() {
    let cluster = Cluster::start("redis-server", 3, 0, &[]);
    let set = |name: &str, value: &str| {
        let set = |server: &Server| assert_eq!(server.ask(&["CONFIG", "SET", name, value]), "OK");
        cluster.servers.iter().for_each(set);
    };
    let seeds: Vec<Endpoint> = cluster
        .servers
        .iter()
        .map(|server| Endpoint::new("localhost", server.ports.data))
        .collect();
    let check = |preferred: &str, host: &str| {
        set("cluster-preferred-endpoint-type", preferred);
        // Host names travel with the gossip.
        await_that(&format!("{preferred} endpoints are at {host}"), || {
            let (control, _thread) = learn(seeds.clone(), None);
            await_covered(&control);
            let topology = control.published.topology.load();
            topology
                .primary_nodes()
                .all(|node| &*node.endpoint.host == host && cluster.has(node.endpoint.port))
        });
    };
    check("ip", "127.0.0.1");
    // Nodes without a host name say "?", and their address beside it.
    check("hostname", "127.0.0.1");
    // NULL: where the node was found.
    check("unknown-endpoint", "localhost");
    set("cluster-announce-hostname", "localhost");
    check("hostname", "localhost");
}

/// Somebody who answers every question with an error.
fn refusing_endpoint() -> Endpoint {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut input = [0; 1024];
                while stream.read(&mut input).is_ok_and(|n| n > 0) {
                    if stream
                        .write_all(b"-ERR no\r\n-ERR no\r\n-ERR no\r\n")
                        .is_err()
                    {
                        return;
                    }
                }
            });
        }
    });
    Endpoint::new("127.0.0.1", port)
}

fn learn(seeds: Vec<Endpoint>, credentials: Option<Credentials>) -> (Control, ControlThread) {
    let source = Source {
        credentials,
        ..Source::new(seeds)
    };
    start(source).unwrap()
}

fn await_covered(control: &Control) {
    await_that("every slot has a primary", || {
        control.published.topology.load().uncovered() == 0
    });
}

fn owner(control: &Control, slot: Slot) -> Option<Endpoint> {
    control
        .published
        .topology
        .load()
        .owner_node(slot)
        .map(|node| node.endpoint.clone())
}

fn why(control: &Control, node: &Endpoint) -> Option<AskFailure> {
    control
        .published
        .status
        .load()
        .failures
        .get(node)
        .map(|failed| failed.why.clone())
}

/// The primary and the replica of slot 0.
fn shard_of_slot_0(topology: &Topology) -> (Endpoint, Endpoint, Slot) {
    let slot = Slot::new(0).unwrap();
    let shard = topology.shard(slot).unwrap();
    let node = |index: usize| &topology.nodes()[index];
    let (primary, replica) = (node(shard.primary.unwrap()), node(shard.replicas[0]));
    assert_eq!((primary.role, replica.role), (Role::Primary, Role::Replica));
    (primary.endpoint.clone(), replica.endpoint.clone(), slot)
}
