//! Every data type through slotcar. The oracle is a plain server of the same kind: each request of the list is sent to
//! both, and a client must not be able to tell the replies apart, in RESP2 and in RESP3.

use crate::support::{Cluster, Conn, Server, ServerKind, Slotcar};

on_both!(
    every_data_type_answers_like_a_plain_server,
    mistakes_are_answered_like_a_plain_server_does
);

fn every_data_type_answers_like_a_plain_server(kind: ServerKind) {
    check_all(kind, include_str!("data_types.txt"));
}

fn mistakes_are_answered_like_a_plain_server_does(kind: ServerKind) {
    check_all(kind, include_str!("mistakes.txt"));
}

fn check_all(kind: ServerKind, requests: &str) {
    let plain = Server::start_plain(kind);
    let cluster = Cluster::start(kind, 3, 0);
    let slotcar = Slotcar::before(&cluster);
    let mut differences = check(requests, &mut Conn::open(plain.addr()), &mut slotcar.conn());
    let mut plain_resp3 = Conn::open_resp3(plain.addr());
    differences.extend(check(
        requests,
        &mut plain_resp3,
        &mut Conn::open_resp3(slotcar.addr()),
    ));
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

fn check(requests: &str, plain: &mut Conn, slotcar: &mut Conn) -> Vec<String> {
    plain.ok(&["FLUSHALL"]);
    slotcar.ok(&["FLUSHALL"]);
    requests
        .lines()
        .map(words)
        .filter(|request| !request.is_empty())
        .filter_map(|request| {
            let (expected, seen) = (plain.cmd(&request), slotcar.cmd(&request));
            (expected != seen).then(|| {
                format!(
                    "{}\n  plain    {expected:?}\n  slotcar  {seen:?}",
                    request.join(" ")
                )
            })
        })
        .collect()
}

/// Splits at spaces outside of double quotes; `#` at the start of a line makes it a comment.
fn words(line: &str) -> Vec<String> {
    if line.starts_with('#') {
        return Vec::new();
    }
    line.split('"')
        .enumerate()
        .flat_map(|(index, piece)| {
            let quoted = index % 2 == 1;
            let words: Vec<&str> = if quoted {
                vec![piece]
            } else {
                piece.split_whitespace().collect()
            };
            words.into_iter().map(str::to_owned)
        })
        .collect()
}
