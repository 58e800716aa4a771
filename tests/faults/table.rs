//! The table that is printed: what was measured, what is allowed, and whether that fits.

use std::process::ExitCode;
use std::time::Duration;

/// What one row of the table found.
pub struct Outcome {
    pub name: String,
    pub checks: Vec<Check>,
    /// Why the row could not be tried here.
    pub skipped: Option<String>,
    pub took: Duration,
}

/// One line: something measured and what it may be.
pub struct Check {
    pub what: String,
    pub measured: String,
    pub allowed: String,
    pub ok: bool,
    /// Shown below the line when it failed.
    pub details: Vec<String>,
}

#[derive(Default)]
pub struct Table {
    passed: usize,
    failed: usize,
}

impl Check {
    pub fn at_most(what: impl Into<String>, measured: usize, allowed: usize) -> Check {
        Check {
            what: what.into(),
            measured: measured.to_string(),
            allowed: format!("<= {allowed}"),
            ok: measured <= allowed,
            details: Vec::new(),
        }
    }

    /// Nothing of that kind may have happened; each one that did is told.
    pub fn none(what: impl Into<String>, found: Vec<String>) -> Check {
        Check {
            what: what.into(),
            measured: found.len().to_string(),
            allowed: "0".to_owned(),
            ok: found.is_empty(),
            details: found,
        }
    }

    /// `basis` says what the allowed time is made of.
    pub fn time(
        what: impl Into<String>,
        measured: Duration,
        allowed: Duration,
        basis: &str,
    ) -> Check {
        Check {
            what: what.into(),
            measured: seconds(measured),
            allowed: format!("<= {} {basis}", seconds(allowed)),
            ok: measured <= allowed,
            details: Vec::new(),
        }
    }

    pub fn holds(what: impl Into<String>, measured: impl Into<String>, ok: bool) -> Check {
        Check {
            what: what.into(),
            measured: measured.into(),
            allowed: String::new(),
            ok,
            details: Vec::new(),
        }
    }

    /// Something to know, which is judged nowhere.
    pub fn note(what: impl Into<String>, measured: impl Into<String>) -> Check {
        Check::holds(what, measured, true)
    }

    pub fn with(mut self, details: Vec<String>) -> Check {
        self.details = details;
        self
    }
}

impl Table {
    pub fn new() -> Table {
        println!("{:46} {:>12}  {:40} ", "", "measured", "allowed");
        Table::default()
    }

    pub fn show(&mut self, outcome: &Outcome) {
        let took = outcome.took.as_secs();
        if let Some(why) = &outcome.skipped {
            println!("{}: SKIPPED, {why}", outcome.name);
            return;
        }
        let ok = outcome.checks.iter().all(|check| check.ok);
        println!("{} ({took} s): {}", outcome.name, verdict(ok));
        for check in &outcome.checks {
            let (what, measured, allowed) = (&check.what, &check.measured, &check.allowed);
            println!(
                "  {what:44} {measured:>12}  {allowed:40} {}",
                verdict(check.ok)
            );
            if !check.ok {
                for line in check.details.iter().take(DETAILS_MAX) {
                    println!("      {line}");
                }
            }
        }
        if ok {
            self.passed += 1;
        } else {
            self.failed += 1;
        }
    }

    pub fn sum_up(&self) -> ExitCode {
        println!("\n{} passed, {} failed", self.passed, self.failed);
        if self.failed == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

pub fn seconds(time: Duration) -> String {
    format!("{:.3} s", time.as_secs_f64())
}

fn verdict(ok: bool) -> &'static str {
    if ok { "ok" } else { "FAILED" }
}

const DETAILS_MAX: usize = 12;
