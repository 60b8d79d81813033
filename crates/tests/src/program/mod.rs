//! The balancer packet by packet, on every plane.
//!
//! [`trial`] makes a plane, fills its tables through the control side, and hands a test a [`Rig`]: a packet goes in, and
//! reason and bytes come out. XDP is the real object, `build/evenkeel.bpf.o`, under BPF_PROG_TEST_RUN ([`xdp`]); DPDK is
//! a real EAL with a worker on a port over rings ([`dpdk`]). No interface and no network is involved. Two oracles that
//! are not our code judge what is sent: etherparse at once, scapy when the test is over
//! ([`evenkeel_packets`]). And
//! [`Twins`] hold the planes against each other. What may live here: what several of these tests share. What may not: a
//! test.

mod cpu;
mod crossing;
pub mod dpdk;
mod family;
mod ledger;
mod outcome;
mod plane;
mod recording;
mod rig;
pub mod scenes;
mod setup;
pub mod table;
mod twins;
pub mod xdp;

pub use cpu::{cpus, pin};
pub use crossing::Crossing;
pub use ledger::Connection;
pub use outcome::{Outcome, Passage};
pub use plane::{PlaneUnderTest, Refused};
pub use recording::Recording;
pub use rig::{On, Rig, trial, trial_on_dpdk};
pub use setup::{SECRETS, Setup};
pub use twins::{Difference, Twins, with_twins};

/// Makes two tests of each of these functions, which take an [`On`]: `on_xdp::NAME` and `on_dpdk::NAME`.
#[macro_export]
macro_rules! on_both_planes {
    ($($name:ident),+ $(,)?) => {
        mod on_xdp {
            $(#[test] fn $name() { super::$name($crate::program::On::Xdp); })+
        }
        mod on_dpdk {
            $(#[test] fn $name() { super::$name($crate::program::On::Dpdk); })+
        }
    };
}
