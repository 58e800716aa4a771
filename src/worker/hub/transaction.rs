//! `MULTI` … `EXEC`: requests are checked and kept here, then written as one block on the shared link of their slot's node.
//!
//! A block is a part like any other: it is held, redirected and sent again as a whole. With `WATCH` it goes on the link
//! where the keys are watched, and nowhere else: if that link is lost or its node refuses, the keys count as changed.

use bytes::Bytes;

use super::Hub;
use super::place::Body;
use super::request::Ran;
use crate::clock::Now;
use crate::command::keys::{KeyList, find_keys};
use crate::command::{Client, Connection, Local, Route, Row, check};
use crate::downstream::execution::Execution;
use crate::downstream::local::database;
use crate::downstream::replies::Seat;
use crate::downstream::session::{Wait, Watch};
use crate::downstream::transaction::{Block, Place, Source, Transaction};
use crate::reply::errors;
use crate::resp::request::{Request, RequestScan, Scanned};
use crate::resp::write;
use crate::route::part::{LinkId, Noted, Part, Profile, Purpose, SessionId, Target, Ticket, Way};
use crate::route::plan::{OneSlot, Plan, one_slot, plan};
use crate::route::split::Cut;
use crate::topology::{Keyspace, Slot};

impl Hub {
    pub(super) fn multi(&mut self, id: SessionId) {
        let Some(session) = self.session_mut(id) else {
            return;
        };
        let watched = session.watch.as_ref();
        let home = watched
            .filter(|_| !session.splits_transactions)
            .map(|watch| (watch.slot, watch.key.clone()));
        session.transaction = Some(Box::new(Transaction::new(home)));
        self.answer_here(id, write::ok);
    }

    pub(super) fn discard(&mut self, now: Now, id: SessionId) {
        if self.end_transaction(id).is_none() {
            return self.refuse(id, errors::DISCARD_WITHOUT_MULTI);
        }
        self.unwatch(now, id);
        self.answer_here(id, write::ok);
    }

    /// Takes what is queued out of a session, which is in no transaction any more.
    pub(super) fn end_transaction(&mut self, id: SessionId) -> Option<Box<Transaction>> {
        self.session_mut(id)?.transaction.take()
    }

    /// A request of the session's transaction was refused.
    pub(super) fn refuse_transaction(&mut self, id: SessionId) {
        if let Some(session) = self.session_mut(id)
            && let Some(transaction) = &mut session.transaction
        {
            transaction.refuse();
        }
    }

    /// A request between MULTI and EXEC. Those that end the transaction are run at once.
    pub(super) fn run_in_transaction(
        &mut self,
        now: Now,
        id: SessionId,
        row: &'static Row,
        request: Request<'_>,
    ) -> Ran {
        if row.route == Route::Connection(Connection::Exec) {
            return self.exec(now, id, row);
        }
        let resets = row.route == Route::Local(Local::Reset);
        if resets && self.has_in_flight(id) {
            return Ran::NotYet(Wait::Answers);
        }
        self.note_request(id, Some(row));
        if row.route == Route::Connection(Connection::Discard) {
            self.discard(now, id);
        } else if resets {
            self.run_local(now, id, Local::Reset, request);
        } else if row.route == Route::Local(Local::Quit) {
            self.run_local(now, id, Local::Quit, request);
        } else {
            let mut keys = std::mem::take(&mut self.keys);
            let plan = plan(row, request, self.settings.keyspace, &mut keys);
            match self.place_of(id, plan, row, request, &mut keys) {
                Ok(place) => self.queue(id, row, request, place),
                Err(No::Goes(text)) => self.refuse(id, text),
                Err(No::Aborts(text)) => {
                    self.refuse_transaction(id);
                    self.refuse(id, text);
                }
            }
            self.keys = keys;
        }
        Ran::Taken
    }

    /// Where a queued request will be executed, or what is said against it.
    fn place_of(
        &mut self,
        id: SessionId,
        plan: Plan,
        row: &'static Row,
        request: Request<'_>,
        keys: &mut KeyList,
    ) -> Result<Place, No> {
        let splits = self.session(id).is_some_and(|s| s.splits_transactions);
        let asks_all = matches!(plan, Plan::AllPrimaries);
        let home = self.home_of_names(row, request).filter(|_| asks_all);
        if let Some(home) = home.filter(|_| self.settings.keyspace == Keyspace::Hashed) {
            self.agree(id, home, request.arg(1))?;
            return Ok(Place::At(home));
        }
        match plan {
            Plan::Slot(_) | Plan::Connection(Connection::Blocking) => {
                self.at_one_slot(id, row, request, keys)
            }
            Plan::AnyPrimary | Plan::Connection(Connection::Wait) => Ok(Place::Anywhere),
            Plan::Split => self.dealt_by_key(id, splits, row, request, keys),
            Plan::AllPrimaries | Plan::AllNodes if self.settings.keyspace == Keyspace::Whole => {
                Ok(Place::Anywhere)
            }
            Plan::AllPrimaries | Plan::AllNodes if splits => Ok(self.dealt_by_node(row, request)),
            Plan::AllPrimaries | Plan::AllNodes | Plan::Scan => {
                Err(No::Aborts(errors::spans_nodes(row.name).into()))
            }
            Plan::Local(Local::Auth) if self.face.logins.are_passed_on() => {
                Err(No::Aborts(errors::NOT_IN_MULTI.into()))
            }
            Plan::Local(Local::Hello | Local::Client(Client::Reply | Client::Unblock))
            | Plan::Connection(
                Connection::Subscribe(_)
                | Connection::Unsubscribe(_)
                | Connection::Monitor
                | Connection::Tracking
                | Connection::HashImport
                | Connection::Exec
                | Connection::Discard,
            ) => Err(No::Aborts(errors::NOT_IN_MULTI.into())),
            Plan::Local(Local::Select) if self.settings.keyspace == Keyspace::Whole => {
                Ok(Place::Anywhere)
            }
            Plan::Local(local) => Ok(Place::Here(local)),
            Plan::Connection(Connection::Unwatch) => Ok(Place::Nowhere),
            // Valkey refuses both before it runs them, and EXEC with them.
            Plan::Connection(Connection::Multi | Connection::Watch) if self.face.is_valkey() => {
                Err(No::Aborts(errors::NOT_IN_MULTI.into()))
            }
            Plan::Connection(Connection::Multi) => Err(No::Goes(errors::NESTED_MULTI)),
            Plan::Connection(Connection::Watch) => Err(No::Goes(errors::WATCH_IN_MULTI)),
            Plan::Refused(why) => Err(No::Aborts(errors::refused(row.name, why).into())),
            Plan::CrossSlot(a, b) => {
                let (a, b) = (request.arg(a), request.arg(b));
                Err(No::Aborts(cross_slot(a, b)))
            }
            Plan::BadKeys => Err(No::Aborts(check::wrong_arity(row))),
        }
    }

    fn at_one_slot(
        &mut self,
        id: SessionId,
        row: &'static Row,
        request: Request<'_>,
        keys: &mut KeyList,
    ) -> Result<Place, No> {
        // Plans by a fixed key do not fill the list.
        if find_keys(row, request, keys).is_err() {
            return Err(No::Aborts(check::wrong_arity(row)));
        }
        let slot = match one_slot(request, self.settings.keyspace, keys) {
            OneSlot::NoKeys => return Ok(Place::Anywhere),
            OneSlot::Yes(slot) => slot,
            OneSlot::No(a, b) => {
                return Err(No::Aborts(cross_slot(request.arg(a), request.arg(b))));
            }
        };
        let first = keys.iter().next().map_or(&b""[..], |at| request.arg(at));
        self.agree(id, slot, first)?;
        Ok(Place::At(slot))
    }

    /// Whether the session's transaction may have a key in this slot.
    fn agree(&mut self, id: SessionId, slot: Slot, key: &[u8]) -> Result<(), No> {
        let session = self.session_mut(id).filter(|s| !s.splits_transactions);
        let transaction = session.and_then(|s| s.transaction.as_mut());
        match transaction.and_then(|transaction| transaction.disagrees(slot, key)) {
            None => Ok(()),
            Some(home) => Err(No::Aborts(cross_slot(home, key))),
        }
    }

    fn dealt_by_key(
        &mut self,
        id: SessionId,
        splits: bool,
        row: &'static Row,
        request: Request<'_>,
        keys: &mut KeyList,
    ) -> Result<Place, No> {
        let Some(shape) = row.shape.filter(|_| splits) else {
            return self.at_one_slot(id, row, request, keys);
        };
        match self.splitter.split(shape, request, self.settings.keyspace) {
            Cut::Malformed => Err(No::Aborts(check::wrong_arity(row))),
            Cut::Whole(slot) => Ok(Place::At(slot)),
            Cut::Parts => {
                let slots = self.splitter.slots().iter().enumerate();
                let part = |(part, &slot): (usize, &Slot)| {
                    let mut bytes = Vec::new();
                    self.splitter.write_part(part, request, &mut bytes);
                    (slot, bytes)
                };
                Ok(Place::Dealt {
                    merge: row.merge,
                    parts: slots.map(part).collect(),
                    key_parts: self.splitter.key_parts().to_vec(),
                })
            }
        }
    }

    fn dealt_by_node(&self, row: &'static Row, request: Request<'_>) -> Place {
        let primaries = self.owners.primaries().iter();
        Place::Dealt {
            merge: row.merge,
            parts: primaries
                .map(|&slot| (slot, request.bytes.to_vec()))
                .collect(),
            key_parts: Vec::new(),
        }
    }

    fn queue(&mut self, id: SessionId, row: &'static Row, request: Request<'_>, place: Place) {
        let databases = self.face.databases.names;
        let max = self.settings.limits.transaction_bytes_max;
        let Some(session) = self.session_mut(id) else {
            return;
        };
        let Some(transaction) = &mut session.transaction else {
            return;
        };
        if transaction.bytes() + request.bytes.len() > max {
            transaction.refuse();
            return self.refuse(id, errors::transaction_too_large(max));
        }
        if row.route == Route::Local(Local::Select)
            && matches!(place, Place::Anywhere)
            && let Ok(database) = database(request)
        {
            transaction.select(database);
        }
        if matches!(place, Place::Here(Local::Select))
            && let Ok(database) = database(request)
            && database < databases
        {
            transaction.database_of_names = Some(database);
        }
        transaction.queue(row, request.bytes, place);
        self.note_script(row.script, request);
        self.answer_here(id, |buf| write::simple(buf, "QUEUED"));
    }

    pub(super) fn exec(&mut self, now: Now, id: SessionId, row: &'static Row) -> Ran {
        if self.is_paused(now, row) {
            return Ran::NotYet(Wait::Pause);
        }
        let watches = self.session(id).is_some_and(|s| s.watch.is_some());
        // The link where keys are watched and the shared one must not change places.
        if watches && self.has_in_flight(id) {
            return Ran::NotYet(Wait::Answers);
        }
        self.note_request(id, Some(row));
        let Some(transaction) = self.end_transaction(id) else {
            self.refuse(id, errors::EXEC_WITHOUT_MULTI);
            return Ran::Taken;
        };
        if transaction.is_refused() {
            self.unwatch(now, id);
            self.refuse(id, errors::EXEC_ABORT);
            return Ran::Taken;
        }
        let watch = self.session_mut(id).and_then(|s| s.watch.take());
        if watch.as_ref().is_some_and(|watch| watch.link.is_none()) {
            let proto = self.session(id).map(|s| s.identity.proto);
            self.answer_here(id, |buf| write::null_array(buf, proto.unwrap_or_default()));
            return Ran::Taken;
        }
        self.note_split(&transaction);
        let selects = transaction.selects();
        let is_selecting = !selects.is_empty();
        if is_selecting && let Some(session) = self.session_mut(id) {
            session.selecting = Some(selects.into());
            session.wait = Wait::Answers;
        }
        let any = if transaction.runs_scripts() {
            self.script_home(id)
        } else {
            self.any_primary(id)
        };
        let dealt = transaction.deal(watch.as_ref().map(|watch| watch.slot), any);
        match dealt.blocks.as_slice() {
            [block] if dealt.sources.iter().all(|s| matches!(s, Source::Block(_))) => {
                if let Some((ticket, profile)) = self.open_seat(id, Seat::Waits) {
                    let mut part = block_part(ticket, block, row, profile);
                    let mut bytes = std::mem::take(&mut self.part_bytes);
                    part.noted.set(Noted::SELECTS, is_selecting);
                    part.replies += self.write_scripts(block, &mut bytes);
                    let has_names = self.note_names(ticket, &block.names);
                    part.noted.set(Noted::NAMES, has_names);
                    block.write(&mut bytes);
                    self.place_block(now, part, watch.as_deref(), &bytes);
                    bytes.clear();
                    self.part_bytes = bytes;
                }
            }
            blocks if blocks.len() > usize::from(u16::MAX) => {
                self.release_watch(watch.as_deref());
                self.refuse(id, errors::transaction_too_wide(blocks.len()));
            }
            _ => self.execute(now, id, row, watch.as_deref(), dealt.blocks, dealt.sources),
        }
        Ran::Taken
    }

    /// A transaction of several blocks, or with requests that are answered here.
    fn execute(
        &mut self,
        now: Now,
        id: SessionId,
        row: &'static Row,
        watch: Option<&Watch>,
        blocks: Vec<Block>,
        sources: Vec<Source>,
    ) {
        // What is atomic by itself needs no MULTI: most of what is split is a pipeline of single requests.
        let selects = self.session(id).is_some_and(|s| s.selecting.is_some());
        let is_bare =
            |block: &Block| blocks.len() > 1 && block.requests == 1 && block.alone.is_some();
        let bare: Vec<bool> = (0..)
            .zip(&blocks)
            .map(|(at, block)| is_bare(block) && (at > 0 || watch.is_none()))
            .collect();
        let execution = Execution::new(sources, bare.clone());
        let Some((ticket, profile)) = self.open_seat(id, Seat::Executes(Box::new(execution)))
        else {
            return;
        };
        if blocks.is_empty() {
            return self.finish_execution(now, ticket);
        }
        let mut bytes = Vec::new();
        for (part, (block, bare)) in (0u16..).zip(blocks.iter().zip(bare)) {
            bytes.clear();
            let ticket = Ticket { part, ..ticket };
            let part = match block.alone {
                Some(row) if bare => {
                    bytes.extend_from_slice(&block.bytes);
                    Part::new(ticket, Target::Slot(block.slot), row, profile)
                }
                Some(_) | None => {
                    let scripts = self.write_scripts(block, &mut bytes);
                    block.write(&mut bytes);
                    let mut part = block_part(ticket, block, row, profile);
                    let has_names = self.note_names(ticket, &block.names);
                    part.noted.set(Noted::NAMES, has_names);
                    part.replies += scripts;
                    part.noted.set(Noted::SELECTS, selects);
                    part
                }
            };
            match watch {
                Some(_) if ticket.part == 0 => self.place_block(now, part, watch, &bytes),
                Some(_) => self.keep_for_later(ticket, part, &bytes),
                None => self.place(now, part, Body::Borrowed(&bytes)),
            }
        }
        if watch.is_some()
            && let Some(session) = self.session_mut(id)
        {
            session.wait = Wait::Answers;
        }
    }

    /// Sends a block on its way; one that watches, on the link where it does.
    fn place_block(&mut self, now: Now, part: Part, watch: Option<&Watch>, bytes: &[u8]) {
        let Some((watch, link)) = watch.and_then(|watch| Some((watch, watch.link?))) else {
            return self.place(now, part, Body::Borrowed(bytes));
        };
        let mut part = part.by(Way::Pinned);
        self.placed += 1;
        part.seq = self.placed;
        if let Some(link) = self.link_mut(link) {
            link.kept = false;
            if watch.asking {
                let asking = Part {
                    purpose: Purpose::Swallow,
                    replies: 1,
                    ..part
                };
                link.push_with(asking, |log| write::command(log, &[b"ASKING"]));
            }
            self.push_to(watch.link, part, bytes);
        } else {
            self.answer_watch_lost(now, &part);
        }
    }

    pub(super) fn push_to(&mut self, link: Option<LinkId>, part: Part, bytes: &[u8]) {
        if let Some(link) = link {
            self.push(link, part, &Body::Borrowed(bytes));
        }
    }

    fn keep_for_later(&mut self, ticket: Ticket, part: Part, bytes: &[u8]) {
        if let Some(Seat::Executes(execution)) = self.seat_mut(ticket) {
            execution.later.push((part, Bytes::copy_from_slice(bytes)));
        }
    }

    /// A block of a transaction has been answered.
    pub(super) fn deliver_block(&mut self, now: Now, ticket: Ticket, frame: &[u8]) {
        let Some(Seat::Executes(execution)) = self.seat_mut(ticket) else {
            return;
        };
        let complete = execution.on_reply(usize::from(ticket.part), frame);
        let decides = ticket.part == 0 && (execution.is_one_block() || !execution.later.is_empty());
        if decides && let Some(reply) = execution.aborted() {
            let reply = reply.to_vec();
            self.fill_seat(ticket, &reply);
        } else if complete {
            self.finish_execution(now, ticket);
        } else {
            for (part, bytes) in std::mem::take(&mut execution.later) {
                self.place(now, part, Body::Shared(&bytes));
            }
        }
    }

    fn finish_execution(&mut self, now: Now, ticket: Ticket) {
        let Some(Seat::Executes(execution)) = self.seat_mut(ticket) else {
            return;
        };
        let execution = std::mem::replace(&mut **execution, Execution::new(Vec::new(), Vec::new()));
        let id = ticket.session;
        let Some(proto) = self.session(id).map(|s| s.identity.proto) else {
            return;
        };
        let (facts, settings) = (self.facts(), self.settings.clone());
        let face = settings.server_face(&facts, now);
        let mut reply = Vec::new();
        execution.finish(
            proto,
            &face,
            &mut reply,
            |source, count, out| match source {
                Source::Receivers {
                    slot,
                    kind,
                    channel,
                    ..
                } => {
                    let count = self.receivers(*slot, count.unwrap_or(0), *kind, channel);
                    write::integer(out, count);
                }
                Source::Here { local, request } => {
                    self.answer_at_last(now, id, *local, request, out)
                }
                Source::Ok | Source::Block(_) | Source::Merged { .. } => {}
            },
        );
        self.fill_seat(ticket, &reply);
    }

    /// Runs a request that is answered here, at last.
    fn answer_at_last(
        &mut self,
        now: Now,
        id: SessionId,
        local: Local,
        request: &[u8],
        out: &mut Vec<u8>,
    ) {
        let mut scan = RequestScan::new();
        if let Ok(Scanned::Multibulk(_)) = scan.advance(request, &self.settings.request) {
            let request = Request {
                bytes: request,
                args: scan.args(),
            };
            self.local_reply(now, id, local, request, true, out);
        }
    }

    fn fill_seat(&mut self, ticket: Ticket, frame: &[u8]) {
        if let Some(seat) = self.seat_mut(ticket) {
            *seat = Seat::Waits;
        }
        if let Some(session) = self.session_mut(ticket.session) {
            let ended = session.replies.fill(ticket.seat, &mut session.out, frame);
            self.tally.note(ended.class, ended.outcome);
        }
        self.note_session_woken(ticket.session);
    }

    pub(super) fn seat_mut(&mut self, ticket: Ticket) -> Option<&mut Seat> {
        self.session_mut(ticket.session)?
            .replies
            .seat_mut(ticket.seat)
    }

    /// Says once for each pair of commands that a transaction has been split, and counts all.
    fn note_split(&mut self, transaction: &Transaction) {
        let Some((one, other)) = transaction.first_split() else {
            return;
        };
        self.counters.transactions_split += 1;
        if self.splits_seen.insert((one, other)) {
            tracing::info!(
                worker = self.settings.worker,
                "a transaction with {one} and {other} in different slots is split: it is atomic per slot only"
            );
        }
    }
}

/// Why a request is not queued.
enum No {
    /// The transaction goes on without it.
    Goes(&'static str),
    Aborts(Vec<u8>),
}

fn block_part(ticket: Ticket, block: &Block, exec: &'static Row, profile: Profile) -> Part {
    let row = block.reads_only.unwrap_or(exec);
    Part {
        replies: block.requests + 2,
        ..Part::new(ticket, Target::Slot(block.slot), row, profile)
    }
}

pub(super) fn cross_slot(a: &[u8], b: &[u8]) -> Vec<u8> {
    let (a_slot, b_slot) = (Slot::of_key(a).get(), Slot::of_key(b).get());
    errors::cross_slot_transaction(a, a_slot, b, b_slot).into()
}
