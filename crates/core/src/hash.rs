//! Keyed hashes. One places flows in the table and is fast; the other picks backends and is a pseudo-random function.

use crate::key::FlowKey;
use evenkeel_wire::Ipv4Address;

/// Where a flow is kept: bits 32 and up say which bucket, the top bits at which of its entries to begin.
///
/// NH (Krovetz, RFC 4418, section 5.2.2): over 32-bit words, any two different keys collide with probability 2^-32
/// for whoever does not know the secret; a multiplication then spreads the sum over all bits. Nobody outside sees the
/// outcome, so an almost-universal hash is enough here, and it costs a quarter of SipHash.
#[inline(always)]
pub fn place(key: FlowKey, secret: &[u32; 4]) -> u64 {
    let [a, b, c, d] = *secret;
    let addresses = product(key.addresses as u32, a, (key.addresses >> 32) as u32, b);
    let ports = product(key.ports as u32, c, (key.ports >> 32) as u32, d);
    let sum = addresses.wrapping_add(ports);
    (sum ^ (sum >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The index of the bucket that this place is in; `mask` is their number, a power of two, less one.
#[inline(always)]
pub fn bucket(place: u64, mask: u32) -> u32 {
    (place >> 32) as u32 & mask
}

/// The entry of its bucket at which a search begins.
#[inline(always)]
pub fn start(place: u64) -> usize {
    (place >> 61) as usize
}

/// Among which words the hop to this neighbour is looked for, all but the low three bits, and where to begin, those.
///
/// NH, as for [`place`]: neighbours whose addresses follow one another spread as well as any, and whoever invents addresses
/// cannot aim them at one place.
#[inline(always)]
pub(crate) fn hop(neighbour: u64, secret: &[u32; 4]) -> u16 {
    let [a, b, ..] = *secret;
    let sum = product(neighbour as u32, a, (neighbour >> 32) as u32, b);
    ((sum ^ (sum >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as u16
}

#[inline(always)]
fn product(x: u32, x_secret: u32, y: u32, y_secret: u32) -> u64 {
    u64::from(x.wrapping_add(x_secret)).wrapping_mul(u64::from(y.wrapping_add(y_secret)))
}

/// SipHash-1-3 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012) of two 64-bit words.
///
/// Which backend answers is visible outside, so picks must be unpredictable even to somebody who watches many.
#[inline(always)]
pub fn siphash13(first: u64, second: u64, secret: &[u64; 2]) -> u64 {
    let [k0, k1] = *secret;
    let mut state = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    // The last word carries the message's length in bytes in its top byte.
    for word in [first, second, 16 << 56] {
        let [_, _, _, v3] = &mut state;
        *v3 ^= word;
        round(&mut state);
        let [v0, ..] = &mut state;
        *v0 ^= word;
    }
    let [_, _, v2, _] = &mut state;
    *v2 ^= 0xff;
    for _ in 0..3 {
        round(&mut state);
    }
    let [v0, v1, v2, v3] = state;
    v0 ^ v1 ^ v2 ^ v3
}

#[inline(always)]
fn round([v0, v1, v2, v3]: &mut [u64; 4]) {
    *v0 = v0.wrapping_add(*v1);
    *v1 = v1.rotate_left(13) ^ *v0;
    *v0 = v0.rotate_left(32);
    *v2 = v2.wrapping_add(*v3);
    *v3 = v3.rotate_left(16) ^ *v2;
    *v0 = v0.wrapping_add(*v3);
    *v3 = v3.rotate_left(21) ^ *v0;
    *v2 = v2.wrapping_add(*v1);
    *v1 = v1.rotate_left(17) ^ *v2;
    *v2 = v2.rotate_left(32);
}

/// The bit, of 65,536, that stands for an address in the filter of ours. Not keyed: it decides only how early a packet
/// that is not ours leaves.
#[inline(always)]
pub fn filter_bit(address: Ipv4Address) -> u32 {
    address.bits().wrapping_mul(0x9e37_79b1) >> 16
}

/// Scales 32 random bits to `0..range` without a division.
#[inline(always)]
pub fn scale(random: u32, range: u32) -> u32 {
    ((u64::from(random) * u64::from(range)) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::hash::Hasher;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn siphash_agrees_with_a_reference_implementation(first: u64, second: u64, k0: u64, k1: u64) {
            let mut reference = siphasher::sip::SipHasher13::new_with_keys(k0, k1);
            reference.write(&first.to_le_bytes());
            reference.write(&second.to_le_bytes());
            prop_assert_eq!(siphash13(first, second, &[k0, k1]), reference.finish());
        }
    }

    #[test]
    fn flows_of_one_client_spread_over_the_table() {
        // One client, one service, every source port: the worst that ordinary traffic does to a weak hash.
        let secret = [0x9d3c_1f7b, 0x2b5e_ab01, 0x77aa_5513, 0xe02f_9c6d];
        let mut load = [0u32; 1024];
        for port in 0..=u16::MAX {
            let key = FlowKey { addresses: 0x0a00_000a_0100_000a, ports: 0x06_901f_0000 | u64::from(port) };
            load[(place(key, &secret) >> 32 & 1023) as usize] += 1;
        }
        // 64 on average; a random function stays within 30 of it in every bucket but once in a thousand secrets.
        assert!(
            load.iter().all(|&n| (24..=112).contains(&n)),
            "min {:?} max {:?}",
            load.iter().min(),
            load.iter().max()
        );
    }
}
