//! What was counted.

use super::stage::Stage;
use crate::plane::FlowView;
use evenkeel_core::BackendRef;
use std::collections::HashMap;
use std::time::Instant;

/// How many connections each backend had, and how far they had come.
#[derive(Clone, Debug)]
pub(crate) struct Census {
    /// When the count began. Connections that were opened after that may be missing, and those that have ended counted.
    pub(crate) begun: Instant,
    flows: HashMap<BackendRef, u64>,
    /// Those of them that have ended, and keep their places for late segments.
    ended: HashMap<BackendRef, u64>,
    stages: [u64; Stage::ALL.len()],
    /// Those of all of them that are IPv6.
    wide: u64,
}

impl Census {
    /// A count that begins now.
    pub(crate) fn begin() -> Self {
        Self {
            begun: Instant::now(),
            flows: HashMap::new(),
            ended: HashMap::new(),
            stages: [0; Stage::ALL.len()],
            wide: 0,
        }
    }

    /// Counts a connection.
    pub(crate) fn count(&mut self, flow: &FlowView) {
        *self.flows.entry(flow.backend).or_default() += 1;
        let Some(stage) = Stage::of(flow) else { return };
        self.stages[stage as usize] += 1;
        self.wide += u64::from(flow.client.is_ipv6());
        if stage == Stage::Closing {
            *self.ended.entry(flow.backend).or_default() += 1;
        }
    }

    /// How many connections there were that had come so far.
    pub(crate) fn at(&self, stage: Stage) -> u64 {
        self.stages[stage as usize]
    }

    /// How many connections there were of IPv6 clients.
    pub(crate) fn wide(&self) -> u64 {
        self.wide
    }

    /// How many connections this backend had.
    pub(crate) fn flows(&self, backend: BackendRef) -> u64 {
        self.flows.get(&backend).copied().unwrap_or(0)
    }

    /// How many of them had not ended.
    pub(crate) fn living(&self, backend: BackendRef) -> u64 {
        self.flows(backend).saturating_sub(self.ended.get(&backend).copied().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_core::flow::State;
    use evenkeel_wire::IpProtocol;
    use std::net::SocketAddr;
    use std::time::Duration;

    #[test]
    fn connections_are_counted_by_how_far_they_have_come() {
        let mut census = Census::begin();
        let mut count = |protocol, state, times| {
            let backend = BackendRef { index: 1, generation: 1 };
            let client = if state == State::Answered { [0_u16; 8].into() } else { [0_u8; 4].into() };
            let (client, nobody) = (SocketAddr::new(client, 1), SocketAddr::new([0; 4].into(), 0));
            let (service, nat, idle) = (nobody, nobody, Duration::ZERO);
            let flow = FlowView { protocol, client, service, backend, nat, state, idle };
            (0..times).for_each(|_| census.count(&flow));
        };
        for (state, times) in [
            (State::Opening, 1),
            (State::Answered, 2),
            (State::Established, 4),
            (State::HalfClosed, 8),
            (State::Closing, 16),
            (State::Reset, 32),
        ] {
            count(IpProtocol::TCP, state, times);
        }
        for (state, times) in [(State::Opening, 64), (State::Answered, 128), (State::Established, 256)] {
            count(IpProtocol::UDP, state, times);
        }
        assert_eq!(Stage::ALL.map(|stage| census.at(stage)), [3, 4, 8, 48, 64, 128, 256]);
        assert_eq!(census.wide(), 2 + 128);
        assert_eq!(census.flows(BackendRef { index: 1, generation: 1 }), 511);
        assert_eq!(census.living(BackendRef { index: 1, generation: 1 }), 511 - 48);
    }
}
