//! The table of configuration keys: one row each, and everything else is derived from it: flags, variables, keys
//! of the file, defaults, help, messages and the reference in the README.
//!
//! A new setting is a row here and a field in [`super::Config`].

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use super::key::Key;
use super::key::{key, one};
use super::parse::{self, Problem};
use super::tables;
use super::url;
use super::words::{
    ANSWERS, CROSS_SLOT, LOG_FORMATS, LOG_LEVELS, READ_FROM, SWITCH, UNKNOWN_OUTCOME,
};
use super::{Logins, Users};
use crate::command::together::Rule;

/// The table, in the order of the help.
pub static KEYS: &[Key] = &[
    Key {
        value: "ADDRESS",
        about: "Where apps connect; repeatable, or a comma list. Behind an address, for it alone: `?tls=on`, `?mode=660` (of a Unix socket), `?cross-slot-transactions=split`, with `&` between them",
        default: Some("127.0.0.1:6379"),
        expected: "an IP address and a port such as 127.0.0.1:6379 or [::1]:6379, or unix:/path/to.sock",
        is_list: true,
        ..key("listen", |draft, texts| {
            let listen = texts.iter().flat_map(|text| text.split(','));
            draft.listen = listen.map(parse::listener).collect::<Result<_, _>>()?;
            Ok(())
        })
    },
    Key {
        value: "HOST:PORT,…",
        about: "Seeds of the cluster: some of its nodes, one that answers is enough",
        expected: "host:port[,host:port…], or a JSON array of \"host:port\" or {\"host\": …, \"port\": …}",
        app_name: Some("REDIS_CLUSTER_NODES"),
        is_list: true,
        table: Some(tables::node),
        is_of_upstream: true,
        is_live: true,
        ..key("cluster", |draft, texts| {
            for text in texts {
                draft.seeds.extend(parse::seeds(text, parse::DEFAULT_PORT)?);
            }
            Ok(())
        })
    },
    Key {
        value: "HOST:PORT,…",
        about: "Sentinels that know the primary: some of them, the others are learnt",
        expected: "host:port[,host:port…], or a JSON array of \"host:port\" or {\"host\": …, \"port\": …}",
        app_name: Some("REDIS_SENTINEL_HOSTS"),
        is_list: true,
        table: Some(tables::node),
        is_of_upstream: true,
        is_live: true,
        ..key("sentinel", |draft, texts| {
            for text in texts {
                let sentinels = parse::seeds(text, parse::DEFAULT_SENTINEL_PORT)?;
                draft.sentinels.extend(sentinels);
            }
            Ok(())
        })
    },
    Key {
        value: "NAME",
        about: "What the Sentinels call the primary",
        default: Some("mymaster"),
        expected: "a name without spaces",
        app_name: Some("REDIS_MASTER_NAME"),
        is_of_upstream: true,
        ..key("master-name", |draft, texts| {
            one(texts, parse::name).map(|name| draft.master_name = name)
        })
    },
    Key {
        value: "NAME",
        about: "User to log in as at the Sentinels",
        expected: "a user name without spaces",
        is_of_upstream: true,
        ..key("sentinel-username", |draft, texts| {
            one(texts, parse::username).map(|name| draft.sentinel_username = Some(name))
        })
    },
    Key {
        value: "SECRET",
        about: "Password to log in with at the Sentinels; no flag, because flags are public",
        expected: "a password",
        is_flag: false,
        is_of_upstream: true,
        ..key("sentinel-password", |draft, texts| {
            one(texts, parse::secret).map(|secret| draft.sentinel_password = Some(secret))
        })
    },
    Key {
        value: "FILE",
        about: "File with that password",
        expected: "a file that holds the password",
        instead_of: Some("sentinel-password"),
        is_of_upstream: true,
        ..key("sentinel-password-file", |draft, texts| {
            one(texts, parse::secret_file).map(|secret| draft.sentinel_password = Some(secret))
        })
    },
    Key {
        value: "URL",
        about: "One server: `redis[s]://[user:password@]host[:port][/database]`, or `unix:/path/to.sock`",
        expected: "redis[s]://[user:password@]host[:port][/database], or unix:/path/to.sock[?db=database]",
        app_name: Some("REDIS_URL"),
        is_of_upstream: true,
        ..key("upstream", |draft, texts| {
            one(texts, url::server).map(|server| draft.server = Some(server))
        })
    },
    Key {
        value: "HOST",
        about: "The host of the one server, instead of a URL",
        expected: "a host",
        app_name: Some("REDIS_HOST"),
        is_of_upstream: true,
        ..key("upstream-host", |draft, texts| {
            one(texts, |text| parse::endpoint(text, 0)).map(|host| draft.host = Some(host))
        })
    },
    Key {
        value: "PORT",
        about: "The port that belongs to this host",
        default: Some("6379"),
        expected: "a port from 1 to 65535",
        app_name: Some("REDIS_PORT"),
        is_of_upstream: true,
        ..key("upstream-port", |draft, texts| {
            one(texts, |text| parse::number(text, 1..=u16::MAX)).map(|port| draft.port = port)
        })
    },
    Key {
        value: "NAME",
        about: "User to log in as at the nodes",
        expected: "a user name without spaces",
        app_name: Some("REDIS_USERNAME"),
        is_of_upstream: true,
        ..key("username", |draft, texts| {
            one(texts, parse::username).map(|name| draft.username = Some(name))
        })
    },
    Key {
        value: "SECRET",
        about: "Password to log in with at the nodes; no flag, because flags are public",
        expected: "a password",
        app_name: Some("REDIS_PASSWORD"),
        is_flag: false,
        is_of_upstream: true,
        ..key("password", |draft, texts| {
            one(texts, parse::secret).map(|secret| draft.password = Some(secret))
        })
    },
    Key {
        value: "FILE",
        about: "File with the password; a line end at its end does not count",
        expected: "a file that holds the password",
        instead_of: Some("password"),
        is_of_upstream: true,
        ..key("password-file", |draft, texts| {
            one(texts, parse::secret_file).map(|secret| draft.password = Some(secret))
        })
    },
    Key {
        value: "SWITCH",
        about: "Whether connections to nodes are secured by TLS 1.2 or later; a `rediss://` URL says so itself",
        default: Some("off"),
        expected: "on or off",
        is_of_upstream: true,
        ..key("tls", |draft, texts| {
            one(texts, |text| parse::word(text, SWITCH)).map(|on| draft.tls = on)
        })
    },
    Key {
        value: "FILE",
        about: "Certificates (PEM) of those who sign the nodes'; else the system's",
        expected: "a PEM file",
        is_of_upstream: true,
        ..key("tls-ca", |draft, texts| {
            one(texts, path).map(|file| draft.tls_files.ca = Some(file))
        })
    },
    Key {
        value: "FILE",
        about: "Our own certificate, if nodes want one, and what stands between it and a CA (PEM)",
        expected: "a PEM file",
        is_of_upstream: true,
        ..key("tls-cert", |draft, texts| {
            one(texts, path).map(|file| draft.tls_files.cert = Some(file))
        })
    },
    Key {
        value: "FILE",
        about: "The key of that certificate (PEM)",
        expected: "a PEM file",
        is_of_upstream: true,
        ..key("tls-key", |draft, texts| {
            one(texts, path).map(|file| draft.tls_files.key = Some(file))
        })
    },
    Key {
        value: "NAME",
        about: "The name in the certificate of every node; else each has its own, as the topology calls it",
        expected: "a host name or an IP address",
        is_of_upstream: true,
        ..key("tls-server-name", |draft, texts| {
            one(texts, parse::name).map(|name| draft.tls_server_name = Some(name))
        })
    },
    Key {
        value: "SWITCH",
        about: "Whether connections to Sentinels are secured; else as those to nodes are",
        expected: "on or off",
        is_of_upstream: true,
        ..key("sentinel-tls", |draft, texts| {
            one(texts, |text| parse::word(text, SWITCH)).map(|on| draft.sentinel_tls = Some(on))
        })
    },
    Key {
        value: "FILE",
        about: "The certificate that clients are shown, and what stands between it and a CA (PEM): with it, TCP listeners speak TLS",
        expected: "a PEM file",
        ..key("listen-tls-cert", |draft, texts| {
            one(texts, path).map(|file| draft.listen_tls_files.cert = Some(file))
        })
    },
    Key {
        value: "FILE",
        about: "The key of that certificate (PEM)",
        expected: "a PEM file",
        ..key("listen-tls-key", |draft, texts| {
            one(texts, path).map(|file| draft.listen_tls_files.key = Some(file))
        })
    },
    Key {
        value: "FILE",
        about: "Clients must show a certificate that one of these (PEM) has signed",
        expected: "a PEM file",
        ..key("listen-tls-client-ca", |draft, texts| {
            one(texts, path).map(|file| draft.listen_tls_files.ca = Some(file))
        })
    },
    Key {
        value: "NAME",
        about: "What the connections to the nodes are called in their CLIENT LIST",
        default: Some("slotcar"),
        expected: "printable ASCII without spaces",
        ..key("client-name", |draft, texts| {
            one(texts, parse::name).map(|name| draft.client_name = name)
        })
    },
    Key {
        value: "N",
        about: "Threads that serve; each has connections of its own to every node",
        default: Some("1"),
        expected: "a whole number from 1 to 64",
        ..key("workers", |draft, texts| {
            one(texts, |text| parse::number(text, 1..=64)).map(|n| draft.workers = n)
        })
    },
    Key {
        value: "N",
        about: "Clients served at a time, all listeners together; further ones are told so and closed",
        default: Some("10000"),
        expected: "a whole number from 1 to 1000000",
        is_live: true,
        ..key("max-clients", |draft, texts| {
            one(texts, |text| parse::number(text, 1..=1_000_000)).map(|n| draft.clients_max = n)
        })
    },
    Key {
        value: "DURATION",
        about: "Time after which a client that asks for nothing is closed; 0 = never. Not if it waits or listens",
        default: Some("0"),
        expected: "a duration such as 300s or 5m, up to 1440m, or 0",
        is_live: true,
        ..key("client-idle-timeout", |draft, texts| {
            one(texts, |text| parse::duration(text, Duration::ZERO..=DAY))
                .map(|time| draft.client_idle_timeout = time)
        })
    },
    Key {
        value: "BYTES",
        about: "Memory that slotcar may have; when it is short, who holds much waits, then who holds most is closed. 0 = no limit. Default: 3/4 of what the control group allows, else half of the machine's",
        expected: "0, or a size from 32mb on such as 64mb or 1gb",
        is_of_process: true,
        is_live: true,
        ..key("max-memory", |draft, texts| {
            one(texts, parse::memory).map(|bytes| draft.memory_max = Some(bytes))
        })
    },
    Key {
        value: "DURATION",
        about: "How long requests wait for a shard without a usable primary before they fail",
        default: Some("15s"),
        expected: "a duration such as 15s or 500ms, up to 10m",
        is_live: true,
        ..key("failover-hold", |draft, texts| {
            one(texts, |text| {
                parse::duration(text, Duration::ZERO..=TEN_MINUTES)
            })
            .map(|time| draft.failover_hold = time)
        })
    },
    Key {
        value: "POLICY",
        about: "A write whose connection broke before its answer came: answer with an error, or close the client's connection as a dying server would",
        default: Some("error"),
        expected: "error or close",
        is_live: true,
        ..key("unknown-outcome", |draft, texts| {
            one(texts, |text| parse::word(text, UNKNOWN_OUTCOME))
                .map(|what| draft.unknown_outcome = what)
        })
    },
    Key {
        value: "PATTERN[=TAG[?SETTING=VALUE]]",
        about: "Keys that fit the pattern (as of `KEYS`) are stored with the hash tag in front and so share a slot: what one server does with several keys works with them. Repeatable; the first that fits counts; `*` is all keys of the app. Behind a tag: `?scripts=off` (scripts see the stored names of these keys and are left as they are), `?script-home=on` (scripts without keys run where these keys are), with `&` between them. In the file also as `[[keep_together]]` with `pattern`, `tag`, `scripts` and `script_home`",
        expected: "a pattern, and perhaps = and a tag of letters, digits, _, -, . and :, such as celery* or queue:*=jobs, and settings as queue:*=jobs?scripts=off",
        is_list: true,
        table: Some(tables::rule),
        ..key("keep-together", |draft, texts| {
            let rules = texts.iter().map(|text| Rule::parse(text));
            draft.keep_together = rules.collect::<Result<_, _>>()?;
            Rule::check(&draft.keep_together)
        })
    },
    Key {
        value: "COUNT",
        about: "Databases that a cluster appears to have: in another than 0 the names of keys have `@dbN:` in front. `DBSIZE`, `FLUSHDB`, `KEYS` and `SCAN` of one look at the keys of all. One server has its own, whatever is said here",
        default: Some("1"),
        expected: "a number from 1 to 1024",
        ..key("databases", |draft, texts| {
            one(texts, |text| parse::number(text, 1..=1024)).map(|count| draft.databases = count)
        })
    },
    Key {
        value: "POLICY",
        about: "A transaction with keys in several slots: refuse it, or split it into one that is atomic for each slot",
        default: Some("refuse"),
        expected: "refuse or split",
        ..key("cross-slot-transactions", |draft, texts| {
            one(texts, |text| parse::word(text, CROSS_SLOT)).map(|what| draft.cross_slot = what)
        })
    },
    Key {
        value: "SWITCH",
        about: "Whether to count what of the app's requests a cluster would refuse or serve otherwise, before one server or what Sentinels watch; a cluster with as many `databases` as are set",
        default: Some("off"),
        expected: "on or off",
        ..key("audit", |draft, texts| {
            one(texts, |text| parse::word(text, SWITCH)).map(|on| draft.audits = on)
        })
    },
    Key {
        value: "DURATION",
        about: "How often a silent node is asked whether it lives; 0 = never",
        default: Some("500ms"),
        expected: "a duration such as 500ms or 2s, up to 10m, or 0",
        ..key("probe-interval", |draft, texts| {
            one(texts, |text| {
                parse::duration(text, Duration::ZERO..=TEN_MINUTES)
            })
            .map(|time| draft.probe_interval = time)
        })
    },
    Key {
        value: "DURATION",
        about: "Once told to stop (SIGTERM, SIGINT): how long clients may take to get what they have asked for",
        default: Some("5s"),
        expected: "a duration such as 5s or 500ms, up to 10m",
        is_of_process: true,
        ..key("shutdown-grace", |draft, texts| {
            one(texts, |text| {
                parse::duration(text, Duration::ZERO..=TEN_MINUTES)
            })
            .map(|time| draft.shutdown_grace = time)
        })
    },
    Key {
        value: "FILE",
        about: "Clients must log in (AUTH, HELLO) as one of the users in this file: on each line a name and `#` with the SHA-256 of its password in hex",
        expected: "a file with lines such as `app #5e88489…`",
        ..key("users-file", |draft, texts| {
            one(texts, |text| Users::from_file(Path::new(text)))
                .map(|users| draft.logins = Logins::Listed(users))
        })
    },
    Key {
        value: "SWITCH",
        about: "Whether clients log in (AUTH, HELLO) at the nodes: their requests take connections of that user, and the nodes' ACL decides what they may",
        default: Some("off"),
        expected: "on, or a users-file, or neither",
        ..key("auth-pass-through", |draft, texts| {
            let is_on = one(texts, |text| parse::word(text, SWITCH))?;
            if is_on && draft.logins.users().is_some() {
                return Err("is on beside a users-file".to_owned());
            }
            if is_on {
                draft.logins = Logins::PassedOn;
            }
            Ok(())
        })
    },
    Key {
        value: "POLICY",
        about: "Who is asked for what only reads; the primary if nobody else can be, and the primary for what a session has just written",
        default: Some("primary"),
        expected: "primary, prefer-replica, replica, nearest or az-affinity",
        ..key("read-from", |draft, texts| {
            one(texts, |text| parse::word(text, READ_FROM)).map(|policy| draft.read_from = policy)
        })
    },
    Key {
        value: "DURATION",
        about: "How long a session reads at the primary what it has written; 0 = it may read older values at a replica",
        default: Some("1s"),
        expected: "a duration such as 1s or 500ms, up to 10m, or 0",
        is_live: true,
        ..key("read-own-writes", |draft, texts| {
            one(texts, |text| {
                parse::duration(text, Duration::ZERO..=TEN_MINUTES)
            })
            .map(|time| draft.read_own_writes = time)
        })
    },
    Key {
        value: "DURATION",
        about: "A replica that is further behind its primary is not read from",
        default: Some("10s"),
        expected: "a duration such as 10s, up to 10m",
        ..key("replica-lag-max", |draft, texts| {
            one(texts, |text| {
                parse::duration(text, Duration::ZERO..=TEN_MINUTES)
            })
            .map(|time| draft.replica_lag_max = time)
        })
    },
    Key {
        value: "NAME",
        about: "The availability zone of this machine, for az-affinity",
        expected: "printable ASCII without spaces",
        ..key("zone", |draft, texts| {
            one(texts, parse::name).map(|name| draft.zone = Some(name))
        })
    },
    Key {
        value: "HOST=ZONE,…",
        about: "Zones of nodes that do not say theirs (Valkey 8 and later do: `availability-zone`)",
        expected: "host=zone[,host=zone…]",
        is_list: true,
        ..key("node-zones", |draft, texts| {
            let pairs = texts.iter().flat_map(|text| text.split(','));
            draft.node_zones = pairs.map(parse::zone).collect::<Result<_, _>>()?;
            Ok(())
        })
    },
    Key {
        value: "COMMAND,…",
        about: "Commands that clients may not use: names, `config|set` for one of several, or ACL categories such as `@dangerous`",
        expected: "commands such as flushall or config|set, or ACL categories such as @dangerous, with commas between them",
        is_list: true,
        ..key("deny", |draft, texts| {
            draft.denied = parse::patterns(texts)?;
            Ok(())
        })
    },
    Key {
        value: "COMMAND,…",
        about: "Commands that clients may use although they are denied, or refused to all because they would hurt a node (`debug`, `migrate`, `shutdown`, …)",
        expected: "commands such as debug or migrate, or ACL categories, with commas between them",
        is_list: true,
        ..key("allow", |draft, texts| {
            draft.allowed = parse::patterns(texts)?;
            Ok(())
        })
    },
    Key {
        value: "SWITCH",
        about: "Whether whatever may write is refused, scripts that do not promise to read only included",
        default: Some("off"),
        expected: "on or off",
        ..key("read-only", |draft, texts| {
            one(texts, |text| parse::word(text, SWITCH)).map(|on| draft.reads_only = on)
        })
    },
    Key {
        value: "ANSWER",
        about: "Whether to refuse to listen where others can reach slotcar and nothing is asked of them: on an address that is not the loopback's, without TLS",
        default: Some("yes"),
        expected: "yes or no",
        ..key("protected-mode", |draft, texts| {
            one(texts, |text| parse::word(text, ANSWERS)).map(|yes| draft.protected = yes)
        })
    },
    Key {
        value: "ADDRESS",
        about: "Where health, metrics and the status page are served (HTTP), such as 127.0.0.1:9621, or off. From elsewhere than this machine only probes and metrics may be asked for",
        default: Some("off"),
        expected: "an IP address and a port such as 127.0.0.1:9621, or off",
        is_of_process: true,
        ..key("admin", |draft, texts| {
            one(texts, parse::admin).map(|address| draft.admin = address)
        })
    },
    Key {
        value: "DURATION",
        about: "How often each node is asked how it is (`INFO`), for metrics; 0 = never. Only with admin",
        default: Some("30s"),
        expected: "a duration from 1s to 10m, or 0",
        ..key("node-info-interval", |draft, texts| {
            one(texts, |text| {
                parse::off_or_duration(text, Duration::from_secs(1)..=TEN_MINUTES)
            })
            .map(|time| draft.node_info_interval = time)
        })
    },
    Key {
        value: "DURATION",
        about: "Requests that take longer are remembered, with where the time went; 0 = none",
        default: Some("10ms"),
        expected: "a duration such as 10ms or 1s, up to 10m, or 0",
        is_live: true,
        ..key("slow-log-threshold", |draft, texts| {
            one(texts, |text| {
                parse::duration(text, Duration::ZERO..=TEN_MINUTES)
            })
            .map(|time| draft.slow_log_threshold = time)
        })
    },
    Key {
        value: "N",
        about: "One of N requests is looked at for hot keys, large values and the time by command; 0 = none",
        default: Some("128"),
        expected: "a whole number from 0 to 1000000",
        is_live: true,
        ..key("sample-every", |draft, texts| {
            one(texts, |text| parse::number(text, 0..=1_000_000)).map(|n| draft.sample_every = n)
        })
    },
    Key {
        value: "LEVEL",
        about: "What is logged (to standard error): error, warn, info, debug or trace",
        default: Some("info"),
        expected: "error, warn, info, debug or trace",
        is_of_process: true,
        is_live: true,
        ..key("log-level", |draft, texts| {
            one(texts, |text| parse::word(text, LOG_LEVELS)).map(|level| draft.log_level = level)
        })
    },
    Key {
        value: "FORMAT",
        about: "How it is logged: human, or json: one object a line",
        default: Some("human"),
        expected: "human or json",
        is_of_process: true,
        ..key("log-format", |draft, texts| {
            one(texts, |text| parse::word(text, LOG_FORMATS))
                .map(|format| draft.log_format = format)
        })
    },
    Key {
        value: "FILE",
        about: "Configuration file (TOML) with the keys of this table",
        expected: "a TOML file",
        is_in_file: false,
        is_of_process: true,
        ..key("config", |draft, texts| {
            one(texts, |text| Ok(PathBuf::from(text))).map(|path| draft.file = Some(path))
        })
    },
];

#[expect(clippy::unnecessary_wraps, reason = "as the other readers")]
fn path(text: &str) -> Result<PathBuf, Problem> {
    Ok(PathBuf::from(text))
}

const TEN_MINUTES: Duration = Duration::from_secs(600);
const DAY: Duration = Duration::from_secs(24 * 3600);
#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::config::draft::Draft;

    #[test]
    fn every_row_is_complete_and_its_default_is_valid() {
        let mut names = HashSet::new();
        for key in KEYS {
            assert!(names.insert(key.name), "{} twice", key.name);
            assert!(
                !key.value.is_empty() && !key.about.is_empty(),
                "{}",
                key.name
            );
            assert!(!key.expected.is_empty(), "{}", key.name);
            if let Some(default) = key.default {
                let applied = (key.apply)(&mut Draft::default(), &[default.to_owned()]);
                assert_eq!(applied, Ok(()), "{}", key.name);
            }
        }
        assert!(KEYS.iter().all(|key| names.contains(key.target())));
    }

    #[test]
    fn a_key_that_is_no_list_is_given_once() {
        for key in KEYS.iter().filter(|key| !key.is_list) {
            let twice = (key.apply)(&mut Draft::default(), &["1".to_owned(), "2".to_owned()]);
            assert_eq!(twice, Err("is given 2 times".to_owned()), "{}", key.name);
        }
    }
}
