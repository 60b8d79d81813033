//! Which ports checks leave from: a block of them that full NAT leaves alone, so that what a backend answers to a check is never
//! taken for an answer to a client, and the other way round.

use fastrand::Rng;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

/// The ports of the checks of one backend, which takes them in turn: a connection that has ended keeps its port towards the
/// backend for a while. Several backends use the same port at the same time.
#[derive(Debug)]
pub(super) struct Ports {
    first: u16,
    count: u16,
    next: AtomicU16,
    /// Whether checks come so often that a port would be wanted again before it is free: then they end by a reset, which leaves
    /// it free at once.
    pub(super) is_busy: Arc<AtomicBool>,
    /// The interface that checks leave by, if that is not for routes to say.
    pub(super) device: Option<Arc<str>>,
}

impl Ports {
    /// Begins anywhere, so that it does not meet what a process before has left.
    pub(super) fn new(block: (u16, u16), is_busy: Arc<AtomicBool>) -> Self {
        let (first, last) = block;
        let count = (last - first).saturating_add(1);
        Self { first, count, next: AtomicU16::new(Rng::new().u16(0..count)), is_busy, device: None }
    }

    /// The same, for checks that leave by this interface.
    pub(super) fn leaving_by(self, device: Option<Arc<str>>) -> Self {
        Self { device, ..self }
    }

    /// The port whose turn it is, and then all others, for as long as ports turn out to be taken.
    pub(super) fn turn(&self) -> impl Iterator<Item = u16> {
        let all = 0..self.count;
        // One task asks at a time.
        all.map(|_| {
            let next = self.next.load(Ordering::Relaxed);
            self.next.store((next + 1) % self.count, Ordering::Relaxed);
            self.first + next
        })
    }
}

/// The address that stands for every address of the host, in the target's family.
pub(super) fn any(target: SocketAddr) -> IpAddr {
    match target {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_port_has_its_turn() {
        for block in [(65280, 65535), (1, 1), (1024, 1279)] {
            let ports = Ports::new(block, Arc::default());
            let mut all: Vec<_> = (block.0..=block.1).filter_map(|_| ports.turn().next()).collect();
            assert_eq!(ports.turn().next(), Some(all[0]), "and then it is the first one's again");
            all.sort_unstable();
            assert!(all.into_iter().eq(block.0..=block.1));
            let turn: BTreeSet<_> = ports.turn().collect();
            assert!(turn.into_iter().eq(block.0..=block.1), "whoever finds all of them taken has tried all");
        }
    }
}
