//! What a running process takes anew when its files change: passwords and certificates.

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
    users: Option<Users>,
    files: Vec<(PathBuf, Signature)>,
}

/// What changes when a file does: the file itself, when it was written, and how long it is. None: it is not there.
type Signature = Option<(u64, (i64, i64), u64)>;

impl Reloading {
    pub fn of(config: &Config) -> Self {
        let sentinel = match &config.upstream {
            Upstream::Sentinel { credentials, .. } => credentials.as_ref(),
            Upstream::Cluster { .. } | Upstream::Server { .. } => None,
        };
        let credentials = config.credentials.iter().chain(sentinel);
        let listeners = config.listeners.iter();
        let mut reloading = Self {
            secrets: credentials.map(|each| each.password.clone()).collect(),
            to_servers: config
                .tls
                .iter()
                .chain(&config.sentinel_tls)
                .cloned()
                .collect(),
            // All share one.
            to_clients: listeners
                .filter_map(|each| each.tls.clone())
                .take(1)
                .collect(),
            users: config.logins.users().cloned(),
            files: Vec::new(),
        };
        let paths: Vec<PathBuf> = reloading.paths().map(Path::to_owned).collect();
        let signed = paths.into_iter().map(|path| {
            let signature = signature(&path);
            (path, signature)
        });
        reloading.files = signed.collect();
        reloading
    }

    /// Whether a file has changed since the last call.
    pub fn has_changed(&mut self) -> bool {
        let mut changed = false;
        for (path, before) in &mut self.files {
            let now = signature(path);
            changed |= *before != now;
            *before = now;
        }
        changed
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
        self.files.is_empty()
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
