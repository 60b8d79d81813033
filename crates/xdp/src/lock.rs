//! One evenkeel at a time on an interface.

use crate::error::XdpError;
use evenkeel_control::InterfaceClaim;

/// Sees to it that one evenkeel at a time works on an interface. By its index, since it may be renamed while somebody is at
/// work there.
pub(crate) fn only_one(name: &str, index: u32) -> Result<InterfaceClaim, XdpError> {
    Ok(InterfaceClaim::take("xdp", name, &index.to_string())?)
}
