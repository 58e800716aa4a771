//! Runs one case of the pure path so many rounds: `path CASE ROUNDS`. Counted by `benches/instructions.sh`.

#![allow(
    clippy::expect_used,
    dead_code,
    reason = "a program for measuring, which uses a part of the rig"
)]

#[path = "../tests/sim/rig.rs"]
mod rig;
#[path = "path/steady.rs"]
mod steady;

use steady::{CASES, Case, SAMPLED, Steady};

#[expect(clippy::print_stdout, reason = "its output is its result")]
fn main() {
    let mut arguments = std::env::args().skip(1).filter(|word| word != "--bench");
    let (name, rounds) = (arguments.next(), arguments.next());
    let mut cases = CASES.iter().chain([&SAMPLED]);
    let case = cases.find(|case: &&Case| Some(case.name) == name.as_deref());
    let rounds = rounds.and_then(|text| text.parse::<usize>().ok());
    let (Some(case), Some(rounds)) = (case, rounds) else {
        // A case and its requests per round.
        for case in CASES.iter().chain([&SAMPLED]) {
            println!("{} {}", case.name, case.requests());
        }
        return;
    };
    let mut steady = Steady::new(case);
    (0..rounds).for_each(|_| steady.round());
}
