//! Somebody who sends frames by hand, from wherever on the bridge, in whomever's name.

use super::peers::within;
use evenkeel_packets::{Draft, Mac};
use std::ffi::CString;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

/// Sends packets out of an interface of the testbed to the balancer.
#[derive(Debug)]
pub struct Stranger {
    socket: OwnedFd,
    macs: (Mac, Mac),
}

/// Where the balancer is.
const BALANCER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 10);

impl Stranger {
    /// On the client's side.
    pub fn at_client() -> Self {
        Self::at("", "veth0")
    }

    /// In a namespace with this interface, from which somebody has just spoken with the balancer.
    ///
    /// # Panics
    /// The kernel does not let us.
    pub fn at(namespace: &str, interface: &str) -> Self {
        within(namespace, || Self {
            socket: raw_socket(interface).expect("root may send frames"),
            macs: (mac_of_interface(interface), mac_of_neighbour(BALANCER)),
        })
    }

    /// Sends a packet.
    ///
    /// # Panics
    /// It does not leave.
    pub fn send(&self, draft: Draft) {
        let mut frame = draft.source_mac(self.macs.0).destination_mac(self.macs.1).bytes();
        frame.resize(frame.len().max(60), 0);
        // SAFETY: the kernel reads as many bytes as there are.
        let sent = unsafe { libc::send(self.socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        assert_eq!(sent, frame.len() as isize, "it leaves: {}", io::Error::last_os_error());
    }

    pub(super) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    pub(super) fn macs(&self) -> (Mac, Mac) {
        self.macs
    }
}

fn raw_socket(interface: &str) -> io::Result<OwnedFd> {
    // SAFETY: numbers only. Protocol 0: it receives nothing.
    let socket = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was just opened, and is nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    let name = CString::new(interface).expect("a name of an interface");
    // SAFETY: a string that lives, an address that is all plain numbers and of the length that is said, and an integer.
    let done = unsafe {
        let mut address: libc::sockaddr_ll = std::mem::zeroed();
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_ifindex = libc::if_nametoindex(name.as_ptr()) as i32;
        // Past the queue in front of the device, which a veth has none of anyway.
        let bypass: libc::c_int = 1;
        let length = size_of::<libc::c_int>() as u32;
        let option = (libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS);
        libc::setsockopt(socket.as_raw_fd(), option.0, option.1, (&raw const bypass).cast(), length);
        libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size_of::<libc::sockaddr_ll>() as u32)
    };
    if done == 0 { Ok(socket) } else { Err(io::Error::last_os_error()) }
}

/// Of an interface in the calling thread's namespace, whatever /sys shows.
fn mac_of_interface(interface: &str) -> Mac {
    hardware_address(interface).unwrap_or_else(|error| panic!("{interface}: {error}"))
}

fn hardware_address(interface: &str) -> io::Result<Mac> {
    // SAFETY: a socket for the question; a request of plain numbers with a name that ends with a zero.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        if socket < 0 {
            return Err(io::Error::last_os_error());
        }
        let socket = OwnedFd::from_raw_fd(socket);
        let mut request: libc::ifreq = std::mem::zeroed();
        for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes().take(libc::IFNAMSIZ - 1)) {
            *to = from as libc::c_char;
        }
        if libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFHWADDR, &raw mut request) != 0 {
            return Err(io::Error::last_os_error());
        }
        let data = request.ifr_ifru.ifru_hwaddr.sa_data;
        Ok(std::array::from_fn(|byte| data[byte] as u8))
    }
}

/// The Ethernet address of somebody whom this namespace has just spoken with.
fn mac_of_neighbour(address: Ipv4Addr) -> Mac {
    let table = fs::read_to_string("/proc/thread-self/net/arp").expect("the kernel tells its neighbours");
    let line = table.lines().find(|line| line.split_whitespace().next() == Some(&address.to_string()));
    let text =
        line.and_then(|line| line.split_whitespace().nth(3)).unwrap_or_else(|| panic!("no {address} in {table}"));
    let mut parts = text.split(':').map(|part| u8::from_str_radix(part, 16).expect("two digits"));
    std::array::from_fn(|_| parts.next().expect("six parts"))
}
