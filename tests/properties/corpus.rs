//! What the fuzzer found worth keeping, and random bytes, through the bodies that the fuzzer runs.

use std::fs;
use std::path::Path;

use crate::bodies;
use crate::generate::Random;

#[test]
fn what_fuzzing_found_in_requests_holds() {
    replay("requests", bodies::requests::run);
}

#[test]
fn what_fuzzing_found_in_replies_holds() {
    replay("replies", bodies::replies::run);
}

#[test]
fn what_fuzzing_found_in_the_words_of_nodes_holds() {
    replay("control", bodies::control::run);
}

#[test]
fn what_fuzzing_found_in_the_hub_holds() {
    replay("hub", bodies::hub::run);
}

/// Runs a body on its corpus and on random scripts. A failure names the file, or the seed.
fn replay(target: &str, body: fn(&[u8])) {
    let folder = Path::new("tests/fuzz/corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .expect("a corpus")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    assert!(files.len() >= FILES_MIN, "{}", folder.display());
    for file in &files {
        let bytes = fs::read(file).expect("a file");
        survives(&file.display().to_string(), || body(&bytes));
    }
    for seed in 0..SEEDS {
        let mut random = Random(seed);
        let bytes = random.bytes(600);
        survives(&format!("seed {seed}"), || body(&bytes));
    }
}

fn survives(name: &str, run: impl FnOnce() + std::panic::UnwindSafe) {
    assert!(std::panic::catch_unwind(run).is_ok(), "{name}");
}

const FILES_MIN: usize = 10;
const SEEDS: u64 = 200;
