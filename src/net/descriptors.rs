//! How many file descriptors the process may have.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How many file descriptors this process may have open. None: as many as it likes.
pub fn descriptors_max() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Raises that to what the process may give itself.
///
/// # Errors
/// What the system says; then the limit is as it was.
pub fn raise_descriptors_max() -> io::Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: maximum,
        maximum,
    };
    Ok(setrlimit(Resource::Nofile, limit)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_to_the_hard_one() {
        raise_descriptors_max().unwrap();
        assert_eq!(descriptors_max(), getrlimit(Resource::Nofile).maximum);
    }
}
