//! The replies to the blocks of one transaction, on their way to the one reply to `EXEC`.

use bytes::Bytes;

use super::transaction::Source;
use crate::reply::errors;
use crate::reply::gather::Gather;
use crate::reply::info::ServerFace;
use crate::resp::Proto;
use crate::resp::reply::{Items, Reply};
use crate::resp::write;
use crate::route::part::Part;

/// A transaction whose blocks are at their nodes, or will be.
#[derive(Debug)]
pub struct Execution {
    sources: Vec<Source>,
    /// For each block its reply; empty until it has come.
    replies: Vec<Vec<u8>>,
    /// A block of one request, sent without MULTI and EXEC.
    bare: Vec<bool>,
    missing: usize,
    /// What is sent only if the first block was executed.
    pub later: Vec<(Part, Bytes)>,
}

impl Execution {
    /// `bare[i]`: block i is a single request.
    pub fn new(sources: Vec<Source>, bare: Vec<bool>) -> Self {
        Self {
            sources,
            replies: vec![Vec::new(); bare.len()],
            missing: bare.len(),
            bare,
            later: Vec::new(),
        }
    }

    /// Takes the reply to a block. True when all have come.
    pub fn on_reply(&mut self, block: usize, frame: &[u8]) -> bool {
        if let Some(reply) = self.replies.get_mut(block).filter(|reply| reply.is_empty()) {
            frame.clone_into(reply);
            self.missing -= 1;
        }
        self.missing == 0
    }

    /// The reply that stands for all if the first block, which watches, was not executed.
    pub fn aborted(&self) -> Option<&[u8]> {
        let first = self.replies.first()?;
        let reply = Reply::new(first);
        let executed = self.bare.first().copied().unwrap_or(false) || reply.count().is_some();
        (!executed && !first.is_empty() && (reply.is_null() || reply.is_error()))
            .then_some(first.as_slice())
    }

    /// Whether there is only one block: its fate is that of the transaction.
    pub fn is_one_block(&self) -> bool {
        self.replies.len() == 1
    }

    /// Bytes of replies that are kept.
    pub fn len(&self) -> usize {
        self.replies.iter().map(Vec::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes the reply to EXEC: one item for each request, in their order. `here` writes those that are answered here, and
    /// makes right what a node has counted.
    ///
    /// A block that failed as a whole is an error in the place of each of its requests.
    pub fn finish(
        &self,
        proto: Proto,
        face: &ServerFace<'_>,
        out: &mut Vec<u8>,
        mut here: impl FnMut(&Source, Option<i64>, &mut Vec<u8>),
    ) {
        let mut blocks: Vec<Replies<'_>> = (self.replies.iter().zip(&self.bare))
            .map(|(reply, &bare)| Replies::new(reply, bare))
            .collect();
        write::array(out, self.sources.len());
        for source in &self.sources {
            match source {
                Source::Ok => write::ok(out),
                Source::Here { .. } => here(source, None, out),
                Source::Receivers { block, .. } => {
                    let frame = blocks.get_mut(*block).and_then(Replies::next);
                    let frame = frame.unwrap_or(NO_REPLY);
                    match Reply::new(frame).integer() {
                        Some(count) => here(source, Some(count), out),
                        None => out.extend_from_slice(frame),
                    }
                }
                Source::Block(block) => match blocks.get_mut(*block).and_then(Replies::next) {
                    Some(frame) => out.extend_from_slice(frame),
                    None => write::error(out, errors::UNEXPECTED_REPLY),
                },
                Source::Merged {
                    merge,
                    blocks: parts,
                    key_parts,
                } => {
                    let mut gather = Gather::default();
                    gather.start(*merge, parts.len(), key_parts);
                    for (part, &block) in parts.iter().enumerate() {
                        let frame = blocks.get_mut(block).and_then(Replies::next);
                        gather.on_reply(part, frame.unwrap_or(NO_REPLY));
                    }
                    gather.finish(proto, face, out);
                }
            }
        }
    }
}

/// What a block says to its requests, one after the other.
enum Replies<'a> {
    Items(Items<'a>),
    /// To each the same: the reply to a bare request, or why a block was not executed.
    Same(&'a [u8]),
}

impl<'a> Replies<'a> {
    fn new(frame: &'a [u8], bare: bool) -> Self {
        let reply = Reply::new(frame);
        if bare || reply.is_error() {
            Self::Same(frame)
        } else {
            Self::Items(reply.items())
        }
    }

    fn next(&mut self) -> Option<&'a [u8]> {
        match self {
            Self::Items(items) => items.next().map(|item| item.bytes()),
            Self::Same(frame) => Some(frame),
        }
    }
}

const NO_REPLY: &[u8] =
    b"-ERR slotcar: a node's reply to a part of this request makes no sense\r\n";
