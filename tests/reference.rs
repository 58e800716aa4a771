//! Pages of docs/ that are made from tables: fails when one is out of date. `WRITE_DOCS=1 cargo test --test reference` writes them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::Path;

use slotcar::route::reference;

fn check(page: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    if std::env::var_os("WRITE_DOCS").is_some() {
        fs::write(&path, expected).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == expected,
        "{page} is out of date: WRITE_DOCS=1 cargo test --test reference writes it. It should be:\n{expected}"
    );
}

#[test]
fn the_page_of_commands_is_that_of_the_table() {
    check("docs/commands.md", &reference::page());
}
