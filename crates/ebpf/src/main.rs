//! The XDP program: one packet in, one verdict out. It is several, the one that is attached and one for each station. All decisions are `evenkeel-core`'s; here are only the places where
//! the kernel's packet, maps and clock are made to look like the core's traits.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch, core_intrinsics)]
#![allow(internal_features)]

mod cell;
mod clock;
mod desk;
mod frame;
mod maps;
mod stations;
mod tables;

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
use evenkeel_core::{Next, Reason, Station, Tables, Verdict, arrive, visit};
use frame::XdpFrame;
use tables::Maps;

/// Runs at the driver's hook (native) or in front of the stack (generic). `frags`: packets larger than one buffer are
/// welcome, since only headers are read. All programs that call each other must agree on that.
#[xdp(frags)]
#[inline(always)]
pub fn evenkeel(ctx: XdpContext) -> u32 {
    let next = arrive(&mut XdpFrame::new(&ctx), &Maps);
    act(&ctx, next)
}

#[xdp(frags)]
#[inline(always)]
pub fn evenkeel_follow(ctx: XdpContext) -> u32 {
    let next = visit(Station::Follow, &mut XdpFrame::new(&ctx), &Maps);
    act(&ctx, next)
}

#[xdp(frags)]
#[inline(always)]
pub fn evenkeel_open(ctx: XdpContext) -> u32 {
    let next = visit(Station::Open, &mut XdpFrame::new(&ctx), &Maps);
    act(&ctx, next)
}

#[xdp(frags)]
#[inline(always)]
pub fn evenkeel_other(ctx: XdpContext) -> u32 {
    let next = visit(Station::Other, &mut XdpFrame::new(&ctx), &Maps);
    act(&ctx, next)
}

#[xdp(frags)]
#[inline(always)]
pub fn evenkeel_refuse(ctx: XdpContext) -> u32 {
    let next = visit(Station::Refuse, &mut XdpFrame::new(&ctx), &Maps);
    act(&ctx, next)
}

#[xdp(frags)]
#[inline(always)]
pub fn evenkeel_expire(ctx: XdpContext) -> u32 {
    let next = visit(Station::Expire, &mut XdpFrame::new(&ctx), &Maps);
    act(&ctx, next)
}

#[xdp(frags)]
#[inline(always)]
pub fn evenkeel6(ctx: XdpContext) -> u32 {
    let next = visit(Station::Six, &mut XdpFrame::new(&ctx), &Maps);
    act(&ctx, next)
}

#[xdp(frags)]
#[inline(always)]
pub fn evenkeel6follow(ctx: XdpContext) -> u32 {
    let next = visit(Station::SixFollow, &mut XdpFrame::new(&ctx), &Maps);
    act(&ctx, next)
}

#[xdp(frags)]
#[inline(always)]
pub fn evenkeel6open(ctx: XdpContext) -> u32 {
    let next = visit(Station::SixOpen, &mut XdpFrame::new(&ctx), &Maps);
    act(&ctx, next)
}

#[xdp(frags)]
#[inline(always)]
pub fn evenkeel6other(ctx: XdpContext) -> u32 {
    let next = visit(Station::SixOther, &mut XdpFrame::new(&ctx), &Maps);
    act(&ctx, next)
}

#[xdp(frags)]
#[inline(always)]
pub fn evenkeel6refuse(ctx: XdpContext) -> u32 {
    let next = visit(Station::SixRefuse, &mut XdpFrame::new(&ctx), &Maps);
    act(&ctx, next)
}

#[xdp(frags)]
#[inline(always)]
pub fn evenkeel6expire(ctx: XdpContext) -> u32 {
    let next = visit(Station::SixExpire, &mut XdpFrame::new(&ctx), &Maps);
    act(&ctx, next)
}

/// Does what was decided. To be inlined into the programs themselves: a tail call from a function of theirs is miscounted by
/// kernels from 5.10 to 6.12.
#[inline(always)]
fn act(ctx: &XdpContext, next: Next) -> u32 {
    let reason = match next {
        Next::Done(reason) => reason,
        Next::Go(station) => {
            stations::jump(ctx, station);
            Maps.count(Reason::StationMissing);
            Reason::StationMissing
        }
    };
    match reason.verdict() {
        Verdict::Transmit => xdp_action::XDP_TX,
        Verdict::Pass => xdp_action::XDP_PASS,
        Verdict::Drop => xdp_action::XDP_DROP,
    }
}

/// Returns the time by which flows are stamped. For user space, which runs it on a packet of no meaning.
#[xdp]
pub fn clock(_ctx: XdpContext) -> u32 {
    clock::now().0
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    // Never reached: the core has no panic path, and the verifier would refuse a loop without end.
    loop {}
}

/// Some helpers are for programs under a GPL-compatible licence only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
