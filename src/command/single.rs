//! What a server does only as long as it is no node of a cluster, as far as it does not follow from where keys are.
//!
//! Source: `moveCommand`, `swapdbCommand`, `copyCommand` in the servers' `db.c`, `sortCommandGeneric` in `sort.c`; compared with Redis 7.0
//! and Valkey 8.0.

use super::{Names, Row};
use crate::resp::request::Request;

/// Whether a request needs another database than 0, which the nodes of a cluster refuse. `SELECT` is none of them: slotcar answers it.
pub fn needs_databases(row: &Row, request: Request<'_>) -> bool {
    match row.name {
        "move" | "swapdb" => true,
        _ => copies_to(row, request).is_some_and(|database| database != 0),
    }
}

/// The database that `COPY … DB n` names, if it is a number.
pub fn copies_to(row: &Row, request: Request<'_>) -> Option<u32> {
    if row.names != Some(Names::Copied) {
        return None;
    }
    let is_db = |at: &usize| request.arg(*at).eq_ignore_ascii_case(b"db");
    let at = (3..request.len()).find(is_db)?;
    std::str::from_utf8(request.get(at + 1)?).ok()?.parse().ok()
}

/// A pattern that makes names of keys, of a `SORT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SortPattern {
    /// Which argument it is.
    pub at: usize,
    /// `GET #`: the element itself.
    pub is_element: bool,
}

/// The patterns of a `SORT … BY p GET p`. A `BY` without `*` is none: it means not to sort.
pub fn sort_patterns(row: &Row, request: Request<'_>) -> Vec<SortPattern> {
    let mut patterns = Vec::new();
    if row.names != Some(Names::Patterns) {
        return patterns;
    }
    let mut at = 2;
    while at + 1 < request.len() {
        let (option, value) = (request.arg(at), request.arg(at + 1));
        let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
        let is_pattern = is(b"get") || is(b"by") && value.contains(&b'*');
        if is_pattern {
            patterns.push(SortPattern {
                at: at + 1,
                is_element: is(b"get") && value == b"#",
            });
        }
        at += match () {
            () if is(b"limit") => 3,
            () if is(b"get") || is(b"by") || is(b"store") => 2,
            () => 1,
        };
    }
    patterns
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::lookup::{CommandTable, Lookup};
    use crate::command::testing::Words;

    fn with<T>(line: &str, what: impl Fn(&Row, Request<'_>) -> T) -> T {
        let words = Words::new(line);
        let Lookup::Row(row) = CommandTable::new().lookup(words.request()) else {
            panic!("no row for {line}");
        };
        what(row, words.request())
    }

    #[test]
    fn databases_are_needed_by_what_goes_to_another_one() {
        for (line, needs) in [
            ("MOVE k 0", true),
            ("SWAPDB 0 1", true),
            ("COPY a b", false),
            ("COPY a b DB 0", false),
            ("COPY a b REPLACE db 3", true),
            ("COPY a b DB x", false),
            ("COPY a db", false),
            ("GET db", false),
        ] {
            assert_eq!(with(line, needs_databases), needs, "{line}");
        }
    }

    #[test]
    fn patterns_of_sort_are_found() {
        let at = |line: &str| -> Vec<(usize, bool)> {
            let patterns = with(line, sort_patterns);
            patterns.iter().map(|p| (p.at, p.is_element)).collect()
        };
        assert_eq!(at("SORT k"), []);
        assert_eq!(at("SORT k BY nosort STORE get"), []);
        assert_eq!(
            at("SORT_RO k LIMIT by 1 by w_* GET # ALPHA get o_*->f"),
            [(6, false), (8, true), (11, false)]
        );
        assert_eq!(at("GET k"), []);
    }
}
