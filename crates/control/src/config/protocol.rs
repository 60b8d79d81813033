//! Transport protocols that a service may have.

use evenkeel_wire::IpProtocol;
use serde::Deserialize;
use std::fmt;

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// As it stands in packets and tables.
    pub fn on_the_wire(self) -> IpProtocol {
        match self {
            Self::Tcp => IpProtocol::TCP,
            Self::Udp => IpProtocol::UDP,
        }
    }

    /// The inverse of [`Protocol::on_the_wire`]; nothing if no service can have it.
    pub fn from_wire(protocol: IpProtocol) -> Option<Self> {
        match protocol {
            IpProtocol::TCP => Some(Self::Tcp),
            IpProtocol::UDP => Some(Self::Udp),
            _ => None,
        }
    }
}

/// As in the file: `tcp` or `udp`.
impl fmt::Display for Protocol {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}
