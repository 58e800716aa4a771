//! Four times the input is about four times the work, for the worst shapes that are known: what a quadratic step would make
//! of them is sixteen times.

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use redis_protocol::resp2::decode::decode_bytes;
use slotcar::clock::Now;
use slotcar::command::Merge;
use slotcar::command::lookup::CommandTable;
use slotcar::config::limits::Limits;
use slotcar::reply::gather::Gather;
use slotcar::reply::info::ServerFace;
use slotcar::resp::Proto;
use slotcar::resp::reply::{Reply, ReplyLimits, ReplyScan, ReplyScanned};
use slotcar::resp::request::{RequestLimits, RequestScan, Scanned};
use slotcar::resp::write;
use slotcar::topology::{Endpoint, parse_cluster_slots};
use slotcar::upstream::link::LinkDown;
use slotcar::worker::hub::Hub;

use crate::bodies::rig::{self, ShardPlan, Socket};

#[test]
fn requests_that_come_byte_by_byte() {
    let limits = RequestLimits {
        inline_bytes_max: usize::MAX,
        ..RequestLimits::default()
    };
    let scan = |bytes: &[u8]| {
        let mut scan = RequestScan::new();
        let mut ends = 0..=bytes.len();
        let wants = |end| matches!(scan.advance(&bytes[..end], &limits), Ok(Scanned::Wants(_)));
        assert!(ends.all(wants), "an end where there is none");
    };
    is_linear("one argument", 100_000, |n| {
        let bytes = [format!("*1\r\n${n}\r\n").into_bytes(), vec![b'\r'; n]].concat();
        move || scan(&bytes)
    });
    is_linear("tiny arguments", 10_000, |n| {
        let bytes = [
            format!("*{}\r\n", n + 1).into_bytes(),
            b"$0\r\n\r\n".repeat(n),
        ]
        .concat();
        move || scan(&bytes)
    });
    is_linear("a line", 100_000, |n| move || scan(&vec![b' '; n]));
    is_linear("a header", 100_000, |n| {
        move || scan(&[b"*".to_vec(), vec![b'1'; n]].concat())
    });
}

#[test]
fn replies_that_come_byte_by_byte_and_what_looks_into_them() {
    let limits = ReplyLimits {
        line_bytes_max: usize::MAX,
        ..ReplyLimits::default()
    };
    let scan = |bytes: &[u8]| {
        let (mut scan, mut start) = (ReplyScan::new(), 0);
        for end in 0..=bytes.len() {
            match scan.advance(&bytes[start..end], &limits) {
                Ok(ReplyScanned::Complete(len)) => start += len,
                Ok(ReplyScanned::Wants(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
    };
    let list = |first: &str, n: usize, item: &[u8]| {
        [format!("{first}{n}\r\n").into_bytes(), item.repeat(n)].concat()
    };
    is_linear("a line", 100_000, |n| {
        move || scan(&[b"+".to_vec(), vec![b'\r'; n]].concat())
    });
    is_linear("numbers", 20_000, |n| {
        move || scan(&list("*", n, b":1\r\n"))
    });
    is_linear("empty arrays", 20_000, |n| {
        move || scan(&b"*0\r\n".repeat(n))
    });
    is_linear("attributes", 20_000, |n| move || scan(&b"|1\r\n".repeat(n)));
    is_linear("a deep stair", 1_000, |n| {
        let stair = [b"*2\r\n:1\r\n".repeat(100), b":1\r\n".to_vec()].concat();
        move || scan(&stair.repeat(n / 50))
    });
    is_linear("a view of attributes", 50_000, |n| {
        let bytes = [b"|1\r\n:1\r\n:1\r\n".repeat(n), b":1\r\n".to_vec()].concat();
        move || assert_eq!(Reply::new(&bytes).integer(), Some(1))
    });
    is_linear("a view of items with attributes", 20_000, |n| {
        let bytes = list("*", n, b"|1\r\n:1\r\n:1\r\n*1\r\n:1\r\n");
        move || assert_eq!(Reply::new(&bytes).items().count(), n)
    });
}

#[test]
fn merges() {
    let names = |n: usize, line: &dyn Fn(&mut String, usize)| {
        let mut out = String::new();
        (0..n).for_each(|number| line(&mut out, number));
        out
    };
    let merge = |merge: Merge, frames: &[Vec<u8>], keys: &[u16]| {
        let mut gather = Gather::default();
        gather.start(merge, frames.len(), keys);
        for (part, frame) in frames.iter().enumerate() {
            gather.on_reply(part, frame);
        }
        let mut out = Vec::new();
        gather.finish(Proto::Resp3, &ServerFace::default(), &mut out);
        black_box(out);
    };
    for kind in [
        Merge::Concat,
        Merge::ConcatDistinct,
        Merge::SlowlogGet,
        Merge::MinEach,
    ] {
        is_linear(&format!("{kind:?}"), 5_000, |n| {
            let items = names(n, &|out, number| write!(out, ":{number}\r\n").unwrap());
            let frame = format!("*{n}\r\n{items}").into_bytes();
            move || merge(kind, &[frame.clone(), frame.clone()], &[])
        });
    }
    is_linear("KeyOrder", 5_000, |n| {
        let frame = format!("*{n}\r\n{}", ":1\r\n".repeat(n)).into_bytes();
        let keys: Vec<u16> = [0, 1].repeat(n);
        move || merge(Merge::KeyOrder, &[frame.clone(), frame.clone()], &keys)
    });
    for kind in [Merge::MapSum, Merge::MemoryStats] {
        is_linear(&format!("{kind:?}"), 2_000, |n| {
            let pairs = names(n, &|out, number| {
                write!(out, "+n{number}\r\n:1\r\n").unwrap()
            });
            let frame = format!("%{n}\r\n{pairs}").into_bytes();
            move || merge(kind, &[frame.clone(), frame.clone()], &[])
        });
    }
    is_linear("LatencyHistogram", 1_000, |n| {
        let command = "%2\r\n$5\r\ncalls\r\n:1\r\n$14\r\nhistogram_usec\r\n%1\r\n:1\r\n:1\r\n";
        let pairs = names(n, &|out, number| {
            write!(out, "+n{number}\r\n{command}").unwrap()
        });
        let frame = format!("%{n}\r\n{pairs}").into_bytes();
        move || {
            merge(
                Merge::LatencyHistogram,
                &[frame.clone(), frame.clone()],
                &[],
            )
        }
    });
    for kind in [Merge::LatencyHistory, Merge::LatencyLatest] {
        is_linear(&format!("{kind:?}"), 1_000, |n| {
            let width = if kind == Merge::LatencyHistory { 2 } else { 4 };
            let items = names(n, &|out, number| {
                let rest = format!(":{number}\r\n").repeat(width - 1);
                let first = if width == 2 {
                    ":1\r\n".to_owned()
                } else {
                    format!("+e{number}\r\n")
                };
                write!(out, "*{width}\r\n{first}{rest}").unwrap();
            });
            let frame = format!("*{n}\r\n{items}").into_bytes();
            move || merge(kind, &[frame.clone(), frame.clone()], &[])
        });
    }
    for (name, start, end) in [("fields", "", ":1\r\n"), ("sections", "# ", "\r\nx:1\r\n")] {
        is_linear(&format!("Info with {name}"), 1_000, |n| {
            let text = names(n, &|out, number| {
                write!(out, "{start}n{number}{end}").unwrap()
            });
            let mut frame = Vec::new();
            write::bulk(&mut frame, format!("# Server\r\n{text}"));
            move || merge(Merge::Info, &[frame.clone(), frame.clone()], &[])
        });
    }
}

#[test]
fn what_nodes_say_of_the_cluster() {
    let slots = |entries: usize, replicas: usize| {
        let mut text = format!("*{entries}\r\n");
        let node = |number: usize| {
            let (port, id) = (1 + number % 60_000, number);
            format!("*3\r\n$8\r\n10.0.0.1\r\n:{port}\r\n$9\r\n{id:09}\r\n")
        };
        for entry in 0..entries {
            write!(text, "*{}\r\n:{entry}\r\n:{entry}\r\n", 3 + replicas).unwrap();
            (0..=replicas).for_each(|replica| text += &node(entry * (replicas + 1) + replica));
        }
        let bytes = Bytes::from(text.into_bytes());
        decode_bytes(&bytes).unwrap().unwrap().0
    };
    let asked = Endpoint::new("asked", 1);
    for (entries, replicas) in [(4_000, 0), (1, 4_000)] {
        is_linear(&format!("{entries} slots"), 1, |n| {
            let (entries, replicas) = match replicas {
                0 => (entries * n, 0),
                _ => (1, replicas * n),
            };
            let (reply, asked) = (slots(entries, replicas), asked.clone());
            move || {
                let topology = parse_cluster_slots(&reply, &asked).expect("a topology");
                let other = slotcar::topology::Topology::empty();
                black_box(other.difference(&topology).to_string());
                let mut hub = hub();
                hub.on_topology(Now::ZERO, &topology.with_version(1));
            }
        });
    }
    is_linear("COMMAND", 1_000, |n| {
        let known = CommandTable::new();
        let mut reply = format!("*{n}\r\n");
        for number in 0..n {
            let name = match number % 2 {
                0 => format!("foo.{number:05}"),
                _ => format!("config|{number:05}"),
            };
            write!(
                reply,
                "*6\r\n${}\r\n{name}\r\n:2\r\n*0\r\n:1\r\n:1\r\n:1\r\n",
                name.len()
            )
            .unwrap();
        }
        move || drop(black_box(known.learn(reply.as_bytes())))
    });
}

#[test]
fn clients_and_links_of_a_hub() {
    let inline = |n: usize| b"GET a\r\n".repeat(n);
    is_linear("a torn request", 20_000, |n| {
        move || {
            let mut hub = hub();
            let (id, _) = client(&mut hub);
            hub.on_client_bytes(NOW, id, format!("*1\r\n${n}\r\n").as_bytes());
            (1..n).for_each(|_| hub.on_client_bytes(NOW, id, b"x"));
        }
    });
    is_linear("requests that wait for a node", 2_000, |n| {
        move || {
            let mut hub = served_hub();
            let (id, _) = client(&mut hub);
            hub.on_client_bytes(NOW, id, &inline(n));
            assert_eq!(hub.load().queued, n);
            // All is taken back and kept, then placed again, then given up.
            for _ in 0..3 {
                let dials = std::mem::take(&mut hub.effects().dials);
                for (link, _) in dials {
                    hub.on_link_down(NOW, link, &LinkDown::Dial("refused".into()));
                }
            }
            assert_eq!(hub.load().held, n);
            hub.on_timer(NOW + Duration::from_secs(10));
            hub.on_timer(NOW + Duration::from_secs(100));
            assert_eq!(hub.load().held, 0);
        }
    });
    is_linear("replies that come byte by byte", 20_000, |n| {
        move || {
            let mut hub = served_hub();
            let (id, _) = client(&mut hub);
            hub.on_client_bytes(NOW, id, &inline(1));
            let (link, _) = hub.effects().dials.pop().expect("a dial");
            hub.on_dialed(link);
            hub.on_node_bytes(NOW, link, b"+PONG\r\n+OK\r\n", &mut |_, _| 0);
            rig::write_link(&mut hub, NOW, link, &mut Socket::default());
            hub.on_node_bytes(NOW, link, format!("*{n}\r\n").as_bytes(), &mut |_, _| 0);
            (0..n).for_each(|_| {
                b":1\r\n"
                    .iter()
                    .for_each(|byte| hub.on_node_bytes(NOW, link, &[*byte], &mut |_, _| 0));
            });
            assert_eq!(hub.requests_in_flight(), 0);
        }
    });
    is_linear("a transaction", 2_000, |n| {
        move || {
            let mut hub = served_hub();
            let (id, _) = client(&mut hub);
            hub.on_client_bytes(NOW, id, &[b"MULTI\r\n".to_vec(), inline(n)].concat());
            hub.on_client_bytes(NOW, id, b"EXEC\r\n");
            assert_eq!(hub.load().queued, 1);
        }
    });
    for command in [
        "SUBSCRIBE",
        "PSUBSCRIBE",
        "SSUBSCRIBE",
        "MGET",
        "BLPOP",
        "DEL",
        "WATCH",
    ] {
        is_linear(command, 1_000, |n| {
            let names = (0..n).map(|number| format!(" {{a}}{number}"));
            let end = if command == "BLPOP" { " 0" } else { "" };
            let line = format!("{command}{}{end}\r\n", names.collect::<String>());
            move || {
                let mut hub = served_hub();
                let (id, _) = client(&mut hub);
                hub.on_client_bytes(NOW, id, line.as_bytes());
                hub.on_client_gone(NOW, id);
            }
        });
    }
    is_linear("BLPOP over slots", 500, |n| {
        let names: String = (0..n).map(|number| format!(" {number}")).collect();
        let line = format!("BLPOP{names} 0\r\n");
        move || {
            let mut hub = served_hub();
            let (id, _) = client(&mut hub);
            hub.on_client_bytes(NOW, id, line.as_bytes());
            hub.on_client_gone(NOW, id);
        }
    });
}

/// Prepares `n` and `4 * n` of something and compares how long they take, the best of some attempts.
fn is_linear<F: FnMut()>(name: &str, n: usize, prepare: impl Fn(usize) -> F) {
    let (mut one, mut four) = (prepare(n), prepare(4 * n));
    let mut repeats = 1;
    while time(repeats, &mut one) < MEASURABLE {
        repeats *= 4;
    }
    let (mut least_one, mut least_four) = (Duration::MAX, Duration::MAX);
    for _ in 0..ATTEMPTS {
        least_one = least_one.min(time(repeats, &mut one));
        least_four = least_four.min(time(repeats, &mut four));
        if least_four <= least_one * RATIO_MAX {
            return;
        }
    }
    panic!("{name}: {least_one:?} for {n}, {least_four:?} for four times as much");
}

/// On the processor, where the system says so: a busy machine makes long runs slower than short ones.
fn time(repeats: usize, run: &mut impl FnMut()) -> Duration {
    let (start, on_processor) = (Instant::now(), nanos_on_processor());
    (0..repeats).for_each(|_| run());
    match (on_processor, nanos_on_processor()) {
        (Some(before), Some(after)) => Duration::from_nanos(after - before),
        (_, _) => start.elapsed(),
    }
}

/// Of this thread, as Linux counts, in steps of a timer tick or less.
fn nanos_on_processor() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse().ok()
}

/// Limits do not stop what shall be measured.
fn hub() -> Hub {
    let limits = Limits {
        session_requests_in_flight_max: usize::MAX,
        link_queue_requests_max: usize::MAX,
        ..Limits::default()
    };
    let commands = Arc::new(CommandTable::new());
    rig::hub(
        slotcar::config::UnknownOutcome::Error,
        limits,
        Duration::from_secs(20),
        &commands,
        1,
    )
}

/// The same before one node that has all slots.
fn served_hub() -> Hub {
    let mut hub = hub();
    let shard = ShardPlan {
        primary: Endpoint::new("10.0.0.1", 7000),
        replicas: Vec::new(),
        ranges: vec![(0, 16_383)],
    };
    hub.on_topology(NOW, &rig::topology(1, vec![shard]));
    hub
}

fn client(hub: &mut Hub) -> (slotcar::route::part::SessionId, Socket) {
    (hub.on_accept(rig::identity(1, NOW)), Socket::default())
}

const NOW: Now = Now::ZERO;
const ATTEMPTS: usize = 5;
/// Linear work is a ratio of four, with sorting a little more; quadratic work is sixteen.
const RATIO_MAX: u32 = 8;
/// Many ticks.
const MEASURABLE: Duration = Duration::from_millis(15);
