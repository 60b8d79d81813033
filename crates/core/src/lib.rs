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
mod counters;
mod echo;
mod filter;
pub mod flow;
mod follow;
mod frame;
pub mod hash;
mod open;
mod parse;
mod rewrite;
mod service;
mod settings;
mod settle;
mod source;
mod tables;
mod verdict;
mod word;

pub use backend::{Backend, BackendRef, BackendState};
pub use counters::{Counters, Traffic};
pub use filter::AddressFilter;
pub use frame::{Frame, SliceFrame};
pub use open::PORT_TRIES;
pub use parse::Packet;
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
    let reason = match classify(frame, tables) {
        Ok(reason) | Err(reason) => reason,
    };
    tables.count(reason);
    reason
}

#[inline(always)]
fn classify<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Result<Reason, Reason> {
    let ip = parse::ip(frame, tables.settings().mac)?;
    if !tables.may_be_ours(ip.destination) {
        return Err(Reason::NotOurs);
    }
    match ip.protocol {
        IpProtocol::TCP | IpProtocol::UDP => balance(frame, tables, &ip),
        IpProtocol::ICMP => echo::echo(frame, tables, &ip),
        _ if tables.is_ours(ip.destination) => Err(Reason::NotTcpUdp),
        _ => Err(Reason::NotOurs),
    }
}

/// A packet of an established connection follows it; for any other there is more to settle.
#[inline(always)]
fn balance<F: Frame, T: Tables>(frame: &mut F, tables: &T, ip: &parse::Ip) -> Result<Reason, Reason> {
    let packet = match parse::transport(frame, ip) {
        Ok(packet) => packet,
        // `may_be_ours` may be wrong, and what is not ours is not ours to drop.
        Err(reason) => return Err(if tables.is_ours(ip.destination) { reason } else { Reason::NotOurs }),
    };
    let settings = tables.settings();
    let place = hash::place(packet.key, &settings.flow_secret);
    let bucket = tables.flows(hash::bucket(place, settings.flow_mask)).ok_or(Reason::FlowTableFull)?;
    let now = tables.now();
    let flow = flow::find(bucket, packet.key, hash::start(place));
    let steady = match &flow {
        Some(flow) if packet.ttl > 1 => follow::steady(tables, &packet, flow, now),
        _ => None,
    };
    let route = match steady {
        Some(route) => route,
        None => {
            let mut settled = Route::default();
            tables.settle(&packet, now, flow.is_some(), &mut settled)?;
            settled
        }
    };
    rewrite::rewrite(frame, &packet, &route, settings.mac)?;
    tables.count_traffic(route.backend(), route.from(), packet.length);
    Ok(match route.from() {
        flow::Side::Client => Reason::ToBackend,
        flow::Side::Backend => Reason::ToClient,
    })
}
