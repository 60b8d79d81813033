//! How far a connection has come, as people count connections.

use crate::plane::FlowView;
use evenkeel_core::flow::State;
use evenkeel_wire::IpProtocol;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// TCP: the handshake is not complete.
    HalfOpen,
    /// TCP: it is.
    Established,
    /// TCP: one side has ended.
    HalfClosed,
    /// TCP: both have, or one has reset.
    Closing,
    /// UDP: not answered.
    UdpOpening,
    /// UDP: answered.
    UdpAnswered,
    /// UDP: a stream.
    UdpEstablished,
}

impl Stage {
    /// All of them, TCP's first, in the order of a connection's life.
    pub const ALL: [Self; 7] = [
        Self::HalfOpen,
        Self::Established,
        Self::HalfClosed,
        Self::Closing,
        Self::UdpOpening,
        Self::UdpAnswered,
        Self::UdpEstablished,
    ];

    /// What metrics call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::HalfOpen => "half-open",
            Self::Established => "established",
            Self::HalfClosed => "half-closed",
            Self::Closing => "closing",
            Self::UdpOpening => "udp-opening",
            Self::UdpAnswered => "udp-answered",
            Self::UdpEstablished => "udp-established",
        }
    }

    /// That of a connection; nothing if its place is free.
    pub(crate) fn of(flow: &FlowView) -> Option<Self> {
        match (flow.state, flow.protocol == IpProtocol::UDP) {
            (State::Free | State::Claimed, _) => None,
            (State::Opening | State::Answered, false) => Some(Self::HalfOpen),
            (State::Established, false) => Some(Self::Established),
            (State::HalfClosed, false) => Some(Self::HalfClosed),
            (State::Closing | State::Reset, false) => Some(Self::Closing),
            (State::Opening, true) => Some(Self::UdpOpening),
            (State::Answered, true) => Some(Self::UdpAnswered),
            (_, true) => Some(Self::UdpEstablished),
        }
    }
}
