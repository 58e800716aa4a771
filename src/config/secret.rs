//! A value that must not be seen: only [`Secret::expose`] gives it away, and grep finds who calls that.

use std::fmt;
use std::sync::Arc;

/// A password: any bytes. Shown as `(secret)` wherever it is printed.
#[derive(Clone)]
pub struct Secret(Arc<[u8]>);

impl Secret {
    /// Hides `bytes`.
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes themselves: for the handshake with a node and nothing else.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}
