//! What the kernel's verifier has to do for the real BPF object, held against `verifier-budget.toml`.
#![allow(clippy::unwrap_used, reason = "a test that fails may do so anywhere")]

use evenkeel_tests::program::xdp::{load, object};
use evenkeel_tests::program::{Setup, scenes};
use std::collections::BTreeMap;
use std::path::Path;

/// BPF_COMPLEXITY_LIMIT_INSNS of the kernel: it refuses a program that takes it more.
const LIMIT: u64 = 1_000_000;
/// MAX_BPF_STACK of the kernel, for all functions on a way together.
const STACK: u64 = 512;
/// The kernel rounds every function's stack up to so many bytes: 32 before Linux 6.8 and without the compiler, then 16.
const STACK_UNIT: u64 = 32;

#[derive(Debug)]
struct Budget {
    kernel: String,
    programs: BTreeMap<String, BTreeMap<String, u64>>,
}

fn budget() -> Budget {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("verifier-budget.toml");
    let text = std::fs::read_to_string(path).expect("crates/tests/verifier-budget.toml can be read");
    let mut table: toml::Table = text.parse().expect("verifier-budget.toml is TOML");
    let kernel = table.remove("kernel").and_then(|value| Some(value.as_str()?.to_owned())).expect("kernel = \"...\"");
    let numbers = |program: toml::Value| {
        let program = program.try_into().expect("a table of numbers");
        let program: BTreeMap<String, u64> = program;
        program
    };
    Budget { kernel, programs: table.into_iter().map(|(name, program)| (name, numbers(program))).collect() }
}

/// Major and minor version of the kernel that runs.
fn kernel() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    release.split(['.', '-']).take(2).collect::<Vec<_>>().join(".")
}

#[test]
fn the_verifier_has_no_more_to_do_than_was_agreed() {
    let Some(plane) = load(&Setup::new(scenes::rich(), 64)) else { return };
    let info = plane.program().unwrap().info().unwrap();
    let budget = budget();
    let same_kernel = kernel() == budget.kernel;
    if !same_kernel {
        println!(
            "this is Linux {}, the budget is Linux {}'s: only twice as much is too much here.",
            kernel(),
            budget.kernel
        );
    }
    let program = &budget.programs["evenkeel"];
    let measured = [
        ("verified-instructions", info.verified_instruction_count().map(u64::from)),
        ("translated-bytes", info.size_translated().map(u64::from)),
    ];
    let mut over = Vec::new();
    for (what, number) in measured {
        let Some(number) = number else {
            println!("this kernel does not tell {what}");
            continue;
        };
        let allowed = if same_kernel { program[what] } else { 2 * program[what] };
        println!("{what}: {number}, {allowed} allowed");
        if number > allowed {
            over.push(format!("{what}: {number}, and {allowed} are allowed"));
        } else if same_kernel && number < allowed {
            println!("lower {what} in crates/tests/verifier-budget.toml to {number}.");
        }
    }
    assert!(over.is_empty(), "over crates/tests/verifier-budget.toml: {}", over.join("; "));
}

/// Other kernels count differently, so there must be room: a program that is just accepted here is refused elsewhere.
#[test]
fn the_agreed_numbers_leave_a_margin_to_the_kernels_limits() {
    for (name, program) in budget().programs {
        let walked = program["verified-instructions"];
        assert!(
            walked <= LIMIT / 4 * 3,
            "{name}: {walked} of {LIMIT} verified instructions leave other kernels no margin"
        );
    }
}

/// The deepest place in the stack frame that each function names. All functions together are more than any way through
/// them needs, and still little enough.
#[test]
fn the_stack_is_deep_enough() {
    let frames = frames(&object());
    let total: u64 = frames.values().map(|depth| depth.next_multiple_of(STACK_UNIT)).sum();
    println!("{frames:?}, {total} together");
    let allowed = budget().programs["evenkeel"]["stack-bytes"];
    assert!(total <= allowed && allowed <= STACK, "{total} bytes of stack, {allowed} allowed: {frames:?}");
}

/// Bytes of stack by function, read from the instructions of the object (ELF64, little-endian).
fn frames(object: &[u8]) -> BTreeMap<String, u64> {
    use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SectionKind, SymbolKind};
    let file = object::File::parse(object).unwrap();
    let mut frames = BTreeMap::new();
    for symbol in file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0) {
        let section = file.section_by_index(symbol.section_index().unwrap()).unwrap();
        assert_eq!(section.kind(), SectionKind::Text);
        let start = symbol.address() as usize;
        let code = &section.data().unwrap()[start..start + symbol.size() as usize];
        frames.insert(symbol.name().unwrap().to_owned(), frame(code));
    }
    frames
}

/// The deepest place that these instructions name by the frame pointer (r10) or a copy of it. Read from top to bottom,
/// without regard to jumps: compilers make copies right before they use them.
fn frame(code: &[u8]) -> u64 {
    const FRAME_POINTER: usize = 10;
    let mut pointers = [None; 16];
    pointers[FRAME_POINTER] = Some(0);
    let mut deepest: i64 = 0;
    for instruction in code.chunks_exact(8) {
        let [opcode, registers, offset_low, offset_high, ref immediate @ ..] = *instruction else { continue };
        let (destination, source) = (usize::from(registers & 0xf), usize::from(registers >> 4));
        let offset = i64::from(i16::from_le_bytes([offset_low, offset_high]));
        let immediate = i64::from(i32::from_le_bytes(immediate.try_into().unwrap()));
        let place = match opcode {
            // 64-bit move of a register, and addition of a number.
            0xbf => {
                pointers[destination] = pointers[source];
                None
            }
            0x07 => {
                pointers[destination] = pointers[destination].map(|pointer: i64| pointer + immediate);
                pointers[destination]
            }
            // A call keeps r6 to r10.
            0x85 => {
                pointers[..6].fill(None);
                None
            }
            _ => match opcode & 7 {
                1 => {
                    let read = pointers[source];
                    pointers[destination] = None;
                    read
                }
                2 | 3 => pointers[destination],
                0 | 4 | 7 => {
                    pointers[destination] = None;
                    None
                }
                _ => None,
            }
            .map(|pointer| pointer + offset),
        };
        deepest = deepest.min(place.unwrap_or(0));
    }
    deepest.unsigned_abs()
}
