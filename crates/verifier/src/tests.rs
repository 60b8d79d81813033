//! What the kernel's verifier has to do for the real BPF object, held against `crates/tests/verifier-budget.toml`.
#![allow(clippy::unwrap_used, reason = "a test that fails may do so anywhere")]

use crate::budget::{Budget, rows};
use crate::frames;
use crate::measure::{For, MeasureError, measure};
use crate::program::{Chain, Function, Linked};
use crate::watch::Detail;
use aya_obj::generated::bpf_insn;
use evenkeel_xdp::XdpError;
use std::path::Path;

fn file(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name);
    std::fs::read(&path).unwrap_or_else(|error| {
        panic!("cannot read {name} ({error}): build the XDP programs with `scripts/build-bpf.sh`.")
    })
}

fn object() -> Vec<u8> {
    file("build/evenkeel.bpf.o")
}

fn budget() -> Budget {
    let text = String::from_utf8(file("crates/tests/verifier-budget.toml")).unwrap();
    Budget::parse(&text).expect("crates/tests/verifier-budget.toml can be read")
}

#[test]
fn the_verifier_has_no_more_to_do_than_was_agreed() {
    let programs = match measure(&object(), For::Everything, Detail::Sums) {
        Ok(programs) => programs,
        Err(MeasureError::Load(XdpError::Privileges)) => {
            let allowed = std::env::var_os("EVENKEEL_SKIP_PRIVILEGED").is_some_and(|value| value == "1");
            assert!(
                allowed,
                "this test loads BPF programs and needs root: run it as root, or set EVENKEEL_SKIP_PRIVILEGED=1 to skip it."
            );
            println!("skipped: loading a BPF program needs root, and EVENKEEL_SKIP_PRIVILEGED=1 is set.");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    print!("{}", crate::table::table(&programs));
    let (over, notes) = budget().over(&crate::release().unwrap(), &rows(&programs));
    notes.iter().for_each(|note| println!("{note}"));
    assert!(over.is_empty(), "over crates/tests/verifier-budget.toml:\n{}", over.join("\n"));
    // The loader has left none out.
    let names = |programs: &[Linked]| programs.iter().map(|program| program.name().to_owned()).collect::<Vec<_>>();
    let loaded: Vec<_> = programs.into_iter().map(|program| program.program).collect();
    assert_eq!(names(&loaded), names(&frames::linked(&object()).unwrap()), "programs loaded, and those of the object");
}

#[test]
fn the_agreed_numbers_leave_room_on_every_kernel() {
    let faults = budget().faults();
    assert!(faults.is_empty(), "crates/tests/verifier-budget.toml:\n{}", faults.join("\n"));
}

/// As the object has it: without privileges, and so on any machine.
#[test]
fn the_stack_is_deep_enough() {
    let programs = frames::linked(&object()).unwrap();
    assert!(!programs.is_empty(), "there is no program in the object");
    for program in programs {
        let frames = frames::frames(&program);
        let Chain { functions, stack } = program.deepest(&frames);
        let names = functions.iter().map(|function| program.functions[*function].name.as_str()).collect::<Vec<_>>();
        println!("{stack} bytes: {}", names.join(" > "));
        let allowed = budget().stack(program.name()).expect("the program is in the budget");
        assert!(stack <= allowed, "{}: {stack} bytes of stack, {allowed} allowed: {frames:?}", program.name());
    }
}

/// A body that calls two functions, one of which calls the third.
#[test]
fn the_deepest_way_counts_frames_along_calls_and_not_all_of_them() {
    let call = |offset| {
        let mut call =
            bpf_insn { code: 0x85, _bitfield_align_1: [], _bitfield_1: Default::default(), off: 0, imm: offset };
        call.set_src_reg(1);
        call
    };
    let mut exit = call(0);
    exit.code = 0x95;
    let function = |name: &str, start| Function { name: name.to_owned(), start };
    let program = Linked {
        functions: vec![function("body", 0), function("large", 3), function("middle", 4), function("leaf", 6)],
        instructions: vec![call(2), call(2), exit, exit, call(1), exit, exit],
    };
    let chain = Chain { functions: vec![0, 2, 3], stack: 32 + 96 + 64 };
    assert_eq!(program.deepest(&[0, 100, 65, 40]), chain);
    let chain = Chain { functions: vec![0, 1], stack: 32 + 256 };
    assert_eq!(program.deepest(&[8, 256, 65, 40]), chain);
}
