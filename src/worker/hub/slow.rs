//! The slow log: requests that took longer than others may, with where they were meanwhile.

use std::borrow::Cow;
use std::time::Duration;

use super::Hub;
use super::measures::with_arguments;
use super::others::Ask;
use crate::clock::Now;
use crate::command::class::Class;
use crate::command::{Row, Script};
use crate::reply::gather::slowlog_items_max;
use crate::resp::request::Request;
use crate::resp::write;
use crate::route::naming::Naming;
use crate::route::naming::lua::original;
use crate::route::part::{NodeId, Part, Purpose};

/// How much of a slow request is remembered: as servers do.
const ARGUMENTS_MAX: usize = 32;
const ARGUMENT_BYTES_MAX: usize = 128;

/// Behind as many arguments a login may follow.
const LOGIN_ARGUMENT_MIN: usize = 6;

/// A request that took longer than others may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slow {
    /// When it was answered.
    pub at: Now,
    /// From having been read to the answer. `wait + node <= took`, what is missing was spent at other nodes or being held
    pub took: Duration,
    pub wait: Duration,
    pub node: Duration,
    pub endpoint: String,
    /// The first arguments, cut.
    pub request: Vec<Box<[u8]>>,
    /// Arguments that are not in `request`.
    pub more: usize,
    pub client: String,
    pub client_name: Box<[u8]>,
}

impl Slow {
    /// With the names that the app has given to keys.
    pub(super) fn named(&self, naming: Option<&Naming>) -> Self {
        let mut slow = self.clone();
        if let Some(naming) = naming {
            for argument in &mut slow.request {
                *argument = naming.unmap(argument).into();
            }
        }
        slow
    }

    /// An entry of `SLOWLOG GET`: number, Unix time in seconds, microseconds, arguments, client, its name. Where the time was spent
    /// is said behind the arguments, where servers say what they have left out.
    /// Source: <https://valkey.io/commands/slowlog-get/>
    fn write(&self, number: u64, unix_seconds: u64, out: &mut Vec<u8>) {
        let integer = |n: u128| i64::try_from(n).unwrap_or(i64::MAX);
        let (wait, node) = (self.wait.as_micros(), self.node.as_micros());
        let left_out = (self.more > 0).then(|| format!("... ({} more arguments)", self.more));
        let stages = format!("slotcar: {wait} us waiting, {node} us at {}", self.endpoint);
        let notes = left_out.into_iter().chain([stages]);
        let notes: Vec<String> = notes.collect();
        write::array(out, 6);
        write::integer(out, integer(number.into()));
        write::integer(out, integer(unix_seconds.into()));
        write::integer(out, integer(self.took.as_micros()));
        write::array(out, self.request.len() + notes.len());
        let notes = notes.iter().map(String::as_bytes);
        let arguments = self.request.iter().map(|argument| &**argument);
        arguments
            .chain(notes)
            .for_each(|argument| write::bulk(out, argument));
        write::bulk(out, self.client.as_bytes());
        write::bulk(out, &self.client_name);
    }
}

impl Hub {
    pub(super) fn note_slow(
        &mut self,
        now: Now,
        node: NodeId,
        (part, since, sent_at): (&Part, Now, Now),
        bytes: &[u8],
    ) {
        let Purpose::Answer(ticket) = part.purpose else {
            return;
        };
        let identity = self.session(ticket.session).map(|s| &s.identity);
        let client = identity.map(|identity| identity.peer.to_string());
        let client_name = identity.map(|identity| identity.name().into());
        let node = self.owners.node(node);
        let (mut request, mut more) = (Vec::new(), 0);
        with_arguments(bytes, |all| {
            let shown = shown_arguments(part.row, all);
            let argument = |at| cut(&self.as_written(part.row, all.arg(at))).into();
            request = (0..shown).map(argument).collect();
            more = all.len() - shown;
        });
        self.measures.slow.push(Slow {
            at: now,
            took: now.since(since),
            wait: sent_at.since(since),
            node: now.since(sent_at),
            endpoint: node.map(|n| n.endpoint.to_string()).unwrap_or_default(),
            request,
            more,
            client: client.unwrap_or_default(),
            client_name: client_name.unwrap_or_default(),
        });
    }

    /// A script without what was put in front of it, or the name that the app knows it by.
    fn as_written<'a>(&self, row: &Row, argument: &'a [u8]) -> Cow<'a, [u8]> {
        if row.script == Script::None {
            return Cow::Borrowed(argument);
        }
        let written = original(argument).or_else(|| self.script_names.answer(argument));
        written.map_or(Cow::Borrowed(argument), Cow::Owned)
    }

    /// The newest, as `SLOWLOG GET` shows them, and by their time, in microseconds since 1970.
    pub(super) fn slow_entries(&self, at_most: usize) -> Vec<(u64, Vec<u8>)> {
        let naming = self.settings.naming.as_deref();
        let entry = |(number, slow): (u64, &Slow)| {
            let unix_time = self.settings.started_at + slow.at.since_start();
            let mut entry = Vec::new();
            let named = slow.named(naming);
            named.write(number, unix_time.as_secs(), &mut entry);
            (
                u64::try_from(unix_time.as_micros()).unwrap_or(u64::MAX),
                entry,
            )
        };
        let newest = self.measures.slow.iter().rev().take(at_most);
        newest.map(entry).collect()
    }

    /// What workers say beside what nodes say to this request.
    pub(super) fn said_beside(&self, row: &Row, request: Request<'_>) -> Option<Ask> {
        match row.name {
            "slowlog|get" => Some(Ask::SlowRequests {
                at_most: slowlog_items_max(request.get(2)),
            }),
            "slowlog|len" => Some(Ask::SlowCount),
            // The nodes have yet to say whether the user may.
            "slowlog|reset" if self.face.logins.are_passed_on() => None,
            "slowlog|reset" => Some(Ask::ForgetSlow),
            _ => None,
        }
    }
}

/// How many arguments may be remembered: no passwords.
fn shown_arguments(row: &Row, request: Request<'_>) -> usize {
    let named = match row.class() {
        Class::Connection | Class::Server => 1 + usize::from(row.name.contains('|')),
        Class::Read
        | Class::Write
        | Class::Script
        | Class::Transaction
        | Class::Blocking
        | Class::Pubsub => ARGUMENTS_MAX,
    };
    let is_login = |at: &usize| {
        let argument = request.arg(*at);
        argument.eq_ignore_ascii_case(b"auth") || argument.eq_ignore_ascii_case(b"auth2")
    };
    // As `MIGRATE` has it, behind the timeout.
    let login = (LOGIN_ARGUMENT_MIN..request.len()).find(is_login);
    let hidden_from = login.unwrap_or(usize::MAX);
    request.len().min(named).min(hidden_from)
}

fn cut(argument: &[u8]) -> &[u8] {
    argument.get(..ARGUMENT_BYTES_MAX).unwrap_or(argument)
}
