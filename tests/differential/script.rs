//! Reads `tests/differential/*.txt` into steps; see the top of `tests/differential.rs` for the notation.

use std::path::Path;

pub(crate) struct Script {
    /// `pubsub.txt`
    pub(crate) name: String,
    /// Keys of several slots are used together: only where one place has them all.
    pub(crate) needs_one_place: bool,
    pub(crate) needs_databases: bool,
    /// What slotcar is started with besides.
    pub(crate) flags: Vec<String>,
    pub(crate) sections: Vec<Section>,
}

pub(crate) struct Section {
    pub(crate) line: usize,
    pub(crate) title: String,
    only: Option<Protocol>,
    pub(crate) steps: Vec<Step>,
}

pub(crate) struct Step {
    pub(crate) line: usize,
    /// As it is written, blanks apart.
    pub(crate) text: String,
    only: Option<Protocol>,
    pub(crate) who: String,
    pub(crate) what: What,
}

pub(crate) enum What {
    Ask {
        requests: Vec<Request>,
        unordered: bool,
    },
    Send(Vec<Request>),
    Replies {
        count: usize,
    },
    Messages {
        count: usize,
        unordered: bool,
    },
    Quiet,
    Blocks,
    Listed,
    Scans {
        options: Request,
    },
    Until {
        reply: String,
        request: Request,
    },
    Closes,
    IsClosed,
    Speaks(Protocol),
}

pub(crate) type Request = Vec<Vec<u8>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Resp2,
    Resp3,
}

impl Script {
    /// All of the folder, or those that the environment variable `DIFFERENTIAL` names.
    pub(crate) fn all() -> Vec<Script> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/differential");
        let wanted = std::env::var("DIFFERENTIAL").unwrap_or_default();
        let wanted: Vec<&str> = wanted.split(',').filter(|name| !name.is_empty()).collect();
        let mut names: Vec<String> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| match name.strip_suffix(".txt") {
                Some(stem) => wanted.is_empty() || wanted.contains(&stem),
                None => false,
            })
            .collect();
        names.sort();
        assert!(!names.is_empty(), "nothing to run: {wanted:?}");
        let read = |name: String| {
            let text = std::fs::read_to_string(folder.join(&name)).unwrap();
            Script::parse(name, &text)
        };
        names.into_iter().map(read).collect()
    }

    fn parse(name: String, text: &str) -> Script {
        let mut flags = Vec::new();
        let (mut needs_one_place, mut needs_databases) = (false, false);
        let mut sections: Vec<Section> = Vec::new();
        for (line, text) in (1..).zip(text.lines()) {
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            if let Some(line) = text.strip_prefix("slotcar ") {
                flags.extend(line.split_whitespace().map(str::to_owned));
                continue;
            }
            if text == "needs one place" {
                needs_one_place = true;
                continue;
            }
            if text == "needs databases" {
                needs_databases = true;
                continue;
            }
            if let Some(title) = text.strip_prefix("== ") {
                let only = [Protocol::Resp2, Protocol::Resp3]
                    .into_iter()
                    .find(|one| title.ends_with(&format!("({})", one.name())));
                let title = title.to_owned();
                let steps = Vec::new();
                sections.push(Section {
                    line,
                    title,
                    only,
                    steps,
                });
                continue;
            }
            let step = Step::parse(line, text)
                .unwrap_or_else(|| panic!("{name}:{line}: not understood: {text}"));
            let section = sections.last_mut();
            let section = section.unwrap_or_else(|| panic!("{name}:{line}: before any section"));
            section.steps.push(step);
        }
        Script {
            name,
            needs_one_place,
            needs_databases,
            flags,
            sections,
        }
    }
}

impl Section {
    pub(crate) fn is_for(&self, protocol: Protocol) -> bool {
        self.only.is_none_or(|only| only == protocol)
    }
}

impl Step {
    pub(crate) fn is_for(&self, protocol: Protocol) -> bool {
        self.only.is_none_or(|only| only == protocol)
    }

    fn parse(line: usize, text: &str) -> Option<Step> {
        let (only, rest) = match text.split_at_checked(6) {
            Some(("resp2:", rest)) => (Some(Protocol::Resp2), rest),
            Some(("resp3:", rest)) => (Some(Protocol::Resp3), rest),
            _ => (None, text),
        };
        let (who, rest) = rest.trim_start().split_once(' ').unwrap_or((rest, ""));
        let words = words(rest);
        let name = who.trim_end_matches(['<', '>']);
        let what = match &who[name.len()..] {
            ">" => {
                let unordered = words.first().is_some_and(|word| word == b"unordered");
                let requests = requests(&words[usize::from(unordered)..]);
                What::Ask {
                    requests,
                    unordered,
                }
            }
            ">>" => What::Send(requests(&words)),
            "<" => What::Replies {
                count: match words.as_slice() {
                    [] => 1,
                    [count] => number(count)?,
                    _ => return None,
                },
            },
            "" => What::parse(&words)?,
            _ => return None,
        };
        Some(Step {
            line,
            text: text.split_whitespace().collect::<Vec<_>>().join(" "),
            only,
            who: name.to_owned(),
            what,
        })
    }
}

impl What {
    fn parse(words: &[Vec<u8>]) -> Option<What> {
        let texts: Vec<&str> = words
            .iter()
            .map(|word| std::str::from_utf8(word).unwrap_or_default())
            .collect();
        Some(match texts.as_slice() {
            ["gets", count] => What::Messages {
                count: count.parse().ok()?,
                unordered: false,
            },
            ["gets", count, "unordered"] => What::Messages {
                count: count.parse().ok()?,
                unordered: true,
            },
            ["quiet"] => What::Quiet,
            ["blocks"] => What::Blocks,
            ["listed"] => What::Listed,
            ["scans", ..] => What::Scans {
                options: words[1..].to_vec(),
            },
            ["until", reply, ..] => What::Until {
                reply: (*reply).to_owned(),
                request: words[2..].to_vec(),
            },
            ["closes"] => What::Closes,
            ["is", "closed"] => What::IsClosed,
            ["speaks", "2"] => What::Speaks(Protocol::Resp2),
            ["speaks", "3"] => What::Speaks(Protocol::Resp3),
            _ => return None,
        })
    }
}

impl Protocol {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Protocol::Resp2 => "RESP2",
            Protocol::Resp3 => "RESP3",
        }
    }
}

fn requests(words: &[Vec<u8>]) -> Vec<Request> {
    words
        .split(|word| word == b"|")
        .map(<[Vec<u8>]>::to_vec)
        .collect()
}

fn number(word: &[u8]) -> Option<usize> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// Splits at blanks outside of double quotes; within them `\n`, `\r`, `\"`, `\\` and `\xNN` are escapes.
fn words(text: &str) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (word, behind) = match rest.strip_prefix('"') {
            Some(quoted) => unquoted(quoted),
            None => {
                let (word, behind) = rest.split_once(' ').unwrap_or((rest, ""));
                (word.as_bytes().to_vec(), behind)
            }
        };
        words.push(word);
        rest = behind.trim_start();
    }
    words
}

/// What stands before the closing quote, and what stands behind it.
fn unquoted(text: &str) -> (Vec<u8>, &str) {
    let mut word = Vec::new();
    let mut rest = text;
    loop {
        let mut chars = rest.chars();
        let c = chars.next().expect("a closing quote");
        rest = chars.as_str();
        match (c, rest.chars().next()) {
            ('"', _) => return (word, rest),
            ('\\', Some('x')) => {
                word.push(u8::from_str_radix(&rest[1..3], 16).expect("two hex digits"));
                rest = &rest[3..];
            }
            ('\\', Some(escaped)) => {
                word.push(match escaped {
                    'n' => b'\n',
                    'r' => b'\r',
                    '"' => b'"',
                    '\\' => b'\\',
                    other => panic!("unknown escape {other}"),
                });
                rest = &rest[1..];
            }
            _ => word.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}
