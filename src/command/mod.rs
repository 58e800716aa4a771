//! What every command means to a proxy: one table, one row each.
//!
//! Owns names, arity, where keys are, where a request goes and how the answers become one. Everything
//! else asks the [`Row`]; no other file names a command. Pure: knows no node, no slot and no session.
//!
//! The rows are compared with live servers in `tests/command_table.rs`. Vocabulary and semantics are the
//! servers' own: <https://redis.io/docs/latest/develop/reference/key-specs/>,
//! <https://redis.io/docs/latest/develop/reference/command-tips/>, <https://redis.io/docs/latest/commands/command/>.

pub mod attempt;
pub mod check;
pub mod class;
pub mod keys;
pub mod learn;
pub mod lookup;
pub mod notes;
pub mod rules;
pub mod single;
pub mod streams;
pub mod table;
#[cfg(test)]
mod testing;
pub mod timeout;
pub mod together;

use bitflags::bitflags;

/// One command or subcommand.
#[derive(Clone, Debug)]
pub struct Row {
    /// Lower case; `config|get` for a subcommand, as the server spells it in errors.
    pub name: &'static str,
    /// The server's convention: `n` means exactly n arguments, `-n` at least n; the name counts, of a
    /// subcommand both words. Where versions differ, the most permissive: the node says the rest.
    pub arity: i16,
    pub flags: Flags,
    /// In the order of the server's key specifications. Empty: takes no keys.
    pub keys: &'static [KeySpec],
    pub route: Route,
    /// How the answers of several parts become one. [`Merge::AsIs`] if there is only one part.
    pub merge: Merge,
    /// How the arguments are dealt out. `Some` exactly if `route` is [`Route::Split`].
    pub shape: Option<Split>,
    /// What it has to do with the nodes' memory of scripts.
    pub script: Script,
    /// What its answer counts, if that depends on who is subscribed.
    pub counts: Option<Counts>,
    /// Where keys are named beside its key arguments: in the request or in the answer.
    pub names: Option<Names>,
    /// The one argument that is a key; 0: none, or not that simple.
    only_key: u16,
    /// Its answer means something to somebody besides who asked.
    is_overheard: bool,
}

impl Row {
    /// A row that goes to the owner of its keys' slot, or to any primary if it takes no keys.
    pub(crate) const fn new(
        name: &'static str,
        arity: i16,
        keys: &'static [KeySpec],
        flags: Flags,
    ) -> Self {
        let (route, only_key) = match keys {
            [] => (Route::AnyPrimary, 0),
            [one] => (Route::Slot, one.only_key()),
            [_, _, ..] => (Route::Slot, 0),
        };
        Self {
            name,
            arity,
            flags,
            keys,
            route,
            merge: Merge::AsIs,
            shape: None,
            script: Script::None,
            counts: None,
            names: None,
            only_key,
            is_overheard: false,
        }
    }

    /// Whether its answer means something to somebody besides who asked: it is counted, or changes what a session is.
    #[inline]
    pub const fn is_overheard(&self) -> bool {
        self.is_overheard
    }

    /// The argument that is the only key a request of this kind can have, if that is a fixed one (GET,
    /// SET, HSET, …): then there is no need for [`keys::find_keys`]. The request may end before it only
    /// where the arity allows that (modules); such a request has no key.
    #[inline]
    pub const fn first_key(&self) -> Option<usize> {
        match self.only_key {
            0 => None,
            at => Some(at as usize),
        }
    }

    /// Whether its requests mean no more than their bytes say, and its answers nothing but to who asked.
    #[inline]
    pub fn is_plain(&self) -> bool {
        self.route == Route::Slot && self.script == Script::None && self.counts.is_none()
    }

    /// The same row, whose keys have to be searched for.
    pub(crate) const fn without_only_key(self) -> Self {
        Self {
            only_key: 0,
            ..self
        }
    }

    /// Whether a request of `len` arguments, the name included, has as many as the command takes.
    #[inline]
    pub fn takes(&self, len: usize) -> bool {
        let want = usize::from(self.arity.unsigned_abs());
        if self.arity < 0 {
            len >= want
        } else {
            len == want
        }
    }

    /// Whether it is about what a node executes at the moment, and must not wait for that to end.
    #[inline]
    pub const fn asks_beside(&self) -> bool {
        matches!(self.merge, Merge::OneSucceeded | Merge::FunctionStats)
    }

    /// Whether it may change data: by itself, or because it runs a script that does not promise to read only.
    pub fn may_write(&self) -> bool {
        let runs = self.route == Route::Slot && !self.flags.contains(Flags::READ);
        self.flags.contains(Flags::WRITE) || (runs && self.counts.is_none())
    }

    /// Whether it runs a script, which may answer anything, also what looks like an error of the node.
    #[inline]
    pub fn answers_as_it_likes(&self) -> bool {
        // Most requests need no look at the name.
        self.flags.contains(Flags::NOSCRIPT)
            && matches!(
                self.name,
                "eval" | "eval_ro" | "evalsha" | "evalsha_ro" | "fcall" | "fcall_ro"
            )
    }

    /// Whether it goes through a collection by a cursor, which means something only to the node that gave it.
    pub fn walks(&self) -> bool {
        self.route == Route::Scan || matches!(self.name, "hscan" | "sscan" | "zscan")
    }

    /// Whether it only reads: harmless to repeat.
    #[inline]
    pub const fn reads_only(&self) -> bool {
        self.flags.contains(Flags::READ) && !self.flags.contains(Flags::WRITE)
    }
}

/// Where a command names keys, beside its key arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// `KEYS pattern`: the answer is an array of keys.
    Found,
    /// `SCAN … MATCH pattern`: the answer is a cursor and an array of keys.
    Scanned,
    /// The answer is a key.
    One,
    /// The first value of the answer is a key.
    First,
    /// The answer is a map by key, or an array of pairs with a key first.
    Streams,
    /// The answer is the name of a script, or may speak of one.
    Script,
    /// The answer may have the code of libraries in it.
    Library,
    /// Channels that may be those of notifications about a key.
    Channels,
    /// Patterns of such channels.
    ChannelPatterns,
    /// `BY` and `GET` before patterns that make names of keys.
    Patterns,
    /// The second key may be in another database.
    Copied,
}

bitflags! {
    /// What the server's `COMMAND` reports of a command, as far as a proxy may care, and [`Flags::CONTAINER`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Flags: u16 {
        /// May change data.
        const WRITE = 1 << 0;
        /// `readonly`: only reads.
        const READ = 1 << 1;
        /// Constant or logarithmic time.
        const FAST = 1 << 2;
        /// Refused when the node is out of memory.
        const DENYOOM = 1 << 3;
        /// Administration.
        const ADMIN = 1 << 4;
        /// May wait for something; see [`keys::blocks`].
        const BLOCKING = 1 << 5;
        /// Publish/subscribe.
        const PUBSUB = 1 << 6;
        /// Not from scripts.
        const NOSCRIPT = 1 << 7;
        /// `no_multi`: refused between MULTI and EXEC.
        const NO_MULTI = 1 << 8;
        /// Allowed while a node loads its data.
        const LOADING = 1 << 9;
        /// Allowed on a replica that has lost its primary.
        const STALE = 1 << 10;
        /// Allowed before AUTH.
        const NO_AUTH = 1 << 11;
        /// Not shown by MONITOR.
        const SKIP_MONITOR = 1 << 12;
        /// Has subcommands; the row stands for the bare name.
        const CONTAINER = 1 << 13;
    }
}

/// One group of keys in the arguments: where the search begins, and what to take from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySpec {
    pub begin: Begin,
    pub find: Find,
    pub access: Access,
}

impl KeySpec {
    /// The one fixed argument that this specification names, or 0.
    const fn only_key(&self) -> u16 {
        match (self.begin, self.find) {
            (Begin::Index(at), Find::Range { last: 0, .. }) => at,
            (
                Begin::Index(_)
                | Begin::Keyword { .. }
                | Begin::SortStore
                | Begin::GeoStore
                | Begin::MigrateKeys,
                _,
            ) => 0,
        }
    }
}

/// Where the search for keys begins. Arguments are counted from 0, the command's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// At this argument.
    Index(u16),
    /// After the first argument from `from` on that is `word` in any case; a negative `from` counts from
    /// the end and searches backwards.
    Keyword { word: &'static str, from: i16 },
    /// After the *last* `STORE` of SORT; the arguments of `LIMIT`, `GET` and `BY` are no options, whatever
    /// they are called.
    SortStore,
    /// After the *last* `STORE` or `STOREDIST` of GEORADIUS and GEORADIUSBYMEMBER.
    GeoStore,
    /// The key at 3, or all that follows `KEYS` if that is empty; user and password are not options.
    MigrateKeys,
}

/// Which arguments from the beginning on are keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Find {
    /// Every `step`-th argument up to `last`: relative to the beginning if `last >= 0`, to the end of the
    /// request if `last < 0` (-1 is the last argument). `limit > 1`: only the first `1/limit` of them.
    Range { last: i32, step: u16, limit: u16 },
    /// As many as the number at `count_at` says, from `first` on, both relative to the beginning.
    KeyNum {
        count_at: u16,
        first: u16,
        step: u16,
    },
}

/// What the command does to the keys of a specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    ReadWrite,
    /// Written without looking at the old value.
    Overwrite,
    Remove,
    /// Not the name of a key, but routed by slot like one (shard channels).
    NotKey,
}

/// Who gets a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// The owner of the keys' slot; a request without keys (`EVAL … 0`) goes to any primary.
    Slot,
    AnyPrimary,
    AllPrimaries,
    AllNodes,
    /// The owners of the keys' slots; see [`Row::shape`].
    Split,
    /// One primary after another, by cursor.
    Scan,
    /// Answered here.
    Local(Local),
    /// Bound to a connection of its own.
    Connection(Connection),
    /// Refused: through a sidecar it could only hurt.
    Refuse(Refuse),
}

/// How the answers of several parts become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// There is only one answer.
    AsIs,
    /// The first answer, if none is an error; else the first error.
    AllSucceeded,
    /// Integers.
    Sum,
    /// Integers.
    Min,
    /// Arrays of integers of the same length, element by element.
    MinEach,
    /// Arrays of 0 and 1 of the same length, element by element.
    AndEach,
    /// The first answer that is no error; else the first error.
    OneSucceeded,
    /// Arrays, one after the other.
    Concat,
    /// Arrays, one after the other, what is in several of them once.
    ConcatDistinct,
    /// `SLOWLOG GET`: newest first, at most as many as were asked for.
    SlowlogGet,
    /// Arrays with one element for each key, in the order of the request.
    KeyOrder,
    /// Maps (flat arrays in RESP2) from a name to an integer, summed name by name.
    MapSum,
    /// Integers, or the number in `name number`: who got a message. Only the first part has to succeed.
    Receivers,
    /// One server's INFO made of many.
    Info,
    /// The first answer that is not null; else null.
    RandomNonNull,
    FunctionStats,
    MemoryDoctor,
    MemoryMallocStats,
    MemoryStats,
    LatencyDoctor,
    LatencyGraph,
    LatencyHistogram,
    LatencyHistory,
    LatencyLatest,
    /// `HOTKEYS GET`.
    HotKeys,
}

/// How the arguments of a request for several slots are dealt out, the name aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// Every argument is a key: MGET, DEL.
    Keys,
    /// Key, value, key, value: MSET.
    KeyValues,
    /// Keys, then one argument that every part gets: JSON.MGET.
    KeysThenLast,
    /// Key, path, value: JSON.MSET.
    Triples,
}

impl Split {
    /// How many arguments belong to one key.
    pub const fn group(self) -> usize {
        match self {
            Self::Keys | Self::KeysThenLast => 1,
            Self::KeyValues => 2,
            Self::Triples => 3,
        }
    }
}

/// What a request says about scripts that a node remembers by their SHA1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    None,
    /// This argument is one: whoever gets the request knows it afterwards.
    Body(u16),
    /// This argument names one.
    Sha(u16),
    /// All are forgotten.
    Flush,
    /// The arguments name some: are they known?
    Asks,
    /// The last argument is a library of functions: nodes hand these on, nothing has to be remembered here.
    Library,
}

/// What slotcar answers by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Local {
    Hello,
    Auth,
    Select,
    Reset,
    Quit,
    Ping,
    Echo,
    Role,
    ReadOnly,
    ReadWrite,
    Asking,
    Client(Client),
    /// `CLUSTER` and whatever belongs to it: a server without cluster support.
    Cluster,
}

/// The subcommands of CLIENT; they speak of slotcar's own sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// The bare name; too few arguments.
    Bare,
    Caching,
    Capa,
    GetName,
    GetRedir,
    Help,
    Id,
    ImportSource,
    Info,
    Kill,
    List,
    NoEvict,
    NoTouch,
    Pause,
    Reply,
    SetInfo,
    SetName,
    TrackingInfo,
    Unblock,
    Unpause,
}

/// What a connection of its own is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    Multi,
    Exec,
    Discard,
    Watch,
    Unwatch,
    /// Always waits. XREAD and XREADGROUP only may: see [`keys::blocks`].
    Blocking,
    Wait,
    Subscribe(Subscription),
    Unsubscribe(Subscription),
    Monitor,
    Tracking,
    /// HIMPORT: field sets that live as long as the connection.
    HashImport,
}

/// What is subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subscription {
    Channel,
    Pattern,
    Shard,
}

/// Why a command is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refuse {
    /// Stops, debugs or tests the node that happens to get it.
    NodeControl,
    /// Belongs to replication and failover.
    Replication,
    /// Moves or removes slots behind the cluster's back.
    DataMove,
    /// Loads or unloads code on one node.
    Modules,
    /// Changes what later commands of a shared connection mean.
    ScriptDebug,
    /// The operator denies it.
    Denied,
    /// It may write, and the operator wants reads only.
    ReadsOnly,
    /// `POST` and `Host:`: somebody's browser speaks HTTP to this port. Servers close the connection
    /// without an answer.
    CrossProtocol,
}

/// What an answer counts that a node cannot know: it sees one link of ours where there may be many sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counts {
    /// Those who got a message.
    Receivers(Subscription),
    /// The subscribers of each name.
    Subscribers(Subscription),
    Patterns,
}
