//! Before one server slotcar counts what a cluster would refuse, and proposes rules; before a cluster with these rules the app runs unchanged.

use std::collections::BTreeMap;

use crate::audit_script::{self, Line};
use crate::support::{Cluster, Server, ServerKind, Slotcar, Value};

on_both!(
    all_is_found_and_the_rules_help,
    what_no_rule_helps_is_found_and_refused,
    sorting_by_other_keys_depends_on_the_version,
    an_app_that_may_move_is_told_so,
);

pub(crate) const SHOP: &str = include_str!("audit.txt");
pub(crate) const REFUSED: &str = include_str!("audit_refused.txt");
pub(crate) const SORTS: &str = "RPUSH list 1 2\nMSET {w}_1 9 {w}_2 8\nSET w_1 9\nSET w_2 8\n\
    SORT list BY w_* => sort_by_pattern list w_*\n\
    SORT list BY w_* GET v_*->f => sort_by_pattern list w_* v_*->f\n\
    SORT list BY none";

fn all_is_found_and_the_rules_help(kind: ServerKind) {
    let script = audit_script::read(SHOP);
    let (answers, summary) = before_one_server(kind, &script);
    let (found, rules) = summary
        .split_once("; would help: --keep-together ")
        .expect("rules");
    assert_eq!(found, expected(&script));
    let rules = rules.split(" --keep-together ");
    let rules = rules.map(|rule| rule.trim_matches('\''));
    let flags: Vec<&str> = rules.flat_map(|rule| ["--keep-together", rule]).collect();

    let cluster = Cluster::start(kind, 3, 0);
    let seeds = cluster.seeds();
    let alone = Slotcar::before(&cluster);
    refuses_what_was_found(&script, &run(&alone, &script));
    alone.conn().ok(&["FLUSHALL"]);
    let with_rules = Slotcar::start(&[&["--cluster", &seeds], &flags[..]].concat());
    for ((line, before), after) in script.iter().zip(answers).zip(run(&with_rules, &script)) {
        assert_eq!(
            comparable(line, after),
            comparable(line, before),
            "{:?}",
            line.words
        );
    }
}

fn what_no_rule_helps_is_found_and_refused(kind: ServerKind) {
    let script = audit_script::read(REFUSED);
    let (_, summary) = before_one_server(kind, &script);
    assert_eq!(summary, expected(&script));
    let cluster = Cluster::start(kind, 3, 0);
    refuses_what_was_found(&script, &run(&Slotcar::before(&cluster), &script));
}

fn sorting_by_other_keys_depends_on_the_version(kind: ServerKind) {
    let script = audit_script::read(SORTS);
    let (answers, summary) = before_one_server(kind, &script);
    let cluster = Cluster::start(kind, 3, 0);
    refuses_what_was_found(&script, &run(&Slotcar::before(&cluster), &script));
    let rules = match kind {
        ServerKind::Redis7 => "",
        ServerKind::Valkey8 => {
            "; would help: --keep-together 'list' --keep-together 'v_*=list' --keep-together 'w_*=list'"
        }
    };
    assert_eq!(summary, format!("{}{rules}", expected(&script)));
    if kind == ServerKind::Valkey8 {
        let (seeds, rule) = (cluster.seeds(), "--keep-together");
        let rules = [rule, "list", rule, "v_*=list", rule, "w_*=list"];
        let slotcar = Slotcar::start(&[&["--cluster", &seeds], &rules[..]].concat());
        slotcar.conn().ok(&["FLUSHALL"]);
        assert_eq!(run(&slotcar, &script), answers);
    }
}

fn an_app_that_may_move_is_told_so(kind: ServerKind) {
    let lines = "SET a 1\nGET a\nMULTI\nINCR a\nINCR a\nEXEC\nINFO\nHELLO 3";
    let (_, summary) = before_one_server(kind, &audit_script::read(lines));
    assert_eq!(summary, "nothing that a cluster would do otherwise");
}

/// The answers of one server, and what the audit says in the end.
fn before_one_server(kind: ServerKind, script: &[Line]) -> (Vec<Value>, String) {
    let server = Server::start_plain(kind);
    let url = format!("redis://{}", server.addr());
    let mut slotcar = Slotcar::start(&["--upstream", &url, "--audit", "on"]);
    let answers = run(&slotcar, script);
    slotcar.signal("TERM");
    assert!(slotcar.wait_end().success());
    let log = slotcar.log();
    let lines = log.lines().filter_map(|line| line.split_once("audit of "));
    let lines: Vec<&str> = lines.map(|(_, line)| line).collect();
    let [line] = lines.as_slice() else {
        panic!("not one audit in\n{log}");
    };
    let (_, found) = line.split_once(" requests: ").expect("what was found");
    let found = found.strip_suffix(" worker=0").expect("who found it");
    (answers, found.to_owned())
}

/// How often each finding is to be made.
pub(crate) fn totals(script: &[Line]) -> BTreeMap<String, u64> {
    let mut totals: BTreeMap<String, u64> = BTreeMap::new();
    for ((finding, ..), count) in audit_script::findings(script) {
        *totals.entry(finding).or_default() += count;
    }
    totals
}

/// The same, as a summary says it.
fn expected(script: &[Line]) -> String {
    let totals = totals(script);
    let totals = totals.iter().map(|(name, count)| format!("{name} {count}"));
    totals.collect::<Vec<_>>().join(", ")
}

/// The answers to all requests; to those of a transaction, what `EXEC` has said of them.
pub(crate) fn run(slotcar: &Slotcar, script: &[Line]) -> Vec<Value> {
    let mut conn = slotcar.conn();
    let mut answers: Vec<Value> = Vec::new();
    for line in script {
        let words: Vec<&str> = line.words.iter().map(String::as_str).collect();
        let answer = conn.cmd(&words);
        if let Value::Array(replies) = &answer
            && line.words[0] == "EXEC"
        {
            let at = answers.len() - replies.len();
            answers.splice(at.., replies.iter().cloned());
        }
        answers.push(answer);
    }
    answers
}

/// A cluster refuses what the audit says that it would, and no more, but for transactions that it has refused something of.
fn refuses_what_was_found(script: &[Line], answers: &[Value]) {
    for (line, answer) in script.iter().zip(answers) {
        let error = answer.error().unwrap_or_default();
        let finding = line.expected.as_ref().map(|row| row.0.as_str());
        let is_refusal = match finding {
            Some("split" | "every_node" | "waits_over_slots" | "script_without_keys") | None => {
                false
            }
            Some(_) => true,
        };
        let is_aborted = error.starts_with("EXECABORT");
        assert_eq!(
            !error.is_empty() && !is_aborted,
            is_refusal,
            "{:?}: {answer:?}",
            line.words
        );
    }
}

/// What must be the same wherever it comes from.
fn comparable(line: &Line, answer: Value) -> Value {
    match (line.words[0].as_str(), answer) {
        (_, Value::Error(error)) => Value::Error(error),
        ("CLIENT" | "INFO" | "SCAN" | "RANDOMKEY" | "EXEC", _) => Value::Nil,
        ("KEYS" | "SINTER" | "SUNION", Value::Array(mut items)) => {
            items.sort_by_key(|item| item.text());
            Value::Array(items)
        }
        (_, answer) => answer,
    }
}
