//! Kinds of commands, coarse enough for metrics and alerts.

use super::{Connection, Flags, Route, Row, Script};

/// What kind of command it is, for whoever counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Class {
    Read,
    Write,
    /// Scripts and functions.
    Script,
    /// `MULTI`, `EXEC`, `WATCH`, …; what is between counts for itself.
    Transaction,
    /// What may wait for something.
    Blocking,
    Pubsub,
    /// About the client's own connection, and what slotcar answers itself.
    Connection,
    /// About servers: `INFO`, `CONFIG`, …; and what is no command.
    #[default]
    Server,
}

impl Class {
    pub const ALL: [Self; 8] = [
        Self::Read,
        Self::Write,
        Self::Script,
        Self::Transaction,
        Self::Blocking,
        Self::Pubsub,
        Self::Connection,
        Self::Server,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Script => "script",
            Self::Transaction => "transaction",
            Self::Blocking => "blocking",
            Self::Pubsub => "pubsub",
            Self::Connection => "connection",
            Self::Server => "server",
        }
    }
}

impl Row {
    /// Its class, if [`Row::is_plain`].
    #[inline]
    pub const fn plain_class(&self) -> Class {
        if self.flags.contains(Flags::WRITE) {
            Class::Write
        } else {
            Class::Read
        }
    }

    pub fn class(&self) -> Class {
        if self.script != Script::None || self.answers_as_it_likes() {
            return Class::Script;
        }
        if self.flags.intersects(Flags::PUBSUB) {
            return Class::Pubsub;
        }
        match self.route {
            Route::Connection(connection) => match connection {
                Connection::Multi
                | Connection::Exec
                | Connection::Discard
                | Connection::Watch
                | Connection::Unwatch => Class::Transaction,
                Connection::Blocking | Connection::Wait => Class::Blocking,
                Connection::Subscribe(_) | Connection::Unsubscribe(_) => Class::Pubsub,
                Connection::Monitor | Connection::Tracking | Connection::HashImport => {
                    Class::Connection
                }
            },
            Route::Local(_) => Class::Connection,
            Route::Refuse(_) => Class::Server,
            Route::Slot
            | Route::AnyPrimary
            | Route::AllPrimaries
            | Route::AllNodes
            | Route::Split
            | Route::Scan => {
                if self.flags.intersects(Flags::WRITE | Flags::READ) {
                    self.plain_class()
                } else {
                    Class::Server
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::lookup::CommandTable;

    #[test]
    fn commands_are_of_the_class_that_one_would_look_for_them_in() {
        let table = CommandTable::new();
        for (name, class) in [
            ("get", Class::Read),
            ("mget", Class::Read),
            ("scan", Class::Read),
            ("set", Class::Write),
            ("del", Class::Write),
            ("getdel", Class::Write),
            ("flushall", Class::Write),
            ("eval", Class::Script),
            ("evalsha_ro", Class::Script),
            ("fcall", Class::Script),
            ("exec", Class::Transaction),
            ("watch", Class::Transaction),
            ("blpop", Class::Blocking),
            ("wait", Class::Blocking),
            ("publish", Class::Pubsub),
            ("psubscribe", Class::Pubsub),
            ("ping", Class::Connection),
            ("hello", Class::Connection),
            ("time", Class::Server),
            ("shutdown", Class::Server),
        ] {
            assert_eq!(table.row(name).map(Row::class), Some(class), "{name}");
        }
    }

    #[test]
    fn what_runs_a_script_answers_as_it_likes_and_nothing_else_does() {
        let runs = [
            "eval",
            "eval_ro",
            "evalsha",
            "evalsha_ro",
            "fcall",
            "fcall_ro",
        ];
        for row in CommandTable::new().rows() {
            let is_one = runs.contains(&row.name);
            assert_eq!(row.answers_as_it_likes(), is_one, "{}", row.name);
        }
    }
}
