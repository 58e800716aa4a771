//! Finds the steps that have seen different things at two addresses.

use std::fmt;

use crate::script::{Protocol, Script};
use crate::stage::{Both, Outcome};

pub(crate) struct Difference {
    pub(crate) file: String,
    pub(crate) line: usize,
    pub(crate) protocol: Protocol,
    pub(crate) step: String,
    /// Who has seen what.
    pub(crate) seen: Vec<(&'static str, String)>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (file, line, protocol) = (&self.file, self.line, self.protocol.name());
        write!(f, "{file}:{line} {protocol}  {}", self.step)?;
        for (who, seen) in &self.seen {
            write!(f, "\n    {who:7}  {seen}")?;
        }
        Ok(())
    }
}

/// Where one side has left the rest of a section out, the step that was the reason is among the differences.
pub(crate) fn differences(
    script: &Script,
    protocol: Protocol,
    (one, other): &Both,
    names: [&'static str; 2],
) -> Vec<Difference> {
    let pairs = one.iter().filter_map(|first| {
        let second = other.iter().find(|second| second.line == first.line)?;
        (first.seen != second.seen).then_some((first, second))
    });
    pairs
        .map(|(first, second)| {
            let seen = [first, second].map(|outcome| outcome.seen.clone());
            let seen = names.into_iter().zip(seen).collect();
            difference(script, protocol, first, seen)
        })
        .collect()
}

/// The steps that have waited in vain.
pub(crate) fn silences(script: &Script, protocol: Protocol, ran: &[Outcome]) -> Vec<Difference> {
    ran.iter()
        .filter(|outcome| outcome.is_silent)
        .map(|outcome| {
            let seen = vec![("both", outcome.seen.clone())];
            difference(script, protocol, outcome, seen)
        })
        .collect()
}

fn difference(
    script: &Script,
    protocol: Protocol,
    outcome: &Outcome,
    seen: Vec<(&'static str, String)>,
) -> Difference {
    Difference {
        file: script.name.clone(),
        line: outcome.line,
        protocol,
        step: outcome.step.clone(),
        seen,
    }
}
