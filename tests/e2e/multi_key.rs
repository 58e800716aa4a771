//! Commands over keys of many slots: order, counts, and a clear refusal where they cannot be atomic.

use crate::support::{Cluster, Conn, Random, ServerKind, Slotcar, Value, slot_of};

on_both!(
    mget_answers_in_the_order_of_its_keys,
    counts_over_many_slots_are_those_of_one_server,
    keys_of_several_slots_are_refused_where_it_must_be_atomic,
);

fn mget_answers_in_the_order_of_its_keys(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let slotcar = Slotcar::before(&cluster);
    for mut conn in [slotcar.conn(), Conn::open_resp3(slotcar.addr())] {
        let mut mset = vec!["MSET".to_owned()];
        for i in 0..2000 {
            mset.extend([format!("k:{i}"), format!("v:{i}")]);
        }
        assert!(conn.ok(&mset).is_ok());
        conn.ok(&["RPUSH", "a list", "x"]);

        // Present, missing, of another type, and some twice.
        let mut keys: Vec<String> = (0..2400).map(|i| format!("k:{i}")).collect();
        keys.extend((0..100).map(|i| format!("k:{i}")));
        keys.push("a list".to_owned());
        Random::new(7).shuffle(&mut keys);
        let mget: Vec<String> = std::iter::once("MGET".to_owned())
            .chain(keys.clone())
            .collect();
        let reply = conn.ok(&mget);
        assert_eq!(reply.list().len(), keys.len());
        for (key, value) in keys.iter().zip(reply.list()) {
            let number = key
                .strip_prefix("k:")
                .and_then(|digits| digits.parse::<usize>().ok());
            match number.filter(|number| *number < 2000) {
                Some(number) => assert_eq!(value.text(), format!("v:{number}")),
                None => assert_eq!(*value, Value::Nil, "{key}"),
            }
        }
    }
}

fn counts_over_many_slots_are_those_of_one_server(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let slotcar = Slotcar::before(&cluster);
    let mut conn = slotcar.conn();
    let mut count = |command: &str, keys: &[String]| -> i64 {
        let request = [&[command.to_owned()], keys].concat();
        conn.ok(&request).int()
    };
    let keys = |range: std::ops::Range<usize>| -> Vec<String> {
        range.map(|i| format!("k:{i}")).collect()
    };
    let mut mset = vec!["MSET".to_owned()];
    mset.extend(
        keys(0..1000)
            .into_iter()
            .flat_map(|key| [key, "v".to_owned()]),
    );
    assert!(slotcar.conn().ok(&mset).is_ok());

    assert_eq!(count("EXISTS", &keys(0..1200)), 1000);
    let twice = [keys(0..10), keys(0..10)].concat();
    assert_eq!(
        count("EXISTS", &twice),
        20,
        "a key named twice counts twice"
    );
    assert_eq!(count("TOUCH", &keys(900..1100)), 100);
    assert_eq!(count("DEL", &keys(0..300)), 300);
    assert_eq!(count("DEL", &keys(0..300)), 0);
    let twice = [keys(300..310), keys(300..310)].concat();
    assert_eq!(count("DEL", &twice), 10, "a key named twice goes once");
    assert_eq!(count("UNLINK", &keys(0..500)), 190);
    assert_eq!(count("EXISTS", &keys(0..1000)), 500);
}

fn keys_of_several_slots_are_refused_where_it_must_be_atomic(kind: ServerKind) {
    let cluster = Cluster::start(kind, 3, 0);
    let slotcar = Slotcar::before(&cluster);
    let mut conn = slotcar.conn();
    let requests: &[&[&str]] = &[
        &["MSETNX", "a", "1", "b", "2"],
        &["RENAME", "a", "b"],
        &["SINTER", "a", "b"],
        &["SUNIONSTORE", "a", "a", "b"],
        &["PFCOUNT", "a", "b"],
        &["BITOP", "AND", "a", "a", "b"],
        &["LMOVE", "a", "b", "LEFT", "RIGHT"],
        &["EVAL", "return 1", "2", "a", "b"],
        &["SORT", "a", "STORE", "b"],
    ];
    let named = ["a", "b"].map(|key| (key, slot_of(key).to_string()));
    for request in requests {
        let reply = conn.cmd(request);
        let error = reply
            .error()
            .unwrap_or_else(|| panic!("{request:?}: {reply:?}"));
        assert!(error.starts_with("CROSSSLOT "), "{request:?}: {error}");
        for (key, slot) in &named {
            let names_both = error.contains(key) && error.contains(slot.as_str());
            assert!(
                names_both,
                "{request:?} should name {key} of slot {slot}: {error}"
            );
        }
    }
    assert_eq!(
        conn.ok(&["EXISTS", "a", "b"]),
        Value::Int(0),
        "nothing was done"
    );
    // The same with one tag is one slot, and fine.
    assert_eq!(
        conn.ok(&["MSETNX", "{t}a", "1", "{t}b", "2"]),
        Value::Int(1)
    );
}
