//! The balancer: what becomes of a packet.
//!
//! The same code runs in the kernel, compiled to BPF, and in user space. It reaches the outside through two traits: a
//! [`Frame`] is the packet, [`Tables`] is everything else. It knows no clock, thread, file or map, allocates nothing
//! and cannot panic.
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
mod features;
mod filter;
pub mod flow;
mod follow;
mod frame;
pub mod hash;
pub mod hop;
mod key;
mod layout;
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
pub use tables::Tables;
pub use tables::{insert, take_over};
pub use verdict::{Event, Reason, Verdict};
pub use word::Word;

use evenkeel_wire::IpProtocol;
use station::{arrived, leave};

/// Decides on a packet, changes it if it is to be sent, and counts the verdict.
///
/// A packet whose verdict is not [`Verdict::Transmit`] is left as it came.
#[inline(always)]
pub fn process<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Reason {
    let glance = glance(frame, tables);
    decide(frame, tables, &glance)
}

/// What a packet is, before anything is decided or looked up that may be far away in memory.
///
/// A plane that has several packets at hand glances at all of them, asks for the memory that each will need, and
/// decides only then: the CPU fetches the flow buckets of all at once. Between the two the packet must not change.
#[derive(Clone, Copy, Debug)]
pub enum Glance {
    /// A TCP segment or UDP datagram for an address that may be ours, and where its flow would be kept: see
    /// [`hash::bucket`] and [`hash::start`].
    Flow(Packet, u64),
    /// Neither TCP nor UDP, to an address that may be ours.
    Other,
    /// Nothing more to find out.
    Decided(Reason),
}

/// The first half of [`process`]: reads the headers and the address filter.
#[inline(always)]
pub fn glance<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Glance {
    classify(frame, tables).unwrap_or_else(Glance::Decided)
}

/// The second half of [`process`].
#[inline(always)]
pub fn decide<F: Frame, T: Tables>(frame: &mut F, tables: &T, glance: &Glance) -> Reason {
    let mut next = forward(frame, tables, glance);
    loop {
        match next {
            Next::Done(reason) => return reason,
            Next::Go(station) => next = visit(station, frame, tables),
        }
    }
}

/// The part of [`process`] that every packet goes through, and an established connection's ordinary packet no further: for a
/// plane that brings the others to their stations by itself.
#[inline(always)]
pub fn arrive<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Next {
    let glance = glance(frame, tables);
    forward(frame, tables, &glance)
}

#[inline(always)]
fn classify<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Result<Glance, Reason> {
    let (offset, destination) = parse::destination(frame, tables.settings().mac)?;
    if !tables.may_be_ours(destination) {
        return Err(Reason::NotOurs);
    }
    let ip = parse::ip(frame, offset)?;
    match ip.protocol {
        IpProtocol::TCP | IpProtocol::UDP => match parse::transport(frame, &ip) {
            Ok(packet) => Ok(Glance::Flow(packet, hash::place(packet.key, &tables.settings().flow_secret))),
            // `may_be_ours` may be wrong, and what is not ours is not ours to drop.
            Err(reason) => Err(if tables.is_ours(ip.destination) { reason } else { Reason::NotOurs }),
        },
        _ => Ok(Glance::Other),
    }
}

#[inline(always)]
fn forward<F: Frame, T: Tables>(frame: &mut F, tables: &T, glance: &Glance) -> Next {
    let outcome = match glance {
        Glance::Flow(packet, place) => balance(frame, tables, packet, *place),
        Glance::Other => Ok(Next::Go(Station::Other)),
        Glance::Decided(reason) => Err(*reason),
    };
    arrived(tables, outcome)
}

/// A packet of an established connection follows it; for any other there is more to be done.
#[inline(always)]
fn balance<F: Frame, T: Tables>(frame: &mut F, tables: &T, packet: &Packet, place: u64) -> Result<Next, Reason> {
    let settings = tables.settings();
    let bucket = tables.flows(hash::bucket(place, settings.flow_mask)).ok_or(Reason::FlowTableFull)?;
    let Some(flow) = flow::find(bucket, packet.key, hash::start(place)) else { return Ok(Next::Go(Station::Open)) };
    match follow::steady(tables, packet, &flow, tables.now()) {
        Some(route) => leave(frame, tables, packet, &route).map(Next::Done),
        None => Ok(Next::Go(Station::Follow)),
    }
}
