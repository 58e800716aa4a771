//! `slotcar move-keys`: an app's keys get the names that the rules (`keep-together`) give them, where they are, or copied from another server.
//!
//! Nothing here is needed to serve. `plan`, `tally`, `job`, `failure` and `state` decide, without sockets; `side` and `lines` ask nodes, `standing` finds out who has keys,
//! `walk` looks at all of them, `batch` moves them, `compare` tells whether two are the same.
//!
//! Invariants: a key is whole under at least one of its two names at every moment. What was not written here is never written over or removed, unless
//! it is the source of a move and has not changed since it was read.

mod alone;
mod batch;
mod compare;
mod failure;
mod job;
mod lines;
mod plan;
mod progress;
mod side;
mod standing;
mod state;
mod tally;
mod walk;

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::rc::Rc;

use anyhow::Context as _;
use tokio::runtime::{Builder, LocalOptions};
use tokio::task::spawn_local;

use self::alone::{OUR_NAME, be_alone};
use self::failure::Failure;
use self::plan::{Pace, Way};
use self::progress::Progress;
use self::side::Side;
use self::standing::{Standing, survey};
use self::state::{About, Book};
use self::walk::{Walked, walk_all};
use super::Signals;
use super::setup::{databases, keyspace, log_in, source};
use crate::config::{Config, Limits, MoveKeys, Plain, Upstream};
use crate::control::{Source, SourceKind, Wire, decode};
use crate::route::naming::Naming;
use crate::topology::{Endpoint, Keyspace};
use redis_protocol::resp2::types::BytesFrame;

/// How it has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// For who asked.
    pub report: String,
    /// What is wrong.
    pub complaint: Option<String>,
    pub outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All is moved.
    Done,
    /// Something is not, and the report says what.
    Incomplete,
    /// Nobody could be reached.
    Unreachable,
    /// By a signal.
    Interrupted,
}

/// What all parts of a run share.
struct Context {
    way: Way,
    /// Where copies are found again.
    database: u32,
    naming: Option<Naming>,
    source: Rc<Side>,
    /// The same when renaming.
    target: Rc<Side>,
    verify: bool,
    dry_run: bool,
    /// It is older than `PEXPIRETIME`.
    source_is_old: bool,
    source_version: String,
    target_version: String,
    limits: Limits,
    book: RefCell<Book>,
    pace: RefCell<Pace>,
    progress: RefCell<Progress>,
    /// Names of keys that somebody is moving.
    under_way: RefCell<HashSet<Vec<u8>>>,
    stop: Rc<Cell<bool>>,
}

/// Moves what is to be moved. `plain`: whom to copy from; none: keys are renamed.
///
/// # Errors
/// The system refuses a thread or a runtime.
pub fn run(config: &Config, task: &MoveKeys, plain: Option<Plain>) -> anyhow::Result<Ended> {
    let runtime = Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build_local(LocalOptions::default())
        .context("cannot start a runtime")?;
    runtime.block_on(perform(config, task, plain))
}

async fn perform(config: &Config, task: &MoveKeys, plain: Option<Plain>) -> anyhow::Result<Ended> {
    let stop = Rc::new(Cell::new(false));
    let mut signals = Signals::new()?;
    let stopping = Rc::clone(&stop);
    let (way, source, target) = sides(config, plain, &stop)?;
    for side in [&target, &source] {
        if let Some(why) = side.unreachable().await {
            return Ok(Ended {
                report: String::new(),
                complaint: Some(format!(
                    "cannot reach the {}: {why}",
                    role(side, &target, way)
                )),
                outcome: Outcome::Unreachable,
            });
        }
    }
    let about = about(config, task, &source, way);
    let prepared = prepare(config, task, (way, source, target), about, stop).await;
    let (context, _anchors) = match prepared {
        Ok(prepared) => prepared,
        Err(failure) => return Ok(failed(&failure)),
    };
    spawn_local(async move {
        signals.next().await;
        eprintln!("slotcar: finishing what is under way; once more ends it at once");
        stopping.set(true);
        signals.next().await;
        std::process::exit(INTERRUPTED.into());
    });
    let walked = walk_all(&context).await;
    Ok(end(&context, walked).await)
}

fn sides(
    config: &Config,
    plain: Option<Plain>,
    stop: &Rc<Cell<bool>>,
) -> anyhow::Result<(Way, Rc<Side>, Rc<Side>)> {
    let own = RandomState::new().hash_one(std::process::id());
    let way = match plain {
        Some(_) => Way::Copy,
        None => Way::Rename,
    };
    let name = match way {
        Way::Copy => format!("slotcar-copy-{own:x}"),
        Way::Rename => format!("{OUR_NAME}{own:x}"),
    };
    let start = |source, keyspace, database| {
        let (name, stop) = (name.clone(), Rc::clone(stop));
        let patience = config.failover_hold;
        Side::start(source, keyspace, database, name, patience, stop).map(Rc::new)
    };
    let upstream = &config.upstream;
    let target = start(source(config), keyspace(upstream), databases(config).first)?;
    let source = match plain {
        None => Rc::clone(&target),
        Some(plain) => {
            let source = Source {
                kind: SourceKind::Server,
                credentials: plain.credentials.as_ref().map(log_in),
                tls: plain.tls,
                ..Source::new(vec![plain.endpoint])
            };
            start(source, Keyspace::Whole, plain.database)?
        }
    };
    Ok((way, source, target))
}

fn about(config: &Config, task: &MoveKeys, source: &Side, way: Way) -> About {
    let mut upstream = config.upstream.clone();
    match &mut upstream {
        Upstream::Cluster { seeds }
        | Upstream::Sentinel {
            sentinels: seeds, ..
        } => seeds.sort(),
        Upstream::Server { .. } => {}
    }
    let rule = |rule: &crate::command::together::Rule| {
        let (pattern, tag) = (rule.pattern.escape_ascii(), rule.tag.escape_ascii());
        format!("{pattern}={tag}")
    };
    About {
        from: match way {
            Way::Rename => String::new(),
            Way::Copy => source.to_string(),
        },
        upstream: upstream.to_string(),
        rules: config.keep_together.iter().map(rule).collect(),
        databases: databases(config).names,
        verify: task.verify,
    }
}

/// The database in which what is copied is found again: its own, if the cluster is to have it.
fn into_database(config: &Config, source: &Side, way: Way) -> u32 {
    let database = source.database();
    let has_it = database < databases(config).names;
    if way == Way::Copy && has_it {
        database
    } else {
        0
    }
}

async fn prepare(
    config: &Config,
    task: &MoveKeys,
    (way, source, target): (Way, Rc<Side>, Rc<Side>),
    about: About,
    stop: Rc<Cell<bool>>,
) -> Result<(Rc<Context>, Vec<Wire>), Failure> {
    let at_source = survey(&source).await?;
    let at_target = survey(&target).await?;
    let version = |of: &[Standing]| of.first().map(Standing::version).unwrap_or_default();
    let source_is_old = at_source.iter().any(Standing::is_old);
    for (side, standings) in [(&source, &at_source), (&target, &at_target)] {
        if let Some(one) = standings.iter().find(|one| one.is_unfit_for(side.keyspace)) {
            return Err(Failure::Unfit(format!(
                "{} is a node of a cluster, and knows but a part of its keys: name the cluster with --cluster, and rename there",
                one.node
            )));
        }
    }
    if let Some(old) = at_target.iter().find(|one| one.is_old()) {
        return Err(Failure::Unfit(format!(
            "{} is {}: move-keys needs Redis 7, Valkey 8 or later behind slotcar",
            old.node,
            old.version()
        )));
    }
    let anchors = match way {
        Way::Rename if !task.dry_run => be_alone(&target).await?,
        Way::Rename | Way::Copy => Vec::new(),
    };
    let path = task.state.as_deref().filter(|_| !task.dry_run);
    let book = Book::open(path, about).map_err(Failure::State)?;
    let context = Context {
        way,
        database: into_database(config, &source, way),
        naming: Naming::new(&config.keep_together, databases(config).names),
        source_version: version(&at_source),
        target_version: version(&at_target),
        source,
        target,
        verify: task.verify,
        dry_run: task.dry_run,
        source_is_old,
        limits: config.limits.clone(),
        book: RefCell::new(book),
        pace: RefCell::new(Pace::new(task.keys_per_second)),
        progress: RefCell::new(Progress::new()),
        under_way: RefCell::default(),
        stop,
    };
    Ok((Rc::new(context), anchors))
}

impl Context {
    /// Whether it was looked at whole, with the slots that it has now.
    fn is_done(&self, one: &Standing) -> bool {
        let book = self.book.borrow();
        let place = book.state.places.get(&one.run_id);
        place.is_some_and(|place| place.done && place.slots == one.slots.said)
    }

    /// Where the scan of it goes on.
    fn cursor(&self, one: &Standing) -> u64 {
        let book = self.book.borrow();
        let place = book.state.places.get(&one.run_id);
        let place = place.filter(|place| !place.done && place.slots == one.slots.said);
        place.map_or(0, |place| place.cursor)
    }

    fn fate(&self, name: &[u8]) -> plan::Fate {
        self.way.fate(self.naming.as_ref(), self.database, name)
    }

    /// What moves a key, for people.
    fn rule(&self, name: &[u8]) -> String {
        let naming = self.naming.as_ref();
        match naming.and_then(|naming| naming.rule_of(name)) {
            Some(rule) => format!(
                "{}={}",
                rule.pattern.escape_ascii(),
                rule.tag.escape_ascii()
            ),
            None if naming.is_some_and(|naming| naming.seems_stored(name)) => {
                "no rule, but the name looks like one that slotcar has made".to_owned()
            }
            None => "no rule".to_owned(),
        }
    }

    fn too_old(&self, node: &Endpoint) -> Failure {
        Failure::TooOld {
            source: self.source_version.clone(),
            node: node.clone(),
            target: self.target_version.clone(),
        }
    }
}

fn role(side: &Rc<Side>, target: &Rc<Side>, way: Way) -> &'static str {
    match way {
        Way::Copy if !Rc::ptr_eq(side, target) => "source",
        Way::Copy | Way::Rename => "upstream",
    }
}

fn failed(failure: &Failure) -> Ended {
    Ended {
        report: String::new(),
        complaint: Some(failure.to_string()),
        outcome: if *failure == Failure::Stopped {
            Outcome::Interrupted
        } else {
            Outcome::Incomplete
        },
    }
}

/// Puts the state away, and says how it was.
async fn end(context: &Context, walked: Result<Walked, Failure>) -> Ended {
    let took = context.progress.borrow().end();
    let mut report = {
        let tally = &context.book.borrow().state.tally;
        if context.dry_run {
            tally.plan()
        } else {
            tally.report(context.way, took)
        }
    };
    if let (Way::Copy, Some(libraries)) = (context.way, libraries(&context.source).await) {
        report.push_str(&format!(
            "The source has {libraries} libraries of functions, which are no keys: FUNCTION DUMP there and FUNCTION RESTORE at each primary copies them.\n"
        ));
    }
    let book = context.book.borrow();
    let mut ended = match walked {
        Ok(Walked::Whole) => {
            book.close();
            let is_good = book.state.tally.is_good();
            return Ended {
                report,
                complaint: None,
                outcome: if is_good { Outcome::Done } else { Outcome::Incomplete },
            };
        }
        Ok(Walked::Unsettled) => Ended {
            complaint: Some("slots were on their way from node to node at the end, and keys in them may have been missed: run it again when they have arrived".to_owned()),
            outcome: Outcome::Incomplete,
            report: String::new(),
        },
        Err(failure) => failed(&failure),
    };
    let saved = book.write();
    let resume = match (book.path(), saved) {
        (_, Err(problem)) => problem,
        (Some(path), Ok(())) => format!(
            "the same command goes on from where it was, by {}",
            path.display()
        ),
        (None, Ok(())) if context.dry_run => String::new(),
        (None, Ok(())) => {
            "the same command goes on: what is moved already is left alone".to_owned()
        }
    };
    ended.report = report;
    if let Some(complaint) = &mut ended.complaint
        && !resume.is_empty()
    {
        complaint.push_str(&format!("\nslotcar: {resume}"));
    }
    ended
}

/// How many libraries of functions a server has; none if it has none, or knows none.
async fn libraries(side: &Side) -> Option<usize> {
    let topology = side.topology();
    let node = topology.primary_nodes().next()?;
    let mut wire = side.dial(&node.endpoint).await.ok()?;
    let replies = wire.ask(&[&["FUNCTION", "LIST"]]).await.ok()?;
    match decode(replies.first()?) {
        Ok(BytesFrame::Array(libraries)) => Some(libraries.len()).filter(|count| *count > 0),
        _ => None,
    }
}

/// As shells have it: 128 and the number of SIGINT.
pub const INTERRUPTED: u8 = 130;
