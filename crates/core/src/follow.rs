//! A packet of a connection that is known.

use crate::backend::{Backend, BackendState, Link};
use crate::choose::newcomers;
use crate::connection::{Progress, advance, end};
use crate::family::Family;
use crate::features::Features;
use crate::flow::{Found, Now, State};
use crate::hop::Hop;
use crate::key::{HopNumber, Key as _, Side};
use crate::open::opens;
use crate::parse::{Packet, Segment};
use crate::reply::is_kept;
use crate::rewrite::Route;
use crate::tables::{FamilyTables, Tables};
use crate::verdict::Reason;
use crate::word::Word;
use evenkeel_wire::{IpProtocol, MacAddress, TcpFlags};

/// How long a backend that takes no new connections must have left a SYN unanswered for its connection to be over, in units of
/// [`Now`]: a second.
const UNANSWERED: u16 = Now::span(1_000);

/// The route of an established connection's ordinary packet: one backend looked up, nothing written. Nothing if there
/// is more to it, which is for [`follow`].
#[inline(always)]
pub(crate) fn steady<A: Family, T: FamilyTables<A> + ?Sized>(
    tables: &T,
    packet: &Packet<A>,
    flow: &Found<'_, A::Entry<T::Word>>,
    now: Now,
) -> Option<Route<A>> {
    let control = TcpFlags::SYN.with(TcpFlags::FIN).with(TcpFlags::RST);
    if flow.meta.state() != State::Established
        || packet.flags.any(control)
        || now.tick().since(flow.meta.seen()) >= tables.settings().timeouts.renew
        || packet.ttl <= 1
    {
        return None;
    }
    let hop = Hop(tables.hop(flow.meta.hop())?.load());
    // The client has moved: answers have to go to its new address from now on, not after the next renewal, which the
    // backend's own packets would put off for ever.
    if flow.meta.side() == Side::Client && !hop.is(packet.neighbour) && !is_routed(tables, flow.meta.hop()) {
        return None;
    }
    let backend = tables.backend(flow.backend.index)?;
    let link = Link(backend.link.load());
    if link.generation() != flow.backend.generation || !link.is_at_work() {
        return None;
    }
    route(tables, packet, flow, backend, link, hop).ok()
}

/// Whether answers follow the host's routes, wherever packets come from.
#[inline(always)]
pub(crate) fn is_routed<T: Tables + ?Sized>(tables: &T, hop: HopNumber) -> bool {
    tables.features().include(Features::ROUTED) && is_kept(hop)
}

/// What there is to do about a packet of a known connection.
pub(crate) struct Followed {
    pub(crate) fate: Fate,
    /// Where its client is reached, if it goes along. Something in any case: what is not said on some path, compilers spill
    /// without having written it, which BPF's verifier refuses.
    pub(crate) hop: Hop,
}

/// See [`Followed`].
pub(crate) enum Fate {
    /// It goes along.
    Along,
    /// It is answered by a reset, for this reason.
    Reset(Reason),
    /// The connection is over, and the packet may open a new one.
    Over,
}

impl Followed {
    #[inline(always)]
    fn no_further(fate: Fate) -> Self {
        Self { fate, hop: Hop(0) }
    }
}

/// What becomes of any packet of a known connection, which is brought up to date.
#[inline(always)]
pub(crate) fn follow<A: Family, T: FamilyTables<A> + ?Sized>(
    tables: &T,
    packet: &Packet<A>,
    segment: &Segment,
    flow: &Found<'_, A::Entry<T::Word>>,
    now: Now,
) -> Result<Followed, Reason> {
    let backend = tables.backend(flow.backend.index).ok_or(Reason::BackendDown)?;
    let link = Link(backend.link.load());
    let side = flow.meta.side();
    let is_gone = link.generation() != flow.backend.generation;
    if side == Side::Client && opens(packet) && (is_gone || goes_elsewhere(tables, packet, flow, link, now)) {
        end(tables, packet, flow, backend);
        return Ok(Followed::no_further(Fate::Over));
    }
    let resets = tables.features().include(Features::DOWN_RESET) && link.state() == BackendState::Resetting;
    if is_gone || resets {
        end(tables, packet, flow, backend);
        return if resets { reset(packet, Reason::ResetDown, Reason::BackendDown) } else { Err(Reason::BackendDown) };
    }
    // It may be held to be down in error, and come back to its connections.
    if matches!(link.state(), BackendState::Down | BackendState::Resetting) {
        return Err(Reason::BackendDown);
    }
    let is_last_call = link.state() == BackendState::Finishing && side == Side::Client;
    let hop = match advance(tables, packet, &Segment { is_last_call, ..*segment }, flow, backend, now) {
        Progress::Alive(hop) => tables.hop(hop).map_or(Hop(0), |word| Hop(word.load())),
        Progress::Stale => return reset(packet, Reason::ResetStale, Reason::FlowMissing),
        Progress::Gone => {
            // A reply entry that is new may be waiting for its client entry, and this packet be the port's last owner's.
            if side == Side::Client || flow.meta.state() != State::Opening {
                flow.release();
            }
            return if side == Side::Client { Ok(Followed::no_further(Fate::Over)) } else { Err(Reason::FlowMissing) };
        }
    };
    Ok(Followed { fate: Fate::Along, hop })
}

/// Answers a TCP segment by a reset, unless it is one or a datagram.
#[inline(always)]
fn reset<A: Family>(packet: &Packet<A>, answered: Reason, dropped: Reason) -> Result<Followed, Reason> {
    let is_answered = packet.key.protocol() == IpProtocol::TCP && !packet.flags.any(TcpFlags::RST);
    if is_answered { Ok(Followed::no_further(Fate::Reset(answered))) } else { Err(dropped) }
}

/// Whether a client's SYN or datagram, which could open a connection, leaves the one that it belongs to for another.
///
/// A SYN does not as long as the connection may still be alive: it goes to its backend, which answers that it knows better
/// (RFC 5961, section 4), and nothing is cut. After its end it is a new connection, which goes where a new one goes.
#[inline(always)]
fn goes_elsewhere<A: Family, T: FamilyTables<A> + ?Sized>(
    tables: &T,
    packet: &Packet<A>,
    flow: &Found<'_, A::Entry<T::Word>>,
    link: Link,
    now: Now,
) -> bool {
    let (state, is_udp) = (flow.meta.state(), flow.meta.is_udp());
    match link.state() {
        BackendState::Down | BackendState::Resetting => true,
        BackendState::Finishing if is_udp => newcomers::<A, T>(tables, &packet.key).is_some(),
        BackendState::Finishing => match state {
            State::Established | State::HalfClosed => false,
            State::Reset => flow.meta.has_fin(Side::Backend) && flow.meta.age(now) >= UNANSWERED,
            _ => true,
        },
        _ => state == State::Closing && newcomers::<A, T>(tables, &packet.key) != Some(flow.backend),
    }
}

/// The route of a packet that goes along.
#[inline(always)]
pub(crate) fn along<A: Family, T: FamilyTables<A> + ?Sized>(
    tables: &T,
    packet: &Packet<A>,
    flow: &Found<'_, A::Entry<T::Word>>,
    hop: Hop,
) -> Result<Route<A>, Reason> {
    let backend = tables.backend(flow.backend.index).ok_or(Reason::BackendDown)?;
    route(tables, packet, flow, backend, Link(backend.link.load()), hop)
}

/// The packet's route, if the Ethernet address at its end is known.
#[inline(always)]
fn route<A: Family, T: FamilyTables<A> + ?Sized>(
    tables: &T,
    packet: &Packet<A>,
    flow: &Found<'_, A::Entry<T::Word>>,
    backend: &Backend<T::Word>,
    link: Link,
    hop: Hop,
) -> Result<Route<A>, Reason> {
    let from = flow.meta.side();
    let (mac, source, destination, unresolved) = match from {
        Side::Client => {
            let target = backend.target::<A>(packet.key.destination().port);
            (link.0, A::peer(tables, flow), target, Reason::BackendUnresolved)
        }
        Side::Backend => {
            let service = backend.service::<A>(packet.key.source().port);
            (hop.0, service, A::peer(tables, flow), Reason::ClientUnresolved)
        }
    };
    if MacAddress::from_bits(mac).is_zero() {
        return Err(unresolved);
    }
    Ok(Route { backend: flow.backend.index, from, mac, source, destination })
}
