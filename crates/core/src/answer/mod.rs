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

use crate::frame::Frame;
use crate::verdict::Reason;
use evenkeel_wire::Ethernet;

/// The TTL or hop limit that an answer sets out with (RFC 1700, "IP time to live").
const TTL: u8 = 64;

/// Sends a frame back to where it came from.
#[inline(always)]
fn turn_link<F: Frame>(frame: &mut F) -> Result<(), Reason> {
    let ethernet = frame.header::<Ethernet>(0).ok_or(Reason::Truncated)?;
    core::mem::swap(&mut ethernet.source, &mut ethernet.destination);
    Ok(())
}
