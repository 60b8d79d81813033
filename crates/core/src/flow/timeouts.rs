//! Idle times.

use super::meta::{Meta, State};
use super::time::{Now, Tick};
use super::worth;
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
    /// How old the stamp of an established flow may become before a packet renews it, in ticks; far below the idle
    /// times.
    pub renew: u16,
    /// The longest of the idle times, in ticks.
    pub longest: u16,
    /// By class and [`Meta::kind`], and made so that one word tells all that the search for a place asks of an entry. From the
    /// low end: the idle time in the unit of that kind of stamp (16 bits), [`worth::rank`] for TCP's newcomers (4), the unit as
    /// a power of two of [`Now`]'s (4), the rank for UDP's newcomers (4).
    kinds: [u32; IDLE_CLASSES * Meta::KINDS],
}

impl Timeouts {
    /// Where an entry's rank is in [`Timeouts::worth`], and in the words of the table.
    pub(super) const RANK_SHIFT: u32 = 16;
    const UNIT_SHIFT: u32 = 20;
    /// How far the rank for UDP's newcomers is from the one for TCP's.
    const UDP_SHIFT: u32 = 8;
    /// How far past its time an entry is before its place may be given away, in units of its stamp. That is one unit later than
    /// [`Timeouts::expired`], so that two CPUs whose clocks differ by one never disagree to a connection's harm.
    const GRACE: i32 = 2;

    /// The packet path's form of these sets of idle times.
    #[expect(
        clippy::indexing_slicing,
        reason = "a constant function has nothing else, and the loop ends where the table does"
    )]
    pub const fn new(sets: &[IdleTimes; IDLE_CLASSES]) -> Self {
        // Free and claimed places do not age.
        const NEVER: u16 = u16::MAX - 1;
        let mut timeouts = Self { kinds: [0; IDLE_CLASSES * Meta::KINDS], renew: Tick::span(8_000), longest: 0 };
        let mut index = 0;
        while index < timeouts.kinds.len() {
            let (class, kind) = (index / Meta::KINDS, index % Meta::KINDS);
            let state = Meta(kind as u64).state();
            let mut idle = NEVER;
            if let Some(time) = sets[class].of(state, kind >= Meta::KINDS / 2) {
                idle = if state.is_coarse() { Tick::span(time) } else { Now::span(time) };
                let ticks = Tick::span(time);
                if state.is_coarse() && ticks / 8 < timeouts.renew {
                    timeouts.renew = ticks / 8;
                }
                if ticks > timeouts.longest {
                    timeouts.longest = ticks;
                }
            }
            let unit = if state.is_coarse() { Now::TICK } else { 0 };
            let ranks = worth::rank(kind, false) | worth::rank(kind, true) << Self::UDP_SHIFT;
            timeouts.kinds[index] = idle as u32 | ranks << Self::RANK_SHIFT | unit << Self::UNIT_SHIFT;
            index += 1;
        }
        timeouts
    }

    /// The same times for everybody.
    pub const fn uniform(times: IdleTimes) -> Self {
        Self::new(&[times; IDLE_CLASSES])
    }

    /// What is said of an entry of this kind. `class` is below [`IDLE_CLASSES`].
    #[inline(always)]
    fn of(&self, meta: Meta, class: usize) -> u32 {
        self.kinds.get(class % IDLE_CLASSES * Meta::KINDS + meta.kind()).copied().unwrap_or(0)
    }

    /// Whether packets may no longer use the entry.
    #[inline(always)]
    pub fn expired(&self, meta: Meta, class: usize, now: Now) -> bool {
        meta.age(now) > self.of(meta, class) as u16
    }

    /// How gladly the entry's place is given away to a newcomer: four bits that rise with [`worth::rank`], the highest of them
    /// set if it has been idle for too long; then its age.
    #[inline(always)]
    pub(super) fn worth(&self, meta: Meta, class: usize, now: Now, newcomer: Meta) -> u32 {
        let kind = self.of(meta, class);
        let rank = kind >> (u32::from(newcomer.is_udp()) * Self::UDP_SHIFT) & 0xf << Self::RANK_SHIFT;
        let age = Tick((now.0 >> (kind >> Self::UNIT_SHIFT & 7)) as u16).since(meta.seen());
        // The sign bit, inverted: 1 when overdue.
        let abandoned = !((i32::from(age) - (kind & 0xffff) as i32 - Self::GRACE) as u32) >> 31;
        rank | abandoned << (Self::RANK_SHIFT + 3) | u32::from(age)
    }

    /// Whether the entry's place may be given away.
    #[inline(always)]
    pub fn abandoned(&self, meta: Meta, class: usize, now: Now) -> bool {
        i32::from(meta.age(now)) >= (self.of(meta, class) & 0xffff) as i32 + Self::GRACE
    }
}
