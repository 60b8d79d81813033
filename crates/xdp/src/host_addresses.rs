//! Which addresses the host itself has, on whatever interface of our network namespace: what is for one of them, and not for the
//! balancer, is for its kernel.

use crate::error::XdpError;
use crate::netlink::ask_for_all;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::Handle;
use std::collections::{BTreeSet, HashSet};
use std::net::{IpAddr, Ipv4Addr};

/// An address on an interface. The same one may be on several, and on one with several prefixes and peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Assigned {
    address: Ipv4Addr,
    interface: u32,
    prefix: u8,
    peer: Option<Ipv4Addr>,
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
        let messages = ask_for_all("addresses", || {
            let mut request = netlink.address().get();
            request.message_mut().header.family = AddressFamily::Inet;
            request.execute()
        });
        Ok(Self(messages.await?.iter().filter_map(read).collect()))
    }

    /// Notes a change that the kernel tells of: the address is there now, or is not any more.
    pub fn change(&mut self, message: &AddressMessage, is_there: bool) {
        let Some(assigned) = read(message) else { return };
        if is_there {
            self.0.insert(assigned);
        } else {
            self.0.remove(&assigned);
        }
    }

    /// Each of them.
    pub fn all(&self) -> HashSet<Ipv4Addr> {
        self.0.iter().map(|assigned| assigned.address).collect()
    }
}

/// The address that a message is about, if it is of IPv4.
fn read(message: &AddressMessage) -> Option<Assigned> {
    let (mut local, mut peer) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(IpAddr::V4(address)) => local = Some(*address),
            // Of an interface without a peer the same as the local one (linux/if_addr.h).
            AddressAttribute::Address(IpAddr::V4(address)) => peer = Some(*address),
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

    fn address(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(192, 0, 2, last)
    }

    fn plain(interface: u32, prefix: u8, last: u8) -> AddressMessage {
        let it = IpAddr::from(address(last));
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
        let (own, peer) = (IpAddr::from(address(1)), IpAddr::from(address(2)));
        let tunnel = message(1, 32, &[AddressAttribute::Address(peer), AddressAttribute::Local(own)]);
        host.change(&tunnel, true);
        assert_eq!(host.all(), HashSet::from([address(1)]));
    }

    #[test]
    fn addresses_of_the_other_family_are_nothing() {
        let mut host = HostAddresses::default();
        host.change(&message(1, 64, &[AddressAttribute::Address(IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 1]))]), true);
        assert_eq!(host, HostAddresses::default());
    }
}
