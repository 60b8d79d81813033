//! Where answers go that follow the host's routes: to the router that the routes name for a client, whoever its packets come
//! from.
//!
//! Routers that stand in for one another may send from Ethernet addresses of their own. If one dies, whoever only listens, as
//! in a download, says nothing by which another could be learned; so answers that go back to where packets came from are lost
//! for good. The control side knows better: the first [`KEPT`] words of the hop table are its own. Half of them are routes, the
//! other half the Ethernet addresses that these lead to. A connection of a service that asks for it gets the number of such a
//! hop, and does not learn from packets. When a router changes, or is followed by another, one word is written, and every
//! connection goes there at once.

use crate::branchless::larger;
use crate::hop::Hop;
use crate::key::HopNumber;
use crate::word::Word;
use evenkeel_wire::Ipv4Address;

/// Routes that can be known.
pub const ROUTES: u16 = 32;

/// The hop table's first words, which no packet claims: by number first the hops of the routes, then the routes.
pub const KEPT: u16 = 2 * ROUTES;

/// A route as a word. From the low end: the network's address as a number (32 bits), the prefix' length (6), reserved; whether
/// answers go to where a client's packets come from (bit 62), as to hosts in the same network; whether it is one (63).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route(pub u64);

impl Route {
    const LENGTH_SHIFT: u32 = 32;
    const NEAR: u64 = 1 << 62;
    const TAKEN: u64 = 1 << 63;

    /// A route to the addresses that have the first `length` bits of `network`, at most 32; `is_near`: no router leads there.
    pub fn new(network: u32, length: u8, is_near: bool) -> Self {
        let near = if is_near { Self::NEAR } else { 0 };
        Self(u64::from(network) | u64::from(length & 63) << Self::LENGTH_SHIFT | near | Self::TAKEN)
    }

    /// The network's address as a number, and the length of its prefix; nothing if it is no route.
    pub fn network(self) -> Option<(u32, u8)> {
        (self.0 & Self::TAKEN != 0).then_some((self.0 as u32, self.length() as u8))
    }

    #[inline(always)]
    fn length(self) -> u64 {
        self.0 >> Self::LENGTH_SHIFT & 63
    }

    /// How well it fits an address: 0 not at all, and the better the longer its prefix. Without a branch.
    #[inline(always)]
    fn fits(self, address: u32) -> u64 {
        let host = (1_u64 << ((32_u64.wrapping_sub(self.length())) & 63)).wrapping_sub(1);
        let difference = u64::from(self.0 as u32 ^ address) & !host;
        // All ones if it is zero.
        let is_in = (difference.wrapping_sub(1) as i64 >> 63) as u64;
        (self.length() + 1) & is_in & (self.0 as i64 >> 63) as u64
    }
}

/// Whether a hop is the control side's.
#[inline(always)]
pub fn is_kept(number: HopNumber) -> bool {
    number.0 < KEPT
}

/// The hop that answers to this client go by, of the routes; nothing if they go to where its packets come from.
#[inline(always)]
pub fn number<'h, W: Word + 'h>(hops: impl Fn(HopNumber) -> Option<&'h W>, client: Ipv4Address) -> Option<HopNumber> {
    let address = u32::from_be_bytes(client.0);
    // How well it fits, whether it is near, which it is.
    let mut best = 0;
    for index in 0..ROUTES {
        let route = Route(hops(HopNumber(ROUTES + index))?.load());
        best = larger(route.fits(address) << 8 | route.0 >> 55 & 1 << 7 | u64::from(index), best);
    }
    let number = HopNumber(best as u16 & (ROUTES - 1));
    let leads_on = best >> 8 != 0 && best & 1 << 7 == 0;
    // A router that has not been found yet is nowhere to send to.
    let is_known = !Hop(hops(number)?.load()).mac().is_zero();
    (leads_on && is_known).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_fits_what_begins_like_it() {
        let route = |length: u8| Route::new(0x0a01_0200 & !(0xffff_ffff_u64 >> length) as u32, length, false);
        for length in 0..=32 {
            let same = route(length).fits(0x0a01_0200);
            assert_eq!(same, u64::from(length) + 1);
            if length > 0 {
                assert_eq!(route(length).fits(0x0a01_0200 ^ 1 << (32 - length)), 0, "{length}");
            }
            if length < 32 {
                assert_eq!(route(length).fits(0x0a01_0200 ^ 1 << (31 - length)), same, "{length}");
            }
        }
        assert_eq!(Route(0).fits(0), 0, "a word that is no route");
        assert_eq!(route(24).network(), Some((0x0a01_0200, 24)));
        assert_eq!(Route(0).network(), None);
    }
}
