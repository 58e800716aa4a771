//! flags, environment and file resolved into one Config

pub mod limits;
