//! What a cluster would do with one request, by the code that does it there: names by [`crate::route::naming`], places by
//! [`crate::route::plan`], parts by [`crate::route::split`]. Remembers nothing of requests.

use super::Asker;
use super::finding::Finding;
use super::shapes::Named;
use crate::command::attempt::Attempt;
use crate::command::keys::{KeyList, find_keys};
use crate::command::single::{copies_to, needs_databases, sort_patterns};
use crate::command::streams::Streams;
use crate::command::timeout::{self, Patience};
use crate::command::together::Rule;
use crate::command::{Access, Connection, Flags, Local, Merge, Refuse, Row};
use crate::downstream::local::database;
use crate::resp::request::{Arg, Request};
use crate::route::naming::Naming;
use crate::route::plan::{OneSlot, Plan, one_slot, plan};
use crate::route::split::{Cut, Splitter};
use crate::topology::{Keyspace, Slot};

/// The cluster that an app may move to.
#[derive(Clone, Debug)]
pub struct Cluster {
    pub rules: Vec<Rule>,
    /// How many it appears to have. `>= 1`
    pub databases: u32,
    naming: Option<Naming>,
}

/// A request with the names under which its keys are stored there. Kept and reused.
#[derive(Debug, Default)]
pub struct Scratch {
    bytes: Vec<u8>,
    args: Vec<Arg>,
    keys: KeyList,
    splitter: Splitter,
}

/// What is to be said of a request.
#[derive(Debug, Default)]
pub struct Judged {
    pub finding: Option<Finding>,
    /// Its keys have to be in one slot.
    pub must_share: bool,
}

impl Judged {
    fn found(finding: Finding) -> Self {
        Self {
            finding: Some(finding),
            must_share: false,
        }
    }

    fn shares(finding: Option<Finding>) -> Self {
        Self {
            finding,
            must_share: true,
        }
    }
}

impl Cluster {
    pub fn new(rules: &[Rule], databases: u32) -> Self {
        let databases = databases.max(1);
        Self {
            rules: rules.to_vec(),
            databases,
            naming: Naming::new(rules, databases),
        }
    }

    pub fn naming(&self) -> Option<&Naming> {
        self.naming.as_ref()
    }

    /// The database that a session would be in there.
    pub fn database(&self, number: u32) -> u32 {
        if number < self.databases { number } else { 0 }
    }

    /// The request as it would be sent to a node.
    pub fn stored<'a>(
        &self,
        database: u32,
        row: &Row,
        request: Request<'a>,
        scratch: &'a mut Scratch,
    ) -> (Request<'a>, &'a mut KeyList, &'a mut Splitter) {
        let Scratch {
            bytes,
            args,
            keys,
            splitter,
        } = scratch;
        bytes.clear();
        args.clear();
        let is_other = self
            .naming
            .as_ref()
            .is_some_and(|naming| naming.request(database, row, request, keys, bytes, args));
        let stored = if is_other {
            Request { bytes, args }
        } else {
            request
        };
        (stored, keys, splitter)
    }

    /// The keys of a request, as the app calls them.
    pub fn keys_of(&self, database: u32, row: &Row, request: Request<'_>) -> Vec<Named> {
        let mut keys = KeyList::new();
        let is_channel = row.keys.iter().any(|spec| spec.access == Access::NotKey);
        if is_channel || find_keys(row, request, &mut keys).is_err() {
            return Vec::new();
        }
        keys.sort();
        let key = |at: usize, database| Named {
            name: request.arg(at).into(),
            database,
            is_pattern: false,
        };
        let mut named: Vec<Named> = keys.iter().map(|at| key(at, database)).collect();
        let to = copies_to(row, request).filter(|to| *to < self.databases);
        if let (Some(to), Some(target)) = (to, named.get_mut(1)) {
            target.database = to;
        }
        let patterns = sort_patterns(row, request).into_iter();
        named.extend(
            patterns
                .filter(|found| !found.is_element)
                .map(|found| Named {
                    is_pattern: true,
                    ..key(found.at, database)
                }),
        );
        named
    }

    /// A request that is in no transaction. `stored`: as a node gets it.
    pub fn judge(
        &self,
        asker: &Asker,
        row: &'static Row,
        stored: Request<'_>,
        keys: &mut KeyList,
        splitter: &mut Splitter,
    ) -> Judged {
        let judged = match plan(row, stored, Keyspace::Hashed, keys) {
            Plan::CrossSlot(..) if Streams::of(row, stored, keys).is_some() => {
                Judged::found(Finding::Split)
            }
            Plan::CrossSlot(..) if row.answers_as_it_likes() => {
                Judged::shares(Some(Finding::CrossSlotScript))
            }
            Plan::CrossSlot(..) => Judged::shares(Some(Finding::CrossSlot)),
            Plan::Slot(slot) => self.at_node(asker, row, stored, slot),
            Plan::AnyPrimary => Judged {
                finding: without_keys(row, stored),
                must_share: false,
            },
            Plan::Split => Judged {
                finding: split(row, stored, splitter),
                must_share: false,
            },
            Plan::AllPrimaries if self.home_of(row, stored).is_some() => Judged::default(),
            Plan::AllPrimaries | Plan::AllNodes | Plan::Scan if needs_databases(row, stored) => {
                Judged::found(Finding::OtherDatabase)
            }
            Plan::AllPrimaries | Plan::AllNodes | Plan::Scan => Judged {
                finding: is_of_data(row).then_some(Finding::EveryNode),
                must_share: false,
            },
            Plan::Local(Local::Select) => self.select(stored),
            Plan::Refused(why) => refused(why),
            Plan::Connection(Connection::Blocking) => blocking(row, stored, keys),
            Plan::Connection(Connection::HashImport) => Judged::found(Finding::NotServed),
            Plan::Local(_) | Plan::Connection(_) | Plan::BadKeys => Judged::default(),
        };
        Judged {
            must_share: judged.must_share && !is_read_over_slots(row, stored, keys),
            ..judged
        }
    }

    /// `SELECT`: a cluster has those databases that are names of keys.
    pub fn select(&self, request: Request<'_>) -> Judged {
        let is_there = |number| number < self.databases;
        let is_missing = database(request).is_ok_and(|number| !is_there(number));
        Judged {
            finding: is_missing.then_some(Finding::OtherDatabase),
            must_share: false,
        }
    }

    /// The slot where all names are that a request asks for.
    pub fn home_of(&self, row: &Row, stored: Request<'_>) -> Option<Slot> {
        self.naming.as_ref()?.home_of(row, stored)
    }

    /// What the node of its slot would say.
    pub fn at_node(
        &self,
        asker: &Asker,
        row: &'static Row,
        stored: Request<'_>,
        slot: Slot,
    ) -> Judged {
        if needs_databases(row, stored) {
            return Judged::found(Finding::OtherDatabase);
        }
        let patterns = sort_patterns(row, stored);
        let is_refused = |element: bool| {
            let sorts = asker.sorts;
            let knows = if element {
                sorts.elements
            } else {
                sorts.patterns
            };
            !knows && patterns.iter().any(|found| found.is_element == element)
        };
        if is_refused(true) || is_refused(false) {
            return Judged::found(Finding::SortByPattern);
        }
        let is_elsewhere = |at: usize| Slot::of_pattern(stored.arg(at)) != Some(slot);
        let mut patterns = patterns.iter().filter(|found| !found.is_element);
        let is_over = patterns.any(|found| is_elsewhere(found.at));
        Judged::shares(is_over.then_some(Finding::SortByPattern))
    }
}

/// A script whose keys nobody is told.
pub fn without_keys(row: &Row, request: Request<'_>) -> Option<Finding> {
    let is_one = row.answers_as_it_likes() && request.arg(2) == b"0";
    is_one.then_some(Finding::ScriptWithoutKeys)
}

/// Whether a request that can be split is.
pub fn split(row: &Row, stored: Request<'_>, splitter: &mut Splitter) -> Option<Finding> {
    match splitter.split(row.shape?, stored, Keyspace::Hashed) {
        Cut::Parts => Some(Finding::Split),
        Cut::Whole(_) | Cut::Malformed => None,
    }
}

/// A command that is not passed on. What an operator denies, he denies in either case.
pub fn refused(why: Refuse) -> Judged {
    match why {
        Refuse::NodeControl
        | Refuse::Replication
        | Refuse::DataMove
        | Refuse::Modules
        | Refuse::ScriptDebug => Judged::found(Finding::NotServed),
        Refuse::Denied | Refuse::ReadsOnly | Refuse::CrossProtocol => Judged::default(),
    }
}

/// Whether a request for every node reads or changes what is stored: `INFO` and the like are as quick as before.
pub fn is_of_data(row: &Row) -> bool {
    row.flags.intersects(Flags::READ | Flags::WRITE) && row.merge != Merge::Info
}

/// As the hub does it: what cannot be tried at one key after the other needs all of them in one slot.
fn blocking(row: &'static Row, stored: Request<'_>, keys: &mut KeyList) -> Judged {
    if find_keys(row, stored, keys).is_err() {
        return Judged::default();
    }
    match one_slot(stored, Keyspace::Hashed, keys) {
        OneSlot::NoKeys => Judged::default(),
        OneSlot::Yes(_) => Judged::shares(None),
        OneSlot::No(..) if !is_read_over_slots(row, stored, keys) => {
            Judged::shares(Some(Finding::CrossSlot))
        }
        OneSlot::No(..) if is_cut_short(stored, keys) => Judged::default(),
        OneSlot::No(..) => match timeout::patience(row, stored) {
            Patience::Malformed => Judged::default(),
            Patience::Endless | Patience::For(_) => Judged::found(Finding::WaitsOverSlots),
        },
    }
}

/// BLMPOP and its like say behind the keys what to take.
fn is_cut_short(request: Request<'_>, keys: &KeyList) -> bool {
    let is_counted = keys.iter().next().is_some_and(|first| first > 2);
    let last = keys.iter().last().unwrap_or_default();
    is_counted && last + 1 >= request.len()
}

/// Whether its keys may be in several slots because it can be done at each of them.
fn is_read_over_slots(row: &Row, stored: Request<'_>, keys: &KeyList) -> bool {
    Streams::of(row, stored, keys).is_some() || Attempt::of(row, stored).is_some()
}
