//! An address that is ours, a service's or a NAT address, and who else has it.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What is known of one of our addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(transparent)]
pub struct Ours(pub u32);

impl Ours {
    /// Nobody has it but us.
    pub const ALONE: Self = Self(0);
    /// The host has it as well, on one of its interfaces: what is not for us is for its kernel.
    pub const HOSTS: Self = Self(1);

    /// Whether the host has it as well.
    #[inline(always)]
    pub fn is_hosts(self) -> bool {
        self.0 & Self::HOSTS.0 != 0
    }
}
