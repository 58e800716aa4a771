//! merging parts, error texts
