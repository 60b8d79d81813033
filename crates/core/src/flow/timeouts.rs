//! Idle times.

use super::meta::Meta;
use super::time::Tick;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

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
    /// The longest of the idle times, in ticks.
    pub longest: u16,
}

impl Timeouts {
    /// The packet path's form of these idle times.
    pub const fn new(times: IdleTimes) -> Self {
        let IdleTimes { opening, answered, tcp_established, udp_established, closing } = times;
        // Free and claimed places do not age.
        const NEVER: u16 = u16::MAX - 1;
        let shortest = if tcp_established < udp_established { tcp_established } else { udp_established };
        let longest = longest(&[opening, answered, tcp_established, udp_established, closing]);
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
            longest,
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

const fn longest(mut times: &[u16]) -> u16 {
    let mut longest = 0;
    while let [time, rest @ ..] = times {
        if *time > longest {
            longest = *time;
        }
        times = rest;
    }
    longest
}
