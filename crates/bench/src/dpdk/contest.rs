//! Ours and testpmd's, in turn.

use super::Effort;
use super::capture::Capture;
use super::environment::Environment;
use super::lcore::{Ours, Part};
use super::testpmd::{Mode, Testpmd};
use crate::error::BenchError;

/// All contestants, ready, with the packets of so many flows.
#[derive(Debug)]
pub(crate) struct Contest {
    ours: Ours,
    testpmd: Testpmd,
}

/// Nanoseconds a packet: parts of our loop, and testpmd's modes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    pub(crate) everything: f64,
    pub(crate) swap: f64,
    pub(crate) look_up: f64,
    pub(crate) io: f64,
    pub(crate) glance: f64,
    pub(crate) checksum: f64,
    pub(crate) port: f64,
}

/// What was measured with so many flows.
#[derive(Clone, Debug)]
pub(crate) struct Rounds {
    pub(crate) flows: u32,
    pub(crate) rounds: Vec<Round>,
}

impl Contest {
    pub(crate) fn prepare(environment: &Environment, flows: u32) -> Result<Self, BenchError> {
        let capture = Capture::new()?;
        let path = capture.path();
        // The driver reads all packets into mbufs, and copies each of them into a fresh one whenever its turn comes.
        let port = format!("--vdev=net_pcap0,rx_pcap={},infinite_rx=1", path.display());
        let ours = Ours::start(environment, flows, &port, &path)?;
        let testpmd = Testpmd::start(environment, flows, &port)?;
        Ok(Self { ours, testpmd })
    }

    /// Everybody's turn, in the order of the fields: what is compared most comes together.
    pub(crate) fn round(&mut self, effort: Effort) -> Result<Round, BenchError> {
        let Self { ours, testpmd } = self;
        Ok(Round {
            everything: ours.measure(Part::Everything, effort)?,
            swap: testpmd.measure(Mode::Swap, effort)?,
            look_up: ours.measure(Part::LookUp, effort)?,
            io: testpmd.measure(Mode::Io, effort)?,
            glance: ours.measure(Part::Glance, effort)?,
            checksum: testpmd.measure(Mode::Checksum, effort)?,
            port: ours.measure(Part::Port, effort)?,
        })
    }
}
