//! Notices a silent primary: a PING now and then on a connection of its own, whatever the shared links are doing.
//!
//! Any answer is a sign of life, an error too: what a node refuses, the data path notices by itself.
//! Two misses make a suspect; one answer clears it.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{sleep, timeout};

use super::random::Random;
use super::wire::{Wire, within};
use super::{AskFailure, Credentials};
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
    credentials: Option<Rc<Credentials>>,
    findings: mpsc::Sender<Finding>,
    /// Connections being opened at the same time.
    dials: Rc<Semaphore>,
    tasks: HashMap<Endpoint, JoinHandle<()>>,
}

impl Probes {
    /// `interval`: between two probes of one primary; `None`: no probes.
    pub(super) fn new(
        interval: Option<Duration>,
        credentials: Option<Rc<Credentials>>,
    ) -> (Self, mpsc::Receiver<Finding>) {
        let (findings, arriving) = mpsc::channel(FINDINGS_MAX);
        let dials = Rc::new(Semaphore::new(DIALS_MAX));
        (
            Self {
                interval,
                credentials,
                findings,
                dials,
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
            credentials: self.credentials.clone(),
            dials: Rc::clone(&self.dials),
            random: Random::from_system(),
            wire: None,
        };
        spawn_local(probe.run(self.findings.clone()))
    }
}

struct Probe {
    endpoint: Endpoint,
    interval: Duration,
    credentials: Option<Rc<Credentials>>,
    dials: Rc<Semaphore>,
    random: Random,
    wire: Option<Wire>,
}

impl Probe {
    async fn run(mut self, findings: mpsc::Sender<Finding>) {
        let mut health = Health::default();
        // Many processes may start together.
        sleep(self.random.between(Duration::ZERO, self.interval)).await;
        loop {
            let answered = self.ping().await;
            if let Some(pulse) = health.on_probe(answered) {
                let finding = Finding {
                    endpoint: self.endpoint.clone(),
                    pulse,
                };
                if findings.send(finding).await.is_err() {
                    return;
                }
            }
            if answered {
                self.idle().await;
            } else {
                self.wire = None;
                sleep(
                    self.random
                        .around(health.pause(self.interval), PAUSE_JITTER_PERCENT),
                )
                .await;
            }
        }
    }

    async fn ping(&mut self) -> bool {
        let mut wire = match self.wire.take() {
            Some(wire) => wire,
            None => match self.dial().await {
                Ok(wire) => wire,
                Err(_why) => return false,
            },
        };
        match within(self.interval, wire.ask(&[&["PING"]])).await {
            Ok(_reply) => self.wire = Some(wire),
            // It answered; what it thinks of our password is not a question of life.
            Err(AskFailure::Auth(_)) => {}
            Err(_silence) => return false,
        }
        true
    }

    async fn dial(&mut self) -> Result<Wire, AskFailure> {
        let Ok(_permit) = self.dials.acquire().await else {
            return Err(AskFailure::Timeout);
        };
        let credentials = self.credentials.as_deref();
        within(
            self.interval,
            Wire::dial(&self.endpoint, credentials, &mut self.random, self.interval),
        )
        .await
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
const PAUSE_MAX: Duration = Duration::from_secs(2);

const PAUSE_JITTER_PERCENT: u32 = 20;

/// Primaries that are dialled at the same time.
const DIALS_MAX: usize = 8;

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
        assert_eq!(pauses, [0, 500, 1000, 2000, 2000, 2000]);
    }
}
