//! Which sessions `CLIENT LIST` and `CLIENT KILL` mean.

use std::time::Duration;

use crate::clock::Now;
use crate::reply::errors;
use crate::resp::reply::parse_i64;
use crate::resp::request::Request;

use super::{Identity, is};

/// Conditions that a session must meet, all of them. Empty: every session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// One of these ids; `None`: any.
    pub ids: Option<Vec<u64>>,
    pub kind: Option<ClientType>,
    /// The client's end, as `CLIENT LIST` shows it.
    pub peer: Option<Box<[u8]>>,
    /// Our end, as `CLIENT LIST` shows it.
    pub local: Option<Box<[u8]>>,
    /// At least as old.
    pub age_min: Option<Duration>,
    /// Not the session with this id.
    pub except: Option<u64>,
}

/// What a server tells apart. There are no replicas and no primaries among slotcar's clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientType {
    Normal,
    PubSub,
    Primary,
    Replica,
}

impl Filter {
    /// Whether it means this session. `subscribed`: to at least one channel or pattern.
    pub fn matches(&self, who: &Identity, subscribed: bool, now: Now) -> bool {
        let kind = if subscribed {
            ClientType::PubSub
        } else {
            ClientType::Normal
        };
        self.ids.as_ref().is_none_or(|ids| ids.contains(&who.id))
            && self.kind.is_none_or(|wanted| wanted == kind)
            && self
                .peer
                .as_ref()
                .is_none_or(|peer| **peer == *who.peer.to_string().as_bytes())
            && self
                .local
                .as_ref()
                .is_none_or(|local| **local == *who.local.to_string().as_bytes())
            && self.age_min.is_none_or(|age| now.since(who.created) >= age)
            && self.except != Some(who.id)
    }

    /// `CLIENT LIST [TYPE type] [ID id …]`: one of the two.
    pub(super) fn of_list(request: Request<'_>) -> Result<Self, Vec<u8>> {
        let Some(option) = request.get(2) else {
            return Ok(Self::default());
        };
        if is(option, "TYPE") && request.len() == 4 {
            let kind = Some(client_type(request.arg(3))?);
            return Ok(Self {
                kind,
                ..Self::default()
            });
        }
        if is(option, "ID") && request.len() > 3 {
            let words = (3..request.len()).filter_map(|at| request.get(at));
            let ids: Option<Vec<i64>> = words.map(parse_i64).collect();
            let ids = ids.ok_or(errors::CLIENT_ID)?;
            // No session has an id below 1: such a wish meets nobody.
            let ids = ids
                .into_iter()
                .map(|id| u64::try_from(id).unwrap_or(0))
                .collect();
            return Ok(Self {
                ids: Some(ids),
                ..Self::default()
            });
        }
        Err(errors::SYNTAX.into())
    }

    /// `CLIENT KILL ip:port`
    pub(super) fn of_address(address: &[u8]) -> Self {
        Self {
            peer: Some(address.into()),
            ..Self::default()
        }
    }

    /// `CLIENT KILL option value [option value …]`
    pub(super) fn of_kill(request: Request<'_>, me: &Identity) -> Result<Self, Vec<u8>> {
        let mut filter = Self {
            except: Some(me.id),
            ..Self::default()
        };
        let mut at = 2;
        while let Some(option) = request.get(at) {
            let value = request.get(at + 1).ok_or(errors::SYNTAX)?;
            filter.narrow(option, value, me)?;
            at += 2;
        }
        Ok(filter)
    }

    fn narrow(&mut self, option: &[u8], value: &[u8], me: &Identity) -> Result<(), Vec<u8>> {
        if is(option, "ID") {
            let id = parse_i64(value)
                .and_then(|id| u64::try_from(id).ok())
                .filter(|&id| id > 0);
            self.ids = Some(vec![id.ok_or(errors::CLIENT_ID_NOT_POSITIVE)?]);
        } else if is(option, "MAXAGE") {
            let secs = parse_i64(value).ok_or(errors::MAX_AGE_NOT_AN_INTEGER)?;
            let secs = u64::try_from(secs).ok().filter(|&secs| secs > 0);
            self.age_min = Some(Duration::from_secs(
                secs.ok_or(errors::MAX_AGE_NOT_POSITIVE)?,
            ));
        } else if is(option, "TYPE") {
            self.kind = Some(client_type(value)?);
        } else if is(option, "ADDR") {
            self.peer = Some(value.into());
        } else if is(option, "LADDR") {
            self.local = Some(value.into());
        } else if is(option, "USER") {
            if value != me.user() {
                return Err(errors::client_user(value));
            }
        } else if is(option, "SKIPME") && is(value, "yes") {
            self.except = Some(me.id);
        } else if is(option, "SKIPME") && is(value, "no") {
            self.except = None;
        } else {
            return Err(errors::SYNTAX.into());
        }
        Ok(())
    }
}

fn client_type(name: &[u8]) -> Result<ClientType, Vec<u8>> {
    let names = [
        ("normal", ClientType::Normal),
        ("pubsub", ClientType::PubSub),
        ("master", ClientType::Primary),
        ("primary", ClientType::Primary),
        ("replica", ClientType::Replica),
        ("slave", ClientType::Replica),
    ];
    let known = names.into_iter().find(|(known, _)| is(name, known));
    known
        .map(|(_, kind)| kind)
        .ok_or_else(|| errors::client_type(name))
}
