//! A choice in one path: BPF's verifier walks both ways of every branch, and from each turn of a loop on both ways again.

use core::hint::black_box;

/// The larger of two numbers below 2^63.
#[inline(always)]
pub(crate) fn larger(one: u64, other: u64) -> u64 {
    let difference = one.wrapping_sub(other);
    // All ones where `one` is the smaller. The black box keeps the compiler from seeing that this is a comparison, which it
    // would turn into a branch; and from comparing many at the end, until when they would all lie on BPF's stack.
    let smaller = black_box(((difference as i64) >> 63) as u64);
    one.wrapping_sub(difference & smaller)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_larger_one_is_chosen() {
        for (one, other) in [(0, 0), (1, 2), (2, 1), (0, u64::MAX >> 1), (u64::MAX >> 1, 0), (7, 7)] {
            assert_eq!(larger(one, other), one.max(other));
        }
    }
}
