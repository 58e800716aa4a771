//! Runs in which one thing goes wrong that has a name, instead of anything at any time.

use crate::trouble::Act;
use crate::world::{Event, MILLI, World};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// Anything at any time.
    Mix,
    /// A primary dies; its replica is elected.
    Killed,
    /// A primary says nothing for a while; its replica may be elected meanwhile.
    Stopped,
    ByHand,
    /// One node after another is restarted.
    Rolling,
    /// For five seconds no byte passes between slotcar and one primary, which everybody else can reach.
    Cut,
    /// One node after another is replaced by a new one at another address, primaries after a failover by hand.
    Replaced,
    /// A primary dies while slots migrate.
    Resharding,
    /// All nodes are down for longer than anything is held.
    Outage,
    /// Nodes say what is no RESP.
    Hostile,
    /// slotcar is told to stop.
    Leaving,
}

/// All that have a name, and which errors clients may see: unknown outcomes, and holds that ran out.
pub(crate) const NAMED: &[(Scenario, bool, bool)] = &[
    (Scenario::Killed, true, false),
    (Scenario::Stopped, true, false),
    (Scenario::ByHand, false, false),
    (Scenario::Rolling, true, false),
    (Scenario::Cut, false, false),
    (Scenario::Replaced, false, false),
    (Scenario::Resharding, true, false),
    (Scenario::Outage, true, true),
    (Scenario::Hostile, true, false),
    (Scenario::Leaving, false, false),
];

/// One step of a scenario.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Crash(usize),
    Pause(usize),
    /// If the node is a primary, its replica takes over by hand.
    Relieve(usize),
    /// The node goes, and comes back elsewhere.
    Move(usize),
    Cut(usize),
    Migrate,
    GoDown(usize),
    Garble,
    Leave,
}

impl World {
    /// Plans what happens, and when it is over.
    pub(crate) fn plan(&mut self, scenario: Scenario) {
        let shard = self.random.below(self.cluster.shards.len());
        let primary = self.cluster.shards[shard].primary;
        let nodes = 0..self.cluster.nodes.len();
        let steps: Vec<(u64, Step)> = match scenario {
            Scenario::Mix => return self.at(0, Event::Act(Act::Draw)),
            Scenario::Killed => vec![(200, Step::Crash(primary))],
            Scenario::Stopped => vec![(200, Step::Pause(primary))],
            Scenario::ByHand => (0..4)
                .map(|turn| (100 + 500 * turn, Step::Relieve(primary)))
                .collect(),
            Scenario::Rolling => (0..)
                .zip(nodes)
                .map(|(turn, node)| (200 + 3_500 * turn, Step::Crash(node)))
                .collect(),
            Scenario::Cut => vec![(200, Step::Cut(primary))],
            Scenario::Replaced => (0..)
                .zip(nodes)
                .flat_map(|(turn, node)| {
                    let at = 200 + 4_000 * turn;
                    [(at, Step::Relieve(node)), (at + 1_000, Step::Move(node))]
                })
                .collect(),
            Scenario::Resharding => {
                let migrate = (0..8).map(|turn| (50 + 40 * turn, Step::Migrate));
                migrate.chain([(250, Step::Crash(primary))]).collect()
            }
            Scenario::Outage => nodes.map(|node| (200, Step::GoDown(node))).collect(),
            Scenario::Hostile => (0..20)
                .map(|turn| (100 + 90 * turn, Step::Garble))
                .collect(),
            Scenario::Leaving => vec![(250, Step::Leave)],
        };
        let last = steps.iter().map(|(at, _)| *at).max().unwrap_or(0);
        self.settles_at = (last + 500) * MILLI;
        for (at, step) in steps {
            self.at(at * MILLI, Event::Act(Act::Step(step)));
        }
    }

    pub(crate) fn step(&mut self, step: Step) {
        match step {
            Step::Crash(node) => self.crash(node),
            Step::Pause(node) => self.pause(node),
            Step::Relieve(node) => {
                let shard = self.cluster.nodes[node].shard;
                if self.cluster.shards[shard].primary == node {
                    self.switch_over(shard);
                }
            }
            Step::Move(node) => {
                self.go_down(node);
                self.cluster.nodes[node].endpoint = self.cluster.new_endpoint();
                self.spread();
                self.act_in(300, 900, Act::Restart { node });
            }
            Step::Cut(node) => {
                let until = self.now + CUT_FOR;
                self.told(|| format!("node {node} is out of reach until {until}"));
                self.cluster.nodes[node].cut_until = until;
                self.act_in(900, 1300, Act::Probe { node });
            }
            Step::Migrate => self.start_migration(),
            Step::GoDown(node) => {
                self.go_down(node);
                self.act_in(100, 1300, Act::Probe { node });
                self.act_in(OUTAGE_MS, OUTAGE_MS + 1000, Act::Restart { node });
            }
            Step::Garble => self.garble_some_wire(),
            Step::Leave => {
                self.told(|| "slotcar is told to stop".to_owned());
                self.leaving = true;
                self.hub.on_stop_reading();
            }
        }
    }

    fn garble_some_wire(&mut self) {
        let open = self.open_wires();
        if open.is_empty() {
            return;
        }
        let wire = self.random.pick(&open);
        self.told(|| format!("wire {wire} brings what is no RESP"));
        self.wires[wire].garble();
        self.deliver_to_slotcar(wire);
    }
}

const CUT_FOR: u64 = 5_000 * MILLI;

/// Longer than the hold.
const OUTAGE_MS: u64 = 17_000;
