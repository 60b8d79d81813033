//! Coarse time.

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
