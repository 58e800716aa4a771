//! Before one server slotcar counts what a cluster would refuse, and proposes rules; before a cluster with these rules the app runs unchanged.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::audit_script::{self, Line, Row};
use crate::shown::{SECONDS, Shown};
use crate::support::{Cluster, Conn, Server, ServerKind, Slotcar, Value, Watched, address};

on_both!(
    all_is_found_and_the_rules_help,
    what_no_rule_helps_is_found_and_refused,
    sorting_by_other_keys_depends_on_the_version,
    an_app_that_may_move_is_told_so,
    the_report_is_at_the_admin_port,
    what_two_workers_have_seen_is_put_together,
    a_server_that_sentinels_watch_is_audited,
    each_listener_has_an_audit_of_its_own,
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

fn the_report_is_at_the_admin_port(kind: ServerKind) {
    let server = Server::start_plain(kind);
    let url = format!("redis://{}", server.addr());
    let without = Shown::start(&["--upstream", &url]);
    assert_eq!(without.get("/audit").0, 404);
    let shown = Shown::start(&["--upstream", &url, "--audit", "on"]);
    let script = audit_script::read(&[SHOP, REFUSED].join("\n"));
    let report = report_of(&shown, &script, &mut [shown.slotcar.conn()]);
    let refused: u64 = ["other_database", "transaction_over_nodes", "not_served"]
        .iter()
        .map(|finding| totals(&script)[*finding])
        .sum();
    assert_eq!(report["proposal"]["refused_anyway"], refused);
    let (status, text) = shown.get("/audit?text");
    assert_eq!(status, 200, "{text}");
    for rule in rules(&report) {
        assert!(
            text.contains(&format!("--keep-together '{rule}'")),
            "{text}"
        );
    }
    for (finding, count) in totals(&script) {
        assert!(text.contains(&format!("{finding}: {count}\n")), "{text}");
    }
}

fn what_two_workers_have_seen_is_put_together(kind: ServerKind) {
    let script = audit_script::read(SHOP);
    let (_, alone) = before_one_server(kind, &script);
    let server = Server::start_plain(kind);
    let url = format!("redis://{}", server.addr());
    let flags = ["--upstream", &url, "--audit", "on", "--workers", "2"];
    let mut shown = Shown::start(&flags);
    shown.wait_for("nobody is here", SECONDS(10), |samples| {
        samples.sum("slotcar_sessions") == 0.0
    });
    // Who comes goes to the worker that has fewer.
    let mut conns = [(); 2].map(|()| {
        let mut conn = shown.slotcar.conn();
        conn.ok(&["PING"]);
        conn
    });
    let report = report_of(&shown, &script, &mut conns);
    let rules = rules(&report).join("' --keep-together '");
    let expected = format!("; would help: --keep-together '{rules}'");
    assert!(alone.ends_with(&expected), "{alone}: {expected}");
    drop(conns);
    shown.slotcar.signal("TERM");
    assert!(shown.slotcar.wait_end().success());
    let log = shown.slotcar.log();
    let audits = log.lines().filter_map(|line| line.split_once("audit of "));
    let requests = audits.filter_map(|(_, line)| line.split(' ').next()?.parse().ok());
    let requests: Vec<u64> = requests.collect();
    assert!(
        requests.len() == 2 && requests.iter().all(|n| *n > 20),
        "{log}"
    );
    assert_eq!(report["requests"], requests.iter().sum::<u64>(), "{log}");
}

fn a_server_that_sentinels_watch_is_audited(kind: ServerKind) {
    let watched = Watched::start(kind, 1);
    let shown = Shown::start(&["--sentinel", &watched.addrs(), "--audit", "on"]);
    let script = audit_script::read(SHOP);
    report_of(&shown, &script, &mut [shown.slotcar.conn()]);
}

fn each_listener_has_an_audit_of_its_own(kind: ServerKind) {
    let (server, other) = (Server::start_plain(kind), Server::start_plain(kind));
    let addrs = [address::unused(), address::unused()];
    let file = server.dir().join("slotcar.toml");
    let text = format!(
        "upstream = \"redis://{}\"\naudit = \"on\"\nmax-clients = 100\nlisten = \"{}\"\n\
         [[listener]]\nlisten = \"{}\"\nupstream = \"redis://{}\"\naudit = \"on\"\n",
        server.addr(),
        addrs[0],
        addrs[1],
        other.addr()
    );
    std::fs::write(&file, text).expect("a file of ours");
    let shown =
        Shown::start_with_own_listeners(addrs[0], &["--config", &file.display().to_string()]);
    shown.wait_for("both servers are reached", SECONDS(10), |samples| {
        samples.sum("slotcar_ready") == 2.0
    });
    let [mut one, mut another] = addrs.map(Conn::open);
    one.ok(&["MGET", "a", "b"]);
    another.ok(&["KEYS", "*"]);
    another.ok(&["KEYS", "*"]);
    let report = shown.json("/audit");
    let totals = |service: usize| {
        let totals = &report[service]["totals"];
        (totals["split"].as_u64(), totals["every_node"].as_u64())
    };
    assert_eq!(totals(0), (Some(1), Some(0)), "{report}");
    assert_eq!(totals(1), (Some(0), Some(2)), "{report}");
    let samples = shown.metrics();
    for (addr, finding, count) in [
        (addrs[0], "split", 1.0),
        (addrs[1], "split", 0.0),
        (addrs[0], "every_node", 0.0),
        (addrs[1], "every_node", 2.0),
    ] {
        let made = format!("slotcar_audit_requests_total finding={finding} listen={addr}");
        assert_eq!(samples.count(&made), 1, "{made}");
        assert_eq!(samples.sum(&made), count, "{made}");
    }
}

/// The report once these clients have asked for all of it by turns, whose rows and counts are as expected.
fn report_of(shown: &Shown, script: &[Line], conns: &mut [Conn]) -> Json {
    let before = shown.json("/audit")["requests"].as_u64();
    run_by_turns(conns, script);
    let report = shown.json("/audit");
    let looked_at = report["requests"].as_u64().zip(before);
    let looked_at = looked_at.map(|(after, before)| after - before);
    assert_eq!(looked_at, Some(script.len() as u64), "{report}");
    assert_eq!(rows(&report), audit_script::findings(script), "{report}");
    assert_eq!(report["findings_other"], 0);
    let samples = shown.metrics();
    let all = samples.sum("slotcar_audited_requests_total");
    assert_eq!(report["requests"].as_f64(), Some(all));
    let expected = totals(script);
    for (finding, count) in report["totals"].as_object().expect("totals") {
        let wanted = expected.get(finding).copied().unwrap_or(0);
        assert_eq!(*count, wanted, "{finding}");
        let metric = format!("slotcar_audit_requests_total finding={finding}");
        assert_eq!(samples.sum(&metric), wanted as f64, "{finding}");
    }
    report
}

/// Each client has its turn; nobody is interrupted in a transaction.
fn run_by_turns(conns: &mut [Conn], script: &[Line]) {
    let (mut turn, mut is_between) = (0, true);
    for line in script {
        conns[turn % conns.len()].cmd(&line.words);
        match line.words[0].as_str() {
            "WATCH" | "MULTI" => is_between = false,
            "EXEC" | "DISCARD" | "UNWATCH" => is_between = true,
            _ => {}
        }
        turn += usize::from(is_between);
    }
}

/// The findings of a report, as a script expects them.
fn rows(report: &Json) -> BTreeMap<Row, u64> {
    let text = |value: &Json| value.as_str().expect("a text").to_owned();
    let rows = report["findings"].as_array().expect("rows").iter();
    rows.map(|row| {
        let patterns = row["patterns"].as_array().expect("patterns");
        let mut patterns: Vec<String> = patterns.iter().map(text).collect();
        patterns.sort();
        let of = (text(&row["finding"]), text(&row["command"]), patterns);
        (of, row["requests"].as_u64().expect("a count"))
    })
    .collect()
}

fn rules(report: &Json) -> Vec<String> {
    let rules = report["proposal"]["rules"].as_array().expect("rules");
    let rules = rules.iter().map(|rule| rule.as_str().expect("a rule"));
    rules.map(str::to_owned).collect()
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
