//! Where a packet goes next that does not simply follow an established connection.
//!
//! A station is a piece of the way that a plane can run by itself. Nothing is handed from one to the next but the packet,
//! whose headers the station reads again: that costs less than the stack frames that it spares, of which BPF allows 512
//! bytes in all. A plane in user space calls [`visit`]; in the kernel every station is a program of its own, reached by a
//! tail call.

use crate::answer::{expire, other, refuse, reset};
use crate::family::{Family, V4, V6};
use crate::features::Features;
use crate::follow::{Fate, Followed, along, follow};
use crate::frame::Frame;
use crate::network::Ip;
use crate::open::open;
use crate::parse::{self, Packet, Segment};
use crate::rewrite::{Route, send};
use crate::tables::{AllTables, FamilyTables, Tables};
use crate::verdict::Reason;
use crate::{forward, see};

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
    /// A packet of IPv6: what [`crate::arrive`] does for one of IPv4.
    Six = "evenkeel6";
    /// [`Station::Follow`] for IPv6.
    SixFollow = "evenkeel6follow";
    /// [`Station::Open`] for IPv6.
    SixOpen = "evenkeel6open";
    /// [`Station::Other`] for IPv6.
    SixOther = "evenkeel6other";
    /// [`Station::Refuse`] for IPv6.
    SixRefuse = "evenkeel6refuse";
    /// [`Station::Expire`] for IPv6.
    SixExpire = "evenkeel6expire";
}

impl Station {
    /// Whether packets change the flow table here. They do so nowhere else.
    pub const fn changes_flows(self) -> bool {
        matches!(self, Self::Follow | Self::Open | Self::SixFollow | Self::SixOpen)
    }

    /// Whether packets come here only where a configuration has these features.
    pub const fn needs(self) -> Features {
        match self {
            Self::Six | Self::SixFollow | Self::SixOpen | Self::SixOther | Self::SixRefuse | Self::SixExpire => {
                Features::IPV6
            }
            _ => Features::NONE,
        }
    }
}

/// Takes a packet through a station.
#[inline(always)]
pub fn visit<F: Frame, T: AllTables>(station: Station, frame: &mut F, tables: &T) -> Next {
    let outcome = match station {
        Station::Follow => visit_follow::<V4, F, T>(frame, tables),
        Station::Open => visit_open::<V4, F, T>(frame, tables),
        Station::Other => visit_other::<V4, F, T>(frame, tables),
        Station::Refuse => visit_refuse::<V4, F, T>(frame, tables),
        Station::Expire => visit_expire::<V4, F, T>(frame, tables),
        Station::Six => visit_six(frame, tables),
        Station::SixFollow => visit_follow::<V6, F, T>(frame, tables),
        Station::SixOpen => visit_open::<V6, F, T>(frame, tables),
        Station::SixOther => visit_other::<V6, F, T>(frame, tables),
        Station::SixRefuse => visit_refuse::<V6, F, T>(frame, tables),
        Station::SixExpire => visit_expire::<V6, F, T>(frame, tables),
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
fn visit_six<F: Frame, T: FamilyTables<V6>>(frame: &mut F, tables: &T) -> Result<Next, Reason> {
    let (offset, _) = parse::link(frame, tables.settings().mac)?;
    let seen = see::<V6, F, T>(frame, tables, offset)?;
    forward(frame, tables, &seen)
}

#[inline(always)]
fn visit_follow<A: Family, F: Frame, T: FamilyTables<A>>(frame: &mut F, tables: &T) -> Result<Next, Reason> {
    let (packet, segment) = segment::<A, F, T>(frame, tables)?;
    // It may have gone since the packet was sent here.
    let Some(flow) = tables.find(&packet.key) else { return Ok(Next::Go(A::OPEN)) };
    if packet.ttl <= 1 {
        return expired::<A, T>(tables);
    }
    let Followed { fate, hop } = follow::<A, T>(tables, &packet, &segment, &flow, tables.now())?;
    match fate {
        Fate::Over => Ok(Next::Go(A::OPEN)),
        Fate::Reset(reason) => reset(frame, &packet).map(|()| Next::Done(reason)),
        Fate::Along => {
            let route = along::<A, T>(tables, &packet, &flow, hop)?;
            leave(frame, tables, &packet, &route).map(Next::Done)
        }
    }
}

#[inline(always)]
fn visit_open<A: Family, F: Frame, T: FamilyTables<A>>(frame: &mut F, tables: &T) -> Result<Next, Reason> {
    let (packet, segment) = segment::<A, F, T>(frame, tables)?;
    match open::<A, T>(tables, &packet, &segment, tables.now()) {
        Ok(route) => leave(frame, tables, &packet, &route).map(Next::Done),
        Err(Reason::NoService | Reason::Refused | Reason::ResetMissing) => Ok(Next::Go(A::REFUSE)),
        Err(Reason::TtlExpired) => expired::<A, T>(tables),
        Err(reason) => Err(reason),
    }
}

/// Where a packet goes that may travel no further.
#[inline(always)]
fn expired<A: Family, T: Tables>(tables: &T) -> Result<Next, Reason> {
    let is_answered = tables.features().include(Features::REFUSE);
    if is_answered { Ok(Next::Go(A::EXPIRE)) } else { Err(Reason::TtlExpired) }
}

#[inline(always)]
fn visit_other<A: Family, F: Frame, T: FamilyTables<A>>(frame: &mut F, tables: &T) -> Result<Next, Reason> {
    let ip = ip::<A, F, T>(frame, tables)?;
    other::<A, F, T>(frame, tables, &ip).map(Next::Done)
}

#[inline(always)]
fn visit_refuse<A: Family, F: Frame, T: FamilyTables<A>>(frame: &mut F, tables: &T) -> Result<Next, Reason> {
    let packet = packet::<A, F, T>(frame, tables)?;
    refuse(frame, tables, &packet).map(Next::Done)
}

#[inline(always)]
fn visit_expire<A: Family, F: Frame, T: FamilyTables<A>>(frame: &mut F, tables: &T) -> Result<Next, Reason> {
    let packet = packet::<A, F, T>(frame, tables)?;
    expire(frame, tables, &packet).map(Next::Done)
}

#[inline(always)]
fn packet<A: Family, F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Result<Packet<A>, Reason> {
    let ip = ip::<A, F, T>(frame, tables)?;
    parse::transport::<A, F>(frame, &ip)
}

/// The packet once more. That it is TCP or UDP, for us and whole was found out before it was sent here.
#[inline(always)]
fn segment<A: Family, F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Result<(Packet<A>, Segment), Reason> {
    let ip = ip::<A, F, T>(frame, tables)?;
    parse::segment::<A, F>(frame, &ip)
}

#[inline(always)]
fn ip<A: Family, F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Result<Ip<A::Address>, Reason> {
    parse::ip::<A, F>(frame, tables.settings().mac)
}

/// Sends a packet on its way, and counts it.
#[inline(always)]
pub(crate) fn leave<A: Family, F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    packet: &Packet<A>,
    route: &Route<A>,
) -> Result<Reason, Reason> {
    send(frame, packet, route, tables.settings().mac)?;
    tables.count_traffic(route.backend, route.from, packet.length);
    Ok(route.reason())
}
