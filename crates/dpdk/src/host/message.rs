//! What hosts of a link say to one another, in whichever language: ARP for IPv4, neighbour discovery for IPv6.

use super::frame::{self, Parts, Tags};
use super::{arp, discovery};
use evenkeel_wire::{EtherType, MacAddress, RouterAdvertisement};
use std::net::{IpAddr, Ipv6Addr};

/// A frame in which somebody says something that a host may have to do with.
#[derive(Debug)]
pub(super) struct Message<'f> {
    /// Who has sent the frame.
    pub(super) from: MacAddress,
    /// In which VLANs.
    pub(super) tags: Tags,
    pub(super) said: Said<'f>,
}

/// What somebody says.
#[derive(Debug)]
pub(super) enum Said<'f> {
    /// Something about addresses: where one is, or that another one is looked for, or both.
    Neighbour { word: Option<Word>, question: Option<Question> },
    /// A router's word.
    Router(Router<'f>),
    /// "Who is in this group?" Of which version of multicast listener discovery, and, without a group, in any.
    Groups { version: u8, group: Option<Ipv6Addr> },
}

/// "This address is there."
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) address: IpAddr,
    /// Where; nothing if it does not say, and so is where it was.
    pub(super) mac: Option<MacAddress>,
    /// It answers a question, so our packets reach it. Anything else may have been said to nobody.
    pub(super) is_answer: bool,
    /// It counts for more than what was known.
    pub(super) overrides: bool,
}

/// "Who has this address?"
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) target: IpAddr,
    /// Who asks; nobody, if it wants to know whether it may have the address itself.
    pub(super) asker: Option<IpAddr>,
    /// Where it is to be answered.
    pub(super) mac: MacAddress,
}

/// A router's word.
#[derive(Debug)]
pub(super) struct Router<'f> {
    pub(super) address: Ipv6Addr,
    pub(super) mac: Option<MacAddress>,
    pub(super) word: &'f RouterAdvertisement,
    pub(super) options: evenkeel_wire::DiscoveryOptions<'f>,
}

/// The message that a frame carries, if there is one. Checksums are not looked at.
pub(super) fn glance(frame: &[u8]) -> Option<Message<'_>> {
    read_with(frame, false)
}

/// The message that a frame carries, if there is one and it is sound.
pub(super) fn read(frame: &[u8]) -> Option<Message<'_>> {
    read_with(frame, true)
}

fn read_with(frame: &[u8], is_strict: bool) -> Option<Message<'_>> {
    let parts = frame::read(frame, |ether_type| matches!(ether_type, EtherType::ARP | EtherType::IPV6))?;
    let said = match parts.ether_type {
        EtherType::ARP => arp::read(parts.payload)?,
        _ => discovery::read(&parts, is_strict)?,
    };
    let Parts { source, tags, .. } = parts;
    Some(Message { from: source, tags, said })
}
