//! A value that must not be seen: only [`Secret::expose`] gives it away, and grep finds who calls that.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;

/// A password: any bytes. Shown as `(secret)` wherever it is printed. Clones share what [`Secret::reload`] changes.
#[derive(Clone)]
pub struct Secret {
    bytes: Arc<ArcSwap<Vec<u8>>>,
    /// Where it comes from, and may come from again.
    file: Option<PathBuf>,
}

impl Secret {
    /// Hides `bytes`.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            bytes: Arc::new(ArcSwap::from_pointee(bytes.into())),
            file: None,
        }
    }

    /// What stands in a file, without the line end at its end.
    ///
    /// # Errors
    /// The file cannot be read, or holds nothing.
    pub fn from_file(path: &Path) -> Result<Self, String> {
        Ok(Self {
            bytes: Arc::new(ArcSwap::from_pointee(read(path)?)),
            file: Some(path.to_owned()),
        })
    }

    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Reads the file again; what comes of nowhere else stays as it is.
    ///
    /// # Errors
    /// As [`Secret::from_file`]; the secret stays as it was.
    pub fn reload(&self) -> Result<(), String> {
        if let Some(path) = &self.file {
            self.bytes.store(Arc::new(read(path)?));
        }
        Ok(())
    }

    /// The bytes as they are now: for the handshake with a node and nothing else.
    pub fn expose(&self) -> Arc<Vec<u8>> {
        self.bytes.load_full()
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let shown = path.display();
    let mut bytes = fs::read(path).map_err(|error| format!("cannot read {shown:?}: {error}"))?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    if bytes.is_empty() {
        return Err(format!("{shown:?} is empty"));
    }
    Ok(bytes)
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}
