//! An entry of the kernel's neighbour table: what may be used of it, and whose it is.

use evenkeel_wire::MacAddress;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use std::net::IpAddr;

/// An entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The Ethernet address, if the entry can be used.
    pub(super) mac: Option<MacAddress>,
    /// The kernel has made it, and does not look after it now unless it is used.
    pub(super) is_in_doubt: bool,
}

/// The entry that a message is about, and whose it is; nothing if it is of another interface, or says for whom we answer.
pub(super) fn read(message: &NeighbourMessage, interface: u32) -> Option<(IpAddr, Entry)> {
    use NeighbourState::{Delay, Failed, Noarp, None as New, Permanent, Probe, Reachable, Stale};
    let header = &message.header;
    if header.ifindex != interface || header.flags.contains(NeighbourFlags::Proxy) {
        return None;
    }
    let (mut address, mut mac) = (None, None);
    // Entered by a routing daemon; kept known by the kernel because somebody told it to.
    let mut is_others = header.flags.contains(NeighbourFlags::ExtLearned);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(destination)) => {
                address = Some(IpAddr::from(*destination));
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(destination)) => {
                address = Some(IpAddr::from(*destination));
            }
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes.as_slice().try_into().ok().map(MacAddress),
            NeighbourAttribute::ExtFlags(flags) => is_others |= flags.contains(NeighbourExtFlags::Managed),
            _ => {}
        }
    }
    let is_usable = matches!(header.state, Reachable | Stale | Delay | Probe | Permanent | Noarp);
    let is_in_doubt = !is_others && matches!(header.state, New | Stale | Failed);
    let mac = mac.filter(|mac| is_usable && !mac.is_zero());
    Some((address?, Entry { mac, is_in_doubt }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);

    fn message(state: NeighbourState, flags: NeighbourFlags) -> NeighbourMessage {
        let mut message = NeighbourMessage::default();
        message.header.ifindex = 7;
        message.header.state = state;
        message.header.flags = flags;
        message.attributes = vec![
            NeighbourAttribute::Destination(NeighbourAddress::Inet(Ipv4Addr::new(10, 0, 0, 2))),
            NeighbourAttribute::LinkLayerAddress(MAC.0.to_vec()),
        ];
        message
    }

    fn entry(state: NeighbourState, flags: NeighbourFlags) -> Entry {
        read(&message(state, flags), 7).expect("it is about the interface").1
    }

    #[test]
    fn only_the_kernels_own_entries_are_in_doubt() {
        use NeighbourState::{Delay, Failed, Incomplete, Noarp, Permanent, Probe, Reachable, Stale};
        let own = NeighbourFlags::empty();
        for state in [Reachable, Delay, Probe] {
            assert_eq!(entry(state, own), Entry { mac: Some(MAC), is_in_doubt: false }, "{state:?}");
        }
        assert_eq!(entry(Stale, own), Entry { mac: Some(MAC), is_in_doubt: true });
        assert_eq!(entry(Failed, own), Entry { mac: None, is_in_doubt: true });
        assert_eq!(entry(Incomplete, own), Entry { mac: None, is_in_doubt: false }, "it is asking");
        for state in [Permanent, Noarp] {
            assert_eq!(entry(state, own), Entry { mac: Some(MAC), is_in_doubt: false }, "{state:?}");
        }
        let learned = entry(Stale, NeighbourFlags::ExtLearned);
        assert_eq!(learned, Entry { mac: Some(MAC), is_in_doubt: false });
        let mut managed = message(Stale, own);
        managed.attributes.push(NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed));
        assert!(!read(&managed, 7).expect("it is about the interface").1.is_in_doubt);
    }

    #[test]
    fn whom_we_answer_for_and_other_interfaces_are_no_entries() {
        let proxy = message(NeighbourState::Permanent, NeighbourFlags::Proxy);
        assert_eq!(read(&proxy, 7), None);
        assert_eq!(read(&message(NeighbourState::Reachable, NeighbourFlags::empty()), 8), None);
    }
}
