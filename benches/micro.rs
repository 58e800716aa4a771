//! Wall-clock times of the steps that a request takes, beside libraries that do the same: `cargo bench --bench micro`.
//! For regressions there is `benches/instructions.sh`, whose figures do not depend on what else the machine does.

#![allow(
    clippy::expect_used,
    reason = "a program for measuring, with input of its own"
)]

use divan::{Bencher, black_box};
use redis_protocol::resp2::decode::decode_range;
use slotcar::command::lookup::CommandTable;
use slotcar::command::{Merge, Split};
use slotcar::reply::gather::Gather;
use slotcar::reply::info::ServerFace;
use slotcar::resp::Proto;
use slotcar::resp::reply::{ReplyLimits, ReplyScan, ReplyScanned};
use slotcar::resp::request::{RequestLimits, RequestScan, Scanned};
use slotcar::resp::write;
use slotcar::route::split::Splitter;
use slotcar::topology::{Keyspace, Slot};

fn main() {
    divan::main();
}

/// The size of the longest argument.
const SIZES: [usize; 3] = [16, 1024, 64 * 1024];

fn set_request(size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    write::command(
        &mut bytes,
        &[b"SET", b"key:000000012345".as_slice(), &vec![b'x'; size]],
    );
    bytes
}

fn bulk_reply(size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    write::bulk(&mut bytes, vec![b'x'; size]);
    bytes
}

/// Of 100 strings.
fn array_reply(size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    write::array(&mut bytes, 100);
    (0..100).for_each(|_| bytes.extend(bulk_reply(size / 100)));
    bytes
}

mod scan_request {
    use super::*;

    #[divan::bench(args = SIZES)]
    fn slotcar(bencher: Bencher<'_, '_>, size: usize) {
        let (bytes, limits, mut scan) = (
            set_request(size),
            RequestLimits::default(),
            RequestScan::new(),
        );
        bencher.bench_local(|| {
            let scanned = scan.advance(black_box(&bytes), &limits);
            assert!(matches!(scanned, Ok(Scanned::Multibulk(_))));
            scan.reset();
        });
    }

    #[divan::bench(args = SIZES)]
    fn redis_protocol(bencher: Bencher<'_, '_>, size: usize) {
        let bytes = set_request(size);
        bencher.bench(|| decode_range(black_box(&bytes)));
    }
}

mod scan_reply {
    use super::*;

    #[divan::bench(args = SIZES)]
    fn slotcar(bencher: Bencher<'_, '_>, size: usize) {
        scan(bencher, &bulk_reply(size));
    }

    #[divan::bench(args = SIZES)]
    fn redis_protocol(bencher: Bencher<'_, '_>, size: usize) {
        let bytes = bulk_reply(size);
        bencher.bench(|| decode_range(black_box(&bytes)));
    }

    #[divan::bench(args = SIZES)]
    fn slotcar_array_of_100(bencher: Bencher<'_, '_>, size: usize) {
        scan(bencher, &array_reply(size));
    }

    #[divan::bench(args = SIZES)]
    fn redis_protocol_array_of_100(bencher: Bencher<'_, '_>, size: usize) {
        let bytes = array_reply(size);
        bencher.bench(|| decode_range(black_box(&bytes)));
    }

    fn scan(bencher: Bencher<'_, '_>, bytes: &[u8]) {
        let (limits, mut scan) = (ReplyLimits::default(), ReplyScan::new());
        bencher.bench_local(|| {
            let scanned = scan.advance(black_box(bytes), &limits);
            assert!(matches!(scanned, Ok(ReplyScanned::Complete(_))));
            scan.reset();
        });
    }
}

/// The same array, as it comes in pieces of 4 KiB: what has been looked at is not looked at again.
mod scan_torn_array {
    use super::*;

    const PIECE: usize = 4096;
    const SIZE: usize = 256 * 1024;

    #[divan::bench]
    fn slotcar(bencher: Bencher<'_, '_>) {
        let (bytes, limits, mut scan) =
            (array_reply(SIZE), ReplyLimits::default(), ReplyScan::new());
        bencher.bench_local(|| {
            for end in (PIECE..bytes.len()).step_by(PIECE) {
                let scanned = scan.advance(black_box(&bytes[..end]), &limits);
                assert!(matches!(scanned, Ok(ReplyScanned::Wants(_))));
            }
            let scanned = scan.advance(black_box(&bytes), &limits);
            assert!(matches!(scanned, Ok(ReplyScanned::Complete(_))));
            scan.reset();
        });
    }

    #[divan::bench]
    fn redis_protocol(bencher: Bencher<'_, '_>) {
        let bytes = array_reply(SIZE);
        bencher.bench(|| {
            for end in (PIECE..bytes.len()).step_by(PIECE) {
                let _torn = black_box(decode_range(&bytes[..end]));
            }
            decode_range(black_box(&bytes))
        });
    }
}

mod look_up {
    use super::*;

    #[divan::bench(args = ["GET", "set", "ZRANGEBYSCORE", "CLIENT", "NOSUCHCOMMAND"])]
    fn command(bencher: Bencher<'_, '_>, name: &str) {
        let (table, mut bytes, mut scan) = (CommandTable::new(), Vec::new(), RequestScan::new());
        write::command(&mut bytes, &[name.as_bytes(), b"LIST"]);
        let scanned = scan.advance(&bytes, &RequestLimits::default());
        assert!(matches!(scanned, Ok(Scanned::Multibulk(_))));
        bencher.bench_local(|| black_box(table.lookup(black_box(scan.request(&bytes)))));
    }
}

mod hash_slot {
    use super::*;

    const KEYS: [&str; 4] = [
        "key:000000012345",
        "{user:1000}.following",
        "a",
        "session:5f4dcc3b5aa765d61d8327deb882cf99:tenant-0042:preferences",
    ];

    #[divan::bench(args = KEYS)]
    fn slotcar(key: &str) -> Slot {
        Slot::of_key(black_box(key.as_bytes()))
    }

    /// Without a look for a hash tag.
    #[divan::bench(args = KEYS)]
    fn crc16_crate(key: &str) -> u16 {
        crc16::State::<crc16::XMODEM>::calculate(black_box(key.as_bytes())) % 16_384
    }
}

mod mget {
    use super::*;

    const KEYS: [usize; 3] = [2, 10, 100];

    fn request(keys: usize) -> (Vec<u8>, RequestScan) {
        let words = (0..keys).map(|n| format!("key:{n:012}").into_bytes());
        let words: Vec<Vec<u8>> = std::iter::once(b"MGET".to_vec()).chain(words).collect();
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        let (mut bytes, mut scan) = (Vec::new(), RequestScan::new());
        write::command(&mut bytes, &words);
        let scanned = scan.advance(&bytes, &RequestLimits::default());
        assert!(matches!(scanned, Ok(Scanned::Multibulk(_))));
        (bytes, scan)
    }

    #[divan::bench(args = KEYS)]
    fn split(bencher: Bencher<'_, '_>, keys: usize) {
        let ((bytes, scan), mut splitter, mut out) =
            (request(keys), Splitter::default(), Vec::new());
        bencher.bench_local(|| {
            splitter.split(
                Split::Keys,
                black_box(scan.request(&bytes)),
                Keyspace::Hashed,
            );
            out.clear();
            for part in 0..splitter.slots().len() {
                splitter.write_part(part, scan.request(&bytes), &mut out);
            }
            black_box(out.len())
        });
    }

    #[divan::bench(args = KEYS)]
    fn merge(bencher: Bencher<'_, '_>, keys: usize) {
        let ((bytes, scan), mut splitter) = (request(keys), Splitter::default());
        splitter.split(Split::Keys, scan.request(&bytes), Keyspace::Hashed);
        let parts = splitter.slots().len();
        let replies: Vec<Vec<u8>> = (0..parts)
            .map(|part| {
                let count = splitter
                    .key_parts()
                    .iter()
                    .filter(|&&p| usize::from(p) == part)
                    .count();
                let mut reply = Vec::new();
                write::array(&mut reply, count);
                (0..count).for_each(|_| write::bulk(&mut reply, [b'x'; 64]));
                reply
            })
            .collect();
        let face = ServerFace {
            port: 0,
            run_id: "",
            process_id: 0,
            uptime: std::time::Duration::ZERO,
            connected_clients: 0,
            blocked_clients: 0,
            clients_max: 0,
            connections_received: 0,
            connections_refused: 0,
            slotcar: Vec::new(),
        };
        let (mut gather, mut out) = (Gather::default(), Vec::new());
        bencher.bench_local(|| {
            gather.start(Merge::KeyOrder, parts, splitter.key_parts());
            for (part, reply) in replies.iter().enumerate() {
                gather.on_reply(part, black_box(reply));
            }
            out.clear();
            gather.finish(Proto::Resp2, &face, &mut out);
            black_box(out.len())
        });
    }
}
