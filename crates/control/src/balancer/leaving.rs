//! Backends that are not wanted any more: they keep their places until their last connections have ended, or their time is
//! over.

use super::places::Leaving;
use super::{Balancer, BalancerError};
use crate::census::Census;
use crate::config::{BackendId, Config, ServiceId};
use crate::plane::Plane;
use evenkeel_core::backend::{BackendState, Standing};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

impl<P: Plane> Balancer<P> {
    /// No new connection for backends that are not wanted any more. `limits`: how long those that they have may go on.
    pub(super) fn let_go(
        &mut self,
        config: &Config,
        limits: &HashMap<ServiceId, Option<Duration>>,
    ) -> Result<(), BalancerError<P::Error>> {
        let wanted: HashSet<BackendId> = config.backend_ids().collect();
        // Those who are leaving already, of which the plane could not be told, or not all.
        let left: Vec<_> =
            self.places.taken().filter(|(_, place)| place.leaving.is_some()).map(|(index, _)| index).collect();
        for index in left {
            self.write_place(index)?;
        }
        let leave: Vec<_> = self
            .places
            .taken()
            .filter(|(_, place)| place.leaving.is_none() && !wanted.contains(&place.owner))
            .map(|(index, place)| (index, place.owner.service))
            .collect();
        for (index, service) in leave {
            if let Some(place) = self.places.get_mut(index) {
                let (since, limit) = (Instant::now(), limits.get(&service).copied().flatten());
                place.leaving = Some(Leaving { since, until: limit.map(|limit| since + limit) });
                (place.state, place.standing) = (BackendState::Finishing, Standing::default());
            }
            self.write_place(index)?;
            // Only now it takes no new ones.
            if let Some(leaving) = self.places.get_mut(index).and_then(|place| place.leaving.as_mut()) {
                leaving.since = Instant::now();
            }
        }
        Ok(())
    }

    /// Ends the connections of backends that have left and whose time is over. To be called every second or so.
    ///
    /// # Errors
    /// A table could not be changed.
    pub fn end_overdue(&mut self, now: Instant) -> Result<(), BalancerError<P::Error>> {
        let is_over = |leaving: Option<Leaving>| leaving.and_then(|it| it.until).is_some_and(|until| until <= now);
        let over: Vec<_> =
            self.places.taken().filter(|(_, place)| is_over(place.leaving)).map(|(index, _)| index).collect();
        if over.is_empty() { Ok(()) } else { self.free(over) }
    }

    /// Frees abandoned flow entries, and the places of backends that have left and have no connections. To be called
    /// every minute or so, where nobody walks through the flow table beside everything else.
    ///
    /// # Errors
    /// A table could not be changed.
    pub fn tidy(&mut self) -> Result<(), BalancerError<P::Error>> {
        self.plane.sweep_flows()?;
        if self.places.taken().all(|(_, place)| place.leaving.is_none()) {
            return Ok(());
        }
        let census = self.census()?;
        self.free_unused(&census)
    }

    /// Counts connections, which takes as long as it takes to walk through the flow table.
    pub(crate) fn census(&self) -> Result<Census, P::Error> {
        let mut census = Census::begin();
        self.plane.visit_flows(&mut |flow| census.count(&flow))?;
        Ok(census)
    }

    /// Frees the places of backends that have left and had no connections when these were counted.
    pub(crate) fn free_unused(&mut self, census: &Census) -> Result<(), BalancerError<P::Error>> {
        // A backend that took new connections while they were counted may have some that were not.
        let had_left = |leaving: Option<Leaving>| leaving.is_some_and(|leaving| leaving.since <= census.begun);
        let unused: Vec<_> = self
            .places
            .taken()
            .filter(|(index, place)| had_left(place.leaving) && census.flows(place.reference(*index)) == 0)
            .map(|(index, _)| index)
            .collect();
        if unused.is_empty() { Ok(()) } else { self.free(unused) }
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
        let routers: HashSet<_> = self.routers().into_iter().map(IpAddr::from).collect();
        self.next_hops.retain(|address, _| known.contains(address) || routers.contains(address));
        self.write_addresses([])
    }
}
