//! Internet checksums, changed incrementally (RFC 1624, equation 3: `HC' = ~(~HC + ~m + m')`).
//!
//! All values are wire bytes in memory order. One's-complement addition gives the same bytes in either byte order
//! (RFC 1071, section 2 (B)), so nothing is swapped.

use crate::{IpProtocol, Ipv6Address};

/// The sum of `~m + m'` over everything that changes; may be applied to any number of checksums that cover it.
#[derive(Clone, Copy, Default, Debug)]
pub struct Adjustment(u64);

impl Adjustment {
    /// Nothing has changed.
    pub const NONE: Self = Self(0);

    /// A 32-bit field goes from `old` to `new`.
    #[inline(always)]
    pub fn replace_u32(self, old: u32, new: u32) -> Self {
        Self(self.0 + u64::from(!old) + u64::from(new))
    }

    /// A 16-bit field goes from `old` to `new`.
    #[inline(always)]
    pub fn replace_u16(self, old: u16, new: u16) -> Self {
        Self(self.0 + u64::from(!old) + u64::from(new))
    }

    /// The sum over a 32-bit word: the beginning of a checksum over several.
    #[inline(always)]
    pub fn of(word: u32) -> Self {
        Self(u64::from(word))
    }

    /// With another word.
    #[inline(always)]
    pub fn and(self, word: u32) -> Self {
        Self(self.0 + u64::from(word))
    }

    /// With everything that is in another.
    #[inline(always)]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// The checksum over all of these words (RFC 1071, section 1).
    #[inline(always)]
    pub fn checksum(self) -> u16 {
        !fold(self.0)
    }

    /// The checksum after the changes.
    #[inline(always)]
    pub fn apply(self, checksum: u16) -> u16 {
        !fold(self.0 + u64::from(!checksum))
    }

    /// The same for UDP: 0 means that the sender computed none and stays 0; a computed 0 is sent as 0xffff (RFC 768).
    #[inline(always)]
    pub fn apply_udp(self, checksum: u16) -> u16 {
        if checksum == 0 {
            return 0;
        }
        match self.apply(checksum) {
            0 => 0xffff,
            other => other,
        }
    }
}

/// The checksum of an ICMPv6 message between these addresses (RFC 4443, section 2.3; RFC 8200, section 8.1). Where the message has
/// one already, what comes out is 0 if that is right.
pub fn icmpv6(source: Ipv6Address, destination: Ipv6Address, message: &[u8]) -> u16 {
    let pseudo = (message.len() as u32).wrapping_add(IpProtocol::ICMPV6.0.into()).to_be();
    let mut sum = Adjustment::of(pseudo);
    for bytes in [&source.0[..], &destination.0, message] {
        for chunk in bytes.chunks(4) {
            let mut word = [0; 4];
            word.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
            sum = sum.and(u32::from_ne_bytes(word));
        }
    }
    sum.checksum()
}

/// Folds a sum to 16 bits by adding the carries back (RFC 1071, section 4.1). Sound for any 64-bit sum.
#[inline(always)]
fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    extern crate std;

    /// The whole-buffer definition, RFC 1071 section 4.1, as the oracle for the incremental one.
    fn internet_checksum(words: &[u16]) -> u16 {
        let mut sum: u32 = words.iter().map(|&word| u32::from(word)).sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test]
    fn rfc_1624_section_4_example() {
        // HC = 0xDD2F, m = 0x5555, m' = 0x3285 gives HC' = 0x0000: the case that RFC 1141 got wrong.
        assert_eq!(Adjustment::NONE.replace_u16(0x5555, 0x3285).apply(0xdd2f), 0x0000);
    }

    #[test]
    fn an_icmpv6_message_and_its_pseudo_header_sum_up_to_nothing() {
        let address = |last| {
            let mut bytes = [0; 16];
            (bytes[0], bytes[1], bytes[15]) = (0xfe, 0x80, last);
            Ipv6Address(bytes)
        };
        let mut message = std::vec![135, 0, 0, 0, 0, 0, 0, 0];
        message.extend(address(1).0);
        message.extend([1, 1, 2, 0, 0, 0, 0, 2]);
        let checksum = icmpv6(address(2), address(1), &message);
        message[2..4].copy_from_slice(&checksum.to_ne_bytes());
        assert_eq!(icmpv6(address(2), address(1), &message), 0);
        // By the definition (RFC 8200, section 8.1), of which the order of the words is no part.
        let pseudo = [&address(2).0[..], &address(1).0, &[0, 0, 0, 32, 0, 0, 0, 58], &message].concat();
        let words: std::vec::Vec<_> = pseudo.chunks(2).map(|pair| u16::from_ne_bytes([pair[0], pair[1]])).collect();
        assert_eq!(internet_checksum(&words), 0);
    }

    #[test]
    fn udp_without_a_checksum_stays_without() {
        assert_eq!(Adjustment::NONE.replace_u32(1, 2).apply_udp(0), 0);
    }

    #[test]
    fn udp_checksum_computed_as_zero_is_sent_as_ones() {
        assert_eq!(Adjustment::NONE.replace_u16(0x5555, 0x3285).apply_udp(0xdd2f), 0xffff);
    }

    proptest! {
        #[test]
        fn a_sum_over_words_is_the_checksum_over_their_halves(words in prop::collection::vec(any::<u32>(), 1..10)) {
            let sum = words.iter().fold(Adjustment::NONE, |sum, &word| sum.and(word));
            let halves: std::vec::Vec<_> = words.iter().flat_map(|&word| [word as u16, (word >> 16) as u16]).collect();
            prop_assert_eq!(sum.checksum(), internet_checksum(&halves));
        }

        #[test]
        fn incremental_equals_recomputed(mut words in prop::collection::vec(any::<u16>(), 4..40),
                                         new in any::<(u16, u16, u16)>()) {
            // A real header or pseudo-header is never all zero; with an all-zero one, ~0 and 0 both mean zero.
            words[3] |= 1;
            let before = internet_checksum(&words);
            let old32 = u32::from(words[0]) | u32::from(words[1]) << 16;
            let new32 = u32::from(new.0) | u32::from(new.1) << 16;
            let adjusted = Adjustment::NONE.replace_u32(old32, new32).replace_u16(words[2], new.2).apply(before);
            (words[0], words[1], words[2]) = new;
            prop_assert_eq!(adjusted, internet_checksum(&words));
        }
    }
}
