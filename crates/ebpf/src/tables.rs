//! The core's tables, over the maps.
//!
//! Below are functions of their own for the verifier: it looks at each once, with any arguments, instead of at every path
//! that leads there. Only numbers and plain memory may cross.

use crate::cell::Cell;
use crate::desk;
use crate::maps::{
    ALLOWANCE, ASKED, BACKENDS, COUNTERS, FEATURES, FLOWS, HOPS, MAGLEV, NAT_ADDRESSES, OURS, OURS_FILTER, SERVICES,
    SETTINGS, TRAFFIC, WIDE_FLOWS, WIDE_NAT, WIDE_OURS,
};
use evenkeel_core::flow::{
    Bucket, FlowKey, Found, HopNumber, Insertion, Located, NewEntry, NewWideEntry, Now, Side, Tick, WideAddress,
    WideBucket, WideEntry, WideKey,
};
use evenkeel_core::{
    Asked, Backend, BackendRef, Event, FamilyTables, Features, Ours, Reason, Service, ServiceKey, Settings, Tables, V4,
    V6, hop, locate, located, reply,
};
use evenkeel_wire::Ipv4Address;

pub(crate) struct Maps;

impl Tables for Maps {
    type Word = Cell;

    #[inline(always)]
    fn settings(&self) -> &Settings {
        // SAFETY: see `Global`.
        unsafe { &*SETTINGS.0.get() }
    }

    #[inline(always)]
    fn now(&self) -> Now {
        crate::clock::now()
    }

    #[inline(always)]
    fn allowance(&self, number: u32) -> Option<&Cell> {
        ALLOWANCE.get(number)
    }

    #[inline(always)]
    fn asked(&self, index: u32) -> Option<&Asked<Cell>> {
        ASKED.get(index)
    }

    #[inline(always)]
    fn hop(&self, number: HopNumber) -> Option<&Cell> {
        HOPS.get(0)?.get(usize::from(number.0))
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
    fn count(&self, reason: Reason) {
        if let Some(counters) = COUNTERS.get_ptr_mut(0) {
            // SAFETY: the value is this CPU's own, and a program on this CPU is not interrupted by another.
            unsafe { (*counters).count(reason) }
        }
    }

    #[inline(always)]
    fn count_events(&self, event: Event, times: u32) {
        if let Some(counters) = COUNTERS.get_ptr_mut(0) {
            // SAFETY: as for `count`.
            unsafe { (*counters).count_events(event, times) }
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
    fn progress(&self, meta: u64, heard: u32, now: Now) -> u64 {
        evenkeel_progress(meta, heard, now.0)
    }

    #[inline(always)]
    fn hop_number(&self, neighbour: u64, now: Tick) -> Option<HopNumber> {
        match evenkeel_hop(neighbour, u32::from(now.0)) {
            NO_HOP => None,
            number => Some(bounded(number as u64)),
        }
    }

    #[inline(always)]
    fn features(&self) -> Features {
        // SAFETY: the pointer is a reference's. Volatile, because the compiler believes that a constant is one.
        Features(unsafe { (&raw const FEATURES).read_volatile() })
    }
}

impl FamilyTables<V4> for Maps {
    #[inline(always)]
    fn may_be_ours(&self, address: Ipv4Address) -> bool {
        OURS_FILTER.get(0).is_some_and(|filter| filter.may_contain(address))
    }

    #[inline(always)]
    fn ours(&self, address: Ipv4Address) -> Option<Ours> {
        // SAFETY: values are words, and freed only after the program has run (RCU).
        unsafe { OURS.get(&address) }.copied()
    }

    #[inline(always)]
    fn flows(&self, index: u32) -> Option<&Bucket<Cell>> {
        FLOWS.get(index)
    }

    #[inline(always)]
    fn nat_address(&self, index: u32) -> Option<Ipv4Address> {
        NAT_ADDRESSES.get(index).copied()
    }

    #[inline(always)]
    fn insert(&self, new: &NewEntry, now: Now) -> u32 {
        evenkeel_insert(new, now.0)
    }

    #[inline(always)]
    fn choose(&self, key: &FlowKey) -> u64 {
        evenkeel_choose(key.addresses, key.ports)
    }

    #[inline(always)]
    fn admits(&self, key: &FlowKey, now: Now) -> bool {
        evenkeel_admits(key.addresses, key.ports, now.0) != 0
    }

    #[inline(always)]
    fn take_over(&self, new: &NewEntry, now: Now) -> u32 {
        evenkeel_take_over(new, now.0)
    }

    #[inline(always)]
    fn reply_hop(&self, client: Ipv4Address) -> Option<HopNumber> {
        match evenkeel_reply(client.bits()) {
            NO_HOP => None,
            number => Some(bounded(number.into())),
        }
    }
}

impl FamilyTables<V6> for Maps {
    #[inline(always)]
    fn may_be_ours(&self, address: WideAddress) -> bool {
        OURS_FILTER.get(0).is_some_and(|filter| filter.may_contain_wide(address))
    }

    #[inline(always)]
    fn ours(&self, address: WideAddress) -> Option<Ours> {
        // SAFETY: as for IPv4.
        unsafe { WIDE_OURS.get(&address.words()) }.copied()
    }

    #[inline(always)]
    fn flows(&self, index: u32) -> Option<&WideBucket<Cell>> {
        WIDE_FLOWS.get(index)
    }

    #[inline(always)]
    fn nat_address(&self, index: u32) -> Option<WideAddress> {
        WIDE_NAT.get(index).map(|&words| words.into())
    }

    #[inline(always)]
    fn find(&self, key: &WideKey) -> Option<Found<'_, WideEntry<Cell>>> {
        located::<V6, Self>(self, Located(evenkeel_find_wide(desk::put(key))))
    }

    #[inline(always)]
    fn insert(&self, new: &NewWideEntry, now: Now) -> u32 {
        evenkeel_insert_wide(desk::put(new), now.0)
    }

    #[inline(always)]
    fn choose(&self, key: &WideKey) -> u64 {
        evenkeel_choose_wide(desk::put(key))
    }

    #[inline(always)]
    fn admits(&self, key: &WideKey, now: Now) -> bool {
        evenkeel_admits_wide(desk::put(key), now.0) != 0
    }

    #[inline(always)]
    fn take_over(&self, new: &NewWideEntry, now: Now) -> u32 {
        evenkeel_take_over_wide(desk::put(new), now.0)
    }
}

/// `FamilyTables::insert`, as a call.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn evenkeel_insert(new: *const NewEntry, now: u32) -> u32 {
    // SAFETY: the only caller passes a reference; the verifier wants the test for null as well.
    match unsafe { new.as_ref() } {
        Some(new) => evenkeel_core::insert::<V4, Maps>(&Maps, new, Now(now)).bits(),
        None => Insertion::Full.bits(),
    }
}

/// `FamilyTables::choose`, as a call.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn evenkeel_choose(addresses: u64, ports: u64) -> u64 {
    evenkeel_core::choose::<V4, Maps>(&Maps, &FlowKey { addresses, ports })
}

/// `FamilyTables::admits`, as a call: 0 is no.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn evenkeel_admits(addresses: u64, ports: u64, now: u32) -> u32 {
    evenkeel_core::admits::<V4, Maps>(&Maps, &FlowKey { addresses, ports }, Now(now)).into()
}

/// [`evenkeel_insert`] for IPv6.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn evenkeel_insert_wide(new: *const NewWideEntry, now: u32) -> u32 {
    // SAFETY: the only caller passes what `desk::put` returns.
    match unsafe { new.as_ref() } {
        Some(new) => evenkeel_core::insert::<V6, Maps>(&Maps, new, Now(now)).bits(),
        None => Insertion::Full.bits(),
    }
}

/// [`evenkeel_take_over`] for IPv6.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn evenkeel_take_over_wide(new: *const NewWideEntry, now: u32) -> u32 {
    // SAFETY: as for `evenkeel_insert`.
    match unsafe { new.as_ref() } {
        Some(new) => evenkeel_core::take_over::<V6, Maps>(&Maps, new, Now(now)).bits(),
        None => Insertion::Full.bits(),
    }
}

/// `FamilyTables::find`, its first half, for IPv6, as a call.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn evenkeel_find_wide(key: *const WideKey) -> u64 {
    // SAFETY: as for `evenkeel_insert_wide`.
    unsafe { key.as_ref() }.map_or(0, |key| locate::<V6, Maps>(&Maps, key).0)
}

/// [`evenkeel_choose`] for IPv6. 0, which is no outcome, if there is no key.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn evenkeel_choose_wide(key: *const WideKey) -> u64 {
    // SAFETY: as for `evenkeel_insert`.
    unsafe { key.as_ref() }.map_or(0, |key| evenkeel_core::choose::<V6, Maps>(&Maps, key))
}

/// [`evenkeel_admits`] for IPv6.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn evenkeel_admits_wide(key: *const WideKey, now: u32) -> u32 {
    // SAFETY: as for `evenkeel_insert`.
    unsafe { key.as_ref() }.map_or(0, |key| evenkeel_core::admits::<V6, Maps>(&Maps, key, Now(now)).into())
}

/// `Tables::progress`, as a call.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn evenkeel_progress(meta: u64, heard: u32, now: u32) -> u64 {
    evenkeel_core::progress(meta, heard, Now(now))
}

/// `FamilyTables::take_over`, as a call.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn evenkeel_take_over(new: *const NewEntry, now: u32) -> u32 {
    // SAFETY: as for `evenkeel_insert`.
    match unsafe { new.as_ref() } {
        Some(new) => evenkeel_core::take_over::<V4, Maps>(&Maps, new, Now(now)).bits(),
        None => Insertion::Full.bits(),
    }
}

/// The low 16 bits, by an instruction that the compiler cannot remove: it knows that the number is that small, but a verifier
/// loses sight of that in a call, and that of Linux 6.1 in 32-bit arithmetic.
#[inline(always)]
fn bounded(mut number: u64) -> HopNumber {
    // SAFETY: one instruction on one register.
    unsafe { core::arch::asm!("{0} &= 65535", inout(reg) number, options(pure, nomem, nostack)) };
    HopNumber(number as u16)
}

/// What [`evenkeel_hop`] returns when there is no room.
const NO_HOP: u32 = u32::MAX;

/// `FamilyTables::reply_hop`, as a call.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn evenkeel_reply(client: u32) -> u32 {
    let hop = |number: HopNumber| Maps.hop(bounded(number.0.into()));
    let number = reply::number(hop, Ipv4Address::from_bits(client));
    number.map_or(NO_HOP, |number| u32::from(number.0))
}

/// `Tables::hop_number`, as a call.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn evenkeel_hop(neighbour: u64, now: u32) -> u32 {
    let hop = |number: HopNumber| Maps.hop(bounded(number.0.into()));
    let number = hop::number(Maps.settings(), hop, neighbour, Tick(now as u16));
    number.map_or(NO_HOP, |number| u32::from(number.0))
}
