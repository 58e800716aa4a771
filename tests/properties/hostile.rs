//! Bytes that are made to hurt: no panic, always an end, work in proportion to what arrived.

use crate::generate::Random;
use proptest::prelude::*;
use slotcar::resp::inline;
use slotcar::resp::reply::{Items, Reply, ReplyError, ReplyLimits, ReplyScan, ReplyScanned};
use slotcar::resp::request::{RequestLimits, RequestScan, Scanned};
use std::time::{Duration, Instant};

#[test]
fn any_bytes_are_survived_and_cuts_do_not_matter() {
    let config = ProptestConfig {
        cases: 4_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |(seed: u64, any in proptest::collection::vec(any::<u8>(), 0..64))| {
        let mut random = Random(seed);
        let mut likely = b"*2\r\n$3\r\n".to_vec();
        likely.extend(random.bytes(200));
        for bytes in [&any, &random.bytes(200), &likely] {
            requests(bytes, &mut random);
            replies(bytes, &mut random);
            view(Reply::new(bytes).items(), 0);
            let _ = inline::split(bytes);
        }
    });
}

#[test]
fn a_mebibyte_that_arrives_byte_by_byte_is_linear_work() {
    let mebi = 1 << 20;
    let long = |start: &str, filler: u8, end: &str| {
        [start.as_bytes(), &vec![filler; mebi], end.as_bytes()].concat()
    };
    let one_bulk = long(&format!("*1\r\n${mebi}\r\n"), b'\r', "\r\n");
    let small_args = [&b"*174762\r\n"[..], &b"$0\r\n\r\n".repeat(174_762)].concat();
    let requests = [
        one_bulk,
        small_args,
        long("PING ", b' ', "\r\n"),
        long("*1", b'1', "\r\n"),
    ];
    let limits = RequestLimits {
        inline_bytes_max: 2 << 20,
        ..RequestLimits::default()
    };
    for bytes in &requests {
        let started = Instant::now();
        let mut scan = RequestScan::new();
        let mut calls = 0;
        for end in 0..=bytes.len() {
            calls += 1;
            if !matches!(scan.advance(&bytes[..end], &limits), Ok(Scanned::Wants(_))) {
                break;
            }
        }
        assert!(calls >= mebi / 2);
        within_bounds(started, &bytes[..12]);
    }
    let replies = [
        long(&format!("${mebi}\r\n"), b'\r', "\r\n"),
        long("+", b'\r', "\r\n"),
        long("(", b'1', "\r\n"),
        [&b"*262144\r\n"[..], &b":1\r\n".repeat(262_144)].concat(),
        b"|1\r\n".repeat(262_144),
        b"*0\r\n".repeat(262_144),
    ];
    let limits = ReplyLimits {
        line_bytes_max: 2 << 20,
        ..ReplyLimits::default()
    };
    for bytes in &replies {
        let started = Instant::now();
        let (mut scan, mut start) = (ReplyScan::new(), 0);
        for end in 0..=bytes.len() {
            match scan.advance(&bytes[start..end], &limits) {
                Ok(ReplyScanned::Complete(len)) => start += len,
                Ok(ReplyScanned::Wants(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        within_bounds(started, &bytes[..12]);
    }
}

#[test]
fn a_million_levels_are_refused() {
    let bytes = b"*1\r\n".repeat(1_000_000);
    let scanned = ReplyScan::new().advance(&bytes, &ReplyLimits::default());
    assert_eq!(scanned, Err(ReplyError::TooDeep));
    // Looking into what no scanner let through does no harm either.
    assert_eq!(Reply::new(&bytes).items().count(), 0);
}

#[test]
fn a_length_of_four_gibibytes_is_refused() {
    let reply = ReplyScan::new().advance(b"$4294967296\r\n", &ReplyLimits::default());
    assert_eq!(reply, Err(ReplyError::BulkTooLong));
    let bytes = b"*1\r\n$4294967296\r\n";
    let request = RequestScan::new().advance(bytes, &RequestLimits::default());
    let text = request.map_err(|error| error.0.into_owned());
    let expected = "ERR Protocol error: invalid bulk length".to_owned();
    assert_eq!(text, Err(expected));
}

/// Everything up to the first error or torn end, whole and torn.
fn requests(bytes: &[u8], random: &mut Random) {
    let limits = RequestLimits::default();
    let run = |cuts: Vec<usize>| {
        let (mut scan, mut start, mut found) = (RequestScan::new(), 0, Vec::new());
        for cut in cuts {
            loop {
                let scanned = scan.advance(&bytes[start..cut], &limits);
                let len = match scanned {
                    Ok(Scanned::Wants(more)) => {
                        assert!(more > 0);
                        break;
                    }
                    Ok(Scanned::Multibulk(len) | Scanned::Inline(len) | Scanned::Nothing(len)) => {
                        len
                    }
                    Err(_) => {
                        found.push(scanned);
                        return found;
                    }
                };
                assert!(len > 0 && start + len <= cut);
                found.push(scanned);
                start += len;
            }
        }
        found
    };
    let torn = run(random.cuts(bytes.len()));
    assert_eq!(run(vec![bytes.len()]), torn, "{}", bytes.escape_ascii());
}

fn replies(bytes: &[u8], random: &mut Random) {
    let limits = ReplyLimits::default();
    let run = |cuts: Vec<usize>| {
        let (mut scan, mut start, mut found) = (ReplyScan::new(), 0, Vec::new());
        for cut in cuts {
            loop {
                let scanned = scan.advance(&bytes[start..cut], &limits);
                match scanned {
                    Ok(ReplyScanned::Wants(more)) => {
                        assert!(more > 0);
                        break;
                    }
                    Ok(ReplyScanned::Complete(len)) => {
                        assert!(len > 0 && start + len <= cut);
                        view(Reply::new(&bytes[start..start + len]).items(), 0);
                        found.push(scanned);
                        start += len;
                    }
                    Err(_) => {
                        found.push(scanned);
                        return found;
                    }
                }
            }
        }
        found
    };
    let torn = run(random.cuts(bytes.len()));
    assert_eq!(run(vec![bytes.len()]), torn, "{}", bytes.escape_ascii());
}

fn view(items: Items<'_>, depth: usize) {
    for item in items {
        let _ = (item.text(), item.error_code(), item.integer(), item.count());
        if depth < 8 {
            view(item.items(), depth + 1);
        }
    }
}

/// Quadratic work on a mebibyte takes minutes; linear work takes well below a second, even on a busy machine.
fn within_bounds(started: Instant, shown: &[u8]) {
    let taken = started.elapsed();
    assert!(
        taken < Duration::from_secs(10),
        "{taken:?}: {}",
        shown.escape_ascii()
    );
}
