//! Time, as flows are stamped with it.

/// The monotonic clock in units of 2^24 ns (16.8 ms), modulo 2^32 (over two years).
///
/// A shift makes it from nanoseconds. A flow entry has room for 16 bits of it: the low ones while it may be a matter of
/// milliseconds who is older, as long as a connection is not proved or when it is over, and those of a [`Tick`] otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now(pub u32);

impl Now {
    /// Nanoseconds in a unit, as a power of two.
    pub(super) const SHIFT: u32 = 24;
    /// Units that fall into a second, rounded up.
    pub const A_SECOND: u32 = 60;
    /// How many times as long as a unit a tick is, as a power of two.
    pub(super) const TICK: u32 = 6;

    /// The unit in which this monotonic time, in nanoseconds, falls.
    #[inline(always)]
    pub fn from_nanoseconds(nanoseconds: u64) -> Self {
        Self((nanoseconds >> Self::SHIFT) as u32)
    }

    /// The beginning of this tick.
    #[inline(always)]
    pub fn at(tick: Tick) -> Self {
        Self((tick.0 as u32) << Self::TICK)
    }

    /// The tick that it falls in.
    #[inline(always)]
    pub fn tick(self) -> Tick {
        Tick((self.0 >> Self::TICK) as u16)
    }

    /// The number of units that cover this many milliseconds, rounded up; at most [`Tick::LONGEST`].
    pub const fn span(milliseconds: u32) -> u16 {
        cover(milliseconds, Self::SHIFT)
    }
}

/// Coarse time: units of 2^30 ns (1.07 s), modulo 2^16 (19.5 hours).
///
/// Ages up to half the range are told apart from clocks that differ a little between CPUs, which is why no idle time may
/// exceed [`Tick::LONGEST`] of its units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick(pub u16);

impl Tick {
    /// The longest span that can be measured: about nine and a half hours in ticks, and nine minutes in the units of [`Now`].
    pub const LONGEST: u16 = 32_200;

    /// The number of ticks that cover this many milliseconds, rounded up; at most [`Tick::LONGEST`].
    pub const fn span(milliseconds: u32) -> u16 {
        cover(milliseconds, Now::SHIFT + Now::TICK)
    }

    /// Ticks since `earlier`; 0 if that lies ahead, as it may when another CPU wrote it.
    #[inline(always)]
    pub fn since(self, earlier: Self) -> u16 {
        (self.0.wrapping_sub(earlier.0) as i16).max(0) as u16
    }
}

/// The number of units of 2^`shift` nanoseconds that cover this many milliseconds.
const fn cover(milliseconds: u32, shift: u32) -> u16 {
    let units = (milliseconds as u64 * 1_000_000 + (1 << shift) - 1) >> shift;
    if units > Tick::LONGEST as u64 { Tick::LONGEST } else { units as u16 }
}
