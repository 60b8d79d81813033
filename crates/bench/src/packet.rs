//! The packets: 64-byte frames, made of a head that a whole stream shares and a tuple.
//!
//! The head is built as every test's packets are. Tuples are a matter of arithmetic on it: there are millions of them, and
//! the driver makes the same packets of them in BPF, where nobody builds any.

use crate::layout::{FRAME, Tuple};
use evenkeel_core::flow::Peer;
pub(crate) use evenkeel_packets::{ACK, SYN};
use evenkeel_packets::{Draft, echo, end, tcp};
use evenkeel_wire::MacAddress;
use evenkeel_wire::checksum::Adjustment;

/// The balancer's Ethernet address.
pub(crate) const OUR_MAC: MacAddress = MacAddress([0x02, 0, 0, 0, 0, 0x01]);
/// The Ethernet address that every packet comes from.
pub(crate) const THEIR_MAC: MacAddress = MacAddress([0x02, 0, 0, 0, 0, 0x02]);

const IP_CHECKSUM: usize = 24;
const ADDRESSES: usize = 26;
/// And of ICMP type, code and checksum.
const PORTS: usize = 34;
const TCP_CHECKSUM: usize = 50;

/// What a stream's packets have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    /// A whole packet, from nobody to nobody.
    frame: [u8; FRAME],
    has_ports: bool,
}

impl Head {
    /// TCP segments with these control bits.
    pub(crate) fn tcp(flags: u8) -> Self {
        let nobody = end([0; 4], 0);
        Self::of(tcp(nobody, nobody, flags).payload(&[0; 10]), true)
    }

    /// The same with nothing in them: what is behind the header is the frame's padding.
    pub(crate) fn without_data(flags: u8) -> Self {
        let nobody = end([0; 4], 0);
        Self::of(tcp(nobody, nobody, flags).payload(&[]).padding(10), true)
    }

    /// ICMP echo requests. The tuple's ports stand for type, code and checksum.
    pub(crate) fn echo() -> Self {
        Self::of(echo([0; 4], [0; 4]).payload(&[0; 22]), false)
    }

    fn of(draft: Draft, has_ports: bool) -> Self {
        let bytes = draft.source_mac(THEIR_MAC.0).destination_mac(OUR_MAC.0).bytes();
        Self { frame: bytes.try_into().expect("payloads fill the frame"), has_ports }
    }

    /// The whole frame with nothing of the tuple in it.
    pub(crate) fn bare(&self) -> [u8; FRAME] {
        self.frame(&Tuple::default())
    }

    /// The tuple of the packet from `source` to `destination`; an echo request has no ports.
    pub(crate) fn tuple(&self, source: Peer, destination: Peer) -> Tuple {
        let (from, to) = (source.address.bits(), destination.address.bits());
        let word = |at: usize| u16::from_ne_bytes([self.frame[at], self.frame[at + 1]]);
        let addresses = Adjustment::NONE.replace_u32(0, from).replace_u32(0, to);
        let mut tuple = Tuple {
            addresses: u64::from(from) | u64::from(to) << 32,
            ports: u32::from(word(PORTS)) | u32::from(word(PORTS + 2)) << 16,
            ip_checksum: addresses.apply(word(IP_CHECKSUM)),
            transport_checksum: word(TCP_CHECKSUM),
        };
        if self.has_ports {
            tuple.ports = u32::from(source.port.bits()) | u32::from(destination.port.bits()) << 16;
            tuple.transport_checksum = addresses.replace_u32(0, tuple.ports).apply(tuple.transport_checksum);
        }
        tuple
    }

    /// The frame that the driver makes of this tuple.
    pub(crate) fn frame(&self, tuple: &Tuple) -> [u8; FRAME] {
        let mut frame = self.frame;
        frame[IP_CHECKSUM..ADDRESSES].copy_from_slice(&tuple.ip_checksum.to_ne_bytes());
        frame[ADDRESSES..PORTS].copy_from_slice(&tuple.addresses.to_ne_bytes());
        frame[PORTS..PORTS + 4].copy_from_slice(&tuple.ports.to_ne_bytes());
        frame[TCP_CHECKSUM..TCP_CHECKSUM + 2].copy_from_slice(&tuple.transport_checksum.to_ne_bytes());
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_wire::{Ipv4Address, Port};
    use std::net::SocketAddr;

    fn peer(address: [u8; 4], port: u16) -> Peer {
        Peer { address: Ipv4Address(address), port: Port::from_number(port) }
    }

    fn built(draft: Draft) -> Vec<u8> {
        draft.source_mac(THEIR_MAC.0).destination_mac(OUR_MAC.0).bytes()
    }

    #[test]
    fn what_the_driver_makes_of_a_tuple_is_the_packet_that_the_builder_builds() {
        let flags = [SYN, ACK, SYN | ACK];
        for (number, &flags) in (0..3000_u16).zip(flags.iter().cycle()) {
            let [high, low] = number.wrapping_mul(40_503).to_be_bytes();
            let (source, destination) = ([192, 0, high, low], [10, low, 0, high]);
            let head = Head::tcp(flags);
            let tuple = head.tuple(peer(source, 40_000 + number), peer(destination, 80));
            let [from, to]: [SocketAddr; 2] = [end(source, 40_000 + number), end(destination, 80)];
            assert_eq!(head.frame(&tuple).as_slice(), built(tcp(from, to, flags).payload(&[0; 10])));
            let head = Head::echo();
            let tuple = head.tuple(peer(source, 0), peer(destination, 0));
            assert_eq!(head.frame(&tuple).as_slice(), built(echo(source, destination).payload(&[0; 22])));
        }
    }
}
