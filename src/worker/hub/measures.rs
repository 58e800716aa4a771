//! What is measured on the way: how long requests wait, how long nodes take, which keys are asked for most, and what was slow.
//!
//! Parts that are written, or answered, in one go are timed in one go. Beyond that a request costs some hundred instructions, unless it
//! is one of the few that are sampled, or slow: those take the long way back, where they are looked at.

use std::collections::BTreeMap;
use std::time::Duration;

use super::slow::Slow;
use super::{Hub, Settings};
use crate::clock::Now;
use crate::command::keys::KeyList;
use crate::command::{Flags, Row};
use crate::measure::{Batch, Frequent, Histogram, Largest, Ring, counts};
use crate::resp::request::{Request, RequestLimits, RequestScan, Scanned};
use crate::route::naming::databases::Tag;
use crate::route::part::{LinkId, NodeId, Noted, Part};
use crate::upstream::link::{Role, Use};

/// Of one request, as many keys are looked at.
const KEYS_MAX: usize = 16;

/// After so long a key that was hot counts half.
const FADE_AFTER: Duration = Duration::from_secs(60);

/// Commands whose times are kept.
const COMMANDS_MAX: usize = 256;

counts! {
    /// How long requests were where. Each stage counts parts of requests.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct Stages {
        /// From having been read to having been written to a node.
        wait: Histogram,
        /// From there to the answer.
        node: Histogram,
        /// From there to the client, at most: the turn of the worker in which that was.
        slotcar: Histogram,
    }
}

/// All of it, of one worker.
#[derive(Debug)]
pub(super) struct Measures {
    pub(super) stages: Stages,
    nodes: Vec<Option<Box<Histogram>>>,
    /// Whose answers are being taken, if they are timed.
    at: Option<NodeId>,
    answers: Batch,
    /// Requests that have been answered before this turn.
    answered: u64,
    /// None: nothing is slow.
    pub(super) slow_after: Option<Duration>,
    /// One of so many is sampled; 0: none.
    sample_every: u32,
    until_sample: u32,
    random: u64,
    /// The next part that is placed is sampled.
    samples_next: bool,
    fade_at: Now,
    pub(super) keys: Frequent,
    pub(super) largest: Largest,
    pub(super) commands: BTreeMap<&'static str, Histogram>,
    pub(super) slow: Ring<Slow>,
}

impl Measures {
    pub(super) fn new(settings: &Settings) -> Self {
        let Settings {
            limits,
            slow_after,
            sample_every,
            seed,
            ..
        } = settings;
        let (slow_after, sample_every) = (*slow_after, *sample_every);
        Self {
            stages: Stages::default(),
            nodes: Vec::new(),
            at: None,
            answers: Batch::default(),
            answered: 0,
            slow_after,
            sample_every,
            until_sample: sample_every,
            random: *seed | 1,
            samples_next: false,
            fade_at: Now::ZERO,
            keys: Frequent::new(limits.hot_keys_max),
            largest: Largest::new(limits.large_keys_max),
            commands: BTreeMap::new(),
            slow: Ring::new(limits.slow_requests_max),
        }
    }

    pub(super) fn take_live(&mut self, slow_after: Option<Duration>, sample_every: u32) {
        self.slow_after = slow_after;
        if self.sample_every != sample_every {
            (self.sample_every, self.until_sample) = (sample_every, sample_every);
        }
    }

    /// What has begun before that is slow.
    pub(super) fn slow_before(&self, now: Now) -> Now {
        self.slow_after
            .map_or(Now::ZERO, |after| now.earlier(after))
    }

    /// Whether this request is one of the few.
    #[inline(always)]
    pub(super) fn is_sampled(&mut self) -> bool {
        self.until_sample = self.until_sample.wrapping_sub(1);
        self.until_sample == 0 && self.begin_gap()
    }

    #[cold]
    fn begin_gap(&mut self) -> bool {
        self.until_sample = self.next_gap();
        self.sample_every != 0
    }

    /// Requests until the next one that is sampled, `sample_every` on average: a fixed number would always hit the same one
    /// of an app's loop.
    fn next_gap(&mut self) -> u32 {
        // xorshift64, as of Marsaglia: <https://doi.org/10.18637/jss.v008.i14>.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let most = u64::from(self.sample_every.saturating_mul(2).saturating_sub(1)).max(1);
        u32::try_from(1 + self.random % most).unwrap_or(1)
    }

    /// A request about its argument `key`, which gets this tag, is about to be sent.
    #[inline(always)]
    pub(super) fn sample(
        &mut self,
        now: Now,
        row: &'static Row,
        (request, key): (Request<'_>, usize),
        tag: Option<&Tag>,
    ) -> Noted {
        if !self.is_sampled() {
            return Noted::empty();
        }
        let key = request.arg(key);
        match tag {
            Some(tag) => self.note_key(now, &[tag.text(), key].concat(), row),
            None => self.note_key(now, key, row),
        }
        Noted::SAMPLED
    }

    /// A sampled request is about this key, as it is stored.
    #[cold]
    pub(super) fn note_key(&mut self, now: Now, key: &[u8], row: &'static Row) {
        if self.fade_at <= now {
            if self.fade_at != Now::ZERO {
                self.keys.fade();
            }
            self.fade_at = now + FADE_AFTER;
        }
        self.keys.note(key, row.name);
    }

    /// A part has been answered that was sent then.
    #[inline(always)]
    pub(super) fn note_answered(&mut self, now: Now, sent_at: Option<Now>) {
        if !self.answers.takes(sent_at) {
            self.turn_answers(now, sent_at);
        }
    }

    #[inline(never)]
    fn turn_answers(&mut self, now: Now, sent_at: Option<Now>) {
        let Self {
            stages, nodes, at, ..
        } = self;
        let into = |took, times| note_times(&mut stages.node, nodes, *at, took, times);
        self.answers.turn(now, sent_at, into);
    }

    /// All bytes of one read have been looked at.
    pub(super) fn end_answers(&mut self, now: Now) {
        let Self {
            stages, nodes, at, ..
        } = self;
        let into = |took, times| note_times(&mut stages.node, nodes, *at, took, times);
        self.answers.flush(now, into);
    }

    /// Whether a value of so many bytes might be one of the largest.
    #[inline(always)]
    pub(super) fn is_large(&self, bytes: usize) -> bool {
        self.largest.takes(bytes)
    }

    /// The value of a request, or of its reply, might be one of the largest.
    #[inline(never)]
    pub(super) fn note_value(&mut self, row: &'static Row, request: &[u8], reply_bytes: usize) {
        let reads = row.flags.contains(Flags::READ);
        let bytes = if reads { reply_bytes } else { request.len() };
        if !self.largest.takes(bytes) {
            return;
        }
        with_arguments(request, |request| {
            if let Some(key) = first_key(row, request) {
                self.largest.note(key, row.name, bytes);
            }
        });
    }

    pub(super) fn of_node(&self, node: NodeId) -> Option<&Histogram> {
        self.nodes.get(node.0 as usize)?.as_deref()
    }

    pub(super) fn forget_node(&mut self, node: NodeId) {
        if let Some(times) = self.nodes.get_mut(node.0 as usize) {
            *times = None;
        }
    }
}

/// Answers of a node. None: of a link where requests may wait for something else.
fn note_times(
    all: &mut Histogram,
    nodes: &mut Vec<Option<Box<Histogram>>>,
    node: Option<NodeId>,
    took: Duration,
    times: u64,
) {
    let Some(NodeId(index)) = node else { return };
    all.observe(took, times);
    let index = index as usize;
    if nodes.len() <= index {
        nodes.resize_with(index + 1, || None);
    }
    if let Some(place) = nodes.get_mut(index) {
        place.get_or_insert_default().observe(took, times);
    }
}

impl Hub {
    /// A turn of the worker, in which replies were read and written, has taken so long so far.
    pub fn note_turn(&mut self, took: Duration) {
        let answered = self.tally.total();
        let replies = answered - self.measures.answered;
        if replies > 0 {
            self.measures.answered = answered;
            self.measures.stages.slotcar.observe(took, replies);
        }
    }

    /// A request that takes the long way is about to be sent; its keys have just been looked for.
    pub(super) fn sample_request(&mut self, now: Now, row: &'static Row, request: Request<'_>) {
        if !self.measures.is_sampled() {
            return;
        }
        self.measures.samples_next = true;
        match row.first_key() {
            Some(key) => self.measures.note_key(now, request.arg(key), row),
            None => {
                let keys: Vec<_> = self.keys.iter().take(KEYS_MAX).collect();
                for key in keys {
                    self.measures.note_key(now, request.arg(key), row);
                }
            }
        }
    }

    /// A part is placed for the first time.
    pub(super) fn begin_part(&mut self, now: Now, part: &mut Part) {
        self.placed += 1;
        part.seq = self.placed;
        part.since = Some(now);
        if std::mem::take(&mut self.measures.samples_next) {
            part.noted |= Noted::SAMPLED;
        }
    }

    /// Answers of a link are about to be taken.
    pub(super) fn begin_answers(&mut self, now: Now, id: LinkId) {
        let slow_before = self.measures.slow_before(now);
        let Some(link) = self.link_mut(id) else {
            return;
        };
        let is_timed = link.used == Use::Shared || link.role == Role::Tracks;
        let oldest = link.queue().oldest_sent_at();
        link.is_late = is_timed && oldest.is_some_and(|at| at < slow_before);
        self.measures.at = is_timed.then_some(link.node);
    }

    /// Whether [`Hub::look_at_answer`] wants to see this part's bytes.
    pub(super) fn is_looked_at(part: &Part, slow_before: Now) -> bool {
        part.noted.contains(Noted::SAMPLED) || is_slow(part, slow_before)
    }

    /// A part has been answered after its way from a node: is there anything to remember of it? `bytes`: of the request, if it
    /// [is looked at](Self::is_looked_at).
    pub(super) fn look_at_answer(
        &mut self,
        now: Now,
        node: NodeId,
        (part, sent_at): (&Part, Option<Now>),
        bytes: &[u8],
        reply_bytes: usize,
    ) {
        if part.noted.contains(Noted::SAMPLED) {
            self.measures.note_value(part.row, bytes, reply_bytes);
            let commands = &mut self.measures.commands;
            if commands.len() < COMMANDS_MAX || commands.contains_key(part.row.name) {
                let times = commands.entry(part.row.name).or_default();
                let since = part.since.unwrap_or(now);
                times.observe(now.since(since), 1);
            }
        }
        if is_slow(part, self.measures.slow_before(now))
            && let (Some(since), Some(sent_at)) = (part.since, sent_at)
        {
            self.note_slow(now, node, (part, since, sent_at), bytes);
        }
    }
}

/// Whether it was placed before that, and how long its answer takes says something about a node: not if it may wait for something
/// else.
fn is_slow(part: &Part, slow_before: Now) -> bool {
    part.is_pipelined() && part.since.is_some_and(|since| since < slow_before)
}

/// Looks at the arguments of a whole request.
pub(super) fn with_arguments(bytes: &[u8], look: impl FnOnce(Request<'_>)) {
    let mut scan = RequestScan::new();
    if let Ok(Scanned::Multibulk(len)) = scan.advance(bytes, &RequestLimits::default()) {
        look(Request {
            bytes: bytes.get(..len).unwrap_or_default(),
            args: scan.args(),
        });
    }
}

fn first_key<'a>(row: &Row, request: Request<'a>) -> Option<&'a [u8]> {
    if let Some(key) = row.first_key() {
        return Some(request.arg(key));
    }
    let mut keys = KeyList::default();
    crate::command::keys::find_keys(row, request, &mut keys).ok()?;
    Some(request.arg(keys.iter().next()?))
}
