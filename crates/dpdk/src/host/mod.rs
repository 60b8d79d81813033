//! What the kernel does for the XDP plane and nobody does here: answers for our addresses in ARP and in IPv6's neighbour discovery,
//! announces them, finds the Ethernet addresses of backends and of a gateway, and follows them when they change.
//!
//! [`Host`] is this and nothing else: frames and the time go in, frames and news come out. It knows no port and no clock.
//! ICMP echo is not here: the core answers it on every plane.
//!
//! `frame` and, for each language, `arp` and `discovery` read and write; `message` is what they have in common. `claim` is about an
//! address of ours, `neighbour` about a next hop, `network` and `routers` about who is one. `groups` tells switches whom to ask for us,
//! `heard` tells lcores what we want to hear.

mod arp;
mod claim;
mod discovery;
mod frame;
mod groups;
mod heard;
mod message;
mod neighbour;
mod network;
mod routers;
#[cfg(test)]
mod tests;

pub use heard::Heard;
pub use network::Network;

use crate::mbuf::Mbuf;
use claim::{Claim, Step};
use discovery::Speaker;
use evenkeel_core::Reason;
use evenkeel_wire::{Ipv6Address, MacAddress};
use frame::Tags;
use groups::Groups;
use message::{Question, Router, Said, Word};
use neighbour::{Neighbour, Pace};
use routers::Routers;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// Whether a packet that the core passed on for this reason is the host's. As long as nobody has said what it listens for,
/// that is all ARP and all neighbour discovery.
pub(crate) fn wants(packet: &Mbuf<'_>, reason: Reason, heard: Option<&Heard>) -> bool {
    // To nobody or everybody, of no family that is balanced, to an address of ours that only the host knows, or to one of which the
    // core has nothing to say to neighbours.
    matches!(reason, Reason::NotOurMac | Reason::NotIpv4 | Reason::NotOurs | Reason::NotTcpUdp)
        && message::glance(packet.first_segment())
            .is_some_and(|message| heard.is_none_or(|heard| heard.concerns(&message)))
}

/// Frames about our own addresses at one time, and questions to neighbours. With more of either, some wait for the next time: the
/// way to the port is no longer.
const WORDS: usize = 64;
const QUESTIONS: usize = 128;
/// Packets about groups at one time.
const REPORTS: usize = 16;

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
    Backend(IpAddr, Resolution),
    /// Another host claims one of our addresses.
    Conflict(IpAddr, MacAddress),
}

/// What came of a frame, or of time going by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Frames to send.
    pub frames: Vec<Vec<u8>>,
    /// What has changed.
    pub news: Vec<News>,
    /// Whether it listens for something else now: see [`Host::heard`].
    pub listens_anew: bool,
    /// Not all has been done that was due: it is time again in a moment.
    pub has_more: bool,
}

/// Where packets to a backend go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Through(IpAddr),
    /// To a router that may say yet that it is there.
    Awaited,
    Nowhere,
}

/// An Ethernet host with some addresses. Times are measured from any one moment.
#[derive(Debug)]
pub struct Host {
    mac: MacAddress,
    network: Network,
    /// Of frames that are not answers.
    tags: Tags,
    /// The addresses that it was told to have.
    wanted: BTreeSet<IpAddr>,
    /// What it has, its own and, where there is IPv6, its link-local address among them.
    claims: BTreeMap<IpAddr, Claim>,
    groups: Groups,
    routers: Routers,
    /// Backends, and by which way they are reached.
    ways: BTreeMap<IpAddr, Way>,
    neighbours: BTreeMap<IpAddr, Neighbour>,
    /// By next hop, the backends.
    behind: HashMap<IpAddr, Vec<IpAddr>>,
}

impl Host {
    /// A host without addresses.
    pub fn new(mac: MacAddress, network: Network) -> Self {
        Self {
            mac,
            network,
            tags: Tags::of(network.vlan),
            wanted: BTreeSet::new(),
            claims: BTreeMap::new(),
            groups: Groups::new(),
            routers: Routers::default(),
            ways: BTreeMap::new(),
            neighbours: BTreeMap::new(),
            behind: HashMap::new(),
        }
    }

    /// Makes these the addresses that are answered for; new ones are announced.
    pub fn set_addresses(&mut self, addresses: impl IntoIterator<Item = IpAddr>, now: Duration) {
        self.wanted = addresses.into_iter().chain(self.network.addresses()).collect();
        let link_local = self.wanted.iter().any(IpAddr::is_ipv6).then(|| self.link_local().into());
        let ours: BTreeSet<IpAddr> = self.wanted.iter().copied().chain(link_local).collect();
        self.claims.retain(|address, _| ours.contains(address));
        for address in ours {
            self.claims.entry(address).or_insert_with(|| claim(&address, now));
        }
        let was_silent = self.groups.is_empty();
        self.groups.set(six(self.claims.keys()), now);
        if was_silent && self.listens_for_routers() {
            self.routers.ask(now);
        } else if self.groups.is_empty() {
            self.routers.forget();
        }
    }

    /// Makes these the backends whose next hops are kept known.
    pub fn set_backends(&mut self, backends: impl IntoIterator<Item = IpAddr>) -> Vec<News> {
        let mut news = Vec::new();
        self.reroute(backends.into_iter().collect(), &mut news);
        news
    }

    /// Finds the next hops for these backends. What is new about them is told; returns whether there are other next hops than before.
    fn reroute(&mut self, backends: BTreeSet<IpAddr>, news: &mut Vec<News>) -> bool {
        let before = std::mem::take(&mut self.ways);
        let mut needed = BTreeSet::new();
        self.behind.clear();
        for backend in backends {
            let way = match self.network.next_hop(backend, &self.routers) {
                Some(hop) => Way::Through(hop),
                None if backend.is_ipv6() && self.routers.may_come() => Way::Awaited,
                None => Way::Nowhere,
            };
            self.ways.insert(backend, way);
            if let Way::Through(hop) = way {
                needed.insert(hop);
                self.behind.entry(hop).or_default().push(backend);
            }
            if before.get(&backend) == Some(&way) {
                continue;
            }
            match way {
                Way::Through(hop) => {
                    let known = self.neighbours.get(&hop).and_then(Neighbour::mac);
                    news.extend(known.map(|mac| News::Backend(backend, Resolution::Known(mac))));
                }
                Way::Nowhere => news.push(News::Backend(backend, Resolution::NoRoute)),
                Way::Awaited => {}
            }
        }
        let is_other = !needed.iter().eq(self.neighbours.keys());
        self.neighbours.retain(|address, _| needed.contains(address));
        for address in needed {
            self.neighbours.entry(address).or_default();
        }
        is_other
    }

    /// Routers have said something: ways may be others.
    fn reroute_all(&mut self, outcome: &mut Outcome) {
        let backends = self.ways.keys().copied().collect();
        outcome.listens_anew |= self.reroute(backends, &mut outcome.news);
    }

    /// What it listens for, as things are.
    pub fn heard(&self) -> Heard {
        Heard {
            ours: self.claims.keys().copied().collect(),
            neighbours: self.neighbours.keys().copied().collect(),
            routers: self.listens_for_routers(),
            groups: !self.groups.is_empty(),
        }
    }

    /// Ethernet addresses of groups that its port must receive.
    pub fn groups(&self) -> Vec<MacAddress> {
        let all_nodes = (!self.groups.is_empty()).then(|| Ipv6Address::ALL_NODES.into());
        self.groups.iter().chain(all_nodes).map(|group| MacAddress::of_group(group.into())).collect()
    }

    /// Whether what routers say counts: there is IPv6, and nobody has named one.
    fn listens_for_routers(&self) -> bool {
        !self.groups.is_empty() && self.network.gateway6.is_none()
    }

    /// The cable was plugged in: everybody may be somewhere else, and may have forgotten us.
    pub fn link_came_up(&mut self, now: Duration) {
        self.claims.iter_mut().for_each(|(address, ours)| ours.renew(claim(address, now)));
        self.groups.renew(now);
        if self.listens_for_routers() {
            self.routers.ask(now);
        }
        self.neighbours.values_mut().for_each(Neighbour::doubt);
    }

    /// What is to be done when it has become this late. To be called a few times a second.
    pub fn tick(&mut self, now: Duration) -> Outcome {
        let mut outcome = Outcome::default();
        if self.routers.expire(now) {
            self.reroute_all(&mut outcome);
        }
        // First, or a switch does not let answers through to what is asked next.
        let speaker = Speaker { mac: self.mac, tags: &self.tags };
        outcome.frames.extend(self.groups.tick(now, REPORTS, speaker));
        let steps = self.claims.iter_mut().filter_map(|(&address, claim)| Some((address, claim.tick(now)?)));
        for (address, step) in steps.take(WORDS) {
            outcome.frames.push(match (address, step) {
                (IpAddr::V4(address), _) => {
                    arp::question(MacAddress::BROADCAST, self.mac, &self.tags, address, address)
                }
                (IpAddr::V6(address), Step::Probe) => speaker.probe(address),
                (IpAddr::V6(address), Step::Announce) => speaker.answer(address, None, true),
            });
        }
        if self.routers.tick(now) {
            outcome.frames.push(speaker.router_question());
        }
        self.ask(now, &mut outcome);
        outcome
    }

    /// Asks next hops for which it is time, those first that have waited for longest.
    fn ask(&mut self, now: Duration, outcome: &mut Outcome) {
        let sender = self.sender();
        let pace = Pace::of(self.neighbours.len());
        let speaker = Speaker { mac: self.mac, tags: &self.tags };
        let can_ask = |address: &IpAddr| address.is_ipv6() || sender.is_some();
        let due = self.neighbours.iter_mut().filter(|(address, neighbour)| neighbour.due() <= now && can_ask(address));
        let mut due: Vec<_> = due.collect();
        outcome.has_more |= due.len() > QUESTIONS;
        due.sort_by_key(|(_, neighbour)| neighbour.due());
        let mut given_up = Vec::new();
        for (&address, neighbour) in due.into_iter().take(QUESTIONS) {
            let Some(asking) = neighbour.tick(now, pace) else { continue };
            match (address, sender) {
                (IpAddr::V4(address), Some(sender)) => {
                    let to = asking.to.unwrap_or(MacAddress::BROADCAST);
                    outcome.frames.push(arp::question(to, self.mac, &self.tags, sender, address));
                }
                (IpAddr::V4(_), None) => {}
                (IpAddr::V6(address), _) => outcome.frames.push(speaker.question(address, asking.to)),
            }
            given_up.extend(asking.verdict.map(|verdict| (address, verdict)));
        }
        for (address, verdict) in given_up {
            self.tell(address, verdict, outcome);
            if let IpAddr::V6(router) = address
                && self.routers.falls_silent(router)
            {
                self.reroute_all(outcome);
            }
        }
    }

    /// Says of all backends behind a next hop what became of that.
    fn tell(&self, hop: IpAddr, resolution: Resolution, outcome: &mut Outcome) {
        let behind = self.behind.get(&hop).into_iter().flatten();
        outcome.news.extend(behind.map(|&backend| News::Backend(backend, resolution)));
    }

    /// Takes a frame that the core has passed on.
    pub fn receive(&mut self, frame: &[u8], now: Duration) -> Outcome {
        let mut outcome = Outcome::default();
        let Some(message) = message::read(frame) else { return outcome };
        let is_in_our_network = message.tags.are_of(self.network.vlan);
        if message.from == self.mac || (self.network.vlan.is_some() && !is_in_our_network) {
            // Our own, come back; or of a network that we are not in.
            return outcome;
        }
        match message.said {
            Said::Neighbour { word, question } => {
                if let Some(word) = word
                    && !self.take(&word, message.from, is_in_our_network, now, &mut outcome)
                {
                    return outcome;
                }
                if let Some(question) = question {
                    self.answer(&question, &message.tags, now, &mut outcome);
                }
            }
            Said::Router(router) if is_in_our_network => self.take_router(&router, now, &mut outcome),
            Said::Groups { version, group } if is_in_our_network => self.groups.asked(version, group, now),
            Said::Router(_) | Said::Groups { .. } => {}
        }
        outcome
    }

    /// Takes word of where somebody is; returns whether who says it may go on.
    fn take(
        &mut self,
        word: &Word,
        from: MacAddress,
        is_in_our_network: bool,
        now: Duration,
        outcome: &mut Outcome,
    ) -> bool {
        if word.mac == Some(self.mac) {
            return false;
        }
        if let Some(claim) = self.claims.get_mut(&word.address) {
            if claim.dispute(now) {
                outcome.news.push(News::Conflict(word.address, word.mac.unwrap_or(from)));
            }
            return false;
        }
        let pace = Pace::of(self.neighbours.len());
        if is_in_our_network
            && let Some(neighbour) = self.neighbours.get_mut(&word.address)
            && let Some(mac) = neighbour.heard(word, now, pace)
        {
            self.tell(word.address, Resolution::Known(mac), outcome);
        }
        if let IpAddr::V6(router) = word.address
            && is_in_our_network
            && word.is_answer
            && self.routers.answers(router)
        {
            self.reroute_all(outcome);
        }
        true
    }

    /// Answers who looks for an address of ours, with the tags that he has asked with.
    fn answer(&mut self, question: &Question, tags: &Tags, now: Duration, outcome: &mut Outcome) {
        let Some(claim) = self.claims.get_mut(&question.target) else { return };
        match question.target {
            IpAddr::V4(target) => {
                let asker = match question.asker {
                    Some(IpAddr::V4(asker)) => asker,
                    _ => Ipv4Addr::UNSPECIFIED,
                };
                outcome.frames.push(arp::answer(question.mac, self.mac, tags, target, asker));
            }
            IpAddr::V6(target) => {
                if question.asker.is_none() && !claim.is_sure() && claim.dispute(now) {
                    // He wants to have it as well, and neither is first.
                    outcome.news.push(News::Conflict(question.target, question.mac));
                }
                let asker = match question.asker {
                    Some(IpAddr::V6(asker)) => Some((asker, question.mac)),
                    _ => None,
                };
                let speaker = Speaker { mac: self.mac, tags };
                outcome.frames.push(speaker.answer(target, asker, claim.is_sure()));
            }
        }
    }

    fn take_router(&mut self, router: &Router<'_>, now: Duration, outcome: &mut Outcome) {
        if !self.listens_for_routers() {
            return;
        }
        if self.routers.heard(router, now) {
            self.reroute_all(outcome);
        }
        let word = Word { address: router.address.into(), mac: router.mac, is_answer: false, overrides: true };
        let pace = Pace::of(self.neighbours.len());
        if let Some(neighbour) = self.neighbours.get_mut(&word.address)
            && let Some(mac) = neighbour.heard(&word, now, pace)
        {
            self.tell(word.address, Resolution::Known(mac), outcome);
        }
    }

    /// The address that questions of IPv4 are asked from: the host's own, or one of ours that the others can answer to. Those of
    /// IPv6 are asked from the link-local address, which everybody can.
    fn sender(&self) -> Option<Ipv4Addr> {
        let ours = || {
            self.claims.keys().filter_map(|address| match address {
                IpAddr::V4(address) => Some(*address),
                IpAddr::V6(_) => None,
            })
        };
        let near = || ours().find(|address| self.network.contains(*address));
        self.network.address.map(|own| own.address).or_else(near).or_else(|| ours().next())
    }

    fn link_local(&self) -> Ipv6Addr {
        Ipv6Address::link_local(self.mac).into()
    }
}

/// An address that is new.
fn claim(address: &IpAddr, now: Duration) -> Claim {
    if address.is_ipv6() { Claim::asked_for(now) } else { Claim::announced(now) }
}

fn six<'a>(addresses: impl Iterator<Item = &'a IpAddr>) -> impl Iterator<Item = Ipv6Addr> {
    addresses.filter_map(|address| match address {
        IpAddr::V6(address) => Some(*address),
        IpAddr::V4(_) => None,
    })
}
