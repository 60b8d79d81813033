//! dpdk-testpmd, the yardstick (DPDK documentation, "Testpmd Application User Guide"), spoken to at its prompt.

use super::environment::{Environment, ROOM, mbufs, packets};
use super::talker::Talker;
use super::{Effort, WARM_UP};
use crate::error::BenchError;
use std::env;
use std::thread::sleep;
use std::time::Duration;

const PROGRAM: &str = "dpdk-testpmd";

/// Whether it is installed.
pub(crate) fn is_there() -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(PROGRAM).is_file())
}

/// How testpmd forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Sends what was received, unread: the limit.
    Io,
    /// Swaps Ethernet addresses, IPv4 addresses and ports.
    Swap,
    /// Parses, and computes the checksums of IPv4 and TCP anew.
    Checksum,
}

impl Mode {
    /// As testpmd calls it.
    fn name(self) -> &'static str {
        match self {
            Self::Io => "io",
            Self::Swap => "5tswap",
            Self::Checksum => "csum",
        }
    }
}

/// A running testpmd.
#[derive(Debug)]
pub(crate) struct Testpmd(Talker);

impl Testpmd {
    /// Starts it on a port that receives these packets for ever.
    pub(crate) fn start(environment: &Environment, flows: u32, port: &str) -> Result<Self, BenchError> {
        // Its output comes in lines only to a terminal, or if the C library is asked (stdbuf(1)).
        let mut command = environment.command("stdbuf");
        command.args(["-oL", PROGRAM]);
        command.args(environment.eal("testpmd", packets(flows), true)).arg(port).arg("--");
        // A port of this kind has no queue that could be flushed, ever; the rest is as our own process has it.
        command.args([
            "-i",
            "--nb-cores=1",
            "--nb-ports=1",
            "--no-flush-rx",
            "--no-numa",
            "--burst=32",
            "--mbcache=256",
        ]);
        command.arg(format!("--mbuf-size={}", 128 + ROOM)).arg(format!("--total-num-mbufs={}", mbufs(packets(flows))));
        let mut talker = Talker::start(PROGRAM, command)?;
        talker.hear_of("Done")?;
        Ok(Self(talker))
    }

    /// Forwards in this mode for a turn; returns nanoseconds a packet.
    pub(crate) fn measure(&mut self, mode: Mode, effort: Effort) -> Result<f64, BenchError> {
        self.0.say(&format!("set fwd {}", mode.name()))?;
        self.0.say("start")?;
        sleep(WARM_UP);
        let (packets, time) = self.progress()?;
        sleep(effort.turn);
        let (more_packets, later) = self.progress()?;
        self.0.say("stop")?;
        let received = self.0.hear_of("RX-total:")?;
        let sent = self.0.hear_of("TX-total:")?;
        self.0.hear_of("Done.")?;
        if figure(&received, "RX-total:") != figure(&sent, "TX-packets:") || figure(&received, "RX-total:") == Some(0) {
            let (received, sent) = (received.trim(), sent.trim());
            return Err(BenchError::Broken(format!("testpmd has not sent what it received ({received}; {sent}).")));
        }
        Ok((later - time).as_nanos() as f64 / (more_packets - packets) as f64)
    }

    /// Packets received, by the port's own counter, and the CPU time that it has taken so far.
    fn progress(&mut self) -> Result<(u64, Duration), BenchError> {
        self.0.say("show port stats 0")?;
        let line = self.0.hear_of("RX-packets:")?;
        let time = self.0.cpu_time()?;
        self.0.hear_of("Tx-pps:")?;
        match figure(&line, "RX-packets:") {
            Some(packets) => Ok((packets, time)),
            None => Err(BenchError::Broken(format!("testpmd says {}", line.trim()))),
        }
    }
}

/// The number behind this word.
fn figure(line: &str, word: &str) -> Option<u64> {
    line.split_once(word)?.1.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_as_testpmd_writes_them() {
        let line = "  RX-packets: 81816960       RX-dropped: 0             RX-total: 81816960\n";
        assert_eq!((figure(line, "RX-total:"), figure(line, "RX-dropped:")), (Some(81_816_960), Some(0)));
        let line = "  RX-packets: 1440       RX-missed: 0          RX-bytes:  92160\n";
        assert_eq!((figure(line, "RX-packets:"), figure(line, "RX-total:")), (Some(1440), None));
    }
}
