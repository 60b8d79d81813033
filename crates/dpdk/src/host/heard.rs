//! Which ARP is for the host. Lcores ask, so that it does not hear what a whole network asks one another.

use evenkeel_wire::{Arp, ArpOperation, Ipv4Address};
use std::collections::HashSet;

/// Addresses that the host listens for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// That it answers for.
    pub ours: HashSet<Ipv4Address>,
    /// Of next hops.
    pub neighbours: HashSet<Ipv4Address>,
}

impl Heard {
    /// Whether this is a question about an address of ours, somebody else's claim to one, or word of a next hop.
    pub(crate) fn concerns(&self, arp: &Arp) -> bool {
        self.neighbours.contains(&arp.sender)
            || self.ours.contains(&arp.sender)
            || (arp.operation == ArpOperation::REQUEST && self.ours.contains(&arp.target))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_wire::MacAddress;

    #[test]
    fn what_others_ask_one_another_is_not_for_us() {
        let address = |last: u8| Ipv4Address([10, 0, 0, last]);
        let heard = Heard { ours: [address(10)].into(), neighbours: [address(2)].into() };
        let arp = |operation, sender, target| {
            Arp::new(operation, MacAddress([2; 6]), address(sender), MacAddress::default(), address(target))
        };
        for (operation, sender, target, concerns) in [
            (ArpOperation::REQUEST, 1, 10, true),
            (ArpOperation::REQUEST, 2, 1, true),
            (ArpOperation::REPLY, 2, 10, true),
            (ArpOperation::REQUEST, 10, 10, true),
            (ArpOperation::REQUEST, 1, 2, false),
            (ArpOperation::REQUEST, 1, 3, false),
            (ArpOperation::REPLY, 1, 10, false),
        ] {
            let arp = arp(operation, sender, target);
            assert_eq!(heard.concerns(&arp), concerns, "{operation:?}: {sender} to {target}");
        }
    }
}
