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
    /// What the node has queued since MULTI; None once it has refused something.
    block: Option<Option<Vec<Vec<Vec<u8>>>>>,
    resp3: bool,
    is_garbled: bool,
    /// Nobody has answered the dial for a second.
    pub(crate) dial_is_late: bool,
    /// Written by slotcar: the beginning of a request that is not written to its end, and the step of its first byte.
    torn: Vec<u8>,
    torn_start: u64,
    /// The block that is being written: the step of its first byte and what it is part of.
    written_block: Option<(u64, Option<PartKey>)>,
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
            block: None,
            resp3: false,
            is_garbled: false,
            dial_is_late: false,
            torn: Vec::new(),
            torn_start: 0,
            written_block: None,
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
            let (start, part) = self.part_written(&words);
            if let Some(part) = part {
                ledger.sent(part, start);
            }
            self.sent.push_back(part);
            self.torn_start = ledger.step;
        }
        self.torn.drain(..at);
        self.to_node.extend_from_slice(&written);
    }

    /// What a whole request is part of, and when its first byte was written. A block is one part, and its EXEC stands for it.
    fn part_written(&mut self, words: &[Vec<u8>]) -> (u64, Option<PartKey>) {
        match (words[0].as_slice(), &mut self.written_block) {
            (b"MULTI", block) => *block = Some((self.torn_start, None)),
            (b"EXEC", block) => return block.take().expect("MULTI comes before EXEC"),
            (_, Some((_, part))) => *part = part_of(words).or(*part),
            (_, None) => return (self.torn_start, part_of(words)),
        }
        (self.torn_start, None)
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
        while let Some((words, len)) = (!self.is_garbled && !self.at_node.is_empty())
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
            if self.serve_block(&words, cluster, ledger, random) {
                continue;
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

    /// Does what belongs to MULTI … EXEC; false: this does not.
    fn serve_block(
        &mut self,
        words: &[Vec<u8>],
        cluster: &mut Cluster,
        ledger: &mut Ledger,
        random: &mut Random,
    ) -> bool {
        let simple = |text: &[u8]| Value::Simple(text.to_vec());
        let error = |text: &str| Value::Error(text.as_bytes().to_vec());
        let mut refused = false;
        let says = match (words[0].as_slice(), &mut self.block) {
            (b"MULTI", block) => {
                *block = Some(Some(Vec::new()));
                simple(b"OK")
            }
            (b"EXEC", block) => {
                let queued = block.take().expect("MULTI comes before EXEC");
                let asking = std::mem::take(&mut self.asking);
                let mut refusals = queued
                    .iter()
                    .flatten()
                    .filter_map(|words| cluster.refusal(self.node, words, asking, random));
                match (&queued, refusals.next()) {
                    (_, Some(refusal)) => {
                        refused = true;
                        error(&refusal)
                    }
                    (None, _) => {
                        refused = true;
                        error("EXECABORT Transaction discarded because of previous errors.")
                    }
                    (Some(queued), None) => {
                        drop(refusals);
                        let mut replies = Vec::new();
                        for words in queued {
                            let done = cluster.serve(self.node, words, asking, random);
                            let Done::Executed(value) = done else {
                                panic!("refused though it was not")
                            };
                            replies.push(value);
                        }
                        if let Some(part) = queued.first().and_then(|words| part_of(words)) {
                            ledger.executed(part);
                        }
                        Value::Items(b'*', replies)
                    }
                }
            }
            (_, Some(queued)) => match cluster.refusal(self.node, words, self.asking, random) {
                Some(refusal) => {
                    *queued = None;
                    error(&refusal)
                }
                None => {
                    if let Some(queued) = queued {
                        queued.push(words.to_vec());
                    }
                    simple(b"QUEUED")
                }
            },
            (_, None) => return false,
        };
        self.say(&says, Mark::Reply { refused });
        true
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

    /// The node says something that is no RESP, behind what it has said, and does nothing here any more.
    pub(crate) fn garble(&mut self) {
        let nonsense = b"@nonsense\r\n";
        self.to_slotcar.extend_from_slice(nonsense);
        self.marks.push_back((nonsense.len(), Mark::Push));
        self.is_garbled = true;
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
