//! Which messages between neighbours are for the host. Lcores ask, so that it does not hear what a whole network asks one another.

use super::message::{Message, Said};
use std::collections::HashSet;
use std::net::IpAddr;

/// What the host listens for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Addresses that it answers for.
    pub ours: HashSet<IpAddr>,
    /// Addresses of next hops.
    pub neighbours: HashSet<IpAddr>,
    /// Whether it wants to know of routers.
    pub routers: bool,
    /// Whether it is in groups that switches ask for.
    pub groups: bool,
}

impl Heard {
    /// Whether this is a question about an address of ours, somebody else's claim to one, word of a next hop or of a router, or a
    /// question for our groups.
    pub(super) fn concerns(&self, message: &Message<'_>) -> bool {
        match &message.said {
            Said::Neighbour { word, question } => {
                let is_known = |address| self.neighbours.contains(address) || self.ours.contains(address);
                word.as_ref().is_some_and(|word| is_known(&word.address))
                    || question.as_ref().is_some_and(|question| self.ours.contains(&question.target))
            }
            Said::Router(_) => self.routers,
            Said::Groups { .. } => self.groups,
        }
    }
}
