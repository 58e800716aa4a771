//! Bytes as clients really send them: inline, torn, binary, large, deep pipelines, and not RESP at all.

use std::io::Write as _;

use crate::support::conn::encode;
use crate::support::{Cluster, Conn, Random, Server, ServerKind, Slotcar, Value, slot_of};

on_both!(
    a_pipeline_of_ten_thousand_requests_is_answered_in_order,
    frames_torn_anywhere_mean_the_same,
    inline_commands_work_like_on_a_plain_server,
    any_bytes_can_be_a_key_and_land_on_the_owner_of_its_slot,
    values_of_16_mib_pass_unharmed,
    protocol_errors_are_told_like_a_plain_server_does_and_close,
);

fn a_pipeline_of_ten_thousand_requests_is_answered_in_order(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let slotcar = Slotcar::before(&cluster);
    for mut conn in [slotcar.conn(), Conn::open_resp3(slotcar.addr())] {
        let sets: Vec<Vec<String>> = (0..5000)
            .map(|i| vec!["SET".into(), format!("key:{i}"), format!("value:{i}")])
            .collect();
        assert!(conn.pipeline(&sets).iter().all(Value::is_ok));
        let mixed: Vec<Vec<String>> = (0..10_000)
            .map(|i| match i % 4 {
                0 => vec!["ECHO".into(), format!("{i}")],
                1 => vec!["STRLEN".into(), format!("key:{}", i % 5000)],
                _ => vec!["GET".into(), format!("key:{}", i % 5000)],
            })
            .collect();
        for (i, reply) in conn.pipeline(&mixed).iter().enumerate() {
            let value = format!("value:{}", i % 5000);
            match i % 4 {
                0 => assert_eq!(reply.text(), i.to_string()),
                1 => assert_eq!(reply.int(), i64::try_from(value.len()).unwrap()),
                _ => assert_eq!(reply.text(), value),
            }
        }
    }
}

fn frames_torn_anywhere_mean_the_same(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let slotcar = Slotcar::before(&cluster);
    let requests: [&[&str]; 7] = [
        &["SET", "torn", "a\r\nb"],
        &["GET", "torn"],
        &["MSET", "t1", "1", "t2", "2", "t3", "3"],
        &["MGET", "t3", "missing", "t1", "t2"],
        &["PING"],
        &["NONESUCH"],
        &["ECHO", ""],
    ];
    let mut bytes: Vec<u8> = requests.iter().flat_map(|args| encode(args)).collect();
    bytes.extend_from_slice(b"PING inline\r\n");
    let count = requests.len() + 1;
    let whole = slotcar.conn().exchange(&bytes, count);
    let mut random = Random::new(1);
    for longest in [1, 2, 3, 7, 20, 60] {
        for _ in 0..5 {
            let mut conn = slotcar.conn();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let cut = (1 + random.below(longest)).min(rest.len());
                conn.send_raw(&rest[..cut]);
                rest = &rest[cut..];
            }
            let torn: Vec<Value> = (0..count).map(|_| conn.recv()).collect();
            assert_eq!(torn, whole, "pieces of at most {longest} bytes");
        }
    }
}

fn inline_commands_work_like_on_a_plain_server(kind: ServerKind) {
    let plain = Server::start_plain(kind);
    let cluster = Cluster::start(kind, 3, 0);
    let slotcar = Slotcar::before(&cluster);
    let lines: &[&[u8]] = &[
        b"PING\r\n",
        b"ping\n",
        b"\r\n\r\nPING after empty lines\r\n",
        b"  SET   inline   value  \r\n",
        b"GET inline\r\n",
        b"SET \"quoted key\" \"\\x41\\n\\\"\"\r\n",
        b"GET \"quoted key\"\r\n",
        b"SET 'single quoted' 'it\\'s'\r\n",
        b"GET 'single quoted'\r\n",
        b"NONESUCH inline\r\n",
        b"*0\r\nPING\r\n",
        b"*-1\r\nPING\r\n",
        b"MGET inline 'single quoted'\r\n*1\r\n$4\r\nPING\r\n",
    ];
    let (mut to_plain, mut to_slotcar) = (Conn::open(plain.addr()), slotcar.conn());
    for line in lines {
        // One reply for each line, two for the last one.
        let replies = if line.starts_with(b"MGET") { 2 } else { 1 };
        assert_eq!(
            to_slotcar.exchange(line, replies),
            to_plain.exchange(line, replies),
            "{}",
            line.escape_ascii()
        );
    }
}

fn any_bytes_can_be_a_key_and_land_on_the_owner_of_its_slot(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let slotcar = Slotcar::before(&cluster);
    let mut conn = slotcar.conn();
    let all: Vec<u8> = (0..=255).collect();
    let mut keys: Vec<Vec<u8>> = (0..=255u8).map(|byte| vec![byte]).collect();
    keys.extend(all.chunks(3).map(<[u8]>::to_vec));
    keys.push(all.clone());
    keys.push(vec![0; 70_000]);
    let shapes = [
        "", "{}", "{", "}", "{}a", "a{}", "a{b}c", "a{b}{c}", "{{a}}", "a{b", "a}b{c}", "{\r\n}",
        "*1\r\n",
    ];
    keys.extend(shapes.iter().map(|shape| shape.as_bytes().to_vec()));
    for key in &keys {
        let set: [&[u8]; 3] = [b"SET", key, key];
        assert!(conn.cmd(&set).is_ok(), "SET {}", key.escape_ascii());
    }
    let mut owners = vec![0; 16_384];
    for node in 0..3 {
        for slot in cluster.slots_of(node) {
            owners[usize::from(slot)] = node;
        }
    }
    let mut nodes: Vec<Conn> = (0..3).map(|node| cluster.conn(node)).collect();
    for key in &keys {
        let get: [&[u8]; 2] = [b"GET", key];
        let (value, slot) = (Value::Bulk(key.clone()), slot_of(key));
        assert_eq!(conn.cmd(&get), value);
        let at_owner = nodes[owners[usize::from(slot)]].cmd(&get);
        assert_eq!(at_owner, value, "key {} of slot {slot}", key.escape_ascii());
    }
}

fn values_of_16_mib_pass_unharmed(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let slotcar = Slotcar::before(&cluster);
    let mut random = Random::new(16);
    let value: Vec<u8> = (0..16 << 20)
        .map(|_| u8::try_from(random.below(256)).unwrap())
        .collect();
    let mut conn = slotcar.conn();
    let keys: [&[u8]; 3] = [b"big:1", b"big:2", b"big:3"];
    for key in keys {
        let set: [&[u8]; 3] = [b"SET", key, &value];
        assert!(conn.cmd(&set).is_ok());
    }
    // Small replies before, between and behind keep their places.
    let mut requests: Vec<Vec<&[u8]>> = vec![vec![b"PING"]];
    for key in keys {
        requests.push(vec![b"GET", key]);
        requests.push(vec![b"STRLEN", key]);
    }
    requests.push([&[&b"MGET"[..]], &keys[..]].concat());
    let replies = conn.pipeline(&requests);
    assert_eq!(replies[0].text(), "PONG");
    for pair in replies[1..7].chunks(2) {
        assert!(
            pair[0].bytes() == Some(&value),
            "a large value came back changed"
        );
        assert_eq!(pair[1], Value::Int(16 << 20));
    }
    let all = replies[7].list();
    assert!(all.len() == 3 && all.iter().all(|each| each.bytes() == Some(&value)));
}

fn protocol_errors_are_told_like_a_plain_server_does_and_close(kind: ServerKind) {
    let plain = Server::start_plain(kind);
    let cluster = Cluster::start(kind, 3, 0);
    let slotcar = Slotcar::before(&cluster);
    let digits = "1".repeat(64 << 10);
    let long_inline = "x".repeat((64 << 10) + 1);
    let (long_count, long_bulk) = (format!("*{digits}1"), format!("*1\r\n${digits}1"));
    let cases = [
        "*1\r\n+PING\r\n",
        "*1\r\nPING\r\n",
        "*abc\r\n",
        "*99999999999\r\n",
        "*2147483648\r\n",
        "*1\r\n$-1\r\n",
        "*1\r\n$abc\r\n",
        "*1\r\n$\r\n",
        "*1\r\n$536870913\r\n",
        "*1\r\n$4294967296\r\n",
        "*2\r\n$3\r\nGET\r\n:1\r\n",
        "SET \"unbalanced\r\n",
        "SET 'a'b\r\n",
        "*1\r\n$4\r\nPING\r\n*1\r\n!PING\r\n",
        "PING first\r\n*x\r\n",
        &long_inline,
        &long_count,
        &long_bulk,
    ];
    for case in cases {
        let shown: String = case.chars().take(40).collect();
        let expected = last_words(&mut Conn::open(plain.addr()), case);
        let seen = last_words(&mut slotcar.conn(), case);
        assert!(expected.contains("Protocol error"), "{shown:?}: {expected}");
        assert_eq!(seen, expected, "{shown:?}");
    }
}

fn last_words(conn: &mut Conn, bytes: &str) -> String {
    // The peer may close before it has read everything.
    let _ = conn.stream().write_all(bytes.as_bytes());
    String::from_utf8_lossy(&conn.read_to_end()).into_owned()
}
