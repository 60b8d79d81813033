//! Where in the text things stand that may contradict each other, as byte ranges: `read` notes them, `check` points at them.

use std::ops::Range;

/// The places of a file.
#[derive(Debug, Default)]
pub(super) struct Spans {
    pub(super) gateway: Range<usize>,
    pub(super) own_address6: Range<usize>,
    pub(super) gateway6: Range<usize>,
    pub(super) vlan: Range<usize>,
    pub(super) mtu: Range<usize>,
    pub(super) interface: Range<usize>,
    pub(super) max_flows: Range<usize>,
    pub(super) own_address: Range<usize>,
    pub(super) nat_addresses: Range<usize>,
    pub(super) services: Vec<ServiceSpans>,
}

/// The same for a service.
#[derive(Debug)]
pub(super) struct ServiceSpans {
    pub(super) name: Range<usize>,
    pub(super) address: Range<usize>,
    pub(super) on_missing: Range<usize>,
    pub(super) on_down: Range<usize>,
    pub(super) reply: Range<usize>,
    pub(super) idle: Range<usize>,
    pub(super) backends: Vec<BackendSpans>,
}

/// The same for a backend.
#[derive(Debug)]
pub(super) struct BackendSpans {
    pub(super) address: Range<usize>,
    pub(super) port: Range<usize>,
    pub(super) health: Range<usize>,
}
