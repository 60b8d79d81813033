//! A packet of a connection that is known.

use crate::backend::{Backend, BackendState, Link};
use crate::connection::{Progress, advance, end};
use crate::flow::{Found, State, Tick};
use crate::key::Side;
use crate::parse::Packet;
use crate::rewrite::Route;
use crate::tables::Tables;
use crate::verdict::Reason;
use crate::word::Word;
use evenkeel_wire::{IpProtocol, TcpFlags};

/// The route of an established connection's ordinary packet: one backend looked up, nothing written. Nothing if there
/// is more to it, which is for [`crate::settle`].
#[inline(always)]
pub(crate) fn steady<T: Tables + ?Sized>(
    tables: &T,
    packet: &Packet,
    flow: &Found<'_, T::Word>,
    now: Tick,
) -> Option<Route> {
    let control = TcpFlags::SYN.with(TcpFlags::FIN).with(TcpFlags::RST);
    if flow.meta.state() != State::Established
        || packet.flags.any(control)
        || now.since(flow.meta.seen()) >= tables.settings().timeouts.renew
        // The client has moved: answers have to go to its new address from now on, not after the next renewal, which
        // the backend's own packets would put off for ever.
        || (flow.meta.side() == Side::Client && flow.mac != packet.source_mac)
    {
        return None;
    }
    let backend = tables.backend(flow.backend.index)?;
    let link = Link(backend.link.load());
    if is_gone(flow, link) || is_lost(flow, link) {
        return None;
    }
    Some(route(packet, flow, backend, link))
}

/// The route of any packet of a known connection, which is brought up to date. Nothing if the connection is over and
/// the packet may open a new one.
#[inline(always)]
pub(crate) fn follow<T: Tables + ?Sized>(
    tables: &T,
    packet: &Packet,
    flow: &Found<'_, T::Word>,
    now: Tick,
) -> Result<Option<Route>, Reason> {
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
        return if opens_another { Ok(None) } else { Err(Reason::BackendDown) };
    }
    // A new connection over the remains of an old one must not go to a backend that takes no new ones.
    let moves = side == Side::Client
        && flow.meta.state() == State::Closing
        && packet.flags.any(TcpFlags::SYN)
        && link.state() != BackendState::Up;
    if moves || advance(tables, packet, flow, backend, now) == Progress::Gone {
        flow.release();
        return if side == Side::Client { Ok(None) } else { Err(Reason::FlowMissing) };
    }
    if is_lost(flow, link) {
        return Err(Reason::BackendUnresolved);
    }
    Ok(Some(route(packet, flow, backend, link)))
}

/// Whether the flow's backend is no more: down, or its place in the table has another owner.
#[inline(always)]
fn is_gone<W>(flow: &Found<'_, W>, link: Link) -> bool {
    link.generation() != flow.backend.generation || link.state() == BackendState::Down
}

/// Whether the packet is for a backend whose Ethernet address is not known any more.
#[inline(always)]
fn is_lost<W>(flow: &Found<'_, W>, link: Link) -> bool {
    flow.meta.side() == Side::Client && link.mac().is_zero()
}

#[inline(always)]
fn route<W: Word>(packet: &Packet, flow: &Found<'_, W>, backend: &Backend<W>, link: Link) -> Route {
    match flow.meta.side() {
        Side::Client => {
            let target = backend.target(packet.key.destination().port);
            Route::to_backend(flow.backend.index, link.mac(), flow.peer, target)
        }
        Side::Backend => {
            let service = backend.service(packet.key.source().port);
            Route::to_client(flow.backend.index, flow.mac, service, flow.peer)
        }
    }
}

/// Whether a packet may open a connection: any datagram; a SYN that is nothing else.
#[inline(always)]
pub(crate) fn opens(packet: &Packet) -> bool {
    let opening = TcpFlags::SYN.with(TcpFlags::ACK).with(TcpFlags::RST).with(TcpFlags::FIN);
    packet.key.protocol() == IpProtocol::UDP || packet.flags.0 & opening.0 == TcpFlags::SYN.0
}
