//! What a running process takes anew when its files change: passwords, certificates, users. For the configuration itself see `live`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Config, Secret, Upstream, Users};
use crate::net::{ClientTls, ServerTls};

/// Everything of a configuration that comes from files and may change.
pub struct Reloading {
    secrets: Vec<Secret>,
    to_servers: Vec<ClientTls>,
    to_clients: Vec<ServerTls>,
    users: Vec<Users>,
    files: Vec<(PathBuf, Signature)>,
    config_file: Option<(PathBuf, Signature)>,
}

/// What has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The configuration file.
    pub configuration: bool,
    /// One of the files that it names.
    pub named: bool,
}

/// What changes when a file does: the file itself, when it was written, and how long it is. None: it is not there.
type Signature = Option<(u64, (i64, i64), u64)>;

impl Reloading {
    pub fn of(config: &Config) -> Self {
        let mut reloading = Self {
            secrets: Vec::new(),
            to_servers: Vec::new(),
            to_clients: Vec::new(),
            users: Vec::new(),
            files: Vec::new(),
            config_file: config.file.clone().map(|path| {
                let signature = signature(&path);
                (path, signature)
            }),
        };
        for each in std::iter::once(config).chain(&config.others) {
            reloading.add(each);
        }
        let paths: Vec<PathBuf> = reloading.paths().map(Path::to_owned).collect();
        let signed = paths.into_iter().map(|path| {
            let signature = signature(&path);
            (path, signature)
        });
        reloading.files = signed.collect();
        reloading
    }

    fn add(&mut self, config: &Config) {
        let sentinel = match &config.upstream {
            Upstream::Sentinel { credentials, .. } => credentials.as_ref(),
            Upstream::Cluster { .. } | Upstream::Server { .. } => None,
        };
        let credentials = config.credentials.iter().chain(sentinel);
        self.secrets
            .extend(credentials.map(|each| each.password.clone()));
        let to_servers = config.tls.iter().chain(&config.sentinel_tls);
        self.to_servers.extend(to_servers.cloned());
        // All of its listeners share one.
        let to_clients = config.listeners.iter().filter_map(|each| each.tls.clone());
        self.to_clients.extend(to_clients.take(1));
        self.users.extend(config.logins.users().cloned());
    }

    /// Which files have changed since the last call.
    pub fn changed(&mut self) -> Changed {
        let mut has_changed = |(path, before): &mut (PathBuf, Signature)| {
            let now = signature(path);
            std::mem::replace(before, now) != now
        };
        Changed {
            configuration: self.config_file.iter_mut().any(&mut has_changed),
            // All of them are to be looked at.
            named: (self.files.iter_mut()).fold(false, |any, file| has_changed(file) | any),
        }
    }

    /// Takes all of it anew. Returns what is wrong; where something is, all stays as it was.
    pub fn reload(&self) -> Vec<String> {
        let secrets = self.secrets.iter().map(Secret::reload);
        let to_servers = self.to_servers.iter().map(ClientTls::reload);
        let to_clients = self.to_clients.iter().map(ServerTls::reload);
        let users = self.users.iter().map(Users::reload);
        let all = secrets.chain(to_servers).chain(to_clients).chain(users);
        all.filter_map(Result::err).collect()
    }

    /// Whether there is anything to look at.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.config_file.is_none()
    }

    fn paths(&self) -> impl Iterator<Item = &Path> {
        let secrets = self.secrets.iter().filter_map(Secret::file);
        let to_servers = self.to_servers.iter().flat_map(|tls| tls.files().paths());
        let to_clients = self.to_clients.iter().flat_map(|tls| tls.files().paths());
        let users = self.users.iter().map(Users::file);
        secrets.chain(to_servers).chain(to_clients).chain(users)
    }
}

fn signature(path: &Path) -> Signature {
    let metadata = fs::metadata(path).ok()?;
    let written = (metadata.mtime(), metadata.mtime_nsec());
    Some((metadata.ino(), written, metadata.len()))
}
