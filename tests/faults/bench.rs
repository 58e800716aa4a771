//! What rows are run on: one cluster and one slotcar for as many as possible, new ones when a row has failed in the
//! middle.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::load::{Load, Seen};
use crate::rows::Row;
use crate::support::{Cluster, ServerKind, Slotcar};
use crate::table::{Check, Outcome};

pub struct Bench {
    pub kind: ServerKind,
    shared: Option<Stage>,
}

/// A cluster and a slotcar before it.
pub struct Stage {
    pub slotcar: Slotcar,
    pub cluster: Cluster,
}

/// What a row found, or why it could not be tried.
pub type Found = Result<Vec<Check>, String>;

impl Bench {
    pub fn new(kind: ServerKind) -> Bench {
        Bench { kind, shared: None }
    }

    pub fn run(&mut self, row: &Row) -> Outcome {
        let name = format!("{} {}", row.number, row.name);
        self.judged(name, row.run)
    }

    pub fn run_soak(&mut self, length: Duration, seed: u64) -> Outcome {
        let name = format!("soak for {} s, seed {seed}", length.as_secs());
        self.judged(name, |bench| crate::soak::run(bench, length, seed))
    }

    /// A row that panics has failed; nobody knows what it left behind, so the next one gets everything anew.
    fn judged(&mut self, name: String, run: impl FnOnce(&mut Bench) -> Found) -> Outcome {
        let start = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| run(&mut *self)));
        let (checks, skipped) = match result {
            Ok(Ok(checks)) => (checks, None),
            Ok(Err(why)) => (Vec::new(), Some(why)),
            Err(panic) => {
                if let Some(stage) = self.shared.take() {
                    stage.abandon();
                }
                (vec![Check::none("broke off", vec![told(&*panic)])], None)
            }
        };
        Outcome {
            name,
            checks,
            skipped,
            took: start.elapsed(),
        }
    }

    /// The stage that rows share, while all is well with its cluster.
    pub fn stage(&mut self) -> &mut Stage {
        let kind = self.kind;
        let stage = self.shared.get_or_insert_with(|| Stage::new(kind, &[]));
        stage.cluster.wait_ok();
        stage
    }

    /// Takes the shared cluster for a row that starts slotcar in its own way; what is returned is shared again.
    pub fn take_cluster(&mut self) -> Cluster {
        match self.shared.take() {
            Some(stage) => stage.cluster,
            None => Cluster::start(self.kind, 3, 1),
        }
    }

    pub fn give_back(&mut self, cluster: Cluster) {
        cluster.wait_ok();
        self.shared = Some(Stage::before(cluster, &[]));
    }
}

impl Stage {
    fn new(kind: ServerKind, args: &[&str]) -> Stage {
        Stage::before(Cluster::start(kind, 3, 1), args)
    }

    pub fn before(cluster: Cluster, args: &[&str]) -> Stage {
        let seeds = cluster.seeds();
        let mut all = vec!["--cluster", &seeds];
        all.extend(args);
        let mut slotcar = Slotcar::start(&all);
        expect_warnings(&mut slotcar);
        Stage { slotcar, cluster }
    }

    /// Runs the load while `trouble` happens, and compares what is stored with what was acknowledged.
    pub fn play<T>(
        &mut self,
        name: &str,
        trouble: impl FnOnce(&mut Stage, &Load) -> T,
    ) -> (T, Seen) {
        let load = Load::start(name, self.slotcar.addr(), &self.cluster, true);
        std::thread::sleep(WARM);
        let result = trouble(self, &load);
        self.cluster.wait_ok();
        let mut seen = load.stop();
        let wrong = seen.settle(&self.cluster);
        assert!(wrong.is_empty(), "in the end: {wrong:#?}");
        (result, seen)
    }

    /// Ends everything; what slotcar's log says does not matter any more.
    fn abandon(self) {
        let Stage { mut slotcar, .. } = self;
        slotcar.expect_log("");
        // Its Drop judges how it ends; the row has failed already.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(slotcar)));
    }
}

/// Nodes are taken away here: warnings are what an operator should see. Errors and panics stay unexpected.
pub fn expect_warnings(slotcar: &mut Slotcar) {
    slotcar.expect_log(" WARN ");
}

fn told(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a panic without words".to_owned())
}

/// Time for the load to find its pace before anything happens.
pub const WARM: Duration = Duration::from_millis(700);
