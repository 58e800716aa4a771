//! Requests made of words, for tests.

use crate::resp::request::{Arg, Request};

/// The arguments of one request, end to end without any framing.
#[derive(Debug, Default)]
pub(crate) struct Words {
    bytes: Vec<u8>,
    args: Vec<Arg>,
}

impl Words {
    /// Words separated by blanks; `""` is an empty one.
    pub(crate) fn new(line: &str) -> Self {
        let words = line.split(' ').map(|word| match word {
            "\"\"" => b"".as_slice(),
            word => word.as_bytes(),
        });
        Self::of(words.collect::<Vec<_>>().as_slice())
    }

    pub(crate) fn of(words: &[&[u8]]) -> Self {
        let mut made = Self::default();
        for word in words {
            let start = u32::try_from(made.bytes.len()).unwrap();
            made.bytes.extend_from_slice(word);
            let end = u32::try_from(made.bytes.len()).unwrap();
            made.args.push(Arg { start, end });
        }
        made
    }

    pub(crate) fn request(&self) -> Request<'_> {
        Request {
            bytes: &self.bytes,
            args: &self.args,
        }
    }
}
