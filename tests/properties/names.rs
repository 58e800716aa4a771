//! Names of keys: every one is found again, whatever bytes are in it, and no two of an app become one.

use proptest::collection::vec;
use proptest::prelude::*;
use slotcar::command::together::Rule;
use slotcar::resp::reply::Reply;
use slotcar::resp::write;
use slotcar::route::naming::Naming;
use slotcar::topology::Slot;

/// What names are made of: any bytes, and what rules and databases put in front.
fn name() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        vec(any::<u8>(), 0..6),
        prop::sample::select(vec![
            "{q}", "{all}", "{x", "}", "q:", "@db1:", "@db0:", "@db07:"
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
    ];
    vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

fn naming() -> impl Strategy<Value = Naming> {
    let rules = prop::sample::select(vec![
        &[][..],
        &["*"],
        &["q:*"],
        &["q:*", "*1=q", "x*"],
        &["[^a-z]*=x", "?=q", "*"],
        &["{*=q", "*}=x"],
    ]);
    let made = (rules, 1..4_u32).prop_map(|(rules, databases)| {
        let rules: Vec<Rule> = rules
            .iter()
            .map(|rule| Rule::parse(rule).unwrap())
            .collect();
        Naming::new(&rules, databases)
    });
    made.prop_filter_map("names are as they are", |naming| naming)
}

#[test]
fn every_name_is_found_again_and_tells_its_slot() {
    let config = ProptestConfig {
        cases: 20_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |(naming in naming(), a in name(), b in name(), database in 0..3_u32)| {
        let database = if naming.is_database(database) { database } else { 0 };
        let stored = naming.stored(database, &a);
        prop_assert_eq!(naming.unmap(&stored), &a[..]);
        prop_assert_eq!(naming.tag(database, &a).slot(&a), Slot::of_key(&stored));
        let other = naming.stored(database, &b);
        prop_assert_eq!(a == b, stored == other);
        if naming.has_databases() {
            let elsewhere = u32::from(database == 0);
            prop_assert_ne!(&stored, &naming.stored(elsewhere, &b));
        }
        // As an answer names it.
        let mut frame = Vec::new();
        write::bulk(&mut frame, &stored);
        let own = naming.reply(Some(slotcar::command::Names::One), &[], &frame).unwrap();
        prop_assert_eq!(Reply::new(&own).text(), Some(&a[..]));
    });
}
