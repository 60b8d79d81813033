//! Whether packets find the way to backends, as planes find out and tell.

use std::collections::HashMap;
use std::net::IpAddr;

/// The way to a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// The next hop's Ethernet address is known.
    Known,
    /// The next hop does not answer ARP or neighbour solicitations, and never has.
    Silent,
    /// The next hop has stopped answering. Packets go to where it was: it may only be slow.
    Lost,
    /// The kernel's route does not leave by the balancer's interface, but by this one.
    Elsewhere(String),
    /// The backend's address is one of the host's own.
    Here,
    /// There is no route.
    NoRoute,
}

impl Way {
    /// What is the matter with the way to this address, in words for people; nothing if nothing is.
    pub fn trouble(&self, address: IpAddr) -> Option<String> {
        match self {
            Self::Known => None,
            Self::Silent => Some(format!("does not answer {}", question(address))),
            Self::Lost => Some(format!("does not answer {} any more", question(address))),
            Self::Elsewhere(interface) => Some(format!("its route leaves by another interface, {interface}")),
            Self::Here => Some("is an address of the balancer's own host".to_owned()),
            Self::NoRoute => Some("there is no route to it".to_owned()),
        }
    }

    /// The same in a word for programs.
    pub fn code(&self) -> Option<&'static str> {
        match self {
            Self::Known => None,
            Self::Silent | Self::Lost => Some("unresolved"),
            Self::Elsewhere(_) | Self::Here => Some("elsewhere"),
            Self::NoRoute => Some("no-route"),
        }
    }

    /// Whether packets get there, as far as anybody can tell.
    fn leads(&self) -> Leads {
        match self {
            Self::Known => Leads::Yes,
            Self::Lost => Leads::Perhaps,
            Self::Silent | Self::Elsewhere(_) | Self::Here | Self::NoRoute => Leads::No,
        }
    }
}

/// What asks for the Ethernet address of whoever has this address.
pub fn question(address: IpAddr) -> &'static str {
    if address.is_ipv6() { "neighbour solicitations" } else { "ARP" }
}

/// Whether packets get somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leads {
    Yes,
    Perhaps,
    No,
}

/// What was told of each backend's address.
#[derive(Clone, Debug, Default)]
pub(super) struct Ways(HashMap<IpAddr, Way>);

impl Ways {
    /// Takes what was told; returns whether that may change who gets connections.
    pub(super) fn note(&mut self, address: IpAddr, way: Way) -> bool {
        let (before, now) = (self.leads(address), way.leads());
        self.0.insert(address, way);
        before != now
    }

    /// Whether packets get there. Of whom nothing was told yet it is taken that they do.
    pub(super) fn leads(&self, address: IpAddr) -> Leads {
        self.0.get(&address).map_or(Leads::Yes, Way::leads)
    }

    pub(super) fn get(&self, address: IpAddr) -> Option<&Way> {
        self.0.get(&address)
    }

    /// Forgets addresses that nobody has any more.
    pub(super) fn keep(&mut self, wanted: impl Fn(&IpAddr) -> bool) {
        self.0.retain(|address, _| wanted(address));
    }
}
