//! Every metric moves when its cause happens. Each room has a table of causes with what they move; each cause is a test,
//! and a metric that no cause moves fails the last ones.

use slotcar::admin::metrics::ROWS;

use crate::shown::{Samples, Shown, assert_moved, is_meant};
use crate::support::{Server, ServerKind};

/// Its name, and what it moves.
type Cause = (&'static str, &'static [&'static str]);

/// Makes the table of a room, and each cause of it into tests: with `real` servers of both kinds, or with `fake` ones.
/// A cause is a function that makes it happen and returns what was scraped: before it, and then once or more.
macro_rules! causes {
    ($($servers:ident $cause:ident { $($moved:literal)+ })+) => {
        pub(super) const CAUSES: &[super::Cause] = &[$((stringify!($cause), &[$($moved),+])),+];
        $(causes!(@ $servers $cause);)+
    };
    (@ real $cause:ident) => {
        mod $cause {
            use crate::support::ServerKind;

            #[test]
            fn redis_7() {
                let scrapes = super::$cause(ServerKind::Redis7);
                crate::causes::check(super::CAUSES, stringify!($cause), &scrapes);
            }

            #[test]
            fn valkey_8() {
                let scrapes = super::$cause(ServerKind::Valkey8);
                crate::causes::check(super::CAUSES, stringify!($cause), &scrapes);
            }
        }
    };
    (@ fake $cause:ident) => {
        mod $cause {
            #[test]
            fn fake() {
                let scrapes = super::$cause();
                crate::causes::check(super::CAUSES, stringify!($cause), &scrapes);
            }
        }
    };
}

mod audit;
mod clients;
mod nodes;
mod process;
mod slots;
mod traffic;

const ROOMS: &[&[Cause]] = &[
    audit::CAUSES,
    clients::CAUSES,
    nodes::CAUSES,
    process::CAUSES,
    slots::CAUSES,
    traffic::CAUSES,
];

/// What no cause moves here, and why. One that is not needed fails.
const EXCEPTIONS: &[(&str, &str)] = &[("slotcar_build_info", "it never changes")];

fn check(causes: &[Cause], name: &str, scrapes: &[Samples]) {
    let (_, moves) = causes
        .iter()
        .find(|(cause, _)| *cause == name)
        .expect("a cause of this room");
    assert_moved(name, moves, scrapes);
}

/// All that causes move, without what it is moved by.
fn moved() -> impl Iterator<Item = &'static str> {
    let moves = ROOMS.iter().flat_map(|room| room.iter());
    moves.flat_map(|(_, moves)| moves.iter().map(|moved| &moved[1..]))
}

/// The name of a row, of one of its samples.
fn row_name(what: &str) -> &str {
    let name = what.split([' ', '{']).next().unwrap_or(what);
    let parts = ["_count", "_sum", "_bucket"];
    let base = parts.iter().find_map(|part| name.strip_suffix(part));
    base.filter(|base| ROWS.iter().any(|row| row.name == *base))
        .unwrap_or(name)
}

#[test]
fn every_row_of_the_table_has_a_cause_and_every_cause_a_row() {
    for row in ROWS {
        let is_moved = moved().any(|what| row_name(what) == row.name);
        let is_excepted = EXCEPTIONS
            .iter()
            .any(|(what, _)| row_name(what) == row.name);
        assert!(is_moved || is_excepted, "nothing moves {}", row.name);
    }
    for what in moved().chain(EXCEPTIONS.iter().map(|(what, _)| *what)) {
        let has_row = ROWS.iter().any(|row| row.name == row_name(what));
        assert!(has_row, "{what} is in no row");
    }
}

/// A row shows the values of its labels from the start, with 0; but for nodes and commands, of which one is as good as another.
#[test]
fn every_value_of_every_label_has_a_cause() {
    let server = Server::start_plain(ServerKind::Redis7);
    let url = format!("redis://{}", server.addr());
    let samples = Shown::start(&["--upstream", &url, "--audit", "on"]).metrics();
    let mut needed: Vec<&str> = Vec::new();
    for name in samples.names().filter(|name| !is_part(name)) {
        let is_moved = moved().any(|what| is_named(what, name));
        let excepted = EXCEPTIONS.iter().find(|(what, _)| is_named(what, name));
        match excepted {
            None => assert!(is_moved, "nothing moves {name}"),
            Some((what, why)) => {
                assert!(!is_moved, "{name} is moved: {why}");
                needed.push(what);
            }
        }
    }
    for (what, why) in EXCEPTIONS {
        assert!(needed.contains(what), "{what} is no sample: {why}");
    }
}

/// Whether a sample is a part of a histogram that moves with its count.
fn is_part(sample: &str) -> bool {
    let name = sample.split('{').next().unwrap_or(sample);
    row_name(name) != name && !name.ends_with("_count")
}

/// Whether `what` means this sample and tells it from the others of its row.
fn is_named(what: &str, sample: &str) -> bool {
    let labels = sample
        .split('"')
        .step_by(2)
        .flat_map(|text| text.split(['{', ',', '=']));
    let mut labels = labels
        .skip(1)
        .filter(|label| !["", "}", "node", "command", "version"].contains(label));
    is_meant(what, sample) && labels.all(|label| what.contains(&format!(" {label}=")))
}
