//! What of an app's requests a cluster would refuse or serve otherwise, counted while one server serves them (`--audit on`). Pure.
//!
//! The hub shows every request that it has taken ([`Audit::note`]). [`cluster`] says what would become of it, by the code that decides that before a
//! cluster; [`patterns`] makes patterns of keys; [`shapes`] remembers which of them are needed together, and [`propose`] makes rules for
//! `--keep-together` of that and tries them. Everything is bounded; nothing of a request is kept but names of keys as examples.

pub mod cluster;
pub mod finding;
pub mod patterns;
pub mod propose;
pub mod report;
pub mod shapes;
mod story;
mod words;

use std::collections::BTreeMap;

use self::cluster::{Cluster, Judged, Scratch};
pub use self::finding::{Effect, Finding};
use self::patterns::{Pattern, Patterns};
pub use self::report::AuditReport;
use self::shapes::{Bundle, Named, Shapes};
use self::story::Story;
use crate::command::together::Rule;
use crate::command::{Connection, Local, Route, Row};
use crate::config::limits::Limits;
use crate::resp::request::Request;
use crate::route::part::SessionId;

/// Who asks, as it was before the request was run.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    pub session: SessionId,
    /// Between `MULTI` and `EXEC`.
    pub in_transaction: bool,
    /// Keys are watched.
    pub watches: bool,
    /// The selected database; 0: the one in which sessions begin.
    pub database: u32,
    /// Its listener splits transactions.
    pub splits_transactions: bool,
    pub sorts: Sorts,
}

/// What a node of a cluster does with `SORT`, in the version of today's server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sorts {
    /// By keys of the same slot.
    pub patterns: bool,
    /// `GET #`
    pub elements: bool,
}

/// All that one worker has seen, or several.
#[derive(Debug)]
pub struct Audit {
    cluster: Cluster,
    requests: u64,
    keys: u64,
    counts: [u64; Finding::ALL.len()],
    rows: BTreeMap<RowKey, Found>,
    rows_max: usize,
    /// Requests that a cluster would refuse whatever keys are kept together.
    refused_anyway: u64,
    /// Requests with a finding that is in no row.
    rows_missing: u64,
    patterns: Patterns,
    shapes: Shapes,
    stories: BTreeMap<SessionId, Story>,
    scratch: Scratch,
}

/// What findings are counted by.
type RowKey = (Finding, &'static str, Vec<Pattern>);

#[derive(Clone, Debug)]
struct Found {
    requests: u64,
    /// The keys of the first one.
    example: Vec<Named>,
}

impl Audit {
    /// `rules` and `databases`: what the cluster will have.
    pub fn new(rules: &[Rule], databases: u32, limits: &Limits) -> Self {
        Self {
            cluster: Cluster::new(rules, databases),
            requests: 0,
            keys: 0,
            counts: [0; Finding::ALL.len()],
            rows: BTreeMap::new(),
            rows_max: limits.audit_findings_max,
            rows_missing: 0,
            refused_anyway: 0,
            patterns: Patterns::new(limits.audit_patterns_max),
            shapes: Shapes::new(limits.audit_shapes_max),
            stories: BTreeMap::new(),
            scratch: Scratch::default(),
        }
    }

    /// A request of a known command has been taken: it is answered, or on its way.
    pub fn note(&mut self, asker: &Asker, row: &'static Row, request: Request<'_>) {
        self.requests += 1;
        let mut story = self.story_of(asker);
        let database = story.selected.unwrap_or(asker.database);
        let database = self.cluster.database(database);
        let keys = self.cluster.keys_of(database, row, request);
        let patterns: Vec<Option<Pattern>> = (keys.iter())
            .map(|key| self.patterns.note(key.key()))
            .collect();
        self.keys += keys.len() as u64;
        let judged = self.judge(asker, &mut story, database, row, request);
        let is_one = matches!(judged.finding, Some(finding) if finding.needs_one_slot());
        if let Some(finding) = judged.finding {
            let home = story.home.clone().filter(|_| is_one && is_told(asker, row));
            let is_refused = finding.effect() == Effect::Refused;
            self.refused_anyway += u64::from(is_refused && !judged.must_share);
            self.count(finding, row, home.as_ref(), &keys, &patterns);
        }
        if judged.must_share {
            self.bundle(asker, row, &mut story, &keys, &patterns, is_one);
        }
        let is_over = ends_story(row) && asker.in_transaction
            || row.route == Route::Connection(Connection::Unwatch) && !asker.in_transaction
            || row.route == Route::Local(Local::Reset);
        if is_over {
            self.end(&story);
        } else if story.is_in_transaction() || story.is_watching() || story.is_conflict {
            self.stories.insert(asker.session, story);
        }
    }

    /// A client has left.
    pub fn forget(&mut self, session: SessionId) {
        if let Some(story) = self.stories.remove(&session) {
            self.end(&story);
        }
    }

    /// Adds what another worker has seen.
    pub fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.keys += other.keys;
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.patterns.merge(&other.patterns);
        self.shapes.merge(&other.shapes);
        self.rows_missing += other.rows_missing;
        self.refused_anyway += other.refused_anyway;
        for (key, found) in &other.rows {
            match self.rows.get_mut(key) {
                Some(known) => known.requests += found.requests,
                None => {
                    self.rows.insert(key.clone(), found.clone());
                }
            }
        }
    }

    /// The same for another thread, without what is under way.
    pub fn snapshot(&self) -> Self {
        Self {
            cluster: self.cluster.clone(),
            rows: self.rows.clone(),
            patterns: self.patterns.clone(),
            shapes: self.shapes.clone(),
            stories: BTreeMap::new(),
            scratch: Scratch::default(),
            ..*self
        }
    }

    /// Requests that have been looked at.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// How often each finding was made.
    pub fn counts(&self) -> impl Iterator<Item = (Finding, u64)> {
        Finding::ALL.into_iter().zip(self.counts)
    }

    /// What there is to say by now.
    pub fn report(&self) -> AuditReport {
        AuditReport::of(self)
    }

    /// What the session has said before, if that still counts.
    fn story_of(&mut self, asker: &Asker) -> Story {
        let Some(story) = self.stories.remove(&asker.session) else {
            return Story::default();
        };
        // It has ended in a way that is no request of its own: a wrong EXEC, a switch of the protocol.
        let is_over = !asker.in_transaction && (story.is_in_transaction() || !asker.watches);
        if is_over {
            self.end(&story);
            return Story::default();
        }
        story
    }

    fn judge(
        &mut self,
        asker: &Asker,
        story: &mut Story,
        database: u32,
        row: &'static Row,
        request: Request<'_>,
    ) -> Judged {
        let Self {
            cluster, scratch, ..
        } = self;
        let (stored, keys, splitter) = cluster.stored(database, row, request, scratch);
        match row.route {
            Route::Connection(Connection::Exec | Connection::Discard) => Judged::default(),
            _ if asker.in_transaction => story.queue(cluster, asker, row, (stored, keys, splitter)),
            Route::Connection(Connection::Multi) => {
                story.begin(asker.splits_transactions);
                Judged::default()
            }
            Route::Connection(Connection::Watch) => Judged {
                finding: story.watch(stored),
                must_share: true,
            },
            Route::Slot
            | Route::AnyPrimary
            | Route::AllPrimaries
            | Route::AllNodes
            | Route::Split
            | Route::Scan
            | Route::Local(_)
            | Route::Connection(_)
            | Route::Refuse(_) => cluster.judge(asker, row, stored, keys, splitter),
        }
    }

    /// Counts a finding by command and patterns. `home`: the key with which those of a transaction do not go together.
    fn count(
        &mut self,
        finding: Finding,
        row: &'static Row,
        home: Option<&Named>,
        keys: &[Named],
        patterns: &[Option<Pattern>],
    ) {
        if let Some(count) = self.counts.get_mut(finding as usize) {
            *count += 1;
        }
        let home_pattern = home.map(|home| self.patterns.current(home.key()));
        let mut all: Vec<Pattern> = patterns.iter().flatten().cloned().collect();
        all.extend(home_pattern);
        all.sort_unstable();
        all.dedup();
        all.truncate(PATTERNS_SHOWN_MAX);
        let key = (finding, row.name, all);
        if let Some(found) = self.rows.get_mut(&key) {
            found.requests += 1;
        } else if self.rows.len() < self.rows_max {
            let example = home.into_iter().chain(keys);
            let example = example.take(PATTERNS_SHOWN_MAX).map(Named::shown).collect();
            let requests = 1;
            self.rows.insert(key, Found { requests, example });
        } else {
            self.rows_missing += 1;
        }
    }

    /// Remembers keys that have to be together: those of one request at once, those of a transaction at its end.
    fn bundle(
        &mut self,
        asker: &Asker,
        row: &Row,
        story: &mut Story,
        keys: &[Named],
        patterns: &[Option<Pattern>],
        is_conflict: bool,
    ) {
        let is_story = is_told(asker, row);
        let mut own = Bundle::default();
        let bundle = if is_story {
            &mut story.bundle
        } else {
            &mut own
        };
        for (key, pattern) in keys.iter().zip(patterns) {
            bundle.add(pattern.as_ref(), key);
        }
        if is_story {
            story.is_conflict |= is_conflict;
            if story.home.is_none() {
                story.home = keys.first().cloned();
            }
        } else {
            self.shapes.note(&own, is_conflict);
        }
    }

    fn end(&mut self, story: &Story) {
        self.shapes.note(&story.bundle, story.is_conflict);
    }
}

/// Whether a request is part of a story.
fn is_told(asker: &Asker, row: &Row) -> bool {
    asker.in_transaction || row.route == Route::Connection(Connection::Watch)
}

/// Whether a request ends the transaction in which it is said.
fn ends_story(row: &Row) -> bool {
    matches!(
        row.route,
        Route::Connection(Connection::Exec | Connection::Discard) | Route::Local(Local::Quit)
    )
}

/// Patterns, and keys, that a row shows.
const PATTERNS_SHOWN_MAX: usize = 8;
