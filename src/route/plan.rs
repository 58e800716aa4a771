//! Reads a request and its row and says who gets it.

use crate::command::keys::{self, KeyError, KeyList};
use crate::command::{Connection, Local, Refuse, Route, Row};
use crate::resp::request::Request;
use crate::topology::Slot;

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
pub fn plan(row: &'static Row, request: Request<'_>, keys: &mut KeyList) -> Plan {
    match row.route {
        Route::Slot => by_keys(row, request, keys),
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

fn by_keys(row: &'static Row, request: Request<'_>, keys: &mut KeyList) -> Plan {
    if let Some(index) = row.first_key() {
        return Plan::Slot(Slot::of_key(request.arg(index)));
    }
    if keys::blocks(row, request) {
        return Plan::Connection(Connection::Blocking);
    }
    match keys::find_keys(row, request, keys) {
        Ok(()) => {}
        Err(KeyError::WrongArity) => return Plan::BadKeys,
    }
    let mut indices = keys.iter();
    let Some(first) = indices.next() else {
        return Plan::AnyPrimary;
    };
    let slot = Slot::of_key(request.arg(first));
    match indices.find(|&i| Slot::of_key(request.arg(i)) != slot) {
        Some(other) => Plan::CrossSlot(first, other),
        None => Plan::Slot(slot),
    }
}
