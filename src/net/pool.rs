//! Empty buffers waiting for their next use, so that a busy connection does not allocate per request
//! and an idle one holds nothing.
//!
//! One per worker. Invariants: every buffer in it is empty, and together they have no more memory than its bound.

/// A bounded stack of empty buffers.
#[derive(Debug)]
pub struct Pool {
    free: Vec<Vec<u8>>,
    /// Of all that are free: `bytes <= bytes_max`
    bytes: usize,
    bytes_max: usize,
    buffer_bytes_max: usize,
}

impl Pool {
    /// Keeps buffers of a capacity up to `buffer_bytes_max` each and `bytes_max` together; frees the rest.
    pub const fn new(bytes_max: usize, buffer_bytes_max: usize) -> Self {
        Self {
            free: Vec::new(),
            bytes: 0,
            bytes_max,
            buffer_bytes_max,
        }
    }

    /// An empty buffer: the one given back last, or one without memory.
    pub fn take(&mut self) -> Vec<u8> {
        let buffer = self.free.pop().unwrap_or_default();
        self.bytes -= buffer.capacity();
        buffer
    }

    /// Gives a buffer back. What is in it is forgotten.
    pub fn give(&mut self, mut buffer: Vec<u8>) {
        let fits = (1..=self.buffer_bytes_max).contains(&buffer.capacity());
        if fits && self.bytes + buffer.capacity() <= self.bytes_max {
            self.bytes += buffer.capacity();
            buffer.clear();
            self.free.push(buffer);
        }
    }

    /// How many buffers wait.
    pub fn len(&self) -> usize {
        self.free.len()
    }

    /// `len() == 0`
    pub fn is_empty(&self) -> bool {
        self.free.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_empty_and_with_its_memory() {
        let mut pool = Pool::new(64, 64);
        let mut buffer = pool.take();
        assert_eq!(buffer.capacity(), 0);
        buffer.extend_from_slice(b"secret");
        let capacity = buffer.capacity();
        pool.give(buffer);
        let again = pool.take();
        assert!(again.is_empty());
        assert_eq!(again.capacity(), capacity);
    }

    #[test]
    fn too_many_too_large_and_empty_ones_are_not_kept() {
        let mut pool = Pool::new(100, 64);
        for (capacity, kept) in [(0, 0), (65, 0), (64, 1), (37, 1), (20, 2), (16, 3), (1, 3)] {
            pool.give(Vec::with_capacity(capacity));
            assert_eq!(pool.len(), kept, "after one of {capacity} bytes");
        }
        for left in (0..3).rev() {
            pool.take();
            assert_eq!(pool.len(), left);
        }
        pool.give(Vec::with_capacity(64));
        assert!(!pool.is_empty());
    }
}
