//! `MULTI` … `EXEC`.

use super::Hub;
use crate::clock::Now;
use crate::resp::write;
use crate::route::part::{Part, Purpose};

impl Hub {
    /// What a transaction watched may have changed unseen: as if it had, nothing was executed.
    pub(super) fn answer_watch_lost(&mut self, now: Now, part: &Part) {
        let Purpose::Answer(ticket) = part.purpose else {
            return;
        };
        let mut frame = Vec::new();
        write::null_array(&mut frame, part.proto);
        self.deliver(now, ticket, &frame);
    }
}
