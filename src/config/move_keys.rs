//! What `slotcar move-keys` is told beside the configuration: the flags that it has alone.

use std::path::{Path, PathBuf};

use clap::Args;

use super::mistake::{Mistake, Origin};
use super::{Config, ConfigError, Credentials, Upstream, url};
use crate::net::{ClientTls, TlsFiles};
use crate::topology::Endpoint;

/// The flags of the command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct MoveKeys {
    /// Copy all keys of this server's database, which stays as it is (redis://host:port/database); without it, keys are renamed
    #[arg(long, value_name = "URL")]
    pub from: Option<String>,
    /// File with that URL: where a password has to be in it
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    pub from_file: Option<PathBuf>,
    /// File with the certificates of those who sign that server's (rediss://) [default: as for the nodes]
    #[arg(long, value_name = "FILE")]
    pub from_tls_ca: Option<PathBuf>,
    /// Count what would be moved, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Compare each value that was moved, and when it expires, before what it was moved from is removed
    #[arg(long)]
    pub verify: bool,
    /// Move no more than so many keys in a second
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub keys_per_second: Option<u32>,
    /// File that remembers how far it has come, for the next run if this one is ended; removed when all is done
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
}

/// A server that is copied from, and how to be let in.
#[derive(Clone, Debug)]
pub struct Plain {
    pub endpoint: Endpoint,
    pub credentials: Option<Credentials>,
    pub database: u32,
    pub tls: Option<ClientTls>,
}

impl MoveKeys {
    /// Whom to copy from. None: keys are renamed.
    ///
    /// # Errors
    /// What is wrong with the flags, alone or together with the configuration.
    pub fn source(&self, config: &Config) -> Result<Option<Plain>, ConfigError> {
        let (flag, text) = match (&self.from, &self.from_file) {
            (Some(text), _) => ("from", text.clone()),
            (None, Some(path)) => ("from-file", read(path)?),
            (None, None) if config.keep_together.is_empty() => {
                return Err(mistake(
                    "keep-together",
                    None,
                    "is not set, and without --from keys are renamed as its rules say; expected a rule, or --from",
                ));
            }
            (None, None) => return Ok(None),
        };
        let wrong = |problem: &str| mistake(flag, Some(Origin::Flag(flag)), problem);
        let url = url::server(text.trim())
            .map_err(|problem| wrong(&format!("{problem}; expected redis://host:port/database")))?;
        if flag == "from" && url.password.is_some() {
            return Err(wrong(
                "has a password in it, and everybody can see the flags of a process; expected it in a from-file",
            ));
        }
        if let Upstream::Server { endpoint, database } = &config.upstream
            && (endpoint, *database) == (&url.endpoint, url.database)
        {
            return Err(wrong(
                "is the upstream itself; expected another server, or no --from, which renames the upstream's keys",
            ));
        }
        let tls = url.tls.then(|| self.tls(config)).transpose();
        Ok(Some(Plain {
            tls: tls.map_err(|problem| wrong(&problem))?,
            endpoint: url.endpoint,
            credentials: url.password.map(|password| Credentials {
                username: url.username,
                password,
            }),
            database: url.database,
        }))
    }

    fn tls(&self, config: &Config) -> Result<ClientTls, String> {
        let of_nodes = config.tls.as_ref().map(ClientTls::files).cloned();
        let of_nodes = of_nodes.unwrap_or_default();
        let files = TlsFiles {
            ca: self.from_tls_ca.clone().or(of_nodes.ca),
            own: of_nodes.own,
        };
        ClientTls::new(files, None)
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|error| {
        let problem = format!("cannot be read: {}: {error}", path.display());
        mistake("from-file", Some(Origin::Flag("from-file")), &problem)
    })
}

fn mistake(key: &str, origin: Option<Origin>, problem: &str) -> ConfigError {
    ConfigError(vec![Mistake {
        key: key.to_owned(),
        origin,
        problem: problem.to_owned(),
    }])
}

#[cfg(test)]
mod tests {
    use super::super::{CommandLine, Environment, Task, resolve};
    use super::*;
    use clap::Parser;

    fn source(line: &str) -> Result<Option<Plain>, String> {
        let line = format!("slotcar move-keys {line}");
        let line = CommandLine::try_parse_from(line.split(' ')).unwrap();
        let environment = Environment::default();
        let config = resolve(&line.flags, &environment).map_err(|error| error.to_string())?;
        match line.task() {
            Task::MoveKeys(task) => task.source(&config).map_err(|error| error.to_string()),
            Task::Run | Task::Check | Task::Explain { .. } | Task::Healthcheck { .. } => {
                panic!("{line:?}")
            }
        }
    }

    #[test]
    fn keys_come_from_a_server_or_are_renamed_by_rules() {
        assert!(
            source("--cluster a:1 --keep-together x*")
                .unwrap()
                .is_none()
        );
        let plain = source("--cluster a:1 --from redis://b:2/3")
            .unwrap()
            .unwrap();
        assert_eq!((plain.endpoint, plain.database), (Endpoint::new("b", 2), 3));
        assert!(plain.tls.is_none());
        let plain = source("--cluster a:1 --from rediss://b:2")
            .unwrap()
            .unwrap();
        assert!(plain.tls.is_some());
    }

    #[test]
    fn what_cannot_be_is_told() {
        for (line, expected) in [
            ("--cluster a:1", "without --from keys are renamed"),
            ("--cluster a:1 --from redis://:secret@b:2", "from-file"),
            ("--cluster a:1 --from b:2", "is no URL of a server"),
            (
                "--upstream redis://b:2/1 --from redis://b:2/1",
                "is the upstream itself",
            ),
            ("--cluster a:1 --from-file /nonexistent", "cannot be read"),
        ] {
            let problem = source(line).unwrap_err();
            assert!(
                problem.contains(expected) && !problem.contains("secret"),
                "{line}: {problem}"
            );
        }
    }
}
