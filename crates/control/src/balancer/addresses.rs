//! Which addresses are ours, and where packets for those of backends must be sent.

use super::{Balancer, BalancerError, NextHop};
use crate::plane::Plane;
use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;

impl<P: Plane> Balancer<P> {
    /// The address of every backend.
    pub fn backend_addresses(&self) -> HashSet<IpAddr> {
        self.places.taken().map(|(_, place)| place.owner.address).collect()
    }

    /// Every address that is ours.
    pub fn our_addresses(&self) -> &BTreeSet<IpAddr> {
        &self.ours
    }

    /// Whether it was ever known where packets for a backend address must be sent; if so they still go there.
    pub fn has_next_hop(&self, address: IpAddr) -> bool {
        self.next_hops.get(&address).is_some_and(|mac| !mac.is_zero())
    }

    /// Notes where packets for a backend's address, or through a router, must be sent.
    ///
    /// # Errors
    /// A table could not be changed.
    pub fn set_next_hop(&mut self, hop: NextHop) -> Result<(), BalancerError<P::Error>> {
        let address = hop.address;
        if self.next_hops.insert(address, hop.mac) == Some(hop.mac) {
            return Ok(());
        }
        if self.replies.iter().any(|route| route.router.map(IpAddr::from) == Some(address)) {
            self.write_replies();
        }
        let there: Vec<_> =
            self.places.taken().filter(|(_, place)| place.owner.address == address).map(|(index, _)| index).collect();
        for index in there {
            self.write_place(index)?;
        }
        Ok(())
    }

    /// Tells the plane which addresses are ours: the host's own, NAT addresses, those of services, those that a connection
    /// to a backend which is leaving may still be under, and `more`.
    pub(super) fn write_addresses(
        &mut self,
        more: impl IntoIterator<Item = IpAddr>,
    ) -> Result<(), BalancerError<P::Error>> {
        let mut ours: BTreeSet<_> = more.into_iter().collect();
        ours.extend(self.nat.iter().flat_map(|nat| &nat.addresses));
        ours.extend(&self.own);
        ours.extend(self.services.keys().map(|service| service.address));
        ours.extend(self.places.taken().map(|(_, place)| place.owner.service.address));
        if ours != self.ours {
            self.plane.set_our_addresses(&Vec::from_iter(ours.iter().copied()))?;
            self.ours = ours;
        }
        Ok(())
    }
}
