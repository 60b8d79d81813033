//! Keyed hashes. One places flows in the table and is fast; the other picks backends and is a pseudo-random function.

use crate::key::{FlowKey, WideAddress, WideKey};
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

/// The same for a connection of which an end is IPv6. Every 32 bits of the key have a secret of their own.
#[inline(always)]
pub fn wide_place(key: &WideKey, secret: &[u32; 4], wide: &[u32; 8]) -> u64 {
    let ([s0, s1], [d0, d1]) = (key.source, key.destination);
    let [.., c, d] = *secret;
    let [k0, k1, k2, k3, k4, k5, k6, k7] = *wide;
    let pair = |word: u64, low, high| product(word as u32, low, (word >> 32) as u32, high);
    let source = pair(s0, k0, k1).wrapping_add(pair(s1, k2, k3));
    let destination = pair(d0, k4, k5).wrapping_add(pair(d1, k6, k7));
    let sum = source.wrapping_add(destination).wrapping_add(pair(key.ports, c, d));
    (sum ^ (sum >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The secret for the addresses of [`wide_place`], which follows from the other one.
pub fn wide_secret(secret: &[u32; 4]) -> [u32; 8] {
    let [a, b, c, d] = secret.map(u64::from);
    let key = [a | b << 32, c | d << 32];
    let mut index = 0;
    [0; 8].map(|_: u32| {
        index += 1;
        siphash13([index], &key) as u32
    })
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

/// SipHash-1-3 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012) of some 64-bit words.
///
/// Which backend answers is visible outside, so picks must be unpredictable even to somebody who watches many.
#[inline(always)]
pub fn siphash13<const N: usize>(words: [u64; N], secret: &[u64; 2]) -> u64 {
    let [k0, k1] = *secret;
    let mut state = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    // The last word carries the message's length in bytes in its top byte.
    for word in words {
        absorb(&mut state, word);
    }
    absorb(&mut state, (N as u64 * 8) << 56);
    let [_, _, v2, _] = &mut state;
    *v2 ^= 0xff;
    for _ in 0..3 {
        round(&mut state);
    }
    let [v0, v1, v2, v3] = state;
    v0 ^ v1 ^ v2 ^ v3
}

#[inline(always)]
fn absorb(state: &mut [u64; 4], word: u64) {
    let [_, _, _, v3] = state;
    *v3 ^= word;
    round(state);
    let [v0, ..] = state;
    *v0 ^= word;
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

/// The same of an IPv6 address.
#[inline(always)]
pub fn wide_filter_bit(WideAddress(first, second): WideAddress) -> u32 {
    ((first.rotate_left(23) ^ second).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as u32
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
            prop_assert_eq!(siphash13([first, second], &[k0, k1]), reference.finish());
        }

        #[test]
        fn siphash_agrees_on_five_words_as_well(words: [u64; 5], k0: u64, k1: u64) {
            let mut reference = siphasher::sip::SipHasher13::new_with_keys(k0, k1);
            words.iter().for_each(|word| reference.write(&word.to_le_bytes()));
            prop_assert_eq!(siphash13(words, &[k0, k1]), reference.finish());
        }
    }

    #[test]
    fn every_bit_of_a_wide_key_matters_and_its_secret_follows_from_the_other() {
        let secret = [0x9d3c_1f7b, 0x2b5e_ab01, 0x77aa_5513, 0xe02f_9c6d];
        let wide = wide_secret(&secret);
        assert_eq!(wide, wide_secret(&secret));
        assert_ne!(wide, wide_secret(&[1, 2, 3, 4]));
        let key = WideKey { source: [1, 2], destination: [3, 4], ports: 5 };
        let place = wide_place(&key, &secret, &wide);
        for bit in 0..64 {
            let flips = [
                WideKey { source: [1 ^ 1 << bit, 2], ..key },
                WideKey { source: [1, 2 ^ 1 << bit], ..key },
                WideKey { destination: [3 ^ 1 << bit, 4], ..key },
                WideKey { destination: [3, 4 ^ 1 << bit], ..key },
                WideKey { ports: 5 ^ 1 << bit, ..key },
            ];
            assert!(flips.iter().all(|other| wide_place(other, &secret, &wide) != place), "{bit}");
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
