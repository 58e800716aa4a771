//! A request that reads several streams: its pieces, to be dealt out by stream and asked again without waiting.
//!
//! Source: <https://redis.io/docs/latest/commands/xread/>, <https://redis.io/docs/latest/commands/xreadgroup/>.

use std::sync::Arc;

use super::keys::{self, KeyList};
use super::{Begin, Row, timeout};
use crate::resp::request::Request;
use crate::resp::write;

/// XREAD or XREADGROUP in pieces.
#[derive(Clone, Debug)]
pub struct Streams {
    /// The name and the options, up to the word before the first stream; how long to wait is not among them.
    head: Vec<Box<[u8]>>,
    names: Vec<Arc<[u8]>>,
    /// From where on each is read. As many as names.
    ids: Vec<Box<[u8]>>,
}

impl Streams {
    /// `keys`: those of the request. `None`: it reads no streams.
    pub fn of(row: &Row, request: Request<'_>, keys: &KeyList) -> Option<Self> {
        let is_read = matches!(row.keys, [spec] if matches!(spec.begin, Begin::Keyword { word: "STREAMS", .. }));
        let first = keys.iter().next().filter(|_| is_read)?;
        let waits = keys::blocks(row, request);
        let time = timeout::timeout(row, request).filter(|_| waits);
        let is_time = |at: usize| time.is_some_and(|time| at == time.at || at + 1 == time.at);
        let head = (0..first).filter(|&at| !is_time(at));
        let ids = first + keys.len()..first + 2 * keys.len();
        Some(Self {
            head: head.map(|at| request.arg(at).into()).collect(),
            names: keys.iter().map(|at| request.arg(at).into()).collect(),
            ids: ids.map(|at| request.arg(at).into()).collect(),
        })
    }

    pub fn names(&self) -> &[Arc<[u8]>] {
        &self.names
    }

    /// Which streams are read from whatever is their end now.
    pub fn at_end(&self) -> Vec<usize> {
        self.positions(b"$")
    }

    /// Reads a stream from this entry on.
    pub fn set_id(&mut self, stream: usize, id: &[u8]) {
        if let Some(place) = self.ids.get_mut(stream) {
            *place = id.into();
        }
    }

    /// The last entry was asked for where there is none: now the first that comes is meant, not the last of several.
    pub fn expect_first(&mut self) {
        for stream in self.positions(b"+") {
            self.set_id(stream, BEGINNING);
        }
    }

    /// Writes the request for some of the streams.
    pub fn write(&self, streams: &[usize], out: &mut Vec<u8>) {
        write::command_header(out, self.head.len() + 2 * streams.len());
        self.head.iter().for_each(|word| write::bulk(out, word));
        let names = streams.iter().filter_map(|&at| self.names.get(at));
        names.for_each(|name| write::bulk(out, name));
        let ids = streams.iter().filter_map(|&at| self.ids.get(at));
        ids.for_each(|id| write::bulk(out, id));
    }

    fn positions(&self, id: &[u8]) -> Vec<usize> {
        let ids = self.ids.iter().enumerate();
        ids.filter(|(_, own)| ***own == *id)
            .map(|(at, _)| at)
            .collect()
    }
}

/// The command that finds the last entry of a stream.
pub const LAST_ENTRY_COMMAND: &str = "xrevrange";

/// Writes the request for the last entry of a stream.
pub fn write_last_entry(name: &[u8], out: &mut Vec<u8>) {
    let words: [&[u8]; 6] = [b"XREVRANGE", name, b"+", b"-", b"COUNT", b"1"];
    write::command(out, &words);
}

/// Before every entry.
pub const BEGINNING: &[u8] = b"0-0";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::lookup::{CommandTable, Lookup};
    use crate::command::testing::Words;

    #[test]
    fn a_reading_is_asked_for_some_of_its_streams_without_waiting() {
        let cases = [
            ("XREAD STREAMS a b 1 2", "XREAD STREAMS b 2"),
            (
                "XREAD COUNT 5 BLOCK 70 STREAMS a b $ $",
                "XREAD COUNT 5 STREAMS b $",
            ),
            (
                "xread block 0 COUNT 5 streams a b $ +",
                "xread COUNT 5 streams b +",
            ),
            (
                "XREADGROUP GROUP block c NOACK STREAMS a b > >",
                "XREADGROUP GROUP block c NOACK STREAMS b >",
            ),
            (
                "XREADGROUP GROUP block c BLOCK 5 STREAMS a b > 0",
                "XREADGROUP GROUP block c STREAMS b 0",
            ),
        ];
        let table = CommandTable::new();
        for (line, expected) in cases {
            let words = Words::new(line);
            let Lookup::Row(row) = table.lookup(words.request()) else {
                panic!("no row for {line}");
            };
            let mut keys = KeyList::new();
            keys::find_keys(row, words.request(), &mut keys).unwrap();
            let streams = Streams::of(row, words.request(), &keys).unwrap();
            let (mut out, mut again) = (Vec::new(), Vec::new());
            streams.write(&[1], &mut out);
            write::command(&mut again, &expected.split(' ').collect::<Vec<_>>());
            assert_eq!(
                out.escape_ascii().to_string(),
                again.escape_ascii().to_string(),
                "{line}"
            );
        }
        assert!(table.row(LAST_ENTRY_COMMAND).is_some());
    }
}
