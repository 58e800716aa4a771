//! What is measured and how it is kept in bounded memory: counts of times, of outcomes, and of what is asked for most. Pure.
//!
//! Owns the shapes, not what is put into them: the hub measures, `admin` shows. One writer each; whoever reads gets a copy.

pub mod count;
pub mod frequent;
pub mod histogram;
pub mod largest;
pub mod ring;
pub mod tally;

pub(crate) use count::counts;
pub use count::{Count, Most};
pub use frequent::Frequent;
pub use histogram::{Batch, Histogram};
pub use largest::Largest;
pub use ring::Ring;
pub use tally::{Outcome, Tally};
