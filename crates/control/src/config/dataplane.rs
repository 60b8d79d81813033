//! `[dataplane]`: which plane, and what it must know of its surroundings.

use super::secret::PickSecret;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `[dataplane]`: where packets are met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataplane {
    /// The plane that this file is for; if it does not say, for either.
    pub kind: Option<Kind>,
    /// The network interface (XDP).
    pub interface: Option<String>,
    /// Where in the interface's path the program runs (XDP).
    pub xdp_mode: XdpMode,
    /// Connections that the flow table is made for.
    pub max_flows: u32,
    /// The host's own address and network, such as 192.0.2.5/24 (DPDK; on XDP the kernel has it). Without it, everybody
    /// is reached directly.
    pub address: Option<HostAddress>,
    /// The way to backends outside that network (DPDK; on XDP the kernel's routes say).
    pub gateway: Option<Ipv4Addr>,
    /// The host's own address and network of IPv6, such as 2001:db8::5/64 (DPDK). Without it, everybody is reached directly of whom
    /// no router says anything else.
    pub address6: Option<HostAddress6>,
    /// The way to backends outside that network (DPDK). Without it, routers say.
    pub gateway6: Option<Ipv6Addr>,
    /// The VLAN that the balancer is in, if frames there have tags (DPDK).
    pub vlan: Option<u16>,
    /// What lcores do when nothing arrives (DPDK).
    pub idle: Idle,
    /// The longest IPv4 packet that the port carries, in bytes (DPDK); without it, as the port has it.
    pub mtu: Option<u16>,
    /// What backends are picked by; without it, a random one, which lives as long as the tables.
    pub secret: Option<PickSecret>,
    /// What becomes of a packet that is for an address of ours, which no host has, and for no service there.
    pub unserved: Unserved,
}

impl Default for Dataplane {
    fn default() -> Self {
        Self {
            kind: None,
            interface: None,
            xdp_mode: XdpMode::Auto,
            max_flows: 1 << 20,
            address: None,
            gateway: None,
            address6: None,
            gateway6: None,
            vlan: None,
            idle: Idle::Sleep,
            mtu: None,
            secret: None,
            unserved: Unserved::Refuse,
        }
    }
}

impl Dataplane {
    /// The host's own addresses.
    pub fn own_addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let four = self.address.map(|own| own.address.into());
        let six = self.address6.map(|own| own.address.into());
        four.into_iter().chain(six)
    }
}

/// Which plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// In the kernel.
    Xdp,
    /// In user space.
    Dpdk,
}

/// What an lcore does when nothing arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Idle {
    /// After it has found nothing for a while it waits for the port's receive interrupts, or, if the port has none, sleeps
    /// between polls.
    Sleep,
    /// Polls without a pause, and keeps its CPU busy.
    Poll,
}

/// What becomes of a packet that is for an address of ours, which no host has, and for no service there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unserved {
    /// Its sender is told: by a reset, or by ICMP port unreachable. And by ICMP time exceeded where a packet's time to live ends
    /// here. Some thousand times a second at most.
    Refuse,
    /// Nothing is said.
    Drop,
}

/// An address and the length of its network's prefix, as in 192.0.2.5/24.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostAddress {
    /// The address.
    pub address: Ipv4Addr,
    /// Bits that the network's addresses have in common, up to 32.
    pub prefix: u8,
}

impl HostAddress {
    /// Whether `other` is in the same network.
    pub fn has_near(&self, other: Ipv4Addr) -> bool {
        let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
        (u32::from(self.address) ^ u32::from(other)) & mask == 0
    }
}

impl<'de> Deserialize<'de> for HostAddress {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = String::deserialize(input)?;
        let parts = text.split_once('/').and_then(|(address, prefix)| {
            let address = address.parse().ok()?;
            Some(Self { address, prefix: prefix.parse().ok().filter(|prefix| *prefix <= 32)? })
        });
        parts.ok_or_else(|| {
            D::Error::custom(format!("an address with its network is like 192.0.2.5/24, not \"{text}\""))
        })
    }
}

/// An address of IPv6 and the length of its network's prefix, as in 2001:db8::5/64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostAddress6 {
    /// The address.
    pub address: Ipv6Addr,
    /// Bits that the network's addresses have in common, up to 128.
    pub prefix: u8,
}

impl HostAddress6 {
    /// Whether `other` is in the same network.
    pub fn has_near(&self, other: Ipv6Addr) -> bool {
        let mask = u128::MAX.checked_shl(128_u32.saturating_sub(self.prefix.into())).unwrap_or(0);
        (self.address.to_bits() ^ other.to_bits()) & mask == 0
    }
}

impl<'de> Deserialize<'de> for HostAddress6 {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = String::deserialize(input)?;
        let parts = text.split_once('/').and_then(|(address, prefix)| {
            let address = address.parse().ok()?;
            Some(Self { address, prefix: prefix.parse().ok().filter(|prefix| *prefix <= 128)? })
        });
        parts.ok_or_else(|| {
            D::Error::custom(format!("an address of IPv6 with its network is like 2001:db8::5/64, not \"{text}\""))
        })
    }
}

/// How the XDP program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum XdpMode {
    /// Native where it works, else generic.
    Auto,
    /// In the driver, before the kernel makes a socket buffer.
    Native,
    /// In front of the network stack; works on every interface, slower.
    Generic,
}

impl fmt::Display for XdpMode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Auto => "auto",
            Self::Native => "native",
            Self::Generic => "generic",
        })
    }
}
