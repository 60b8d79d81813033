//! A plane in memory, and packets for it.

mod interposed;
mod memory_plane;
mod packet;
mod scene;

pub(crate) use interposed::{Interposed, interrupt};
pub(crate) use memory_plane::MemoryPlane;
pub(crate) use packet::{ACK, Draft, End, FIN, OUR_MAC, RST, SYN, View, echo, end, tcp, transport_sum_is_sound, udp};
pub(crate) use scene::{
    CLIENT_MAC, Connection, DNS, FIRST, H2, H3, NAT, SECOND, SECOND_NAT, TABLE, WEB, address, backend_mac, client,
    scene,
};
