//! The filter that lets packets which are not ours leave early: a bit for the hash of each of our addresses.

use crate::hash;
use crate::key::WideAddress;
use evenkeel_wire::{Ipv4Address, Ipv6Address};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const WORDS: usize = 1024;

/// 65,536 bits, 8 KiB. Shared with the packet path, which reads one word of it.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct AddressFilter([u64; WORDS]);

impl AddressFilter {
    /// A filter that holds nothing.
    pub const EMPTY: Self = Self([0; WORDS]);

    /// Adds an address.
    pub fn insert(&mut self, address: Ipv4Address) {
        self.set(hash::filter_bit(address));
    }

    /// Adds an IPv6 address.
    pub fn insert_wide(&mut self, address: Ipv6Address) {
        self.set(hash::wide_filter_bit(address.into()));
    }

    fn set(&mut self, bit: u32) {
        if let Some(word) = self.0.get_mut((bit >> 6) as usize & (WORDS - 1)) {
            *word |= 1 << (bit & 63);
        }
    }

    /// Whether the address may have been added; a wrong yes is rare, a wrong no never happens.
    #[inline(always)]
    pub fn may_contain(&self, address: Ipv4Address) -> bool {
        self.has(hash::filter_bit(address))
    }

    /// Whether an IPv6 address may have been added.
    #[inline(always)]
    pub fn may_contain_wide(&self, address: WideAddress) -> bool {
        self.has(hash::wide_filter_bit(address))
    }

    #[inline(always)]
    fn has(&self, bit: u32) -> bool {
        // The mask is for the verifier, which does not see that the bit's number is small.
        self.0.get((bit >> 6) as usize & (WORDS - 1)).is_some_and(|word| word >> (bit & 63) & 1 != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_found_and_little_else() {
        let mut filter = AddressFilter::EMPTY;
        for last in 0..=255 {
            filter.insert(Ipv4Address([192, 0, 2, last]));
        }
        assert!((0..=255).all(|last| filter.may_contain(Ipv4Address([192, 0, 2, last]))));
        // 256 of 65,536 bits are set, so about one foreign address in 256 is taken for ours.
        let wrong =
            (0..=u16::MAX).filter(|n| filter.may_contain(Ipv4Address([10, 7, (n >> 8) as u8, *n as u8]))).count();
        assert!(wrong < 2048, "{wrong} of 65,536");
    }
}
