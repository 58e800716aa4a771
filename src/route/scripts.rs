//! The bodies of the scripts that have passed by, by their SHA1: what a node needs that has never seen one. Bounded by bytes.
//!
//! A body that is known costs one look into a hash table; it is digested once. When there is no room, the script goes that
//! has not been used since it was last passed over. Whether a script is any good is not known here.

use std::collections::{HashMap, HashSet, VecDeque};

use bytes::Bytes;
use sha1::{Digest as _, Sha1};

/// What a node calls a script: its SHA1.
type Sha = [u8; 20];

/// Memory that one script takes beside its body, about.
const OVERHEAD_BYTES: usize = 200;

/// All scripts that one worker knows.
#[derive(Debug)]
pub struct Scripts {
    bodies: HashSet<Bytes>,
    by_sha: HashMap<Sha, Known>,
    /// In the order in which they are passed over.
    order: VecDeque<Sha>,
    bytes: usize,
    bytes_max: usize,
}

#[derive(Debug)]
struct Known {
    body: Bytes,
    used: bool,
}

impl Scripts {
    /// Knows nothing, and never more than `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            bodies: HashSet::new(),
            by_sha: HashMap::new(),
            order: VecDeque::new(),
            bytes: 0,
            bytes_max,
        }
    }

    /// A script passes by.
    pub fn learn(&mut self, body: &[u8]) {
        if self.bodies.contains(body) {
            return;
        }
        let cost = body.len() + OVERHEAD_BYTES;
        if cost > self.bytes_max {
            return;
        }
        self.make_room(cost);
        let sha: Sha = Sha1::digest(body).into();
        let body = Bytes::copy_from_slice(body);
        self.bytes += cost;
        self.order.push_back(sha);
        self.bodies.insert(body.clone());
        self.by_sha.insert(sha, Known { body, used: false });
    }

    /// The body of the script that `EVALSHA` names, 40 hexadecimal digits in any case.
    pub fn body(&mut self, sha: &[u8]) -> Option<Bytes> {
        let known = self.by_sha.get_mut(&parse_sha(sha)?)?;
        known.used = true;
        Some(known.body.clone())
    }

    /// `SCRIPT FLUSH`: the nodes know nothing any more either.
    pub fn forget_all(&mut self) {
        *self = Self::new(self.bytes_max);
    }

    fn make_room(&mut self, cost: usize) {
        while self.bytes + cost > self.bytes_max {
            let Some(sha) = self.order.pop_front() else {
                return;
            };
            if let Some(known) = self.by_sha.get_mut(&sha).filter(|known| known.used) {
                known.used = false;
                self.order.push_back(sha);
            } else if let Some(known) = self.by_sha.remove(&sha) {
                self.bytes -= known.body.len() + OVERHEAD_BYTES;
                self.bodies.remove(&known.body);
            }
        }
    }
}

fn parse_sha(text: &[u8]) -> Option<Sha> {
    let mut sha = Sha::default();
    if text.len() != sha.len() * 2 {
        return None;
    }
    for (byte, digits) in sha.iter_mut().zip(text.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    // `from_str_radix` takes a sign.
    text.iter().all(u8::is_ascii_hexdigit).then_some(sha)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETURN_1: &[u8] = b"E0E1F9FABFC9D4800C877A703B823AC0578FF8DB";

    fn knows(scripts: &mut Scripts, body: &[u8]) -> bool {
        let sha: Sha = Sha1::digest(body).into();
        let hex: String = sha.iter().map(|byte| format!("{byte:02x}")).collect();
        let found = scripts.body(hex.as_bytes());
        assert!(found.as_ref().is_none_or(|found| found == body));
        found.is_some()
    }

    #[test]
    fn a_script_is_found_by_its_digest_in_any_case() {
        let mut scripts = Scripts::new(1024);
        scripts.learn(b"return 1");
        let lower = RETURN_1.to_ascii_lowercase();
        assert_eq!(scripts.body(RETURN_1).as_deref(), Some(&b"return 1"[..]));
        assert_eq!(scripts.body(&lower).as_deref(), Some(&b"return 1"[..]));
        for wrong in [&b""[..], b"e0e1", &RETURN_1[1..], &[b'+'; 40], &[0xff; 40]] {
            assert_eq!(scripts.body(wrong), None);
        }
        scripts.forget_all();
        assert_eq!(scripts.body(RETURN_1), None);
    }

    #[test]
    fn what_is_used_stays_and_memory_is_bounded() {
        let mut scripts = Scripts::new(10 * (8 + OVERHEAD_BYTES));
        scripts.learn(b"return 1");
        for n in 0..1000 {
            assert!(knows(&mut scripts, b"return 1"));
            scripts.learn(format!("{n:08}").as_bytes());
            scripts.learn(b"return 1");
            assert!(scripts.bytes <= scripts.bytes_max);
            assert!(scripts.by_sha.len() <= 10);
            assert_eq!(scripts.by_sha.len(), scripts.bodies.len());
            assert_eq!(scripts.by_sha.len(), scripts.order.len());
        }
        assert!(!knows(&mut scripts, b"00000000") && knows(&mut scripts, b"00000999"));
    }

    #[test]
    fn a_script_that_is_larger_than_all_memory_is_not_kept() {
        let mut scripts = Scripts::new(1024);
        scripts.learn(b"return 1");
        scripts.learn(&[b'x'; 2000]);
        assert!(!knows(&mut scripts, &[b'x'; 2000]) && knows(&mut scripts, b"return 1"));
    }
}
