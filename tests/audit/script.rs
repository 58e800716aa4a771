//! The scripted apps of `tests/e2e/audit*.txt`: all is found, and nothing else.

use std::collections::BTreeMap;

use slotcar::audit::AuditReport;
use slotcar::command::together::Rule;

use super::audit_script::{self, Row};
use super::node::Stage;

const SHOP: &str = include_str!("../e2e/audit.txt");
const REFUSED: &str = include_str!("../e2e/audit_refused.txt");

fn report_of(script: &str, rules: &[Rule], databases: u32) -> AuditReport {
    let mut stage = Stage::new(rules, databases);
    for line in audit_script::read(script) {
        let answer = stage.ask(&line.words);
        assert!(!answer.is_empty(), "no answer to {:?}", line.words);
    }
    stage.leave();
    let report = stage.audit().report();
    let copy = stage.audit().snapshot().report();
    assert_eq!(report.to_json(), copy.to_json());
    report
}

fn rows(report: &AuditReport) -> BTreeMap<Row, u64> {
    let rows = report.findings.iter().map(|row| {
        let names = (row.finding.to_owned(), row.command.to_owned());
        ((names.0, names.1, row.patterns.clone()), row.requests)
    });
    rows.collect()
}

#[test]
fn all_is_found_and_nothing_is_invented() {
    for script in [SHOP, REFUSED] {
        let report = report_of(script, &[], 1);
        let expected = audit_script::findings(&audit_script::read(script));
        assert_eq!(rows(&report), expected, "{}", report.to_text());
        let requests = audit_script::read(script).len() as u64;
        assert_eq!(report.requests, requests);
        let totals: u64 = report.totals.values().sum();
        assert_eq!(totals, expected.values().sum::<u64>());
    }
}

#[test]
fn with_the_proposed_rules_nothing_is_refused() {
    let report = report_of(SHOP, &[], 1);
    let proposal = &report.proposal;
    assert_eq!(
        proposal.rules,
        [
            // Other keys begin so, too: `rate:{*}:minute`, `flag:beta`.
            "rate:*:minute",
            "stock:apple=order",
            "flag:light=flag",
            "rate:*:hour",
            "flag:dark=flag",
            // None do.
            "order:*",
            "jobs:*",
            "tag:*",
        ],
        "{}",
        report.to_text()
    );
    assert!(proposal.remaining.is_empty() && proposal.unknown == 0);
    assert_eq!(proposal.refused_anyway, 0);
    let rules: Vec<Rule> = (proposal.rules.iter())
        .map(|rule| Rule::parse(rule).unwrap())
        .collect();
    let report = report_of(SHOP, &rules, 1);
    assert!(
        report.findings.iter().all(|row| row.effect != "refused"),
        "{}",
        report.to_text()
    );
    assert_eq!(report.proposal.rules, [""; 0]);
    // What is kept together is not split any more.
    let with_rules = rows(&report);
    let is_there = |finding: &str| with_rules.keys().any(|row| row.0 == finding);
    assert!(is_there("split") && is_there("every_node") && !is_there("cross_slot"));
}

#[test]
fn databases_help_who_needs_some() {
    let report = report_of(REFUSED, &[], 16);
    let commands: Vec<&str> = (report.findings.iter())
        .filter(|row| row.finding == "other_database")
        .map(|row| row.command)
        .collect();
    assert_eq!(commands, ["move", "swapdb"], "{}", report.to_text());
}

#[test]
fn a_report_is_for_people_and_for_programs() {
    let report = report_of(SHOP, &[], 1);
    let text = report.to_text();
    for part in [
        "cross_slot: 8\n  one command with keys in several slots",
        "2  sinter tag:*  (first: tag:1 tag:2)",
        "--keep-together 'stock:apple=order'",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
    assert_eq!(json["totals"]["cross_slot"], 8);
    assert_eq!(json["assumed"]["databases"], 1);
    assert!(json["proposal"]["groups"][0]["share"].as_f64().unwrap() > 0.0);
    let one = report.summary();
    assert!(one.contains("cross_slot 8, cross_slot_script 1"), "{one}");
    let calm = report_of("SET a 1\nGET a", &[], 1);
    assert!(calm.to_text().contains("all of them as this server does"));
}
