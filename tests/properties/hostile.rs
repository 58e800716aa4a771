//! Bytes that are made to hurt: no panic, always an end. `growth` holds the work to what arrived.

use crate::generate::Random;
use proptest::prelude::*;
use slotcar::resp::inline;
use slotcar::resp::reply::{Items, Reply, ReplyError, ReplyLimits, ReplyScan, ReplyScanned};
use slotcar::resp::request::{RequestLimits, RequestScan, Scanned};

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
