//! Moves the keys of one batch: reads them, writes them under their stored names, and, when renaming, removes what has not changed meanwhile.
//!
//! At every moment at least one of the two keys is whole. A key that changes while it is on its way is taken back (its target is removed, if nobody
//! has touched it) and moved again. A target that was there before is never touched.

use std::rc::Rc;

use bytes::Bytes;
use redis_protocol::resp2::types::BytesFrame;
use sha1::{Digest as _, Sha1};

use super::Context;
use super::compare::{are_same, text};
use super::failure::Failure;
use super::job::{Answer, Job, bulk, error, number};
use super::lines::Lines;
use super::plan::Way;
use crate::control::decode;

/// A key that is to be moved.
#[derive(Clone, Debug)]
pub(super) struct Mover {
    pub(super) name: Vec<u8>,
    pub(super) stored: Vec<u8>,
}

/// What a key holds at the source.
struct Value {
    key: Mover,
    dump: Bytes,
    expires: Expiry,
}

/// As `PEXPIRETIME` says it: -1: never.
type Expiry = i64;

/// A value that is at the target, whoever has written it.
struct Placed {
    value: Value,
    /// How the target looked when we had written it. None: it was there, and is the same.
    print: Option<Bytes>,
}

/// What `RESTORE` has come to.
enum Written {
    Ours(Option<Bytes>),
    There,
    Never(String),
}

/// Moves keys for one walk.
pub(super) struct Batches {
    context: Rc<Context>,
    source: Lines,
    target: Lines,
}

impl Batches {
    pub(super) fn new(context: Rc<Context>) -> Self {
        Self {
            source: Lines::new(Rc::clone(&context.source)),
            target: Lines::new(Rc::clone(&context.target)),
            context,
        }
    }

    /// How many bytes each of these keys has at its node, as far as that says so.
    pub(super) async fn weigh(&mut self, names: &[&Mover]) -> Result<Vec<Option<u64>>, Failure> {
        let jobs: Vec<Job> = names
            .iter()
            .map(|key| Job::new(&key.name).ask(&[b"MEMORY", b"USAGE", &key.name]))
            .collect();
        let answers = self.source.ask(&jobs, false).await?;
        let weight = |answer: &Answer| number(answer.reply(0)).map(i64::unsigned_abs);
        Ok(answers.iter().map(weight).collect())
    }

    /// Moves all of them; returns how many bytes they had.
    pub(super) async fn run(&mut self, keys: &[Mover]) -> Result<u64, Failure> {
        let (mut keys, mut bytes) = (keys.to_vec(), 0);
        for attempt in 1.. {
            let values = self.read(keys).await?;
            bytes += values
                .iter()
                .map(|value| value.dump.len() as u64)
                .sum::<u64>();
            let placed = self.write(values).await?;
            let placed = self.verify(placed).await?;
            keys = match self.context.way {
                Way::Rename => self.remove(placed).await?,
                Way::Copy => {
                    placed.iter().for_each(|placed| self.count(placed));
                    return Ok(bytes);
                }
            };
            if keys.is_empty() {
                break;
            }
            if attempt == ATTEMPTS_MAX {
                for key in &keys {
                    let mut book = self.context.book.borrow_mut();
                    let why = ": it changes all the time, and stays";
                    book.state.tally.failed.add(&key.name, why);
                }
                break;
            }
        }
        Ok(bytes)
    }

    async fn read(&mut self, keys: Vec<Mover>) -> Result<Vec<Value>, Failure> {
        let is_old = self.context.source_is_old;
        let job = |key: &Mover| {
            let job = Job::new(&key.name);
            let job = if is_old {
                job.ask(&[b"TIME"]).ask(&[b"PTTL", &key.name])
            } else {
                job.ask(&[b"PEXPIRETIME", &key.name])
            };
            job.ask(&[b"DUMP", &key.name])
        };
        let jobs: Vec<Job> = keys.iter().map(job).collect();
        let answers = self.source.ask(&jobs, false).await?;
        let mut values = Vec::with_capacity(keys.len());
        for (key, answer) in keys.into_iter().zip(answers) {
            if let Some(text) = answer.error() {
                return Err(refused(&answer, text));
            }
            let expires = expiry(&answer, is_old);
            match (expires, answer.replies.last().and_then(bulk)) {
                (Some(expires), Some(dump)) => values.push(Value { key, dump, expires }),
                _ => self.context.book.borrow_mut().state.tally.vanished += 1,
            }
        }
        Ok(values)
    }

    /// Returns what is at the target then. What is in conflict or cannot be written has been counted.
    async fn write(&mut self, values: Vec<Value>) -> Result<Vec<Placed>, Failure> {
        let way = self.context.way;
        let jobs: Vec<Job> = values.iter().map(|value| restore(way, value)).collect();
        let answers = self.target.ask(&jobs, true).await?;
        drop(jobs);
        let mut placed = Vec::with_capacity(values.len());
        let mut there = Vec::new();
        for (value, answer) in values.into_iter().zip(answers) {
            match written(way, &answer) {
                Ok(Written::Ours(print)) => placed.push(Placed { value, print }),
                Ok(Written::There) => there.push(value),
                Ok(Written::Never(why)) => {
                    let mut book = self.context.book.borrow_mut();
                    let why = format!(": {why}");
                    book.state.tally.failed.add(&value.key.name, &why);
                }
                Err(text) if text.contains("payload version") => {
                    return Err(self.context.too_old(&answer.node));
                }
                Err(text) => return Err(refused(&answer, text)),
            }
        }
        placed.extend(self.settle(there).await?);
        Ok(placed)
    }

    /// Finds out which of these the target has already; with the others it is in conflict.
    async fn settle(&mut self, there: Vec<Value>) -> Result<Vec<Placed>, Failure> {
        let job = |value: &Value| Job::new(&value.key.stored).ask(&[b"DUMP", &value.key.stored]);
        let jobs: Vec<Job> = there.iter().map(job).collect();
        let answers = self.target.ask(&jobs, false).await?;
        let mut placed = Vec::with_capacity(there.len());
        for (value, answer) in there.into_iter().zip(answers) {
            let dump = answer.replies.first().and_then(bulk);
            if self.is_same(&value, dump.as_ref()).await? {
                placed.push(Placed { value, print: None });
            } else {
                let mut book = self.context.book.borrow_mut();
                book.state.tally.conflicts.add(&value.key.name, "");
            }
        }
        Ok(placed)
    }

    /// Whether the target, which looks like this, has this value.
    async fn is_same(&mut self, value: &Value, dump: Option<&Bytes>) -> Result<bool, Failure> {
        if dump == Some(&value.dump) {
            return Ok(true);
        }
        let source = (&mut self.source, &*value.key.name);
        are_same(source, (&mut self.target, &value.key.stored)).await
    }

    /// Leaves out, and counts, what is not the same at the target (`--verify`).
    async fn verify(&mut self, placed: Vec<Placed>) -> Result<Vec<Placed>, Failure> {
        if !self.context.verify {
            return Ok(placed);
        }
        let job = |placed: &Placed| {
            let stored = &placed.value.key.stored;
            Job::new(stored)
                .ask(&[b"PEXPIRETIME", stored])
                .ask(&[b"DUMP", stored])
        };
        let jobs: Vec<Job> = placed.iter().map(job).collect();
        let answers = self.target.ask(&jobs, false).await?;
        let mut good = Vec::with_capacity(placed.len());
        for (one, answer) in placed.into_iter().zip(answers) {
            let expires = expiry(&answer, false);
            let is_in_time = expires.is_none_or(|at| at.abs_diff(one.value.expires) <= 1);
            let dump = answer.replies.last().and_then(bulk);
            // Without a value it has expired.
            let is_same = dump.is_none() || self.is_same(&one.value, dump.as_ref()).await?;
            let mut book = self.context.book.borrow_mut();
            let tally = &mut book.state.tally;
            match (is_same, is_in_time) {
                (true, true) => {
                    tally.verified += 1;
                    good.push(one);
                }
                (true, false) => tally
                    .different
                    .add(&one.value.key.name, ": expires at another time"),
                (false, _) => tally.different.add(&one.value.key.name, ""),
            }
        }
        Ok(good)
    }

    /// Returns what has changed meanwhile and is to be moved again.
    async fn remove(&mut self, placed: Vec<Placed>) -> Result<Vec<Mover>, Failure> {
        let job = |placed: &Placed| {
            let (value, print) = (&placed.value, Sha1::digest(&placed.value.dump));
            let print: String = print.iter().map(|byte| format!("{byte:02x}")).collect();
            remove_unchanged(&value.key.name, print.as_bytes(), value.expires)
        };
        let jobs: Vec<Job> = placed.iter().map(job).collect();
        let answers = self.source.ask(&jobs, false).await?;
        let (mut changed, mut undo) = (Vec::new(), Vec::new());
        for (placed, answer) in placed.into_iter().zip(answers) {
            match number(answer.reply(0)) {
                Some(REMOVED) => self.count(&placed),
                // We may have done it before the connection was lost.
                Some(GONE) if answer.again => self.count(&placed),
                Some(GONE) => {
                    self.context.book.borrow_mut().state.tally.vanished += 1;
                    undo.extend(taken_back(&placed));
                }
                Some(_) => {
                    self.context.book.borrow_mut().state.tally.again += 1;
                    undo.extend(taken_back(&placed));
                    changed.push(placed.value.key);
                }
                None => return Err(refused(&answer, error(answer.reply(0)).unwrap_or_default())),
            }
        }
        self.target.ask(&undo, false).await?;
        Ok(changed)
    }

    fn count(&self, placed: &Placed) {
        let mut book = self.context.book.borrow_mut();
        let tally = &mut book.state.tally;
        if placed.print.is_some() || self.context.way == Way::Rename {
            tally.moved += 1;
            tally.bytes += placed.value.dump.len() as u64;
        } else {
            tally.there += 1;
        }
    }
}

/// -1 for never; none: there is no such key.
fn expiry(answer: &Answer, is_old: bool) -> Option<Expiry> {
    if !is_old {
        return number(answer.reply(0)).filter(|at| *at >= -1);
    }
    let left = number(answer.reply(1)).filter(|left| *left >= -1)?;
    if left == -1 {
        return Some(-1);
    }
    let time = answer.replies.first().and_then(|reply| decode(reply).ok());
    let Some(BytesFrame::Array(parts)) = time else {
        return None;
    };
    let mut parts = parts.iter().map(|part| text(part)?.parse::<i64>().ok());
    let (seconds, micros) = (parts.next()??, parts.next()??);
    Some(seconds * 1000 + micros / 1000 + left)
}

fn restore(way: Way, value: &Value) -> Job {
    let stored = &value.key.stored;
    let expires = value.expires.max(0).to_string();
    let words: [&[u8]; 5] = [
        b"RESTORE",
        stored,
        expires.as_bytes(),
        &value.dump,
        b"ABSTTL",
    ];
    match way {
        Way::Copy => Job::new(stored).ask(&words),
        // Nobody comes between what we write and how it looks then.
        Way::Rename => Job::new(stored)
            .ask(&[b"MULTI"])
            .ask(&words)
            .ask(&[b"EVAL", PRINT, b"1", stored])
            .ask(&[b"EXEC"]),
    }
}

/// # Errors
/// The node's words, if they are about more than this key.
fn written(way: Way, answer: &Answer) -> Result<Written, String> {
    let outcome = match way {
        Way::Copy => answer.replies.first().and_then(|reply| decode(reply).ok()),
        Way::Rename => {
            if let Some(text) = answer.error() {
                return Err(text);
            }
            let exec = answer.replies.last().and_then(|reply| decode(reply).ok());
            let Some(BytesFrame::Array(mut items)) = exec else {
                return Err("EXEC has no list of replies".to_owned());
            };
            let print = items.pop();
            match (items.pop(), print) {
                (Some(BytesFrame::SimpleString(_)), Some(BytesFrame::BulkString(print))) => {
                    return Ok(Written::Ours(Some(print)));
                }
                // It has expired, or the user may not run scripts, which the removal will tell.
                (Some(BytesFrame::SimpleString(_)), _) => return Ok(Written::Ours(None)),
                (outcome, _) => outcome,
            }
        }
    };
    match outcome {
        Some(BytesFrame::SimpleString(_)) => Ok(Written::Ours(Some(Bytes::new()))),
        Some(BytesFrame::Error(text)) if text.starts_with("BUSYKEY") => Ok(Written::There),
        Some(BytesFrame::Error(text)) if text.contains("Bad data format") => {
            Ok(Written::Never(text.to_string()))
        }
        Some(BytesFrame::Error(text)) => Err(text.to_string()),
        Some(
            BytesFrame::BulkString(_)
            | BytesFrame::Array(_)
            | BytesFrame::Integer(_)
            | BytesFrame::Null,
        )
        | None => Err("RESTORE has an answer that it never has".to_owned()),
    }
}

/// Removes what we have written, if nobody has touched it.
fn taken_back(placed: &Placed) -> Option<Job> {
    let print = placed.print.as_ref()?;
    let value = &placed.value;
    Some(remove_unchanged(&value.key.stored, print, value.expires))
}

fn remove_unchanged(key: &[u8], print: &[u8], expires: Expiry) -> Job {
    let expires = expires.to_string();
    Job::new(key).ask(&[b"EVAL", REMOVE, b"1", key, print, expires.as_bytes()])
}

fn refused(answer: &Answer, text: String) -> Failure {
    Failure::Refused {
        node: answer.node.clone(),
        text,
    }
}

/// How a key looks.
const PRINT: &[u8] =
    b"local dump = redis.call('DUMP', KEYS[1]) return dump and redis.sha1hex(dump)";

/// Removes a key that looks as it did: one step, so that nobody's write is lost.
const REMOVE: &[u8] = b"local dump = redis.call('DUMP', KEYS[1]) \
    if not dump then return 0 end \
    if redis.sha1hex(dump) ~= ARGV[1] or redis.call('PEXPIRETIME', KEYS[1]) ~= tonumber(ARGV[2]) then return 2 end \
    return redis.call('UNLINK', KEYS[1])";

/// What that answers; anything else: it has changed.
const GONE: i64 = 0;
const REMOVED: i64 = 1;

/// A key that somebody writes to all the time is left where it is in the end.
const ATTEMPTS_MAX: u32 = 20;
