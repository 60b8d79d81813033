//! The balancer: what becomes of a packet.
//!
//! The same code runs in the kernel, compiled to BPF, and in user space. It reaches the outside through two traits: a
//! [`Frame`] is the packet, [`Tables`] is everything else. It knows no clock, thread, file or map, allocates nothing
//! and cannot panic.
//!
//! [`process`] is the packet's whole way on one page; each step is a function in a file named after it.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, clippy::expect_used))]

pub mod backend;
mod connection;
mod counters;
mod echo;
mod filter;
pub mod flow;
mod follow;
mod frame;
pub mod hash;
mod key;
mod layout;
mod open;
mod parse;
mod refuse;
mod rewrite;
mod service;
mod settings;
mod settle;
mod source;
mod tables;
mod verdict;
mod word;

pub use backend::{Backend, BackendRef, BackendState, Standing};
pub use counters::{Counters, Traffic};
pub use filter::AddressFilter;
pub use frame::{Frame, SliceFrame};
pub use layout::{LAYOUT, counter_names};
pub use open::PORT_TRIES;
pub use parse::{Ip, Packet};
pub use rewrite::Route;
pub use service::{Service, ServiceKey};
pub use settings::{MAGLEV_SLOTS, Settings};
pub use settle::settle;
pub use tables::Tables;
pub use tables::insert;
pub use verdict::{Event, Reason, Verdict};
pub use word::Word;

use evenkeel_wire::IpProtocol;

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
    /// Anything else that is ours to answer.
    Icmp(Ip),
    /// Nothing more to find out.
    Decided(Reason),
}

/// The first half of [`process`]: reads the headers and the address filter.
#[inline(always)]
pub fn glance<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Glance {
    match classify(frame, tables) {
        Ok(glance) => glance,
        Err(reason) => Glance::Decided(reason),
    }
}

#[inline(always)]
fn classify<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Result<Glance, Reason> {
    let ip = parse::ip(frame, tables.settings().mac)?;
    if !tables.may_be_ours(ip.destination) {
        return Err(Reason::NotOurs);
    }
    match ip.protocol {
        IpProtocol::TCP | IpProtocol::UDP => match parse::transport(frame, &ip) {
            Ok(packet) => Ok(Glance::Flow(packet, hash::place(packet.key, &tables.settings().flow_secret))),
            // `may_be_ours` may be wrong, and what is not ours is not ours to drop.
            Err(reason) => Err(if tables.is_ours(ip.destination) { reason } else { Reason::NotOurs }),
        },
        IpProtocol::ICMP => Ok(Glance::Icmp(ip)),
        _ if tables.is_ours(ip.destination) => Err(Reason::NotTcpUdp),
        _ => Err(Reason::NotOurs),
    }
}

/// The second half of [`process`].
#[inline(always)]
pub fn decide<F: Frame, T: Tables>(frame: &mut F, tables: &T, glance: &Glance) -> Reason {
    let decided = match glance {
        Glance::Flow(packet, place) => balance(frame, tables, packet, *place),
        Glance::Icmp(ip) => echo::echo(frame, tables, ip),
        Glance::Decided(reason) => Err(*reason),
    };
    let reason = match decided {
        Ok(reason) | Err(reason) => reason,
    };
    tables.count(reason);
    reason
}

/// A packet of an established connection follows it; for any other there is more to settle.
#[inline(always)]
fn balance<F: Frame, T: Tables>(frame: &mut F, tables: &T, packet: &Packet, place: u64) -> Result<Reason, Reason> {
    let settings = tables.settings();
    let bucket = tables.flows(hash::bucket(place, settings.flow_mask)).ok_or(Reason::FlowTableFull)?;
    let now = tables.now();
    let flow = flow::find(bucket, packet.key, hash::start(place));
    let steady = match &flow {
        Some(flow) if packet.ttl > 1 => follow::steady(tables, packet, flow, now),
        _ => None,
    };
    let route = match steady {
        Some(route) => route,
        None => {
            let mut settled = Route::default();
            match tables.settle(packet, now, flow.is_some(), &mut settled) {
                Err(Reason::Refused) => return refuse::refuse(frame, packet),
                outcome => outcome?,
            }
            settled
        }
    };
    rewrite::rewrite(frame, packet, &route, settings.mac)?;
    tables.count_traffic(route.backend(), route.from(), packet.length);
    Ok(match route.from() {
        key::Side::Client => Reason::ToBackend,
        key::Side::Backend => Reason::ToClient,
    })
}
