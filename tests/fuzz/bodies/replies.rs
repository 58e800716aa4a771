//! Node bytes: cut alike however they arrive, read as `redis-protocol` reads them where both accept them, merged without
//! making anything but one frame of them.

use redis_protocol::{resp2, resp3};
use slotcar::command::Merge;
use slotcar::reply::gather::Gather;
use slotcar::reply::info::ServerFace;
use slotcar::resp::Proto;
use slotcar::resp::reply::{
    Items, Kind, Reply, ReplyError, ReplyLimits, ReplyScan, ReplyScanned, is_push,
};

use super::Script;

pub(crate) fn run(data: &[u8]) {
    let mut script = Script(data);
    let limits = limits(&mut script);
    let merge = script.pick(MERGES);
    let proto = script.pick(&[Proto::Resp2, Proto::Resp3]);
    let cuts = script.cuts(script.0.len().saturating_sub(3));
    let bytes = script.rest();
    let whole = scan(bytes, &[bytes.len()], false, &limits);
    for forgets in [false, true] {
        let torn = scan(bytes, &cuts, forgets, &limits);
        assert_eq!(whole, torn, "cut at {cuts:?}: {}", bytes.escape_ascii());
    }
    let mut frames = Vec::new();
    let mut at = 0;
    for len in whole.into_iter().map_while(Result::ok) {
        let frame = &bytes[at..at + len];
        at += len;
        check_frame(frame);
        frames.push(frame);
    }
    gather(merge, proto, &frames);
    // Looking into what no scanner let through does no harm either.
    view(Reply::new(bytes).items(), 0);
}

/// The ordinary limits, or small ones that are met more often.
fn limits(script: &mut Script<'_>) -> ReplyLimits {
    match script.byte() {
        0..192 => ReplyLimits::default(),
        small => ReplyLimits {
            bulk_bytes_max: u64::from(small - 192),
            elements_max: 8,
            depth_max: 3,
            line_bytes_max: 16,
            reply_bytes_max: 80,
        },
    }
}

/// The lengths of all frames up to the first error or torn end; `forgets`: what is settled leaves the buffer.
fn scan(
    bytes: &[u8],
    cuts: &[usize],
    forgets: bool,
    limits: &ReplyLimits,
) -> Vec<Result<usize, ReplyError>> {
    let (mut scan, mut found) = (ReplyScan::new(), Vec::new());
    // Where the frame starts, and how much of it has left the buffer.
    let (mut start, mut gone, mut wanted) = (0, 0, 0);
    for &cut in cuts {
        loop {
            match scan.advance(&bytes[start + gone..cut], limits) {
                Ok(ReplyScanned::Complete(len)) => {
                    let len = gone + len;
                    assert!(len > 0 && start + len <= cut);
                    assert!(wanted <= start + len, "more was wanted than there is");
                    found.push(Ok(len));
                    start += len;
                    (gone, wanted) = (0, 0);
                }
                Ok(ReplyScanned::Wants(more)) => {
                    assert!(more > 0);
                    wanted = cut + more;
                    if forgets {
                        let settled = scan.settled(cut - start - gone);
                        scan.forget(settled);
                        gone += settled;
                    }
                    break;
                }
                Err(error) => {
                    found.push(Err(error));
                    return found;
                }
            }
        }
    }
    found
}

fn check_frame(frame: &[u8]) {
    let reply = Reply::new(frame);
    assert_ne!(reply.kind(), Kind::Malformed, "{}", frame.escape_ascii());
    assert!(frame.ends_with(reply.bytes()));
    assert_eq!(is_push(frame), frame.first() == Some(&b'>'));
    view(reply.items(), 0);
    if let Ok(Some((decoded, len))) = resp2::decode::decode(frame) {
        assert_eq!(len, frame.len(), "{}", frame.escape_ascii());
        same_as_resp2(reply, &decoded);
    }
    // Its maps want keys that differ, and its attributes are values of their own.
    let compares = !frame.iter().any(|byte| b"|%~".contains(byte));
    if compares && let Ok(Some((decoded, len))) = resp3::decode::complete::decode(frame) {
        assert_eq!(len, frame.len(), "{}", frame.escape_ascii());
        same_as_resp3(reply, &decoded);
    }
}

fn same_as_resp2(reply: Reply<'_>, decoded: &resp2::types::OwnedFrame) {
    use resp2::types::OwnedFrame;
    match decoded {
        OwnedFrame::SimpleString(text) => assert_eq!(reply.text(), Some(text.as_slice())),
        OwnedFrame::BulkString(bytes) => assert_eq!(reply.text(), Some(bytes.as_slice())),
        OwnedFrame::Error(text) => assert_eq!(reply.error(), Some(text.as_bytes())),
        OwnedFrame::Integer(number) => {
            assert_eq!(reply.kind(), Kind::Integer);
            assert!(reply.integer().is_none_or(|read| read == *number));
        }
        OwnedFrame::Null => assert!(reply.is_null()),
        OwnedFrame::Array(items) => {
            assert_eq!(reply.count(), Some(items.len()));
            assert_eq!(reply.items().count(), items.len());
            reply
                .items()
                .zip(items)
                .for_each(|(reply, item)| same_as_resp2(reply, item));
        }
    }
}

fn same_as_resp3(reply: Reply<'_>, decoded: &resp3::types::OwnedFrame) {
    use resp3::types::OwnedFrame;
    match decoded {
        OwnedFrame::SimpleString { data, .. } | OwnedFrame::BlobString { data, .. } => {
            assert_eq!(reply.text(), Some(data.as_slice()));
        }
        OwnedFrame::SimpleError { data, .. } => assert_eq!(reply.error(), Some(data.as_bytes())),
        OwnedFrame::BlobError { data, .. } => assert_eq!(reply.error(), Some(data.as_slice())),
        OwnedFrame::VerbatimString { data, .. } => {
            assert_eq!(reply.text(), Some(data.as_slice()));
        }
        OwnedFrame::Number { data, .. } => {
            assert_eq!(reply.kind(), Kind::Integer);
            assert!(reply.integer().is_none_or(|read| read == *data));
        }
        OwnedFrame::Boolean { .. } => assert_eq!(reply.kind(), Kind::Boolean),
        OwnedFrame::Double { .. } => assert_eq!(reply.kind(), Kind::Double),
        OwnedFrame::BigNumber { .. } => assert_eq!(reply.kind(), Kind::BigNumber),
        OwnedFrame::Null => assert!(reply.is_null()),
        OwnedFrame::Array { data, .. } | OwnedFrame::Push { data, .. } => {
            assert_eq!(reply.count(), Some(data.len()));
            assert_eq!(reply.items().count(), data.len());
            reply
                .items()
                .zip(data)
                .for_each(|(reply, item)| same_as_resp3(reply, item));
        }
        OwnedFrame::Map { .. }
        | OwnedFrame::Set { .. }
        | OwnedFrame::Hello { .. }
        | OwnedFrame::ChunkedString(_) => {}
    }
}

/// Merges up to four frames; what comes out is one whole frame.
fn gather(merge: Merge, proto: Proto, frames: &[&[u8]]) {
    let frames = &frames[..frames.len().min(4)];
    if frames.is_empty() {
        return;
    }
    let parts = u16::try_from(frames.len()).unwrap();
    let key_parts: Vec<u16> = (0..parts).chain(0..parts).collect();
    let mut gather = Gather::default();
    gather.start(merge, frames.len(), &key_parts);
    gather.limit_items(3);
    for (part, frame) in frames.iter().enumerate() {
        assert_eq!(gather.on_reply(part, frame), part + 1 == frames.len());
    }
    let mut merged = Vec::new();
    gather.finish(proto, &ServerFace::default(), &mut merged);
    let limits = ReplyLimits::default();
    let scanned = ReplyScan::new().advance(&merged, &limits);
    let whole = Ok(ReplyScanned::Complete(merged.len()));
    assert_eq!(scanned, whole, "{merge:?}: {}", merged.escape_ascii());
}

fn view(items: Items<'_>, depth: usize) {
    for item in items {
        let _ = (item.text(), item.error_code(), item.integer(), item.count());
        if depth < 8 {
            view(item.items(), depth + 1);
        }
    }
}

const MERGES: &[Merge] = &[
    Merge::AsIs,
    Merge::AllSucceeded,
    Merge::Sum,
    Merge::Min,
    Merge::MinEach,
    Merge::AndEach,
    Merge::OneSucceeded,
    Merge::Concat,
    Merge::ConcatDistinct,
    Merge::SlowlogGet,
    Merge::KeyOrder,
    Merge::MapSum,
    Merge::Receivers,
    Merge::Info,
    Merge::RandomNonNull,
    Merge::FunctionStats,
    Merge::MemoryDoctor,
    Merge::MemoryMallocStats,
    Merge::MemoryStats,
    Merge::LatencyDoctor,
    Merge::LatencyGraph,
    Merge::LatencyHistogram,
    Merge::LatencyHistory,
    Merge::LatencyLatest,
    Merge::HotKeys,
];
