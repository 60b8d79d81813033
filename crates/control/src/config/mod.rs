//! The configuration file: TOML, read once into typed values that nobody checks again.
//!
//! What a file can say is in `file`, and its sections in `dataplane`, `service`, `health` and `idle`; `id` is what services and
//! backends are known by from then on, `address` how addresses are written. Reading goes on after a fault, so
//! that all of a file's faults are told at once, each with its place: `section` takes keys out of tables, `read` knows which
//! keys there are, `check` what must be true between them (`families`: of IPv4 and IPv6), `spans` where they stand. What a check asks is in `probe`, with
//! `bytes`, `statuses` and `trust` for its values.

mod address;
mod bytes;
mod check;
mod dataplane;
mod families;
mod fault;
mod file;
mod health;
mod id;
mod idle;
mod load;
mod probe;
mod protocol;
mod read;
pub mod reference;
mod secret;
mod section;
mod service;
mod spans;
mod statuses;
#[cfg(test)]
mod tests;
mod trust;

pub use dataplane::{Dataplane, HostAddress, HostAddress6, Idle, Kind, Unserved, XdpMode};
pub use fault::{ConfigError, Fault};
pub use file::{Config, Metrics, Nat};
pub use health::{Health, Initial, Target};
pub use id::{BackendId, ServiceId};
pub use probe::{DnsCheck, HttpCheck, Probe, Record, Talk, TlsCheck};
pub use protocol::Protocol;
pub use secret::{PickSecret, SecretError};
pub use service::{Affinity, AllDown, Backend, Forward, OnDown, OnMissing, Reply, Service};
pub use statuses::Statuses;
pub use trust::{Authorities, CertifiedName};
