//! The packets: 64-byte frames, made of a head that a whole stream shares and a tuple.

use crate::layout::{FRAME, Tuple};
use evenkeel_core::flow::Peer;
use evenkeel_wire::{IpProtocol, Ipv4Address, MacAddress, Port};

/// The balancer's Ethernet address.
pub(crate) const OUR_MAC: MacAddress = MacAddress([0x02, 0, 0, 0, 0, 0x01]);
/// The Ethernet address that every packet comes from.
pub(crate) const THEIR_MAC: MacAddress = MacAddress([0x02, 0, 0, 0, 0, 0x02]);

pub(crate) const SYN: u8 = 0x02;
pub(crate) const ACK: u8 = 0x10;

/// What a stream's packets have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    protocol: IpProtocol,
    flags: u8,
}

impl Head {
    pub(crate) const fn tcp(flags: u8) -> Self {
        Self { protocol: IpProtocol::TCP, flags }
    }

    /// ICMP echo requests. The tuple's ports stand for type, code and checksum, see [`Head::echo`].
    pub(crate) const ECHO: Self = Self { protocol: IpProtocol::ICMP, flags: 0 };

    /// The whole frame with nothing of the tuple in it.
    pub(crate) fn bare(self) -> [u8; FRAME] {
        let mut frame = [0; FRAME];
        frame[0..6].copy_from_slice(&OUR_MAC.0);
        frame[6..12].copy_from_slice(&THEIR_MAC.0);
        frame[12] = 0x08;
        frame[14] = 0x45;
        frame[16..18].copy_from_slice(&(FRAME as u16 - 14).to_be_bytes());
        frame[20] = 0x40;
        frame[22] = 64;
        frame[23] = self.protocol.0;
        if self.protocol == IpProtocol::TCP {
            frame[46] = 5 << 4;
            frame[47] = self.flags;
            frame[48] = 0xff;
        }
        frame
    }

    /// The tuple of the packet from `source` to `destination`.
    pub(crate) fn tuple(self, source: Peer, destination: Peer) -> Tuple {
        let mut frame = self.bare();
        let addresses = u64::from(source.address.bits()) | u64::from(destination.address.bits()) << 32;
        frame[26..34].copy_from_slice(&addresses.to_ne_bytes());
        let ip_checksum = !sum(&frame[14..34]);
        let ports = u32::from(source.port.bits()) | u32::from(destination.port.bits()) << 16;
        frame[34..38].copy_from_slice(&ports.to_ne_bytes());
        // The pseudo-header (RFC 9293, section 3.1): addresses, protocol, length.
        let pseudo = u32::from(u16::from_be_bytes([0, self.protocol.0]).to_be())
            + u32::from((FRAME as u16 - 34).to_be())
            + u32::from(sum(&frame[26..]));
        Tuple { addresses, ports, ip_checksum, transport_checksum: !fold(pseudo) }
    }

    /// The tuple of an echo request.
    pub(crate) fn echo(source: Ipv4Address, destination: Ipv4Address) -> Tuple {
        let none = Port([0; 2]);
        let tuple =
            Self::ECHO.tuple(Peer { address: source, port: Port([8, 0]) }, Peer { address: destination, port: none });
        // A request is 8, 0 and zeros; the checksum is the last two of the four bytes.
        Tuple { ports: 0x0008 | u32::from(!0x0008_u16) << 16, transport_checksum: 0, ..tuple }
    }

    /// The frame that the driver makes of this tuple.
    pub(crate) fn frame(self, tuple: &Tuple) -> [u8; FRAME] {
        let mut frame = self.bare();
        frame[24..26].copy_from_slice(&tuple.ip_checksum.to_ne_bytes());
        frame[26..34].copy_from_slice(&tuple.addresses.to_ne_bytes());
        frame[34..38].copy_from_slice(&tuple.ports.to_ne_bytes());
        frame[50..52].copy_from_slice(&tuple.transport_checksum.to_ne_bytes());
        frame
    }
}

fn sum(bytes: &[u8]) -> u16 {
    fold(bytes.chunks(2).map(|pair| u32::from(u16::from_ne_bytes([pair[0], pair[1]]))).sum())
}

fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: [u8; 4], port: u16) -> Peer {
        Peer { address: Ipv4Address(address), port: Port::from_number(port) }
    }

    #[test]
    fn checksums_are_right() {
        let head = Head::tcp(SYN);
        let frame = head.frame(&head.tuple(peer([192, 0, 2, 1], 40000), peer([10, 0, 0, 10], 80)));
        assert_eq!(sum(&frame[14..34]), 0xffff);
        let pseudo = u32::from(6u16.to_be()) + u32::from(30u16.to_be()) + u32::from(sum(&frame[26..]));
        assert_eq!(fold(pseudo), 0xffff);
        let echo = Head::ECHO.frame(&Head::echo(Ipv4Address([192, 0, 2, 1]), Ipv4Address([10, 0, 0, 10])));
        assert_eq!((sum(&echo[14..34]), sum(&echo[34..]), echo[34]), (0xffff, 0xffff, 8));
    }
}
