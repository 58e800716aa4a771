//! Reads a request and its row and says who gets it.

use crate::command::keys::{self, KeyError, KeyList};
use crate::command::{Connection, Local, Merge, Refuse, Route, Row};
use crate::resp::request::Request;
use crate::topology::{Keyspace, Slot};

/// Who gets a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Plan {
    Slot(Slot),
    AnyPrimary,
    AllPrimaries,
    AllNodes,
    /// One part per slot of its keys.
    Split,
    /// The next node of a walk through the keyspace.
    Scan,
    Local(Local),
    /// Bound to a connection.
    Connection(Connection),
    Refused(Refuse),
    /// Keys of two slots in a command that one node must execute: argument indices of two of them.
    CrossSlot(usize, usize),
    /// A key without its value: too few arguments.
    BadKeys,
}

/// Plans a request whose arity has been checked.
pub fn plan(
    row: &'static Row,
    request: Request<'_>,
    keyspace: Keyspace,
    keys: &mut KeyList,
) -> Plan {
    match row.route {
        Route::AllPrimaries | Route::AllNodes | Route::Scan if asks_one(row, keyspace) => {
            Plan::AnyPrimary
        }
        Route::Slot => by_keys(row, request, keyspace, keys),
        Route::AnyPrimary => Plan::AnyPrimary,
        Route::AllPrimaries => Plan::AllPrimaries,
        Route::AllNodes => Plan::AllNodes,
        Route::Split => Plan::Split,
        Route::Scan => Plan::Scan,
        Route::Local(local) => Plan::Local(local),
        Route::Connection(connection) => Plan::Connection(connection),
        Route::Refuse(refuse) => Plan::Refused(refuse),
    }
}

/// Whether one server can be asked what is asked of every node of a cluster, and its answer is as good as it is: not INFO, which
/// is slotcar's, too, nor what must not wait behind what is going on.
fn asks_one(row: &Row, keyspace: Keyspace) -> bool {
    keyspace == Keyspace::Whole && row.merge != Merge::Info && !row.asks_beside()
}

fn by_keys(
    row: &'static Row,
    request: Request<'_>,
    keyspace: Keyspace,
    keys: &mut KeyList,
) -> Plan {
    if let Some(index) = row.first_key() {
        return Plan::Slot(keyspace.slot(request.arg(index)));
    }
    if keys::blocks(row, request) {
        return Plan::Connection(Connection::Blocking);
    }
    match keys::find_keys(row, request, keys) {
        Ok(()) => {}
        Err(KeyError::WrongArity) => return Plan::BadKeys,
    }
    match one_slot(request, keyspace, keys) {
        OneSlot::NoKeys => Plan::AnyPrimary,
        OneSlot::Yes(slot) => Plan::Slot(slot),
        OneSlot::No(first, other) => Plan::CrossSlot(first, other),
    }
}

/// Whether all keys of a request share a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OneSlot {
    NoKeys,
    Yes(Slot),
    /// The arguments of two keys in different slots.
    No(usize, usize),
}

/// `keys`: those of the request.
pub fn one_slot(request: Request<'_>, keyspace: Keyspace, keys: &KeyList) -> OneSlot {
    let mut indices = keys.iter();
    let Some(first) = indices.next() else {
        return OneSlot::NoKeys;
    };
    let slot = keyspace.slot(request.arg(first));
    match indices.find(|&at| keyspace.slot(request.arg(at)) != slot) {
        Some(other) => OneSlot::No(first, other),
        None => OneSlot::Yes(slot),
    }
}
