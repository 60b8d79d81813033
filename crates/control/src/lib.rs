//! The control side: what the operator wants, and the tables that follow from it.
//!
//! It drives every plane through one trait, [`Plane`], and does not know which. What may live here: configuration,
//! Maglev tables, places of backends, and later health, drain and metrics. What may not: packets, maps, EAL.
#![forbid(unsafe_code)]

pub mod api;
mod balancer;
mod beside;
mod capacity;
pub mod carry;
mod census;
mod claim;
pub mod config;
pub mod daemon;
mod features;
pub mod health;
pub mod host;
pub mod maglev;
pub mod operator;
mod plane;
pub mod private;
mod secrets;
mod sizes;
mod trouble;
mod walkthrough;

pub use balancer::{BackendView, Balancer, BalancerError, NextHop, ReplyRoute, timeouts};
pub use capacity::{Capacity, Limit, ServiceCapacity};
pub use claim::{ClaimError, InterfaceClaim};
pub use config::{BackendId, Config, ConfigError, ServiceId};
pub use features::features;
pub use operator::Operator;
pub use plane::{Contents, FlowView, FlowWalk, PlaceContents, Plane, WalkError, by_family};
pub use secrets::Secrets;
pub use sizes::{MOST_ADDRESSES, MOST_BACKENDS, MOST_FLOWS, MOST_SERVICE_PORTS, MOST_SERVICES, Sizes};
pub use trouble::{Trouble, Troubles};
pub use walkthrough::walkthrough;
