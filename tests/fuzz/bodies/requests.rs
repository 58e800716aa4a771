//! Client bytes: cut alike however they arrive, and what is cut off can be looked up, planned and split.

use std::sync::OnceLock;

use slotcar::command::keys::{KeyList, find_keys};
use slotcar::command::lookup::{CommandTable, Lookup};
use slotcar::command::{check, keys};
use slotcar::resp::request::{Arg, Request, RequestLimits, RequestScan, Scanned};
use slotcar::resp::{inline, write};
use slotcar::route::plan::{Plan, plan};
use slotcar::route::split::{Cut, Splitter};
use slotcar::topology::Keyspace;

use super::Script;

/// One thing that was cut off: what, and its arguments; or the text of an error.
type Found = Result<(Scanned, Vec<Arg>), String>;

pub(crate) fn run(data: &[u8]) {
    let mut script = Script(data);
    let limits = limits(&mut script);
    let cuts = script.cuts(script.0.len().saturating_sub(3));
    let bytes = script.rest();
    let whole = scan(bytes, &[bytes.len()], &limits);
    let torn = scan(bytes, &cuts, &limits);
    assert_eq!(whole, torn, "cut at {cuts:?}: {}", bytes.escape_ascii());
    let mut at = 0;
    for found in whole.into_iter().flatten() {
        match found {
            (Scanned::Multibulk(len), args) => {
                let request = Request {
                    bytes: &bytes[at..at + len],
                    args: &args,
                };
                at += len;
                check_place(request);
                look_up(request);
            }
            (Scanned::Inline(len), _) => {
                check_inline(&bytes[at..at + len]);
                at += len;
            }
            (Scanned::Nothing(len), _) => at += len,
            (Scanned::Wants(_), _) => panic!("that is no end"),
        }
    }
}

/// The ordinary limits, or small ones that are met more often.
fn limits(script: &mut Script<'_>) -> RequestLimits {
    match script.byte() {
        0..192 => RequestLimits::default(),
        small => RequestLimits {
            bulk_bytes_max: u64::from(small - 192),
            args_max: 4,
            inline_bytes_max: 16,
            request_bytes_max: 64,
        },
    }
}

/// Everything up to the first error or torn end.
fn scan(bytes: &[u8], cuts: &[usize], limits: &RequestLimits) -> Vec<Found> {
    let (mut scan, mut start, mut found) = (RequestScan::new(), 0, Vec::new());
    let mut wanted = 0;
    for &cut in cuts {
        loop {
            let scanned = match scan.advance(&bytes[start..cut], limits) {
                Ok(scanned) => scanned,
                Err(error) => {
                    found.push(Err(error.0.into_owned()));
                    return found;
                }
            };
            let (Scanned::Multibulk(len) | Scanned::Inline(len) | Scanned::Nothing(len)) = scanned
            else {
                if let Scanned::Wants(more) = scanned {
                    assert!(more > 0);
                    wanted = cut + more;
                }
                break;
            };
            assert!(len > 0 && start + len <= cut);
            assert!(wanted <= start + len, "more was wanted than there is");
            wanted = 0;
            let args = match scanned {
                Scanned::Multibulk(_) => scan.args().to_vec(),
                _ => Vec::new(),
            };
            found.push(Ok((scanned, args)));
            start += len;
        }
    }
    found
}

fn check_place(request: Request<'_>) {
    assert!(!request.is_empty());
    let mut from = 0;
    for (index, arg) in request.args.iter().enumerate() {
        let (start, end) = (arg.start as usize, arg.end as usize);
        assert!(from < start && start <= end && end + 2 <= request.bytes.len());
        assert_eq!(&request.bytes[end..end + 2], b"\r\n");
        assert_eq!(request.arg(index), &request.bytes[start..end]);
        from = end;
    }
    assert_eq!(from + 2, request.bytes.len());
}

/// A line that is not refused becomes a request of the same words.
fn check_inline(line: &[u8]) {
    let Ok(words) = inline::split(line) else {
        return;
    };
    assert!(!words.is_empty());
    let mut bytes = Vec::new();
    inline::encode(&words, &mut bytes);
    with_request(&bytes, |request| {
        let read: Vec<&[u8]> = (0..request.len()).map(|at| request.arg(at)).collect();
        assert_eq!(read, words);
        look_up(request);
    });
}

fn look_up(request: Request<'_>) {
    static COMMANDS: OnceLock<CommandTable> = OnceLock::new();
    let commands = COMMANDS.get_or_init(CommandTable::new);
    let lookup = commands.lookup(request);
    if let Some(text) = check::refuse(lookup, request) {
        assert!(!text.contains(&b'\n') && !text.contains(&b'\r'));
        return;
    }
    if let Lookup::Row(row) = lookup {
        find(row, request);
    }
}

/// Finds keys and parts of a request that its row takes.
pub(super) fn find(row: &'static slotcar::command::Row, request: Request<'_>) {
    let mut found = KeyList::new();
    let _ = keys::blocks(row, request);
    if find_keys(row, request, &mut found).is_ok() {
        assert!(found.iter().all(|at| (1..request.len()).contains(&at)));
    }
    if plan(row, request, Keyspace::Hashed, &mut found) != Plan::Split {
        return;
    }
    let split = row.shape.expect("a command that is split says how");
    let mut splitter = Splitter::default();
    if splitter.split(split, request, Keyspace::Hashed) == Cut::Parts {
        let mut words = 0;
        for part in 0..splitter.slots().len() {
            let mut bytes = Vec::new();
            splitter.write_part(part, request, &mut bytes);
            with_request(&bytes, |part| {
                assert_eq!(part.name(), request.name());
                words += part.len() - 1;
            });
        }
        assert!(words + 1 >= request.len());
    }
}

/// Scans what we have written ourselves.
fn with_request(bytes: &[u8], see: impl FnOnce(Request<'_>)) {
    let mut scan = RequestScan::new();
    let limits = RequestLimits {
        args_max: u64::MAX,
        ..RequestLimits::default()
    };
    let scanned = scan.advance(bytes, &limits);
    assert_eq!(scanned, Ok(Scanned::Multibulk(bytes.len())));
    see(scan.request(bytes));
    let mut again = Vec::new();
    let words: Vec<&[u8]> = (0..scan.args().len())
        .map(|at| scan.request(bytes).arg(at))
        .collect();
    write::command(&mut again, &words);
    assert_eq!(again, bytes);
}
