//! What a client knows of a counter that only it increments, and what every answer about it says: right, somebody
//! else's, or that increments are gone which had been acknowledged.
//!
//! The value is in `known ..= known + open`, unless the cluster has lost something: `open` counts increments of which
//! nobody knows whether they were executed. It never grows by an answer.

pub struct Counter {
    pub key: String,
    /// The shard that owned the key when the load began.
    pub shard: usize,
    pub known: i64,
    pub open: i64,
    /// Acknowledged increments that are gone.
    pub lost: i64,
}

impl Counter {
    /// Starts at `known`, which is at least [`APART`] from where any other counter starts.
    pub fn new(key: String, shard: usize, known: i64) -> Counter {
        Counter {
            key,
            shard,
            known,
            open: 0,
            lost: 0,
        }
    }

    /// The answer to an increment.
    ///
    /// # Errors
    /// It cannot be the answer to that request.
    pub fn on_incremented(&mut self, value: i64) -> Result<(), String> {
        self.known += 1;
        self.on_value(value)
    }

    /// The answer to a read that no increment is in flight with.
    ///
    /// # Errors
    /// As above.
    pub fn on_value(&mut self, value: i64) -> Result<(), String> {
        let (key, known, open) = (&self.key, self.known, self.open);
        if value > known + open || value < known - APART / 2 {
            return Err(format!(
                "{key}: {value} is not in {known}..={}",
                known + open
            ));
        }
        if value < known {
            self.lost += known - value;
        } else {
            self.open -= value - known;
        }
        self.known = value;
        Ok(())
    }

    /// An increment has been sent, and nobody knows what became of it.
    pub fn on_unknown(&mut self) {
        self.open += 1;
    }
}

/// More than any counter is ever incremented: a value of another counter is known for what it is.
pub const APART: i64 = 10_000_000;
