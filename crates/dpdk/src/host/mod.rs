//! What the kernel does for the XDP plane and nobody does here: answers ARP for our addresses, announces them, finds the
//! Ethernet addresses of backends and of a gateway, and follows them when they change.
//!
//! [`Host`] is this and nothing else: frames and the time go in, frames and news come out. It knows no port and no clock.
//! ICMP echo is not here: the core answers it on every plane.

mod frame;
mod heard;
mod neighbour;
mod network;
#[cfg(test)]
mod tests;

pub use heard::Heard;
pub use network::Network;

use crate::mbuf::Mbuf;
use evenkeel_core::{Frame, Reason};
use evenkeel_wire::{Arp, ArpOperation, EtherType, Ethernet, Ipv4Address, MacAddress};
use neighbour::{Neighbour, Pace};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::time::Duration;
use zerocopy::IntoBytes;

/// Whether a packet that the core passed on for this reason is the host's. As long as nobody has said what it listens for,
/// that is all ARP.
pub(crate) fn wants(packet: &mut Mbuf<'_>, reason: Reason, heard: Option<&Heard>) -> bool {
    matches!(reason, Reason::NotOurMac | Reason::NotIpv4)
        && packet.header::<Ethernet>(0).is_some_and(|ethernet| ethernet.ether_type == EtherType::ARP)
        && packet.header::<Arp>(Ethernet::LENGTH).is_some_and(|arp| heard.is_none_or(|heard| heard.concerns(arp)))
}

/// An address is announced so often, this far apart (RFC 5227, section 2.3: ANNOUNCE_NUM, ANNOUNCE_INTERVAL).
const ANNOUNCEMENTS: u32 = 2;
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(2);
/// Somebody who goes on claiming an address of ours is told about so often.
const CONFLICT_INTERVAL: Duration = Duration::from_secs(60);

/// So many questions are asked at one time, and no more: they, and their answers, are to find room on their way, together with
/// what others ask. The others are due when it is time again, see [`Outcome::has_more`].
const QUESTIONS: usize = 128;

/// What is known about the way to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// The next hop's Ethernet address.
    Known(MacAddress),
    /// It does not answer, and has never done so.
    Silent,
    /// It has stopped answering; packets go on to where it was.
    Lost,
    /// It is not in our network, and there is no gateway.
    NoRoute,
}

/// Something that the control side should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// The way to a backend.
    Backend(Ipv4Addr, Resolution),
    /// Another host claims one of our addresses.
    Conflict(Ipv4Addr, MacAddress),
}

/// What came of a frame, or of time going by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Frames to send.
    pub frames: Vec<Vec<u8>>,
    /// What has changed.
    pub news: Vec<News>,
    /// Not all has been done that was due: it is time again in a moment.
    pub has_more: bool,
}

/// An Ethernet host with some IPv4 addresses. Times are measured from any one moment.
#[derive(Debug)]
pub struct Host {
    mac: MacAddress,
    network: Network,
    ours: BTreeSet<Ipv4Addr>,
    /// Addresses to be announced: how often still, and when next.
    announcing: BTreeMap<Ipv4Addr, (u32, Duration)>,
    /// By backend, the address that is resolved for it.
    via: BTreeMap<Ipv4Addr, Ipv4Addr>,
    neighbours: BTreeMap<Ipv4Addr, Neighbour>,
    /// By address that is resolved, the backends.
    behind: HashMap<Ipv4Addr, Vec<Ipv4Addr>>,
    /// The neighbour whose turn it is to be asked, so that all have theirs.
    turn: Ipv4Addr,
    /// Addresses of ours that somebody else has claimed as well, and when that was told last.
    conflicts: BTreeMap<Ipv4Addr, Duration>,
}

impl Host {
    /// A host without addresses.
    pub fn new(mac: MacAddress, network: Network) -> Self {
        Self {
            mac,
            network,
            ours: BTreeSet::new(),
            announcing: BTreeMap::new(),
            via: BTreeMap::new(),
            neighbours: BTreeMap::new(),
            behind: HashMap::new(),
            turn: Ipv4Addr::UNSPECIFIED,
            conflicts: BTreeMap::new(),
        }
    }

    /// Makes these the addresses that are answered for; new ones are announced.
    pub fn set_addresses(&mut self, addresses: impl IntoIterator<Item = Ipv4Addr>, now: Duration) {
        let ours: BTreeSet<_> = addresses.into_iter().chain(self.network.address()).collect();
        for address in ours.difference(&self.ours) {
            self.announcing.insert(*address, (ANNOUNCEMENTS, now));
        }
        self.announcing.retain(|address, _| ours.contains(address));
        self.ours = ours;
    }

    /// Makes these the backends whose next hops are kept known.
    pub fn set_backends(&mut self, backends: impl IntoIterator<Item = Ipv4Addr>) -> Vec<News> {
        let mut news = Vec::new();
        let before = std::mem::take(&mut self.via);
        for backend in backends {
            match self.network.next_hop(backend) {
                Some(hop) => {
                    self.via.insert(backend, hop);
                    let known = self.neighbours.entry(hop).or_default().mac();
                    if let (Some(mac), false) = (known, before.contains_key(&backend)) {
                        news.push(News::Backend(backend, Resolution::Known(mac)));
                    }
                }
                None => news.push(News::Backend(backend, Resolution::NoRoute)),
            }
        }
        self.behind.clear();
        for (&backend, &hop) in &self.via {
            self.behind.entry(hop).or_default().push(backend);
        }
        self.neighbours.retain(|address, _| self.behind.contains_key(address));
        news
    }

    /// What it listens for, as things are.
    pub fn heard(&self) -> Heard {
        let addresses = |of: &mut dyn Iterator<Item = Ipv4Addr>| of.map(Ipv4Address::from).collect();
        Heard {
            ours: addresses(&mut self.ours.iter().copied()),
            neighbours: addresses(&mut self.neighbours.keys().copied()),
        }
    }

    /// The cable was plugged in: everybody may be somewhere else, and may have forgotten us.
    pub fn link_came_up(&mut self, now: Duration) {
        self.announcing = self.ours.iter().map(|&address| (address, (ANNOUNCEMENTS, now))).collect();
        self.neighbours.values_mut().for_each(Neighbour::doubt);
    }

    /// What is to be done when it has become this late. To be called a few times a second.
    pub fn tick(&mut self, now: Duration) -> Outcome {
        let mut outcome = Outcome::default();
        for (&address, (left, due)) in &mut self.announcing {
            if *due <= now {
                (*left, *due) = (*left - 1, now + ANNOUNCE_INTERVAL);
                let address = address.into();
                let announcement = Arp::new(ArpOperation::REQUEST, self.mac, address, MacAddress::default(), address);
                outcome.frames.push(frame::arp(MacAddress::BROADCAST, &announcement));
            }
        }
        self.announcing.retain(|_, (left, _)| *left > 0);
        let Some(sender) = self.sender() else { return outcome };
        let (turn, pace) = (self.turn, Pace::of(self.neighbours.len()));
        let mut left = QUESTIONS;
        for round in [(Included(turn), Unbounded), (Unbounded, Excluded(turn))] {
            for (&address, neighbour) in self.neighbours.range_mut(round) {
                if !neighbour.is_due(now, pace) {
                    continue;
                }
                if left == 0 {
                    (self.turn, outcome.has_more) = (address, true);
                    return outcome;
                }
                left -= 1;
                let question = neighbour.ask(now);
                let request = Arp::new(ArpOperation::REQUEST, self.mac, sender, MacAddress::default(), address.into());
                outcome.frames.push(frame::arp(question.to, &request));
                if let Some(resolution) = question.verdict {
                    let behind = self.behind.get(&address).into_iter().flatten();
                    outcome.news.extend(behind.map(|&backend| News::Backend(backend, resolution)));
                }
            }
        }
        outcome
    }

    /// Takes a frame that the core has passed on.
    pub fn receive(&mut self, frame: &[u8], now: Duration) -> Outcome {
        let mut outcome = Outcome::default();
        let Some(arp) = frame::read_arp(frame) else { return outcome };
        let sender = Ipv4Addr::from(arp.sender);
        if arp.sender_mac == self.mac {
            // Our own, come back.
            return outcome;
        }
        if self.ours.contains(&sender) {
            if self.conflicts.get(&sender).is_none_or(|told| now >= *told + CONFLICT_INTERVAL) {
                self.conflicts.insert(sender, now);
                outcome.news.push(News::Conflict(sender, arp.sender_mac));
            }
            return outcome;
        }
        if let Some(neighbour) = self.neighbours.get_mut(&sender)
            && neighbour.heard(arp.sender_mac, now)
        {
            let behind = self.behind.get(&sender).into_iter().flatten();
            outcome.news.extend(behind.map(|&backend| News::Backend(backend, Resolution::Known(arp.sender_mac))));
        }
        if arp.operation == ArpOperation::REQUEST && self.ours.contains(&arp.target.into()) {
            let reply = Arp::new(ArpOperation::REPLY, self.mac, arp.target, arp.sender_mac, arp.sender);
            outcome.frames.push(frame::arp(arp.sender_mac, &reply));
        }
        outcome
    }

    /// The address that questions are asked from: the host's own, or one of ours that the others can answer to.
    fn sender(&self) -> Option<Ipv4Address> {
        let near = self.ours.iter().find(|address| self.network.contains(**address));
        self.network.address().or(near.or(self.ours.first()).copied()).map(Into::into)
    }
}
