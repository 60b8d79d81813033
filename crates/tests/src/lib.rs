//! What the tests of the whole share. Nothing here is part of the balancer.

pub mod program;
pub mod testbed;
