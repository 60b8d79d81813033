//! Packets that are turned round: what the balancer says for itself.

mod echo;
mod reset;

pub(crate) use echo::echo;
pub(crate) use reset::reset;

/// The TTL that an answer sets out with (RFC 1700, "IP time to live").
const TTL: u8 = 64;
