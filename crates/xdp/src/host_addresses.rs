//! Which addresses the host itself has, on whatever interface of our network namespace: what is for one of them, and not for the
//! balancer, is for its kernel.

use crate::error::XdpError;
use crate::netlink::ask_for_all;
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use rtnetlink::Handle;
use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;

/// An address on an interface. The same one may be on several, and on one with several prefixes and peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Assigned {
    address: IpAddr,
    interface: u32,
    prefix: u8,
    peer: Option<IpAddr>,
}

/// The host's addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostAddresses(BTreeSet<Assigned>);

impl HostAddresses {
    /// Asks the kernel.
    ///
    /// # Errors
    /// Netlink does not answer.
    pub async fn find(netlink: &Handle) -> Result<Self, XdpError> {
        // Of either family, since none is named.
        let messages = ask_for_all("addresses", || netlink.address().get().execute());
        Ok(Self(messages.await?.iter().filter(|message| is_in_use(message)).filter_map(read).collect()))
    }

    /// Notes a change that the kernel tells of: the address is there now, or is not any more.
    pub fn change(&mut self, message: &AddressMessage, is_there: bool) {
        let Some(assigned) = read(message) else { return };
        if is_there && is_in_use(message) {
            self.0.insert(assigned);
        } else {
            self.0.remove(&assigned);
        }
    }

    /// Each of them.
    pub fn all(&self) -> HashSet<IpAddr> {
        self.0.iter().map(|assigned| assigned.address).collect()
    }
}

/// Whether the kernel takes packets for the address: not while it looks whether somebody else has it, nor if somebody has
/// (RFC 4862, section 5.4). When it is done looking it says so by another message.
fn is_in_use(message: &AddressMessage) -> bool {
    !message.header.flags.intersects(AddressHeaderFlags::Tentative | AddressHeaderFlags::Dadfailed)
}

/// The address that a message is about.
fn read(message: &AddressMessage) -> Option<Assigned> {
    let (mut local, mut peer) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => local = Some(*address),
            // Of an interface without a peer the same as the local one (linux/if_addr.h).
            AddressAttribute::Address(address) => peer = Some(*address),
            _ => {}
        }
    }
    let header = &message.header;
    Some(Assigned { address: local.or(peer)?, interface: header.index, prefix: header.prefix_len, peer })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(interface: u32, prefix: u8, attributes: &[AddressAttribute]) -> AddressMessage {
        let mut message = AddressMessage::default();
        (message.header.index, message.header.prefix_len) = (interface, prefix);
        message.attributes = attributes.to_vec();
        message
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn plain(interface: u32, prefix: u8, last: u8) -> AddressMessage {
        let it = address(last);
        message(interface, prefix, &[AddressAttribute::Address(it), AddressAttribute::Local(it)])
    }

    #[test]
    fn an_address_is_the_hosts_until_it_has_gone_from_everywhere() {
        let mut host = HostAddresses::default();
        for (interface, prefix) in [(1, 24), (1, 32), (2, 24)] {
            host.change(&plain(interface, prefix, 1), true);
        }
        host.change(&plain(2, 24, 1), true);
        for (interface, prefix) in [(1, 24), (2, 24), (3, 24)] {
            host.change(&plain(interface, prefix, 1), false);
            assert_eq!(host.all(), HashSet::from([address(1)]));
        }
        host.change(&plain(1, 32, 1), false);
        assert_eq!(host.all(), HashSet::new());
    }

    #[test]
    fn a_peers_address_is_not_the_hosts() {
        let mut host = HostAddresses::default();
        let (own, peer) = (address(1), address(2));
        let tunnel = message(1, 32, &[AddressAttribute::Address(peer), AddressAttribute::Local(own)]);
        host.change(&tunnel, true);
        assert_eq!(host.all(), HashSet::from([address(1)]));
    }

    #[test]
    fn an_ipv6_address_is_the_hosts_once_the_kernel_has_looked_who_else_has_it() {
        let mut host = HostAddresses::default();
        let own = IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 1]);
        let mut tentative = message(1, 64, &[AddressAttribute::Address(own)]);
        let settled = tentative.clone();
        tentative.header.flags = AddressHeaderFlags::Tentative;
        host.change(&tentative, true);
        assert_eq!(host.all(), HashSet::new());
        host.change(&settled, true);
        assert_eq!(host.all(), HashSet::from([own]));
        tentative.header.flags = AddressHeaderFlags::Dadfailed | AddressHeaderFlags::Permanent;
        host.change(&tentative, true);
        assert_eq!(host.all(), HashSet::new(), "somebody else has it");
    }
}
