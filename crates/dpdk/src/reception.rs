//! Which groups' frames a port receives. Questions for our addresses of IPv6 are sent to groups.

use crate::eal::strerror;
use crate::error::DpdkError;
use crate::port::PortInfo;
use evenkeel_dpdk_sys as sys;
use evenkeel_wire::MacAddress;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

/// With more groups than this a kernel's interface is asked for all: it would look for each in a list.
const MOST_MEMBERSHIPS: usize = 256;

/// What a port was told to receive beside frames for its own address and for everybody.
#[derive(Debug)]
pub struct Reception {
    port: u16,
    name: String,
    if_index: u32,
    /// A member of the groups at the kernel's interface behind the port, as long as it is open.
    membership: Option<OwnedFd>,
}

impl Reception {
    /// For this port, which is at work.
    pub fn of(port: &PortInfo) -> Self {
        Self { port: port.id(), name: port.name.clone(), if_index: port.if_index, membership: None }
    }

    /// Has the port receive frames for these groups, and for others only if it cannot do less.
    ///
    /// # Errors
    /// The port cannot: questions do not reach us.
    pub fn set(&mut self, groups: &[MacAddress]) -> Result<(), DpdkError> {
        if self.list(groups) == 0 {
            return Ok(());
        }
        // Drivers over an interface of the kernel's leave that to the kernel, and do not tell it.
        if self.if_index != 0 {
            self.membership = join(self.if_index, groups).map_err(|error| self.refused(error.to_string()))?;
            return Ok(());
        }
        // SAFETY: numbers.
        let code = unsafe {
            match sys::rte_eth_allmulticast_enable(self.port) {
                0 => 0,
                _ => sys::rte_eth_promiscuous_enable(self.port),
            }
        };
        if code == 0 { Ok(()) } else { Err(self.refused(strerror(code))) }
    }

    fn list(&self, groups: &[MacAddress]) -> i32 {
        let mut list: Vec<_> = groups.iter().map(|group| sys::rte_ether_addr { addr_bytes: group.0 }).collect();
        // SAFETY: as many addresses as is said, which the driver copies.
        unsafe { sys::rte_eth_dev_set_mc_addr_list(self.port, list.as_mut_ptr(), list.len() as u32) }
    }

    fn refused(&self, reason: String) -> DpdkError {
        DpdkError::Port { port: self.name.clone(), what: "receiving frames for groups", reason }
    }
}

/// A socket that receives nothing, and is in these groups on this interface until it is closed (packet(7),
/// `PACKET_ADD_MEMBERSHIP`). So nothing is left at the interface, however we end.
fn join(if_index: u32, groups: &[MacAddress]) -> io::Result<Option<OwnedFd>> {
    if groups.is_empty() {
        return Ok(None);
    }
    // SAFETY: a new descriptor, which is nobody else's.
    let socket = unsafe {
        match libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) {
            -1 => return Err(io::Error::last_os_error()),
            socket => OwnedFd::from_raw_fd(socket),
        }
    };
    let request = |kind, address: MacAddress| {
        let mut bytes = [0; 8];
        bytes[..6].copy_from_slice(&address.0);
        libc::packet_mreq { mr_ifindex: if_index as i32, mr_type: kind, mr_alen: 6, mr_address: bytes }
    };
    let requests = if groups.len() > MOST_MEMBERSHIPS {
        vec![request(libc::PACKET_MR_ALLMULTI as u16, MacAddress::default())]
    } else {
        groups.iter().map(|group| request(libc::PACKET_MR_MULTICAST as u16, *group)).collect()
    };
    for request in requests {
        // SAFETY: the option's own structure, of its size.
        let code = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_ADD_MEMBERSHIP,
                (&raw const request).cast(),
                size_of::<libc::packet_mreq>() as u32,
            )
        };
        if code != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(Some(socket))
}
