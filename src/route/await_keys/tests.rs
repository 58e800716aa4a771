//! Stories, and a model: lists at two nodes, links that take their time, clients who come and go.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::*;

const LINK: LinkId = LinkId {
    index: 1,
    generation: 1,
};

/// What is wished for now, in short: `look k`, `try 1 k`.
fn wishes(waits: &mut AwaitKeys) -> Vec<String> {
    let mut shown = Vec::new();
    while let Some(wish) = waits.next_wish() {
        let name = |key| {
            let (_, name) = waits.find(key).unwrap();
            String::from_utf8_lossy(&name).into_owned()
        };
        shown.push(match wish {
            Wish::Look(key, _) => format!("look {}", name(key)),
            Wish::Try(waiter, key) => format!("try {} {}", waiter.0, name(key)),
            Wish::Read(waiter) => format!("read {}", waiter.0),
            Wish::Refuse(waiter) => format!("refuse {}", waiter.0),
        });
    }
    shown
}

fn arrive(waits: &mut AwaitKeys, kind: Kind, names: &[&str]) -> WaiterId {
    let id = waits.next_waiter();
    waits.wait(id, kind, names.iter().map(|name| name.as_bytes()));
    id
}

/// The number of the last look at a key of lists.
fn look_of(waits: &AwaitKeys, name: &str) -> (KeyId, u64) {
    let found = waits
        .keys
        .iter()
        .find(|(_, key)| *key.name == *name.as_bytes());
    found.map(|(&id, key)| (id, key.sent)).unwrap()
}

fn seen(waits: &mut AwaitKeys, name: &str, seen: Seen) {
    let (key, number) = look_of(waits, name);
    waits.on_seen(LINK, key, number, seen);
}

#[test]
fn tries_are_made_in_the_order_of_the_list_and_of_arrival() {
    let mut waits = AwaitKeys::default();
    let first = arrive(&mut waits, Kind::List, &["a", "b"]);
    assert_eq!(
        wishes(&mut waits),
        ["look b", &format!("try {} a", first.0)]
    );
    let second = arrive(&mut waits, Kind::List, &["b", "a"]);
    assert_eq!(wishes(&mut waits), ["look b"], "b may be the first one's");
    seen(&mut waits, "b", Seen::Something(1));
    assert_eq!(
        wishes(&mut waits),
        [format!("try {} b", second.0)],
        "the first one is busy"
    );
    waits.on_tried(second, Tried::Nothing);
    waits.on_tried(first, Tried::Nothing);
    assert_eq!(wishes(&mut waits), ["look a"]);
    seen(&mut waits, "a", Seen::Nothing);
    waits.on_changed(LINK, b"b");
    assert_eq!(
        wishes(&mut waits),
        [format!("try {} b", first.0)],
        "it came first"
    );
}

#[test]
fn as_long_as_tries_find_something_more_are_made_at_once() {
    let mut waits = AwaitKeys::default();
    let ids: Vec<WaiterId> = (0..9)
        .map(|_| arrive(&mut waits, Kind::List, &["a", "b"]))
        .collect();
    let [first, second, third, fourth, ..] = ids.as_slice() else {
        panic!("nine");
    };
    let tries = |waits: &mut AwaitKeys| {
        wishes(waits)
            .iter()
            .filter(|wish| wish.starts_with("try"))
            .count()
    };
    assert_eq!(tries(&mut waits), 1);
    waits.on_tried(*first, Tried::Something);
    assert_eq!(tries(&mut waits), 2);
    waits.on_tried(*second, Tried::Something);
    assert_eq!(tries(&mut waits), 3);
    waits.on_tried(*third, Tried::Nothing);
    waits.on_tried(*fourth, Tried::Nothing);
    assert_eq!(tries(&mut waits), 0);
}

#[test]
fn what_is_of_another_type_is_for_newcomers_to_know() {
    let mut waits = AwaitKeys::default();
    let first = arrive(&mut waits, Kind::List, &["a", "b"]);
    assert!(waits.is_fresh(first));
    waits.on_tried(first, Tried::Nothing);
    seen(&mut waits, "a", Seen::Nothing);
    seen(&mut waits, "b", Seen::Nothing);
    assert!(!waits.is_fresh(first));
    wishes(&mut waits);
    waits.on_changed(LINK, b"b");
    waits.on_tried(first, Tried::Nothing);
    assert_eq!(
        wishes(&mut waits),
        [format!("try {} b", first.0), "look b".into()]
    );
    seen(&mut waits, "b", Seen::OtherType);
    assert!(wishes(&mut waits).is_empty());
    let second = arrive(&mut waits, Kind::List, &["a", "b"]);
    assert_eq!(wishes(&mut waits), ["look a", "look b"]);
    seen(&mut waits, "b", Seen::OtherType);
    assert!(wishes(&mut waits).is_empty());
    seen(&mut waits, "a", Seen::Nothing);
    assert_eq!(wishes(&mut waits), [format!("refuse {}", second.0)]);
}

#[test]
fn a_reader_reads_again_what_came_between_its_reading_and_the_look() {
    let mut waits = AwaitKeys::default();
    let reader = arrive(&mut waits, Kind::Stream, &["s", "t"]);
    let reads = format!("read {}", reader.0);
    assert_eq!(wishes(&mut waits), std::slice::from_ref(&reads));
    waits.on_read_nothing(reader);
    assert_eq!(wishes(&mut waits), ["look s", "look t"]);
    seen(&mut waits, "s", Seen::Something(1));
    seen(&mut waits, "t", Seen::Something(1));
    assert_eq!(wishes(&mut waits), std::slice::from_ref(&reads));
    waits.on_read_nothing(reader);
    assert_eq!(
        wishes(&mut waits),
        std::slice::from_ref(&reads),
        "t was seen after the reading began"
    );
    waits.on_read_nothing(reader);
    assert!(wishes(&mut waits).is_empty());
    waits.on_changed(LINK, b"s");
    assert_eq!(wishes(&mut waits), [reads]);
    waits.on_read_nothing(reader);
    assert_eq!(wishes(&mut waits), ["look s"]);
}

#[test]
fn who_leaves_leaves_nothing_behind() {
    let mut waits = AwaitKeys::default();
    let first = arrive(&mut waits, Kind::List, &["a", "b", "a"]);
    let second = arrive(&mut waits, Kind::SortedSet, &["a"]);
    assert_eq!((waits.keys(), waits.places(), waits.waiters()), (3, 3, 2));
    waits.leave(first);
    waits.leave(second);
    assert_eq!((waits.keys(), waits.places(), waits.waiters()), (0, 0, 0));
    assert!(waits.ids.is_empty() && waits.ready.is_empty());
}

/// Lists at nodes, each key at one of them; a link to each that says what changes; and tries on their way.
struct Model {
    random: u64,
    waits: AwaitKeys,
    lists: BTreeMap<&'static str, VecDeque<u32>>,
    /// Where each key is served.
    homes: BTreeMap<&'static str, u32>,
    /// The link to each node, and what it has been asked and not answered, and what it has said and nobody has read.
    links: BTreeMap<u32, Watch>,
    generation: u32,
    /// Tries that the nodes have not executed, and answers that have not arrived.
    tries: VecDeque<(WaiterId, &'static str)>,
    answers: Vec<(WaiterId, Option<u32>)>,
    waiters: BTreeMap<WaiterId, Vec<&'static str>>,
    pushed: u32,
    taken: BTreeSet<u32>,
}

#[derive(Default)]
struct Watch {
    id: u32,
    asked: VecDeque<(KeyId, u64, &'static str)>,
    said: VecDeque<Said>,
    tracked: BTreeSet<&'static str>,
}

enum Said {
    Size(KeyId, u64, usize),
    Changed(&'static str),
    All,
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

impl Model {
    fn new(seed: u64) -> Self {
        let mut model = Self {
            random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            waits: AwaitKeys::default(),
            lists: NAMES.iter().map(|&name| (name, VecDeque::new())).collect(),
            homes: NAMES
                .iter()
                .zip(0..)
                .map(|(&name, at)| (name, at % 2))
                .collect(),
            links: BTreeMap::new(),
            generation: 0,
            tries: VecDeque::new(),
            answers: Vec::new(),
            waiters: BTreeMap::new(),
            pushed: 0,
            taken: BTreeSet::new(),
        };
        (0..2).for_each(|node| model.connect(node));
        model
    }

    fn below(&mut self, n: usize) -> usize {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % n
    }

    fn node(&mut self) -> u32 {
        u32::from(self.below(2) == 1)
    }

    fn link(&self, node: u32) -> LinkId {
        LinkId {
            index: node,
            generation: self.links[&node].id,
        }
    }

    fn connect(&mut self, node: u32) {
        self.generation += 1;
        let id = self.generation;
        self.links.insert(
            node,
            Watch {
                id,
                ..Watch::default()
            },
        );
    }

    fn step(&mut self) {
        match self.below(16) {
            0..=2 => self.push(),
            3..=4 => self.arrive(),
            5 => self.depart(),
            6 if self.below(4) == 0 => self.lose_link(),
            6 if self.below(3) == 0 => self.flush(),
            7 if self.below(6) == 0 => self.move_key(),
            6..=8 => self.execute_try(),
            9..=10 => self.answer_try(),
            11..=13 => self.execute_look(),
            _ => self.read_link(),
        }
        self.obey();
    }

    fn obey(&mut self) {
        while let Some(wish) = self.waits.next_wish() {
            let named = |key| -> &'static str {
                let (_, name) = self.waits.find(key).unwrap();
                NAMES.iter().find(|n| n.as_bytes() == &*name).unwrap()
            };
            match wish {
                Wish::Look(key, number) if self.waits.is_awaited(key) => {
                    let name = named(key);
                    let node = self.homes[name];
                    let link = self.links.get_mut(&node).unwrap();
                    link.asked.push_back((key, number, name));
                }
                Wish::Look(..) => {}
                Wish::Try(waiter, key) => self.tries.push_back((waiter, named(key))),
                Wish::Read(_) | Wish::Refuse(_) => panic!("there are only lists"),
            }
        }
    }

    fn push(&mut self) {
        let name = NAMES[self.below(NAMES.len())];
        for _ in 0..=self.below(3) {
            self.pushed += 1;
            let element = self.pushed;
            self.lists.get_mut(name).unwrap().push_back(element);
        }
        self.touch(name);
    }

    fn touch(&mut self, name: &'static str) {
        let link = self.links.get_mut(&self.homes[name]).unwrap();
        if link.tracked.remove(name) {
            link.said.push_back(Said::Changed(name));
        }
    }

    fn arrive(&mut self) {
        let from = self.below(NAMES.len());
        let count = 1 + self.below(3);
        let names: Vec<&'static str> = (0..count)
            .map(|i| NAMES[(from + i) % NAMES.len()])
            .collect();
        let id = arrive(&mut self.waits, Kind::List, &names);
        self.waiters.insert(id, names);
    }

    fn depart(&mut self) {
        let count = self.waiters.len();
        if count > 0 {
            let at = self.below(count);
            let id = *self.waiters.keys().nth(at).unwrap();
            self.waiters.remove(&id);
            self.waits.leave(id);
        }
    }

    fn lose_link(&mut self) {
        let node = self.node();
        let lost = self.link(node);
        let asked = std::mem::take(&mut self.links.get_mut(&node).unwrap().asked);
        let said = std::mem::take(&mut self.links.get_mut(&node).unwrap().said);
        self.connect(node);
        self.waits.untrack(|link, _| link == lost);
        // Looks are sent again, also those whose answers were on their way.
        let unread = said.into_iter().filter_map(|said| match said {
            Said::Size(key, number, _) => Some((key, number)),
            Said::Changed(_) | Said::All => None,
        });
        let again: Vec<(KeyId, u64)> = unread
            .chain(asked.into_iter().map(|(key, number, _)| (key, number)))
            .collect();
        for (key, number) in again {
            let Some((_, name)) = self.waits.find(key) else {
                continue;
            };
            let name = *NAMES.iter().find(|n| n.as_bytes() == &*name).unwrap();
            let link = self.links.get_mut(&self.homes[name]).unwrap();
            link.asked.push_back((key, number, name));
        }
    }

    fn flush(&mut self) {
        let node = self.node();
        let mut gone = Vec::new();
        for (name, list) in &mut self.lists {
            if self.homes[name] == node {
                gone.extend(list.drain(..));
            }
        }
        self.taken.extend(gone);
        let link = self.links.get_mut(&node).unwrap();
        link.tracked.clear();
        link.said.push_back(Said::All);
    }

    /// A slot changes hands, and everybody is told. Looks at the old owner are refused and sent to the new one.
    fn move_key(&mut self) {
        let name = NAMES[self.below(NAMES.len())];
        let from = self.homes[name];
        self.homes.insert(name, 1 - from);
        let old = self.links.get_mut(&from).unwrap();
        old.tracked.remove(name);
        let (moved, stay) = old.asked.drain(..).partition(|(_, _, at)| *at == name);
        old.asked = stay;
        self.links
            .get_mut(&(1 - from))
            .unwrap()
            .asked
            .extend::<VecDeque<_>>(moved);
        self.waits
            .untrack(|link, key| key == name.as_bytes() && link.index == from);
    }

    fn execute_try(&mut self) {
        // Requests of several links overtake each other.
        let at = self.below(self.tries.len().clamp(1, 3));
        if let Some((waiter, name)) = self.tries.remove(at) {
            let element = self.lists.get_mut(name).unwrap().pop_front();
            if element.is_some() {
                self.touch(name);
            }
            self.answers.push((waiter, element));
        }
    }

    fn answer_try(&mut self) {
        if self.answers.is_empty() {
            return;
        }
        let at = self.below(self.answers.len());
        let (waiter, element) = self.answers.remove(at);
        if let Some(element) = element {
            assert!(self.taken.insert(element), "{element} was taken twice");
        }
        if self.waiters.contains_key(&waiter) {
            match element {
                Some(_) => {
                    self.waiters.remove(&waiter);
                    self.waits.on_tried(waiter, Tried::Something);
                }
                None => self.waits.on_tried(waiter, Tried::Nothing),
            }
        }
    }

    fn execute_look(&mut self) {
        let node = self.node();
        let link = self.links.get_mut(&node).unwrap();
        if let Some((key, number, name)) = link.asked.pop_front() {
            link.tracked.insert(name);
            link.said
                .push_back(Said::Size(key, number, self.lists[name].len()));
        }
    }

    fn read_link(&mut self) {
        let node = self.node();
        let id = self.link(node);
        match self.links.get_mut(&node).unwrap().said.pop_front() {
            None => {}
            Some(Said::Size(key, number, 0)) => self.waits.on_seen(id, key, number, Seen::Nothing),
            Some(Said::Size(key, number, size)) => {
                self.waits.on_seen(id, key, number, Seen::Something(size));
            }
            Some(Said::Changed(name)) => self.waits.on_changed(id, name.as_bytes()),
            Some(Said::All) => self.waits.untrack(|link, _| link == id),
        }
    }

    /// Everything that is on its way arrives.
    fn quiesce(&mut self) {
        for _ in 0..200_000 {
            let is_quiet = self.tries.is_empty()
                && self.answers.is_empty()
                && self
                    .links
                    .values()
                    .all(|link| link.asked.is_empty() && link.said.is_empty());
            if is_quiet {
                return;
            }
            self.execute_try();
            self.answer_try();
            self.execute_look();
            self.read_link();
            self.obey();
        }
        panic!("it never ends");
    }

    fn check(&self) {
        for (id, names) in &self.waiters {
            for name in names {
                assert!(
                    self.lists[name].is_empty(),
                    "{id:?} rests, and there is something at {name}"
                );
            }
        }
        let left: usize = self.lists.values().map(VecDeque::len).sum();
        assert_eq!(
            self.taken.len() + left,
            self.pushed as usize,
            "every element is somewhere"
        );
        assert_eq!(self.waits.waiters(), self.waiters.len());
    }
}

#[test]
fn nobody_rests_while_there_is_something_for_him_and_nothing_is_taken_twice() {
    for seed in 1..=150 {
        let mut model = Model::new(seed);
        for round in 0..20 {
            for _ in 0..60 {
                model.step();
            }
            model.quiesce();
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| model.check()));
            assert!(result.is_ok(), "seed {seed}, round {round}");
        }
        let ids: Vec<WaiterId> = model.waiters.keys().copied().collect();
        for id in ids {
            model.waits.leave(id);
        }
        assert_eq!(model.waits.keys(), 0, "seed {seed}");
    }
}
