//! The control word of an entry: what is known of the connection, and whose the place is.

use super::time::{Now, Tick};
use crate::key::{HopNumber, Side};
use core::time::Duration;
use evenkeel_wire::{IpProtocol, Port};

/// How far a connection has come. TCP and UDP share the states: a TCP connection moves by its flags, a UDP flow by who
/// has spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The place is free.
    Free,
    /// A CPU is writing the entry.
    Claimed,
    /// The client has sent its first packet.
    Opening,
    /// The backend has answered.
    Answered,
    /// TCP: the client has confirmed the answer, by its number. UDP: it has gone on for a while after it.
    Established,
    /// Both sides have sent FIN, or the backend has refused the connection.
    Closing,
    /// One side has sent FIN.
    HalfClosed,
    /// It was established, and the sides whose FIN is noted are said to have reset it. Whoever says so need not know the
    /// connection's numbers; so it is taken back by the next segment from that side that is no reset.
    Reset,
}

impl State {
    /// Whether a connection in this state is stamped in ticks; in all others it is in the units of [`Now`].
    pub const fn is_coarse(self) -> bool {
        Meta::COARSE >> self as u64 & 1 != 0
    }
}

/// The control word, the same in narrow and wide entries. `flow/entry.rs` has the table of its bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta(pub u64);

impl Meta {
    /// How many [`Meta::kind`]s there are.
    pub(super) const KINDS: usize = 16;
    /// The states that are stamped in ticks, a bit for each.
    const COARSE: u64 = 1 << State::Established as u64 | 1 << State::HalfClosed as u64;

    const STATE: u64 = 0x07;
    const CLIENT_FIN: u64 = 0x08;
    const BACKEND_FIN: u64 = 0x10;
    const BACKEND_SIDE: u64 = 0x20;
    const UDP: u64 = 0x40;
    const USE_SHIFT: u32 = 8;
    pub(super) const USE: u64 = 0xff << Self::USE_SHIFT;
    const SEEN_SHIFT: u32 = 16;
    const SEEN: u64 = 0xffff << Self::SEEN_SHIFT;
    const HOP_SHIFT: u32 = 32;
    const HOP: u64 = 0xffff << Self::HOP_SHIFT;
    const PORT_SHIFT: u32 = 48;

    /// The control word of a connection that begins: [`State::Opening`], the count of uses still zero.
    #[inline(always)]
    pub(super) fn opening(side: Side, protocol: IpProtocol, now: Now, hop: HopNumber, peer_port: Port) -> Self {
        let side = if side == Side::Backend { Self::BACKEND_SIDE } else { 0 };
        let udp = if protocol == IpProtocol::UDP { Self::UDP } else { 0 };
        let port = u64::from(peer_port.bits()) << Self::PORT_SHIFT;
        Self(side | udp | port).with_state(State::Opening).with_seen(now).with_hop(hop)
    }

    /// The state.
    #[inline(always)]
    pub const fn state(self) -> State {
        match self.0 & Self::STATE {
            1 => State::Claimed,
            2 => State::Opening,
            3 => State::Answered,
            4 => State::Established,
            5 => State::Closing,
            6 => State::HalfClosed,
            7 => State::Reset,
            _ => State::Free,
        }
    }

    /// State and protocol as a number below 16, for [`super::timeouts::Timeouts`].
    #[inline(always)]
    pub(crate) fn kind(self) -> usize {
        (self.0 & Self::STATE | (self.0 & Self::UDP) >> 3) as usize
    }

    /// Whether the entry stands for a connection.
    #[inline(always)]
    pub fn is_live(self) -> bool {
        self.0 & Self::STATE >= State::Opening as u64
    }

    /// The way in which the entry's packets arrive.
    #[inline(always)]
    pub fn side(self) -> Side {
        if self.0 & Self::BACKEND_SIDE == 0 { Side::Client } else { Side::Backend }
    }

    /// Whether this is a UDP flow.
    #[inline(always)]
    pub fn is_udp(self) -> bool {
        self.0 & Self::UDP != 0
    }

    /// Whether this side has sent its FIN.
    #[inline(always)]
    pub fn has_fin(self, side: Side) -> bool {
        self.0 & Self::fin(side) != 0
    }

    /// The stamp as it is: for an established connection the tick in which it was last known to be active.
    #[inline(always)]
    pub fn seen(self) -> Tick {
        Tick((self.0 >> Self::SEEN_SHIFT) as u16)
    }

    /// How far a unit of the stamp is from one of [`Now`], as a power of two.
    #[inline(always)]
    fn unit(self) -> u32 {
        (Self::COARSE >> (self.0 & Self::STATE) & 1) as u32 * Now::TICK
    }

    /// How old the stamp is, in its own units: ticks if [`State::is_coarse`], else those of [`Now`]. The stamp says when an
    /// established, half-closed or UDP connection was last known to be active, and since when any other is what it is.
    #[inline(always)]
    pub fn age(self, now: Now) -> u16 {
        Tick((now.0 >> self.unit()) as u16).since(self.seen())
    }

    /// The same as time.
    pub fn idle(self, now: Now) -> Duration {
        Duration::from_nanos(u64::from(self.age(now)) << (Now::SHIFT + self.unit()))
    }

    /// The same with another state.
    #[inline(always)]
    pub fn with_state(self, state: State) -> Self {
        Self(self.0 & !Self::STATE | state as u64)
    }

    /// The same with this side's FIN noted.
    #[inline(always)]
    pub fn with_fin(self, side: Side) -> Self {
        Self(self.0 | Self::fin(side))
    }

    /// The same without this side's FIN.
    #[inline(always)]
    pub(crate) fn without_fin(self, side: Side) -> Self {
        Self(self.0 & !Self::fin(side))
    }

    /// The same with no FIN noted.
    #[inline(always)]
    pub(crate) fn without_fins(self) -> Self {
        Self(self.0 & !(Self::CLIENT_FIN | Self::BACKEND_FIN))
    }

    /// Whether the FINs of both sides are noted.
    #[inline(always)]
    pub(crate) fn has_both_fins(self) -> bool {
        self.has_fin(Side::Client) && self.has_fin(Side::Backend)
    }

    /// Whether no FIN is noted.
    #[inline(always)]
    pub(crate) fn has_no_fin(self) -> bool {
        self == self.without_fins()
    }

    /// The same, stamped with `now`, in the unit of its state.
    #[inline(always)]
    pub fn with_seen(self, now: Now) -> Self {
        Self(self.0 & !Self::SEEN | (u64::from(now.0 >> self.unit()) << Self::SEEN_SHIFT) & Self::SEEN)
    }

    /// The next hop towards the client.
    #[inline(always)]
    pub fn hop(self) -> HopNumber {
        HopNumber((self.0 >> Self::HOP_SHIFT) as u16)
    }

    /// The same with another next hop towards the client.
    #[inline(always)]
    pub(crate) fn with_hop(self, hop: HopNumber) -> Self {
        Self(self.0 & !Self::HOP | u64::from(hop.0) << Self::HOP_SHIFT)
    }

    /// The port of the entry's peer.
    #[inline(always)]
    pub fn peer_port(self) -> Port {
        Port::from_bits((self.0 >> Self::PORT_SHIFT) as u16)
    }

    /// State, FINs, stamp and hop of `other`, everything else from here.
    #[inline(always)]
    pub(crate) fn with_progress_of(self, other: Self) -> Self {
        let progress = Self::STATE | Self::CLIENT_FIN | Self::BACKEND_FIN | Self::SEEN | Self::HOP;
        Self(self.0 & !progress | other.0 & progress)
    }

    /// A claim on the place that this word was read from: a new use of it.
    #[inline(always)]
    pub(crate) fn claim(self) -> Self {
        let uses = self.0.wrapping_add(1 << Self::USE_SHIFT) & Self::USE;
        Self(uses | State::Claimed as u64)
    }

    /// This control word, the first of the use that `claim` has begun.
    #[inline(always)]
    pub(super) fn in_use(self, claim: Self) -> Self {
        Self(claim.0 & Self::USE | self.0)
    }

    /// The place given up; the count of its uses stays.
    #[inline(always)]
    pub fn released(self) -> Self {
        Self(self.0 & Self::USE)
    }

    /// Whether `later`, read after this, is about the same use of the place, with its key and peer unchanged.
    #[inline(always)]
    pub(crate) fn is_same_use(self, later: Self) -> bool {
        (self.0 ^ later.0) & Self::USE == 0 && later.is_live()
    }

    /// How often the place has been used, modulo 256.
    #[inline(always)]
    pub(crate) fn uses(self) -> u8 {
        (self.0 >> Self::USE_SHIFT) as u8
    }

    fn fin(side: Side) -> u64 {
        match side {
            Side::Client => Self::CLIENT_FIN,
            Side::Backend => Self::BACKEND_FIN,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meta_fields_do_not_touch_each_other() {
        let port = Port::from_number(4096);
        let meta = Meta::opening(Side::Client, IpProtocol::TCP, Now(1), HopNumber(0xbeef), port);
        assert_eq!((meta.age(Now(0x1_0001)), meta.age(Now(8)), meta.age(Now(0))), (0, 7, 0));
        let meta = Meta(meta.0 | 0xab << 8).with_state(State::Established).with_seen(Now(0xfed_fedc << 6));
        assert_eq!(meta.age(Now(0xfedd << 6)), 1);
        let meta = meta.with_fin(Side::Backend);
        assert_eq!((meta.state(), meta.seen(), meta.side()), (State::Established, Tick(0xfedc), Side::Client));
        assert_eq!((meta.hop(), meta.peer_port(), meta.uses()), (HopNumber(0xbeef), port, 0xab));
        assert_eq!(meta.with_hop(HopNumber(7)).with_hop(HopNumber(0xbeef)), meta);
        assert!(meta.has_fin(Side::Backend) && !meta.has_fin(Side::Client) && !meta.is_udp());
        assert_eq!(meta.claim().0, 0xac << 8 | 1);
        assert_eq!(Meta(0xff << 8).claim().0, 1);
        assert!(!meta.claim().is_live() && !meta.released().is_live() && meta.is_live());
    }
}
