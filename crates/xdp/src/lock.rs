//! One evenkeel at a time on an interface.

use crate::error::XdpError;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Sees to it that one evenkeel at a time works on an interface: an abstract socket address is taken by one process of
/// a network namespace and is free again when that process ends.
pub(crate) fn only_one(name: &str, index: u32) -> Result<UnixDatagram, XdpError> {
    let address = SocketAddr::from_abstract_name(format!("evenkeel-xdp-{index}"));
    address.and_then(|address| UnixDatagram::bind_addr(&address)).map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => XdpError::Running(name.to_owned()),
        _ => XdpError::Attach { interface: name.to_owned(), reason: error.to_string() },
    })
}
