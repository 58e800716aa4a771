//! What is done instead of serving: looking whether all is well, and saying where a request would go.

use std::io;
use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::{Builder, LocalOptions};
use tokio::time::timeout;

use super::setup::{keyspace, source};
use crate::command::keys::{KeyList, find_keys};
use crate::command::lookup::{CommandTable, Lookup};
use crate::command::{Connection, Flags, Merge, Refuse, Route, Row, check};
use crate::config::Config;
use crate::control::{self, Control};
use crate::resp::request::{Request, RequestLimits, RequestScan, Scanned};
use crate::resp::write;
use crate::route::reference;
use crate::topology::{Keyspace, Slot, Topology};

/// What was found, as lines for people.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// All is well.
    Good(String),
    /// Nobody could be reached: why.
    Unreachable(String),
}

/// Connects, and describes what stands behind.
///
/// # Errors
/// The system refuses a thread or a runtime.
pub fn look(config: &Config) -> anyhow::Result<Found> {
    let Some(control) = learn(config)? else {
        return Ok(Found::Unreachable("no answer".to_owned()));
    };
    let (topology, facts) = (
        control.published.topology.load(),
        control.published.facts.load(),
    );
    if topology.is_empty() {
        return Ok(Found::Unreachable(
            control.published.trouble.load().to_string(),
        ));
    }
    let mut text = format!(
        "upstream  {}\nserver    {} {}\n",
        config.upstream,
        facts.server,
        facts.shown_version()
    );
    describe(&topology, keyspace(&config.upstream), &mut text);
    Ok(Found::Good(text))
}

/// Says what would be done with a request, and where it would go if anybody can be asked who serves what.
///
/// # Errors
/// As [`look`].
pub fn explain(config: &Config, words: &[Vec<u8>]) -> anyhow::Result<String> {
    let control = learn(config)?;
    let (commands, topology) = match &control {
        Some(control) => (
            control.published.commands.load_full(),
            control.published.topology.load_full(),
        ),
        None => (CommandTable::new().into(), Topology::empty().into()),
    };
    let mut bytes = Vec::new();
    write::command(&mut bytes, words);
    let mut scan = RequestScan::new();
    let Ok(Scanned::Multibulk(_)) = scan.advance(&bytes, &RequestLimits::default()) else {
        anyhow::bail!("that is no request");
    };
    let request = Request {
        bytes: &bytes,
        args: scan.args(),
    };
    Ok(explained(
        &commands,
        &topology,
        keyspace(&config.upstream),
        request,
    ))
}

/// The control plane once it has learnt, or has given up. None: it has learnt nothing in time.
fn learn(config: &Config) -> anyhow::Result<Option<Control>> {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .build_local(LocalOptions::default())
        .context("cannot start a runtime")?;
    let started: io::Result<_> = control::start(source(config));
    let (control, thread) = started.context("cannot start the control plane")?;
    let mut changes = control.changes();
    let learnt = async {
        loop {
            let published = &control.published;
            if !published.topology.load().is_empty() || !published.trouble.load().is_empty() {
                return;
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    };
    let in_time = runtime.block_on(async { timeout(PATIENCE, learnt).await.is_ok() });
    thread.stop();
    Ok(in_time.then_some(control))
}

fn describe(topology: &Topology, keyspace: Keyspace, text: &mut String) {
    let node = |at: &usize| {
        topology
            .nodes()
            .get(*at)
            .map(|node| node.endpoint.to_string())
    };
    for shard in topology.shards() {
        let primary = shard.primary.as_ref().and_then(node);
        let primary = primary.unwrap_or_else(|| "no primary".to_owned());
        let ranges: Vec<String> = shard.ranges.iter().map(ToString::to_string).collect();
        let slots = match keyspace {
            Keyspace::Hashed => format!("slots {}", ranges.join(" ")),
            Keyspace::Whole => "everything".to_owned(),
        };
        text.push_str(&format!("shard     {primary}  {slots}\n"));
        for replica in shard.replicas.iter().filter_map(node) {
            text.push_str(&format!("  replica {replica}\n"));
        }
    }
    match topology.uncovered() {
        0 => {}
        uncovered => text.push_str(&format!(
            "          {uncovered} slots are served by nobody\n"
        )),
    }
}

fn explained(
    commands: &CommandTable,
    topology: &Topology,
    keyspace: Keyspace,
    request: Request<'_>,
) -> String {
    let lookup = commands.lookup(request);
    let row = match lookup {
        Lookup::Row(row) if row.takes(request.len()) => row,
        Lookup::Row(_) | Lookup::UnknownCommand | Lookup::UnknownSubcommand(_) => {
            let text = check::refuse(lookup, request).unwrap_or_default();
            return format!("refused   {}\n", String::from_utf8_lossy(&text));
        }
    };
    let mut text = format!("command   {}: {}\n", row.name, kind(row));
    let mut keys = KeyList::new();
    let found = find_keys(row, request, &mut keys).is_ok();
    let mut slots: Vec<Slot> = Vec::new();
    for key in keys.iter().filter(|_| found).map(|at| request.arg(at)) {
        let slot = keyspace.slot(key);
        if !slots.contains(&slot) {
            slots.push(slot);
        }
        if keyspace == Keyspace::Hashed {
            text.push_str(&format!("key       {}: slot {slot}\n", key.escape_ascii()));
        }
    }
    text.push_str(&format!("goes to   {}\n", way(row, &slots)));
    for slot in &slots {
        let owner = topology
            .owner_node(*slot)
            .map(|node| node.endpoint.to_string());
        let owner = owner.unwrap_or_else(|| "nobody that is known".to_owned());
        text.push_str(&match keyspace {
            Keyspace::Hashed => format!("          slot {slot}: {owner}\n"),
            Keyspace::Whole => format!("          {owner}\n"),
        });
    }
    text.push_str(&format!("replies   {}\n", merged(row, slots.len())));
    text.push_str(&format!(
        "if lost   {}\n",
        reference::if_lost(row).sentence()
    ));
    text
}

fn kind(row: &Row) -> &'static str {
    if row.flags.contains(Flags::WRITE) {
        "writes"
    } else if row.reads_only() {
        "reads only"
    } else {
        "neither reads nor writes keys by itself"
    }
}

fn way(row: &Row, slots: &[Slot]) -> String {
    match row.route {
        Route::Split if slots.len() > 1 => {
            format!(
                "the owners of {} slots, in {0} parts that are not atomic together",
                slots.len()
            )
        }
        Route::Slot | Route::Split => match slots.len() {
            0 => "any primary".to_owned(),
            1 => "the owner of its slot".to_owned(),
            _ => "nobody: its keys are in several slots (CROSSSLOT), unless it can be put together"
                .to_owned(),
        },
        Route::AnyPrimary | Route::AllPrimaries | Route::AllNodes | Route::Scan => {
            reference::way(row).to_owned()
        }
        Route::Local(_) => "nobody: slotcar answers".to_owned(),
        Route::Connection(connection) => match connection {
            Connection::Blocking => {
                "the owner of its slot, on a connection of its own while it waits".to_owned()
            }
            Connection::Watch => {
                "the owner of its slot, on a connection of its own until EXEC".to_owned()
            }
            Connection::Multi | Connection::Exec | Connection::Discard | Connection::Unwatch => {
                "nobody by itself: it is part of a transaction".to_owned()
            }
            Connection::Subscribe(_) | Connection::Unsubscribe(_) => {
                "the connection for subscriptions at the owner of the name's slot".to_owned()
            }
            Connection::Wait => "every primary, on connections of its own".to_owned(),
            Connection::Monitor => "every primary, on connections of the session's own".to_owned(),
            Connection::Tracking => "connections of the session's own to every primary".to_owned(),
            Connection::HashImport => "nobody: it is not served".to_owned(),
        },
        Route::Refuse(why) => match why {
            Refuse::Denied => "nobody: the configuration denies it (deny)".to_owned(),
            Refuse::ReadsOnly => {
                "nobody: the configuration wants reads only (read-only)".to_owned()
            }
            Refuse::NodeControl
            | Refuse::Replication
            | Refuse::DataMove
            | Refuse::Modules
            | Refuse::ScriptDebug
            | Refuse::CrossProtocol => {
                "nobody: it could hurt a node; some such commands can be allowed (allow)".to_owned()
            }
        },
    }
}

fn merged(row: &Row, parts: usize) -> &'static str {
    let is_one = matches!(row.route, Route::Split | Route::Slot | Route::AnyPrimary) && parts <= 1;
    if row.merge == Merge::AsIs || is_one {
        "as the node says it"
    } else {
        "put together from all parts"
    }
}

/// Longer than one round of questions at seeds that do not answer.
const PATIENCE: Duration = Duration::from_secs(5);
