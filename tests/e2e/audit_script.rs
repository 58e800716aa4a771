//! `audit.txt` and its like: what a scripted app asks, and what is to be found in it.

use std::collections::BTreeMap;

/// One request and its finding.
pub(crate) struct Line {
    pub(crate) words: Vec<String>,
    /// The finding, the command and the patterns of the keys.
    pub(crate) expected: Option<Row>,
}

/// As a report shows it.
pub(crate) type Row = (String, String, Vec<String>);

pub(crate) fn read(text: &str) -> Vec<Line> {
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(line).collect()
}

/// All findings, and how often each is to be made.
pub(crate) fn findings(lines: &[Line]) -> BTreeMap<Row, u64> {
    let mut rows = BTreeMap::new();
    for row in lines.iter().filter_map(|line| line.expected.clone()) {
        *rows.entry(row).or_default() += 1;
    }
    rows
}

fn line(text: &str) -> Line {
    let (request, finding) = match text.split_once("=>") {
        Some((request, finding)) => (request, Some(finding)),
        None => (text, None),
    };
    let words: Vec<String> = request
        .split_whitespace()
        .map(|word| match word.starts_with("return_") {
            true => word.replace('_', " "),
            false => word.to_owned(),
        })
        .collect();
    let expected = finding.map(|finding| {
        let mut said = finding.split_whitespace().map(str::to_owned);
        let name = said.next().expect("the name of a finding");
        let mut patterns: Vec<String> = said.collect();
        patterns.sort();
        (name, words[0].to_lowercase(), patterns)
    });
    Line { words, expected }
}
