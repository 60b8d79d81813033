//! What the control side decides before packets fly, and does not change while they do.

use crate::flow::{IdleTimes, Timeouts};
use evenkeel_wire::{MacAddress, Port};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The number of slots of every Maglev table: a prime (Eisenbud et al., "Maglev", NSDI 2016, section 3.4), large
/// enough that weights come out within a percent for hundreds of backends.
pub const MAGLEV_SLOTS: u32 = 65537;

/// Settings of one plane. Plain data: BPF reads it as a global, user space writes it as bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Settings {
    /// The deployment's secret for picking backends (SipHash key). The same on every node, so that every node picks
    /// the same backend, and unknown outside, so that nobody can aim connections at one.
    pub pick_secret: [u64; 2],
    /// Secret for placing flows in the table; never visible outside.
    pub flow_secret: [u32; 4],
    /// What IPv6 addresses are placed by as well: see [`crate::hash::wide_secret`].
    pub wide_secret: [u32; 8],
    /// Number of buckets of the table of IPv4 flows less one; the number is a power of two.
    pub flow_mask: u32,
    /// The same of IPv6 flows.
    pub wide_flow_mask: u32,
    /// Number of IPv4 NAT addresses in the table of them.
    pub nat_addresses: u32,
    /// The same of IPv6, at most 65,536.
    pub wide_nat_addresses: u32,
    /// First NAT source port, host byte order.
    pub nat_port_first: u16,
    /// Last NAT source port, host byte order; not below the first.
    pub nat_port_last: u16,
    /// The Ethernet address that frames for us carry, and that we send from.
    pub mac: MacAddress,
    /// Whether what is for one of our addresses and nobody's there is refused, and not only dropped, if it is not 0.
    pub refuses: u16,
    /// First port that the host asks questions from, host byte order; 0: none. Answers to it are the kernel's.
    pub check_port_first: u16,
    /// Last of them, host byte order.
    pub check_port_last: u16,
    /// Idle times.
    pub timeouts: Timeouts,
    /// Always 0.
    pub reserved: [u8; 4],
}

impl Settings {
    /// Settings that nothing matches, the value before the control side writes the real one.
    pub const EMPTY: Self = Self {
        pick_secret: [0; 2],
        flow_secret: [0; 4],
        wide_secret: [0; 8],
        flow_mask: 0,
        wide_flow_mask: 0,
        nat_addresses: 0,
        wide_nat_addresses: 0,
        nat_port_first: 0,
        nat_port_last: 0,
        mac: MacAddress([0; 6]),
        timeouts: Timeouts::uniform(IdleTimes::DEFAULT),
        refuses: 0,
        check_port_first: 0,
        check_port_last: 0,
        reserved: [0; 4],
    };

    /// Whether the host asks questions from this port.
    #[inline(always)]
    pub fn is_check_port(&self, port: Port) -> bool {
        let number = port.number();
        self.check_port_first != 0 && self.check_port_first <= number && number <= self.check_port_last
    }
}
