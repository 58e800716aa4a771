//! Decides which of the values given for a key counts, applies it, and checks that all of them fit together.

use std::net::IpAddr;
use std::sync::Arc;

use super::draft::{Draft, FilesDraft, Given};
use super::file::{self, LISTENER, Own};
use super::key::Key;
use super::keys::KEYS;
use super::mistake::{Mistake, Origin};
use super::parse::ListenerDraft;
use super::{
    Config, ConfigError, Credentials, Environment, Flags, Limits, Listener, Logins, Said, Secret,
    Upstream,
};
use crate::command::rules::Rules;
use crate::net::{ClientTls, ListenAddr, ServerTls, TlsFiles};
use crate::topology::Endpoint;

/// Resolves everything that was given into one configuration.
///
/// # Errors
/// Every mistake that was found.
pub fn resolve(flags: &Flags, environment: &Environment) -> Result<Config, ConfigError> {
    All::of(flags, environment).finish()
}

/// The configuration, and those of the listeners that have their own.
pub(super) struct All {
    pub(super) main: Resolving,
    pub(super) listeners: Vec<Resolving>,
}

impl All {
    pub(super) fn of(flags: &Flags, environment: &Environment) -> Self {
        let mut main = Resolving::default();
        main.apply_defaults();
        let own = main.gather(flags, environment);
        let all_given = main.given.clone();
        main.decide();
        let listeners = own.into_iter().map(|own| Resolving::own(own, &all_given));
        Self {
            listeners: listeners.collect(),
            main,
        }
    }

    pub(super) fn finish(mut self) -> Result<Config, ConfigError> {
        self.check_addresses();
        let mut mistakes = std::mem::take(&mut self.main.mistakes);
        for listener in &mut self.listeners {
            for mistake in std::mem::take(&mut listener.mistakes) {
                // What is wrong for all is told once.
                if !mistakes.contains(&mistake) {
                    mistakes.push(mistake);
                }
            }
        }
        if !mistakes.is_empty() {
            return Err(ConfigError(mistakes));
        }
        let others = self.listeners.into_iter().map(Resolving::finish);
        Ok(Config {
            others: others.collect(),
            ..self.main.finish()
        })
    }

    /// Nobody can listen where somebody else does.
    fn check_addresses(&mut self) {
        let mut seen: Vec<ListenAddr> = Vec::new();
        for one in std::iter::once(&mut self.main).chain(&mut self.listeners) {
            let listen: Vec<ListenAddr> = one
                .draft
                .listen
                .iter()
                .map(|listener| listener.address.clone())
                .collect();
            for address in listen {
                let is_any_port = matches!(address, ListenAddr::Tcp(at) if at.port() == 0);
                if seen.contains(&address) && !is_any_port {
                    let problem =
                        format!("names {address} a second time; expected each address once");
                    one.reject_at("listen", problem);
                }
                seen.push(address);
            }
        }
    }
}

#[derive(Default)]
pub(super) struct Resolving {
    /// From all sources, those first that win.
    given: Vec<Given>,
    draft: Draft,
    mistakes: Vec<Mistake>,
    /// The key that says what stands behind.
    upstream: Option<&'static str>,
    tls: Option<ClientTls>,
    sentinel_tls: Option<ClientTls>,
    listen_tls: Option<ServerTls>,
}

impl Resolving {
    /// The configuration of a listener that has its own: what it does not say itself is as for all others, but for addresses,
    /// and, if it names an upstream, for what was said of another one.
    fn own(own: Own, all: &[Given]) -> Self {
        let mut one = Self::default();
        one.apply_defaults();
        let names_upstream =
            (own.given.iter()).any(|given| UPSTREAMS.contains(&given.key.target()));
        let is_inherited = |given: &&Given| {
            let is_not = given.key.name == "listen" || given.key.is_of_upstream && names_upstream;
            !is_not
        };
        one.given = own.given;
        one.given.extend(all.iter().filter(is_inherited).cloned());
        let has_address = one.given_for("listen").is_some();
        if !has_address {
            one.mistakes.push(Mistake {
                key: LISTENER.to_owned(),
                origin: Some(own.origin),
                problem: "has no listen; expected the address for which the other keys are"
                    .to_owned(),
            });
        }
        one.decide();
        if !has_address {
            one.draft.listen.clear();
        }
        one
    }

    fn decide(&mut self) {
        self.apply_winners();
        self.check_usernames();
        self.choose_upstream();
        self.make_tls();
        self.check_protection();
        self.check_audit();
    }

    fn apply_defaults(&mut self) {
        for key in KEYS {
            if let Some(default) = key.default {
                let applied = (key.apply)(&mut self.draft, &[default.to_owned()]);
                debug_assert_eq!(applied, Ok(()), "{}", key.name);
            }
        }
    }

    /// Returns what listeners have for themselves.
    fn gather(&mut self, flags: &Flags, environment: &Environment) -> Vec<Own> {
        let mut listeners = Vec::new();
        self.given.extend(flags.0.iter().cloned());
        self.given.extend(environment.own(&mut self.mistakes));
        let config = self.given_for("config").cloned();
        if let Some(config) = config {
            self.apply(&config);
            if let Some(path) = self.draft.file.clone() {
                let said = file::read(&path, config.origin, &mut self.mistakes);
                self.given.extend(said.given);
                listeners = said.listeners;
            }
        }
        self.given.extend(environment.app(&mut self.mistakes));
        listeners
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
    fn check_usernames(&mut self) {
        for (user, password) in [
            ("username", "password"),
            ("sentinel-username", "sentinel-password"),
        ] {
            let given = self.given_for(user);
            if let Some(username) = given.filter(|_| self.given_for(password).is_none()) {
                let (key, origin) = (username.key, username.origin.clone());
                let problem =
                    format!("has no password beside it; expected one, or a {password}-file");
                self.reject(key, Some(origin), problem);
            }
        }
    }

    /// What stands behind: the kind that was named in the place that wins. Two in one place are a mistake, but for the variables
    /// of apps, which ask for one after the other.
    fn choose_upstream(&mut self) {
        let named = UPSTREAMS
            .iter()
            .filter_map(|name| self.given_for(name).map(|given| (*name, given)));
        let mut named: Vec<_> = named.collect();
        named.sort_by_key(|(_, given)| given.origin.rank());
        let second = named.get(1).map(|(_, given)| (*given).clone());
        let Some((name, given)) = named.first().map(|(name, given)| (*name, (*given).clone()))
        else {
            let is_hidden = |mistake: &Mistake| HIDING.contains(&mistake.key.as_str());
            if !self.mistakes.iter().any(is_hidden) {
                self.mistakes.push(Mistake {
                    key: "cluster".to_owned(),
                    origin: None,
                    problem: format!("is not set, nor is any other upstream; looked for {PLACES}"),
                });
            }
            return;
        };
        let is_app = matches!(given.origin, Origin::AppName(_));
        if let Some(second) = second.filter(|second| second.origin.rivals(&given.origin) && !is_app)
        {
            let problem = format!(
                "is given beside {} ({}); expected one of them",
                second.key.name, second.origin
            );
            return self.reject(given.key, Some(given.origin), problem);
        }
        self.upstream = Some(name);
        let url = self.draft.server.as_ref();
        let has_password = url.is_some_and(|url| url.password.is_some());
        if name == "upstream" && has_password && matches!(given.origin, Origin::Flag(_)) {
            let problem = "has a password in it, and everybody can see the flags of a process; expected it in a variable, in the file or in a password-file";
            return self.reject(given.key, Some(given.origin), problem.to_owned());
        }
        if let Some(server) = self.server()
            && let Some(listener) =
                (self.draft.listen.iter()).find(|listener| is_at(&listener.address, &server))
        {
            let problem = format!(
                "is where slotcar itself listens ({}); expected another --listen",
                listener.address
            );
            self.reject(given.key, Some(given.origin), problem);
        }
    }

    /// The one server, if it is one.
    fn server(&self) -> Option<Endpoint> {
        match self.upstream {
            Some("upstream") => self.draft.server.as_ref().map(|url| url.endpoint.clone()),
            Some("upstream-host") => self.draft.host.as_ref().map(|host| Endpoint {
                host: host.host.clone(),
                port: if host.port == 0 {
                    self.draft.port
                } else {
                    host.port
                },
            }),
            Some(_) | None => None,
        }
    }

    /// Reads the files of TLS, where it is wanted.
    fn make_tls(&mut self) {
        let url = self.draft.server.as_ref();
        let url = url.filter(|_| self.upstream == Some("upstream"));
        let to_nodes = self.draft.tls || url.is_some_and(|url| url.tls);
        let to_sentinels = self.draft.sentinel_tls.unwrap_or(to_nodes);
        if (to_nodes || to_sentinels)
            && let Some(files) = self.files("tls", |draft| &draft.tls_files)
        {
            match ClientTls::new(files, self.draft.tls_server_name.as_deref()) {
                Ok(tls) => {
                    self.tls = Some(tls.clone()).filter(|_| to_nodes);
                    self.sentinel_tls = Some(tls).filter(|_| to_sentinels);
                }
                Err(problem) => self.reject_at("tls", problem),
            }
        }
        let wanted = |listener: &ListenerDraft| listener.tls == Some(true);
        let named = ["listen-tls-cert", "listen-tls-key", "listen-tls-client-ca"];
        let is_named = named.iter().any(|name| self.given_for(name).is_some());
        if (is_named || self.draft.listen.iter().any(wanted))
            && let Some(files) = self.files("listen-tls", |draft| &draft.listen_tls_files)
        {
            match ServerTls::new(files) {
                Ok(tls) => self.listen_tls = Some(tls),
                Err(problem) => self.reject_at("listen-tls-cert", problem),
            }
        }
    }

    /// Nobody whom nothing is asked of may reach us, unless that is wanted.
    fn check_protection(&mut self) {
        let asks = !matches!(self.draft.logins, Logins::Anybody);
        if !self.draft.protected || asks {
            return;
        }
        let is_open = |listener: &&ListenerDraft| match listener.address {
            ListenAddr::Unix(_) => false,
            ListenAddr::Tcp(address) => {
                let is_secured = self.listen_tls.is_some() && listener.tls != Some(false);
                !address.ip().is_loopback() && !is_secured
            }
        };
        if let Some(open) = self.draft.listen.iter().find(is_open) {
            let problem = format!(
                "{} can be reached by others, and nothing is asked of them; expected an address of the loopback, listen-tls-cert, a users-file, auth-pass-through on, or protected-mode no",
                open.address
            );
            self.reject_at("listen", problem);
        }
    }

    /// A cluster does not have to be asked what one would refuse.
    fn check_audit(&mut self) {
        if self.draft.audits && self.upstream == Some("cluster") {
            let problem = "is on before a cluster, which refuses by itself what it does not serve; expected one server (upstream, upstream-host) or sentinel, or off";
            self.reject_at("audit", problem.to_owned());
        }
    }

    /// The files of one side. None: a certificate without its key, or the other way round, and that has been told.
    fn files(&mut self, side: &str, of: fn(&Draft) -> &FilesDraft) -> Option<TlsFiles> {
        let files = of(&self.draft);
        let ca = files.ca.clone();
        let (given, missing) = match (&files.cert, &files.key) {
            (Some(cert), Some(key)) => {
                let own = Some((cert.clone(), key.clone()));
                return Some(TlsFiles { ca, own });
            }
            (None, None) => return Some(TlsFiles { ca, own: None }),
            (Some(_), None) => ("cert", "key"),
            (None, Some(_)) => ("key", "cert"),
        };
        let problem = format!("has no {side}-{missing} beside it; expected both");
        self.reject_at(&format!("{side}-{given}"), problem);
        None
    }

    fn reject_at(&mut self, name: &str, problem: String) {
        let origin = self.given_for(name).map(|given| given.origin.clone());
        self.mistakes.push(Mistake {
            key: name.to_owned(),
            origin,
            problem,
        });
    }

    /// There are no mistakes.
    fn finish(self) -> Config {
        let said = Said::of(&self.given);
        let server = self.server();
        let mut draft = self.draft;
        let (upstream, credentials) = what_stands_behind(&mut draft, self.upstream, server);
        Config {
            others: Vec::new(),
            file: draft.file,
            said,
            listeners: draft
                .listen
                .into_iter()
                .map(|listener| Listener {
                    tls: self.listen_tls.clone().filter(|_| {
                        let is_tcp = matches!(listener.address, ListenAddr::Tcp(_));
                        is_tcp && listener.tls.unwrap_or(true)
                    }),
                    mode: listener.mode,
                    address: listener.address,
                    cross_slot_transactions: listener.cross_slot.unwrap_or(draft.cross_slot),
                })
                .collect(),
            upstream,
            tls: self.tls,
            sentinel_tls: self.sentinel_tls,
            credentials,
            client_name: draft.client_name,
            workers: draft.workers,
            clients_max: draft.clients_max,
            client_idle_timeout: Some(draft.client_idle_timeout).filter(|time| !time.is_zero()),
            failover_hold: draft.failover_hold,
            memory_max: draft.memory_max,
            unknown_outcome: draft.unknown_outcome,
            probe_interval: Some(draft.probe_interval).filter(|interval| !interval.is_zero()),
            shutdown_grace: draft.shutdown_grace,
            logins: draft.logins,
            keep_together: draft.keep_together,
            databases: draft.databases,
            audits: draft.audits,
            read_from: draft.read_from,
            read_own_writes: draft.read_own_writes,
            replica_lag_max: draft.replica_lag_max,
            zone: draft.zone,
            node_zones: draft.node_zones,
            rules: Arc::new(Rules {
                denied: draft.denied,
                allowed: draft.allowed,
                reads_only: draft.reads_only,
            }),
            log_level: draft.log_level,
            log_format: draft.log_format,
            admin: draft.admin,
            node_info_interval: Some(draft.node_info_interval).filter(|time| !time.is_zero()),
            slow_log_threshold: Some(draft.slow_log_threshold).filter(|time| !time.is_zero()),
            sample_every: draft.sample_every,
            limits: Limits::default(),
        }
    }

    /// What counts for `target`, however it was given.
    pub(super) fn given_for(&self, target: &str) -> Option<&Given> {
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

/// The upstream, and how to log in at its nodes.
fn what_stands_behind(
    draft: &mut Draft,
    named: Option<&str>,
    server: Option<Endpoint>,
) -> (Upstream, Option<Credentials>) {
    let log_in = |password: &mut Option<Secret>, username: &mut Option<String>| {
        let username = username.take();
        let password = password.take()?;
        Some(Credentials { username, password })
    };
    let mut credentials = log_in(&mut draft.password, &mut draft.username);
    let upstream = match (named, server) {
        (Some("sentinel"), _) => Upstream::Sentinel {
            sentinels: none_twice(std::mem::take(&mut draft.sentinels)),
            master_name: std::mem::take(&mut draft.master_name),
            credentials: log_in(&mut draft.sentinel_password, &mut draft.sentinel_username),
        },
        (Some("upstream"), Some(endpoint)) => {
            let url = draft.server.take();
            let database = url.as_ref().map_or(0, |url| url.database);
            // What the URL says of itself is meant for its server.
            if let Some((username, password)) =
                url.and_then(|url| Some((url.username, url.password?)))
            {
                credentials = Some(Credentials { username, password });
            }
            Upstream::Server { endpoint, database }
        }
        (_, Some(endpoint)) => Upstream::Server {
            endpoint,
            database: 0,
        },
        (_, None) => Upstream::Cluster {
            seeds: none_twice(std::mem::take(&mut draft.seeds)),
        },
    };
    (upstream, credentials)
}

fn none_twice(endpoints: Vec<Endpoint>) -> Vec<Endpoint> {
    let mut seen = Vec::with_capacity(endpoints.len());
    for endpoint in endpoints {
        if !seen.contains(&endpoint) {
            seen.push(endpoint);
        }
    }
    seen
}

/// Whether connecting to `server` would be connecting to ourselves.
fn is_at(listen: &ListenAddr, server: &Endpoint) -> bool {
    match listen {
        ListenAddr::Unix(path) => path.to_str() == Some(&*server.host),
        ListenAddr::Tcp(address) => {
            let named = match server.host.parse::<IpAddr>() {
                Ok(ip) => ip == address.ip(),
                Err(_) => &*server.host == "localhost" && address.ip().is_loopback(),
            };
            named && server.port == address.port()
        }
    }
}

/// The keys that say what stands behind, in the order in which apps ask for their variables.
const UPSTREAMS: &[&str] = &["cluster", "sentinel", "upstream", "upstream-host"];
/// Where that can be said.
const PLACES: &str = "--cluster, --sentinel and --upstream, the variables and keys of the same names, REDIS_CLUSTER_NODES, REDIS_SENTINEL_HOSTS, REDIS_URL and REDIS_HOST";
/// Mistakes in or about a whole file, which may have hidden the upstream.
const HIDING: &[&str] = &["syntax", "config"];
