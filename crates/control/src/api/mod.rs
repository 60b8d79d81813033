//! The HTTP/JSON interface: what `evenkeel status` and its like ask over a Unix socket, and what Prometheus asks over TCP.
//! `docs/api.md` documents it for people.

mod answer;
mod client;
mod metrics;
mod router;
mod serve;
mod socket;

pub use client::{Client, ClientError};
pub use router::{OrderRequest, ReloadRequest, WeightRequest, metrics_router, router};
pub use serve::{MAX_CONNECTIONS, serve_tcp, serve_unix};
pub use socket::{DEFAULT_SOCKET, SocketError, listen};
