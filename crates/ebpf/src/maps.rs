//! The maps that the programs share with user space, and the constants that the loader sets.
//!
//! Sizes here are those of the smallest table; the loader sets the real ones. Maps that hold cells which packets and
//! the control side both write are memory-mappable.

use crate::cell::Cell;
use crate::desk::Desk;
use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC};
use aya_ebpf::btf_maps::{Array, ArrayOfMaps, HashMap, PerCpuArray};
use aya_ebpf::macros::btf_map;
use core::cell::UnsafeCell;
use evenkeel_core::flow::{Bucket, WideBucket};
use evenkeel_core::hop::HOPS as HOP_COUNT;
use evenkeel_core::{
    AddressFilter, Asked, Backend, Counters, Features, MAGLEV_SLOTS, Ours, Service, ServiceKey, Settings, Traffic,
};
use evenkeel_wire::Ipv4Address;

/// Written once by the loader, before the program is attached.
#[repr(transparent)]
pub(crate) struct Global(pub(crate) UnsafeCell<Settings>);

// SAFETY: nobody writes it while the program runs.
unsafe impl Sync for Global {}

#[unsafe(no_mangle)]
pub(crate) static SETTINGS: Global = Global(UnsafeCell::new(Settings::EMPTY));

/// Written once by the loader, and frozen: the verifier knows its value, and removes what cannot be reached with it.
#[unsafe(no_mangle)]
pub(crate) static FEATURES: u32 = Features::ALL.0;

#[btf_map]
pub(crate) static FLOWS: Array<Bucket<Cell>, 1, { BPF_F_MMAPABLE as usize }> = Array::new();

/// Of IPv6.
#[btf_map]
pub(crate) static WIDE_FLOWS: Array<WideBucket<Cell>, 1, { BPF_F_MMAPABLE as usize }> = Array::new();

/// One value: where it lies is known before a flow is found, and a hop is one step from there.
#[btf_map]
pub(crate) static HOPS: Array<[Cell; HOP_COUNT as usize], 1, { BPF_F_MMAPABLE as usize }> = Array::new();

#[btf_map]
pub(crate) static BACKENDS: Array<Backend<Cell>, 1, { BPF_F_MMAPABLE as usize }> = Array::new();

/// Room for as many as there can ever be. An element takes memory only while it is there.
#[btf_map]
pub(crate) static SERVICES: HashMap<ServiceKey, Service, 1, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

/// A service's Maglev table: one value, so that a slot costs one look-up and a bounds check.
pub(crate) type Maglev = Array<[u32; MAGLEV_SLOTS as usize], 1>;

/// Maglev tables by [`Service::table`]; replaced whole.
#[btf_map]
pub(crate) static MAGLEV: ArrayOfMaps<Maglev, 1> = ArrayOfMaps::new();

#[btf_map]
pub(crate) static OURS_FILTER: Array<AddressFilter, 1> = Array::new();

/// Our addresses, exactly; as for services.
#[btf_map]
pub(crate) static OURS: HashMap<Ipv4Address, Ours, 1, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

/// The same of IPv6, in memory order.
#[btf_map]
pub(crate) static WIDE_OURS: HashMap<[u64; 2], Ours, 1, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

/// How many packets may be answered unasked, and open a connection of each service.
#[btf_map]
pub(crate) static ALLOWANCE: Array<Cell, 1, { BPF_F_MMAPABLE as usize }> = Array::new();

/// Who has asked in vain.
#[btf_map]
pub(crate) static ASKED: Array<Asked<Cell>, 1> = Array::new();

#[btf_map]
pub(crate) static NAT_ADDRESSES: Array<Ipv4Address, 1> = Array::new();

/// Of IPv6, in memory order.
#[btf_map]
pub(crate) static WIDE_NAT: Array<[u64; 2], 1> = Array::new();

/// See [`crate::desk`].
#[btf_map]
pub(crate) static DESK: PerCpuArray<Desk, 1> = PerCpuArray::new();

#[btf_map]
pub(crate) static COUNTERS: PerCpuArray<Counters, 1> = PerCpuArray::new();

#[btf_map]
pub(crate) static TRAFFIC: PerCpuArray<Traffic, 1> = PerCpuArray::new();
