//! Routers that say that they are there (RFC 4861, section 6), for who was not told of one.

use super::message::Router;
use evenkeel_control::config::HostAddress6;
use evenkeel_wire::{DiscoveryOption, PrefixInformation};
use std::net::Ipv6Addr;
use std::time::Duration;
use zerocopy::FromBytes as _;

/// Routers and networks that are remembered: whoever makes more of them up fills nobody's memory.
const MOST_ROUTERS: usize = 8;
const MOST_PREFIXES: usize = 16;
/// How often routers are asked for, and how far apart (RFC 4861, section 10: MAX_RTR_SOLICITATIONS, RTR_SOLICITATION_INTERVAL).
const SOLICITATIONS: u32 = 3;
const SOLICITATION_INTERVAL: Duration = Duration::from_secs(4);

/// The routers of the link, and the networks that they say are on it.
#[derive(Debug, Default)]
pub(super) struct Routers {
    /// The one that is to be used first.
    routers: Vec<Known>,
    prefixes: Vec<Prefix>,
    /// Questions that are to be asked still, and when the next is due, or when an answer to the last is.
    asking: Option<(u32, Duration)>,
}

#[derive(Debug)]
struct Known {
    address: Ipv6Addr,
    preference: i8,
    until: Duration,
    /// It does not answer.
    is_silent: bool,
}

#[derive(Debug)]
struct Prefix {
    network: HostAddress6,
    /// For ever, if not until then.
    until: Option<Duration>,
}

impl Routers {
    /// Begins to ask for routers.
    pub(super) fn ask(&mut self, now: Duration) {
        self.asking = Some((SOLICITATIONS, now));
    }

    /// Forgets them all.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Whether one may still answer.
    pub(super) fn may_come(&self) -> bool {
        self.asking.is_some()
    }

    /// The router to send by.
    pub(super) fn best(&self) -> Option<Ipv6Addr> {
        // Of several, the one that was there first; of none that answer, any (RFC 4861, section 6.3.6).
        let best = self.routers.iter().rev().max_by_key(|router| (!router.is_silent, router.preference));
        best.map(|router| router.address)
    }

    /// Whether a router has said that this address is on the link.
    pub(super) fn have_near(&self, address: Ipv6Addr) -> bool {
        self.prefixes.iter().any(|prefix| prefix.network.has_near(address))
    }

    /// Whether none has said anything.
    pub(super) fn are_unknown(&self) -> bool {
        self.routers.is_empty() && self.prefixes.is_empty()
    }

    /// A router's word; returns whether ways may be others now.
    pub(super) fn heard(&mut self, router: &Router<'_>, now: Duration) -> bool {
        let mut has_changed = false;
        let lifetime = u64::from(router.word.lifetime.get());
        let place = self.routers.iter().position(|known| known.address == router.address);
        match (place, lifetime) {
            (Some(place), 0) => {
                self.routers.remove(place);
                has_changed = true;
            }
            (None, 0) => {}
            (place, lifetime) => {
                self.asking = None;
                let until = now + Duration::from_secs(lifetime);
                let (address, preference) = (router.address, router.word.preference());
                let new = Known { address, preference, until, is_silent: false };
                match place {
                    Some(place) => {
                        let old = std::mem::replace(&mut self.routers[place], new);
                        has_changed = old.preference != preference || old.is_silent;
                    }
                    None if self.routers.len() < MOST_ROUTERS => {
                        self.routers.push(new);
                        has_changed = true;
                    }
                    None => {}
                }
            }
        }
        for (_, bytes) in router.options.filter(|&(kind, _)| kind == DiscoveryOption::PREFIX) {
            if let Ok(prefix) = PrefixInformation::ref_from_bytes(bytes) {
                has_changed |= self.heard_of_prefix(prefix, now);
            }
        }
        has_changed
    }

    /// RFC 4861, section 6.3.4.
    fn heard_of_prefix(&mut self, prefix: &PrefixInformation, now: Duration) -> bool {
        let network = HostAddress6 { address: prefix.prefix.into(), prefix: prefix.prefix_length };
        let is_sound = prefix.prefix_length <= 128 && !prefix.prefix.is_link_local() && !prefix.prefix.is_multicast();
        if prefix.flags & PrefixInformation::ON_LINK == 0 || !is_sound {
            return false;
        }
        let is_same =
            |known: &Prefix| known.network.prefix == network.prefix && known.network.has_near(network.address);
        let place = self.prefixes.iter().position(is_same);
        let until = match prefix.valid_lifetime.get() {
            0 => {
                place.map(|place| self.prefixes.remove(place));
                return place.is_some();
            }
            u32::MAX => None,
            lifetime => Some(now + Duration::from_secs(lifetime.into())),
        };
        match place {
            Some(place) => self.prefixes[place].until = until,
            None if self.prefixes.len() < MOST_PREFIXES => self.prefixes.push(Prefix { network, until }),
            None => return false,
        }
        place.is_none()
    }

    /// A router does not answer; returns whether ways may be others now.
    pub(super) fn falls_silent(&mut self, address: Ipv6Addr) -> bool {
        let router = self.routers.iter_mut().find(|router| router.address == address);
        router.is_some_and(|router| !std::mem::replace(&mut router.is_silent, true))
    }

    /// A router answers; returns whether ways may be others now.
    pub(super) fn answers(&mut self, address: Ipv6Addr) -> bool {
        let router = self.routers.iter_mut().find(|router| router.address == address);
        router.is_some_and(|router| std::mem::replace(&mut router.is_silent, false))
    }

    /// What of it is to be believed no more; returns whether ways may be others now.
    pub(super) fn expire(&mut self, now: Duration) -> bool {
        let before = (self.routers.len(), self.prefixes.len(), self.asking.is_some());
        self.routers.retain(|router| now < router.until);
        self.prefixes.retain(|prefix| prefix.until.is_none_or(|until| now < until));
        self.asking = self.asking.filter(|&(left, due)| left > 0 || now < due);
        before != (self.routers.len(), self.prefixes.len(), self.asking.is_some())
    }

    /// Whether to ask for routers at this time.
    pub(super) fn tick(&mut self, now: Duration) -> bool {
        let is_due = self.asking.is_some_and(|(left, due)| left > 0 && due <= now);
        if let (true, Some((left, due))) = (is_due, &mut self.asking) {
            (*left, *due) = (*left - 1, now + SOLICITATION_INTERVAL);
        }
        is_due
    }
}
