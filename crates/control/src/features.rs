//! What a configuration asks of the packet path.

use crate::config::{Affinity, AllDown, Config};
use evenkeel_core::Features;

/// The features that some packet for a service of this configuration can need.
pub fn features(config: &Config) -> Features {
    let mut features = Features::NONE;
    for service in &config.services {
        if service.all_down == AllDown::Reset {
            features = features | Features::RESET;
        }
        if service.affinity == Affinity::ClientAddress {
            features = features | Features::CLIENT_ADDRESS;
        }
    }
    features
}
