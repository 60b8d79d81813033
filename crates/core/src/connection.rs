//! The two entries of a connection moving together.

use crate::backend::Backend;
use crate::choose::newcomers;
use crate::family::Family;
use crate::flow::{Found, Meta, Now, Record, State, TRIES};
use crate::follow::is_routed;
use crate::hop::{self, Hop};
use crate::key::{HopNumber, Key as _, Side};
use crate::parse::{Packet, Segment};
use crate::progress::Heard;
use crate::tables::FamilyTables;
use crate::word::Word;
use evenkeel_wire::TcpFlags;

/// Whether a connection is still one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It is, and has been brought up to date; and by which hop its client is reached.
    Alive(HopNumber),
    /// What the backend sends is of another connection: one that had the NAT port before, or one that belongs elsewhere.
    Stale,
    /// Its time is over, or its other entry has gone.
    Gone,
}

/// Brings a connection up to date with a packet that found the entry `own`: state, FINs, stamp, the hop that its client
/// comes by. Called for every packet of a connection that is not established, and for the few that matter to one that is.
#[inline(always)]
pub(crate) fn advance<A: Family, T: FamilyTables<A> + ?Sized>(
    tables: &T,
    packet: &Packet<A>,
    segment: &Segment,
    own: &Found<'_, A::Entry<T::Word>>,
    backend: &Backend<T::Word>,
    now: Now,
) -> Progress {
    if tables.settings().timeouts.expired(own.meta, own.class, now) {
        return Progress::Gone;
    }
    let side = own.meta.side();
    let Some(pair) = other_entry::<A, T>(tables, packet, own, backend) else { return Progress::Gone };
    let (reply, client) = match side {
        Side::Client => (&pair, own),
        Side::Backend => (own, &pair),
    };
    let state = reply.meta.state();
    let holds = segment.holds(state, side, client.proof);
    let is_from_backend = side == Side::Backend && !reply.meta.is_udp();
    // Unless it may be of the client's own last connection. An acknowledgement and nothing else goes on: the client resets what
    // the backend still remembers of the port's last owner, and begins again at once (RFC 9293, section 3.5.1, "half-open
    // connections"), instead of a second later.
    if is_from_backend && state == State::Opening && !holds && reply.meta.has_no_fin() && !segment.is_mere_ack() {
        return Progress::Stale;
    }
    // The backend takes the client's SYN for a new connection's or refuses it: it knows nothing of the one that was said to
    // be reset. That is over, and the SYN goes where a new one goes when the client repeats it.
    let judges_a_syn = TcpFlags::SYN.with(TcpFlags::RST);
    if is_from_backend && state == State::Reset && holds && segment.flags.any(judges_a_syn) {
        let service = backend.service::<A>(packet.key.source().port);
        let key = A::Key::new(A::peer(tables, own), service, packet.key.protocol());
        if newcomers::<A, T>(tables, &key) != Some(own.backend) {
            change(reply.entry, reply.meta, Meta::released);
            change(client.entry, client.meta, Meta::released);
            return Progress::Stale;
        }
    }
    // Before the state that it belongs to, or the client's answer could be held against the number before.
    let proof = segment.next_proof(reply.meta, side, holds, client.proof, now);
    if proof != client.proof {
        client.entry.note_proof(client.address, client.proof, proof);
    }
    // Answers go to where the client's packets come from. One that has moved and finds no number stays where it was known.
    // A backend's packet says nothing of that, and must not take back what another CPU notes meanwhile.
    let hop = if side == Side::Client { hop_of::<A, T>(tables, packet, own.meta.hop(), now) } else { own.meta.hop() };
    let heard = Heard::bits(segment, side, holds);
    let noted = |meta: Meta| if side == Side::Client { meta.with_hop(hop) } else { meta };
    let Some(changed) = change(reply.entry, reply.meta, |meta| noted(Meta(tables.progress(meta.0, heard, now)))) else {
        return Progress::Gone;
    };
    if let Some(word) = tables.hop(changed.hop()) {
        // It is no proof that a connection which was established elsewhere now comes from here.
        let is_proof = own.meta.state() == State::Answered
            && changed.state() == State::Established
            && side == Side::Client
            && hop == own.meta.hop();
        hop::renew(word, is_proof.then_some(packet.neighbour), now.tick());
    }
    // The reply entry is read again in every attempt, after the client entry: whoever changes the reply entry later
    // changes the client entry later too, so the client entry ends up with the latest of several changes.
    let followed = change(client.entry, client.meta, |meta| {
        let latest = Meta(reply.entry.meta().load());
        // The port may be somebody else's by now.
        if changed.is_same_use(latest) { meta.with_progress_of(latest) } else { meta.released() }
    });
    match followed {
        Some(meta) if meta.is_live() => Progress::Alive(changed.hop()),
        Some(_) => Progress::Gone,
        None => {
            change(reply.entry, changed, Meta::released);
            Progress::Gone
        }
    }
}

/// The hop that a client's packet has come by, where its connection says `known`.
#[inline(always)]
fn hop_of<A: Family, T: FamilyTables<A> + ?Sized>(
    tables: &T,
    packet: &Packet<A>,
    known: HopNumber,
    now: Now,
) -> HopNumber {
    if is_routed(tables, known) {
        // The routes may be others now.
        return tables.reply_hop(packet.key.source().address).unwrap_or(known);
    }
    let is_the_same = tables.hop(known).is_some_and(|word| Hop(word.load()).is(packet.neighbour));
    if is_the_same { known } else { tables.hop_number(packet.neighbour, now.tick()).unwrap_or(known) }
}

/// Changes a control word by compare-and-swap, as long as it stands for the same use of the place, and returns what it
/// has become; after [`TRIES`] attempts, what others have made of it, since the next packet brings the change again. Writes
/// only what is news.
#[inline(always)]
fn change<E: Record>(entry: &E, found: Meta, next: impl Fn(Meta) -> Meta) -> Option<Meta> {
    let mut current = found;
    for _ in 0..TRIES {
        let wanted = next(current);
        if wanted == current || entry.meta().compare_exchange(current.0, wanted.0) {
            return Some(wanted);
        }
        current = Meta(entry.meta().load());
        if !found.is_same_use(current) {
            return None;
        }
    }
    Some(current)
}

/// The other entry of the connection that `own` belongs to, if it is there and agrees.
#[inline(always)]
fn other_entry<'a, A: Family, T: FamilyTables<A> + ?Sized>(
    tables: &'a T,
    packet: &Packet<A>,
    own: &Found<'_, A::Entry<T::Word>>,
    backend: &Backend<T::Word>,
) -> Option<Found<'a, A::Entry<T::Word>>> {
    let side = own.meta.side();
    let (pair_key, expected_peer) = match side {
        Side::Client => {
            let target = backend.target::<A>(packet.key.destination().port);
            (A::Key::new(target, A::peer(tables, own), packet.key.protocol()), packet.key.source())
        }
        Side::Backend => {
            let service = backend.service::<A>(packet.key.source().port);
            (A::Key::new(A::peer(tables, own), service, packet.key.protocol()), packet.key.destination())
        }
    };
    let pair = tables.find(&pair_key)?;
    let agrees = pair.meta.side() != side && pair.backend == own.backend && A::peer(tables, &pair) == expected_peer;
    if agrees { Some(pair) } else { None }
}

/// Ends a connection of which a packet found the entry `own`: the reply entry first, so that no client entry is left
/// that sends from a port which is free.
#[inline(always)]
pub(crate) fn end<A: Family, T: FamilyTables<A> + ?Sized>(
    tables: &T,
    packet: &Packet<A>,
    own: &Found<'_, A::Entry<T::Word>>,
    backend: &Backend<T::Word>,
) {
    let pair = other_entry::<A, T>(tables, packet, own, backend);
    let own_is_reply = own.meta.side() == Side::Backend;
    if own_is_reply {
        change(own.entry, own.meta, Meta::released);
    }
    if let Some(pair) = pair {
        change(pair.entry, pair.meta, Meta::released);
    }
    if !own_is_reply {
        change(own.entry, own.meta, Meta::released);
    }
}
