//! What a session has said since `WATCH` or `MULTI`: all of it needs one slot.

use super::Asker;
use super::cluster::{Cluster, Judged, is_of_data, refused, split, without_keys};
use super::finding::Finding;
use super::shapes::{Bundle, Named};
use crate::command::keys::{KeyList, find_keys};
use crate::command::{Connection, Local, Row};
use crate::downstream::local::database;
use crate::downstream::transaction::Transaction;
use crate::resp::request::Request;
use crate::route::plan::{OneSlot, Plan, one_slot, plan};
use crate::route::split::Splitter;
use crate::topology::{Keyspace, Slot};

/// The transaction of a session, as a cluster would see it.
#[derive(Debug, Default)]
pub(super) struct Story {
    /// Between `MULTI` and `EXEC`.
    transaction: Option<Transaction>,
    /// The slot of the first watched key, and its stored name.
    watch: Option<(Slot, Box<[u8]>)>,
    /// The key whose slot all others must have.
    pub(super) home: Option<Named>,
    /// All keys so far.
    pub(super) bundle: Bundle,
    pub(super) is_conflict: bool,
    /// The slot of its first key, if it may be split.
    first: Option<Slot>,
    /// The database that it has selected.
    pub(super) selected: Option<u32>,
}

impl Story {
    /// `MULTI`.
    pub(super) fn begin(&mut self, splits: bool) {
        let home = self.watch.clone().filter(|_| !splits);
        self.transaction = Some(Transaction::new(home));
    }

    pub(super) fn is_in_transaction(&self) -> bool {
        self.transaction.is_some()
    }

    pub(super) fn is_watching(&self) -> bool {
        self.watch.is_some()
    }

    /// `WATCH`, outside of a transaction.
    pub(super) fn watch(&mut self, stored: Request<'_>) -> Option<Finding> {
        let slots = (1..stored.len()).map(|at| Slot::of_key(stored.arg(at)));
        let first = Slot::of_key(stored.arg(1));
        let home = self.watch.as_ref().map_or(first, |(slot, _)| *slot);
        let mut others = slots.filter(|slot| *slot != home);
        if others.next().is_some() {
            return Some(Finding::CrossSlotTransaction);
        }
        self.watch.get_or_insert((first, stored.arg(1).into()));
        None
    }

    /// A request between `MULTI` and `EXEC`, as [`crate::worker`]'s hub takes it before a cluster.
    pub(super) fn queue(
        &mut self,
        cluster: &Cluster,
        asker: &Asker,
        row: &'static Row,
        stored: (Request<'_>, &mut KeyList, &mut Splitter),
    ) -> Judged {
        let (stored, keys, splitter) = stored;
        let splits = asker.splits_transactions;
        let nothing = Judged::default();
        let found = |finding| Judged {
            finding: Some(finding),
            must_share: false,
        };
        match plan(row, stored, Keyspace::Hashed, keys) {
            Plan::Slot(_) | Plan::Connection(Connection::Blocking) => {
                self.at_one_slot(cluster, asker, row, stored, keys)
            }
            Plan::CrossSlot(..) => conflict(),
            Plan::Split if splits => Judged {
                finding: split(row, stored, splitter),
                must_share: false,
            },
            Plan::Split => self.at_one_slot(cluster, asker, row, stored, keys),
            Plan::AnyPrimary => Judged {
                finding: without_keys(row, stored),
                must_share: false,
            },
            Plan::AllPrimaries if cluster.home_of(row, stored).is_some() => {
                let home = cluster.home_of(row, stored).unwrap_or(Slot::FIRST);
                self.agree(asker, home, stored.arg(1))
            }
            Plan::AllPrimaries | Plan::AllNodes if splits => Judged {
                finding: is_of_data(row).then_some(Finding::EveryNode),
                must_share: false,
            },
            Plan::AllPrimaries | Plan::AllNodes | Plan::Scan => {
                found(Finding::TransactionOverNodes)
            }
            Plan::Local(Local::Select) => {
                let judged = cluster.select(stored);
                if judged.finding.is_none() {
                    self.selected = database(stored).ok();
                }
                judged
            }
            Plan::Refused(why) => refused(why),
            Plan::Connection(Connection::HashImport) => found(Finding::NotServed),
            Plan::Local(_) | Plan::Connection(_) | Plan::BadKeys => nothing,
        }
    }

    fn at_one_slot(
        &mut self,
        cluster: &Cluster,
        asker: &Asker,
        row: &'static Row,
        stored: Request<'_>,
        keys: &mut KeyList,
    ) -> Judged {
        // Plans by a fixed key do not fill the list.
        if find_keys(row, stored, keys).is_err() {
            return Judged::default();
        }
        let slot = match one_slot(stored, Keyspace::Hashed, keys) {
            OneSlot::NoKeys => return Judged::default(),
            OneSlot::No(..) => return conflict(),
            OneSlot::Yes(slot) => slot,
        };
        let first = keys.iter().next().map_or(&b""[..], |at| stored.arg(at));
        let judged = self.agree(asker, slot, first);
        if judged.finding.is_some() {
            return judged;
        }
        let at_node = cluster.at_node(asker, row, stored, slot);
        Judged {
            finding: at_node.finding,
            must_share: judged.must_share,
        }
    }

    /// Whether the transaction may have a key in this slot: what the hub asks, of the same state.
    fn agree(&mut self, asker: &Asker, slot: Slot, key: &[u8]) -> Judged {
        let transaction = self.transaction.as_mut();
        let transaction = transaction.filter(|_| !asker.splits_transactions);
        let Some(transaction) = transaction else {
            let is_split = *self.first.get_or_insert(slot) != slot;
            return Judged {
                finding: is_split.then_some(Finding::Split),
                must_share: false,
            };
        };
        match transaction.disagrees(slot, key) {
            Some(_) => conflict(),
            None => Judged {
                finding: None,
                must_share: true,
            },
        }
    }
}

fn conflict() -> Judged {
    Judged {
        finding: Some(Finding::CrossSlotTransaction),
        must_share: true,
    }
}
