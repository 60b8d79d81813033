//! What only the balancer on DPDK has.

mod discovery;
mod host;
mod idle;
mod misuse;
mod ports;
mod surroundings;
mod walkthrough;
