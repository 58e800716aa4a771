//! What a session has written lately, so that it is read where it was written.

use crate::clock::Now;
use crate::topology::Slot;

/// What a session has written lately: it is read where it was written.
#[derive(Debug, Default)]
pub struct Written {
    slots: Vec<(Slot, Now)>,
    /// Everything, until then.
    all_until: Option<Now>,
}

/// Slots that are remembered one by one; of more, all count as written.
const WRITTEN_SLOTS_MAX: usize = 16;

impl Written {
    /// `slot`: where; none: anywhere.
    pub fn note(&mut self, slot: Option<Slot>, until: Now, now: Now) {
        self.slots.retain(|(_, until)| *until > now);
        match slot {
            Some(slot) if self.slots.len() < WRITTEN_SLOTS_MAX => {
                match self.slots.iter_mut().find(|(written, _)| *written == slot) {
                    Some((_, at)) => *at = until,
                    None => self.slots.push((slot, until)),
                }
            }
            Some(_) | None => self.all_until = Some(until),
        }
    }

    /// Whether what is in this slot is to be read where it was written.
    pub fn has(&self, slot: Slot, now: Now) -> bool {
        self.all_until.is_some_and(|until| until > now)
            || (self.slots.iter()).any(|(written, until)| *written == slot && *until > now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_was_written_is_remembered_for_a_while() {
        let at = |millis| Now::at(Duration::from_millis(millis));
        let slot = |number| Slot::new(number).unwrap();
        let mut written = Written::default();
        written.note(Some(slot(1)), at(1000), at(0));
        written.note(Some(slot(2)), at(1500), at(500));
        assert!(written.has(slot(1), at(900)) && written.has(slot(2), at(900)));
        assert!(!written.has(slot(3), at(900)));
        assert!(!written.has(slot(1), at(1000)) && written.has(slot(2), at(1000)));
        written.note(None, at(3000), at(2000));
        assert!(written.has(slot(3), at(2999)) && !written.has(slot(3), at(3000)));
    }

    #[test]
    fn of_too_many_slots_all_count() {
        let at = |millis| Now::at(Duration::from_millis(millis));
        let mut written = Written::default();
        for number in 0..=16 {
            written.note(Slot::new(number), at(1000), at(0));
        }
        assert!(written.has(Slot::new(9999).unwrap(), at(999)));
    }
}
