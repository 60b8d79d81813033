//! Packets for tests.
//!
//! A test thinks up a [`Draft`]: `tcp(client, service, SYN).ttl(1)`, of either family, by itself or in a tunnel. Its bytes
//! are put together, and later taken apart ([`Packet`], [`View`]), by etherparse, so that what is said of headers and
//! checksums owes nothing to our code. When a test is over, [`scapy`] says the same again or does not: it shares neither
//! code nor language nor author with us or with etherparse. Nothing here knows the balancer.

mod change;
mod draft;
mod end;
mod network;
mod packet;
pub mod scapy;
mod sum;
mod transport;
mod tunnel;
mod view;

pub use change::Change;
pub use draft::{Draft, Icmp, SERVICE_VLAN, VLAN, echo, icmp, tcp, udp};
pub use end::{CLIENT_MAC, Mac, OUR_MAC, at, end, end6};
pub use network::{Extension, Network};
pub use packet::Packet;
pub use sum::transport_sum_is_sound;
pub use transport::{ACK, FIN, FIRST_NUMBER, PSH, RST, SYN, Transport};
pub use tunnel::{Envelope, GUE_PORT};
pub use view::View;
