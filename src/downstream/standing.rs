//! What nodes tell a session by themselves, on links of its own: invalidations (`CLIENT TRACKING`) and what they execute
//! (`MONITOR`).

use super::tracking::{Mode, Tracking};
use crate::clock::Now;
use crate::resp::Proto;
use crate::route::part::Ticket;

/// What a session has ordered. Few have.
#[derive(Debug, Default)]
pub struct Standing {
    pub tracking: Option<Tracking>,
    pub monitors: bool,
    /// The request that ordered it; its answer waits until the links are there.
    pub asked: Option<Asked>,
}

/// A request that is answered when everything it needs is there.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub order: Order,
    pub ticket: Ticket,
    pub since: Now,
}

/// What it ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Tracking,
    Monitor,
}

impl Standing {
    /// Whether invalidations can reach anybody: in RESP2 only somebody else.
    pub fn tracks(&self, proto: Proto) -> bool {
        let tells = |tracking: &Tracking| proto == Proto::Resp3 || tracking.redirect.is_some();
        self.tracking.as_ref().is_some_and(tells)
    }

    pub fn broadcasts(&self) -> bool {
        let mode = self.tracking.as_ref().map(|tracking| tracking.mode);
        mode == Some(Mode::Broadcast)
    }

    pub fn is_over(&self) -> bool {
        self.tracking.is_none() && !self.monitors
    }
}
