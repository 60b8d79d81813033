//! The measuring programs: a driver that makes packets and hands them to other programs in turn, and the two programs
//! that everything is compared with. They are run by BPF_PROG_TEST_RUN only. And one that is attached, in the testbed:
//! the least that any balancer does there.
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![allow(internal_features)]

#[path = "../../../bench/src/layout.rs"]
#[allow(dead_code, unreachable_pub)]
mod layout;

use aya_ebpf::bindings::{BPF_F_MMAPABLE, xdp_action};
use aya_ebpf::btf_maps::{Array, LruHashMap, ProgramArray};
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;
use core::intrinsics::{AtomicOrdering, atomic_xchg};
use evenkeel_wire::{Adjustment, EtherType, Ethernet, Header, IpProtocol, Ipv4, Ipv4Address, MacAddress, Tcp};
use layout::{CHUNK, FRAME, IN_TURN, LANES, Lane, MAX_CHUNKS, State, Tuple, lane_of};

/// The programs, by lane.
#[btf_map]
static PROGRAMS: ProgramArray<{ LANES as usize }> = ProgramArray::new();

#[btf_map]
static STATE: Array<State, 1> = Array::new();

#[btf_map]
static STREAMS: Array<Lane, { LANES as usize }> = Array::new();

/// Of all streams; the loader sets the size.
#[btf_map]
static TUPLES: Array<Tuple, 1, { BPF_F_MMAPABLE as usize }> = Array::new();

/// When each chunk began, and the last one ended.
#[btf_map]
static STAMPS: Array<u64, { MAX_CHUNKS as usize + 1 }> = Array::new();

/// The yardstick's flows; the loader sets the size.
#[btf_map]
static FLOWS: LruHashMap<[u32; 4], u64, 1> = LruHashMap::new();

/// Packets that the yardstick did not transmit.
#[btf_map]
static MISSED: Array<u64, 1> = Array::new();

/// Makes the next packet and gives it to the program whose turn it is.
#[xdp(frags)]
pub fn driver(ctx: XdpContext) -> u32 {
    let _ = drive(&ctx);
    // Reached at the end, or when there is no program in the lane.
    xdp_action::XDP_ABORTED
}

#[inline(always)]
fn drive(ctx: &XdpContext) -> Option<()> {
    // SAFETY: one driver runs at a time, and user space looks at the maps between runs only.
    let state = unsafe { &mut *STATE.get_ptr_mut(0)? };
    if state.left == 0 {
        // SAFETY: as above; the helper takes nothing.
        unsafe { *STAMPS.get_ptr_mut(state.begun)? = bpf_ktime_get_ns() };
        if state.begun >= state.wanted {
            return None;
        }
        state.lane = if state.only == IN_TURN { lane_of(state.begun, state.lanes.max(1)) } else { state.only };
        state.begun += 1;
        state.left = CHUNK;
    }
    state.left -= 1;
    // SAFETY: as above.
    let lane = unsafe { &mut *STREAMS.get_ptr_mut(state.lane)? };
    let tuple = TUPLES.get(lane.first + lane.position)?;
    let era = ((lane.era & 0xffff) as u16).swap_bytes();
    lane.position += 1;
    if lane.position >= lane.count {
        lane.position = 0;
        lane.era += lane.fresh;
    }

    let start = ctx.data();
    if start + FRAME > ctx.data_end() {
        return None;
    }
    // SAFETY: the frame's 64 bytes are there (checked above), and nothing else refers to them.
    unsafe {
        let frame = start as *mut u8;
        frame.cast::<[u64; 7]>().write_unaligned(lane.head);
        frame.add(24).cast::<u16>().write_unaligned(adjusted(tuple.ip_checksum, era));
        frame.add(26).cast::<u64>().write_unaligned(tuple.addresses + u64::from(era));
        frame.add(34).cast::<u32>().write_unaligned(tuple.ports);
        frame.add(50).cast::<u16>().write_unaligned(adjusted(tuple.transport_checksum, era));
    }
    // SAFETY: the pointer is made from a reference. See `Lane::fence`.
    unsafe { atomic_xchg::<u64, { AtomicOrdering::SeqCst }>(&mut lane.fence, u64::from(era)) };
    // SAFETY: nothing is left to drop.
    unsafe { PROGRAMS.tail_call(ctx, state.lane) };
    Some(())
}

/// The checksum when a covered word has grown by `more` (RFC 1624, equation 3).
#[inline(always)]
fn adjusted(checksum: u16, more: u16) -> u16 {
    let sum = u32::from(!checksum) + u32::from(more);
    !((sum & 0xffff) + (sum >> 16)) as u16
}

/// What every other program's time is net of.
#[xdp(frags)]
pub fn empty(_: XdpContext) -> u32 {
    xdp_action::XDP_TX
}

/// The least that a program with a flow table does: parse, look the flow up, swap the Ethernet addresses.
#[xdp(frags)]
pub fn yardstick(ctx: XdpContext) -> u32 {
    if bounce(&ctx).is_some() {
        return xdp_action::XDP_TX;
    }
    if let Some(missed) = MISSED.get_ptr_mut(0) {
        // SAFETY: one program runs at a time.
        unsafe { *missed += 1 };
    }
    xdp_action::XDP_DROP
}

/// The headers of a TCP segment over IPv4 without options.
#[inline(always)]
fn segment(ctx: &XdpContext) -> Option<(&mut Ethernet, &mut Ipv4, &mut Tcp)> {
    let ethernet = header::<Ethernet>(ctx, 0)?;
    if ethernet.ether_type != EtherType::IPV4 {
        return None;
    }
    let ip = header::<Ipv4>(ctx, Ethernet::LENGTH)?;
    if ip.protocol != IpProtocol::TCP || ip.header_length() != Ipv4::LENGTH {
        return None;
    }
    let tcp = header::<Tcp>(ctx, Ethernet::LENGTH + Ipv4::LENGTH)?;
    Some((ethernet, ip, tcp))
}

#[inline(always)]
fn bounce(ctx: &XdpContext) -> Option<()> {
    let (ethernet, ip, tcp) = segment(ctx)?;
    let ports = u32::from(tcp.source.bits()) | u32::from(tcp.destination.bits()) << 16;
    let key = [ip.source.bits(), ip.destination.bits(), ports, u32::from(ip.protocol.0)];
    // SAFETY: only whether there is a value matters.
    unsafe { FLOWS.get(key) }?;
    core::mem::swap(&mut ethernet.source, &mut ethernet.destination);
    Some(())
}

/// The walk-through's balancer without a memory: TCP from 10.0.0.1 to 10.0.0.10 goes on to 10.0.0.2 or 10.0.0.3 by the
/// client's port, and what those answer back to 10.0.0.1. Everything else is the kernel's.
#[xdp(frags)]
pub fn floor(ctx: XdpContext) -> u32 {
    if turn_round(&ctx).is_some() { xdp_action::XDP_TX } else { xdp_action::XDP_PASS }
}

#[inline(always)]
fn turn_round(ctx: &XdpContext) -> Option<()> {
    let (ethernet, ip, tcp) = segment(ctx)?;
    let host = |last: u8| Ipv4Address::from(core::net::Ipv4Addr::new(10, 0, 0, last));
    if ip.destination != host(10) {
        return None;
    }
    // Not by the lowest bit: Linux chooses even ports first.
    let to = if ip.source == host(1) { 2 + ((tcp.source.number() >> 1) & 1) as u8 } else { 1 };
    let addresses = Adjustment::NONE
        .replace_u32(ip.source.bits(), ip.destination.bits())
        .replace_u32(ip.destination.bits(), host(to).bits());
    (ip.source, ip.destination) = (ip.destination, host(to));
    ip.checksum.set(addresses.apply(ip.checksum.get()));
    tcp.checksum.set(addresses.apply(tcp.checksum.get()));
    (ethernet.source, ethernet.destination) = (ethernet.destination, MacAddress([0xde, 0xad, 0xbe, 0xef, 0, to]));
    Some(())
}

/// The header at this offset. The callers' offsets do not overlap.
#[inline(always)]
fn header<'a, T: Header>(ctx: &'a XdpContext, offset: usize) -> Option<&'a mut T> {
    let start = ctx.data() + offset;
    if start + size_of::<T>() > ctx.data_end() {
        return None;
    }
    // SAFETY: the bytes are inside the packet, and `T` may stand anywhere and holds any bytes (`Header`).
    Some(unsafe { &mut *(start as *mut T) })
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

/// Some helpers are for programs under a GPL-compatible licence only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
