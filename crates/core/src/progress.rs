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

    /// Whether it acknowledges something, and says nothing else.
    #[inline(always)]
    pub(crate) fn is_mere_ack(&self) -> bool {
        let control = TcpFlags::SYN.with(TcpFlags::FIN).with(TcpFlags::RST);
        !self.has_data && !self.flags.any(control)
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

/// What a packet says to its connection. From the low end: TCP's control bits (8), then one bit each: whether it comes from
/// the backend, whether it is what the handshake waits for, [`Segment::has_data`], [`Segment::is_last_call`]. One word, so
/// that it can cross a call that a plane makes.
#[derive(Clone, Copy)]
pub(crate) struct Heard(u32);

impl Heard {
    const BACKEND: u32 = 1 << 8;
    const HOLDS: u32 = 1 << 9;
    const DATA: u32 = 1 << 10;
    const LAST_CALL: u32 = 1 << 11;

    /// A segment from this side; `holds` as [`Segment::holds`] says.
    #[inline(always)]
    pub(crate) fn bits(segment: &Segment, side: Side, holds: bool) -> u32 {
        let flag = |is_set: bool, bit| u32::from(is_set) * bit;
        u32::from(segment.flags.0)
            | flag(side == Side::Backend, Self::BACKEND)
            | flag(holds, Self::HOLDS)
            | flag(segment.has_data, Self::DATA)
            | flag(segment.is_last_call, Self::LAST_CALL)
    }

    #[inline(always)]
    fn has(self, flags: TcpFlags) -> bool {
        TcpFlags(self.0 as u8).any(flags)
    }

    #[inline(always)]
    fn side(self) -> Side {
        if self.0 & Self::BACKEND == 0 { Side::Client } else { Side::Backend }
    }

    #[inline(always)]
    fn is(self, bit: u32) -> bool {
        self.0 & bit != 0
    }
}

/// The control word `meta` after a packet, as the core has put it into words.
#[inline(always)]
pub fn progress(meta: u64, heard: u32, now: Now) -> u64 {
    step(Meta(meta), Heard(heard), now).0
}

/// The control word after a segment or datagram.
///
/// What is noted as FIN is a mark: what somebody in this side's name has said. It stays through the handshake of a connection
/// over the remains of another, since the other one may be alive after all; then its next data takes the mark back.
#[inline(always)]
fn step(meta: Meta, heard: Heard, now: Now) -> Meta {
    let (state, side) = (meta.state(), heard.side());
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
    if heard.has(TcpFlags::RST) {
        let is_refusal = side == Side::Backend && heard.is(Heard::HOLDS);
        return match state {
            // Of a connection over the remains of another it may be that one's, and said in the backend's name.
            State::Opening | State::Answered if is_refusal => {
                to(meta, if meta.has_no_fin() { State::Closing } else { State::Reset })
            }
            State::Established | State::HalfClosed => to(meta.without_fins().with_fin(side), State::Reset),
            State::Reset => meta.with_fin(side),
            _ => meta,
        };
    }
    if heard.has(TcpFlags::SYN) {
        return match (state, side) {
            (State::Opening | State::Reset, Side::Backend) if heard.is(Heard::HOLDS) => to(meta, State::Answered),
            // A client that uses its port again may do so over the remains of its last connection (RFC 9293,
            // section 3.6.1).
            (State::Closing, Side::Client) => to(meta, State::Opening),
            (State::Established | State::HalfClosed, Side::Client) if heard.is(Heard::LAST_CALL) => {
                to(meta.without_fins().with_fin(Side::Backend), State::Reset)
            }
            // What is said to have been reset by its client; the time for its backend to answer begins now.
            (State::Reset, Side::Client) if heard.is(Heard::LAST_CALL) && !meta.has_fin(Side::Backend) => {
                meta.with_fin(Side::Backend).with_seen(now)
            }
            // A retransmission, or for the backend to judge.
            _ => meta,
        };
    }
    if state == State::Answered && side == Side::Client && heard.is(Heard::HOLDS) {
        return close(meta.without_fins(), heard, now);
    }
    // Who has more to say has not finished, nor begun anew. After a reset nobody says anything, nor before the proof.
    let is_word_enough = matches!(state, State::Reset | State::Answered);
    let goes_on = is_word_enough || heard.is(Heard::DATA) && !heard.has(TcpFlags::FIN);
    if goes_on && meta.has_fin(side) {
        let rest = meta.without_fin(side);
        return match state {
            _ if rest.has_no_fin() => close(rest, heard, now),
            State::Reset => rest.with_seen(now),
            _ => to(rest, State::HalfClosed),
        };
    }
    if state.is_coarse() { close(meta, heard, now) } else { meta }
}

/// An established connection after a segment that is no SYN and no reset.
#[inline(always)]
fn close(meta: Meta, heard: Heard, now: Now) -> Meta {
    let meta = if heard.has(TcpFlags::FIN) { meta.with_fin(heard.side()) } else { meta };
    let state = if meta.has_no_fin() {
        State::Established
    } else if meta.has_both_fins() {
        State::Closing
    } else {
        State::HalfClosed
    };
    meta.with_state(state).with_seen(now)
}
