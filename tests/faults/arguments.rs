//! What the program was asked to do.

use std::time::Duration;

use crate::support::ServerKind;

pub struct Arguments {
    pub kind: ServerKind,
    /// Numbers of rows.
    pub rows: Vec<u32>,
    /// How long random faults go on, if at all.
    pub soak: Option<Duration>,
    pub seed: u64,
}

pub const USAGE: &str = "\
usage: tests/faults/run.sh [--server redis|valkey] [--rows 1,2,…|all|none] [--soak SECONDS] [--seed N]
  --rows   which rows of the table; all of them unless --soak is given
  --soak   a random fault every few seconds for this long
  --seed   of the random faults; printed if it is not given";

impl Arguments {
    /// # Errors
    /// What is wrong, for people.
    pub fn parse(words: impl Iterator<Item = String>) -> Result<Arguments, String> {
        let (mut kind, mut rows, mut soak) = (ServerKind::Redis7, None, None);
        let mut seed = u64::from(std::process::id());
        let mut words = words;
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "--server" => {
                    kind = match value()?.as_str() {
                        "redis" => ServerKind::Redis7,
                        "valkey" => ServerKind::Valkey8,
                        other => return Err(format!("no such server: {other}")),
                    }
                }
                "--rows" => rows = Some(numbers(&value()?)?),
                "--soak" => soak = Some(Duration::from_secs(number(&value()?)?)),
                "--seed" => seed = number(&value()?)?,
                other => return Err(format!("no such option: {other}")),
            }
        }
        let rows = rows.unwrap_or_else(|| if soak.is_some() { Vec::new() } else { all() });
        Ok(Arguments {
            kind,
            rows,
            soak,
            seed,
        })
    }
}

fn numbers(list: &str) -> Result<Vec<u32>, String> {
    match list {
        "all" => Ok(all()),
        "none" => Ok(Vec::new()),
        list => list.split(',').map(number).collect(),
    }
}

fn all() -> Vec<u32> {
    crate::rows::ALL.iter().map(|row| row.number).collect()
}

fn number<N: std::str::FromStr>(text: &str) -> Result<N, String> {
    text.parse().map_err(|_| format!("not a number: {text}"))
}
