//! How long a request that waits is ready to wait: where its time-out stands, and the same request with less of it.
//!
//! Source: `getTimeoutFromObjectOrReply` in the servers' `timeout.c`; <https://redis.io/docs/latest/commands/blpop/>.

use std::time::Duration;

use super::{Begin, Connection, Find, Route, Row};
use crate::resp::request::Request;
use crate::resp::write;

/// Where a time-out stands, and in what unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeout {
    pub at: usize,
    pub unit: Unit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// With a fraction.
    Seconds,
    Milliseconds,
}

/// How long a request waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Until it is served.
    Endless,
    For(Duration),
    /// What is written there is no time-out: the node says so, and does not wait.
    Malformed,
}

/// The time-out of a request that [`super::keys::blocks`]; `None` for WAIT, which nobody repeats.
pub fn timeout(row: &Row, request: Request<'_>) -> Option<Timeout> {
    match (row.route, row.keys) {
        (Route::Connection(Connection::Wait), _) => None,
        (_, [spec, ..]) => match (spec.begin, spec.find) {
            (Begin::Keyword { word, .. }, _) => block_option(request, word),
            (_, Find::KeyNum { .. }) => Some(seconds(1)),
            (_, Find::Range { .. }) => Some(seconds(request.len().checked_sub(1)?)),
        },
        (_, []) => None,
    }
}

/// How long a request waits from now on.
pub fn patience(row: &Row, request: Request<'_>) -> Patience {
    let Some(Timeout { at, unit }) = timeout(row, request) else {
        return Patience::Malformed;
    };
    let Ok(text) = std::str::from_utf8(request.arg(at)) else {
        return Patience::Malformed;
    };
    let time = match unit {
        Unit::Seconds => text
            .parse::<f64>()
            .ok()
            .and_then(|secs| Duration::try_from_secs_f64(secs).ok()),
        Unit::Milliseconds => text.parse::<u64>().ok().map(Duration::from_millis),
    };
    match time {
        None => Patience::Malformed,
        Some(time) if time.is_zero() => Patience::Endless,
        Some(time) => Patience::For(time),
    }
}

/// Writes the same request with `left` as its time-out: at least a millisecond, because 0 means for ever.
pub fn write_with(request: Request<'_>, timeout: Timeout, left: Duration, out: &mut Vec<u8>) {
    let millis = left.as_millis().max(1);
    let text = match timeout.unit {
        Unit::Seconds => format!("{}.{:03}", millis / 1000, millis % 1000),
        Unit::Milliseconds => millis.to_string(),
    };
    write::command_header(out, request.len());
    for at in 0..request.len() {
        if at == timeout.at {
            write::bulk(out, &text);
        } else {
            write::bulk(out, request.arg(at));
        }
    }
}

/// The value of `BLOCK` among the options before `streams`.
fn block_option(request: Request<'_>, streams: &str) -> Option<Timeout> {
    let is = |at: usize, word: &str| request.arg(at).eq_ignore_ascii_case(word.as_bytes());
    let end = (1..request.len()).find(|&at| is(at, streams))?;
    let at = (1..end).rev().find(|&at| is(at, "block"))? + 1;
    Some(Timeout {
        at,
        unit: Unit::Milliseconds,
    })
}

const fn seconds(at: usize) -> Timeout {
    Timeout {
        at,
        unit: Unit::Seconds,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::lookup::{CommandTable, Lookup};
    use crate::command::testing::Words;

    #[test]
    fn what_is_left_of_a_time_out_takes_its_place() {
        let cases = [
            (
                "BLPOP a b 5",
                Patience::For(Duration::from_secs(5)),
                "BLPOP a b 0.250",
            ),
            (
                "BRPOPLPUSH a b 0",
                Patience::Endless,
                "BRPOPLPUSH a b 0.250",
            ),
            (
                "BLMOVE a b LEFT LEFT 0.5",
                Patience::For(Duration::from_millis(500)),
                "BLMOVE a b LEFT LEFT 0.250",
            ),
            (
                "BLMPOP 1 1 a LEFT",
                Patience::For(Duration::from_secs(1)),
                "BLMPOP 0.250 1 a LEFT",
            ),
            ("BZPOPMIN a x", Patience::Malformed, "BZPOPMIN a 0.250"),
            ("BZPOPMIN a -1", Patience::Malformed, "BZPOPMIN a 0.250"),
            (
                "XREAD COUNT 1 BLOCK 70 STREAMS s 0",
                Patience::For(Duration::from_millis(70)),
                "XREAD COUNT 1 BLOCK 250 STREAMS s 0",
            ),
            (
                "XREADGROUP GROUP block c BLOCK 0 STREAMS s >",
                Patience::Endless,
                "XREADGROUP GROUP block c BLOCK 250 STREAMS s >",
            ),
        ];
        let table = CommandTable::new();
        for (line, expected, rewritten) in cases {
            let words = Words::new(line);
            let request = words.request();
            let Lookup::Row(row) = table.lookup(request) else {
                panic!("no row for {line}");
            };
            assert_eq!(patience(row, request), expected, "{line}");
            let (mut out, mut again) = (Vec::new(), Vec::new());
            write_with(
                request,
                timeout(row, request).unwrap(),
                Duration::from_millis(250),
                &mut out,
            );
            write::command(&mut again, &rewritten.split(' ').collect::<Vec<_>>());
            assert_eq!(out, again, "{line}");
        }
    }
}
