//! The reply scanner and the view of a reply against the decoders of `redis-protocol`.

use crate::generate::{self, Random};
use proptest::prelude::*;
use redis_protocol::{resp2, resp3};
use slotcar::resp::Proto;
use slotcar::resp::reply::{Items, Kind, Reply, ReplyLimits, ReplyScan, ReplyScanned};
use std::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn frames_end_where_the_decoder_says_and_hold_what_it_says() {
    let compared = AtomicUsize::new(0);
    let config = ProptestConfig {
        cases: SEEDS,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |(seed: u64)| {
        let mut random = Random(seed);
        for round in 0..FRAMES_PER_SEED {
            let proto = if round % 3 == 0 { Proto::Resp2 } else { Proto::Resp3 };
            let frame = generate::frame(&mut random, proto);
            check(&mut random, proto, &frame);
            compared.fetch_add(1, Ordering::Relaxed);
        }
    });
    let compared = compared.into_inner();
    println!("{compared} frames compared with redis-protocol, whole and torn");
    assert!(compared >= 100_000);
}

#[test]
fn a_stream_of_frames_is_cut_alike_however_it_arrives() {
    let limits = ReplyLimits::default();
    for seed in 0..2_000 {
        let mut random = Random(seed);
        let frames: Vec<Vec<u8>> = (0..1 + random.below(6))
            .map(|_| generate::frame(&mut random, Proto::Resp3))
            .collect();
        let stream = frames.concat();
        let mut scan = ReplyScan::new();
        let (mut start, mut found) = (0, Vec::new());
        for cut in random.cuts(stream.len()) {
            while let Ok(ReplyScanned::Complete(len)) = scan.advance(&stream[start..cut], &limits) {
                found.push(stream[start..start + len].to_vec());
                start += len;
            }
        }
        assert_eq!(found, frames, "seed {seed}");
    }
}

fn check(random: &mut Random, proto: Proto, frame: &[u8]) {
    let shown = frame.escape_ascii();
    let (len, expected) = decode(proto, frame);
    assert_eq!(len, frame.len(), "the decoder itself: {shown}");
    let limits = ReplyLimits::default();
    let complete = Ok(ReplyScanned::Complete(len));
    assert_eq!(
        ReplyScan::new().advance(frame, &limits),
        complete,
        "{shown}"
    );

    let (mut keeping, mut forgetting) = (ReplyScan::new(), ReplyScan::new());
    let mut forgotten = 0;
    for cut in random.cuts(len) {
        let scanned = keeping.advance(&frame[..cut], &limits);
        let rest = forgetting.advance(&frame[forgotten..cut], &limits);
        if cut == len {
            assert_eq!(scanned, complete, "{shown}");
            assert_eq!(rest, Ok(ReplyScanned::Complete(len - forgotten)), "{shown}");
            break;
        }
        assert_eq!(scanned, rest, "{shown}");
        let Ok(ReplyScanned::Wants(more)) = scanned else {
            panic!("{scanned:?} at {cut} of {len}: {shown}");
        };
        assert!(
            more > 0 && cut + more <= len,
            "{more} at {cut} of {len}: {shown}"
        );
        let settled = forgetting.settled(cut - forgotten);
        forgetting.forget(settled);
        forgotten += settled;
    }
    let mut rendered = String::new();
    render(&Reply::new(frame), &mut rendered);
    assert_eq!(rendered, expected, "{shown}");
}

/// Length and content of the frame as the decoder sees them.
fn decode(proto: Proto, frame: &[u8]) -> (usize, String) {
    let mut text = String::new();
    let len = match proto {
        Proto::Resp2 => {
            let decoded = resp2::decode::decode(frame).expect("RESP2");
            let (decoded, len) = decoded.expect("a whole frame");
            render2(&decoded, &mut text);
            len
        }
        Proto::Resp3 => {
            let decoded = resp3::decode::complete::decode(frame).expect("RESP3");
            let (decoded, len) = decoded.expect("a whole frame");
            render3(&decoded, &mut text);
            len
        }
    };
    (len, text)
}

fn render(reply: &Reply<'_>, out: &mut String) {
    let text = |bytes: Option<&[u8]>| bytes.expect("content").escape_ascii().to_string();
    match reply.kind() {
        Kind::Simple => *out += &format!("simple {}", text(reply.text())),
        Kind::Error => *out += &format!("error {}", text(reply.error())),
        Kind::BlobError => *out += &format!("bloberror {}", text(reply.error())),
        Kind::Integer => *out += &format!("integer {}", reply.integer().expect("a number")),
        Kind::Bulk => *out += &format!("bulk {}", text(reply.text())),
        Kind::Verbatim => *out += &format!("verbatim {}", text(reply.text())),
        Kind::BigNumber => *out += &format!("big {}", text(reply.text())),
        Kind::Double => {
            let double: f64 = text(reply.text()).parse().expect("a double");
            *out += &format!("double {double}");
        }
        Kind::Boolean => *out += &format!("boolean {}", reply.bytes() == b"#t\r\n"),
        Kind::Null => *out += "null",
        Kind::Array => *out += &list("array", rendered(reply.items())),
        Kind::Push => *out += &list("push", rendered(reply.items())),
        Kind::Set => *out += &unordered("set", rendered(reply.items())),
        Kind::Map => {
            let items = rendered(reply.items());
            let pairs = items.chunks(2).map(|pair| pair.join("=")).collect();
            *out += &unordered("map", pairs);
        }
        Kind::Malformed => panic!("malformed"),
    }
    assert_eq!(reply.is_null(), reply.kind() == Kind::Null);
}

fn rendered(items: Items<'_>) -> Vec<String> {
    items
        .map(|item| {
            let mut text = String::new();
            render(&item, &mut text);
            text
        })
        .collect()
}

fn render2(frame: &resp2::types::OwnedFrame, out: &mut String) {
    use resp2::types::OwnedFrame;
    match frame {
        OwnedFrame::SimpleString(text) => *out += &format!("simple {}", text.escape_ascii()),
        OwnedFrame::Error(text) => *out += &format!("error {}", text.as_bytes().escape_ascii()),
        OwnedFrame::Integer(number) => *out += &format!("integer {number}"),
        OwnedFrame::BulkString(bytes) => *out += &format!("bulk {}", bytes.escape_ascii()),
        OwnedFrame::Array(items) => *out += &list("array", all(items, render2)),
        OwnedFrame::Null => *out += "null",
    }
}

fn render3(frame: &resp3::types::OwnedFrame, out: &mut String) {
    use resp3::types::OwnedFrame;
    match frame {
        OwnedFrame::SimpleString { data, .. } => *out += &format!("simple {}", data.escape_ascii()),
        OwnedFrame::SimpleError { data, .. } => {
            *out += &format!("error {}", data.as_bytes().escape_ascii());
        }
        OwnedFrame::BlobError { data, .. } => *out += &format!("bloberror {}", data.escape_ascii()),
        OwnedFrame::Number { data, .. } => *out += &format!("integer {data}"),
        OwnedFrame::BlobString { data, .. } => *out += &format!("bulk {}", data.escape_ascii()),
        OwnedFrame::VerbatimString { data, .. } => {
            *out += &format!("verbatim {}", data.escape_ascii());
        }
        OwnedFrame::BigNumber { data, .. } => *out += &format!("big {}", data.escape_ascii()),
        OwnedFrame::Double { data, .. } => *out += &format!("double {data}"),
        OwnedFrame::Boolean { data, .. } => *out += &format!("boolean {data}"),
        OwnedFrame::Null => *out += "null",
        OwnedFrame::Array { data, .. } => *out += &list("array", all(data, render3)),
        OwnedFrame::Push { data, .. } => *out += &list("push", all(data, render3)),
        OwnedFrame::Set { data, .. } => *out += &unordered("set", all(data, render3)),
        OwnedFrame::Map { data, .. } => {
            let keys = all(data.keys(), render3);
            let values = all(data.values(), render3);
            let pairs = keys.iter().zip(values);
            *out += &unordered(
                "map",
                pairs.map(|(key, value)| format!("{key}={value}")).collect(),
            );
        }
        OwnedFrame::Hello { .. } | OwnedFrame::ChunkedString(_) => panic!("not generated"),
    }
}

fn all<T>(items: impl IntoIterator<Item = T>, render: impl Fn(T, &mut String)) -> Vec<String> {
    items
        .into_iter()
        .map(|item| {
            let mut text = String::new();
            render(item, &mut text);
            text
        })
        .collect()
}

fn list(name: &str, items: Vec<String>) -> String {
    format!("{name}[{}]", items.join(", "))
}

fn unordered(name: &str, mut items: Vec<String>) -> String {
    items.sort();
    items.dedup();
    list(name, items)
}

const SEEDS: u32 = 1_000;
const FRAMES_PER_SEED: usize = 120;
