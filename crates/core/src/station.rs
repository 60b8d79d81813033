//! Where a packet goes next that does not simply follow an established connection.
//!
//! A station is a piece of the way that a plane can run by itself. Nothing is handed from one to the next but the packet,
//! whose headers the station reads again: that costs less than the stack frames that it spares, of which BPF allows 512
//! bytes in all. A plane in user space calls [`visit`]; in the kernel every station is a program of its own, reached by a
//! tail call.

use crate::answer::{expire, other, refuse, reset};
use crate::features::Features;
use crate::flow::find;
use crate::follow::{Followed, follow};
use crate::frame::Frame;
use crate::hash;
use crate::open::open;
use crate::parse::{self, Ip, Packet, Segment};
use crate::rewrite::{Route, send};
use crate::tables::Tables;
use crate::verdict::Reason;

/// Where a packet goes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nowhere: this is what becomes of it, and it has been counted.
    Done(Reason),
    /// To another station.
    Go(Station),
}

macro_rules! stations {
    ($($(#[doc = $help:literal])* $variant:ident = $name:literal;)*) => {
        /// The stations.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Station { $($(#[doc = $help])* $variant,)* }

        impl Station {
            /// Every station; each has its place in this list for a number.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Its name, which is its program's in the kernel: at most 15 bytes.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
        }
    };
}

stations! {
    /// A packet of a connection that is not established, has something to say about its state, or is to be renewed.
    Follow = "evenkeel_follow";
    /// A packet that belongs to no known connection and may open one.
    Open = "evenkeel_open";
    /// A packet to an address that may be ours, neither TCP nor UDP.
    Other = "evenkeel_other";
    /// A segment or datagram that no connection is known for and none is opened for.
    Refuse = "evenkeel_refuse";
    /// A packet that would be sent on if its time to live had not ended.
    Expire = "evenkeel_expire";
}

impl Station {
    /// Whether packets change the flow table here. They do so nowhere else.
    pub const fn changes_flows(self) -> bool {
        matches!(self, Self::Follow | Self::Open)
    }
}

/// Takes a packet through a station.
#[inline(always)]
pub fn visit<F: Frame, T: Tables>(station: Station, frame: &mut F, tables: &T) -> Next {
    let outcome = match station {
        Station::Follow => visit_follow(frame, tables),
        Station::Open => visit_open(frame, tables),
        Station::Other => visit_other(frame, tables).map(Next::Done),
        Station::Refuse => visit_refuse(frame, tables).map(Next::Done),
        Station::Expire => visit_expire(frame, tables).map(Next::Done),
    };
    arrived(tables, outcome)
}

/// Counts what is decided.
#[inline(always)]
pub(crate) fn arrived<T: Tables>(tables: &T, outcome: Result<Next, Reason>) -> Next {
    let next = outcome.unwrap_or_else(Next::Done);
    if let Next::Done(reason) = next {
        tables.count(reason);
    }
    next
}

#[inline(always)]
fn visit_follow<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Result<Next, Reason> {
    let settings = tables.settings();
    let (packet, segment) = segment(frame, tables)?;
    let place = hash::place(packet.key, &settings.flow_secret);
    let bucket = tables.flows(hash::bucket(place, settings.flow_mask)).ok_or(Reason::FlowTableFull)?;
    // It may have gone since the packet was sent here.
    let Some(flow) = find(bucket, packet.key, hash::start(place)) else { return Ok(Next::Go(Station::Open)) };
    if packet.ttl <= 1 {
        return expired(tables);
    }
    match follow(tables, &packet, &segment, &flow, tables.now())? {
        Followed::Over => Ok(Next::Go(Station::Open)),
        Followed::Reset(reason) => reset(frame, &packet).map(|()| Next::Done(reason)),
        Followed::Along(route) => leave(frame, tables, &packet, &route).map(Next::Done),
    }
}

#[inline(always)]
fn visit_open<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Result<Next, Reason> {
    let (packet, segment) = segment(frame, tables)?;
    match open(tables, &packet, &segment, tables.now()) {
        Ok(route) => leave(frame, tables, &packet, &route).map(Next::Done),
        Err(Reason::NoService | Reason::Refused | Reason::ResetMissing) => Ok(Next::Go(Station::Refuse)),
        Err(Reason::TtlExpired) => expired(tables),
        Err(reason) => Err(reason),
    }
}

/// Where a packet goes that may travel no further.
#[inline(always)]
fn expired<T: Tables>(tables: &T) -> Result<Next, Reason> {
    let is_answered = tables.features().include(Features::REFUSE);
    if is_answered { Ok(Next::Go(Station::Expire)) } else { Err(Reason::TtlExpired) }
}

#[inline(always)]
fn visit_other<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Result<Reason, Reason> {
    let ip = ip(frame, tables)?;
    other(frame, tables, &ip)
}

#[inline(always)]
fn visit_refuse<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Result<Reason, Reason> {
    let packet = packet(frame, tables)?;
    refuse(frame, tables, &packet)
}

#[inline(always)]
fn visit_expire<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Result<Reason, Reason> {
    let packet = packet(frame, tables)?;
    expire(frame, tables, &packet)
}

#[inline(always)]
fn packet<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Result<Packet, Reason> {
    let ip = ip(frame, tables)?;
    parse::transport(frame, &ip)
}

/// The packet once more. That it is TCP or UDP, for us and whole was found out before it was sent here.
#[inline(always)]
fn segment<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Result<(Packet, Segment), Reason> {
    let ip = ip(frame, tables)?;
    parse::segment(frame, &ip)
}

#[inline(always)]
fn ip<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Result<Ip, Reason> {
    let (offset, _) = parse::destination(frame, tables.settings().mac)?;
    parse::ip(frame, offset)
}

/// Sends a packet on its way, and counts it.
#[inline(always)]
pub(crate) fn leave<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    packet: &Packet,
    route: &Route,
) -> Result<Reason, Reason> {
    send(frame, packet, route, tables.settings().mac)?;
    tables.count_traffic(route.backend, route.from, packet.length);
    Ok(route.reason())
}
