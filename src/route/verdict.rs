//! What is done about a fault: one pure function, and the rules of replay in it.
//!
//! | what happened | was it executed? | verdict |
//! |---|---|---|
//! | never sent, the link is gone or cannot be made | no | resend |
//! | `MOVED`, `ASK` | no | follow |
//! | `TRYAGAIN`, `CLUSTERDOWN`, `LOADING`, `MASTERDOWN`, `READONLY`, `-REDIRECT` | no | hold, then resend |
//! | sent, the link is gone, the command only reads | harmless | resend |
//! | sent, the link is gone, anything else | unknown | give up, and say so |

use std::time::Duration;

use super::part::{Part, Way};
use crate::clock::Now;
use crate::command::{Connection, Flags, Local, Route, Row};

/// What went wrong with a part at a node or on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The slot is served elsewhere for good.
    Moved,
    /// The key is at the node that imports the slot.
    Ask,
    /// The keys are at both sides of a migration.
    TryAgain,
    /// The node cannot serve at the moment, or is not the primary any more.
    Refused,
    /// The link ended before the part's first byte was written.
    LostUnsent,
    /// The link ended after the part's first byte was written.
    LostSent,
}

/// What is done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send it where the redirection points.
    Follow,
    /// Send it to whoever serves its target.
    Resend,
    /// Keep it this long, then send it to whoever serves its target then.
    Hold(Duration),
    GiveUp(GiveUp),
}

/// Why a request gets an error instead of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GiveUp {
    /// It may or may not have been executed.
    OutcomeUnknown,
    /// Redirected in circles.
    TooManyRedirects,
    /// No usable primary for as long as requests are held.
    HeldTooLong,
    /// Too much is held already.
    HoldFull,
    /// It was good on one link only, where it was not executed: what a transaction watches is not watched any more.
    WatchLost,
}

/// The bounds of trying again.
#[derive(Clone, Copy, Debug)]
pub struct RetryLimits {
    /// How long a part may be in trouble before its client is told.
    pub hold_max: Duration,
    /// How many redirections are followed at once before a pause.
    pub redirects_max: u8,
    /// First and longest pause before a refused part is sent again.
    pub pause_min: Duration,
    pub pause_max: Duration,
}

impl RetryLimits {
    /// The pause after a part has been refused `before` times already.
    pub fn pause(&self, before: u8) -> Duration {
        self.pause_min
            .saturating_mul(1 << before.min(16))
            .min(self.pause_max)
    }

    /// Whether one more redirection after `before` is the last of a round: a pause follows.
    fn is_round(&self, before: u16) -> bool {
        before
            .saturating_add(1)
            .is_multiple_of(u16::from(self.redirects_max).max(1))
    }
}

/// Judges a fault of `part` at `now`.
pub fn judge(fault: Fault, part: &Part, now: Now, limits: &RetryLimits) -> Verdict {
    if part
        .troubled_since
        .is_some_and(|since| now.since(since) >= limits.hold_max)
    {
        return Verdict::GiveUp(match fault {
            Fault::LostSent if !may_replay(part) => GiveUp::OutcomeUnknown,
            Fault::Moved | Fault::Ask => GiveUp::TooManyRedirects,
            Fault::LostSent | Fault::LostUnsent | Fault::TryAgain | Fault::Refused => {
                GiveUp::HeldTooLong
            }
        });
    }
    if part.way == Way::Pinned && fault != Fault::LostSent {
        return Verdict::GiveUp(GiveUp::WatchLost);
    }
    match fault {
        // Two nodes that name each other while a failover settles: follow at once first, then slow down.
        Fault::Moved | Fault::Ask if limits.is_round(part.redirects) => {
            Verdict::Hold(limits.pause(part.refusals))
        }
        Fault::Moved | Fault::Ask => Verdict::Follow,
        Fault::TryAgain | Fault::Refused => Verdict::Hold(limits.pause(part.refusals)),
        Fault::LostUnsent => Verdict::Resend,
        Fault::LostSent if may_replay(part) => match part.refusals.checked_sub(1) {
            None => Verdict::Resend,
            // It may be what ends its links.
            Some(before) => Verdict::Hold(limits.pause(before)),
        },
        Fault::LostSent => Verdict::GiveUp(GiveUp::OutcomeUnknown),
    }
}

/// Whether executing the part twice is the same as executing it once. One that waits at the node has done nothing yet,
/// and what it may have done in its last moment is undone or told by nobody: it waits on.
fn may_replay(part: &Part) -> bool {
    is_harmless(part.row) || waits(part)
}

/// Whether every request of this kind may be executed twice.
pub fn is_harmless(row: &Row) -> bool {
    row.flags.contains(Flags::READ)
        || row.route == Route::Connection(Connection::Watch)
        || row.route == Route::Local(Local::Select)
}

/// Whether it waits at the node until there is something for it.
pub fn waits(part: &Part) -> bool {
    part.way == Way::Own
        && part.row.flags.contains(Flags::BLOCKING)
        && part.row.route != Route::Connection(Connection::Wait)
}
