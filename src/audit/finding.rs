//! What can be said about a request: one row each.

use std::fmt;

/// What a cluster does otherwise than one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finding {
    CrossSlot,
    CrossSlotScript,
    CrossSlotTransaction,
    TransactionOverNodes,
    SortByPattern,
    OtherDatabase,
    NotServed,
    ScriptWithoutKeys,
    Split,
    WaitsOverSlots,
    EveryNode,
}

/// What a finding means to the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// It gets an error.
    Refused,
    /// That cannot be seen from here.
    Unknown,
    /// It is served, but not all of it at one moment.
    NotAtomic,
    /// It is served, and costs more.
    Slower,
}

impl Finding {
    pub const ALL: [Self; 11] = [
        Self::CrossSlot,
        Self::CrossSlotScript,
        Self::CrossSlotTransaction,
        Self::TransactionOverNodes,
        Self::SortByPattern,
        Self::OtherDatabase,
        Self::NotServed,
        Self::ScriptWithoutKeys,
        Self::Split,
        Self::WaitsOverSlots,
        Self::EveryNode,
    ];

    /// As it is called in reports and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CrossSlot => "cross_slot",
            Self::CrossSlotScript => "cross_slot_script",
            Self::CrossSlotTransaction => "cross_slot_transaction",
            Self::TransactionOverNodes => "transaction_over_nodes",
            Self::SortByPattern => "sort_by_pattern",
            Self::OtherDatabase => "other_database",
            Self::NotServed => "not_served",
            Self::ScriptWithoutKeys => "script_without_keys",
            Self::Split => "split",
            Self::WaitsOverSlots => "waits_over_slots",
            Self::EveryNode => "every_node",
        }
    }

    pub const fn effect(self) -> Effect {
        match self {
            Self::CrossSlot
            | Self::CrossSlotScript
            | Self::CrossSlotTransaction
            | Self::TransactionOverNodes
            | Self::SortByPattern
            | Self::OtherDatabase
            | Self::NotServed => Effect::Refused,
            Self::ScriptWithoutKeys => Effect::Unknown,
            Self::Split => Effect::NotAtomic,
            Self::WaitsOverSlots | Self::EveryNode => Effect::Slower,
        }
    }

    /// Whether rules that keep keys together are what helps.
    pub const fn needs_one_slot(self) -> bool {
        matches!(
            self,
            Self::CrossSlot
                | Self::CrossSlotScript
                | Self::CrossSlotTransaction
                | Self::SortByPattern
        )
    }

    /// For people.
    pub const fn about(self) -> &'static str {
        match self {
            Self::CrossSlot => "one command with keys in several slots: refused (CROSSSLOT)",
            Self::CrossSlotScript => {
                "a script or function with keys in several slots: refused (CROSSSLOT)"
            }
            Self::CrossSlotTransaction => {
                "keys of a transaction, or watched ones, in several slots: refused (CROSSSLOT), and EXEC with it"
            }
            Self::TransactionOverNodes => {
                "between MULTI and EXEC, and for every node: refused, and EXEC with it"
            }
            Self::SortByPattern => {
                "SORT with BY or GET of keys that may be anywhere: refused by the nodes"
            }
            Self::OtherDatabase => {
                "another database than 0: refused, as far as --databases does not help"
            }
            Self::NotServed => "a command that slotcar refuses, before one server as well",
            Self::ScriptWithoutKeys => {
                "a script or function that names no keys: what it uses cannot be seen; on a cluster it finds what is on one shard"
            }
            Self::Split => "done slot by slot: served, but not all at one moment",
            Self::WaitsOverSlots => "waits for keys in several slots: served, with more exchanges",
            Self::EveryNode => "asks every node: served, and costs as much on each",
        }
    }
}

impl Effect {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unknown => "unknown",
            Self::NotAtomic => "not_atomic",
            Self::Slower => "slower",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
