//! Who has keys now: asks every primary of a side who it is and which slots it has.
//!
//! A scan that was done counts only if its process has had the same slots all the time. A primary takes a new epoch with every slot that it is
//! given, so equal words at the beginning and at the end mean that nothing has come or gone between.

use redis_protocol::resp2::types::BytesFrame;

use super::failure::{Failure, passing};
use super::job::{error, number};
use super::side::{Side, Trouble};
use crate::control::{AskFailure, Hint, NodeFacts, Wire, decode};
use crate::resp::write;
use crate::topology::{Endpoint, Keyspace, SLOT_COUNT};

/// A primary as it describes itself.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    pub(super) node: Endpoint,
    /// Of its process.
    pub(super) run_id: String,
    pub(super) slots: OwnSlots,
    pub(super) facts: NodeFacts,
    pub(super) keys: u64,
    is_in_cluster: bool,
}

/// What a node says of its slots in `CLUSTER NODES`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct OwnSlots {
    /// Its id, its epoch and its slots, as it spells them.
    pub(super) said: String,
    count: usize,
    is_primary: bool,
    /// Some are on their way to it, or from it.
    pub(super) are_moving: bool,
}

impl Standing {
    /// Whether it is older than the commands that tell when a key expires.
    pub(super) fn is_old(&self) -> bool {
        let major = self.facts.redis_version.split('.').next();
        major
            .and_then(|major| major.parse::<u32>().ok())
            .is_some_and(|major| major < 7)
    }

    pub(super) fn version(&self) -> String {
        format!("{} {}", self.facts.server, self.facts.shown_version())
    }

    /// A node of a cluster, though it should be a server of its own.
    pub(super) fn is_unfit_for(&self, keyspace: Keyspace) -> bool {
        keyspace == Keyspace::Whole && self.is_in_cluster
    }
}

/// All primaries, which have all slots between them.
///
/// # Errors
/// For too long somebody has not answered, or slots were missing.
pub(super) async fn survey(side: &Side) -> Result<Vec<Standing>, Failure> {
    let mut trouble = Trouble::default();
    loop {
        match look(side).await {
            Ok(standings) => return Ok(standings),
            Err((node, why)) => {
                trouble.what = passing(&node, why)?;
                side.hint(Hint::Refused(node));
            }
        }
        side.pause(&mut trouble).await?;
    }
}

async fn look(side: &Side) -> Result<Vec<Standing>, (Endpoint, AskFailure)> {
    let topology = side.topology();
    let mut standings = Vec::new();
    for node in topology.primary_nodes() {
        let node = &node.endpoint;
        let standing = describe(side, node).await;
        standings.push(standing.map_err(|why| (node.clone(), why))?);
    }
    let served: usize = standings.iter().map(|one| one.slots.count).sum();
    let are_primaries = standings.iter().all(|one| one.slots.is_primary);
    if let Some(first) = standings.first()
        && (served != SLOT_COUNT || !are_primaries)
    {
        return Err((first.node.clone(), AskFailure::NoSlots));
    }
    Ok(standings)
}

async fn describe(side: &Side, node: &Endpoint) -> Result<Standing, AskFailure> {
    let mut wire = None;
    let mut requests = Vec::new();
    let questions: [&[&str]; 4] = [
        &["INFO", "server"],
        &["INFO", "cluster"],
        &["DBSIZE"],
        &["CLUSTER", "NODES"],
    ];
    let asked = match side.keyspace {
        Keyspace::Hashed => 4,
        Keyspace::Whole => 3,
    };
    for question in questions.iter().take(asked) {
        write::command(&mut requests, question);
    }
    let (_, replies) = side
        .send(node, wire.take(), &requests, asked, false)
        .await?;
    let mut texts = Vec::new();
    for reply in &replies {
        if let Some(text) = error(reply) {
            return Err(AskFailure::Refused(text));
        }
        texts.push(match decode(reply)? {
            BytesFrame::BulkString(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            BytesFrame::SimpleString(_)
            | BytesFrame::Error(_)
            | BytesFrame::Integer(_)
            | BytesFrame::Array(_)
            | BytesFrame::Null => String::new(),
        });
    }
    let text = |at: usize| texts.get(at).map_or("", |text| text.as_str());
    let slots = match side.keyspace {
        Keyspace::Hashed => own_slots(text(3)),
        Keyspace::Whole => Some(OwnSlots {
            said: String::new(),
            count: SLOT_COUNT,
            is_primary: true,
            are_moving: false,
        }),
    };
    let keys = replies.get(2).and_then(|reply| number(reply)).unwrap_or(0);
    Ok(Standing {
        node: node.clone(),
        run_id: run_id(text(0)).ok_or(AskFailure::Malformed("INFO without run_id"))?,
        slots: slots.ok_or(AskFailure::Malformed(
            "CLUSTER NODES without the node itself",
        ))?,
        facts: NodeFacts::parse(text(0)).unwrap_or_default(),
        keys: keys.unsigned_abs(),
        is_in_cluster: text(1).contains("cluster_enabled:1"),
    })
}

/// Whether this process is still the one that has this id.
pub(super) async fn is_still(wire: &mut Wire, id: &str) -> Result<bool, AskFailure> {
    let replies = wire.ask(&[&["INFO", "server"]]).await?;
    let reply = replies.first().map_or(&b""[..], |reply| reply);
    if let Some(text) = error(reply) {
        return Err(AskFailure::Refused(text));
    }
    Ok(run_id(&String::from_utf8_lossy(reply)).as_deref() == Some(id))
}

fn run_id(info: &str) -> Option<String> {
    let id = info.lines().find_map(|line| line.strip_prefix("run_id:"))?;
    Some(id.trim().to_owned())
}

/// The node's own line: `ID HOST:PORT@BUS FLAGS PRIMARY PING PONG EPOCH LINK SLOTS…`.
fn own_slots(nodes: &str) -> Option<OwnSlots> {
    let is_own = |line: &&str| {
        let flags = line.split(' ').nth(2);
        flags.is_some_and(|flags| flags.split(',').any(|flag| flag == "myself"))
    };
    let words: Vec<&str> = nodes.lines().find(is_own)?.split_whitespace().collect();
    let [id, _, flags, _, _, _, epoch, _, slots @ ..] = words.as_slice() else {
        return None;
    };
    let count = |range: &&str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?);
        Some((last + 1).saturating_sub(first))
    };
    Some(OwnSlots {
        said: format!("{id} {epoch} {}", slots.join(" ")),
        count: slots.iter().filter_map(count).sum(),
        is_primary: flags.split(',').any(|flag| flag == "master"),
        are_moving: slots.iter().any(|slot| slot.starts_with('[')),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_knows_its_own_slots() {
        let nodes = "a1 127.0.0.1:1@2 master - 0 5 2 connected 10-16383\n\
            b2 127.0.0.1:3@4,host myself,master - 0 0 3 connected 0-4 7 [93-<-a1]\n";
        let slots = own_slots(nodes).unwrap();
        assert_eq!(slots.said, "b2 3 0-4 7 [93-<-a1]");
        assert_eq!(
            (slots.count, slots.is_primary, slots.are_moving),
            (6, true, true)
        );
        let nodes = "b2 127.0.0.1:3@4 myself,slave a1 0 0 3 connected\n";
        let slots = own_slots(nodes).unwrap();
        assert_eq!(
            (slots.count, slots.is_primary, slots.are_moving),
            (0, false, false)
        );
        assert_eq!(
            own_slots("a1 127.0.0.1:1@2 master - 0 5 2 connected 1\n"),
            None
        );
    }
}
