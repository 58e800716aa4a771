//! How requests and replies are written in transcripts; the notation is explained in `tests/transcripts.rs`.

use slotcar::topology::Slot;

use crate::wire::Value;

/// Splits at ` | `, not within quotes.
pub(crate) fn segments(line: &str) -> Vec<&str> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, c) in line.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '|' if !quoted && line[..at].ends_with(' ') && line[at + 1..].starts_with(' ') => {
                parts.push(line[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(line[start..].trim());
    parts.retain(|part| !part.is_empty());
    parts
}

/// The requests of a line: words, apart at blanks.
pub(crate) fn requests(line: &str) -> Result<Vec<Vec<Vec<u8>>>, String> {
    segments(line)
        .into_iter()
        .map(|segment| Reader::new(segment).words())
        .collect()
}

/// The replies of a line.
pub(crate) fn replies(line: &str) -> Result<Vec<Value>, String> {
    let mut values = Vec::new();
    for segment in segments(line) {
        let mut reader = Reader::new(segment);
        while !reader.is_done() {
            values.push(reader.value()?);
        }
    }
    Ok(values)
}

/// What replies should look like: each as [`show`] writes it, or its beginning if it ends in `…`.
pub(crate) fn patterns(line: &str) -> Result<Vec<String>, String> {
    let mut patterns = Vec::new();
    for segment in segments(line) {
        // The beginning of a reply, and what comes of it later.
        if segment.starts_with("torn ") || segment.starts_with("more ") {
            patterns.push(segment.to_owned());
            continue;
        }
        let mut reader = Reader::new(segment);
        while !reader.is_done() {
            let rest = reader.rest;
            if rest.starts_with('-') && rest.ends_with('…') {
                patterns.push(with_slots(rest));
                break;
            }
            match rest.split_once(' ').map_or(rest, |(token, _)| token) {
                token if token.ends_with('…') => {
                    patterns.push(token.to_owned());
                    reader.rest = rest[token.len()..].trim_start();
                }
                _ => patterns.push(show(&reader.value()?)),
            }
        }
    }
    Ok(patterns)
}

pub(crate) fn matches(pattern: &str, shown: &str) -> bool {
    pattern
        .strip_suffix('…')
        .map_or(pattern == shown, |beginning| shown.starts_with(beginning))
}

/// A request in words.
pub(crate) fn show_request(words: &[Vec<u8>]) -> String {
    words
        .iter()
        .map(|word| show_bytes(word))
        .collect::<Vec<_>>()
        .join(" ")
}

/// A reply in this notation.
pub(crate) fn show(value: &Value) -> String {
    match value {
        Value::Simple(text) => format!("+{}", show_bytes(text)),
        Value::Error(text) => format!("-{}", String::from_utf8_lossy(text)),
        Value::Integer(n) => format!(":{n}"),
        Value::Null(text) => (*text).to_owned(),
        Value::Bulk(bytes) => format!("${}", show_bytes(bytes)),
        Value::Items(kind, items) => {
            let items: Vec<String> = items.iter().map(show).collect();
            format!("{}[{}]", char::from(*kind), items.join(" "))
        }
    }
}

fn show_bytes(bytes: &[u8]) -> String {
    let plain = |b: &u8| b.is_ascii_graphic() && !b"\"[]|#\\^".contains(b);
    match bytes {
        [first, ..] if bytes.len() >= 32 && bytes.iter().all(|b| b == first) => {
            format!("{}^{}", char::from(*first), bytes.len())
        }
        [_, ..] if bytes.iter().all(plain) => String::from_utf8_lossy(bytes).into_owned(),
        _ => format!("\"{}\"", bytes.escape_ascii()),
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Self {
        Self { rest: text.trim() }
    }

    fn is_done(&self) -> bool {
        self.rest.is_empty()
    }

    fn words(&mut self) -> Result<Vec<Vec<u8>>, String> {
        let mut words = Vec::new();
        while !self.is_done() {
            words.push(self.word()?);
        }
        Ok(words)
    }

    /// `word`, `"quoted \x00"`, `x^1000`; ends at a blank or a closing bracket.
    fn word(&mut self) -> Result<Vec<u8>, String> {
        if let Some(quoted) = self.rest.strip_prefix('"') {
            let (bytes, len) = unquote(quoted)?;
            self.advance(len + 1);
            return Ok(bytes);
        }
        let end = self.rest.find([' ', ']']).unwrap_or(self.rest.len());
        let word = &self.rest[..end];
        self.advance(end);
        if let Some((letter, count)) = word.split_once('^') {
            let count: usize = count.parse().map_err(|_| format!("{word}: not a count"))?;
            return Ok(letter.as_bytes().repeat(count));
        }
        Ok(word.as_bytes().to_vec())
    }

    fn value(&mut self) -> Result<Value, String> {
        let kind = self.rest.bytes().next().ok_or("a reply is missing")?;
        if kind == b'_' || self.rest.starts_with("$-1") || self.rest.starts_with("*-1") {
            let null = ["_", "$-1", "*-1"]
                .into_iter()
                .find(|n| self.rest.starts_with(n))
                .unwrap_or("_");
            self.advance(null.len());
            return Ok(Value::Null(null));
        }
        if b"*%~>".contains(&kind) {
            let opened = self.rest[1..]
                .strip_prefix('[')
                .ok_or_else(|| format!("{}: no bracket", self.rest))?;
            self.rest = opened.trim_start();
            let mut items = Vec::new();
            while !self.rest.starts_with(']') {
                items.push(self.value()?);
            }
            self.advance(1);
            return Ok(Value::Items(kind, items));
        }
        self.rest = &self.rest[1..];
        Ok(match kind {
            b'-' if !self.rest.starts_with('"') => {
                let text = std::mem::take(&mut self.rest);
                Value::Error(with_slots(text).into_bytes())
            }
            b'-' => Value::Error(self.word()?),
            b'+' => Value::Simple(self.word()?),
            b'$' => Value::Bulk(self.word()?),
            b':' => {
                let text = String::from_utf8_lossy(&self.word()?).into_owned();
                Value::Integer(text.parse().map_err(|_| format!("{text}: not a number"))?)
            }
            other => return Err(format!("no reply starts with {:?}", char::from(other))),
        })
    }

    fn advance(&mut self, n: usize) {
        self.rest = self.rest.get(n..).unwrap_or("").trim_start();
    }
}

/// `MOVED {a} b:1` names the slot of `{a}` by its number.
pub(crate) fn with_slots(text: &str) -> String {
    let word = |word: &str| match word.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
        Some((tag, after @ ("" | ","))) => format!("{}{after}", Slot::of_key(tag.as_bytes())),
        Some(_) | None => word.to_owned(),
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// Text up to the closing quote, and how much of it that was, quote included.
fn unquote(text: &str) -> Result<(Vec<u8>, usize), String> {
    let (mut out, bytes, mut at) = (Vec::new(), text.as_bytes(), 0);
    loop {
        match bytes.get(at) {
            None => return Err(format!("\"{text}: no closing quote")),
            Some(b'"') => return Ok((out, at + 1)),
            Some(b'\\') => {
                let escape = *bytes.get(at + 1).ok_or("an escape is cut off")?;
                at += 2;
                out.push(match escape {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'0' => 0,
                    b'x' => {
                        let digits = text.get(at..at + 2).ok_or("\\x needs two digits")?;
                        at += 2;
                        u8::from_str_radix(digits, 16)
                            .map_err(|_| format!("\\x{digits}: not hexadecimal"))?
                    }
                    other => other,
                });
            }
            Some(&byte) => {
                out.push(byte);
                at += 1;
            }
        }
    }
}
