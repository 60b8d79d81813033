//! The balancer: what becomes of a packet.
//!
//! The same code runs in the kernel, compiled to BPF, and in user space. It reaches the outside through traits: a [`Frame`]
//! is the packet; [`Tables`], and [`FamilyTables`] for each family of addresses, are everything else. It knows no clock, thread, file or
//! map, allocates nothing and cannot panic.
//!
//! [`process`] is the packet's whole way on one page; each step is a function in a file named after it. What is rare or long
//! is a [`Station`], which a plane may run apart.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, clippy::expect_used))]

mod admit;
mod allowance;
mod answer;
pub mod backend;
mod branchless;
mod choose;
mod connection;
mod counters;
mod family;
mod features;
mod filter;
pub mod flow;
mod follow;
mod frame;
pub mod hash;
pub mod hop;
mod key;
mod layout;
mod network;
mod open;
mod ours;
mod parse;
mod ports;
mod progress;
pub mod reply;
mod rewrite;
mod service;
mod settings;
mod source;
mod station;
mod tables;
mod verdict;
mod word;

pub use admit::{Asked, admits};
pub use backend::{Backend, BackendRef, BackendState, Kind, Standing};
pub use choose::choose;
pub use counters::{Counters, Traffic};
pub use family::{Family, Owner, V4, V6};
pub use features::Features;
pub use filter::AddressFilter;
pub use frame::{Frame, SliceFrame};
pub use layout::{LAYOUT, counter_names};
pub use ours::Ours;
pub use parse::Packet;
pub use ports::PORT_TRIES;
pub use progress::progress;
pub use service::{Service, ServiceKey};
pub use settings::{MAGLEV_SLOTS, Settings};
pub use station::{Next, Station, visit};
pub use tables::{AllTables, FamilyTables, Searched, Tables, insert, locate, located, take_over};
pub use verdict::{Event, Reason, Verdict};
pub use word::Word;

use evenkeel_wire::{EtherType, IpProtocol};
use key::Key as _;
use network::Network as _;
use station::{arrived, leave};

/// Decides on a packet, changes it if it is to be sent, and counts the verdict.
///
/// A packet whose verdict is not [`Verdict::Transmit`] is left as it came.
#[inline(always)]
pub fn process<F: Frame, T: AllTables>(frame: &mut F, tables: &T) -> Reason {
    let glance = glance(frame, tables);
    decide(frame, tables, &glance)
}

/// What a packet is, before anything is decided or looked up that may be far away in memory.
///
/// A plane that has several packets at hand glances at all of them, asks for the memory that each will need, and
/// decides only then: the CPU fetches the flow buckets of all at once. Between the two the packet must not change.
#[derive(Clone, Copy, Debug)]
pub enum Glance {
    /// IPv4.
    Four(Seen<V4>),
    /// IPv6.
    Six(Seen<V6>),
    /// Nothing more to find out.
    Decided(Reason),
}

/// What is seen of a packet at a glance, for an address that may be ours.
#[derive(Clone, Copy, Debug)]
pub enum Seen<A: Family> {
    /// A TCP segment or UDP datagram, and where its flow would be kept: see [`hash::bucket`] and [`hash::start`].
    Flow(Packet<A>, u64),
    /// Neither TCP nor UDP.
    Other,
}

/// The first half of [`process`]: reads the headers and the address filter.
#[inline(always)]
pub fn glance<F: Frame, T: AllTables>(frame: &mut F, tables: &T) -> Glance {
    let seen = parse::link(frame, tables.settings().mac).and_then(|(offset, ether_type)| match ether_type {
        EtherType::IPV4 => see::<V4, F, T>(frame, tables, offset).map(Glance::Four),
        EtherType::IPV6 if tables.features().include(Features::IPV6) => {
            see::<V6, F, T>(frame, tables, offset).map(Glance::Six)
        }
        _ => Err(Reason::NotIpv4),
    });
    seen.unwrap_or_else(Glance::Decided)
}

/// The second half of [`process`].
#[inline(always)]
pub fn decide<F: Frame, T: AllTables>(frame: &mut F, tables: &T, glance: &Glance) -> Reason {
    let mut next = match glance {
        Glance::Four(seen) => arrived(tables, forward(frame, tables, seen)),
        Glance::Six(seen) => arrived(tables, forward(frame, tables, seen)),
        Glance::Decided(reason) => arrived(tables, Err(*reason)),
    };
    loop {
        match next {
            Next::Done(reason) => return reason,
            Next::Go(station) => next = visit(station, frame, tables),
        }
    }
}

/// The part of [`process`] that every packet goes through, and an established IPv4 connection's ordinary packet no further: for a
/// plane that brings the others to their stations by itself.
#[inline(always)]
pub fn arrive<F: Frame, T: AllTables>(frame: &mut F, tables: &T) -> Next {
    let outcome = parse::link(frame, tables.settings().mac).and_then(|(offset, ether_type)| match ether_type {
        EtherType::IPV4 => see::<V4, F, T>(frame, tables, offset).and_then(|seen| forward(frame, tables, &seen)),
        // Asked here as well: what is not ours is left alone even where the station is missing.
        EtherType::IPV6 if tables.features().include(Features::IPV6) => {
            let destination = network::Six::destination(frame, offset).ok_or(Reason::Truncated)?;
            let may_be_ours = FamilyTables::<V6>::may_be_ours(tables, destination);
            if may_be_ours { Ok(Next::Go(Station::Six)) } else { Err(Reason::NotOurs) }
        }
        _ => Err(Reason::NotIpv4),
    });
    arrived(tables, outcome)
}

/// A packet of this family, whose header is at this byte offset.
#[inline(always)]
fn see<A: Family, F: Frame, T: FamilyTables<A>>(frame: &mut F, tables: &T, offset: usize) -> Result<Seen<A>, Reason> {
    let destination = A::Network::destination(frame, offset).ok_or(Reason::Truncated)?;
    if !tables.may_be_ours(destination) {
        return Err(Reason::NotOurs);
    }
    let ip = network::read::<A::Network, F>(frame, offset)?;
    match ip.protocol {
        IpProtocol::TCP | IpProtocol::UDP => match parse::transport::<A, F>(frame, &ip) {
            Ok(packet) => Ok(Seen::Flow(packet, packet.key.place(tables.settings()))),
            // `may_be_ours` may be wrong, and what is not ours is not ours to drop.
            Err(reason) => Err(if tables.is_ours(ip.destination) { reason } else { Reason::NotOurs }),
        },
        _ => Ok(Seen::Other),
    }
}

/// A packet of an established connection follows it; for any other there is more to be done.
#[inline(always)]
fn forward<A: Family, F: Frame, T: FamilyTables<A>>(frame: &mut F, tables: &T, seen: &Seen<A>) -> Result<Next, Reason> {
    let Seen::Flow(packet, place) = seen else { return Ok(Next::Go(A::OTHER)) };
    let bucket = hash::bucket(*place, A::flow_mask(tables.settings()));
    let bucket = tables.flows(bucket).ok_or(Reason::FlowTableFull)?;
    let Some(flow) = flow::find(bucket, packet.key, hash::start(*place)) else { return Ok(Next::Go(A::OPEN)) };
    match follow::steady(tables, packet, &flow, tables.now()) {
        Some(route) => leave(frame, tables, packet, &route).map(Next::Done),
        None => Ok(Next::Go(A::FOLLOW)),
    }
}
