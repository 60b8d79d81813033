//! The real BPF object, packet by packet.
//!
//! [`trial`] loads `build/evenkeel.bpf.o` through the XDP plane, fills its tables through the control side, and hands a
//! test a [`Rig`]: a packet goes in by BPF_PROG_TEST_RUN, and verdict, reason and bytes come out. No interface and no
//! network is involved. Two oracles that are not our code judge what is sent: etherparse at once ([`packet`]), scapy
//! when the test is over ([`scapy`]). What may live here: what several of these tests share. What may not: a test.

mod ledger;
pub mod native;
pub mod packet;
mod rig;
pub mod scapy;
pub mod scenes;
pub mod table;

pub use ledger::Connection;
pub use rig::{Outcome, Rig, SECRETS, Setup, action, load, object, pin, run, test_run, trial};
