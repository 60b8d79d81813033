//! How a connection moves from state to state, and what it takes as proof.
//!
//! Anybody can send a packet that says it comes from a client. So nothing is believed that the sender could have guessed:
//! - A TCP connection is established by the one segment that acknowledges the backend's SYN-ACK, whose number only its
//!   client has seen. The SYN-ACK in turn has to acknowledge the client's SYN: so nothing that the backend still sends to the
//!   NAT port's last owner is taken for an answer to its next one.
//! - A reset or a FIN of an established connection is believed for the time being only. The ends know the numbers and
//!   ignore what does not fit; so whoever goes on has not ended anything. What cannot be told from the real thing is silence:
//!   a connection that is reset in somebody's name ends if neither that side says anything until its time is over.
//! - What is not proved cannot be kept young by repeating it: its stamp says since when it is what it is.

use crate::flow::{Meta, Now, State};
use crate::key::Side;
use crate::parse::Segment;
use evenkeel_wire::TcpFlags;

/// How far above what it has to acknowledge a SYN-ACK may go: a SYN can carry data (RFC 7413).
const SYN_DATA: u32 = 1 << 16;

/// How long after the first answer a client must go on for its datagrams to be a stream: two seconds, in units of [`Now`].
const STREAM: u16 = Now::span(2_000);

/// How old a SYN must be for another number to take its place, in units of [`Now`]: a second, after which clients repeat
/// theirs. Until then a stranger's SYN would make the backend's answer to the client's look like somebody else's.
const REPEATED: u16 = Now::span(1_000);

impl Segment {
    /// Whether the segment is what the handshake waits for: `proof` is what the connection's client entry says of that.
    #[inline(always)]
    pub(crate) fn holds(&self, state: State, side: Side, proof: u32) -> bool {
        match (state, side) {
            (State::Opening | State::Reset, Side::Backend) => {
                let answers = self.acknowledgement.wrapping_sub(proof) < SYN_DATA && self.flags.any(TcpFlags::ACK);
                // Or another CPU has just noted the same answer.
                answers || self.flags.any(TcpFlags::SYN) && self.sequence.wrapping_add(1) == proof
            }
            (State::Answered, Side::Backend) => self.sequence == proof,
            (State::Answered, Side::Client) => self.acknowledgement == proof && self.flags.any(TcpFlags::ACK),
            _ => false,
        }
    }

    /// What the handshake waits for after this segment.
    #[inline(always)]
    pub(crate) fn next_proof(&self, meta: Meta, side: Side, holds: bool, proof: u32, now: Now) -> u32 {
        let begins = match (meta.state(), side) {
            (State::Opening, Side::Client) => meta.age(now) >= REPEATED,
            (State::Closing | State::Reset, Side::Client) => true,
            (State::Opening | State::Reset, Side::Backend) => holds,
            _ => false,
        };
        if begins && self.flags.any(TcpFlags::SYN) { self.sequence.wrapping_add(1) } else { proof }
    }
}

/// The control word after a segment or datagram from this side; `holds` as [`Segment::holds`] says.
///
/// What is noted as FIN is a mark: what somebody in this side's name has said. It stays through the handshake of a connection
/// over the remains of another, since the other one may be alive after all; then its next data takes the mark back.
#[inline(always)]
pub(crate) fn step(meta: Meta, side: Side, segment: &Segment, holds: bool, now: Now) -> Meta {
    let state = meta.state();
    let to = |meta: Meta, state| meta.with_state(state).with_seen(now);
    if meta.is_udp() {
        return match (state, side) {
            (State::Opening, Side::Backend) => to(meta, State::Answered),
            (State::Answered, Side::Client) if meta.age(now) >= STREAM => to(meta, State::Established),
            (State::Answered, Side::Backend) if meta.age(now) >= 2 * STREAM => meta.with_seen(now),
            (State::Answered, _) => meta,
            _ => meta.with_seen(now),
        };
    }
    if segment.flags.any(TcpFlags::RST) {
        return match state {
            State::Opening | State::Answered if side == Side::Backend && holds => to(meta, State::Closing),
            State::Established | State::HalfClosed => to(meta.without_fins().with_fin(side), State::Reset),
            State::Reset => meta.with_fin(side),
            _ => meta,
        };
    }
    if segment.flags.any(TcpFlags::SYN) {
        return match (state, side) {
            (State::Opening | State::Reset, Side::Backend) if holds => to(meta, State::Answered),
            // A client that uses its port again may do so over the remains of its last connection (RFC 9293,
            // section 3.6.1).
            (State::Closing, Side::Client) => to(meta, State::Opening),
            (State::Established | State::HalfClosed, Side::Client) if segment.is_last_call => {
                to(meta.without_fins().with_fin(Side::Backend), State::Reset)
            }
            // A retransmission, or for the backend to judge.
            _ => meta,
        };
    }
    if state == State::Answered && side == Side::Client && holds {
        return close(meta.without_fins(), side, segment, now);
    }
    // Who has more to say has not finished, nor begun anew; and after a reset nobody says anything.
    let takes_back =
        meta.has_fin(side) && (state == State::Reset || segment.has_data && !segment.flags.any(TcpFlags::FIN));
    if takes_back {
        let rest = meta.without_fin(side);
        return match state {
            _ if rest.has_no_fin() => close(rest, side, segment, now),
            State::Reset => rest.with_seen(now),
            _ => to(rest, State::HalfClosed),
        };
    }
    if state.is_coarse() { close(meta, side, segment, now) } else { meta }
}

/// An established connection after a segment that is no SYN and no reset.
#[inline(always)]
fn close(meta: Meta, side: Side, segment: &Segment, now: Now) -> Meta {
    let meta = if segment.flags.any(TcpFlags::FIN) { meta.with_fin(side) } else { meta };
    let state = if meta.has_no_fin() {
        State::Established
    } else if meta.has_both_fins() {
        State::Closing
    } else {
        State::HalfClosed
    };
    meta.with_state(state).with_seen(now)
}
