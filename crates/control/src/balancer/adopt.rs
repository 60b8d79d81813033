//! Going on from what another process has left in the tables.

use super::keys::{by_service, keys};
use super::places::Place;
use super::{Active, Balancer};
use crate::config::Nat;
use crate::plane::{Contents, PlaceContents, Plane};
use crate::secrets::Secrets;

impl<P: Plane> Balancer<P> {
    /// A balancer over a plane that another process has filled: it goes on from what the tables hold. Backends keep their
    /// places, and so their connections, if the configuration that is applied next still has them.
    ///
    /// # Errors
    /// The tables cannot be read.
    pub fn adopt(plane: P, secrets: &Secrets, nat: Nat) -> Result<Self, P::Error> {
        let Contents { places, services, addresses } = plane.contents()?;
        let mut balancer = Self::new(plane, secrets);
        balancer.nat = Some(nat);
        balancer.ours = addresses.into_iter().collect();
        for PlaceContents { index, link, owner, standing } in places {
            let index = usize::from(index);
            match owner {
                Some(owner) => {
                    balancer.places.put(index, Place::left(owner, link, standing));
                    if !link.mac().is_zero() {
                        balancer.next_hops.insert(owner.address, link.mac());
                    }
                }
                None => balancer.places.note_generation(index, link.generation()),
            }
        }
        // Which slots a Maglev table has is not read back: it is written once more, whole.
        for (id, service) in by_service(&services) {
            balancer.classes.note(service.idle.into(), id);
            balancer.services.insert(id, Active { service, ports: None, candidates: None, drain_time: None });
        }
        balancer.keys = keys(&services);
        Ok(balancer)
    }
}
