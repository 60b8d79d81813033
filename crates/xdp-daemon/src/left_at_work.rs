//! A program that balances by itself, since nobody looks after it any more.

use evenkeel_xdp::{Mode, netlink};

/// Where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftAtWork {
    /// The interface.
    pub interface: String,
    /// Where in its path.
    pub mode: Mode,
}

/// Looks for one in our network namespace. Who may not look finds none. To be called within a runtime, for who knows that no
/// balancer answers.
pub async fn left_at_work() -> Option<LeftAtWork> {
    let netlink = netlink::connect().ok()?;
    let (interface, mode) = evenkeel_xdp::left_at_work(&netlink).await.ok()??;
    Some(LeftAtWork { interface, mode })
}
