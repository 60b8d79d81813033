//! What an operator orders by command, beside the file: a backend drained, another weight.
//!
//! A drain holds until it is undone, over reloads and restarts as well. A weight holds until the file is read again.

use crate::config::BackendId;
use std::collections::{BTreeMap, BTreeSet};

/// An order about one backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// It keeps its connections and gets no new ones.
    Drain,
    /// It gets new ones again, unless the file says otherwise.
    Undrain,
    /// Its share of new connections.
    Weight(u16),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Orders {
    drained: BTreeSet<BackendId>,
    weights: BTreeMap<BackendId, u16>,
}

impl Orders {
    pub(super) fn is_drained(&self, backend: &BackendId) -> bool {
        self.drained.contains(backend)
    }

    pub(super) fn weight(&self, backend: &BackendId) -> Option<u16> {
        self.weights.get(backend).copied()
    }

    pub(super) fn forget_weights(&mut self) {
        self.weights.clear();
    }

    pub(super) fn keep(&mut self, wanted: impl Fn(&BackendId) -> bool) {
        self.drained.retain(|backend| wanted(backend));
        self.weights.retain(|backend, _| wanted(backend));
    }

    pub(super) fn take(&mut self, backend: BackendId, order: Order) {
        match order {
            Order::Drain => {
                self.drained.insert(backend);
            }
            Order::Undrain => {
                self.drained.remove(&backend);
            }
            Order::Weight(weight) => {
                self.weights.insert(backend, weight);
            }
        }
    }
}
