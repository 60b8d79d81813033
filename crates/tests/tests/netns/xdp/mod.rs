//! What only the balancer on XDP has.

mod misuse;
mod neighbours;
mod unprivileged;
mod walkthrough;
mod ways;
