//! Certificates for one test, signed by an authority of its own.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    dir: PathBuf,
    /// Its own certificate.
    pub ca: String,
}

/// Paths.
#[derive(Clone, Debug)]
pub struct Pair {
    pub cert: String,
    pub key: String,
}

impl Authority {
    pub fn new() -> Authority {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("certificates-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a folder of ours");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let name = format!("authority {number}");
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let ca = dir.join("ca.pem");
        std::fs::write(&ca, certificate.pem()).expect("a file of ours");
        Authority {
            issuer: Issuer::new(params, key),
            ca: ca.display().to_string(),
            dir,
        }
    }

    /// For these host names and addresses.
    pub fn issue(&self, file: &str, names: &[&str]) -> Pair {
        self.issue_until(file, names, 4096)
    }

    /// The same, valid until the first day of a year.
    pub fn issue_until(&self, file: &str, names: &[&str], year: i32) -> Pair {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let write = |kind: &str, text: String| {
            let path = self.dir.join(format!("{file}.{kind}.pem"));
            // Whoever reads it at this moment must not see half of it.
            let fresh = path.with_extension("new");
            std::fs::write(&fresh, text).expect("a file of ours");
            std::fs::rename(&fresh, &path).expect("a file of ours");
            path.display().to_string()
        };
        Pair {
            cert: write("cert", certificate.pem()),
            key: write("key", key.serialize_pem()),
        }
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        // What is left behind lies in the target folder and harms nobody.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

static COUNT: AtomicU32 = AtomicU32::new(0);
