//! The Maglev table (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016,
//! section 3.4): every slot belongs to a backend, shares follow weights, and a change of backends moves few slots.

use evenkeel_core::{BackendRef, MAGLEV_SLOTS, hash};
use std::net::IpAddr;
use std::panic::resume_unwind;
use std::thread;

const SLOTS: usize = MAGLEV_SLOTS as usize;

/// A backend as the table sees it. Its place in the table depends on address, rank and secret alone, so that every
/// node, and the same backend after its return, finds the same slots. Not on its port: a client whose address decides shall
/// find the same server behind every service of a host, whatever their ports are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Address.
    pub address: IpAddr,
    /// Which of the service's backends at this address it is, counted from 0 in the order of their ports.
    pub rank: u16,
    /// Share of new connections, relative to the others; 0: none.
    pub weight: u16,
    /// What the slots shall hold.
    pub reference: BackendRef,
}

/// Fills tables, on as many CPUs as there are: one takes half a millisecond, and there may be thousands.
pub fn tables(wanted: &[&[Candidate]], secret: &[u64; 2]) -> Vec<Vec<u32>> {
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    let fill = |wanted: &[&[Candidate]]| -> Vec<_> { wanted.iter().map(|one| table(one, secret)).collect() };
    let share = wanted.len().div_ceil(cpus).max(1);
    let (own, others) = wanted.split_at(share.min(wanted.len()));
    thread::scope(|scope| {
        let threads: Vec<_> = others
            .chunks(share)
            .map(|share| (share, thread::Builder::new().spawn_scoped(scope, move || fill(share))))
            .collect();
        let mut filled = fill(own);
        for (share, thread) in threads {
            filled.extend(match thread {
                Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
                // There may be no more threads.
                Err(_) => fill(share),
            });
        }
        filled
    })
}

/// Fills the table: in turns, each backend takes the next free slot of its own permutation, a backend of half the
/// weight every other turn. Zero means no backend.
pub fn table(candidates: &[Candidate], secret: &[u64; 2]) -> Vec<u32> {
    let mut slots = vec![0; SLOTS];
    // The order of the configuration file must not matter.
    let mut candidates: Vec<_> = candidates.iter().filter(|candidate| candidate.weight > 0).collect();
    candidates.sort_by_key(|candidate| (candidate.address, candidate.rank));
    let Some(heaviest) = candidates.iter().map(|candidate| u32::from(candidate.weight)).max() else { return slots };
    let mut turns: Vec<_> = candidates.iter().map(|candidate| Turn::new(candidate, secret)).collect();
    let mut free = SLOTS;
    while free > 0 {
        for turn in &mut turns {
            turn.credit += turn.weight;
            if turn.credit >= heaviest && free > 0 {
                turn.credit -= heaviest;
                turn.take(&mut slots);
                free -= 1;
            }
        }
    }
    slots
}

struct Turn {
    next: usize,
    skip: usize,
    weight: u32,
    credit: u32,
    value: u32,
}

impl Turn {
    fn new(candidate: &Candidate, secret: &[u64; 2]) -> Self {
        let rank = u64::from(candidate.rank);
        let random = match candidate.address {
            IpAddr::V4(address) => hash::siphash13([u64::from(address.to_bits()) | rank << 32, u64::MAX], secret),
            IpAddr::V6(address) => {
                let bits = address.to_bits();
                hash::siphash13([(bits >> 64) as u64, bits as u64, rank, u64::MAX], secret)
            }
        };
        Self {
            next: random as u32 as usize % SLOTS,
            skip: (random >> 32) as usize % (SLOTS - 1) + 1,
            weight: u32::from(candidate.weight),
            credit: 0,
            value: candidate.reference.bits(),
        }
    }

    /// Takes the next free slot; there must be one.
    fn take(&mut self, slots: &mut [u32]) {
        while slots[self.next] != 0 {
            self.next += self.skip;
            if self.next >= SLOTS {
                self.next -= SLOTS;
            }
        }
        slots[self.next] = self.value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECRET: [u64; 2] = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210];

    fn candidates(weights: &[u16]) -> Vec<Candidate> {
        (1..)
            .zip(weights)
            .map(|(n, &weight)| Candidate {
                address: std::net::Ipv4Addr::from(0x0a00_0000 + u32::from(n)).into(),
                rank: 0,
                weight,
                reference: BackendRef { index: n, generation: 1 },
            })
            .collect()
    }

    fn share(slots: &[u32], candidate: &Candidate) -> usize {
        slots.iter().filter(|&&slot| slot == candidate.reference.bits()).count()
    }

    #[test]
    fn many_tables_are_the_same_as_one_by_one_in_order() {
        let wanted: Vec<_> = (0..9).map(|weight| candidates(&[weight, 1, 2])).collect();
        let expected: Vec<_> = wanted.iter().map(|candidates| table(candidates, &SECRET)).collect();
        let all: Vec<_> = wanted.iter().map(Vec::as_slice).collect();
        for some in 0..=all.len() {
            assert_eq!(tables(&all[..some], &SECRET), expected[..some]);
        }
    }

    #[test]
    fn no_backend_leaves_every_slot_empty() {
        assert!(table(&candidates(&[0, 0]), &SECRET).iter().all(|&slot| slot == 0));
    }

    #[test]
    fn shares_follow_weights() {
        let candidates = candidates(&[1, 2, 5]);
        let slots = table(&candidates, &SECRET);
        for candidate in &candidates {
            let expected = SLOTS * usize::from(candidate.weight) / 8;
            assert!(share(&slots, candidate).abs_diff(expected) <= 8, "{} of {expected}", share(&slots, candidate));
        }
    }

    #[test]
    fn losing_one_of_ten_moves_little_else() {
        let ten = candidates(&[1; 10]);
        let (before, after) = (table(&ten, &SECRET), table(&ten[..9], &SECRET));
        let lost = ten[9].reference.bits();
        let moved = before.iter().zip(&after).filter(|&(&old, &new)| old != lost && old != new).count();
        // The paper, figure 12: with 65,537 slots and few backends, some percent of the slots move besides the lost.
        assert!(moved * 100 < SLOTS * 5, "{moved} slots moved");
    }

    #[test]
    fn a_backend_that_returns_finds_its_slots() {
        let three = candidates(&[1, 1, 1]);
        let mut reordered = three.clone();
        reordered.reverse();
        assert_eq!(table(&three, &SECRET), table(&reordered, &SECRET));
    }

    #[test]
    fn every_part_of_an_ipv6_address_has_a_say() {
        let two = |addresses: [&str; 2]| {
            let mut two = candidates(&[1, 1]);
            two.iter_mut().zip(addresses).for_each(|(one, text)| one.address = text.parse().expect("an address"));
            table(&two, &SECRET)
        };
        let tables =
            [["2001:db8::1", "2001:db8::2"], ["2001:db8::1", "2001:db8:0:1::2"], ["2001:db9::1", "2001:db8::2"]]
                .map(two);
        assert!(tables[0] != tables[1] && tables[0] != tables[2] && tables[1] != tables[2]);
        assert_eq!(tables[0], two(["2001:db8::1", "2001:0DB8:0:0:0:0:0:2"]));
    }

    #[test]
    fn backends_at_one_address_have_slots_of_their_own() {
        let mut two = candidates(&[1, 1]);
        (two[1].address, two[1].rank) = (two[0].address, 1);
        let slots = table(&two, &SECRET);
        assert!(share(&slots, &two[0]).abs_diff(share(&slots, &two[1])) <= 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn every_slot_is_taken_by_somebody_with_weight(weights in prop::collection::vec(0u16..2000, 1..40)) {
            prop_assume!(weights.iter().any(|&weight| weight > 0));
            let candidates = candidates(&weights);
            let slots = table(&candidates, &SECRET);
            let total: usize = candidates.iter().map(|candidate| share(&slots, candidate)).sum();
            prop_assert_eq!(total, SLOTS);
            prop_assert!(candidates.iter().filter(|c| c.weight == 0).all(|c| share(&slots, c) == 0));
        }
    }
}
