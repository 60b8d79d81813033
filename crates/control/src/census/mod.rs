//! How many connections each backend has: counted by a thread of its own, and told from its last count.
//!
//! A flow table may have gigabytes, and who answers questions, or judges backends, cannot walk through it meanwhile. So the
//! `walker` does, again and again, and sweeps on its way when it is asked to; everybody else looks at a [`Census`].

mod stage;
mod tally;
mod walker;

pub use stage::Stage;
pub(crate) use tally::Census;
pub(crate) use walker::{Counts, Walker};
