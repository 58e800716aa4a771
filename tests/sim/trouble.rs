//! What goes wrong in a model cluster, and in what order it goes on.

use crate::cluster::{TAGS, Trouble};
use crate::scenario::Step;
use crate::world::{Event, MILLI, World};

/// One thing that happens to the cluster.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    /// Something goes wrong; what, is drawn then.
    Draw,
    /// A step of a run whose trouble has a name.
    Step(Step),
    MoveKey {
        tag: usize,
    },
    Resume {
        node: usize,
    },
    Restart {
        node: usize,
    },
    /// The control plane looks whether a node answers.
    Probe {
        node: usize,
    },
    FailOver {
        shard: usize,
        from: usize,
    },
    /// A node hears of what has changed.
    Hear {
        node: usize,
    },
    Calm {
        node: usize,
    },
}

impl World {
    /// Lets something go wrong from time to time, until it is time to settle.
    pub(crate) fn act(&mut self, act: Act) {
        match act {
            Act::Draw => {
                self.draw();
                let next = self.now + self.random.between(5, self.pace) * MILLI;
                if next < self.settles_at {
                    self.at(next, Event::Act(Act::Draw));
                }
            }
            Act::Step(step) => self.step(step),
            Act::MoveKey { tag } => self.move_key(tag),
            Act::Resume { node } => self.resume(node),
            Act::Restart { node } => self.restart(node),
            Act::FailOver { shard, from } => self.fail_over(shard, from),
            Act::Probe { node } => self.probe(node),
            Act::Hear { node } => self.cluster.hear(node),
            Act::Calm { node } => self.cluster.nodes[node].trouble = None,
        }
    }

    fn draw(&mut self) {
        let node = self.random.below(self.cluster.nodes.len());
        let shard = self.cluster.nodes[node].shard;
        let primary = self.cluster.shards[shard].primary;
        match self.random.below(100) {
            0..35 => self.start_migration(),
            35..50 => self.break_some_wire(),
            50..60 => self.crash(primary),
            60..63 => self.crash(node),
            63..73 => self.switch_over(shard),
            73..80 => self.pause(primary),
            80..95 => {
                let trouble = self.random.pick(&[
                    Trouble::ClusterDown,
                    Trouble::Loading,
                    Trouble::ReadOnly,
                    Trouble::MasterDown,
                ]);
                let until = self.now + self.random.between(1, 600) * MILLI;
                self.told(|| format!("node {primary}: {trouble:?} until {until}"));
                self.cluster.nodes[primary].trouble = Some((trouble, until));
                self.at(until, Event::Act(Act::Calm { node: primary }));
            }
            _ => {
                // What a node believes now is published later.
                let delay = self.random.between(1, 400) * MILLI;
                self.publish_view_of_some_node(delay);
            }
        }
    }

    pub(crate) fn start_migration(&mut self) {
        let tag = self.random.below(TAGS);
        let to = self.random.below(self.cluster.shards.len());
        let slot = &self.cluster.slots[tag];
        if slot.owner == to || slot.migrating_to.is_some() || self.is_hearing() {
            return;
        }
        self.cluster.slots[tag].migrating_to = Some(to);
        self.told(|| format!("slot of tag {tag}: starts to migrate to shard {to}"));
        self.act_in(0, 30, Act::MoveKey { tag });
    }

    /// A migration needs all that know of the last one: a node that has not heard would be asked for what it lost.
    fn is_hearing(&self) -> bool {
        !self.cluster.all_agree()
    }

    fn move_key(&mut self, tag: usize) {
        let Some(to) = self.cluster.slots[tag].migrating_to else {
            return;
        };
        let from = self.cluster.slots[tag].owner;
        let works = |shard: usize| {
            let node = &self.cluster.nodes[self.cluster.shards[shard].primary];
            node.up && !node.paused
        };
        if !works(from) || !works(to) || self.cluster.move_key(tag) {
            return self.act_in(0, 20, Act::MoveKey { tag });
        }
        self.cluster.finish_migration(tag);
        self.told(|| format!("slot of tag {tag}: is at shard {to}"));
        self.spread();
    }

    /// Every node hears of the change, each in its time.
    pub(crate) fn spread(&mut self) {
        for node in 0..self.cluster.nodes.len() {
            let slow = if self.random.chance(20) { 1500 } else { 30 };
            self.act_in(0, slow, Act::Hear { node });
        }
    }

    fn break_some_wire(&mut self) {
        let open = self.open_wires();
        if open.is_empty() {
            return;
        }
        let wire = self.random.pick(&open);
        self.told(|| format!("wire {wire} breaks"));
        self.break_wire(wire);
    }

    pub(crate) fn crash(&mut self, node: usize) {
        if !self.cluster.nodes[node].up {
            return;
        }
        self.go_down(node);
        let shard = self.cluster.nodes[node].shard;
        if self.cluster.shards[shard].primary == node {
            self.act_in(20, 1500, Act::FailOver { shard, from: node });
        }
        self.act_in(100, 1300, Act::Probe { node });
        self.act_in(50, 2500, Act::Restart { node });
    }

    pub(crate) fn go_down(&mut self, node: usize) {
        self.told(|| format!("node {node} crashes"));
        self.cluster.nodes[node].up = false;
        self.cluster.nodes[node].paused = false;
        for wire in self.open_wires() {
            if self.wires[wire].node == node {
                self.break_wire(wire);
            }
        }
    }

    fn restart(&mut self, node: usize) {
        if self.random.chance(20) {
            self.cluster.nodes[node].endpoint = self.cluster.new_endpoint();
            self.spread();
        }
        let until = self.now + self.random.between(1, 300) * MILLI;
        self.told(|| format!("node {node} starts, and loads until {until}"));
        self.cluster.nodes[node].up = true;
        self.cluster.nodes[node].trouble = Some((Trouble::Loading, until));
        self.cluster.hear(node);
        self.at(until, Event::Act(Act::Calm { node }));
    }

    /// If the primary has not come back, a replica takes over.
    fn fail_over(&mut self, shard: usize, from: usize) {
        if self.cluster.is_awake(from) || self.cluster.shards[shard].primary != from {
            return;
        }
        let nodes = self.cluster.nodes.iter().enumerate();
        let replica = nodes
            .filter(|(_, node)| node.shard == shard && node.up && !node.paused)
            .map(|(i, _)| i)
            .next();
        let Some(replica) = replica else { return };
        self.told(|| format!("node {replica} takes over shard {shard}"));
        self.cluster.shards[shard].primary = replica;
        self.cluster.hear(replica);
        self.spread();
    }

    /// A failover by hand: both nodes know at once.
    pub(crate) fn switch_over(&mut self, shard: usize) {
        let old = self.cluster.shards[shard].primary;
        let works = |node: usize| self.cluster.nodes[node].up && !self.cluster.nodes[node].paused;
        let mut nodes = 0..self.cluster.nodes.len();
        let replica = nodes
            .find(|&node| self.cluster.nodes[node].shard == shard && node != old && works(node));
        let Some(replica) = replica.filter(|_| works(old)) else {
            return;
        };
        self.told(|| format!("node {replica} is made primary of shard {shard}, {old} its replica"));
        self.cluster.shards[shard].primary = replica;
        self.cluster.hear(replica);
        self.cluster.hear(old);
        self.spread();
    }

    pub(crate) fn pause(&mut self, node: usize) {
        if self.cluster.nodes[node].up && !self.cluster.nodes[node].paused {
            self.told(|| format!("node {node} stops for a while"));
            self.cluster.nodes[node].paused = true;
            let shard = self.cluster.nodes[node].shard;
            let longest = if self.random.chance(30) { 4000 } else { 700 };
            self.act_in(1, longest, Act::Resume { node });
            self.act_in(1000, 2500, Act::FailOver { shard, from: node });
            self.act_in(900, 1300, Act::Probe { node });
        }
    }

    /// The control plane has asked a node whether it is alive.
    fn probe(&mut self, node: usize) {
        let awake = self.cluster.is_awake(node) && !self.is_cut(node);
        self.note_pulse(node, awake);
        if !awake {
            self.act_in(200, 1000, Act::Probe { node });
        }
    }

    pub(crate) fn act_in(&mut self, first: u64, last: u64, act: Act) {
        let at = self.now + self.random.between(first * MILLI, last * MILLI);
        self.at(at, Event::Act(act));
    }
}
