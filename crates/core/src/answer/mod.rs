//! Packets that are turned round: what the balancer says for itself.
//!
//! Whoever answers has made sure that the packet claims to come from a single host, and not from us
//! ([`crate::source::check_source`]).

mod echo;
mod icmp_error;
mod limit;
mod nobody;
mod reset;

pub(crate) use echo::other;
pub(crate) use nobody::{expire, refuse};
pub(crate) use reset::reset;

/// The TTL that an answer sets out with (RFC 1700, "IP time to live").
const TTL: u8 = 64;
