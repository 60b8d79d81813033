//! What a configuration uses of what the packet path can do.

use core::ops::BitOr;

/// A set of features. A plane that knows at load time which ones no service of its configuration uses spares its packets the
/// rest: on XDP it is a frozen constant, and the verifier removes what cannot be reached (Linux 5.1 and newer, kernel/bpf/
/// verifier.c, `opt_remove_dead_code`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features(pub u32);

impl Features {
    /// Nothing beyond plain balancing.
    pub const NONE: Self = Self(0);
    /// Some service answers by a reset while no backend takes its connections ([`crate::Service::RESET`]), or if a connection is
    /// not known ([`crate::Service::MISSING_RESET`]).
    pub const RESET: Self = Self(1);
    /// Some service keeps a client's connections together ([`crate::Service::CLIENT_ADDRESS`]).
    pub const CLIENT_ADDRESS: Self = Self(1 << 1);
    /// Some backend resets its connections while it is down ([`crate::BackendState::Resetting`]).
    pub const DOWN_RESET: Self = Self(1 << 2);
    /// What belongs to nobody is refused, and whoever lets a packet's time to live run out here is told
    /// ([`crate::Settings::refuses`]).
    pub const REFUSE: Self = Self(1 << 3);
    /// Some service lets in only so many newcomers a second ([`crate::Service::newcomers`]).
    pub const NEWCOMERS: Self = Self(1 << 4);
    /// Answers of some service follow the host's routes ([`crate::Service::ROUTED`]).
    pub const ROUTED: Self = Self(1 << 5);
    /// Some service is IPv6.
    pub const IPV6: Self = Self(1 << 6);
    /// All there are, and all there will be.
    pub const ALL: Self = Self(u32::MAX);

    /// Whether everything that is in `other` is in this.
    #[inline(always)]
    pub const fn include(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// What is in this and not in `other`.
    #[inline(always)]
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl BitOr for Features {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}
