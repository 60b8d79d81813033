//! Checksums of packets that etherparse will not take apart, such as a TCP segment whose header claims to be longer than
//! the packet.

use etherparse::checksum::Sum16BitWords;

/// Whether the transport's checksum would satisfy a receiver of the IP packet that begins at this place, an IPv6 one without
/// extension headers. Nothing for what has no checksum.
pub fn transport_sum_is_sound(bytes: &[u8], ip_offset: usize) -> Option<bool> {
    let ip = bytes.get(ip_offset..)?;
    let length = |at: usize| Some(usize::from(u16::from_be_bytes([*ip.get(at)?, *ip.get(at + 1)?])));
    let (protocol, addresses, segment) = match ip.first()? >> 4 {
        6 => (*ip.get(6)?, ip.get(8..40)?, ip.get(40..40 + length(4)?)?),
        // Whatever it says: what is tested is what a balancer that takes it for IPv4 makes of it.
        _ => (*ip.get(9)?, ip.get(12..20)?, ip.get(usize::from(ip[0] & 0xf) * 4..length(2)?)?),
    };
    let sum = Sum16BitWords::new().add_slice(segment);
    let pseudo_header = |sum: Sum16BitWords| {
        let length = u16::try_from(segment.len()).expect("16 bits say it").to_be_bytes();
        sum.add_slice(addresses).add_2bytes([0, protocol]).add_2bytes(length)
    };
    let sum = match protocol {
        1 => sum,
        6 | 58 => pseudo_header(sum),
        17 if segment.get(6..8)? == [0, 0] => return None,
        17 => pseudo_header(sum),
        _ => return None,
    };
    Some(sum.ones_complement() == 0)
}
