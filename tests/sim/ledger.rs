//! What was asked, sent, refused, lost, executed and answered, and whether that fits together.
//!
//! Every request that has a key carries a number, in a key, a value or an argument; a part is that number and a slot.
//! Steps count what happens to slotcar's sockets: reading and writing in one turn are two steps.

use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) type Number = u64;

/// A part of a request: its number and its slot.
pub(crate) type PartKey = (Number, u16);

#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) step: u64,
    requests: BTreeMap<Number, Asked>,
    parts: BTreeMap<PartKey, Story>,
    /// For each client and slot the numbers in the order in which they were asked.
    order: BTreeMap<(usize, u16), Vec<Number>>,
    /// Links that were lost behind the first byte of a request and before its last; and such requests, answered.
    torn: usize,
    torn_answered: usize,
    pub(crate) unknown: usize,
    pub(crate) expired: usize,
    pub(crate) longest: Duration,
    pub(crate) redirections: usize,
    pub(crate) exempt: usize,
}

struct Asked {
    slots: Vec<u16>,
    writes: bool,
    answer: Option<Answer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Result,
    /// slotcar says that nobody knows.
    Unknown,
    /// slotcar says that it was held for too long.
    Expired,
}

#[derive(Default)]
struct Story {
    executed: Vec<u64>,
    /// When slotcar learnt that the part had been refused or lost.
    faults: Vec<u64>,
    lost: usize,
    /// From its first byte on a link to its answer or the loss of the link.
    on_wire: Vec<(u64, u64)>,
}

impl Ledger {
    pub(crate) fn asked(
        &mut self,
        client: usize,
        number: Number,
        mut slots: Vec<u16>,
        writes: bool,
    ) {
        slots.sort_unstable();
        slots.dedup();
        for &slot in &slots {
            self.order.entry((client, slot)).or_default().push(number);
            self.parts.insert((number, slot), Story::default());
        }
        self.requests.insert(
            number,
            Asked {
                slots,
                writes,
                answer: None,
            },
        );
    }

    /// A whole part has been written to a link; its first byte at `start`.
    pub(crate) fn sent(&mut self, part: PartKey, start: u64) {
        self.story(part).on_wire.push((start, u64::MAX));
    }

    pub(crate) fn executed(&mut self, part: PartKey) {
        self.step += 1;
        let step = self.step;
        self.story(part).executed.push(step);
    }

    /// The reply to a part has arrived at slotcar.
    pub(crate) fn replied(&mut self, part: PartKey, refused: bool) {
        let step = self.step;
        let story = self.story(part);
        story.leave_wire(step);
        if refused {
            story.faults.push(step);
            self.redirections += 1;
        }
    }

    /// The link of a part has been lost, as slotcar has noticed.
    pub(crate) fn lost(&mut self, part: PartKey) {
        let step = self.step;
        let story = self.story(part);
        story.leave_wire(step);
        story.faults.push(step);
        story.lost += 1;
    }

    /// A link has been lost in the middle of a request that it was sending: which, cannot be told from its bytes.
    pub(crate) fn lost_torn(&mut self) {
        self.torn += 1;
    }

    pub(crate) fn answered(&mut self, number: Number, answer: Answer) {
        let asked = self
            .requests
            .get_mut(&number)
            .expect("an answer to what was asked");
        assert_eq!(asked.answer, None, "request #{number} is answered twice");
        asked.answer = Some(answer);
        let (slots, writes) = (asked.slots.clone(), asked.writes);
        self.expired += usize::from(answer == Answer::Expired);
        if answer == Answer::Unknown {
            assert!(writes, "#{number} only reads: its outcome does not matter");
            self.unknown += 1;
            if !slots
                .iter()
                .any(|&slot| self.story((number, slot)).lost > 0)
            {
                self.torn_answered += 1;
                assert!(
                    self.torn_answered <= self.torn,
                    "#{number}: an unknown outcome of what was not lost"
                );
            }
        }
    }

    /// Whether nothing of a request has ever left slotcar.
    pub(crate) fn was_never_sent(&self, number: Number) -> bool {
        let parts = self.parts.range((number, 0)..=(number, u16::MAX));
        parts
            .map(|(_, story)| story)
            .all(|story| story.on_wire.is_empty() && story.executed.is_empty())
    }

    fn story(&mut self, part: PartKey) -> &mut Story {
        self.parts
            .get_mut(&part)
            .unwrap_or_else(|| panic!("nobody asked for #{} in slot {}", part.0, part.1))
    }

    /// Whether all that has happened is as it may be.
    pub(crate) fn check(&mut self) {
        for (number, asked) in &self.requests {
            let executions: Vec<usize> = asked
                .slots
                .iter()
                .map(|slot| self.parts[&(*number, *slot)].executed.len())
                .collect();
            if asked.writes {
                assert!(
                    executions.iter().all(|n| *n <= 1),
                    "write #{number} executed twice: {executions:?}"
                );
            }
            match asked.answer {
                Some(Answer::Result) => {
                    assert!(
                        executions.iter().all(|n| *n >= 1),
                        "#{number} answered, not executed: {executions:?}"
                    );
                }
                Some(Answer::Expired) if asked.slots.len() == 1 && asked.writes => {
                    assert_eq!(
                        executions,
                        [0],
                        "#{number} executed, but its client was told that it was not"
                    );
                }
                Some(Answer::Expired | Answer::Unknown) | None => {}
            }
        }
        let order = std::mem::take(&mut self.order);
        for ((client, slot), numbers) in &order {
            self.check_order(*client, *slot, numbers);
        }
    }

    /// Requests of one client for one slot are executed in the order in which they were asked, except: a request that
    /// was on its way to a node when slotcar learnt that an older one had been refused or lost may run before that
    /// one's next attempt.
    fn check_order(&mut self, client: usize, slot: u16, numbers: &[Number]) {
        for (at, older) in numbers.iter().enumerate() {
            let x = &self.parts[&(*older, slot)];
            let Some(last) = x.executed.last() else {
                continue;
            };
            for younger in &numbers[at + 1..] {
                let y = &self.parts[&(*younger, slot)];
                if !y.executed.iter().any(|step| step < last) {
                    continue;
                }
                let on_wire = |fault: &u64| {
                    y.on_wire
                        .iter()
                        .any(|(from, to)| from < fault && fault <= to)
                };
                let may = x.faults.iter().filter(|fault| *fault < last).any(on_wire);
                assert!(
                    may,
                    "client {client}, slot {slot}: #{younger} ran before #{older}\n\
                     #{older}: executed {:?}, faults {:?}, on the wire {:?}\n\
                     #{younger}: executed {:?}, faults {:?}, on the wire {:?}",
                    x.executed, x.faults, x.on_wire, y.executed, y.faults, y.on_wire
                );
                self.exempt += 1;
            }
        }
    }

    /// The numbers of a client that have no answer.
    pub(crate) fn len(&self) -> usize {
        self.requests.len()
    }
}

impl Story {
    fn leave_wire(&mut self, step: u64) {
        let open = self.on_wire.iter_mut().find(|(_, to)| *to == u64::MAX);
        open.expect("what leaves a wire has been on it").1 = step;
    }
}

/// The number that a request carries: behind a `#`, or as the second argument of what has no other place for it.
pub(crate) fn number_of(words: &[Vec<u8>]) -> Option<Number> {
    let text = |word: &Vec<u8>| String::from_utf8_lossy(word).into_owned();
    match text(&words[0]).as_str() {
        "INCRBY" | "GETRANGE" => text(&words[2]).parse().ok(),
        _ => words
            .iter()
            .find_map(|word| text(word).split_once('#')?.1.parse().ok()),
    }
}
