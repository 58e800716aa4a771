//! Users of slotcar's own: who may connect, by the SHA-256 of their passwords.
//!
//! The file has one user per line, `NAME #HASH [#HASH…]`, with hashes as `ACL GETUSER` shows them and `ACL SETUSER NAME #HASH` takes them; several while a
//! password changes. Lines that are empty or begin with `# ` count for nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use sha2::{Digest as _, Sha256};

/// Who may be served.
#[derive(Clone, Debug, Default)]
pub enum Logins {
    /// Whoever can connect, as the user `default` with any password.
    #[default]
    Anybody,
    /// Users of slotcar's own.
    Listed(Users),
    /// Whom the nodes know: what a client says goes to them, and its requests take links that say the same.
    PassedOn,
}

impl Logins {
    pub fn users(&self) -> Option<&Users> {
        match self {
            Self::Listed(users) => Some(users),
            Self::Anybody | Self::PassedOn => None,
        }
    }

    pub fn are_passed_on(&self) -> bool {
        matches!(self, Self::PassedOn)
    }
}

/// Clones share what [`Users::reload`] changes.
#[derive(Clone)]
pub struct Users {
    file: PathBuf,
    known: Arc<ArcSwap<Known>>,
}

/// Hashes by name.
type Known = BTreeMap<Vec<u8>, Vec<Hash>>;
type Hash = [u8; 32];

impl Users {
    /// # Errors
    /// The file cannot be read, or a line is none: which.
    pub fn from_file(path: &Path) -> Result<Self, String> {
        Ok(Self {
            file: path.to_owned(),
            known: Arc::new(ArcSwap::from_pointee(read(path)?)),
        })
    }

    /// The user `default` with this password, for tests.
    pub fn of_password(password: &[u8]) -> Self {
        let known = Known::from([(b"default".to_vec(), vec![hash(password)])]);
        Self {
            file: PathBuf::new(),
            known: Arc::new(ArcSwap::from_pointee(known)),
        }
    }

    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Reads the file again. Who is logged in stays so.
    ///
    /// # Errors
    /// As [`Users::from_file`]; all stays as it was.
    pub fn reload(&self) -> Result<(), String> {
        self.known.store(Arc::new(read(&self.file)?));
        Ok(())
    }

    /// Whether there is this user with this password. Takes as long for a user that there is not as for one with one password, and
    /// for a wrong first byte as for a wrong last one.
    pub fn are(&self, name: &[u8], password: &[u8]) -> bool {
        let given = hash(password);
        let known = self.known.load();
        let nobody = vec![[0; 32]];
        let hashes = known.get(name);
        let matches = hashes.unwrap_or(&nobody).iter().map(|hash| {
            let difference = hash.iter().zip(&given).fold(0, |sum, (a, b)| sum | (a ^ b));
            difference == 0
        });
        matches.fold(false, |any, one| any | one) && hashes.is_some()
    }

    /// Whether there is a user `default`, whom a password alone means.
    pub fn has_default(&self) -> bool {
        self.known.load().contains_key(b"default".as_slice())
    }
}

fn hash(password: &[u8]) -> Hash {
    Sha256::digest(password).into()
}

fn read(path: &Path) -> Result<Known, String> {
    let text = fs::read_to_string(path)
        .map_err(|error| format!("cannot read {:?}: {error}", path.display().to_string()))?;
    let mut known = Known::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with("# ") {
            continue;
        }
        // Not the line itself: somebody may have put a password there.
        let wrong = |what: &str| format!("line {number} of {}: {what}", path.display());
        let mut words = line.split_whitespace();
        let name = words.next().filter(|name| !name.starts_with('#'));
        let name = name.ok_or_else(|| wrong("begins with no name"))?;
        let hashes: Option<Vec<Hash>> = words.map(|word| unhex(word.strip_prefix('#')?)).collect();
        let hashes = hashes.filter(|hashes| !hashes.is_empty());
        let hashes = hashes.ok_or_else(|| wrong("has no SHA-256 of a password behind a #"))?;
        if known.insert(name.as_bytes().to_vec(), hashes).is_some() {
            return Err(wrong("names a user twice"));
        }
    }
    if known.is_empty() {
        return Err(format!("no user in {}", path.display()));
    }
    Ok(known)
}

fn unhex(digits: &str) -> Option<Hash> {
    let mut hash = Hash::default();
    let is_hex = digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    for (at, byte) in hash.iter_mut().enumerate().filter(|_| is_hex) {
        *byte = u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    is_hex.then_some(hash)
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Users").field(&self.file).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SHA-256 of `secret` and of `other`.
    const SECRET: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
    const OTHER: &str = "d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa";

    fn users(text: &str) -> Result<Users, String> {
        let number = std::process::id();
        let path = std::env::temp_dir().join(format!("slotcar-users-{number}-{}", text.len()));
        fs::write(&path, text).unwrap();
        let users = Users::from_file(&path);
        fs::remove_file(&path).unwrap();
        users.map_err(|problem| problem.replace(&path.display().to_string(), "FILE"))
    }

    #[test]
    fn who_has_the_password_is_the_user() {
        let text = format!("# of the app\n\napp #{SECRET} #{OTHER}\nother #{OTHER}\n");
        let users = users(&text).unwrap();
        for (name, password, expected) in [
            ("app", "secret", true),
            ("app", "other", true),
            ("app", "Secret", false),
            ("app", "", false),
            ("other", "other", true),
            ("other", "secret", false),
            ("default", "secret", false),
            ("", "", false),
        ] {
            let is = users.are(name.as_bytes(), password.as_bytes());
            assert_eq!(is, expected, "{name} {password}");
        }
        assert!(!users.has_default());
        assert!(Users::of_password(b"x").are(b"default", b"x"));
    }

    #[test]
    fn what_is_wrong_with_a_file_is_told_without_its_words() {
        let twice = format!("app #{SECRET}\napp #{OTHER}");
        for (text, expected) in [
            ("", "no user in FILE"),
            (
                "app secret",
                "line 1 of FILE: has no SHA-256 of a password behind a #",
            ),
            (
                "app",
                "line 1 of FILE: has no SHA-256 of a password behind a #",
            ),
            ("\n#abc", "line 2 of FILE: begins with no name"),
            (&twice, "line 2 of FILE: names a user twice"),
        ] {
            assert_eq!(users(text).unwrap_err(), expected, "{text}");
        }
    }
}
