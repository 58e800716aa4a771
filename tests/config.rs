//! The configuration as an operator meets it: what wins, what every mistake is told as, and that no secret is shown.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use clap::Parser;
use slotcar::config::{
    CommandLine, Config, CrossSlot, Environment, Flags, ReadFrom, Upstream, resolve, show,
};

const SECRET: &str = "hunter2-\u{e9}";

/// One way to configure: flags, variables (`NAME=value`) and the text of a file. `{folder}` is a folder with `secret`,
/// `empty` and `users` in it.
#[derive(Default)]
struct Setup<'a> {
    flags: &'a str,
    variables: &'a [&'a str],
    file: &'a str,
}

impl Setup<'_> {
    fn resolve(&self) -> Result<Config, String> {
        self.with(|flags, environment| {
            resolve(flags, environment).map_err(|error| error.to_string())
        })
    }

    /// What is made of it; paths are shown as they were given.
    fn with<T: Shown>(&self, make: impl FnOnce(&Flags, &Environment) -> T) -> T {
        let folder = Folder::new();
        fs::write(folder.0.join("secret"), format!("{SECRET}\r\n")).unwrap();
        fs::write(folder.0.join("empty"), "\n").unwrap();
        fs::write(folder.0.join("users"), format!("app #{}\n", "0".repeat(64))).unwrap();
        let here = |text: &str| text.replace("{folder}", folder.0.to_str().unwrap());
        let mut line = vec!["slotcar".to_owned()];
        line.extend(here(self.flags).split_whitespace().map(str::to_owned));
        if !self.file.is_empty() {
            let path = folder.0.join("slotcar.toml");
            fs::write(&path, here(self.file)).unwrap();
            line.extend(["--config".to_owned(), path.to_str().unwrap().to_owned()]);
        }
        let line = CommandLine::try_parse_from(line).unwrap();
        let variables = self.variables.iter().map(|variable| {
            let (name, value) = variable.split_once('=').unwrap();
            (name.to_owned(), here(value))
        });
        let made = make(&line.flags, &Environment::from_iter(variables));
        made.with_text(|text| text.replace(folder.0.to_str().unwrap(), "{folder}"))
    }
}

/// What has a text in it.
trait Shown {
    fn with_text(self, change: impl FnOnce(String) -> String) -> Self;
}

impl Shown for String {
    fn with_text(self, change: impl FnOnce(String) -> String) -> Self {
        change(self)
    }
}

impl Shown for Result<Config, String> {
    fn with_text(self, change: impl FnOnce(String) -> String) -> Self {
        self.map_err(change)
    }
}

/// A folder of its own for one test, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("slotcar-config-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

static COUNT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

fn seeds(config: &Config) -> String {
    let Upstream::Cluster { seeds } = &config.upstream else {
        panic!("{}", config.upstream);
    };
    let seeds: Vec<String> = seeds.iter().map(ToString::to_string).collect();
    seeds.join(" ")
}

fn listeners(config: &Config) -> String {
    let listeners = config
        .listeners
        .iter()
        .map(|listener| listener.address.to_string());
    listeners.collect::<Vec<_>>().join(" ")
}

fn password(config: &Config) -> Option<String> {
    let credentials = config.credentials.as_ref();
    let password = credentials.map(|credentials| credentials.password.expose());
    password.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
}

#[test]
fn the_cluster_variables_of_an_app_work_without_any_flag() {
    let config = Setup {
        variables: &[
            r#"REDIS_CLUSTER_NODES=["redis-node-1:6379","redis-node-2:6379","redis-node-3:6379"]"#,
            "REDIS_PASSWORD=yourpassword",
        ],
        ..Setup::default()
    }
    .resolve()
    .unwrap();
    assert_eq!(
        seeds(&config),
        "redis-node-1:6379 redis-node-2:6379 redis-node-3:6379"
    );
    assert_eq!(password(&config).as_deref(), Some("yourpassword"));
    assert_eq!(config.credentials.unwrap().username, None);
}

/// The blocks of variables that apps have, whatever stands behind; the listener is elsewhere, because one of them names
/// `localhost:6379`.
#[test]
fn the_variables_of_an_app_name_what_stands_behind_in_the_order_in_which_apps_look() {
    let of_sentinels =
        r#"REDIS_SENTINEL_HOSTS=[{"host":"sentinel-1","port":26379},{"host":"sentinel-2"}]"#;
    for (variables, expected, password) in [
        (
            &["REDIS_URL=redis://localhost:6379"][..],
            "server localhost:6379",
            None,
        ),
        (
            &[
                "REDIS_HOST=localhost",
                "REDIS_PORT=6379",
                "REDIS_PASSWORD=yourpassword",
            ],
            "server localhost:6379",
            Some("yourpassword"),
        ),
        (
            &["REDIS_HOST=redis", "REDIS_PORT=7000", "REDIS_URL="],
            "server redis:7000",
            None,
        ),
        (
            &[
                of_sentinels,
                "REDIS_MASTER_NAME=main",
                "REDIS_PASSWORD=yourpassword",
            ],
            "main of the Sentinels sentinel-1:26379 sentinel-2:26379",
            Some("yourpassword"),
        ),
        (
            &[of_sentinels, "REDIS_URL=redis://localhost"],
            "mymaster of the Sentinels sentinel-1:26379 sentinel-2:26379",
            None,
        ),
        (
            &[of_sentinels, "REDIS_CLUSTER_NODES=a:1"],
            "cluster a:1",
            None,
        ),
        (
            &[
                "REDIS_URL=redis://:of-the-url@h/2",
                "REDIS_HOST=other",
                "REDIS_PASSWORD=yourpassword",
            ],
            "server h:6379, database 2",
            Some("of-the-url"),
        ),
        (
            &["SLOTCAR_SENTINEL=s", "REDIS_CLUSTER_NODES=a:1"],
            "mymaster of the Sentinels s:26379",
            None,
        ),
    ] {
        let config = Setup {
            flags: "--listen 127.0.0.1:7777",
            variables,
            ..Setup::default()
        }
        .resolve()
        .unwrap();
        assert_eq!(config.upstream.to_string(), expected);
        assert_eq!(password, self::password(&config).as_deref());
    }
}

#[test]
fn defaults_are_those_of_the_table() {
    let config = Setup {
        flags: "--cluster a",
        ..Setup::default()
    }
    .resolve()
    .unwrap();
    assert_eq!(listeners(&config), "127.0.0.1:6379");
    assert_eq!(seeds(&config), "a:6379");
    assert!(config.credentials.is_none());
    assert_eq!((config.workers, config.clients_max), (1, 10_000));
    assert_eq!(config.failover_hold, Duration::from_secs(15));
    assert_eq!(config.probe_interval, Some(Duration::from_millis(500)));
    assert_eq!(config.client_idle_timeout, None);
    assert_eq!(config.shutdown_grace, Duration::from_secs(5));
    assert_eq!(config.client_name, "slotcar");
    assert_eq!(config.log_level.to_string(), "info");
}

#[test]
fn flags_win_over_variables_over_the_file_over_the_names_of_apps() {
    const FILE: &str = "cluster = 'file:3'\nworkers = 3\nfailover-hold = '3s'";
    let cases = [
        (
            "--cluster flag:1 --workers 1",
            "SLOTCAR_CLUSTER=own:2",
            FILE,
            "flag:1 1 3s",
        ),
        ("", "SLOTCAR_CLUSTER=own:2", FILE, "own:2 3 3s"),
        ("", "SLOTCAR_WORKERS=2", FILE, "file:3 2 3s"),
        ("", "SLOTCAR_FAILOVER_HOLD=", FILE, "file:3 3 3s"),
        ("", "X=", "failover-hold = '0'", "app:4 1 0ns"),
        ("", "X=", "", "app:4 1 15s"),
    ];
    for (flags, variable, file, expected) in cases {
        let variables = &[variable, "REDIS_CLUSTER_NODES=app:4"];
        let config = Setup {
            flags,
            variables,
            file,
        }
        .resolve()
        .unwrap();
        let got = format!(
            "{} {} {:?}",
            seeds(&config),
            config.workers,
            config.failover_hold
        );
        assert_eq!(got, expected, "{flags} {variable} {file}");
    }
}

#[test]
fn the_file_takes_lists_numbers_and_tables() {
    let config = Setup {
        file: "# a comment\n\
               listen = ['127.0.0.1:0', 'unix:/run/redis.sock']\n\
               cluster = ['a:1', { host = '::1', port = 2 }, { host = 'b', port = '3' }, { host = 'c' }, 'a:1']\n\
               username = 'app'\n\
               password-file = '{folder}/secret'\n\
               max-clients = 1_000\n\
               client-idle-timeout = '5m'\n\
               shutdown-grace = '0'\n\
               probe-interval = '0'\n",
        ..Setup::default()
    }
    .resolve()
    .unwrap();
    assert_eq!(listeners(&config), "127.0.0.1:0 unix:/run/redis.sock");
    assert_eq!(seeds(&config), "a:1 [::1]:2 b:3 c:6379");
    assert_eq!(password(&config).as_deref(), Some(SECRET));
    assert_eq!(config.credentials.unwrap().username.as_deref(), Some("app"));
    assert_eq!(config.clients_max, 1000);
    assert_eq!(config.client_idle_timeout, Some(Duration::from_secs(300)));
    assert_eq!(config.shutdown_grace, Duration::ZERO);
    assert_eq!(config.probe_interval, None);
}

#[test]
fn rules_are_texts_or_tables() {
    let flags = "--keep-together celery* --keep-together _kombu*=celery?scripts=off&script-home=on";
    let error = with_rules(flags, "").unwrap_err();
    assert!(
        error.contains("keep-together (flag --keep-together): has scripts=on and scripts=off for the tag {celery}"),
        "{error}"
    );
    let expected = ["celery*={celery} scripts", "a?scripts=on=b=c={t} home"];
    let flags =
        "--keep-together celery* --keep-together a?scripts=on=b=c=t?scripts=off&script-home=on";
    assert_eq!(with_rules(flags, "").unwrap(), expected);
    let file = "[[keep_together]]\npattern = 'celery*'\n\
                [[keep_together]]\npattern = 'a?scripts=on=b=c'\ntag = 't'\nscripts = false\nscript_home = true\n";
    assert_eq!(with_rules("", file).unwrap(), expected);
    let file = "keep-together = ['celery*', { pattern = 'a?scripts=on=b=c', tag = 't', scripts = false, script-home = true }]\n";
    assert_eq!(with_rules("", file).unwrap(), expected);
    for table in [
        "tag = 'a'",
        "pattern = 'a'\nscript = true",
        "pattern = 'a'\nscripts = 'on'",
        "pattern = 3",
    ] {
        let error = with_rules("", &format!("\n[[keep_together]]\n{table}\n")).unwrap_err();
        assert!(
            error.contains("keep_together ({folder}/slotcar.toml:2): has a value of a wrong type (table); expected"),
            "{table}: {error}"
        );
    }
}

fn with_rules(flags: &str, file: &str) -> Result<Vec<String>, String> {
    let setup = Setup {
        flags,
        file,
        variables: &["REDIS_CLUSTER_NODES=a:1"],
    };
    let rules = setup.resolve()?.keep_together;
    let shown = rules.iter().map(|rule| {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let scripts = if rule.in_scripts { " scripts" } else { "" };
        let home = if rule.is_script_home { " home" } else { "" };
        format!("{}={}{scripts}{home}", text(&rule.pattern), text(&rule.tag))
    });
    Ok(shown.collect())
}

#[test]
fn a_listener_may_have_its_own_way_with_transactions() {
    for (flags, expected) in [
        ("--listen 127.0.0.1:1", [CrossSlot::Refuse].as_slice()),
        (
            "--cross-slot-transactions split --listen 127.0.0.1:1,127.0.0.1:2?cross-slot-transactions=refuse",
            &[CrossSlot::Split, CrossSlot::Refuse],
        ),
        (
            "--listen unix:/a?cross-slot-transactions=split --listen 127.0.0.1:2",
            &[CrossSlot::Split, CrossSlot::Refuse],
        ),
    ] {
        let config = Setup {
            flags,
            variables: &["SLOTCAR_CLUSTER=a:1"],
            file: "",
        }
        .resolve()
        .unwrap();
        let policies = config.listeners.iter().map(|l| l.cross_slot_transactions);
        assert_eq!(policies.collect::<Vec<_>>(), expected, "{flags}");
    }
}

#[test]
fn a_list_is_given_by_repeating_the_flag_or_by_commas() {
    for (flags, variables) in [
        (
            "--cluster a:1 --cluster b:2 --listen 127.0.0.1:1 --listen [::1]:2",
            &[][..],
        ),
        ("--cluster a:1,b:2 --listen 127.0.0.1:1,[::1]:2", &[]),
        (
            "",
            &[
                "SLOTCAR_CLUSTER=a:1,b:2",
                "SLOTCAR_LISTEN=127.0.0.1:1,[::1]:2",
            ],
        ),
    ] {
        let config = Setup {
            flags,
            variables,
            file: "",
        }
        .resolve()
        .unwrap();
        assert_eq!(seeds(&config), "a:1 b:2");
        assert_eq!(listeners(&config), "127.0.0.1:1 [::1]:2");
    }
}

#[test]
fn a_password_comes_from_the_place_that_wins() {
    for (flags, variables, file, expected) in [
        (
            "",
            &["SLOTCAR_PASSWORD=own", "REDIS_PASSWORD=app"][..],
            "password = 'file'",
            "own",
        ),
        ("", &["REDIS_PASSWORD=app"], "password = 'file'", "file"),
        (
            "",
            &["REDIS_PASSWORD=app"],
            "password-file = '{folder}/secret'",
            SECRET,
        ),
        (
            "--password-file {folder}/secret",
            &["SLOTCAR_PASSWORD=own"],
            "",
            SECRET,
        ),
        (
            "",
            &["SLOTCAR_PASSWORD=own"],
            "password-file = '/nowhere'",
            "own",
        ),
    ] {
        let flags = &format!("--cluster a:1 {flags}");
        let config = Setup {
            flags,
            variables,
            file,
        }
        .resolve()
        .unwrap();
        assert_eq!(password(&config).as_deref(), Some(expected));
    }
}

const PLACES: &str = "--cluster, --sentinel and --upstream, the variables and keys of the same names, \
    REDIS_CLUSTER_NODES, REDIS_SENTINEL_HOSTS, REDIS_URL and REDIS_HOST";
const PATTERNS: &str = "commands such as flushall or config|set, or ACL categories such as @dangerous, with commas between them";
const URL: &str =
    "redis[s]://[user:password@]host[:port][/database], or unix:/path/to.sock[?db=database]";
const SEEDS: &str =
    "host:port[,host:port…], or a JSON array of \"host:port\" or {\"host\": …, \"port\": …}";
const ADDRESS: &str =
    "an IP address and a port such as 127.0.0.1:6379 or [::1]:6379, or unix:/path/to.sock";

/// What is wrong beside a valid cluster, and how it is told.
fn mistakes_beside_a_cluster() -> Vec<(Setup<'static>, String)> {
    let flag = |flags| Setup {
        flags,
        ..Setup::default()
    };
    let variable = |variables| Setup {
        variables,
        ..Setup::default()
    };
    let file = |file| Setup {
        file,
        ..Setup::default()
    };
    vec![
        (
            flag("--listen localhost:6379"),
            format!("listen (flag --listen): \"localhost:6379\" is not an IP address with a port; expected {ADDRESS}"),
        ),
        (flag("--listen unix:"), format!("listen (flag --listen): \"unix:\" names no path; expected {ADDRESS}")),
        (
            flag("--workers 0"),
            "workers (flag --workers): \"0\" is out of range; expected a whole number from 1 to 64".into(),
        ),
        (
            variable(&["SLOTCAR_WORKERS=many"]),
            "workers (environment SLOTCAR_WORKERS): \"many\" is not such a number; expected a whole number from 1 to 64"
                .into(),
        ),
        (
            flag("--workers 1 --workers 2"),
            "workers (flag --workers): is given 2 times; expected a whole number from 1 to 64".into(),
        ),
        (
            file("# one\n\nworkers = true"),
            "workers ({folder}/slotcar.toml:3): has a value of a wrong type (boolean); \
             expected a whole number from 1 to 64"
                .into(),
        ),
        (
            file("workers = [1]"),
            "workers ({folder}/slotcar.toml:1): has a value of a wrong type (array); \
             expected a whole number from 1 to 64"
                .into(),
        ),
        (
            flag("--listen 127.0.0.1:1?split"),
            "listen (flag --listen): \"split\" is no setting of a listener; \
             expected an IP address and a port such as 127.0.0.1:6379 or [::1]:6379, or unix:/path/to.sock"
                .into(),
        ),
        (
            file("failover-hold = 15"),
            "failover-hold ({folder}/slotcar.toml:1): \"15\" has no unit; \
             expected a duration such as 15s or 500ms, up to 10m"
                .into(),
        ),
        (
            variable(&["SLOTCAR_PROBE_INTERVAL=1h"]),
            "probe-interval (environment SLOTCAR_PROBE_INTERVAL): \"1h\" has a unit other than ms, s and m; \
             expected a duration such as 500ms or 2s, up to 10m, or 0"
                .into(),
        ),
        (
            flag("--max-memory 64q"),
            "max-memory (flag --max-memory): \"64q\" is no size; expected 0, or a size from 32mb on such as 64mb or 1gb"
                .into(),
        ),
        (
            file("max-memory = '31mb'"),
            "max-memory ({folder}/slotcar.toml:1): \"31mb\" is too little; \
             expected 0, or a size from 32mb on such as 64mb or 1gb"
                .into(),
        ),
        (
            flag("--max-clients=-1"),
            "max-clients (flag --max-clients): \"-1\" is not such a number; expected a whole number from 1 to 1000000"
                .into(),
        ),
        (
            variable(&["SLOTCAR_CLIENT_NAME=two words"]),
            "client-name (environment SLOTCAR_CLIENT_NAME): \"two words\" cannot be a name; \
             expected printable ASCII without spaces"
                .into(),
        ),
        (
            flag("--log-level loud"),
            "log-level (flag --log-level): \"loud\" is none of them; expected error, warn, info, debug or trace".into(),
        ),
        (
            flag("--log-format xml"),
            "log-format (flag --log-format): \"xml\" is none of them; expected human or json".into(),
        ),
        (
            flag("--admin 9621"),
            "admin (flag --admin): \"9621\" is no such address; expected an IP address and a port such as 127.0.0.1:9621, or off".into(),
        ),
        (
            flag("--node-info-interval 500ms"),
            "node-info-interval (flag --node-info-interval): \"500ms\" is out of range; expected a duration from 1s to 10m, or 0".into(),
        ),
        (
            flag("--sample-every 1.5"),
            "sample-every (flag --sample-every): \"1.5\" is not such a number; expected a whole number from 0 to 1000000".into(),
        ),
        (
            variable(&["REDIS_USERNAME=app"]),
            "username (environment REDIS_USERNAME): has no password beside it; expected one, or a password-file".into(),
        ),
        (
            variable(&["SLOTCAR_PASSWORD=hunter2", "SLOTCAR_PASSWORD_FILE={folder}/secret"]),
            "password (environment SLOTCAR_PASSWORD): is given beside password-file \
             (environment SLOTCAR_PASSWORD_FILE); expected one of them"
                .into(),
        ),
        (
            flag("--password-file {folder}/missing"),
            "password-file (flag --password-file): cannot read \"{folder}/missing\": \
             No such file or directory (os error 2); expected a file that holds the password"
                .into(),
        ),
        (
            flag("--password-file {folder}/empty"),
            "password-file (flag --password-file): \"{folder}/empty\" is empty; \
             expected a file that holds the password"
                .into(),
        ),
        (file("password = ''"), "password ({folder}/slotcar.toml:1): is empty; expected a password".into()),
        (
            file("password = ['hunter2']"),
            "password ({folder}/slotcar.toml:1): has a value of a wrong type (array); expected a password".into(),
        ),
        (
            flag("--config {folder}/missing.toml"),
            "config (flag --config): cannot read {folder}/missing.toml: No such file or directory (os error 2); \
             expected a TOML file"
                .into(),
        ),
        (
            file("password = hunter2"),
            "syntax ({folder}/slotcar.toml:1): string values must be quoted, expected literal string; expected TOML"
                .into(),
        ),
        (file("listn = '127.0.0.1:1'"), "listn ({folder}/slotcar.toml:1): there is no such key; expected listen".into()),
        (
            file("[timeouts]\nread = 3"),
            "timeouts ({folder}/slotcar.toml:1): there is no such key; expected one of listen, cluster, sentinel, master-name, sentinel-username, sentinel-password, sentinel-password-file, upstream, upstream-host, upstream-port, username, \
             password, password-file, tls, tls-ca, tls-cert, tls-key, tls-server-name, sentinel-tls, listen-tls-cert, listen-tls-key, listen-tls-client-ca, client-name, workers, max-clients, client-idle-timeout, max-memory, failover-hold, unknown-outcome, keep-together, databases, cross-slot-transactions, audit, probe-interval, \
             shutdown-grace, users-file, auth-pass-through, read-from, read-own-writes, replica-lag-max, zone, node-zones, deny, allow, read-only, protected-mode, admin, node-info-interval, slow-log-threshold, sample-every, log-level, log-format"
                .into(),
        ),
        (
            variable(&["SLOTCAR_WORKER=3", "SLOTCAR_SERVICE_HOST=10.0.0.1", "SLOTCAR_PORT=tcp://10.0.0.1:6379"]),
            "SLOTCAR_WORKER: there is no such variable; expected SLOTCAR_WORKERS".into(),
        ),
    ]
}

#[test]
fn every_mistake_is_told_with_its_place_and_what_was_meant() {
    let mistakes = mistakes_beside_a_cluster();
    println!("{} wrong configurations beside a cluster", mistakes.len());
    for (mut setup, expected) in mistakes {
        let variables = [setup.variables, &["REDIS_CLUSTER_NODES=a:1"]].concat();
        setup.variables = &variables;
        let error = setup.resolve().unwrap_err();
        assert_eq!(
            error,
            format!("the configuration has a mistake:\n  {expected}")
        );
    }
}

#[test]
fn a_missing_or_wrong_upstream_is_told_with_the_names_that_were_looked_for() {
    let cases: &[(&str, &[&str], String)] = &[
        (
            "",
            &[],
            format!("cluster: is not set, nor is any other upstream; looked for {PLACES}"),
        ),
        (
            "--sentinel a --upstream redis://h",
            &[],
            "sentinel (flag --sentinel): is given beside upstream (flag --upstream); expected one of them"
                .to_owned(),
        ),
        (
            "",
            &["SLOTCAR_UPSTREAM=http://u:hunter2@h"],
            format!("upstream (environment SLOTCAR_UPSTREAM): is no URL of a server; expected {URL}"),
        ),
        (
            "--cluster a --tls on --tls-ca {folder}/empty",
            &[],
            "tls (flag --tls): no certificate in {folder}/empty".to_owned(),
        ),
        (
            "",
            &["REDIS_URL=rediss://:hunter2@h", "SLOTCAR_TLS_CERT=/nowhere"],
            "tls-cert (environment SLOTCAR_TLS_CERT): has no tls-key beside it; expected both".to_owned(),
        ),
        (
            "--cluster a --listen 127.0.0.1:1?tls=on",
            &[],
            "listen-tls-cert: a certificate and its key are needed".to_owned(),
        ),
        (
            "--cluster a --listen-tls-cert {folder}/secret --listen-tls-key {folder}/secret",
            &[],
            "listen-tls-cert (flag --listen-tls-cert): no certificate in {folder}/secret".to_owned(),
        ),
        (
            "--cluster a --listen 0.0.0.0:6379",
            &[],
            "listen (flag --listen): 0.0.0.0:6379 can be reached by others, and nothing is asked of them; \
             expected an address of the loopback, listen-tls-cert, a users-file, auth-pass-through on, or protected-mode no"
                .to_owned(),
        ),
        (
            "--cluster a --users-file {folder}/secret",
            &[],
            "users-file (flag --users-file): line 1 of {folder}/secret: has no SHA-256 of a password behind a #; \
             expected a file with lines such as `app #5e88489…`"
                .to_owned(),
        ),
        (
            "--upstream redis://u:hunter2@h",
            &[],
            "upstream (flag --upstream): has a password in it, and everybody can see the flags of a process; \
             expected it in a variable, in the file or in a password-file"
                .to_owned(),
        ),
        (
            "--cluster a --users-file {folder}/users --auth-pass-through on",
            &[],
            "auth-pass-through (flag --auth-pass-through): is on beside a users-file; expected on, or a users-file, or neither"
                .to_owned(),
        ),
        (
            "--cluster a --deny flushal",
            &[],
            format!("deny (flag --deny): \"flushal\" is no command, flushall is; expected {PATTERNS}"),
        ),
        (
            "--cluster a --deny get,@nope",
            &[],
            format!("deny (flag --deny): \"nope\" is no ACL category; expected {PATTERNS}"),
        ),
        (
            "--cluster a --listen 127.0.0.1:1?tls=maybe",
            &[],
            "listen (flag --listen): \"maybe\" is none of them; expected an IP address and a port such as 127.0.0.1:6379 or [::1]:6379, or unix:/path/to.sock"
                .to_owned(),
        ),
        (
            "",
            &["REDIS_URL=redis://localhost:6379"],
            "upstream (environment REDIS_URL): is where slotcar itself listens (127.0.0.1:6379); expected another --listen"
                .to_owned(),
        ),
        (
            "",
            &["REDIS_HOST=127.0.0.1"],
            "upstream-host (environment REDIS_HOST): is where slotcar itself listens (127.0.0.1:6379); expected another --listen"
                .to_owned(),
        ),
        (
            "--cluster a --audit on",
            &[],
            "audit (flag --audit): is on before a cluster, which refuses by itself what it does not serve; expected one server (upstream, upstream-host) or sentinel, or off"
                .to_owned(),
        ),
        (
            "--upstream-host h --upstream-port 0",
            &[],
            "upstream-port (flag --upstream-port): \"0\" is out of range; expected a port from 1 to 65535"
                .to_owned(),
        ),
        (
            "--sentinel a --sentinel-username u",
            &[],
            "sentinel-username (flag --sentinel-username): has no password beside it; expected one, or a sentinel-password-file"
                .to_owned(),
        ),
        (
            "--cluster redis://u:hunter2@a:1",
            &[],
            format!(
                "cluster (flag --cluster): the value (not shown, it may hold a password) is a URL; expected {SEEDS}"
            ),
        ),
        (
            "",
            &[r#"REDIS_CLUSTER_NODES=["a:1""#],
            format!(
                "cluster (environment REDIS_CLUSTER_NODES): is not a JSON array: \
                 EOF while parsing a list at line 1 column 6; expected {SEEDS}"
            ),
        ),
        (
            "--cluster a:70000",
            &[],
            format!(
                "cluster (flag --cluster): \"a:70000\" has no port from 1 to 65535; expected {SEEDS}"
            ),
        ),
    ];
    println!("{} wrong upstreams and what they need", cases.len());
    for (flags, variables, expected) in cases {
        let error = Setup {
            flags,
            variables,
            file: "",
        }
        .resolve()
        .unwrap_err();
        assert_eq!(
            error,
            format!("the configuration has a mistake:\n  {expected}")
        );
    }
}

#[test]
fn a_listener_may_have_settings_of_its_own() {
    let file = "cluster = \"a\"\nlisten = \"127.0.0.1:1\"\npassword = \"hunter2\"\nread-only = \"on\"\ntls = \"on\"\n
        [[listener]]\nlisten = \"127.0.0.1:2\"\nread-from = \"replica\"\n
        [[listener]]\nlisten = [\"127.0.0.1:3\", \"unix:/s\"]\nupstream = \"redis://h\"\nread-only = \"off\"\n";
    let config = Setup {
        flags: "--failover-hold 3s",
        file,
        ..Setup::default()
    };
    let config = config.resolve().unwrap();
    let [replicas, server] = config.others.as_slice() else {
        panic!("{:?}", config.others);
    };
    assert_eq!(listeners(&config), "127.0.0.1:1");
    assert_eq!(listeners(replicas), "127.0.0.1:2");
    assert_eq!(listeners(server), "127.0.0.1:3 unix:/s");
    let reads = |config: &Config| (config.read_from, config.rules.reads_only);
    assert_eq!(reads(&config), (ReadFrom::Primary, true));
    assert_eq!(reads(replicas), (ReadFrom::Replica, true));
    assert_eq!(reads(server), (ReadFrom::Primary, false));
    // What was said of one upstream is not told another one.
    assert_eq!(seeds(replicas), "a:6379");
    assert_eq!(password(replicas).as_deref(), Some("hunter2"));
    assert!(replicas.tls.is_some() && server.tls.is_none());
    assert_eq!(password(server), None);
    assert_eq!(server.upstream.to_string(), "server h:6379");
    for each in [&config, replicas, server] {
        assert_eq!(each.failover_hold, Duration::from_secs(3));
    }
}

#[test]
fn what_is_wrong_with_a_listener_is_told_with_its_place() {
    let start = "cluster = \"a\"\n";
    for (rest, expected) in [
        (
            "[[listener]]\nread-only = \"on\"\n",
            "listener ({folder}/slotcar.toml:2): has no listen; expected the address for which the other keys are",
        ),
        (
            "[[listener]]\nlisten = \"127.0.0.1:1\"\nread-onyl = \"on\"\n",
            "read-onyl ({folder}/slotcar.toml:4): there is no such key; expected read-only",
        ),
        (
            "[[listener]]\nlisten = \"127.0.0.1:1\"\nlog-level = \"debug\"\n",
            "log-level ({folder}/slotcar.toml:4): is of the whole process; expected it above the first [[listener]]",
        ),
        (
            "[[listener]]\nlisten = \"127.0.0.1:6379\"\n",
            "listen ({folder}/slotcar.toml:3): names 127.0.0.1:6379 a second time; expected each address once",
        ),
        (
            "[listener]\nlisten = \"127.0.0.1:1\"\n",
            "listener ({folder}/slotcar.toml:2): is no table; expected [[listener]] and its settings below",
        ),
        (
            "[[listener]]\nlisten = \"127.0.0.1:1\"\nupstream = \"redis://h\"\ncluster = \"b\"\n",
            "cluster ({folder}/slotcar.toml:5): is given beside upstream ({folder}/slotcar.toml:4); expected one of them",
        ),
        (
            "failover-hold = \"soon\"\n[[listener]]\nlisten = \"127.0.0.1:1\"\n",
            "failover-hold ({folder}/slotcar.toml:2): \"soon\" is not a duration; expected a duration such as 15s or 500ms, up to 10m",
        ),
    ] {
        let file = format!("{start}{rest}");
        let setup = Setup {
            file: &file,
            ..Setup::default()
        };
        let expected = format!("the configuration has a mistake:\n  {expected}");
        assert_eq!(setup.resolve().unwrap_err(), expected, "{rest}");
    }
}

#[test]
fn what_may_change_is_taken_and_the_rest_is_told() {
    let resolve = |file: &str| {
        let setup = Setup {
            file,
            ..Setup::default()
        };
        setup.resolve().unwrap()
    };
    let own = "\n[[listener]]\nlisten = \"127.0.0.1:1\"\nupstream = \"redis://h\"\n";
    let mut config = resolve(&format!(
        "cluster = \"a\"\nmax-clients = 10\nworkers = 1\n{own}"
    ));
    let newer = resolve(&format!(
        "cluster = [\"b\", \"c\"]\nworkers = 2\nlog-level = \"debug\"\nlisten = \"127.0.0.1:9\"\n{own}failover-hold = \"1s\"\ntls = \"on\"\n"
    ));
    let changes = config.take_live(&newer);
    assert_eq!(
        changes.taken,
        [
            "cluster",
            "max-clients",
            "log-level",
            "listener 1: failover-hold"
        ]
    );
    // Each was in a folder of its own.
    assert_eq!(
        changes.left,
        ["listen", "workers", "config", "listener 1: tls"]
    );
    assert_eq!(seeds(&config), "b:6379 c:6379");
    assert_eq!((config.clients_max, config.workers), (10_000, 1));
    assert_eq!(config.others[0].failover_hold, Duration::from_secs(1));
    assert!(config.others[0].tls.is_none());
    // What needs a restart is told as long as it does, and what has been taken only once.
    let again = config.take_live(&newer);
    assert_eq!((again.taken.len(), again.left), (0, changes.left));
    // Half of another upstream would be told the secrets of this one.
    let half = resolve("cluster = \"d\"\npassword = \"hunter2\"\n");
    let changes = config.take_live(&half);
    assert!(changes.left.contains(&"cluster".to_owned()), "{changes:?}");
    assert_eq!(seeds(&config), "b:6379 c:6379");
    // A listener is known by its address, wherever it stands.
    let first = "[[listener]]\nlisten = \"127.0.0.1:2\"\nsentinel = \"s\"\n";
    let second = "[[listener]]\nlisten = \"127.0.0.1:3\"\nsentinel = \"t\"\n";
    let mut both = resolve(&format!("cluster = \"a\"\n{first}{second}"));
    let changes = both.take_live(&resolve(&format!("cluster = \"a\"\n{second}")));
    assert_eq!(changes.left, ["config", "listener"]);
    assert!(changes.taken.is_empty(), "{changes:?}");
    assert!(both.others[0].upstream.to_string().contains('s'));
    // Another kind of upstream is another thing altogether.
    let other = resolve("sentinel = \"a\"\n");
    let changes = config.take_live(&other);
    assert!(changes.left.contains(&"cluster".to_owned()), "{changes:?}");
    assert!(changes.left.contains(&"sentinel".to_owned()), "{changes:?}");
    assert!(changes.left.contains(&"listener".to_owned()), "{changes:?}");
    assert_eq!(seeds(&config), "b:6379 c:6379");
}

#[test]
fn all_mistakes_are_told_at_once() {
    let error = Setup {
        flags: "--workers 0",
        variables: &[
            "SLOTCAR_LISTN=x",
            "SLOTCAR_LOG_LEVEL=loud",
            "REDIS_CLUSTER_NODES=:1",
        ],
        file: "failover-hold = '15'\nlistn = 3\n",
    }
    .resolve()
    .unwrap_err();
    let expected = format!(
        "the configuration has 6 mistakes:\n  \
         SLOTCAR_LISTN: there is no such variable; expected SLOTCAR_LISTEN\n  \
         listn ({{folder}}/slotcar.toml:2): there is no such key; expected listen\n  \
         cluster (environment REDIS_CLUSTER_NODES): \":1\" is not a host and a port; expected {SEEDS}\n  \
         workers (flag --workers): \"0\" is out of range; expected a whole number from 1 to 64\n  \
         failover-hold ({{folder}}/slotcar.toml:1): \"15\" has no unit; \
         expected a duration such as 15s or 500ms, up to 10m\n  \
         log-level (environment SLOTCAR_LOG_LEVEL): \"loud\" is none of them; \
         expected error, warn, info, debug or trace"
    );
    assert_eq!(error, expected);
}

#[test]
fn a_secret_is_shown_nowhere() {
    let variables: &[&str] = &["SLOTCAR_PASSWORD=hunter2", "SLOTCAR_CLUSTER=a:1"];
    let config = Setup {
        variables,
        ..Setup::default()
    }
    .resolve()
    .unwrap();
    let debug = format!("{config:?} {config:#?}");
    assert!(
        debug.contains("(secret)") && !debug.contains("hunter2"),
        "{debug}"
    );

    for file in [
        "password = hunter2",
        "password = 'hunter2",
        "password = \"hunter2\\q\"",
        "password = { hunter2 = 1 }",
        "password = [\"hunter2\"]",
        "password 'hunter2'",
        "password = 'hunter2' 'hunter2'",
        "cluster = 'redis://:hunter2@a:1'",
        "cluster = [{ host = 'u:hunter2@a', port = 1 }]",
    ] {
        let error = Setup {
            file,
            ..Setup::default()
        }
        .resolve()
        .unwrap_err();
        assert!(!error.contains("hunter2"), "{file}: {error}");
    }
}

#[test]
fn the_configuration_can_be_shown_with_where_it_comes_from() {
    let setup = Setup {
        flags: "--workers 2 --cluster a:1 --cluster b:2",
        variables: &["REDIS_PASSWORD=hunter2", "SLOTCAR_LOG_LEVEL=warn"],
        file: "failover-hold = '5s'\n[[listener]]\nlisten = 'unix:/s'\n",
    };
    let lines = setup.with(|flags, environment| show(flags, environment).unwrap());
    for expected in [
        "workers = \"2\"  # flag --workers\n",
        "cluster = [\"a:1\", \"b:2\"]  # flag --cluster\n",
        "password = (secret)  # environment REDIS_PASSWORD\n",
        "log-level = \"warn\"  # environment SLOTCAR_LOG_LEVEL\n",
        "failover-hold = \"5s\"  # {folder}/slotcar.toml:1\n",
        "# probe-interval = \"500ms\"\n",
        "\n[[listener]]\nlisten = \"unix:/s\"  # {folder}/slotcar.toml:3\n",
    ] {
        assert!(lines.contains(expected), "{expected}{lines}");
    }
    assert!(!lines.contains("hunter2"), "{lines}");
}

#[test]
fn a_wrong_configuration_ends_the_program_with_2_and_the_reason() {
    for (arguments, expected) in [
        (
            &["--workers", "0", "--cluster", "a:1"][..],
            "workers (flag --workers)",
        ),
        (
            &["--password", "hunter2"],
            "unexpected argument '--password' found",
        ),
        (&[], "REDIS_CLUSTER_NODES"),
    ] {
        let mut program = Command::new(env!("CARGO_BIN_EXE_slotcar"));
        let output = program.args(arguments).env_clear().output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(
            said.contains(expected) && !said.contains("hunter2"),
            "{said}"
        );
        assert!(output.stdout.is_empty());
    }
}
