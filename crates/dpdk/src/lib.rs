//! The DPDK plane.
//!
//! Two layers. Below, a safe one over the system's libdpdk: [`Eal`] owns the environment, and the lifetime of everything
//! else is bounded by it: [`Pool`], [`Mbuf`], [`Ring`], [`Port`] and its queues are owned values that `Drop` gives back.
//! Above, the plane: [`Tables`] in ordinary or huge memory, the [`Worker`] that takes bursts of packets through the core
//! on each lcore, and the [`host`] that speaks to neighbours, since no kernel does it here.
//!
//! What may live here: EAL, ports, mbufs, lcores, and what a host on an Ethernet needs. What may not: a decision about a
//! packet that the core makes on every plane. `unsafe` stays in the lower layer.

mod captured;
mod clock;
mod counters;
mod eal;
mod error;
mod handover;
pub mod host;
mod idle;
mod interrupt;
mod lcore;
mod mbuf;
mod memory;
mod plane;
mod pool;
mod port;
mod quiescence;
mod reception;
mod ring;
mod signals;
mod tables;
mod worker;

pub use captured::captured;
pub use clock::coarse_now;
pub use eal::Eal;
pub use error::{DpdkError, PlaneError};
pub use handover::{Handover, HandoverError};
pub use idle::{IdlePolicy, Rest};
pub use interrupt::Bell;
pub use lcore::{Lcore, Work};
pub use mbuf::{BURST, Burst, Mbuf};
pub use memory::{Backing, Memory};
pub use plane::DpdkPlane;
pub use pool::Pool;
pub use port::{Port, PortInfo, Queues, RxQueue, TxQueue};
pub use reception::Reception;
pub use ring::Ring;
pub use tables::{FlowTable, Tables, View, WideFlowTable};
pub use worker::{HostLink, Worker, glances};
