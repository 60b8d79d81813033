//! Idle times.

use super::meta::{Meta, State};
use super::time::{Now, Tick};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// How many sets of idle times there can be; an entry says which of them is its own.
pub const IDLE_CLASSES: usize = 8;

/// How long a flow may be idle, by what it is, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdleTimes {
    /// TCP: opened by the client, not answered yet. At most [`IdleTimes::LONGEST_FINE`].
    pub opening: u32,
    /// TCP: answered by the backend, not confirmed by the client. At most [`IdleTimes::LONGEST_FINE`].
    pub answered: u32,
    /// TCP: confirmed by both sides. At most [`IdleTimes::LONGEST`].
    pub established: u32,
    /// TCP: one side has sent its FIN. At most [`IdleTimes::LONGEST`].
    pub half_closed: u32,
    /// TCP: closed by both sides, or reset. At most [`IdleTimes::LONGEST_FINE`].
    pub closing: u32,
    /// UDP: the backend has not answered yet. At most [`IdleTimes::LONGEST_FINE`].
    pub udp_opening: u32,
    /// UDP: it has. At most [`IdleTimes::LONGEST_FINE`].
    pub udp_answered: u32,
    /// UDP: the client has gone on after that. At most [`IdleTimes::LONGEST`].
    pub udp_established: u32,
}

impl IdleTimes {
    /// The longest time for what is stamped in ticks, in milliseconds.
    pub const LONGEST: u32 = 9 * 3_600_000;
    /// The longest time for what is stamped in the units of [`Now`], in milliseconds.
    pub const LONGEST_FINE: u32 = 9 * 60_000;

    /// The defaults. RFC 5382 (REQ-5) asks at least 2 h 4 min for established TCP, and 4 min where it opens or closes; RFC 4787
    /// (REQ-5) recommends 5 min for UDP and allows no less than 2 once it is in use. Half-open and finished connections live
    /// for a minute, the time a backend's TIME_WAIT takes on Linux: shorter than RFC 5382 would like, because a load
    /// balancer's ports and entries are what an attacker goes for.
    pub const DEFAULT: Self = Self {
        opening: 60_000,
        answered: 60_000,
        established: 7_440_000,
        half_closed: 240_000,
        closing: 60_000,
        udp_opening: 30_000,
        udp_answered: 120_000,
        udp_established: 300_000,
    };

    /// The time of a connection in this state, in milliseconds.
    pub const fn of(&self, state: State, is_udp: bool) -> Option<u32> {
        match (state, is_udp) {
            (State::Opening, false) => Some(self.opening),
            (State::Answered, false) => Some(self.answered),
            (State::Established, false) => Some(self.established),
            (State::HalfClosed, false) => Some(self.half_closed),
            (State::Closing | State::Reset, false) => Some(self.closing),
            (State::Opening, true) => Some(self.udp_opening),
            (State::Answered, true) => Some(self.udp_answered),
            (State::Established, true) => Some(self.udp_established),
            _ => None,
        }
    }
}

/// Sets of [`IdleTimes`] as the packet path reads them: by the bits that an entry has, without a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Timeouts {
    /// Idle time by class and [`Meta::kind`], in the unit of that kind of stamp.
    idle: [u16; IDLE_CLASSES * Meta::KINDS],
    /// How old the stamp of an established flow may become before a packet renews it, in ticks; far below the idle
    /// times.
    pub renew: u16,
    /// The longest of the idle times, in ticks.
    pub longest: u16,
}

impl Timeouts {
    /// The packet path's form of these sets of idle times.
    pub const fn new(sets: &[IdleTimes; IDLE_CLASSES]) -> Self {
        // Free and claimed places do not age.
        const NEVER: u16 = u16::MAX - 1;
        let mut timeouts = Self { idle: [NEVER; IDLE_CLASSES * Meta::KINDS], renew: Tick::span(8_000), longest: 0 };
        let mut index = 0;
        while index < timeouts.idle.len() {
            let (class, kind) = (index / Meta::KINDS, index % Meta::KINDS);
            let state = Meta(kind as u64).state();
            if let Some(time) = sets[class].of(state, kind >= Meta::KINDS / 2) {
                timeouts.idle[index] = if state.is_coarse() { Tick::span(time) } else { Now::span(time) };
                let ticks = Tick::span(time);
                if state.is_coarse() && ticks / 8 < timeouts.renew {
                    timeouts.renew = ticks / 8;
                }
                if ticks > timeouts.longest {
                    timeouts.longest = ticks;
                }
            }
            index += 1;
        }
        timeouts
    }

    /// The same times for everybody.
    pub const fn uniform(times: IdleTimes) -> Self {
        Self::new(&[times; IDLE_CLASSES])
    }

    /// The idle time of an entry, in the unit of its stamp. `class` is below [`IDLE_CLASSES`].
    #[inline(always)]
    fn of(&self, meta: Meta, class: usize) -> u16 {
        self.idle.get(class % IDLE_CLASSES * Meta::KINDS + meta.kind()).copied().unwrap_or(0)
    }

    /// Whether packets may no longer use the entry.
    #[inline(always)]
    pub fn expired(&self, meta: Meta, class: usize, now: Now) -> bool {
        meta.age(now) > self.of(meta, class)
    }

    /// How far past its time the entry is, in units of its stamp; negative as long as its place may not be given away. That
    /// is one unit later than [`Timeouts::expired`], so that two CPUs whose clocks differ by one never disagree to a
    /// connection's harm.
    #[inline(always)]
    pub(super) fn overdue(&self, meta: Meta, class: usize, now: Now) -> i32 {
        i32::from(meta.age(now)) - i32::from(self.of(meta, class)) - 2
    }

    /// Whether the entry's place may be given away.
    #[inline(always)]
    pub fn abandoned(&self, meta: Meta, class: usize, now: Now) -> bool {
        self.overdue(meta, class, now) >= 0
    }
}
