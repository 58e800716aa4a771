//! Makes argument lists of a command from what the server documents of its syntax (`COMMAND DOCS`).
//!
//! Keys get names of their own, so that a list of names tells positions. Other texts are words that a
//! careless search for keys would stumble over.

use crate::server::Value;

/// One request, name first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arguments {
    pub(crate) words: Vec<Vec<u8>>,
    /// Where the number of keys is.
    numkeys_at: Option<usize>,
    keys: usize,
}

/// Several requests of the command `name` whose documentation is `docs`; the same every time.
pub(crate) fn requests(name: &str, docs: &Value) -> Vec<Vec<Vec<u8>>> {
    let mut made = Vec::new();
    for seed in 0..LISTS {
        let mut dice = Dice(seed * 7_919 + name.len() as u64 + 1);
        let mut one = Arguments::default();
        one.words.extend(name.split('|').map(|word| word.into()));
        let repeat = 1 + dice.below(3);
        if let Some(arguments) = docs.field("arguments") {
            for argument in arguments.list() {
                one.add(argument, repeat, &mut dice);
            }
        }
        made.extend(one.with_odd_numkeys());
        made.push(one.words);
    }
    made
}

impl Arguments {
    /// One documented argument; whatever may be repeated comes `repeat` times, so that numbers of things
    /// that belong together agree.
    fn add(&mut self, argument: &Value, repeat: usize, dice: &mut Dice) {
        let flags = argument.field("flags");
        let flags = flags.map(Value::texts).unwrap_or_default();
        if flags.contains(&"optional") && dice.below(2) == 0 {
            return;
        }
        let token = argument.field("token").map(Value::text);
        let kind = argument.field("type").unwrap().text();
        let (several, every) = (
            flags.contains(&"multiple"),
            flags.contains(&"multiple_token"),
        );
        for turn in 0..if several { repeat } else { 1 } {
            if let Some(token) = token.filter(|_| turn == 0 || every) {
                self.push(token.trim_matches('"'));
            }
            self.add_one(kind, argument, repeat, dice);
        }
    }

    fn add_one(&mut self, kind: &str, argument: &Value, repeat: usize, dice: &mut Dice) {
        let parts = argument.field("arguments").map(Value::list);
        match kind {
            "pure-token" => {}
            "block" => {
                for part in parts.unwrap() {
                    self.add(part, repeat, dice);
                }
            }
            "oneof" => {
                let parts = parts.unwrap();
                let part = &parts[dice.below(parts.len())];
                self.add(part, repeat, dice);
            }
            "key" => {
                self.keys += 1;
                self.push(&format!("key:{}", self.keys));
            }
            "integer" if argument.field("name").unwrap().text() == "numkeys" => {
                self.numkeys_at = Some(self.words.len());
                self.push(&repeat.to_string());
            }
            "integer" | "unix-time" => self.push("7"),
            "double" => self.push("1.5"),
            _ => self.push(WORDS[dice.below(WORDS.len())]),
        }
    }

    fn push(&mut self, word: &str) {
        self.words.push(word.into());
    }

    /// The same request with other numbers of keys, most of which are wrong.
    fn with_odd_numkeys(&self) -> Vec<Vec<Vec<u8>>> {
        let Some(at) = self.numkeys_at else {
            return Vec::new();
        };
        let odd = ["0", "1", "-1", "99", "many", "99999999999999999999"];
        let with = |count: &str| {
            let mut words = self.words.clone();
            words[at] = count.into();
            words
        };
        odd.iter().map(|count| with(count)).collect()
    }
}

/// A small generator of numbers that look random (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).unwrap()
    }
}

/// Requests for each command.
const LISTS: u64 = 16;
const WORDS: [&str; 8] = [
    "plain", "STREAMS", "store", "KEYS", "by", "get", "LIMIT", "auth",
];
