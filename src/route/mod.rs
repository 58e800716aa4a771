//! Where a request goes, and what happens when that fails. Pure.
//!
//! [`plan`] reads a request and its command row and says who gets it; [`split`] cuts a request whose keys lie in
//! several slots; [`scan`] walks the whole keyspace for `SCAN`; [`verdict`] judges faults; [`hold`] keeps parts that
//! cannot go anywhere yet; [`await_keys`] says who may try which key when clients wait for keys of several
//! slots; [`scripts`] remembers what a node may have to be told; [`channel`] says where a subscription lives; [`naming`] says
//! under which names keys are stored; [`mod@reference`] says it all to people. Nothing here
//! knows a socket, a session's state or who owns a slot now.

pub mod await_keys;
pub mod channel;
pub mod glob;
pub mod hold;
pub mod naming;
pub mod part;
pub mod plan;
pub mod readers;
pub mod reference;
pub mod scan;
pub mod scripts;
pub mod split;
pub mod verdict;
