//! Pages of docs/ that are made from tables: fails when one is out of date. `WRITE_DOCS=1 cargo test --test reference` writes them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::Path;

use slotcar::admin::metrics;
use slotcar::config;
use slotcar::route;

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

/// A page of which one piece, a table that begins with `head`, is made.
fn check_piece(page: &str, head: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let kept = fs::read_to_string(path).unwrap();
    let (before, rest) = kept.split_once(head).unwrap();
    let after = rest.find("\n\n").map_or("", |end| &rest[end + 1..]);
    check(page, &format!("{before}{expected}{after}"));
}

#[test]
fn the_page_of_commands_is_that_of_the_table() {
    check("docs/commands.md", &route::reference::page());
}

#[test]
fn the_page_of_metrics_is_that_of_the_table() {
    check("docs/metrics.md", &metrics::page());
}

#[test]
fn the_page_of_keys_is_that_of_the_tables() {
    check("docs/configuration.md", &config::reference::page());
}

#[test]
fn the_schema_of_the_file_is_that_of_the_table() {
    let schema = format!("{:#}\n", config::reference::json_schema());
    check("docs/slotcar.schema.json", &schema);
}

#[test]
fn the_readme_shows_the_table_of_keys() {
    let head = "| flag | variable | default | |\n";
    check_piece("README.md", head, &config::reference::markdown());
}
