//! Which nodes of a shard requests are sent to that only read. Pure.
//!
//! | policy | first | if there is none |
//! |---|---|---|
//! | `primary` | the primary | |
//! | `prefer-replica` | any usable replica | the primary |
//! | `replica` | any usable replica | the primary while no replica is usable |
//! | `nearest` | the nodes that answer quickest | the primary |
//! | `az-affinity` | usable replicas of our zone, then the primary if it is there | any usable replica, then the primary |
//!
//! A replica is usable if it follows its primary and is not too far behind. Of several nodes a session keeps to one, so that what it reads does
//! not go back in time as long as that one is there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::config::ReadFrom;
use crate::topology::Endpoint;

/// What is known of a node that may be read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reader {
    /// A primary, or a replica that follows it closely enough.
    pub is_usable: bool,
    /// Of a short question: the quickest of the last ones.
    pub round_trip: Duration,
    /// Where it stands, if anybody says so.
    pub zone: Option<Arc<str>>,
}

/// By endpoint; who is missing has not been heard.
pub type Readers = BTreeMap<Endpoint, Reader>;

/// Whom a shard's reads go to, as indices into `members`; the primary is the first member. Empty: only the primary.
pub fn choose(policy: ReadFrom, zone: Option<&str>, members: &[Option<&Reader>]) -> Vec<usize> {
    let is_usable = |at: &usize| {
        let reader = members.get(*at).copied().flatten();
        reader.is_some_and(|reader| reader.is_usable)
    };
    let replicas: Vec<usize> = (1..members.len()).filter(is_usable).collect();
    match policy {
        ReadFrom::Primary => Vec::new(),
        ReadFrom::PreferReplica | ReadFrom::Replica => replicas,
        ReadFrom::Nearest => {
            let round_trip = |at: usize| members.get(at).copied().flatten().map(|r| r.round_trip);
            let all = || std::iter::once(0).chain(replicas.iter().copied());
            let Some(least) = all().filter_map(round_trip).min() else {
                return Vec::new();
            };
            // As good as: nobody notices the difference.
            let most = least + least / 4 + NEAR_ENOUGH;
            all()
                .filter(|&at| round_trip(at).is_some_and(|time| time <= most))
                .collect()
        }
        ReadFrom::ZoneAffinity => {
            let is_here = |at: &usize| {
                let theirs = members.get(*at).copied().flatten();
                zone.is_some() && theirs.and_then(|reader| reader.zone.as_deref()) == zone
            };
            let near: Vec<usize> = replicas.iter().copied().filter(is_here).collect();
            match (near.is_empty(), is_here(&0)) {
                (false, _) => near,
                (true, true) => Vec::new(),
                (true, false) => replicas,
            }
        }
    }
}

/// Less is noise.
const NEAR_ENOUGH: Duration = Duration::from_micros(200);

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(is_usable: bool, micros: u64, zone: &str) -> Reader {
        Reader {
            is_usable,
            round_trip: Duration::from_micros(micros),
            zone: (!zone.is_empty()).then(|| zone.into()),
        }
    }

    #[test]
    fn each_policy_has_its_order() {
        let shard = [
            reader(true, 1000, "a"),
            reader(true, 5000, "b"),
            reader(true, 1100, "a"),
            reader(false, 10, "b"),
        ];
        let members: Vec<Option<&Reader>> = shard.iter().map(Some).collect();
        use ReadFrom::{Nearest, PreferReplica, Primary, Replica, ZoneAffinity};
        for (policy, zone, expected) in [
            (Primary, None, &[][..]),
            (PreferReplica, None, &[1, 2]),
            (Replica, None, &[1, 2]),
            (Nearest, None, &[0, 2]),
            (ZoneAffinity, Some("a"), &[2]),
            (ZoneAffinity, Some("b"), &[1]),
            (ZoneAffinity, Some("c"), &[1, 2]),
            (ZoneAffinity, None, &[1, 2]),
        ] {
            assert_eq!(
                choose(policy, zone, &members),
                expected,
                "{policy:?} {zone:?}"
            );
        }
        let at_home = [Some(&shard[0]), Some(&shard[1])];
        assert_eq!(
            choose(ZoneAffinity, Some("a"), &at_home),
            Vec::<usize>::new(),
            "the primary is here"
        );
    }

    #[test]
    fn who_has_not_been_heard_is_not_read_from() {
        let primary = reader(true, 1, "");
        for policy in [
            ReadFrom::PreferReplica,
            ReadFrom::Nearest,
            ReadFrom::ZoneAffinity,
        ] {
            let alone = choose(policy, None, &[Some(&primary), None]);
            assert!(alone.is_empty() || *alone == [0], "{policy:?}");
            assert!(choose(policy, None, &[None, None]).is_empty(), "{policy:?}");
        }
    }
}
