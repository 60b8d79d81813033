//! What only the balancer on XDP has.

mod misuse;
mod unprivileged;
mod walkthrough;
