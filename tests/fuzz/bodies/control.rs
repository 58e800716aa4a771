//! What nodes say of themselves and of the cluster: `CLUSTER SLOTS`, `CLUSTER INFO`, `INFO`, `COMMAND`, greetings,
//! redirections. Whatever they say, it is read or left, and what was read makes sense.

use std::sync::OnceLock;

use bytes::Bytes;
use redis_protocol::resp2::decode::decode_bytes;
use redis_protocol::resp2::types::BytesFrame;
use slotcar::command::lookup::{CommandTable, Lookup};
use slotcar::control::{ClusterInfo, NodeFacts};
use slotcar::reply::redirect::{Host, Refusal, Target, refusal};
use slotcar::resp::Proto;
use slotcar::resp::reply::{ReplyLimits, ReplyScan, ReplyScanned};
use slotcar::resp::request::{RequestLimits, RequestScan, Scanned};
use slotcar::route::part::{Profile, UserId};
use slotcar::topology::{Endpoint, SLOT_COUNT, SlotRange, Topology, parse_cluster_slots};
use slotcar::upstream::handshake::{Greeting, Handshake};

use super::Script;

pub(crate) fn run(data: &[u8]) {
    let mut script = Script(data);
    match script.below(7) {
        0 => slots(script.rest()),
        1 => slots(&written_slots(&mut script)),
        2 => facts(script.rest()),
        3 => commands(&mut script),
        4 => redirection(script.rest()),
        5 => redirection(&[b"-", redirection_word(&mut script), script.rest(), b"\r\n"].concat()),
        _ => greeting(&mut script),
    }
}

/// The frame that `bytes` begin with, as the control thread reads it.
fn frame(bytes: &[u8]) -> Option<BytesFrame> {
    let scanned = ReplyScan::new().advance(bytes, &ReplyLimits::default());
    let Ok(ReplyScanned::Complete(len)) = scanned else {
        return None;
    };
    let decoded = decode_bytes(&Bytes::copy_from_slice(&bytes[..len]));
    decoded.ok()?.map(|(frame, _)| frame)
}

fn slots(bytes: &[u8]) {
    let Some(frame) = frame(bytes) else {
        return;
    };
    let asked = Endpoint::new("asked", 9);
    let topology = match parse_cluster_slots(&frame, &asked) {
        Ok(topology) => topology,
        Err(error) => return drop(error.to_string()),
    };
    check_topology(&topology);
    let other = Topology::empty();
    let told = [other.difference(&topology), topology.difference(&other)].map(|it| it.to_string());
    assert!(told.iter().all(|line| line.len() < LINE_BYTES_MAX));
    assert!(topology.difference(&topology).is_empty());
}

fn check_topology(topology: &Topology) {
    assert!(topology.uncovered() <= SLOT_COUNT);
    let mut covered = 0;
    for slot in SlotRange::ALL.slots() {
        let Some(shard) = topology.shard(slot) else {
            continue;
        };
        let holds = |range: &SlotRange| (range.first()..=range.last()).contains(&slot);
        assert!(shard.ranges.iter().any(holds));
        covered += usize::from(shard.primary.is_some());
    }
    assert_eq!(covered, SLOT_COUNT - topology.uncovered());
    for node in topology.nodes() {
        assert!(node.endpoint.port > 0 && node.shard < topology.shards().len());
        check_host(&node.endpoint.host);
    }
}

/// A host must fit into a line of a log and of an error reply.
fn check_host(host: &str) {
    assert!(!host.is_empty() && host.len() <= HOST_BYTES_MAX, "{host:?}");
    assert!(!host.contains(|c: char| c.is_control() || c.is_whitespace()));
}

/// A `CLUSTER SLOTS` reply whose numbers and names are the script's: the right shape, whatever it says.
fn written_slots(script: &mut Script<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    let entries = script.below(8);
    out.extend_from_slice(format!("*{entries}\r\n").as_bytes());
    for _ in 0..entries {
        let nodes = 1 + script.below(3);
        let (first, last) = (script.number(), script.number());
        out.extend_from_slice(format!("*{}\r\n:{first}\r\n:{last}\r\n", 2 + nodes).as_bytes());
        for _ in 0..nodes {
            let host = script.pick(&["127.0.0.1", "", "?", "::1", "node-1.svc", "a b", "\n"]);
            let (port, id) = (script.number(), script.below(6));
            out.extend_from_slice(b"*4\r\n");
            match script.byte() {
                0..200 => {
                    out.extend_from_slice(format!("${}\r\n{host}\r\n", host.len()).as_bytes())
                }
                200..220 => out.extend_from_slice(b"$-1\r\n"),
                _ => {
                    let host = script.chunk();
                    out.extend_from_slice(format!("${}\r\n", host.len()).as_bytes());
                    out.extend_from_slice(host);
                    out.extend_from_slice(b"\r\n");
                }
            }
            out.extend_from_slice(format!(":{port}\r\n$3\r\nid{id}\r\n").as_bytes());
            match script.below(3) {
                0 => out.extend_from_slice(b"*2\r\n$8\r\nhostname\r\n$3\r\nh.x\r\n"),
                1 => out.extend_from_slice(b"*2\r\n$2\r\nip\r\n$7\r\n1.2.3.4\r\n"),
                _ => out.extend_from_slice(b"*0\r\n"),
            }
        }
    }
    out
}

fn facts(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Some(facts) = NodeFacts::parse(&text) {
        for shown in [
            &facts.server,
            &facts.redis_version,
            &facts.shown_version().to_owned(),
        ] {
            assert!(shown.len() <= VERSION_BYTES_MAX, "{shown:?}");
            assert!(!shown.contains(char::is_control), "{shown:?}");
        }
    }
    let whole = BytesFrame::BulkString(text.into_owned().into());
    let _ = ClusterInfo::from_reply(&whole);
    if let Some(frame) = frame(bytes) {
        let _ = ClusterInfo::from_reply(&frame);
    }
}

/// A table learns from a reply; then requests are looked up in it.
fn commands(script: &mut Script<'_>) {
    static KNOWN: OnceLock<CommandTable> = OnceLock::new();
    let known = KNOWN.get_or_init(CommandTable::new);
    let requests: Vec<&[u8]> = (0..script.below(4)).map(|_| script.chunk()).collect();
    let reply = match script.byte() {
        0..64 => script.rest().to_vec(),
        _ => written_command(script),
    };
    let scanned = ReplyScan::new().advance(&reply, &ReplyLimits::default());
    let Ok(ReplyScanned::Complete(len)) = scanned else {
        return;
    };
    let learnt = known.learn(&reply[..len]);
    assert!(learnt.rows().count() <= known.rows().count() + learnt.learnt());
    assert!(known.rows().all(|row| {
        learnt
            .row(row.name)
            .is_some_and(|same| std::ptr::eq(same, row))
    }));
    let new = learnt.rows().filter(|row| known.row(row.name).is_none());
    let named: Vec<String> = new.map(|row| row.name.to_owned()).collect();
    for bytes in requests {
        let mut scan = RequestScan::new();
        let scanned = scan.advance(bytes, &RequestLimits::default());
        if let Ok(Scanned::Multibulk(len)) = scanned {
            look_up(&learnt, scan.request(&bytes[..len]));
        }
    }
    for name in named {
        for words in 0..6 {
            let name = name.split('|').map(str::as_bytes);
            let words = (0..words).map(|_| b"2".as_slice());
            let words: Vec<&[u8]> = name.chain(words).collect();
            let mut bytes = Vec::new();
            slotcar::resp::write::command(&mut bytes, &words);
            let mut scan = RequestScan::new();
            let scanned = scan.advance(&bytes, &RequestLimits::default());
            assert_eq!(scanned, Ok(Scanned::Multibulk(bytes.len())));
            look_up(&learnt, scan.request(&bytes));
        }
    }
}

fn look_up(commands: &CommandTable, request: slotcar::resp::request::Request<'_>) {
    let lookup = commands.lookup(request);
    if slotcar::command::check::refuse(lookup, request).is_some() {
        return;
    }
    if let Lookup::Row(row) = lookup {
        super::requests::find(row, request);
    }
}

/// One command as a server describes it, with the script's numbers and words.
fn written_command(script: &mut Script<'_>) -> Vec<u8> {
    let flag = script.pick(&["write", "readonly", "blocking", "module", "movablekeys"]);
    let tip = script.pick(&[
        "request_policy:multi_shard",
        "request_policy:all_shards",
        "request_policy:all_nodes",
        "nondeterministic_output",
    ]);
    let merge = script.pick(&[
        "response_policy:agg_sum",
        "response_policy:all_succeeded",
        "response_policy:special",
        "",
    ]);
    let mut number = || match script.byte() {
        0..64 => i64::from(script.number().cast_signed()),
        64..80 => i64::from(i32::MIN) + i64::from(script.byte()),
        80..96 => i64::from(i32::MAX) - i64::from(script.byte()),
        small => i64::from(small % 8) - 2,
    };
    let arity = number();
    let legacy = [number(), number(), number()];
    let (index, last, step, limit, from) = (number(), number(), number(), number(), number());
    let begin = match script.below(2) {
        0 => format!("$5\r\nindex\r\n$4\r\nspec\r\n*2\r\n$5\r\nindex\r\n:{index}\r\n"),
        _ => format!(
            "$7\r\nkeyword\r\n$4\r\nspec\r\n*4\r\n$7\r\nkeyword\r\n$1\r\n2\r\n$9\r\nstartfrom\r\n:{from}\r\n"
        ),
    };
    let find = match script.below(2) {
        0 => format!(
            "$5\r\nrange\r\n$4\r\nspec\r\n*6\r\n$7\r\nlastkey\r\n:{last}\r\n$7\r\nkeystep\r\n:{step}\r\n$5\r\nlimit\r\n:{limit}\r\n"
        ),
        _ => format!(
            "$6\r\nkeynum\r\n$4\r\nspec\r\n*6\r\n$9\r\nkeynumidx\r\n:{last}\r\n$8\r\nfirstkey\r\n:{index}\r\n$7\r\nkeystep\r\n:{step}\r\n"
        ),
    };
    let specs = match script.below(3) {
        0 => "*0\r\n".to_owned(),
        _ => format!(
            "*1\r\n*6\r\n$5\r\nflags\r\n*1\r\n+RO\r\n$12\r\nbegin_search\r\n*4\r\n$4\r\ntype\r\n{begin}$9\r\nfind_keys\r\n*4\r\n$4\r\ntype\r\n{find}"
        ),
    };
    let [first, end, every] = legacy;
    let entry = |name: &str, subs: &str| {
        format!(
            "*10\r\n${}\r\n{name}\r\n:{arity}\r\n*1\r\n+{flag}\r\n:{first}\r\n:{end}\r\n:{every}\r\n*0\r\n*2\r\n${}\r\n{tip}\r\n${}\r\n{merge}\r\n{specs}{subs}",
            name.len(),
            tip.len(),
            merge.len()
        )
    };
    let sub = match script.below(3) {
        0 => format!("*1\r\n{}", entry("foo.bar|baz", "*0\r\n")),
        _ => "*0\r\n".to_owned(),
    };
    format!("*1\r\n{}", entry("foo.bar", &sub)).into_bytes()
}

fn redirection(line: &[u8]) {
    let Some(refusal) = refusal(line) else {
        return;
    };
    let (slot, to) = match refusal {
        Refusal::Moved { slot, to } | Refusal::Ask { slot, to } => (slot, to),
        Refusal::Redirect { to } => (0, to),
        _ => return,
    };
    assert!(usize::from(slot) < SLOT_COUNT);
    let Target { host, port } = to;
    assert!(port > 0);
    if let Host::Named(host) = host {
        check_host(host);
    }
}

fn redirection_word(script: &mut Script<'_>) -> &'static [u8] {
    script.pick(&[
        b"MOVED 1 ".as_slice(),
        b"ASK 16383 ",
        b"REDIRECT ",
        b"MOVED ",
    ])
}

fn greeting(script: &mut Script<'_>) {
    let greeting = Greeting {
        reads_replicas: false,
        user: None,
        password: None,
        client_name: "slotcar".into(),
    };
    let proto = script.pick(&[Proto::Resp2, Proto::Resp3]);
    let asks_id = script.below(2) == 0;
    let mut handshake = Handshake::start(
        &greeting,
        None,
        Profile::new(proto, UserId::SLOTCAR),
        asks_id,
        &mut Vec::new(),
    );
    let bytes = script.rest();
    let (mut scan, mut at) = (ReplyScan::new(), 0);
    while let Ok(ReplyScanned::Complete(len)) = scan.advance(&bytes[at..], &ReplyLimits::default())
    {
        let _ = handshake.on_reply(&bytes[at..at + len]);
        at += len;
    }
}

/// As DNS has it.
const HOST_BYTES_MAX: usize = 255;
const VERSION_BYTES_MAX: usize = 64;
/// Of what is told about a change of topology.
const LINE_BYTES_MAX: usize = 64 * 1024;
