//! Marks around what is added to a script: comments that are nowhere in it, so that it is found again in whatever a node shows.

use std::collections::BTreeSet;

use super::BEGINNING;

/// A comment that is not in the script.
pub(super) fn mark_beside(body: &[u8]) -> Vec<u8> {
    let marks = memchr::memmem::find_iter(body, START);
    let taken: BTreeSet<u64> = marks
        .filter_map(|at| match number_behind(body.get(at..)?)? {
            "" => Some(0),
            number => number.parse().ok(),
        })
        .collect();
    let number = match (0..).find(|number| !taken.contains(number)) {
        None | Some(0) => String::new(),
        Some(number) => number.to_string(),
    };
    [START, number.as_bytes(), END].concat()
}

/// Appends text that is not of the script.
pub(super) fn add(text: &[u8], mark: &[u8], out: &mut Vec<u8>) {
    for part in [mark, text, mark] {
        out.extend_from_slice(part);
    }
}

/// Whether something begins with a mark.
pub(super) fn is_marked(text: &[u8]) -> bool {
    text.starts_with(START)
}

/// What somebody has loaded, of what a node has or of a text that quotes it; None: it has not been changed.
pub fn original(text: &[u8]) -> Option<Vec<u8>> {
    let (mark, at) = first_mark(text)?;
    let (before, mut rest) = text.split_at_checked(at)?;
    let mut own = before.to_vec();
    while let Some(at) = memchr::memmem::find(rest, mark) {
        own.extend_from_slice(rest.get(..at)?);
        let added = rest.get(at + mark.len()..)?;
        let end = memchr::memmem::find(added, mark)?;
        rest = added.get(end + mark.len()..)?;
    }
    own.extend_from_slice(rest);
    Some(own)
}

/// The mark in front of a prelude, and where it stands.
fn first_mark(text: &[u8]) -> Option<(&[u8], usize)> {
    memchr::memmem::find_iter(text, START).find_map(|at| {
        let marked = text.get(at..)?;
        let len = START.len() + number_behind(marked)?.len() + END.len();
        let (mark, behind) = marked.split_at_checked(len)?;
        behind.starts_with(BEGINNING).then_some((mark, at))
    })
}

/// The digits of a mark. None: it is none.
fn number_behind(marked: &[u8]) -> Option<&str> {
    let number = marked.get(START.len()..)?;
    let len = number
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let (number, end) = number.split_at_checked(len)?;
    let is_whole = end.starts_with(END);
    std::str::from_utf8(number).ok().filter(|_| is_whole)
}

const START: &[u8] = b"--[[slotcar";
const END: &[u8] = b"]]";
