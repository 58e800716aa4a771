//! One link between slotcar and a node: bytes under way in both directions, and what they are parts of.

use std::collections::VecDeque;

use slotcar::route::part::LinkId;
use slotcar::topology::Slot;

use crate::cluster::{Cluster, Done};
use crate::ledger::{Ledger, PartKey, number_of};
use crate::random::Random;
use crate::rig::Socket;
use crate::wire::{Value, cut_request};

pub(crate) struct Wire {
    pub(crate) id: LinkId,
    pub(crate) node: usize,
    pub(crate) socket: Socket,
    pub(crate) state: WireState,
    /// Written by slotcar, not yet at the node.
    pub(crate) to_node: Vec<u8>,
    /// Written by the node, not yet at slotcar.
    pub(crate) to_slotcar: Vec<u8>,
    /// At the node, not yet executed.
    at_node: Vec<u8>,
    asking: bool,
    resp3: bool,
    /// Written by slotcar: the beginning of a request that is not written to its end, and the step of its first byte.
    torn: Vec<u8>,
    torn_start: u64,
    /// Requests that slotcar has written and has no reply to; None: no part.
    sent: VecDeque<Option<PartKey>>,
    /// Replies in `to_slotcar`: how many bytes are left of each, and what it is.
    marks: VecDeque<(usize, Mark)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum WireState {
    Dialing,
    Open,
    /// The node's end is closed; slotcar has yet to notice.
    Broken,
    Closed,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    Reply { refused: bool },
    Push,
}

impl Wire {
    pub(crate) fn new(id: LinkId, node: usize) -> Self {
        Self {
            id,
            node,
            socket: Socket::default(),
            state: WireState::Dialing,
            to_node: Vec::new(),
            to_slotcar: Vec::new(),
            at_node: Vec::new(),
            asking: false,
            resp3: false,
            torn: Vec::new(),
            torn_start: 0,
            sent: VecDeque::new(),
            marks: VecDeque::new(),
        }
    }

    /// Takes over what slotcar has written in this step.
    pub(crate) fn take_written(&mut self, ledger: &mut Ledger) {
        let written = std::mem::take(&mut self.socket.taken);
        if self.torn.is_empty() {
            self.torn_start = ledger.step;
        }
        self.torn.extend_from_slice(&written);
        let mut at = 0;
        while let Some((words, len)) = (at < self.torn.len())
            .then(|| cut_request(&self.torn[at..]))
            .flatten()
        {
            at += len;
            let part = part_of(&words);
            if let Some(part) = part {
                ledger.sent(part, self.torn_start);
            }
            self.sent.push_back(part);
            self.torn_start = ledger.step;
        }
        self.torn.drain(..at);
        self.to_node.extend_from_slice(&written);
    }

    /// `n` bytes arrive at the node.
    pub(crate) fn arrive_at_node(&mut self, n: usize) {
        self.at_node.extend(self.to_node.drain(..n));
    }

    /// The node executes what is there; true if it has said something.
    pub(crate) fn serve(
        &mut self,
        cluster: &mut Cluster,
        ledger: &mut Ledger,
        random: &mut Random,
    ) -> bool {
        let before = self.to_slotcar.len();
        while let Some((words, len)) = (!self.at_node.is_empty())
            .then(|| cut_request(&self.at_node))
            .flatten()
        {
            self.at_node.drain(..len);
            match words[0].as_slice() {
                b"ASKING" => {
                    self.asking = true;
                    self.say(
                        &Value::Simple(b"OK".to_vec()),
                        Mark::Reply { refused: false },
                    );
                    continue;
                }
                b"HELLO" => self.resp3 = true,
                _ => {}
            }
            let asking = std::mem::take(&mut self.asking);
            match cluster.serve(self.node, &words, asking, random) {
                Done::Executed(value) => {
                    if let Some(part) = part_of(&words) {
                        ledger.executed(part);
                    }
                    self.say(&value, Mark::Reply { refused: false });
                }
                Done::Refused(value) => self.say(&value, Mark::Reply { refused: true }),
            }
            if self.resp3 && random.chance(2) {
                self.say(
                    &Value::Items(b'>', vec![Value::bulk("invalidate"), Value::Null("_")]),
                    Mark::Push,
                );
            }
        }
        self.to_slotcar.len() > before
    }

    /// `n` bytes arrive at slotcar. True: the link's task is woken.
    pub(crate) fn arrive_at_slotcar(&mut self, n: usize, ledger: &mut Ledger) -> bool {
        let bytes: Vec<u8> = self.to_slotcar.drain(..n).collect();
        ledger.step += 1;
        let mut left = n;
        while let Some((rest, mark)) = self.marks.front_mut() {
            let step = left.min(*rest);
            *rest -= step;
            left -= step;
            if *rest > 0 {
                break;
            }
            if let Mark::Reply { refused } = *mark
                && let Some(part) = self
                    .sent
                    .pop_front()
                    .expect("a reply to something that was sent")
            {
                ledger.replied(part, refused);
            }
            self.marks.pop_front();
        }
        self.socket.arrive(&bytes)
    }

    /// The connection breaks: what is under way to the node is lost, and what is behind `kept` bytes to slotcar.
    pub(crate) fn lose(&mut self, kept: usize) {
        self.state = WireState::Broken;
        self.to_node.clear();
        self.at_node.clear();
        self.to_slotcar.truncate(kept);
    }

    /// slotcar knows that the link is over.
    pub(crate) fn close(&mut self, ledger: &mut Ledger) {
        self.state = WireState::Closed;
        ledger.step += 1;
        for part in self.sent.drain(..).flatten() {
            ledger.lost(part);
        }
        if !self.torn.is_empty() {
            ledger.lost_torn();
        }
    }

    fn say(&mut self, value: &Value, mark: Mark) {
        let before = self.to_slotcar.len();
        value.write(&mut self.to_slotcar);
        self.marks.push_back((self.to_slotcar.len() - before, mark));
    }
}

fn part_of(words: &[Vec<u8>]) -> Option<PartKey> {
    let number = number_of(words)?;
    Some((number, Slot::of_key(&words[1]).get()))
}
