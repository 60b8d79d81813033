//! What a configuration asks of the packet path.

use crate::config::{Affinity, AllDown, Config, OnDown, OnMissing, Reply, Unserved};
use evenkeel_core::Features;

/// The features that some packet for a service of this configuration can need.
pub fn features(config: &Config) -> Features {
    let mut features = match config.dataplane.unserved {
        Unserved::Refuse => Features::REFUSE,
        Unserved::Drop => Features::NONE,
    };
    for service in &config.services {
        if service.all_down == AllDown::Reset || service.on_missing == OnMissing::Reset {
            features = features | Features::RESET;
        }
        if service.on_down == OnDown::Reset && service.health.probe.is_some() {
            features = features | Features::DOWN_RESET;
        }
        if service.newcomers.is_some() {
            features = features | Features::NEWCOMERS;
        }
        if service.reply == Reply::Route {
            features = features | Features::ROUTED;
        }
        if service.address.is_ipv6() {
            features = features | Features::IPV6;
        }
        if service.affinity == Affinity::ClientAddress {
            features = features | Features::CLIENT_ADDRESS;
        }
    }
    features
}
