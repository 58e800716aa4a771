//! Requests on their way in: cut, look up, may it run now, plan, seat, parts.

use bytes::{Buf, BytesMut};

use super::Hub;
use super::others::Ask;
use crate::clock::Now;
use crate::command::class::Class;
use crate::command::lookup::Lookup;
use crate::command::{Connection, Local, Merge, Route, Row, Script, check};
use crate::downstream::replies::{Ended, Seat};
use crate::downstream::session::Wait;
use crate::measure::Outcome;
use crate::reply::{errors, info};
use crate::resp::inline;
use crate::resp::request::{ProtocolError, Request, RequestScan, Scanned};
use crate::resp::write;
use crate::route::part::SessionId;
use crate::route::plan::{Plan, plan};
use crate::topology::{Keyspace, Slot};
use crate::upstream::queue::BY_REFERENCE_BYTES_MIN;

/// Whether a request has been taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ran {
    Taken,
    /// It must wait for that.
    NotYet(Wait),
}

impl Hub {
    /// Bytes have come from a client.
    pub fn on_client_bytes(&mut self, now: Now, id: SessionId, bytes: &[u8]) {
        let Some(session) = self.session_mut(id) else {
            return;
        };
        if session.closing {
            return;
        }
        session.identity.last_active = now;
        if !session.input.is_empty() {
            let needs = session.scan.as_ref().map_or(0, |scan| scan.needs());
            keep_input(&mut session.input, bytes, needs);
            if !session.stalled && session.input.len() >= needs {
                self.run_held(now, id);
            }
            return self.check_share(id);
        }
        let used = self.run_requests(now, id, bytes);
        if let (Some(session), Some(rest)) = (
            self.session_mut(id),
            bytes.get(used..).filter(|r| !r.is_empty()),
        ) {
            let needs = session.scan.as_ref().map_or(0, |scan| scan.needs());
            keep_input(&mut session.input, rest, needs);
        }
        self.check_share(id);
    }

    /// Goes on with requests that had to wait, if they may run.
    pub(super) fn run_stalled(&mut self, now: Now, id: SessionId) {
        let limits = &self.settings.limits;
        let session = self.sessions.get_mut(id.index as usize);
        if let Some(session) = session.filter(|s| s.generation == id.generation)
            && session.stalled
            && session.may_run(limits)
        {
            session.stalled = false;
            session.wait = Wait::Nothing;
            self.run_held(now, id);
        }
    }

    fn run_held(&mut self, now: Now, id: SessionId) {
        let Some(session) = self.session_mut(id) else {
            return;
        };
        let mut input = std::mem::take(&mut session.input);
        if input.len() < BY_REFERENCE_BYTES_MIN {
            let used = self.run_requests(now, id, &input);
            input.advance(used);
        } else {
            // If it is one request, a link may keep it as it is.
            let whole = input.freeze();
            self.whole_input = Some(whole.clone());
            let used = self.run_requests(now, id, &whole);
            self.whole_input = None;
            let rest = whole.slice(used..);
            drop(whole);
            input = if rest.is_empty() {
                BytesMut::new()
            } else {
                rest.try_into_mut().unwrap_or_else(|rest| (&*rest).into())
            };
        }
        if let Some(session) = self.session_mut(id) {
            session.input = if input.is_empty() {
                BytesMut::new()
            } else {
                input
            };
        }
    }

    /// Runs every whole request in `buf` that may run now; returns how many bytes that was.
    fn run_requests(&mut self, now: Now, id: SessionId, buf: &[u8]) -> usize {
        let Some(session) = self.session_mut(id) else {
            return buf.len();
        };
        let mut scan = match session.scan.take() {
            Some(scan) => *scan,
            None => std::mem::take(&mut self.scan),
        };
        let mut at = 0;
        let mut partial = false;
        while let Some(rest) = buf.get(at..).filter(|rest| !rest.is_empty()) {
            let session = self.sessions.get_mut(id.index as usize);
            let limits = match session.filter(|s| s.generation == id.generation) {
                Some(session) if session.may_run(&self.settings.limits) => {
                    session.wait = Wait::Nothing;
                    session.request_limits(&self.settings.request)
                }
                Some(_) | None => {
                    self.stall(id, None);
                    break;
                }
            };
            let ran = match scan.advance(rest, limits) {
                Ok(Scanned::Multibulk(len)) => {
                    let bytes = rest.get(..len).unwrap_or_default();
                    (
                        self.on_request(
                            now,
                            id,
                            Request {
                                bytes,
                                args: scan.args(),
                            },
                        ),
                        len,
                    )
                }
                Ok(Scanned::Inline(len)) => (
                    self.on_inline(now, id, rest.get(..len).unwrap_or_default()),
                    len,
                ),
                Ok(Scanned::Nothing(len)) => (Ran::Taken, len),
                Ok(Scanned::Wants(_)) => {
                    partial = true;
                    break;
                }
                Err(error) => {
                    self.on_protocol_error(id, &error);
                    at = buf.len();
                    break;
                }
            };
            match ran {
                (Ran::Taken, len) => at += len,
                (Ran::NotYet(wait), _) => {
                    self.stall(id, Some(wait));
                    break;
                }
            }
        }
        if partial && let Some(session) = self.session_mut(id) {
            session.scan = Some(Box::new(scan));
        } else {
            scan.reset();
            self.scan = scan;
        }
        at
    }

    /// A request is about to be run.
    pub(super) fn note_request(&mut self, id: SessionId, row: Option<&Row>) {
        self.counters.requests += 1;
        if let Some(session) = self.session_mut(id) {
            session.silent = !session.identity.take_reply_wish();
            session.class = row.map_or(Class::default(), Row::class);
            session.identity.last_command = row.map(|row| row.name);
        }
        if !self.standing.is_empty() {
            self.note_standing_request(id, row);
        }
    }

    pub(super) fn has_in_flight(&self, id: SessionId) -> bool {
        self.session(id)
            .is_some_and(|session| !session.replies.is_empty())
    }

    fn stall(&mut self, id: SessionId, wait: Option<Wait>) {
        if let Some(session) = self.session_mut(id) {
            session.stalled = true;
            session.wait = wait.unwrap_or(session.wait);
        }
    }

    fn on_inline(&mut self, now: Now, id: SessionId, line: &[u8]) -> Ran {
        let arguments = match inline::split(line) {
            Ok(arguments) => arguments,
            Err(error) => {
                self.on_protocol_error(id, &error);
                return Ran::Taken;
            }
        };
        if arguments.is_empty() {
            return Ran::Taken;
        }
        let arguments: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
        let mut bytes = Vec::new();
        write::command(&mut bytes, &arguments);
        let mut scan = RequestScan::new();
        match scan.advance(&bytes, &self.settings.request) {
            Ok(Scanned::Multibulk(_)) => self.on_request(
                now,
                id,
                Request {
                    bytes: &bytes,
                    args: scan.args(),
                },
            ),
            Ok(Scanned::Inline(_) | Scanned::Nothing(_) | Scanned::Wants(_)) | Err(_) => Ran::Taken,
        }
    }

    fn on_protocol_error(&mut self, id: SessionId, error: &ProtocolError) {
        let text = error.0.clone();
        self.answer_here(id, |buf| write::error(buf, text.as_bytes()));
        if let Some(session) = self.session_mut(id) {
            session.closing = true;
            session.input = BytesMut::new();
        }
    }

    /// One whole request.
    fn on_request(&mut self, now: Now, id: SessionId, request: Request<'_>) -> Ran {
        let lookup = self.commands.lookup(request);
        let row = match lookup {
            Lookup::Row(row) if row.takes(request.len()) => row,
            Lookup::Row(_) | Lookup::UnknownCommand | Lookup::UnknownSubcommand(_) => {
                self.refuse_words(now, id, lookup, request);
                return Ran::Taken;
            }
        };
        if self.runs_as_it_is {
            return self.run_row(now, id, row, request);
        }
        if self.face.asks_for_logins() && self.must_log_in(now, id, row) {
            return Ran::Taken;
        }
        if self.audit.is_some() {
            return self.run_audited(now, id, row, request);
        }
        self.run_renamed(now, id, row, request)
    }

    /// A request of a known command, with the names under which its keys are stored.
    #[inline]
    pub(super) fn run_row(
        &mut self,
        now: Now,
        id: SessionId,
        row: &'static Row,
        request: Request<'_>,
    ) -> Ran {
        if self.pass_request(now, id, row, request) {
            return Ran::Taken;
        }
        if let Some(ran) = self.run_by_state(now, id, row, request) {
            return ran;
        }
        let plan = plan(row, request, self.settings.keyspace, &mut self.keys);
        if let Plan::Connection(connection) = plan {
            return self.run_bound(now, id, connection, row, request);
        }
        self.note_request(id, Some(row));
        if matches!(plan, Plan::Slot(_) | Plan::Split) {
            self.sample_request(now, row, request);
        }
        match plan {
            Plan::Slot(slot) => self.send_whole(now, id, row, slot, request),
            Plan::Split => self.send_split(now, id, row, request),
            Plan::AnyPrimary if row.merge == Merge::Receivers => {
                self.publish(now, id, row, request);
            }
            Plan::AnyPrimary if row.answers_as_it_likes() => {
                let slot = self.script_home(id);
                self.send_whole(now, id, row, slot, request);
            }
            Plan::AnyPrimary => self.send_to_any(now, id, row, request),
            Plan::AllPrimaries
                if row.merge == Merge::Info && info::is_about_slotcar(sections(request)) =>
            {
                self.ask_workers_for(now, id, Ask::Facts);
            }
            Plan::AllPrimaries => match self.home_of_names(row, request) {
                Some(home) => self.send_whole(now, id, row, home, request),
                None => self.send_to_all(now, id, row, request, false),
            },
            Plan::AllNodes => self.send_to_all(now, id, row, request, true),
            Plan::Scan => self.start_scan(now, id, row, request),
            Plan::Local(local) => self.run_local(now, id, local, request),
            Plan::Connection(_) => debug_assert!(false, "has been taken"),
            Plan::Refused(why) => self.refuse(id, errors::refused(row.name, why)),
            Plan::CrossSlot(a, b) => {
                self.read_over_slots(now, id, row, request, (a, b));
            }
            Plan::BadKeys => self.refuse(id, check::wrong_arity(row)),
        }
        Ran::Taken
    }

    /// What the state of its session, or of them all, makes of a request. None: it is as any other.
    fn run_by_state(
        &mut self,
        now: Now,
        id: SessionId,
        row: &'static Row,
        request: Request<'_>,
    ) -> Option<Ran> {
        let session = self.session(id)?;
        if session.subscriptions.is_some() && self.may_only_listen(id, row) {
            self.note_request(id, Some(row));
            let text = errors::only_while_subscribed(row.name);
            if row.route == Route::Connection(Connection::Exec) {
                self.refuse(id, errors::exec_abort(&text));
            } else {
                self.refuse(id, format!("ERR {text}"));
            }
            return Some(Ran::Taken);
        }
        if session.transaction.is_some() {
            return Some(self.run_in_transaction(now, id, row, request));
        }
        if self.is_paused(now, row) {
            return Some(Ran::NotYet(Wait::Pause));
        }
        if !self.standing.is_empty() && self.is_kept_from_keys(id, row) {
            self.note_request(id, Some(row));
            self.refuse(id, errors::MONITORS);
            return Some(Ran::Taken);
        }
        // Each may change the session's profile, and with it the links: what is in flight comes first.
        let switches = matches!(
            row.route,
            Route::Local(Local::Hello | Local::Reset | Local::Select)
        );
        if switches && self.has_in_flight(id) {
            return Some(Ran::NotYet(Wait::Answers));
        }
        if self.face.logins.are_passed_on() {
            let logs_in = row.route == Route::Local(Local::Auth);
            if logs_in && self.has_in_flight(id) {
                return Some(Ran::NotYet(Wait::Answers));
            }
            if self.log_in(now, id, row, request) {
                return Some(Ran::Taken);
            }
        }
        if row.route == Route::Local(Local::Select) && self.settings.keyspace == Keyspace::Whole {
            self.note_request(id, Some(row));
            self.select(now, id, row, request);
            return Some(Ran::Taken);
        }
        if row.script != Script::None {
            self.note_script(row.script, request);
        }
        if row.script == Script::Asks && self.knows_scripts(request) {
            self.note_request(id, Some(row));
            self.answer_here(id, |buf| {
                write::array(buf, request.len() - 2);
                (2..request.len()).for_each(|_| write::integer(buf, 1));
            });
            return Some(Ran::Taken);
        }
        None
    }

    /// Nobody would know what to do with a request.
    fn refuse_words(&mut self, now: Now, id: SessionId, lookup: Lookup, request: Request<'_>) {
        // A server remembers what it refused for its arguments.
        let row = match lookup {
            Lookup::Row(row) => Some(row),
            Lookup::UnknownCommand | Lookup::UnknownSubcommand(_) => None,
        };
        self.note_request(id, row);
        self.refuse_transaction(id);
        if row.is_some_and(|row| row.route == Route::Connection(Connection::Exec)) {
            self.end_transaction(id);
            self.unwatch(now, id);
        }
        self.refuse(id, check::refuse(lookup, request).unwrap_or_default());
    }

    /// Answers with bytes made here, in the request's turn.
    pub(super) fn answer_here(&mut self, id: SessionId, write: impl FnOnce(&mut Vec<u8>)) {
        let index = id.index as usize;
        let Some(session) = self
            .sessions
            .get_mut(index)
            .filter(|s| s.generation == id.generation)
        else {
            return;
        };
        session.out.adopt(&mut self.pool);
        let (silent, class) = (session.silent, session.class);
        let seat = session.replies.open(Seat::Waits, silent, class);
        let Ended { class, outcome } = session.replies.fill_with(seat, &mut session.out, write);
        let is_ours = outcome == Outcome::Error;
        let outcome = if is_ours { Outcome::Failed } else { outcome };
        self.tally.note(class, outcome);
        self.note_session_woken(id);
    }

    /// Answers with an error. `text` without the leading `-`.
    pub(super) fn refuse(&mut self, id: SessionId, text: impl AsRef<[u8]>) {
        self.counters.errors += 1;
        match self.own_text(text.as_ref()) {
            Some(own) => self.answer_here(id, |buf| write::error(buf, own)),
            None => self.answer_here(id, |buf| write::error(buf, text)),
        }
    }

    /// Two keys that no node has both.
    pub(super) fn refuse_cross_slot(&mut self, id: SessionId, a: &[u8], b: &[u8]) {
        let (a_slot, b_slot) = (Slot::of_key(a).get(), Slot::of_key(b).get());
        self.refuse(id, errors::cross_slot(a, a_slot, b, b_slot));
    }
}

/// Appends to what is kept of a client's input, whose first request `needs` so many bytes. A claim may take four times the memory
/// of what has arrived: so a large value is not copied for each doubling.
fn keep_input(input: &mut BytesMut, bytes: &[u8], needs: usize) {
    let has = input.len() + bytes.len();
    if has > input.capacity() {
        input.reserve(needs.min(4 * has).max(has) - input.len());
    }
    input.extend_from_slice(bytes);
}

/// The sections that an `INFO` asks for.
fn sections(request: Request<'_>) -> impl Iterator<Item = &[u8]> {
    (1..request.len()).map(move |index| request.arg(index))
}
