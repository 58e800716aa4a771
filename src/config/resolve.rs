//! Decides which of the values given for a key counts, applies it, and checks that all of them fit together.

use super::file;
use super::keys::{Draft, Given, KEYS, Key};
use super::mistake::{Mistake, Origin};
use super::{Config, ConfigError, Credentials, Environment, Flags, Limits, Listener, Upstream};

/// Resolves everything that was given into one configuration.
///
/// # Errors
/// Every mistake that was found.
pub fn resolve(flags: &Flags, environment: &Environment) -> Result<Config, ConfigError> {
    let mut resolving = Resolving::default();
    resolving.apply_defaults();
    resolving.gather(flags, environment);
    resolving.apply_winners();
    resolving.check_username();
    resolving.check_upstream(environment);
    resolving.finish()
}

#[derive(Default)]
struct Resolving {
    /// From all sources, those first that win.
    given: Vec<Given>,
    draft: Draft,
    mistakes: Vec<Mistake>,
}

impl Resolving {
    fn apply_defaults(&mut self) {
        for key in KEYS {
            if let Some(default) = key.default {
                let applied = (key.apply)(&mut self.draft, &[default.to_owned()]);
                debug_assert_eq!(applied, Ok(()), "{}", key.name);
            }
        }
    }

    fn gather(&mut self, flags: &Flags, environment: &Environment) {
        self.given.extend(flags.0.iter().cloned());
        self.given.extend(environment.own(&mut self.mistakes));
        let config = self.given_for("config").cloned();
        if let Some(config) = config {
            self.apply(&config);
            if let Some(path) = self.draft.file.take() {
                let read = file::read(&path, config.origin, &mut self.mistakes);
                self.given.extend(read);
            }
        }
        self.given.extend(environment.app(&mut self.mistakes));
    }

    fn apply_winners(&mut self) {
        for target in KEYS.iter().filter(|key| key.instead_of.is_none()) {
            let mut candidates = self
                .given
                .iter()
                .filter(|given| given.key.target() == target.name);
            let Some(winner) = candidates.next().cloned() else {
                continue;
            };
            match candidates
                .next()
                .filter(|second| second.origin.rivals(&winner.origin))
            {
                Some(rival) => {
                    let problem = format!(
                        "is given beside {} ({}); expected one of them",
                        rival.key.name, rival.origin
                    );
                    self.reject(winner.key, Some(winner.origin), problem);
                }
                None => self.apply(&winner),
            }
        }
    }

    /// `AUTH` takes a password alone, but no user alone.
    fn check_username(&mut self) {
        let given = self.given_for("username");
        if let Some(username) = given.filter(|_| self.given_for("password").is_none()) {
            let (key, origin) = (username.key, username.origin.clone());
            self.reject(
                key,
                Some(origin),
                "has no password beside it; expected one, or a password-file".to_owned(),
            );
        }
    }

    fn check_upstream(&mut self, environment: &Environment) {
        let may_be_hidden = self
            .mistakes
            .iter()
            .any(|mistake| HIDING.contains(&mistake.key.as_str()));
        if self.given_for("cluster").is_some() || may_be_hidden {
            return;
        }
        let other = OTHER_UPSTREAMS
            .iter()
            .find(|(name, _)| environment.has(name));
        let (origin, problem) = match other {
            Some((name, what)) => (
                Some(Origin::AppName(name)),
                format!(
                    "is not set, and this names {what}, but this version serves clusters only; expected {PLACES}"
                ),
            ),
            None => {
                let others: Vec<_> = OTHER_UPSTREAMS.iter().map(|(name, _)| *name).collect();
                let others = others.join(", ");
                (
                    None,
                    format!(
                        "is not set, nor is any other upstream; looked for {PLACES}; then for {others}"
                    ),
                )
            }
        };
        self.mistakes.push(Mistake {
            key: "cluster".to_owned(),
            origin,
            problem,
        });
    }

    fn finish(self) -> Result<Config, ConfigError> {
        if !self.mistakes.is_empty() {
            return Err(ConfigError(self.mistakes));
        }
        let draft = self.draft;
        let username = draft.username;
        let mut seeds = Vec::with_capacity(draft.seeds.len());
        for seed in draft.seeds {
            if !seeds.contains(&seed) {
                seeds.push(seed);
            }
        }
        Ok(Config {
            listeners: draft
                .listen
                .into_iter()
                .map(|(address, cross_slot)| Listener {
                    address,
                    cross_slot_transactions: cross_slot.unwrap_or(draft.cross_slot),
                })
                .collect(),
            upstream: Upstream::Cluster { seeds },
            credentials: draft
                .password
                .map(|password| Credentials { username, password }),
            client_name: draft.client_name,
            workers: draft.workers,
            clients_max: draft.clients_max,
            client_idle_timeout: Some(draft.client_idle_timeout).filter(|time| !time.is_zero()),
            failover_hold: draft.failover_hold,
            memory_max: draft.memory_max,
            unknown_outcome: draft.unknown_outcome,
            probe_interval: Some(draft.probe_interval).filter(|interval| !interval.is_zero()),
            shutdown_grace: draft.shutdown_grace,
            log_level: draft.log_level,
            log_format: draft.log_format,
            limits: Limits::default(),
        })
    }

    /// What counts for `target`, however it was given.
    fn given_for(&self, target: &str) -> Option<&Given> {
        self.given.iter().find(|given| given.key.target() == target)
    }

    fn apply(&mut self, given: &Given) {
        if let Err(problem) = (given.key.apply)(&mut self.draft, &given.values) {
            let problem = format!("{problem}; expected {}", given.key.expected);
            self.reject(given.key, Some(given.origin.clone()), problem);
        }
    }

    fn reject(&mut self, key: &Key, origin: Option<Origin>, problem: String) {
        self.mistakes.push(Mistake {
            key: key.name.to_owned(),
            origin,
            problem,
        });
    }
}

/// Where the seeds of a cluster can be given.
const PLACES: &str = "--cluster, SLOTCAR_CLUSTER, cluster in the file, or REDIS_CLUSTER_NODES";
/// Variables of apps that name an upstream of another kind, in the order in which apps ask for them.
const OTHER_UPSTREAMS: &[(&str, &str)] = &[
    ("REDIS_SENTINEL_HOSTS", "Sentinels"),
    ("REDIS_URL", "one server"),
    ("REDIS_HOST", "one server"),
];
/// Mistakes in or about a whole file, which may have hidden the upstream.
const HIDING: &[&str] = &["syntax", "config"];
