//! Random frames, requests and cuts from a seed: the same seed, the same bytes.

use slotcar::resp::Proto;

/// SplitMix64. A failure prints the seed it started from.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap_or_default()
    }

    /// Any bytes, preferably ones that mean something in RESP; at most `len_max`, mostly few.
    pub(crate) fn bytes(&mut self, len_max: usize) -> Vec<u8> {
        let len = match self.below(8) {
            0 => 0,
            1 => self.below(len_max + 1),
            _ => self.below(len_max.min(12) + 1),
        };
        (0..len)
            .map(|_| match self.below(4) {
                0 => MEANINGFUL[self.below(MEANINGFUL.len())],
                1 => self.next().to_le_bytes()[0],
                _ => b'a' + self.next().to_le_bytes()[0] % 26,
            })
            .collect()
    }

    /// Sorted places at which to cut `len` bytes; all places for a short stream, some for a long one. The last is `len`.
    pub(crate) fn cuts(&mut self, len: usize) -> Vec<usize> {
        if len <= 48 || self.below(16) == 0 {
            return (0..=len).collect();
        }
        let mut cuts: Vec<usize> = (0..1 + self.below(8)).map(|_| self.below(len)).collect();
        cuts.push(len);
        cuts.sort_unstable();
        cuts
    }

    fn line(&mut self) -> String {
        (0..self.below(20))
            .map(|_| char::from(b' ' + self.next().to_le_bytes()[0] % 95))
            .collect()
    }

    fn number(&mut self) -> i64 {
        match self.below(4) {
            0 => [0, -1, i64::MAX, i64::MIN][self.below(4)],
            1 => self.next().cast_signed(),
            _ => self.next().cast_signed() % 1000,
        }
    }
}

/// One random reply of the protocol, as a server would write it.
pub(crate) fn frame(random: &mut Random, proto: Proto) -> Vec<u8> {
    let mut out = Vec::new();
    value(random, proto, 0, &mut out);
    out
}

/// One random request: its arguments.
pub(crate) fn request(random: &mut Random) -> Vec<Vec<u8>> {
    let args = match random.below(8) {
        0 => 1 + random.below(40),
        _ => 1 + random.below(4),
    };
    (0..args).map(|_| random.bytes(300)).collect()
}

fn value(random: &mut Random, proto: Proto, depth: usize, out: &mut Vec<u8>) {
    match proto {
        Proto::Resp2 if depth < DEPTH_MAX && random.below(3) == 0 => {
            aggregate(random, proto, depth, "*", out);
        }
        Proto::Resp2 => scalar2(random, out),
        Proto::Resp3 => {
            // The decoder that we compare with cannot attach attributes to a null.
            let attribute = depth < DEPTH_MAX && random.below(12) == 0;
            if attribute {
                pairs(random, proto, depth, "|", out);
            }
            match random.below(9) {
                0 if depth < DEPTH_MAX => aggregate(random, proto, depth, "*", out),
                1 if depth < DEPTH_MAX => aggregate(random, proto, depth, ">", out),
                2 if depth < DEPTH_MAX => pairs(random, proto, depth, "%", out),
                3 => set(random, out),
                4 if !attribute => out.extend_from_slice(b"_\r\n"),
                _ => scalar3(random, out),
            }
        }
    }
}

fn aggregate(random: &mut Random, proto: Proto, depth: usize, first: &str, out: &mut Vec<u8>) {
    let count = random.below(5);
    out.extend_from_slice(format!("{first}{count}\r\n").as_bytes());
    for _ in 0..count {
        value(random, proto, depth + 1, out);
    }
}

/// Keys are scalars and differ: the decoder that we compare with makes a hash map of them.
fn pairs(random: &mut Random, proto: Proto, depth: usize, first: &str, out: &mut Vec<u8>) {
    let mut keys: Vec<Vec<u8>> = (0..random.below(4))
        .map(|_| {
            let mut key = Vec::new();
            scalar3(random, &mut key);
            key
        })
        .collect();
    keys.sort();
    keys.dedup();
    out.extend_from_slice(format!("{first}{}\r\n", keys.len()).as_bytes());
    for key in keys {
        out.extend_from_slice(&key);
        value(random, proto, depth + 1, out);
    }
}

fn set(random: &mut Random, out: &mut Vec<u8>) {
    let count = random.below(5);
    out.extend_from_slice(format!("~{count}\r\n").as_bytes());
    for _ in 0..count {
        scalar3(random, out);
    }
}

fn scalar2(random: &mut Random, out: &mut Vec<u8>) {
    match random.below(7) {
        0 => line(out, '+', &random.line()),
        1 => line(out, '-', &random.line()),
        2 => line(out, ':', &random.number().to_string()),
        3 => out.extend_from_slice(b"$-1\r\n"),
        4 => out.extend_from_slice(b"*-1\r\n"),
        _ => blob(out, '$', &random.bytes(400)),
    }
}

fn scalar3(random: &mut Random, out: &mut Vec<u8>) {
    match random.below(10) {
        0 => line(out, '+', &random.line()),
        1 => line(out, '-', &random.line()),
        2 => line(out, ':', &random.number().to_string()),
        3 => line(out, '#', if random.below(2) == 0 { "t" } else { "f" }),
        4 => {
            let double = ["inf", "-inf", "nan", "1.5", "-0.25", "3", "1e+20"];
            line(out, ',', double[random.below(double.len())]);
        }
        5 => line(
            out,
            '(',
            &format!("{}{}", random.number(), random.below(1 << 30)),
        ),
        6 => blob(out, '!', &random.bytes(40)),
        7 => {
            let format = [&b"txt:"[..], b"mkd:"][random.below(2)];
            blob(out, '=', &[format, &random.bytes(60)].concat());
        }
        _ => blob(out, '$', &random.bytes(400)),
    }
}

fn line(out: &mut Vec<u8>, first: char, text: &str) {
    out.extend_from_slice(format!("{first}{text}\r\n").as_bytes());
}

fn blob(out: &mut Vec<u8>, first: char, bytes: &[u8]) {
    out.extend_from_slice(format!("{first}{}\r\n", bytes.len()).as_bytes());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

const DEPTH_MAX: usize = 4;
const MEANINGFUL: &[u8] = b"\r\n\r\n$*+-:_#,(!=%~>|?0123456789\0\"'\\ ";
