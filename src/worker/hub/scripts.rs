//! `NOSCRIPT`: a node that does not know a script that is known here is told, and asked again.

use bytes::Bytes;

use super::Hub;
use super::place::Body;
use crate::clock::Now;
use crate::command::Script;
use crate::downstream::tracking::Tracking;
use crate::downstream::transaction::Block;
use crate::resp::request::{Request, RequestScan, Scanned};
use crate::resp::write;
use crate::route::hold::Held;
use crate::route::part::{LinkId, Noted, Part, Purpose};
use crate::upstream::queue::Orphan;

/// How often a node is told the script of one request: it may forget it again before the request comes.
const HEALS_MAX: u8 = 3;

impl Hub {
    /// Scripts pass by, in requests of all sessions.
    pub(super) fn note_script(&mut self, script: Script, request: Request<'_>) {
        match script {
            Script::Body(at) => self.scripts.learn(request.arg(usize::from(at))),
            Script::Flush => {
                self.scripts.forget_all();
                self.owners
                    .nodes_mut()
                    .for_each(|node| node.scripts.clear());
            }
            Script::Sha(_) | Script::Asks | Script::Library | Script::None => {}
        }
    }

    /// Whether all the scripts that a request asks for have passed by: then they will be there when they are run.
    pub(super) fn knows_scripts(&mut self, request: Request<'_>) -> bool {
        (2..request.len()).all(|at| self.scripts.body(request.arg(at)).is_some())
    }

    /// Writes what the node of a block may not know of the scripts that its requests run. Inside the block it would be too
    /// late: what was executed before them would stay. Returns the number of requests.
    pub(super) fn write_scripts(&mut self, block: &Block, out: &mut Vec<u8>) -> u32 {
        let mut written = 0;
        for sha in &block.scripts {
            let Some(body) = self.scripts.body(sha) else {
                continue;
            };
            let owner = self.owners.of(block.slot);
            let node = owner.and_then(|node| self.owners.node_mut(node));
            if node.is_some_and(|node| node.scripts.insert(sha.to_ascii_lowercase().into())) {
                write::command(out, &[b"SCRIPT", &b"LOAD"[..], &body]);
                written += 1;
            }
        }
        written
    }

    /// The body of a script by its SHA1 in hexadecimal digits, if it has passed by.
    pub(super) fn script_body(&mut self, sha: &[u8]) -> Option<Bytes> {
        self.scripts.body(sha)
    }

    /// Tells the node at the other end of `link` the script that it lacks and sends the part again. False: it is not known
    /// here either, or that does not help.
    pub(super) fn heal(&mut self, now: Now, link: LinkId, orphan: &Orphan) -> bool {
        let Orphan {
            mut part,
            ref bytes,
            ..
        } = *orphan;
        let Some(body) = self.missing_script(&part, bytes) else {
            return false;
        };
        part.heals += 1;
        let node = self.link(link).map(|link| link.node);
        if let Some(node) = node.and_then(|node| self.owners.node_mut(node)) {
            // Somebody has made it forget.
            node.scripts.clear();
        }
        self.counters.scripts_healed += 1;
        let recalled = self.recall(link, part.target);
        if part.is_misplaced() && !part.asking {
            // Whoever serves the slot now may know it.
            self.place_again(
                now,
                Held {
                    part,
                    bytes: bytes.clone(),
                },
            );
        } else {
            self.push_script(link, &part, &body);
            if part.asking {
                self.place_asking(now, part, link, bytes);
            } else {
                self.push(link, part, &Body::Shared(bytes));
            }
        }
        self.place_recalled(now, recalled);
        true
    }

    fn missing_script(&mut self, part: &Part, bytes: &Bytes) -> Option<Bytes> {
        let Script::Sha(at) = part.row.script else {
            return None;
        };
        if part.heals >= HEALS_MAX {
            return None;
        }
        let mut scan = RequestScan::new();
        let bytes = Tracking::without_word(bytes).unwrap_or(bytes);
        match scan.advance(bytes, &self.settings.request) {
            Ok(Scanned::Multibulk(_)) => self.script_body(scan.request(bytes).arg(usize::from(at))),
            Ok(Scanned::Inline(_) | Scanned::Nothing(_) | Scanned::Wants(_)) | Err(_) => None,
        }
    }

    /// Queues `SCRIPT LOAD` in front of the part that needs it.
    fn push_script(&mut self, link: LinkId, part: &Part, body: &Bytes) {
        let load = Part {
            purpose: Purpose::Swallow,
            replies: 1,
            noted: Noted::empty(),
            ..*part
        };
        let mut bytes = Vec::with_capacity(body.len() + 64);
        write::command(&mut bytes, &[b"SCRIPT", &b"LOAD"[..], body]);
        self.push(link, load, &Body::Borrowed(&bytes));
    }
}
