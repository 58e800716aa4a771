//! Shows the audit what has been run, as it was before that. See [`crate::audit`].

use super::request::Ran;
use super::{Hub, Settings};
use crate::audit::{Asker, Audit, Sorts};
use crate::clock::Now;
use crate::command::Row;
use crate::resp::request::Request;
use crate::route::part::SessionId;

impl Hub {
    /// What has been found, if that is wanted.
    pub fn audit(&self) -> Option<&Audit> {
        self.audit.as_deref()
    }

    /// Runs a request; if it has been taken, it counts.
    pub(super) fn run_audited(
        &mut self,
        now: Now,
        id: SessionId,
        row: &'static Row,
        request: Request<'_>,
    ) -> Ran {
        let asker = self.asker(id, row);
        let ran = self.run_renamed(now, id, row, request);
        if ran == Ran::Taken
            && let (Some(asker), Some(audit)) = (asker, &mut self.audit)
        {
            audit.note(&asker, row, request);
        }
        ran
    }

    pub(super) fn forget_audited(&mut self, id: SessionId) {
        if let Some(audit) = &mut self.audit {
            audit.forget(id);
        }
    }

    /// None: the request is refused for what its session is doing, by any server.
    fn asker(&self, id: SessionId, row: &Row) -> Option<Asker> {
        let session = self.session(id)?;
        let listens = session.subscriptions.is_some() && self.may_only_listen(id, row);
        let watches_all = !self.standing.is_empty() && self.is_kept_from_keys(id, row);
        if listens || watches_all {
            return None;
        }
        let (first, database) = (self.face.databases.first, session.identity.db);
        let is_new = self.face.is_at_least((7, 4));
        Some(Asker {
            session: id,
            in_transaction: session.transaction.is_some(),
            watches: session.watch.is_some(),
            database: if database == first { 0 } else { database },
            splits_transactions: session.splits_transactions,
            // Valkey 8.0 refuses what Redis takes.
            sorts: Sorts {
                patterns: is_new,
                elements: is_new && (!self.face.is_valkey() || self.face.is_at_least((8, 1))),
            },
        })
    }
}

pub(super) fn of(settings: &Settings) -> Option<Box<Audit>> {
    let databases = settings.audit_databases?;
    let audit = Audit::new(&settings.audit_rules, databases, &settings.limits);
    Some(Box::new(audit))
}
