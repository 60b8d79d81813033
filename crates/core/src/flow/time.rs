//! Coarse time and idle times.

use super::entry::Meta;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Coarse time: units of 2^30 ns (1.07 s) of the monotonic clock, modulo 2^16 (19.5 hours).
///
/// A shift makes it from nanoseconds; 16 bits fit into a flow entry. Ages up to half the range are told apart from
/// clocks that differ a little between CPUs, which is why no idle time may exceed [`Tick::LONGEST`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick(pub u16);

impl Tick {
    /// The longest span that can be measured, about nine and a half hours.
    pub const LONGEST: u16 = 32_000;

    /// The tick in which this monotonic time, in nanoseconds, falls.
    #[inline(always)]
    pub fn from_nanoseconds(nanoseconds: u64) -> Self {
        Self((nanoseconds >> 30) as u16)
    }

    /// The number of ticks that cover this many seconds, rounded up.
    pub const fn span(seconds: u32) -> u16 {
        let ticks = ((seconds as u64 * 1_000_000_000) + (1 << 30) - 1) >> 30;
        if ticks > Self::LONGEST as u64 { Self::LONGEST } else { ticks as u16 }
    }

    /// Ticks since `earlier`; 0 if that lies ahead, as it may when another CPU wrote it.
    #[inline(always)]
    pub fn since(self, earlier: Self) -> u16 {
        (self.0.wrapping_sub(earlier.0) as i16).max(0) as u16
    }
}

/// How long a flow may be idle, by what it is, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdleTimes {
    /// Opened by the client, not answered yet.
    pub opening: u16,
    /// Answered by the backend, not confirmed by the client.
    pub answered: u16,
    /// An established TCP connection.
    pub tcp_established: u16,
    /// A UDP flow in which both sides have spoken, and the client again after that.
    pub udp_established: u16,
    /// Closed by both sides, or reset.
    pub closing: u16,
}

impl IdleTimes {
    /// The defaults. RFC 5382 (REQ-5) asks at least 2 h 4 min for established TCP; RFC 4787 (REQ-5) recommends 5 min
    /// for UDP. Half-open and closing flows live for a minute, the time a backend's TIME_WAIT takes on Linux: shorter
    /// than RFC 5382 would like, because a load balancer's ports and entries are what an attacker goes for.
    pub const DEFAULT: Self = Self {
        opening: Tick::span(60),
        answered: Tick::span(60),
        tcp_established: Tick::span(7440),
        udp_established: Tick::span(300),
        closing: Tick::span(60),
    };
}

/// [`IdleTimes`] as the packet path reads them: by the bits that an entry has, without a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Timeouts {
    /// Idle time by state, TCP first, then UDP.
    idle: [u16; 16],
    /// How old the stamp of an established flow may become before a packet renews it, in ticks; far below the idle
    /// times.
    pub renew: u16,
}

impl Timeouts {
    /// The packet path's form of these idle times.
    pub const fn new(times: IdleTimes) -> Self {
        let IdleTimes { opening, answered, tcp_established, udp_established, closing } = times;
        // Free and claimed places do not age.
        const NEVER: u16 = u16::MAX - 1;
        let shortest = if tcp_established < udp_established { tcp_established } else { udp_established };
        let renew = if shortest / 8 < Tick::span(8) { shortest / 8 } else { Tick::span(8) };
        Self {
            idle: [
                NEVER,
                NEVER,
                opening,
                answered,
                tcp_established,
                closing,
                NEVER,
                NEVER,
                NEVER,
                NEVER,
                opening,
                answered,
                udp_established,
                closing,
                NEVER,
                NEVER,
            ],
            renew,
        }
    }

    #[inline(always)]
    fn of(&self, meta: Meta) -> u16 {
        self.idle.get(meta.kind()).copied().unwrap_or(0)
    }

    /// Whether packets may no longer use the entry.
    #[inline(always)]
    pub fn expired(&self, meta: Meta, now: Tick) -> bool {
        now.since(meta.seen()) > self.of(meta)
    }

    /// How far past its time the entry is, in ticks; negative as long as its place may not be given away. That is one
    /// tick later than [`Timeouts::expired`], so that two CPUs whose clocks differ by one never disagree to a
    /// connection's harm.
    #[inline(always)]
    pub(super) fn overdue(&self, meta: Meta, now: Tick) -> i32 {
        i32::from(now.since(meta.seen())) - i32::from(self.of(meta)) - 2
    }

    /// Whether the entry's place may be given away.
    #[inline(always)]
    pub fn abandoned(&self, meta: Meta, now: Tick) -> bool {
        self.overdue(meta, now) >= 0
    }
}
