//! Clients that do nothing wrong: how long their requests take.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Conn, Value};

/// What such clients saw.
pub struct Seen {
    /// The median of several windows' 99th percentiles: one hiccup of the machine is not the rule.
    pub p99: Duration,
    pub longest: Duration,
    pub errors: Vec<String>,
}

const CLIENTS: usize = 8;
const WINDOWS: u32 = 5;

/// Lets them work for this long, each one request at a time.
pub fn time(addr: SocketAddr, length: Duration) -> Seen {
    let mut percentiles = Vec::new();
    let (mut longest, mut errors) = (Duration::ZERO, Vec::new());
    for _ in 0..WINDOWS {
        let mut times = Vec::new();
        thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|number| scope.spawn(move || work(addr, number, length / WINDOWS)))
                .collect();
            for client in clients {
                let (took, wrong) = client.join().unwrap();
                times.extend(took);
                errors.extend(wrong);
            }
        });
        times.sort_unstable();
        longest = longest.max(times.last().copied().unwrap_or_default());
        percentiles.push(times.get(times.len() * 99 / 100).copied().unwrap_or(length));
    }
    percentiles.sort_unstable();
    Seen {
        p99: percentiles[percentiles.len() / 2],
        longest,
        errors,
    }
}

fn work(addr: SocketAddr, number: usize, length: Duration) -> (Vec<Duration>, Vec<String>) {
    let mut conn = Conn::open(addr);
    let (mut times, mut errors) = (Vec::new(), Vec::new());
    let ends = Instant::now() + length;
    let mut round = 0_u64;
    while Instant::now() < ends {
        round += 1;
        let (key, value) = (format!("other:{number}:{}", round % 64), round.to_string());
        let began = Instant::now();
        let set = conn.cmd(&["SET", &key, &value]);
        let between = Instant::now();
        let got = conn.cmd(&["GET", &key]);
        times.extend([between - began, between.elapsed()]);
        if !set.is_ok() || got != Value::Bulk(value.into_bytes()) {
            errors.push(format!("{key}: {set:?} and {got:?}"));
        }
        // Eight clients at full speed would fill the machine by themselves.
        thread::sleep(Duration::from_millis(1));
    }
    (times, errors)
}
