//! The XDP plane.
//!
//! Loads the program that `crates/ebpf` builds, makes its maps the tables that the control side fills, attaches it to
//! an interface, and finds next hops in the kernel's neighbour table. What may live here: maps, netlink, interfaces.
//! What may not: anything that looks into a packet.

mod attach;
mod attachment;
mod bind;
mod bpffs;
mod capabilities;
mod claim;
mod clock;
mod error;
mod estate;
mod flows;
mod foothold;
mod growth;
mod hold;
mod host_addresses;
mod interface;
mod left_behind;
mod lock;
mod maglev;
mod maps;
mod mode;
mod namespace;
mod neighbours;
pub mod netlink;
mod pinned;
mod plain;
mod plane;
mod post;
mod programs;
mod reply_routes;
mod start;
mod state;

pub use attachment::Attachment;
pub use claim::{Claim, left_at_work};
pub use error::XdpError;
pub use host_addresses::HostAddresses;
pub use interface::{Interface, interface_name};
pub use mode::Mode;
pub use neighbours::{Found, Neighbours, Resolution};
pub use plane::XdpPlane;
pub use reply_routes::reply_routes;
pub use start::{Memory, Start, Started, start};
