//! What was counted.

use crate::plane::FlowView;
use evenkeel_core::BackendRef;
use std::collections::HashMap;
use std::time::Instant;

/// How many connections each backend had.
#[derive(Clone, Debug)]
pub(crate) struct Census {
    /// When the count began. Connections that were opened after that may be missing, and those that have ended counted.
    pub(crate) begun: Instant,
    flows: HashMap<BackendRef, u64>,
}

impl Census {
    /// A count that begins now.
    pub(crate) fn begin() -> Self {
        Self { begun: Instant::now(), flows: HashMap::new() }
    }

    /// Counts a connection.
    pub(crate) fn count(&mut self, flow: &FlowView) {
        *self.flows.entry(flow.backend).or_default() += 1;
    }

    /// How many connections this backend had.
    pub(crate) fn flows(&self, backend: BackendRef) -> u64 {
        self.flows.get(&backend).copied().unwrap_or(0)
    }
}
