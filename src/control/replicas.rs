//! Watches the nodes that reads may be sent to: does a replica follow its primary, how far behind is it, how far away is it, in which zone?
//!
//! One task for each node, with a connection that stays open, asks for `INFO replication` and `INFO server` every two seconds. How far behind is measured in
//! time: since when the primary has had bytes that the replica lacks. How far away, where that matters, is what a `PING` takes.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::sleep;

use super::AskFailure;
use super::facts::{field, text};
use super::random::Random;
use super::wire::{Dialer, Wire, decode, within};
use crate::clock::{Now, now};
use crate::route::readers::{Reader, Readers};
use crate::topology::{Endpoint, Topology};

/// What is wanted of replicas.
#[derive(Clone, Debug)]
pub struct ReplicaReads {
    /// It matters how far away a node is: that takes more questions.
    pub by_distance: bool,
    /// A replica that is further behind is not read from.
    pub lag_max: Duration,
    /// Zones of nodes, by host, for those that do not say theirs.
    pub zones: Arc<HashMap<String, Arc<str>>>,
}

/// What a node said, or that it said nothing.
pub(super) struct Heard {
    endpoint: Endpoint,
    said: Option<Said>,
}

struct Said {
    /// The quickest of some; without any, as long as can be.
    round_trip: Duration,
    /// It is a replica: is its link to the primary up?
    follows: Option<bool>,
    /// Bytes of the replication stream that it has.
    offset: u64,
    zone: Option<Arc<str>>,
}

/// One task for each node; none if nobody reads from replicas.
pub(super) struct Replicas {
    wanted: Option<ReplicaReads>,
    dialer: Dialer,
    sender: mpsc::Sender<Heard>,
    tasks: HashMap<Endpoint, JoinHandle<()>>,
    /// Which primary's stream a node has.
    primaries: HashMap<Endpoint, Endpoint>,
    /// What primaries had when, the newest last.
    offsets: HashMap<Endpoint, VecDeque<(u64, Now)>>,
    /// How long the last answers took.
    round_trips: HashMap<Endpoint, VecDeque<Duration>>,
    readers: Readers,
}

impl Replicas {
    pub(super) fn new(
        wanted: Option<ReplicaReads>,
        dialer: Dialer,
    ) -> (Self, mpsc::Receiver<Heard>) {
        let (sender, heard) = mpsc::channel(HEARD_MAX);
        let replicas = Self {
            wanted,
            dialer,
            sender,
            tasks: HashMap::new(),
            primaries: HashMap::new(),
            offsets: HashMap::new(),
            round_trips: HashMap::new(),
            readers: Readers::new(),
        };
        (replicas, heard)
    }

    /// Watches the nodes of this topology and nobody else.
    pub(super) fn watch(&mut self, topology: &Topology) {
        let Some(wanted) = &self.wanted else {
            return;
        };
        let pings = if wanted.by_distance { PINGS } else { 0 };
        self.primaries.clear();
        let nodes = topology.nodes();
        for shard in topology.shards() {
            let Some(primary) = shard.primary.and_then(|at| nodes.get(at)) else {
                continue;
            };
            let members = shard.replicas.iter().filter_map(|at| nodes.get(*at));
            for node in members.chain([primary]) {
                let of = primary.endpoint.clone();
                self.primaries.insert(node.endpoint.clone(), of);
            }
        }
        let mut before = std::mem::take(&mut self.tasks);
        for endpoint in self.primaries.keys() {
            let task = before.remove(endpoint).unwrap_or_else(|| {
                let dialer = self.dialer.clone();
                spawn_local(watch(endpoint.clone(), dialer, pings, self.sender.clone()))
            });
            self.tasks.insert(endpoint.clone(), task);
        }
        before.into_values().for_each(|task| task.abort());
        let primaries = &self.primaries;
        self.readers
            .retain(|endpoint, _| primaries.contains_key(endpoint));
        self.round_trips
            .retain(|endpoint, _| primaries.contains_key(endpoint));
        self.offsets
            .retain(|endpoint, _| primaries.get(endpoint) == Some(endpoint));
    }

    /// Returns whether what is known of readers has changed enough to be told.
    pub(super) fn on_heard(&mut self, Heard { endpoint, said }: Heard) -> bool {
        let (Some(wanted), Some(primary)) = (&self.wanted, self.primaries.get(&endpoint)) else {
            return false;
        };
        let Some(said) = said else {
            self.round_trips.remove(&endpoint);
            return self.readers.remove(&endpoint).is_some();
        };
        let now = now();
        let is_primary = *primary == endpoint;
        if is_primary && said.follows.is_none() {
            let offsets = self.offsets.entry(endpoint.clone()).or_default();
            offsets.push_back((said.offset, now));
            if offsets.len() > OFFSETS_MAX {
                offsets.pop_front();
            }
        }
        let lag = self
            .offsets
            .get(primary)
            .map_or(Duration::ZERO, |of| behind(of, said.offset, now));
        let is_usable = match (is_primary, said.follows) {
            (true, follows) => follows.is_none(),
            (false, follows) => follows == Some(true) && lag <= wanted.lag_max,
        };
        let mapped = || wanted.zones.get(&*endpoint.host).cloned();
        let round_trips = self.round_trips.entry(endpoint.clone()).or_default();
        round_trips.push_back(said.round_trip);
        if round_trips.len() > ROUND_TRIPS_MAX {
            round_trips.pop_front();
        }
        let round_trip = least(round_trips);
        let reader = Reader {
            is_usable,
            round_trip,
            zone: said.zone.or_else(mapped),
        };
        let is_news = self.readers.get(&endpoint).is_none_or(|told| {
            let moved = told.round_trip.abs_diff(round_trip) > told.round_trip / 4;
            (told.is_usable, &told.zone) != (reader.is_usable, &reader.zone) || moved
        });
        if is_news {
            self.readers.insert(endpoint, reader);
        }
        is_news
    }

    pub(super) fn readers(&self) -> &Readers {
        &self.readers
    }
}

/// A busy machine makes answers late, and none early: the quickest of the last ones tells the distance.
fn least(round_trips: &VecDeque<Duration>) -> Duration {
    round_trips.iter().copied().min().unwrap_or_default()
}

/// Since when a primary has had more than `offset`.
fn behind(primary: &VecDeque<(u64, Now)>, offset: u64, now: Now) -> Duration {
    let lacking = primary.iter().find(|(had, _)| *had > offset);
    lacking.map_or(Duration::ZERO, |(_, at)| now.since(*at))
}

/// Asks one node again and again. Ends when nobody listens any more.
async fn watch(endpoint: Endpoint, dialer: Dialer, pings: usize, heard: mpsc::Sender<Heard>) {
    let mut random = Random::from_system();
    let mut wire = None;
    sleep(random.between(Duration::ZERO, FIRST)).await;
    loop {
        let said = match ask(&endpoint, &dialer, pings, &mut wire).await {
            Ok(said) => Some(said),
            Err(why) => {
                tracing::debug!(node = %endpoint, error = %why, "cannot be read from");
                None
            }
        };
        let endpoint = endpoint.clone();
        if heard.send(Heard { endpoint, said }).await.is_err() {
            return;
        }
        sleep(random.around(PERIOD, JITTER_PERCENT)).await;
    }
}

async fn ask(
    endpoint: &Endpoint,
    dialer: &Dialer,
    pings: usize,
    kept: &mut Option<Wire>,
) -> Result<Said, AskFailure> {
    let mut wire = match kept.take() {
        Some(wire) => wire,
        None => {
            dialer.turn().await;
            dialer.dial(endpoint, PATIENCE).await?
        }
    };
    let questions: [&[&str]; 2] = [&["INFO", "replication"], &["INFO", "server"]];
    let replies = within(PATIENCE, wire.ask(&questions)).await?;
    let [replication, server] = replies.as_slice() else {
        return Err(AskFailure::Malformed("not as many replies as questions"));
    };
    let (replication, server) = (decode(replication)?, decode(server)?);
    let replication = text(&replication).ok_or(AskFailure::Malformed("INFO without a text"))?;
    let number = |name: &str| field(replication, name).and_then(|value| value.parse().ok());
    let is_replica = field(replication, "role") == Some("slave");
    let offset = if is_replica {
        "slave_repl_offset"
    } else {
        "master_repl_offset"
    };
    let zone = text(&server).and_then(|text| field(text, "availability_zone"));
    let mut round_trip = Duration::MAX;
    for _ in 0..pings {
        let start = now();
        within(PATIENCE, wire.ask(&[&["PING"]])).await?;
        round_trip = round_trip.min(now().since(start));
    }
    let said = Said {
        round_trip,
        follows: is_replica.then(|| field(replication, "master_link_status") == Some("up")),
        offset: number(offset).unwrap_or(0),
        zone: zone.filter(|zone| !zone.is_empty()).map(Arc::from),
    };
    *kept = Some(wire);
    Ok(said)
}

/// Between two questions at one node.
const PERIOD: Duration = Duration::from_secs(2);
const JITTER_PERCENT: u32 = 20;

/// Where distance matters. A busy machine makes most of them late, seldom all.
const PINGS: usize = 5;

/// Many processes may start together; reads go to primaries until then.
const FIRST: Duration = Duration::from_millis(300);

/// For connecting, and for an answer: who takes longer is not to be read from.
const PATIENCE: Duration = Duration::from_secs(1);

/// What primaries had during the last four minutes: who lacks more is behind in any case.
const OFFSETS_MAX: usize = 120;

/// A node that has come to be far away is known as such after 16 seconds.
const ROUND_TRIPS_MAX: usize = 8;

/// Answers that wait for the control thread.
const HEARD_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn replicas(lag_max: Duration) -> (Replicas, mpsc::Receiver<Heard>) {
        let wanted = ReplicaReads {
            by_distance: true,
            lag_max,
            zones: Arc::default(),
        };
        let dialer = Dialer::new(None, "", crate::net::Names::System, None);
        let (mut replicas, heard) = Replicas::new(Some(wanted), dialer);
        for name in ["primary", "replica"] {
            let (node, of) = (Endpoint::new(name, 1), Endpoint::new("primary", 1));
            replicas.primaries.insert(node, of);
        }
        (replicas, heard)
    }

    /// What is known of a node when it has said this.
    fn hear(replicas: &mut Replicas, name: &str, said: Said) -> Reader {
        let endpoint = Endpoint::new(name, 1);
        replicas.on_heard(Heard {
            endpoint: endpoint.clone(),
            said: Some(said),
        });
        let reader = replicas.readers().get(&endpoint);
        reader.expect("it was heard").clone()
    }

    fn said(follows: Option<bool>, offset: u64) -> Said {
        Said {
            round_trip: Duration::from_millis(1),
            follows,
            offset,
            zone: None,
        }
    }

    #[test]
    fn who_is_too_far_behind_or_follows_nobody_is_not_read_from() {
        for (lag_max, link_is_up, offset, expected) in [
            (Duration::from_secs(10), true, 50, true),
            (Duration::from_secs(10), false, 100, false),
            (Duration::ZERO, true, 50, false),
            (Duration::ZERO, true, 100, true),
        ] {
            let (mut replicas, _heard) = replicas(lag_max);
            assert!(hear(&mut replicas, "primary", said(None, 100)).is_usable);
            std::thread::sleep(Duration::from_millis(1));
            let replica = hear(&mut replicas, "replica", said(Some(link_is_up), offset));
            assert_eq!(
                replica.is_usable, expected,
                "{lag_max:?} {link_is_up} {offset}"
            );
        }
        // What was a replica and calls itself a primary now, or the other way round, is not what is asked for.
        let (mut replicas, _heard) = replicas(Duration::from_secs(10));
        assert!(!hear(&mut replicas, "replica", said(None, 0)).is_usable);
        assert!(!hear(&mut replicas, "primary", said(Some(true), 0)).is_usable);
    }

    /// One primary, and what is told of its distance after each of these answers.
    fn told(round_trips: &[u64]) -> Vec<Duration> {
        let (mut replicas, _heard) = replicas(Duration::from_secs(10));
        let mut tell = |millis: &u64| {
            let said = Said {
                round_trip: Duration::from_millis(*millis),
                ..said(None, 0)
            };
            hear(&mut replicas, "primary", said).round_trip
        };
        round_trips.iter().map(&mut tell).collect()
    }

    #[test]
    fn one_slow_answer_is_no_distance() {
        let expected = [100, 1, 1, 1, 1].map(Duration::from_millis);
        assert_eq!(told(&[100, 1, 100, 1, 100]), expected);
    }

    #[test]
    fn who_is_far_away_for_long_is_known_to_be() {
        let told = told(&[&[1][..], &[50; ROUND_TRIPS_MAX]].concat());
        assert_eq!(told.last(), Some(&Duration::from_millis(50)), "{told:?}");
    }

    #[test]
    fn small_changes_are_not_told_each_and_add_up() {
        let told = told(&[100, 90, 80, 70, 60]);
        assert_eq!(told, [100, 100, 100, 70, 70].map(Duration::from_millis));
    }

    #[test]
    fn behind_is_since_when_the_primary_has_had_more() {
        let at = |seconds| Now::at(Duration::from_secs(seconds));
        let primary = VecDeque::from([(100, at(10)), (100, at(12)), (150, at(14)), (200, at(16))]);
        for (offset, expected) in [(200, 0), (250, 0), (150, 4), (149, 6), (120, 6), (99, 10)] {
            let lag = behind(&primary, offset, at(20));
            assert_eq!(lag, Duration::from_secs(expected), "{offset}");
        }
        assert_eq!(behind(&VecDeque::new(), 5, at(20)), Duration::ZERO);
    }
}
