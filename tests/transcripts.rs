//! Runs every `tests/transcripts/*.txt`: a protocol story across sessions, hub and links, readable as a picture.
//!
//! A line is one thing that happens, or one thing that must be true now. ` #` begins a comment.
//!
//! ```text
//! topology  a: 8192-16383   b+c: 0-8191      a publication: primaries, +replicas, slots. {a} is at a, {b} at b
//! suspects b c                               from now on these nodes, and no others, do not answer probes
//! limit NAME NUMBER | limit hold 2s          before the first topology
//! limit keep-together PATTERN=TAG            the same; one rule more
//! logins passed-on                           clients log in at the nodes; a=app is the link of the user app
//! greeting shown                             greetings of links are not answered by themselves any more
//! torn 3                                     from now on everything arrives in pieces of 3 bytes; `torn off`
//!
//! c1> REQ | REQ        client 1 (connected when first named) sends requests, words in their usual spelling
//! c1< REPLY REPLY      what client 1 has received since last looked, exactly; nothing: nothing
//! c1 sends "raw"       c1 closes       c1 half-closes (sends no more, still reads)
//! c1 takes 10          it takes 10 bytes more and then none; `takes all`
//! c1 splits transactions           as on a listener with cross-slot-transactions=split
//! c1 is closed         slotcar has closed the connection
//! c1 is unread         something that it sent has not been read
//!
//! a< REQ | REQ         what slotcar has sent to node a since last looked, exactly
//! a< torn "raw"        a request that has not been sent to its end
//! a> REPLY REPLY       node a answers
//! a sends "raw"        a closes        a takes 10
//! a refuses            dials are refused; `a hangs`: dials wait; `a accepts`: dials succeed (and those that wait)
//! a dials 2            how often slotcar has dialled a since last looked
//! a/3< …               the RESP3 link of a
//! a?< …                the link on which a says when keys change that somebody waits for
//! a!< …                the RESP3 link of a that only subscribes
//! a+2< …               the second link to a that is one session's own (a+2/3 in RESP3); a calls link n of all links n
//!
//! time 50ms            time passes, in ticks of 10 ms as in a worker
//! hints moved {a} b:1 | refused a:1         what the control plane was told since last looked
//! ```
//!
//! Words: `word`, `"with blanks, \r\n, \x00"`, `x^1000` (a thousand x). Replies: `+OK`, `:1`, `$bulk`, `$-1`, `_`,
//! `*[$a :1]`, `%[$k $v]`, `~[…]`, `>[…]`, `-ERR to the end of the line or to the next |`. In an error `{a}` is the number
//! of the slot of `{a}`. An expected reply may end in `…`: the rest does not matter. Node a listens at `a:1`.
//! At the end everything that was sent must have been looked at.

#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by a panic"
)]

#[path = "sim/notation.rs"]
mod notation;
#[path = "sim/rig.rs"]
mod rig;
#[path = "sim/stage.rs"]
mod stage;
#[path = "sim/wire.rs"]
mod wire;

use std::path::Path;

use stage::Stage;

#[test]
fn every_transcript_tells_what_happens() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|path| path.extension().is_some_and(|ext| ext == "txt"));
    files.sort();
    assert!(!files.is_empty(), "no transcript in {}", folder.display());
    let failures: Vec<String> = files.iter().filter_map(|path| run(path).err()).collect();
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
    println!("{} transcripts", files.len());
}

fn run(path: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(path).unwrap();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut stage = Stage::new();
    let mut last = 0;
    for (number, line) in (1..).zip(text.lines()) {
        let statement = without_comment(line);
        if statement.is_empty() {
            continue;
        }
        last = number;
        stage
            .run(statement)
            .map_err(|wrong| format!("{name}:{number}: {statement}\n{wrong}"))?;
    }
    stage
        .finish()
        .map_err(|wrong| format!("{name}:{last}: at the end\n{wrong}"))
}

fn without_comment(line: &str) -> &str {
    let line = if line.starts_with('#') { "" } else { line };
    line.split_once(" #")
        .map_or(line, |(statement, _)| statement)
        .trim()
}
