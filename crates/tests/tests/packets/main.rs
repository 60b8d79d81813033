//! The balancer packet by packet: the real BPF object under BPF_PROG_TEST_RUN and real DPDK workers over rings, each kind of
//! packet for itself, and both planes held against each other. EAL is started once for all of them; a test that wants it
//! otherwise takes a process of its own ([`evenkeel_tests::testbed::in_own_process`]).
#![allow(clippy::unwrap_used, reason = "a test that fails may do so anywhere")]

mod buffers;
mod changes;
mod crossing;
mod equality;
mod expiry;
mod fixtures;
mod hammer;
mod lcores;
mod recorded;
mod six;
mod stations;
mod transmit;
