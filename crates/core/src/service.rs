//! Services: what clients connect to.

use crate::allowance::Pace;
use evenkeel_wire::{IpProtocol, Ipv4Address, Port};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What a service is found by.
///
/// Aligned, or compilers would put it where they like on BPF's stack, and its halves where the verifier does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(4))]
pub struct ServiceKey {
    /// An IPv6 address; IPv4 as ::ffff:a.b.c.d (RFC 4291, section 2.5.5.2), so that one table serves both families.
    pub address: [u8; 16],
    /// The port; 0: any.
    pub port: Port,
    /// TCP or UDP.
    pub protocol: IpProtocol,
    /// Always 0.
    pub reserved: u8,
}

impl ServiceKey {
    /// The key of an IPv4 service.
    #[inline(always)]
    pub fn ipv4(address: Ipv4Address, port: Port, protocol: IpProtocol) -> Self {
        let [a, b, c, d] = address.0;
        Self { address: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d], port, protocol, reserved: 0 }
    }
}

/// What the packet path needs to know of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Service {
    /// Which Maglev table is the service's.
    pub table: u32,
    /// [`Service::CLIENT_ADDRESS`], [`Service::RESET`], [`Service::MISSING_RESET`] and [`Service::ROUTED`], or none of them.
    pub flags: u16,
    /// Which of the sets of idle times is its connections', below [`crate::flow::IDLE_CLASSES`].
    pub idle: u16,
    /// How many connections may be opened by who asks for the first time, in parts: see [`Service::newcomers`]. 0: any number.
    pub newcomers: u32,
}

impl Service {
    /// What [`Service::newcomers`] has to be for so many a second, all CPUs together. Rounded up, by less than
    /// one in a hundred from 24 a second on.
    pub const fn newcomers(a_second: u32) -> u32 {
        Pace::parts(a_second)
    }

    /// Each connection is placed for itself, and dropped while no backend takes it.
    pub const PLAIN: u16 = 0;
    /// All connections from one client address go to one backend.
    pub const CLIENT_ADDRESS: u16 = 1;
    /// A TCP connection that no backend takes is refused by a reset.
    pub const RESET: u16 = 2;
    /// A TCP segment that belongs to no known connection is answered by a reset.
    pub const MISSING_RESET: u16 = 4;
    /// Answers go where the host's routes lead ([`crate::reply`]), and not to where a client's packets come from.
    pub const ROUTED: u16 = 8;
}
