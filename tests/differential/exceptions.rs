//! Where slotcar answers otherwise than a plain server, on purpose.

use crate::compare::Difference;
use crate::script::Script;
use crate::support::ServerKind;

struct Exception {
    file: &'static str,
    /// As the script has it; all steps of the file that read so.
    step: &'static str,
    /// In what slotcar answers.
    answer: &'static str,
    kinds: &'static [ServerKind],
    why: &'static str,
}

const EXCEPTIONS: &[Exception] = &[];

/// What remains of `found` without the exceptions, and the exceptions that excuse nothing (any more).
pub(crate) fn sift(kind: ServerKind, scripts: &[Script], found: &[Difference]) -> Vec<String> {
    let unexcused = found
        .iter()
        .filter(|difference| !EXCEPTIONS.iter().any(|one| one.excuses(kind, difference)))
        .map(ToString::to_string);
    let idle = EXCEPTIONS
        .iter()
        .filter(|one| one.kinds.contains(&kind))
        .filter(|one| scripts.iter().any(|script| script.name == one.file))
        .filter(|one| !found.iter().any(|difference| one.excuses(kind, difference)))
        .map(|one| {
            format!(
                "{}: {}: no exception any more ({})",
                one.file, one.step, one.why
            )
        });
    unexcused.chain(idle).collect()
}

impl Exception {
    fn excuses(&self, kind: ServerKind, difference: &Difference) -> bool {
        let answer = difference.seen.last();
        self.kinds.contains(&kind)
            && self.file == difference.file
            && self.step == difference.step
            && answer.is_some_and(|(_, answer)| answer.contains(self.answer))
    }
}
