//! A packet of a connection that is known.

use crate::backend::{Backend, BackendState, Link};
use crate::connection::{Progress, advance, end};
use crate::flow::{Entry, Found, State, Tick};
use crate::hop::Hop;
use crate::key::Side;
use crate::parse::Packet;
use crate::rewrite::Route;
use crate::tables::Tables;
use crate::verdict::Reason;
use crate::word::Word;
use evenkeel_wire::{IpProtocol, MacAddress, TcpFlags};

/// The route of an established connection's ordinary packet: one backend looked up, nothing written. Nothing if there
/// is more to it, which is for [`follow`].
#[inline(always)]
pub(crate) fn steady<T: Tables + ?Sized>(
    tables: &T,
    packet: &Packet,
    flow: &Found<'_, Entry<T::Word>>,
    now: Tick,
) -> Option<Route> {
    let control = TcpFlags::SYN.with(TcpFlags::FIN).with(TcpFlags::RST);
    if flow.meta.state() != State::Established
        || packet.flags.any(control)
        || now.since(flow.meta.seen()) >= tables.settings().timeouts.renew
        || packet.ttl <= 1
    {
        return None;
    }
    let hop = Hop(tables.hop(flow.meta.hop())?.load());
    // The client has moved: answers have to go to its new address from now on, not after the next renewal, which the
    // backend's own packets would put off for ever.
    if flow.meta.side() == Side::Client && !hop.is(packet.neighbour) {
        return None;
    }
    let backend = tables.backend(flow.backend.index)?;
    let link = Link(backend.link.load());
    if is_gone(flow, link) {
        return None;
    }
    route(packet, flow, backend, link, hop).ok()
}

/// What there is to do about a packet of a known connection.
pub(crate) enum Followed {
    /// It goes along.
    Along(Route),
    /// The connection is over, and the packet may open a new one.
    Over,
}

/// What becomes of any packet of a known connection, which is brought up to date.
#[inline(always)]
pub(crate) fn follow<T: Tables + ?Sized>(
    tables: &T,
    packet: &Packet,
    flow: &Found<'_, Entry<T::Word>>,
    now: Tick,
) -> Result<Followed, Reason> {
    let backend = tables.backend(flow.backend.index).ok_or(Reason::BackendDown)?;
    let link = Link(backend.link.load());
    let side = flow.meta.side();
    if is_gone(flow, link) {
        // A backend that is down may be held so in error, and come back to its connections. What opens a new one does not
        // wait for that.
        let opens_another = side == Side::Client && opens(packet);
        if opens_another || link.generation() != flow.backend.generation {
            end(tables, packet, flow, backend);
        }
        return if opens_another { Ok(Followed::Over) } else { Err(Reason::BackendDown) };
    }
    // A new connection over the remains of an old one must not go to a backend that takes no new ones.
    let moves = side == Side::Client
        && flow.meta.state() == State::Closing
        && packet.flags.any(TcpFlags::SYN)
        && link.state() != BackendState::Up;
    let progress = if moves { Progress::Gone } else { advance(tables, packet, flow, backend, now) };
    let Progress::Alive(hop) = progress else {
        flow.release();
        return if side == Side::Client { Ok(Followed::Over) } else { Err(Reason::FlowMissing) };
    };
    let hop = tables.hop(hop).map_or(Hop(0), |word| Hop(word.load()));
    route(packet, flow, backend, link, hop).map(Followed::Along)
}

/// Whether the flow's backend is no more: down, or its place in the table has another owner.
#[inline(always)]
fn is_gone<W: Word>(flow: &Found<'_, Entry<W>>, link: Link) -> bool {
    link.generation() != flow.backend.generation || link.state() == BackendState::Down
}

/// The packet's route, if the Ethernet address at its end is known.
#[inline(always)]
fn route<W: Word>(
    packet: &Packet,
    flow: &Found<'_, Entry<W>>,
    backend: &Backend<W>,
    link: Link,
    hop: Hop,
) -> Result<Route, Reason> {
    let from = flow.meta.side();
    let (mac, source, destination, unresolved) = match from {
        Side::Client => {
            let target = backend.target(packet.key.destination().port);
            (link.0, flow.peer(), target, Reason::BackendUnresolved)
        }
        Side::Backend => {
            let service = backend.service(packet.key.source().port);
            (hop.0, service, flow.peer(), Reason::ClientUnresolved)
        }
    };
    if MacAddress::from_bits(mac).is_zero() {
        return Err(unresolved);
    }
    Ok(Route { backend: flow.backend.index, from, mac, source, destination })
}

/// Whether a packet may open a connection: any datagram; a SYN that is nothing else.
#[inline(always)]
pub(crate) fn opens(packet: &Packet) -> bool {
    let opening = TcpFlags::SYN.with(TcpFlags::ACK).with(TcpFlags::RST).with(TcpFlags::FIN);
    packet.key.protocol() == IpProtocol::UDP || packet.flags.0 & opening.0 == TcpFlags::SYN.0
}
