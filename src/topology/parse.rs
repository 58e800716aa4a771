//! Reads a `CLUSTER SLOTS` reply. Whatever a node sends: a topology or an error, never a panic.
//!
//! Source: the `CLUSTER SLOTS` page of the server documentation, of which this follows the rules for
//! endpoints: NULL and "" are the host that was asked, "?" is an unknown node.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::Arc;

use redis_protocol::resp2::types::BytesFrame;

use super::{Endpoint, Member, Overlap, SLOT_COUNT, ShardSpec, Slot, SlotRange, Topology, is_host};

/// Why a `CLUSTER SLOTS` reply could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotsError {
    /// The node answered with an error.
    Refused(String),
    /// The reply is not a list.
    NotAList,
    /// The entry with this index, counted from 0, is not what the documentation describes.
    Entry { index: usize, what: &'static str },
    /// Two entries claim the same slot.
    Overlap(Overlap),
    /// More than `NODES_MAX` nodes.
    TooManyNodes,
}

impl fmt::Display for SlotsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(text) => f.write_str(text),
            Self::NotAList => f.write_str("CLUSTER SLOTS: the reply is not a list"),
            Self::Entry { index, what } => write!(f, "CLUSTER SLOTS: entry {index}: {what}"),
            Self::Overlap(overlap) => write!(f, "CLUSTER SLOTS: {overlap}"),
            Self::TooManyNodes => write!(f, "CLUSTER SLOTS: more than {NODES_MAX} nodes"),
        }
    }
}

impl std::error::Error for SlotsError {}

/// The topology that a node describes. `asked` is where the question went.
///
/// # Errors
/// A refusal, a reply of another shape, or slots that are claimed twice.
pub fn parse_cluster_slots(reply: &BytesFrame, asked: &Endpoint) -> Result<Topology, SlotsError> {
    let entries = match reply {
        BytesFrame::Array(entries) => entries,
        BytesFrame::Error(text) => return Err(SlotsError::Refused(text.to_string())),
        BytesFrame::SimpleString(_)
        | BytesFrame::Integer(_)
        | BytesFrame::BulkString(_)
        | BytesFrame::Null => {
            return Err(SlotsError::NotAList);
        }
    };
    let mut reading = Reading {
        asked,
        specs: Vec::new(),
        by_primary: HashMap::new(),
        replicas: Vec::new(),
    };
    for (index, entry) in entries.iter().enumerate() {
        reading
            .on_entry(entry)
            .map_err(|what| SlotsError::Entry { index, what })?;
    }
    let specs = reading.into_specs()?;
    Topology::new(specs).map_err(SlotsError::Overlap)
}

struct Reading<'a> {
    asked: &'a Endpoint,
    specs: Vec<ShardSpec>,
    /// Primary's id to index into `specs`: a shard has one entry for each of its ranges.
    by_primary: HashMap<Arc<str>, usize>,
    /// Replicas and the index of their shard, placed when all primaries are known.
    replicas: Vec<(usize, Member)>,
}

impl Reading<'_> {
    fn on_entry(&mut self, entry: &BytesFrame) -> Result<(), &'static str> {
        let BytesFrame::Array(fields) = entry else {
            return Err("not a list");
        };
        let [first, last, primary, replicas @ ..] = fields.as_slice() else {
            return Err("fewer than three fields");
        };
        let range =
            SlotRange::new(slot(first)?, slot(last)?).ok_or("the range ends before it begins")?;
        let primary = self.node(primary)?;
        let shard = self.shard_of(primary);
        if let Some(spec) = self.specs.get_mut(shard) {
            spec.ranges.push(range);
        }
        for replica in replicas {
            if let Some(member) = self.node(replica)?.member {
                self.replicas.push((shard, member));
            }
        }
        Ok(())
    }

    fn shard_of(&mut self, primary: Described) -> usize {
        match self.by_primary.entry(primary.id) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                self.specs.push(ShardSpec {
                    primary: primary.member,
                    ..ShardSpec::default()
                });
                *new.insert(self.specs.len() - 1)
            }
        }
    }

    /// Gives every replica to the first shard that names it, once.
    fn into_specs(mut self) -> Result<Vec<ShardSpec>, SlotsError> {
        let mut placed = self.by_primary;
        for (shard, replica) in self.replicas {
            if let Entry::Vacant(new) = placed.entry(Arc::clone(&replica.id)) {
                new.insert(shard);
                if let Some(spec) = self.specs.get_mut(shard) {
                    spec.replicas.push(replica);
                }
            }
        }
        match placed.len() <= NODES_MAX {
            true => Ok(self.specs),
            false => Err(SlotsError::TooManyNodes),
        }
    }

    fn node(&self, frame: &BytesFrame) -> Result<Described, &'static str> {
        let BytesFrame::Array(fields) = frame else {
            return Err("a node is not a list");
        };
        let [host, port, rest @ ..] = fields.as_slice() else {
            return Err("a node has fewer than two fields");
        };
        let host = preferred_host(host, rest.get(1))?;
        let BytesFrame::Integer(port) = port else {
            return Err("a port is not a number");
        };
        let port = u16::try_from(*port).map_err(|_| "a port is out of range")?;
        let announced = matches!(host, Host::Named(_));
        let endpoint = match host {
            // A port of 0: the node does not serve this kind of connection (TLS only, or not at all).
            Host::Unknown => None,
            Host::Named(_) | Host::Asked if port == 0 => None,
            Host::Named(name) => Some(Endpoint::new(name, port)),
            Host::Asked => Some(Endpoint {
                host: Arc::clone(&self.asked.host),
                port,
            }),
        };
        let id: Arc<str> = match (rest.first(), &endpoint) {
            (Some(id), _) => text(id)
                .filter(|id| (1..=ID_BYTES_MAX).contains(&id.len()))
                .ok_or("a node id is not a text")?
                .into(),
            // Servers before 4.0 give no ids.
            (None, Some(endpoint)) => endpoint.to_string().into(),
            (None, None) => return Err("a node has neither an endpoint nor an id"),
        };
        let member = endpoint.map(|endpoint| Member {
            endpoint,
            id: Arc::clone(&id),
            announced,
        });
        Ok(Described { id, member })
    }
}

/// A node of the reply; no member if nobody knows where it is.
struct Described {
    id: Arc<str>,
    member: Option<Member>,
}

enum Host<'a> {
    Named(&'a str),
    Asked,
    Unknown,
}

fn preferred_host<'a>(
    host: &'a BytesFrame,
    metadata: Option<&'a BytesFrame>,
) -> Result<Host<'a>, &'static str> {
    if matches!(host, BytesFrame::Null) {
        return Ok(Host::Asked);
    }
    match text(host).ok_or("a host is not a text")? {
        "" => Ok(Host::Asked),
        "?" => Ok(named_in_metadata(metadata).map_or(Host::Unknown, Host::Named)),
        name if is_host(name) => Ok(Host::Named(name)),
        _ => Err("a host is no name of a host"),
    }
}

/// `?` says that the preferred kind of endpoint is not configured at that node; the other kind stands
/// in the metadata, a flat list of names and values.
fn named_in_metadata(metadata: Option<&BytesFrame>) -> Option<&str> {
    let Some(BytesFrame::Array(pairs)) = metadata else {
        return None;
    };
    let value_of = |wanted: &str| {
        pairs.chunks_exact(2).find_map(|pair| match pair {
            [name, value] if text(name) == Some(wanted) => {
                text(value).filter(|value| *value != "?" && is_host(value))
            }
            _ => None,
        })
    };
    value_of("hostname").or_else(|| value_of("ip"))
}

fn slot(frame: &BytesFrame) -> Result<Slot, &'static str> {
    let BytesFrame::Integer(number) = frame else {
        return Err("a slot is not a number");
    };
    u16::try_from(*number)
        .ok()
        .and_then(Slot::new)
        .ok_or("a slot is not in 0-16383")
}

fn text(frame: &BytesFrame) -> Option<&str> {
    match frame {
        BytesFrame::BulkString(bytes) | BytesFrame::SimpleString(bytes) => {
            std::str::from_utf8(bytes).ok()
        }
        BytesFrame::Error(_) | BytesFrame::Integer(_) | BytesFrame::Array(_) | BytesFrame::Null => {
            None
        }
    }
}

/// Nodes of one topology: one for each slot. Servers advise against more than 1,000.
const NODES_MAX: usize = SLOT_COUNT;

/// Bytes of a node's id; servers use 40.
const ID_BYTES_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use redis_protocol::bytes_utils::Str;

    use super::super::tests::picture;
    use super::*;

    fn list<const N: usize>(items: [BytesFrame; N]) -> BytesFrame {
        BytesFrame::Array(items.into())
    }

    fn bulk(text: &str) -> BytesFrame {
        BytesFrame::BulkString(text.to_owned().into_bytes().into())
    }

    fn int(number: i64) -> BytesFrame {
        BytesFrame::Integer(number)
    }

    fn node(host: BytesFrame, port: i64, id: &str) -> BytesFrame {
        list([host, int(port), bulk(id), list([])])
    }

    fn parse(reply: &BytesFrame) -> Result<Topology, SlotsError> {
        parse_cluster_slots(reply, &Endpoint::new("asked", 9))
    }

    #[track_caller]
    fn check(reply: BytesFrame, expected: &str) {
        let parsed = parse(&reply).unwrap();
        assert!(
            parsed.same_view(&picture(expected)),
            "{parsed:?} is not {expected}"
        );
    }

    #[track_caller]
    fn check_error(reply: BytesFrame, expected: &str) {
        assert_eq!(parse(&reply).unwrap_err().to_string(), expected);
    }

    #[test]
    fn a_shard_collects_its_ranges_and_replicas() {
        let a = || node(bulk("a"), 1, "x");
        check(
            list([
                list([int(0), int(99), a(), node(bulk("c"), 1, "z")]),
                list([int(100), int(199), node(bulk("::1"), 1, "y")]),
                list([int(200), int(200), a(), node(bulk("c"), 1, "z")]),
            ]),
            "x@a:1 0-99 200 + z@c:1 | y@[::1]:1 100-199",
        );
    }

    #[test]
    fn servers_without_ids_are_understood() {
        check(
            list([list([
                int(0),
                int(9),
                list([bulk("a"), int(1)]),
                list([bulk("b"), int(2)]),
            ])]),
            "a:1 0-9 + b:2",
        );
    }

    #[test]
    fn null_and_empty_hosts_are_the_host_that_was_asked() {
        for host in [BytesFrame::Null, bulk("")] {
            let reply = list([list([int(0), int(9), node(host, 1, "x")])]);
            check(reply.clone(), "x@asked:1 0-9");
            assert!(!parse(&reply).unwrap().nodes()[0].announced);
        }
    }

    #[test]
    fn an_unknown_host_loses_the_node_and_keeps_the_shard() {
        let unknown = || node(bulk("?"), 1, "x");
        check(
            list([list([int(0), int(9), unknown(), node(bulk("b"), 1, "y")])]),
            "? 0-9 + y@b:1",
        );
        check(
            list([list([int(0), int(9), node(bulk("b"), 1, "y"), unknown()])]),
            "y@b:1 0-9",
        );
        check(
            list([list([
                int(0),
                int(9),
                node(bulk("a"), 0, "x"),
                node(bulk("b"), 1, "y"),
            ])]),
            "? 0-9 + y@b:1",
        );
    }

    #[test]
    fn an_unknown_host_is_found_in_the_metadata() {
        for (metadata, expected) in [
            (list([bulk("ip"), bulk("10.0.0.1")]), "x@10.0.0.1:1 0-9"),
            (
                list([bulk("ip"), bulk("10.0.0.1"), bulk("hostname"), bulk("h")]),
                "x@h:1 0-9",
            ),
            (
                list([bulk("availability-zone"), bulk("z1"), bulk("ip")]),
                "? 0-9",
            ),
            (list([bulk("ip"), bulk("")]), "? 0-9"),
            (bulk("ip"), "? 0-9"),
        ] {
            let entry = list([bulk("?"), int(1), bulk("x"), metadata]);
            check(list([list([int(0), int(9), entry])]), expected);
        }
    }

    #[test]
    fn metadata_does_not_overrule_an_endpoint() {
        let metadata = || list([bulk("ip"), bulk("10.0.0.1"), bulk("hostname"), bulk("h")]);
        for (host, expected) in [
            (bulk("a"), "x@a:1 0-9"),
            (BytesFrame::Null, "x@asked:1 0-9"),
        ] {
            check(
                list([list([
                    int(0),
                    int(9),
                    list([host, int(1), bulk("x"), metadata()]),
                ])]),
                expected,
            );
        }
    }

    #[test]
    fn no_slots_is_an_empty_topology() {
        assert!(parse(&list([])).unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_is_said() {
        let a = || node(bulk("a"), 1, "x");
        check_error(
            BytesFrame::Error(Str::from("ERR This instance has cluster support disabled")),
            "ERR This instance has cluster support disabled",
        );
        for (reply, expected) in [
            (bulk("x"), "CLUSTER SLOTS: the reply is not a list"),
            (BytesFrame::Null, "CLUSTER SLOTS: the reply is not a list"),
            (list([int(1)]), "CLUSTER SLOTS: entry 0: not a list"),
            (
                list([list([int(0), int(1)])]),
                "CLUSTER SLOTS: entry 0: fewer than three fields",
            ),
            (
                list([list([bulk("0"), int(1), a()])]),
                "CLUSTER SLOTS: entry 0: a slot is not a number",
            ),
            (
                list([list([int(0), int(16384), a()])]),
                "CLUSTER SLOTS: entry 0: a slot is not in 0-16383",
            ),
            (
                list([list([int(-1), int(5), a()])]),
                "CLUSTER SLOTS: entry 0: a slot is not in 0-16383",
            ),
            (
                list([list([int(6), int(5), a()])]),
                "CLUSTER SLOTS: entry 0: the range ends before it begins",
            ),
            (
                list([list([int(0), int(5), int(5)])]),
                "CLUSTER SLOTS: entry 0: a node is not a list",
            ),
            (
                list([list([int(0), int(5), list([bulk("a")])])]),
                "CLUSTER SLOTS: entry 0: a node has fewer than two fields",
            ),
            (
                list([list([int(0), int(5), node(int(1), 1, "x")])]),
                "CLUSTER SLOTS: entry 0: a host is not a text",
            ),
            (
                list([list([int(0), int(5), node(bulk("a"), 65536, "x")])]),
                "CLUSTER SLOTS: entry 0: a port is out of range",
            ),
            (
                list([list([int(0), int(5), node(bulk("a"), 1, "")])]),
                "CLUSTER SLOTS: entry 0: a node id is not a text",
            ),
            (
                list([list([int(0), int(5), a()]), list([int(5), int(6), a()])]),
                "CLUSTER SLOTS: slot 5 belongs to two ranges",
            ),
        ] {
            check_error(reply, expected);
        }
    }

    fn frames() -> impl Strategy<Value = BytesFrame> {
        let leaf = prop_oneof![
            Just(BytesFrame::Null),
            (-2_i64..16_400).prop_map(int),
            "[a-c?]{0,2}".prop_map(|text| bulk(&text)),
        ];
        leaf.prop_recursive(4, 64, 5, |inner| {
            prop::collection::vec(inner, 0..5).prop_map(BytesFrame::Array)
        })
    }

    proptest! {
        #[test]
        fn no_reply_makes_it_panic(reply in frames()) {
            if let Ok(topology) = parse(&reply) {
                prop_assert!(topology.shards().iter().all(|shard| !shard.ranges.is_empty()));
            }
        }
    }
}
