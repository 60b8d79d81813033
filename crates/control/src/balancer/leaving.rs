//! Backends that are not wanted any more: they keep their places until their last connections have ended, or their time is
//! over.

use super::{Balancer, BalancerError};
use crate::config::{BackendId, Config, ServiceId};
use crate::plane::Plane;
use evenkeel_core::backend::{BackendState, Standing};
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

impl<P: Plane> Balancer<P> {
    /// No new connection for backends that are not wanted any more. `limits`: how long those that they have may go on.
    pub(super) fn let_go(
        &mut self,
        config: &Config,
        limits: &HashMap<ServiceId, Option<Duration>>,
    ) -> Result<(), BalancerError<P::Error>> {
        let wanted: HashSet<BackendId> = config.backend_ids().collect();
        let leave: Vec<_> = self
            .places
            .taken()
            .filter(|(_, place)| place.leaving.is_none() && !wanted.contains(&place.owner))
            .map(|(index, place)| (index, place.owner.service))
            .collect();
        for (index, service) in leave {
            if let Some(place) = self.places.get_mut(index) {
                let limit = limits.get(&service).copied().flatten();
                place.leaving = Some(limit.map(|limit| Instant::now() + limit));
                (place.state, place.standing) = (BackendState::Draining, Standing::default());
            }
            self.write_place(index)?;
        }
        Ok(())
    }

    /// Ends the connections of backends that have left and whose time is over. To be called every second or so.
    ///
    /// # Errors
    /// A table could not be changed.
    pub fn end_overdue(&mut self, now: Instant) -> Result<(), BalancerError<P::Error>> {
        let is_over = |until: Option<Option<Instant>>| until.flatten().is_some_and(|until| until <= now);
        let over: Vec<_> =
            self.places.taken().filter(|(_, place)| is_over(place.leaving)).map(|(index, _)| index).collect();
        if over.is_empty() { Ok(()) } else { self.free(over) }
    }

    /// Frees abandoned flow entries, and the places of backends that have left and have no connections. To be called
    /// every minute or so.
    ///
    /// # Errors
    /// A table could not be changed.
    pub fn tidy(&mut self) -> Result<(), BalancerError<P::Error>> {
        self.plane.sweep_flows()?;
        let leaving: Vec<_> = self
            .places
            .taken()
            .filter(|(_, place)| place.leaving.is_some())
            .map(|(index, place)| (index, place.reference(index)))
            .collect();
        if leaving.is_empty() {
            return Ok(());
        }
        let mut in_use = HashSet::new();
        self.plane.visit_flows(&mut |flow| {
            in_use.insert(flow.backend);
        })?;
        self.free(leaving.into_iter().filter(|(_, reference)| !in_use.contains(reference)).map(|(index, _)| index))
    }

    /// Gives up places; what is left of their connections ends.
    fn free(&mut self, places: impl IntoIterator<Item = usize>) -> Result<(), BalancerError<P::Error>> {
        for index in places {
            if let Some(place) = self.places.get_mut(index) {
                place.end();
            }
            self.write_place(index)?;
            self.places.give_up(index);
        }
        // Another machine may have the address when it comes back.
        let known: HashSet<_> = self.places.taken().map(|(_, place)| place.owner.address).collect();
        self.next_hops.retain(|address, _| known.contains(address));
        self.write_addresses([])
    }
}
