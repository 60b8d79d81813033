//! The other programs, and the way there.

use aya_ebpf::btf_maps::ProgramArray;
use aya_ebpf::macros::btf_map;
use aya_ebpf::programs::XdpContext;
use evenkeel_core::Station;

/// The programs by station. The loader fills it; the kernel empties it when nobody in user space holds it any more.
#[btf_map]
static STATIONS: ProgramArray<{ Station::ALL.len() }> = ProgramArray::new();

/// Goes on at a station. Returns only if there is no program.
#[inline(always)]
pub(crate) fn jump(ctx: &XdpContext, station: Station) {
    match station {
        Station::Follow => tail_call::<{ Station::Follow as u32 }>(ctx),
        Station::Open => tail_call::<{ Station::Open as u32 }>(ctx),
        Station::Other => tail_call::<{ Station::Other as u32 }>(ctx),
        Station::Refuse => tail_call::<{ Station::Refuse as u32 }>(ctx),
        Station::Expire => tail_call::<{ Station::Expire as u32 }>(ctx),
        Station::Six => tail_call::<{ Station::Six as u32 }>(ctx),
        Station::SixFollow => tail_call::<{ Station::SixFollow as u32 }>(ctx),
        Station::SixOpen => tail_call::<{ Station::SixOpen as u32 }>(ctx),
        Station::SixOther => tail_call::<{ Station::SixOther as u32 }>(ctx),
        Station::SixRefuse => tail_call::<{ Station::SixRefuse as u32 }>(ctx),
        Station::SixExpire => tail_call::<{ Station::SixExpire as u32 }>(ctx),
    }
}

/// A tail call whose index is a constant of the instruction, and stays one: the compiler would join several calls into one
/// with an index that varies, which costs a dozen nanoseconds instead of one (an indirect jump with its guard).
#[inline(always)]
fn tail_call<const INDEX: u32>(ctx: &XdpContext) {
    // SAFETY: helper 12 takes context, program array and index, and clobbers the registers named (kernel documentation,
    // "BPF instruction set conventions"). It either does not return or changes nothing.
    unsafe {
        core::arch::asm!(
            "r1 = {ctx}",
            "r2 = {map}",
            "r3 = {index}",
            "call 12",
            ctx = in(reg) ctx.ctx,
            map = in(reg) &raw const STATIONS,
            index = const INDEX,
            out("r0") _,
            out("r1") _,
            out("r2") _,
            out("r3") _,
            out("r4") _,
            out("r5") _,
        );
    }
}
