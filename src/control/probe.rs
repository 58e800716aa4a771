//! Notices a silent primary: a PING now and then on a connection of its own, whatever the shared links are doing.
//!
//! Any answer is a sign of life, an error too: what a node refuses, the data path notices by itself.
//! Two misses make a suspect; one answer clears it, however late: a node that was busy is used again at once.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{sleep, timeout};

use super::AskFailure;
use super::random::Random;
use super::wire::{Dialer, Wire, within};
use crate::topology::{Endpoint, Topology};

/// A change for the better or the worse at one primary.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) endpoint: Endpoint,
    pub(super) pulse: Pulse,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pulse {
    Alive,
    Silent,
}

/// Counts misses. Pure.
#[derive(Debug, Default)]
pub(super) struct Health {
    misses: u32,
}

impl Health {
    /// What one probe showed; returns a change of opinion.
    pub(super) fn on_probe(&mut self, answered: bool) -> Option<Pulse> {
        let was_silent = self.misses >= MISSES_TO_SUSPECT;
        self.misses = if answered {
            0
        } else {
            self.misses.saturating_add(1)
        };
        match (was_silent, self.misses >= MISSES_TO_SUSPECT) {
            (true, false) => Some(Pulse::Alive),
            (false, true) => Some(Pulse::Silent),
            (true, true) | (false, false) => None,
        }
    }

    /// How long to wait after a miss, before jitter: not at all after the first, then ever longer.
    pub(super) fn pause(&self, interval: Duration) -> Duration {
        match self.misses.checked_sub(MISSES_TO_SUSPECT) {
            None => Duration::ZERO,
            Some(more) => interval
                .saturating_mul(2_u32.saturating_pow(more))
                .min(PAUSE_MAX),
        }
    }
}

/// One task for each primary.
pub(super) struct Probes {
    interval: Option<Duration>,
    dialer: Dialer,
    findings: mpsc::Sender<Finding>,
    tasks: HashMap<Endpoint, JoinHandle<()>>,
}

impl Probes {
    /// `interval`: between two probes of one primary; `None`: no probes.
    pub(super) fn new(
        interval: Option<Duration>,
        dialer: Dialer,
    ) -> (Self, mpsc::Receiver<Finding>) {
        let (findings, arriving) = mpsc::channel(FINDINGS_MAX);
        (
            Self {
                interval,
                dialer,
                findings,
                tasks: HashMap::new(),
            },
            arriving,
        )
    }

    /// Watches the primaries of this topology and nobody else.
    pub(super) fn watch(&mut self, topology: &Topology) {
        let Some(interval) = self.interval else {
            return;
        };
        let mut before = std::mem::take(&mut self.tasks);
        for node in topology.primary_nodes() {
            let task = before
                .remove(&node.endpoint)
                .unwrap_or_else(|| self.spawn(&node.endpoint, interval));
            self.tasks.insert(node.endpoint.clone(), task);
        }
        before.into_values().for_each(|task| task.abort());
    }

    fn spawn(&self, endpoint: &Endpoint, interval: Duration) -> JoinHandle<()> {
        let probe = Probe {
            endpoint: endpoint.clone(),
            interval,
            dialer: self.dialer.clone(),
            random: Random::from_system(),
            wire: None,
            unanswered: None,
        };
        spawn_local(probe.run(self.findings.clone()))
    }
}

struct Probe {
    endpoint: Endpoint,
    interval: Duration,
    dialer: Dialer,
    random: Random,
    wire: Option<Wire>,
    /// Where the last question was asked, if that is all that happened.
    unanswered: Option<Wire>,
}

/// What one attempt showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Life,
    Silence,
    /// We could not ask.
    Nothing,
}

impl Probe {
    async fn run(mut self, findings: mpsc::Sender<Finding>) {
        let mut health = Health::default();
        // Many processes may start together.
        sleep(self.random.between(Duration::ZERO, self.interval)).await;
        loop {
            let sign = self.ping().await;
            if !self.report(&mut health, sign, &findings).await {
                return;
            }
            match sign {
                Sign::Life | Sign::Nothing => self.idle().await,
                Sign::Silence => {
                    let pause = health.pause(self.interval);
                    let pause = self.random.around(pause, PAUSE_JITTER_PERCENT);
                    if self.answers_late(pause).await
                        && !self.report(&mut health, Sign::Life, &findings).await
                    {
                        return;
                    }
                }
            }
        }
    }

    /// Returns whether anybody still listens.
    async fn report(
        &self,
        health: &mut Health,
        sign: Sign,
        findings: &mpsc::Sender<Finding>,
    ) -> bool {
        let pulse = match sign {
            Sign::Life => health.on_probe(true),
            Sign::Silence => health.on_probe(false),
            Sign::Nothing => None,
        };
        let Some(pulse) = pulse else {
            return true;
        };
        let endpoint = self.endpoint.clone();
        findings.send(Finding { endpoint, pulse }).await.is_ok()
    }

    async fn ping(&mut self) -> Sign {
        let mut wire = match self.wire.take() {
            Some(wire) => wire,
            None => {
                self.dialer.turn().await;
                match self.dialer.dial(&self.endpoint, self.interval).await {
                    Ok(wire) => wire,
                    Err(AskFailure::Local(_)) => return Sign::Nothing,
                    Err(_why) => return Sign::Silence,
                }
            }
        };
        match within(self.interval, wire.ask(&[&["PING"]])).await {
            Ok(_reply) => self.wire = Some(wire),
            // It answered; what it thinks of our password is not a question of life, nor how many clients it has.
            Err(AskFailure::Auth(_) | AskFailure::Refused(_)) => {}
            Err(AskFailure::Timeout) => {
                self.unanswered = Some(wire);
                return Sign::Silence;
            }
            Err(_no_answer) => return Sign::Silence,
        }
        Sign::Life
    }

    /// Waits before the next attempt, or less if the last one is answered meanwhile: then a node that was busy goes on.
    async fn answers_late(&mut self, pause: Duration) -> bool {
        match self.unanswered.take() {
            // The connection may be what is broken: a new one says more.
            Some(mut wire) if !pause.is_zero() => {
                let answer = timeout(pause, wire.late_answer()).await;
                matches!(answer, Ok(Ok(())))
            }
            Some(_) | None => {
                sleep(pause).await;
                false
            }
        }
    }

    /// Waits for the next probe, or less if the connection ends: that is the fastest sign of death there is.
    async fn idle(&mut self) {
        let wait = self.random.between(self.interval * 4 / 5, self.interval);
        match &mut self.wire {
            None => sleep(wait).await,
            Some(wire) => {
                if timeout(wait, wire.ended()).await.is_ok() {
                    self.wire = None;
                }
            }
        }
    }
}

const MISSES_TO_SUSPECT: u32 = 2;

/// Between attempts to reach a suspect; what is back is known within about this time.
const PAUSE_MAX: Duration = Duration::from_secs(1);

pub(super) const PAUSE_JITTER_PERCENT: u32 = 20;

/// Findings that wait for the control thread; a probe with one more waits too.
const FINDINGS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_misses_make_a_suspect_and_one_answer_clears_it() {
        let mut health = Health::default();
        let story = [
            (true, None),
            (false, None),
            (true, None),
            (false, None),
            (false, Some(Pulse::Silent)),
            (false, None),
            (true, Some(Pulse::Alive)),
            (true, None),
        ];
        for (step, (answered, change)) in story.into_iter().enumerate() {
            assert_eq!(health.on_probe(answered), change, "step {step}");
        }
    }

    #[test]
    fn the_second_attempt_comes_at_once_and_later_ones_ever_later() {
        let mut health = Health::default();
        let pauses: Vec<u64> = (0..6)
            .map(|_| {
                health.on_probe(false);
                u64::try_from(health.pause(Duration::from_millis(500)).as_millis()).unwrap()
            })
            .collect();
        assert_eq!(pauses, [0, 500, 1000, 1000, 1000, 1000]);
    }
}
