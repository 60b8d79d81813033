//! The HTTP/JSON interface: what `evenkeel status` and its like ask over a Unix socket, and what Prometheus asks over TCP.
//! `docs/api.md` documents it for people.

mod answer;
mod caller;
mod client;
mod exposition;
mod merge;
mod metrics;
mod router;
mod scrapes;
mod search;
mod serve;
mod socket;

pub use client::{Client, ClientError};
pub use router::{HostRequest, OrderRequest, ReloadRequest, WeightRequest, routers};
pub(crate) use serve::{serve_tcp, serve_unix};
pub use socket::{DEFAULT_SOCKET, SocketError, listen};
