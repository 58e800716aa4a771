//! slotcar: one plain Redis on localhost; a Redis or Valkey Cluster, a primary that Sentinels watch, or one server behind it.
//!
//! # The way of a request
//!
//! ```text
//! client socket
//!   │ worker, hub/serve  read what is there
//!   ▼
//! worker/hub/request     cut a request off, look the command up, may it run now? → plan
//!   │                      resp::request, command::lookup, downstream::session, route::plan
//!   ▼
//! worker/hub/place       open a seat, put one part on each link concerned (or hold it)
//!   ▼
//! worker, hub/serve      one write for the requests of many sessions          ── node
//! worker, hub/serve      read what is there, cut into frames                  ◀─
//!   ▼
//! worker/hub/answer      take the oldest ticket of that link; a refusal? → route::verdict
//!   │                      several parts? → reply::gather
//!   ▼
//! downstream::replies    fill the seat; drain from the head while seats are full
//!   ▼
//! worker, hub/serve      one write for all replies that are due
//! ```
//!
//! # Words
//!
//! *Slot*: one of the 16,384 hash slots ([`topology::Slot`]). *Node*: one server process. *Shard*: a primary and its
//! replicas. *Topology*: an immutable snapshot of who serves what ([`topology::Topology`]). *Session*: one client
//! connection and its protocol state ([`downstream::session::Session`]). *Link*: one connection to a node
//! ([`upstream::link::Link`]). *Request*: what a client sent. *Part*: the piece of it that one node gets for one slot
//! ([`route::part::Part`]). *Frame*: the bytes of one RESP value. *Seat*: where a reply waits for its turn
//! ([`downstream::replies::Seat`]). *Ticket*: who gets an answer ([`route::part::Ticket`]). *Fault*, *verdict*: what
//! went wrong, and what is done about it ([`route::verdict`]). *Hold*: keeping parts that cannot go anywhere yet
//! ([`route::hold`]).
//!
//! # Invariants
//!
//! 1. A link's queue order is the order of bytes on its socket; answers are matched first in, first out
//!    ([`upstream::queue`]).
//! 2. A session's replies leave in the order of its requests ([`downstream::replies`]).
//! 3. Requests of one session for one slot run in the order they were sent, also across a redirection or a hold
//!    ([`route::hold`]); reads that may go to replicas ([`route::readers`]) are free of it.
//! 4. Before a session changes its links (protocol), all it has in flight has been answered.
//! 5. A part is *unsent* until its first byte is written, then *sent*. Only this decides what may be replayed
//!    ([`route::verdict`]).
//! 6. Nothing is unbounded: every queue, buffer, retry and wait has a limit in [`config::limits`], and all of them together
//!    have one ([`memory`]).
//! 7. No byte from a client or a node can make this process panic, recurse without limit, or do quadratic work.
//!
//! # Modules, in path order
//!
//! [`resp`] ◀ [`command`] ◀ [`topology`] ◀ [`route`] ◀ { [`downstream`], [`upstream`], [`reply`] } ◀ [`audit`] ◀ [`worker`] ◀
//! [`app`]: imports go one way. [`control`] stands beside, and [`admin`], which shows what the others do; [`config`],
//! [`clock`], [`log`], [`memory`], [`measure`] and [`net`] are leaves. Everything but `worker` around its hub, `control`, `admin`,
//! `log`, `net` and `app` is pure: no socket, no clock, no runtime.

pub mod admin;
pub mod app;
pub mod audit;
pub mod clock;
pub mod command;
pub mod config;
pub mod control;
pub mod downstream;
pub mod log;
pub mod measure;
pub mod memory;
pub mod net;
pub mod reply;
pub mod resp;
pub mod route;
pub mod topology;
pub mod upstream;
pub mod worker;
