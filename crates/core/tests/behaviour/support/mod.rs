//! A plane in memory, and packets for it.

mod interposed;
mod memory_plane;
mod scene;

pub(crate) use evenkeel_packets::{
    ACK, CLIENT_MAC, Draft, FIN, OUR_MAC, RST, SERVICE_VLAN, SYN, VLAN, View, at, echo, end, tcp,
    transport_sum_is_sound, udp,
};
pub(crate) use interposed::{Interposed, interrupt};
pub(crate) use memory_plane::MemoryPlane;
pub(crate) use scene::{
    Connection, DNS, FIRST, H2, H3, NAT, SECOND, SECOND_NAT, TABLE, WEB, address, backend_mac, client, scene,
};
pub(crate) use std::net::{IpAddr, SocketAddr};
