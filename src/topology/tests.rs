//! Shared by the tests of this folder: topologies written as a picture; and the tests of the snapshot itself.

use super::*;

/// `"a:1 0-100 200 | b:1 101-199 + c:1"`: shards split by `|`; primary, ranges, replicas behind `+`.
/// A primary `?` is one that nobody knows. Ids are the endpoints, or what stands before `@`.
pub(super) fn picture(text: &str) -> Topology {
    Topology::new(text.split('|').map(shard).collect()).unwrap()
}

fn shard(text: &str) -> ShardSpec {
    let (main, replicas) = text.split_once('+').unwrap_or((text, ""));
    let mut words = main.split_whitespace();
    let primary = words.next().filter(|word| *word != "?").map(member);
    ShardSpec {
        primary,
        replicas: replicas.split_whitespace().map(member).collect(),
        ranges: words.map(range).collect(),
    }
}

fn member(text: &str) -> Member {
    let (id, endpoint) = text.split_once('@').unwrap_or((text, text));
    Member {
        id: id.into(),
        ..Member::at(Endpoint::parse(endpoint).unwrap())
    }
}

fn range(text: &str) -> SlotRange {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let slot = |text: &str| Slot::new(text.parse().unwrap()).unwrap();
    SlotRange::new(slot(first), slot(last)).unwrap()
}

fn slot(number: u16) -> Slot {
    Slot::new(number).unwrap()
}

#[test]
fn a_slot_is_served_by_the_primary_of_its_shard() {
    let topology = picture("a:1 0-100 200 + c:1 | b:1 101-199");
    for (number, owner) in [
        (0, Some("a:1")),
        (100, Some("a:1")),
        (101, Some("b:1")),
        (200, Some("a:1")),
        (201, None),
    ] {
        let found = topology
            .owner_node(slot(number))
            .map(|node| node.endpoint.to_string());
        assert_eq!(found.as_deref(), owner, "{number}");
    }
    assert_eq!(topology.uncovered(), SLOT_COUNT - 201);
    let primaries: Vec<String> = topology
        .primary_nodes()
        .map(|node| node.endpoint.to_string())
        .collect();
    assert_eq!(primaries, ["a:1", "b:1"]);
    assert_eq!(
        topology
            .index_of(&Endpoint::new("c", 1))
            .map(|index| topology.nodes()[index].role),
        Some(Role::Replica)
    );
}

#[test]
fn a_shard_without_a_known_primary_keeps_its_slots_but_does_not_cover_them() {
    let topology = picture("? 0-99 + c:1 | b:1 100-16383");
    assert_eq!(topology.owner(slot(0)), None);
    assert_eq!(
        topology.shard(slot(0)).map(|shard| shard.replicas.len()),
        Some(1)
    );
    assert_eq!(topology.uncovered(), 100);
    assert_eq!(topology.primaries().count(), 1);
}

#[test]
fn what_a_primary_serves_is_told_in_a_few_words() {
    let topology =
        picture("a:1 0-100 200 + c:1 | b:1 1000 1002 1004 1006 1008 1010 1012 1014 1016 1018");
    for (host, expected) in [
        ("a", "0-100,200"),
        ("b", "1000,1002,1004,1006,1008,1010,1012,1014,…"),
        ("c", ""),
        ("d", ""),
    ] {
        assert_eq!(
            topology.slots_of(&Endpoint::new(host, 1)),
            expected,
            "{host}"
        );
    }
}

#[test]
fn the_empty_topology_knows_nothing() {
    let topology = Topology::empty();
    assert_eq!(
        (
            topology.version(),
            topology.uncovered(),
            topology.is_empty()
        ),
        (0, SLOT_COUNT, true)
    );
    assert_eq!(topology.owner(slot(7)), None);
}

#[test]
fn a_slot_in_two_shards_is_an_error() {
    let specs = ["a:1 0-100", "b:1 100"].map(shard).to_vec();
    assert_eq!(Topology::new(specs).err(), Some(Overlap(slot(100))));
}

#[test]
fn views_are_the_same_in_whatever_order_they_were_told() {
    for (a, b, same) in [
        ("a:1 0-9 | b:1 10-20", "b:1 10-20 | a:1 0-9", true),
        ("a:1 0-4 5-9", "a:1 5-9 0-4", true),
        ("a:1 0-9 + b:1 c:1", "a:1 0-9 + c:1 b:1", true),
        ("a:1 0-9 + b:1", "b:1 0-9 + a:1", false),
        ("a:1 0-9", "a:1 0-9 + b:1", false),
        ("a:1 0-9", "a:1 0-8", false),
        ("x@a:1 0-9", "x@a:2 0-9", false),
        ("x@a:1 0-9", "y@a:1 0-9", false),
    ] {
        let (first, second) = (picture(a), picture(b).with_version(3));
        assert_eq!(first.same_view(&second), same, "{a} / {b}");
    }
}

#[test]
fn replicas_and_unannounced_hosts_do_not_count_in_a_vote() {
    let unannounced = |text: &str| {
        let mut topology = picture(text);
        topology
            .nodes
            .iter_mut()
            .for_each(|node| node.announced = false);
        topology
    };
    let reference = picture("x@a:1 0-9 + b:1");
    assert!(reference.same_primaries(&picture("x@a:1 0-9 + c:1")));
    assert!(reference.same_primaries(&unannounced("x@z:1 0-9")));
    assert!(!reference.same_primaries(&unannounced("x@z:2 0-9")));
    assert!(!reference.same_primaries(&picture("x@z:1 0-9")));
    assert!(!reference.same_primaries(&picture("y@a:1 0-9")));
    assert!(!reference.same_primaries(&picture("? 0-9")));
}
