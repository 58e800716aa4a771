//! What must hold for every input: cuts do not matter, and the scanners agree with an independent decoder.

#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by a panic, and one of them measures time"
)]

#[path = "fuzz/bodies/mod.rs"]
mod bodies;
#[path = "properties/corpus.rs"]
mod corpus;
#[path = "properties/generate.rs"]
mod generate;
#[path = "properties/growth.rs"]
mod growth;
#[path = "properties/hostile.rs"]
mod hostile;
#[path = "properties/names.rs"]
mod names;
#[path = "properties/replies.rs"]
mod replies;
#[path = "properties/requests.rs"]
mod requests;
