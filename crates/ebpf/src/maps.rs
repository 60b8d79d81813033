//! The core's tables, over BPF maps.
//!
//! Sizes here are those of the smallest table; the loader sets the real ones. Maps that hold cells which packets and
//! the control side both write are memory-mappable.

use crate::calls::{call_hop, call_insert};
use crate::cell::Cell;
use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::btf_maps::{Array, ArrayOfMaps, HashMap, PerCpuArray};
use aya_ebpf::macros::btf_map;
use core::cell::UnsafeCell;
use evenkeel_core::flow::{Bucket, HopNumber, Insertion, NewEntry, Side, Tick};
use evenkeel_core::hop::HOPS as HOP_COUNT;
use evenkeel_core::{
    AddressFilter, Backend, BackendRef, Counters, Event, Features, MAGLEV_SLOTS, Reason, Service, ServiceKey, Settings,
    Tables, Traffic,
};
use evenkeel_wire::Ipv4Address;

/// Written once by the loader, before the program is attached.
#[repr(transparent)]
struct Global(UnsafeCell<Settings>);

// SAFETY: nobody writes it while the program runs.
unsafe impl Sync for Global {}

#[unsafe(no_mangle)]
static SETTINGS: Global = Global(UnsafeCell::new(Settings::EMPTY));

/// Written once by the loader, and frozen: the verifier knows its value, and removes what cannot be reached with it.
#[unsafe(no_mangle)]
static FEATURES: u32 = Features::ALL.0;

#[btf_map]
static FLOWS: Array<Bucket<Cell>, 1, { BPF_F_MMAPABLE as usize }> = Array::new();

#[btf_map]
static HOPS: Array<Cell, { HOP_COUNT as usize }, { BPF_F_MMAPABLE as usize }> = Array::new();

#[btf_map]
static BACKENDS: Array<Backend<Cell>, 1, { BPF_F_MMAPABLE as usize }> = Array::new();

#[btf_map]
static SERVICES: HashMap<ServiceKey, Service, 1> = HashMap::new();

/// A service's Maglev table: one value, so that a slot costs one look-up and a bounds check.
type Maglev = Array<[u32; MAGLEV_SLOTS as usize], 1>;

/// Maglev tables by [`Service::table`]; replaced whole.
#[btf_map]
static MAGLEV: ArrayOfMaps<Maglev, 1> = ArrayOfMaps::new();

#[btf_map]
static OURS_FILTER: Array<AddressFilter, 1> = Array::new();

/// Our addresses, exactly.
#[btf_map]
static OURS: HashMap<Ipv4Address, u32, 1> = HashMap::new();

#[btf_map]
static NAT_ADDRESSES: Array<Ipv4Address, 1> = Array::new();

#[btf_map]
static COUNTERS: PerCpuArray<Counters, 1> = PerCpuArray::new();

#[btf_map]
static TRAFFIC: PerCpuArray<Traffic, 1> = PerCpuArray::new();

pub(crate) struct Maps;

impl Tables for Maps {
    type Word = Cell;

    #[inline(always)]
    fn settings(&self) -> &Settings {
        // SAFETY: see `Global`.
        unsafe { &*SETTINGS.0.get() }
    }

    #[inline(always)]
    fn now(&self) -> Tick {
        crate::clock::now()
    }

    #[inline(always)]
    fn may_be_ours(&self, address: Ipv4Address) -> bool {
        OURS_FILTER.get(0).is_some_and(|filter| filter.may_contain(address))
    }

    #[inline(always)]
    fn is_ours(&self, address: Ipv4Address) -> bool {
        // SAFETY: only whether there is a value matters.
        unsafe { OURS.get(&address) }.is_some()
    }

    #[inline(always)]
    fn flows(&self, index: u32) -> Option<&Bucket<Cell>> {
        FLOWS.get(index)
    }

    #[inline(always)]
    fn hop(&self, number: HopNumber) -> Option<&Cell> {
        HOPS.get(u32::from(number.0))
    }

    #[inline(always)]
    fn service(&self, key: &ServiceKey) -> Option<Service> {
        // SAFETY: values are replaced whole, and freed only after the program has run (RCU).
        unsafe { SERVICES.get(key) }.copied()
    }

    #[inline(always)]
    fn maglev(&self, table: u32, slot: u32) -> Option<BackendRef> {
        let slots = MAGLEV.get_value(table, &0)?;
        match slots.get(slot as usize) {
            Some(0) | None => None,
            Some(bits) => Some(BackendRef::from_bits(*bits)),
        }
    }

    #[inline(always)]
    fn backend(&self, index: u16) -> Option<&Backend<Cell>> {
        BACKENDS.get(u32::from(index))
    }

    #[inline(always)]
    fn nat_address(&self, index: u32) -> Option<Ipv4Address> {
        NAT_ADDRESSES.get(index).copied()
    }

    #[inline(always)]
    fn count(&self, reason: Reason) {
        if let Some(counters) = COUNTERS.get_ptr_mut(0) {
            // SAFETY: the value is this CPU's own, and a program on this CPU is not interrupted by another.
            unsafe { (*counters).count(reason) }
        }
    }

    #[inline(always)]
    fn count_event(&self, event: Event) {
        if let Some(counters) = COUNTERS.get_ptr_mut(0) {
            // SAFETY: as for `count`.
            unsafe { (*counters).count_event(event) }
        }
    }

    #[inline(always)]
    fn count_traffic(&self, backend: u16, from: Side, bytes: u32) {
        if let Some(traffic) = TRAFFIC.get_ptr_mut(u32::from(backend)) {
            // SAFETY: as for `count`.
            unsafe { (*traffic).count(from, bytes) }
        }
    }

    #[inline(always)]
    fn insert(&self, place: u64, new: &NewEntry) -> Insertion {
        call_insert(place, new)
    }

    #[inline(always)]
    fn hop_number(&self, neighbour: u64, now: Tick) -> Option<HopNumber> {
        call_hop(neighbour, now)
    }

    #[inline(always)]
    fn features(&self) -> Features {
        // SAFETY: the pointer is a reference's. Volatile, because the compiler believes that a constant is one.
        Features(unsafe { (&raw const FEATURES).read_volatile() })
    }
}
