//! The request scanner against what was written, and against the decoder of `redis-protocol`.

use crate::generate::{self, Random};
use proptest::prelude::*;
use redis_protocol::resp2;
use slotcar::resp::request::{Arg, Request, RequestLimits, RequestScan, Scanned};
use slotcar::resp::{inline, write};

/// One thing in a pipeline, and how it must come out.
enum Sent {
    Multibulk(Vec<Vec<u8>>),
    Inline(Vec<Vec<u8>>),
    Nothing,
}

#[test]
fn pipelines_are_cut_alike_however_they_arrive() {
    let config = ProptestConfig {
        cases: 1_500,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |(seed: u64)| {
        let mut random = Random(seed);
        let (mut stream, mut sent) = (Vec::new(), Vec::new());
        for _ in 0..1 + random.below(12) {
            sent.push(send(&mut random, &mut stream));
        }
        check(&mut random, &stream, &sent);
    });
}

#[test]
fn whole_and_torn_requests_have_the_same_arguments_as_the_decoder_sees() {
    let limits = RequestLimits::default();
    for seed in 0..2_000 {
        let mut random = Random(seed);
        let args = generate::request(&mut random);
        let mut bytes = Vec::new();
        write::command(&mut bytes, &args);
        let decoded = resp2::decode::decode(&bytes).expect("RESP2");
        let (decoded, len) = decoded.expect("a whole frame");
        let resp2::types::OwnedFrame::Array(items) = decoded else {
            panic!("{decoded:?}");
        };
        let mut scan = RequestScan::new();
        assert_eq!(scan.advance(&bytes, &limits), Ok(Scanned::Multibulk(len)));
        let whole: Vec<Arg> = scan.args().to_vec();
        let request = scan.request(&bytes);
        assert_eq!(request.len(), items.len(), "seed {seed}");
        for (index, item) in items.iter().enumerate() {
            let bulk = resp2::types::OwnedFrame::BulkString(request.arg(index).to_vec());
            assert_eq!(&bulk, item, "seed {seed}");
        }
        for cut in 0..bytes.len() {
            let mut scan = RequestScan::new();
            let wants = scan.advance(&bytes[..cut], &limits);
            let Ok(Scanned::Wants(more)) = wants else {
                panic!("seed {seed}: {wants:?} at {cut} of {len}");
            };
            assert!(
                more > 0 && cut + more <= len,
                "seed {seed}: {more} at {cut} of {len}"
            );
            assert_eq!(scan.advance(&bytes, &limits), Ok(Scanned::Multibulk(len)));
            assert_eq!(scan.args(), whole, "seed {seed}");
        }
    }
}

fn send(random: &mut Random, stream: &mut Vec<u8>) -> Sent {
    match random.below(10) {
        0 => {
            let nothing = [&b"*0\r\n"[..], b"*-1\r\n", b"\r\n", b"\n", b"  \r\n"];
            stream.extend_from_slice(nothing[random.below(nothing.len())]);
            Sent::Nothing
        }
        1 => {
            let args = generate::request(random);
            for (index, arg) in args.iter().enumerate() {
                if index > 0 {
                    stream.push(b' ');
                }
                quote(arg, stream);
            }
            stream.extend_from_slice([&b"\n"[..], b"\r\n"][random.below(2)]);
            Sent::Inline(args)
        }
        _ => {
            let args = generate::request(random);
            write::command(stream, &args);
            Sent::Multibulk(args)
        }
    }
}

fn quote(arg: &[u8], stream: &mut Vec<u8>) {
    stream.push(b'"');
    for byte in arg {
        stream.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
    }
    stream.push(b'"');
}

fn check(random: &mut Random, stream: &[u8], sent: &[Sent]) {
    let limits = RequestLimits::default();
    let mut scan = RequestScan::new();
    let (mut start, mut next) = (0, sent.iter());
    for cut in random.cuts(stream.len()) {
        loop {
            let arrived = &stream[start..cut];
            let scanned = scan.advance(arrived, &limits).expect("a request");
            let len = match scanned {
                Scanned::Multibulk(len) => {
                    let Some(Sent::Multibulk(args)) = next.next() else {
                        panic!("no array was sent here");
                    };
                    same(args, &scan.request(&arrived[..len]));
                    len
                }
                Scanned::Inline(len) => {
                    let Some(Sent::Inline(args)) = next.next() else {
                        panic!("no line was sent here");
                    };
                    let words = inline::split(&arrived[..len]).expect("quotes are closed");
                    assert_eq!(&words, args);
                    len
                }
                Scanned::Nothing(len) => {
                    assert!(matches!(next.next(), Some(Sent::Nothing)));
                    len
                }
                Scanned::Wants(more) => {
                    assert!(more > 0);
                    break;
                }
            };
            start += len;
        }
    }
    assert_eq!(start, stream.len());
    assert!(next.next().is_none());
}

fn same(args: &[Vec<u8>], request: &Request<'_>) {
    assert_eq!(request.len(), args.len());
    for (index, arg) in args.iter().enumerate() {
        assert_eq!(request.arg(index), arg);
    }
}
