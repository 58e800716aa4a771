//! What is done to the cluster in a soak: chosen by a seed, one thing at a time, and the cluster is well in between.

use std::time::{Duration, Instant};

use crate::support::{Cluster, Random, wait_until};

pub struct Mischief {
    random: Random,
    start: Instant,
    /// What is still to be done before everything is done once more.
    due: Vec<Deed>,
    pub count: usize,
    /// How many of them may have cost what asynchronous replication costs.
    pub crashes: usize,
    /// How many of them may have given slots to another node.
    pub moves: usize,
}

#[derive(Clone, Copy, Debug)]
enum Deed {
    KillPrimary,
    KillReplica,
    StopPrimary,
    HandOver,
    /// Every connection to one node ends.
    ResetLinks,
    /// All nodes are silent for a moment.
    Freeze,
    MoveSlots,
}

impl Mischief {
    /// `start` is what the times that are printed are counted from.
    pub fn new(random: Random, start: Instant) -> Mischief {
        Mischief {
            random,
            start,
            due: Vec::new(),
            count: 0,
            crashes: 0,
            moves: 0,
        }
    }

    /// Until `end`; what has begun is ended.
    pub fn go_on(&mut self, cluster: &mut Cluster, end: Instant) {
        while Instant::now() < end {
            self.sleep(500, 2500);
            let deed = self.next();
            let primaries = cluster.primaries();
            let shard = self.random.below(primaries.len());
            let from = self.start.elapsed().as_secs_f64();
            self.count += 1;
            if !matches!(deed, Deed::ResetLinks | Deed::KillReplica) {
                self.moves += 1;
            }
            self.commit(deed, cluster, &primaries, shard);
            cluster.wait_ok();
            let to = self.start.elapsed().as_secs_f64();
            println!("  {from:.3} s: {deed:?} at shard {shard}, all is well at {to:.3} s");
        }
    }

    /// In any order, but each kind as often as the others: the first minute has seen them all.
    fn next(&mut self) -> Deed {
        if self.due.is_empty() {
            self.due = DEEDS.to_vec();
            self.random.shuffle(&mut self.due);
        }
        self.due.pop().expect("there are some")
    }

    fn commit(&mut self, deed: Deed, cluster: &mut Cluster, primaries: &[usize], shard: usize) {
        let primary = primaries[shard];
        match deed {
            Deed::KillPrimary => {
                self.crashes += 1;
                cluster.kill(primary);
                self.sleep(0, 5000);
                cluster.restart(primary);
            }
            Deed::KillReplica => {
                let replica = cluster.replica_of(primary);
                cluster.kill(replica);
                self.sleep(0, 1000);
                cluster.restart(replica);
            }
            Deed::StopPrimary => {
                self.crashes += 1;
                cluster.stop(primary);
                self.sleep(100, 5000);
                cluster.cont(primary);
            }
            Deed::HandOver => {
                cluster.failover(primary);
            }
            Deed::ResetLinks => {
                for kind in ["normal", "pubsub"] {
                    let mut conn = cluster.conn(primary);
                    conn.ok(&["CLIENT", "KILL", "TYPE", kind]);
                }
            }
            Deed::Freeze => {
                self.crashes += primaries.len();
                let nodes: Vec<usize> = cluster.running().collect();
                nodes.iter().for_each(|node| cluster.stop(*node));
                self.sleep(100, 1500);
                nodes.iter().for_each(|node| cluster.cont(*node));
            }
            Deed::MoveSlots => self.move_slots(cluster, primaries, shard),
        }
    }

    /// There and back, so that shards stay what they are.
    fn move_slots(&mut self, cluster: &Cluster, primaries: &[usize], shard: usize) {
        let (from, to) = (primaries[shard], primaries[(shard + 1) % primaries.len()]);
        let mut slots = cluster.slots_of(from);
        self.random.shuffle(&mut slots);
        slots.truncate(SLOTS_MOVED);
        cluster.move_slots(from, to, &slots);
        wait_until("all know who has the slots", AGREE_LIMIT, || {
            let owners = cluster.owners();
            slots.iter().all(|slot| owners[usize::from(*slot)] == to)
        });
        cluster.wait_ok();
        cluster.move_slots(to, from, &slots);
    }

    fn sleep(&mut self, min_ms: usize, max_ms: usize) {
        let ms = min_ms + self.random.below(max_ms - min_ms);
        std::thread::sleep(Duration::from_millis(ms as u64));
    }
}

const DEEDS: &[Deed] = &[
    Deed::KillPrimary,
    Deed::KillReplica,
    Deed::StopPrimary,
    Deed::HandOver,
    Deed::ResetLinks,
    Deed::ResetLinks,
    Deed::Freeze,
    Deed::MoveSlots,
];
const SLOTS_MOVED: usize = 300;
const AGREE_LIMIT: Duration = Duration::from_secs(10);
