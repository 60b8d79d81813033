//! The XDP program: one packet in, one verdict out. All decisions are `evenkeel-core`'s; here are only the places where
//! the kernel's packet, maps and clock are made to look like the core's traits.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch, core_intrinsics)]
#![allow(internal_features)]

mod calls;
mod cell;
mod clock;
mod frame;
mod maps;

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
use evenkeel_core::{Verdict, process};

/// Runs at the driver's hook (native) or in front of the stack (generic). `frags`: packets larger than one buffer are
/// welcome, since only headers are read.
#[xdp(frags)]
pub fn evenkeel(ctx: XdpContext) -> u32 {
    let reason = process(&mut frame::XdpFrame::new(&ctx), &maps::Maps);
    match reason.verdict() {
        Verdict::Transmit => xdp_action::XDP_TX,
        Verdict::Pass => xdp_action::XDP_PASS,
        Verdict::Drop => xdp_action::XDP_DROP,
    }
}

/// Returns the time by which flows are stamped. For user space, which runs it on a packet of no meaning.
#[xdp]
pub fn clock(_ctx: XdpContext) -> u32 {
    u32::from(clock::now().0)
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
