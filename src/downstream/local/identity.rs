//! Who a session is: what `HELLO`, `AUTH` and `CLIENT` set and show. Idle sessions are many, so it is small.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::clock::Now;
use crate::resp::Proto;
use crate::route::part::{Profile, UserId};

/// One session as clients may see it.
#[derive(Clone, Debug)]
pub struct Identity {
    /// `> 0`, never used twice in a process.
    pub id: u64,
    pub peer: Address,
    pub local: Address,
    pub created: Now,
    /// When bytes last came or went.
    pub last_active: Now,
    /// Its full name as the command table spells it: `client|list`.
    pub last_command: Option<&'static str>,
    pub db: u32,
    /// The same where databases are names of keys, and no node knows of them. One of both is 0.
    pub db_of_names: u32,
    pub proto: Proto,
    pub authenticated: bool,
    /// As whom its requests come to the nodes.
    pub login: UserId,
    pub reply: ReplyMode,
    pub no_evict: bool,
    pub no_touch: bool,
    names: Option<Box<Names>>,
}

/// One end of a client's connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Tcp(SocketAddr),
    /// The path of the socket.
    Unix(Arc<str>),
}

/// What `CLIENT REPLY` asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplyMode {
    #[default]
    On,
    Off,
    /// No reply to the next request.
    SkipNext,
}

/// What most sessions leave empty.
#[derive(Clone, Debug, Default)]
struct Names {
    /// Empty: `default`.
    user: Box<[u8]>,
    name: Box<[u8]>,
    lib_name: Box<[u8]>,
    lib_ver: Box<[u8]>,
}

impl Identity {
    pub fn new(id: u64, peer: Address, local: Address, authenticated: bool, now: Now) -> Self {
        Self {
            id,
            peer,
            local,
            created: now,
            last_active: now,
            last_command: None,
            db: 0,
            db_of_names: 0,
            proto: Proto::Resp2,
            authenticated,
            login: UserId::SLOTCAR,
            reply: ReplyMode::On,
            no_evict: false,
            no_touch: false,
            names: None,
        }
    }

    /// Of the links that its requests take.
    pub fn profile(&self) -> Profile {
        Profile {
            proto: self.proto,
            user: self.login,
            database: self.db,
        }
    }

    /// To be called at each request before anything else: the reply mode moves on.
    /// False if the client wants no reply to this request.
    pub fn take_reply_wish(&mut self) -> bool {
        match self.reply {
            ReplyMode::On => true,
            ReplyMode::Off => false,
            ReplyMode::SkipNext => {
                self.reply = ReplyMode::On;
                false
            }
        }
    }

    pub fn name(&self) -> &[u8] {
        self.names.as_ref().map_or(&[], |names| &names.name)
    }

    pub fn lib_name(&self) -> &[u8] {
        self.names.as_ref().map_or(&[], |names| &names.lib_name)
    }

    pub fn lib_ver(&self) -> &[u8] {
        self.names.as_ref().map_or(&[], |names| &names.lib_ver)
    }

    /// Whom it has logged in as.
    pub fn user(&self) -> &[u8] {
        let names = self.names.as_ref().filter(|names| !names.user.is_empty());
        names.map_or(b"default", |names| &names.user)
    }

    pub(super) fn log_in(&mut self, user: &[u8]) {
        self.authenticated = true;
        if user != self.user() {
            self.names.get_or_insert_default().user = user.into();
        }
    }

    /// It is `default` again; is that enough?
    pub(super) fn log_out(&mut self, authenticated: bool) {
        self.authenticated = authenticated;
        if let Some(names) = &mut self.names {
            names.user = Box::default();
        }
    }

    /// Empty: no name.
    pub(super) fn set_name(&mut self, name: &[u8]) {
        if !name.is_empty() || self.names.is_some() {
            self.names.get_or_insert_default().name = name.into();
        }
    }

    pub(super) fn set_lib_name(&mut self, name: &[u8]) {
        self.names.get_or_insert_default().lib_name = name.into();
    }

    pub(super) fn set_lib_ver(&mut self, version: &[u8]) {
        self.names.get_or_insert_default().lib_ver = version.into();
    }
}

/// As `CLIENT LIST` shows it.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{path}:0"),
        }
    }
}
