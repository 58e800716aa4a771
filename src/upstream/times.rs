//! When the parts of one queue were placed, and when they were sent.
//!
//! Parts come and leave in the order of the queue, many in one turn of the worker: those of one moment are a run, so that a part
//! costs one comparison on each step of its way.

use std::collections::VecDeque;

use crate::clock::Now;

/// Runs for which an idle link has room.
const KEEP_RUNS_MAX: usize = 64;

/// Parts in a row of which the same is known. None: nobody wants to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Run {
    at: Option<Now>,
    count: usize,
}

/// Parts that wait, by when they were placed, and behind them parts that were sent, by when that was.
#[derive(Debug, Default)]
pub(super) struct Times {
    waiting: VecDeque<Run>,
    /// The youngest run of those that wait.
    last: Run,
    /// The oldest run of those that were sent.
    first: Run,
    sent: VecDeque<Run>,
}

impl Times {
    /// A part begins to wait.
    #[inline(always)]
    pub(super) fn note_queued(&mut self, since: Option<Now>) {
        if self.last.at != since {
            self.begin_run(since);
        }
        self.last.count += 1;
    }

    #[cold]
    fn begin_run(&mut self, since: Option<Now>) {
        let last = std::mem::replace(
            &mut self.last,
            Run {
                at: since,
                count: 0,
            },
        );
        if last.count > 0 {
            self.waiting.push_back(last);
        }
    }

    /// So many parts have been sent: `each` gets the numbers of those that were placed at the same moment.
    pub(super) fn note_sent(
        &mut self,
        mut count: usize,
        now: Now,
        mut each: impl FnMut(Option<Now>, usize),
    ) {
        while count > 0 {
            let run = self.waiting.front_mut().unwrap_or(&mut self.last);
            let (since, step) = (run.at, run.count.min(count));
            debug_assert!(step > 0, "what is sent has waited");
            if step == 0 {
                break;
            }
            run.count -= step;
            if run.count == 0 {
                self.waiting.pop_front();
            }
            count -= step;
            self.add_sent(since.and(Some(now)), step);
            each(since, step);
        }
    }

    fn add_sent(&mut self, at: Option<Now>, count: usize) {
        let youngest = self.sent.back_mut().unwrap_or(&mut self.first);
        if youngest.count == 0 || youngest.at == at {
            youngest.at = at;
            youngest.count += count;
        } else {
            self.sent.push_back(Run { at, count });
        }
    }

    /// When the oldest part that was sent was.
    #[inline(always)]
    pub(super) fn oldest_sent_at(&self) -> Option<Now> {
        self.first.at
    }

    /// The oldest part that was sent leaves: says when that was.
    #[inline(always)]
    pub(super) fn note_answered(&mut self) -> Option<Now> {
        let at = self.first.at;
        self.first.count = self.first.count.wrapping_sub(1);
        if self.first.count == 0 {
            self.end_run();
        }
        at
    }

    fn end_run(&mut self) {
        self.first = self.sent.pop_front().unwrap_or_default();
    }

    /// These wait, and no others.
    pub(super) fn requeue(&mut self, waiting: impl Iterator<Item = Option<Now>>) {
        self.waiting.clear();
        self.last = Run::default();
        waiting.for_each(|since| self.note_queued(since));
    }

    /// Nothing waits and nothing was sent: gives memory back if it has room for many.
    pub(super) fn release(&mut self) {
        debug_assert!(self.last.count == 0 && self.first.count == 0);
        self.waiting.shrink_to(KEEP_RUNS_MAX);
        self.sent.shrink_to(KEEP_RUNS_MAX);
    }
}
