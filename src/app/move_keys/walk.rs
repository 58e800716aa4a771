//! Looks at every key of every primary of the source, until all of them have been looked at where they are.

use std::rc::Rc;

use bytes::Bytes;
use redis_protocol::resp2::types::BytesFrame;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::Context;
use super::batch::{Batches, Mover};
use super::failure::{Failure, passing};
use super::job::error;
use super::plan::{Fate, batches};
use super::side::Trouble;
use super::standing::{Standing, is_still, survey};
use super::state::Place;
use crate::clock::now;
use crate::control::{AskFailure, Wire, decode};
use crate::resp::write;

/// Whether all keys were seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Walked {
    Whole,
    /// Slots were on their way at the end, and with them perhaps keys that nobody has seen.
    Unsettled,
}

/// Walks until there is nobody who has not been seen with the slots that he has.
///
/// # Errors
/// The first that one of the walks has ended with; then the others have ended, too.
pub(super) async fn walk_all(context: &Rc<Context>) -> Result<Walked, Failure> {
    let mut trouble = Trouble::default();
    loop {
        let standings = survey(&context.source).await?;
        let are_moving = standings.iter().any(|one| one.slots.are_moving);
        let open: Vec<Standing> = standings
            .into_iter()
            .filter(|one| !context.is_done(one))
            .collect();
        if open.is_empty() && !are_moving {
            return Ok(Walked::Whole);
        }
        if open.is_empty() {
            match context.source.pause(&mut trouble).await {
                Ok(()) => continue,
                Err(Failure::TooLong(_)) => return Ok(Walked::Unsettled),
                Err(failure) => return Err(failure),
            }
        }
        trouble = Trouble::default();
        let mut walks = JoinSet::new();
        for standing in open {
            context.progress.borrow_mut().expect(standing.keys);
            walks.spawn_local(Walk::new(Rc::clone(context), standing).run());
        }
        let mut outcome = Ok(());
        while let Some(walked) = walks.join_next().await {
            if let Ok(Err(failure)) = walked {
                context.stop.set(true);
                // Who was stopped for another's sake has nothing to say.
                if outcome.is_ok() || outcome == Err(Failure::Stopped) {
                    outcome = Err(failure);
                }
            }
        }
        outcome?;
    }
}

/// One process that is scanned.
struct Walk {
    context: Rc<Context>,
    standing: Standing,
    wire: Option<Wire>,
    batches: Batches,
    /// Bytes of a key of the last batch, for nodes that do not say how many one has.
    usual: u64,
    /// The node says it.
    weighs: bool,
}

/// Why a step of a scan has not been made.
enum Hitch {
    /// It is another process now, or serves nothing any more: somebody else is to be asked.
    Left,
    Later(String),
    Failed(Failure),
}

impl Walk {
    fn new(context: Rc<Context>, standing: Standing) -> Self {
        Self {
            batches: Batches::new(Rc::clone(&context)),
            context,
            standing,
            wire: None,
            usual: 0,
            weighs: true,
        }
    }

    async fn run(mut self) -> Result<(), Failure> {
        let mut trouble = Trouble::default();
        let mut cursor = self.context.cursor(&self.standing);
        loop {
            if self.context.stop.get() {
                return Err(Failure::Stopped);
            }
            match self.page(cursor).await {
                Ok((next, names)) => {
                    trouble = Trouble::default();
                    self.handle(names).await?;
                    self.note(next)?;
                    if next == 0 {
                        return Ok(());
                    }
                    cursor = next;
                }
                Err(Hitch::Left) => return Ok(()),
                Err(Hitch::Failed(failure)) => return Err(failure),
                Err(Hitch::Later(what)) => {
                    if !self.context.source.is_primary(&self.standing.node) {
                        return Ok(());
                    }
                    trouble.what = what;
                    self.context.source.pause(&mut trouble).await?;
                }
            }
        }
    }

    /// One step of the scan.
    async fn page(&mut self, cursor: u64) -> Result<(u64, Vec<Vec<u8>>), Hitch> {
        let node = &self.standing.node;
        let hitch = |why: AskFailure| hitch(&self.standing, why);
        let wire = match self.wire.take() {
            Some(wire) => wire,
            None => {
                let mut wire = self.context.source.dial(node).await.map_err(hitch)?;
                let is_same = is_still(&mut wire, &self.standing.run_id).await;
                if !is_same.map_err(hitch)? {
                    return Err(Hitch::Left);
                }
                wire
            }
        };
        // What takes long is remembered in small steps.
        let burst = self.context.pace.borrow().burst().max(SLOW_PAGE_KEYS);
        let count = burst.min(self.context.limits.scanned_page_keys_max);
        let cursor = cursor.to_string();
        let mut request = Vec::new();
        let words = ["SCAN", &cursor, "COUNT", &count.to_string()];
        write::command(&mut request, &words);
        let source = &self.context.source;
        let sent = source.send(node, Some(wire), &request, 1, false).await;
        let (wire, replies) = sent.map_err(hitch)?;
        let reply = replies.into_iter().next().unwrap_or_default();
        if let Some(text) = error(&reply) {
            return Err(hitch(AskFailure::Refused(text)));
        }
        let page = page(&reply).ok_or(AskFailure::Malformed("no answer to SCAN"));
        let page = page.map_err(hitch)?;
        self.wire = Some(wire);
        Ok(page)
    }

    async fn handle(&mut self, mut names: Vec<Vec<u8>>) -> Result<(), Failure> {
        let looked_at = names.len();
        names.sort_unstable();
        names.dedup();
        let movers = self.choose(names);
        let moved = self.move_all(&movers).await;
        let mut under_way = self.context.under_way.borrow_mut();
        for key in &movers {
            under_way.remove(&key.name);
        }
        drop(under_way);
        moved?;
        let book = self.context.book.borrow();
        let mut progress = self.context.progress.borrow_mut();
        progress.look(looked_at, &book.state.tally);
        Ok(())
    }

    /// Who is to be moved; a slot on its way shows its keys at both nodes, and only one of us may touch each.
    fn choose(&self, names: Vec<Vec<u8>>) -> Vec<Mover> {
        let context = &self.context;
        let mut book = context.book.borrow_mut();
        let tally = &mut book.state.tally;
        let mut movers = Vec::new();
        for name in names {
            match context.fate(&name) {
                Fate::Stored => tally.there += 1,
                Fate::Free => tally.free += 1,
                Fate::Moves(stored) if context.dry_run => {
                    tally.would_move(context.rule(&name), &name, &stored);
                }
                Fate::Moves(stored) => {
                    if context.under_way.borrow_mut().insert(name.clone()) {
                        movers.push(Mover { name, stored });
                    }
                }
            }
        }
        movers
    }

    async fn move_all(&mut self, movers: &[Mover]) -> Result<(), Failure> {
        if movers.is_empty() {
            return Ok(());
        }
        let weights = self.weights(movers).await?;
        let limits = &self.context.limits;
        let keys_max = limits
            .moved_batch_keys_max
            .min(self.context.pace.borrow().burst());
        let bytes_max = limits.moved_batch_bytes_max as u64;
        for range in batches(&weights, keys_max, bytes_max) {
            if self.context.stop.get() {
                return Err(Failure::Stopped);
            }
            let batch = movers.get(range).unwrap_or_default();
            let wait = self.context.pace.borrow_mut().take(now(), batch.len());
            if !wait.is_zero() {
                sleep(wait).await;
            }
            let bytes = self.batches.run(batch).await?;
            self.usual = bytes / batch.len().max(1) as u64;
        }
        Ok(())
    }

    async fn weights(&mut self, movers: &[Mover]) -> Result<Vec<u64>, Failure> {
        if !self.weighs {
            return Ok(vec![self.usual; movers.len()]);
        }
        let names: Vec<&Mover> = movers.iter().collect();
        let weights = self.batches.weigh(&names).await?;
        // Those that are gone by now have none either.
        self.weighs = weights.iter().any(Option::is_some);
        let usual = self.usual;
        let known = weights.into_iter();
        Ok(known.map(|weight| weight.unwrap_or(usual)).collect())
    }

    fn note(&self, cursor: u64) -> Result<(), Failure> {
        let mut book = self.context.book.borrow_mut();
        let place = Place {
            node: self.standing.node.to_string(),
            slots: self.standing.slots.said.clone(),
            cursor,
            done: cursor == 0,
        };
        let id = self.standing.run_id.clone();
        book.state.places.insert(id, place);
        book.note(now()).map_err(Failure::State)
    }
}

fn hitch(standing: &Standing, why: AskFailure) -> Hitch {
    match passing(&standing.node, why) {
        Ok(what) => Hitch::Later(what),
        Err(failure) => Hitch::Failed(failure),
    }
}

/// The next cursor, and the names.
fn page(reply: &Bytes) -> Option<(u64, Vec<Vec<u8>>)> {
    let Ok(BytesFrame::Array(parts)) = decode(reply) else {
        return None;
    };
    let [BytesFrame::BulkString(cursor), BytesFrame::Array(names)] = parts.as_slice() else {
        return None;
    };
    let cursor = std::str::from_utf8(cursor).ok()?.parse().ok()?;
    let names = names.iter().filter_map(|name| match name {
        BytesFrame::BulkString(name) => Some(name.to_vec()),
        BytesFrame::SimpleString(_)
        | BytesFrame::Error(_)
        | BytesFrame::Integer(_)
        | BytesFrame::Array(_)
        | BytesFrame::Null => None,
    });
    Some((cursor, names.collect()))
}

/// Looked at in one step at least, however slow it is to be.
const SLOW_PAGE_KEYS: usize = 16;
