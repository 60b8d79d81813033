//! The stack of the programs as the object has them, without a kernel and without privileges.

use crate::program::Linked;
#[cfg(test)]
use crate::{btf, program::Function};
#[cfg(test)]
use aya_obj::Object;
use aya_obj::generated::bpf_insn;

/// Every program of an object, with the functions that it calls.
///
/// # Errors
/// It is no BPF object.
#[cfg(test)]
pub(crate) fn linked(object: &[u8]) -> Result<Vec<Linked>, String> {
    let mut object = Object::parse(object).map_err(|error| error.to_string())?;
    let names = object.btf.as_ref().map(|types| btf::function_names(&types.to_bytes())).unwrap_or_default();
    let sections = object.functions.keys().map(|(section, _)| *section).collect();
    object.relocate_calls(&sections).map_err(|error| error.to_string())?;
    let programs = object.programs.values().filter_map(|program| object.functions.get(&program.function_key()));
    let mut programs: Vec<_> = programs
        .map(|program| {
            let functions = program.func_info.func_info.iter().map(|record| Function {
                name: names.get(&record.type_id).cloned().unwrap_or_default(),
                start: record.insn_off,
            });
            Linked { functions: functions.collect(), instructions: program.instructions.clone() }
        })
        .collect();
    programs.sort_by(|one, other| one.name().cmp(other.name()));
    Ok(programs)
}

/// Bytes of stack by function.
pub(crate) fn frames(program: &Linked) -> Vec<u32> {
    (0..program.functions.len()).map(|function| frame(program.code(function))).collect()
}

/// The deepest place that these instructions name by the frame pointer (r10) or a copy of it. Read from top to bottom,
/// without regard to jumps: compilers make copies right before they use them.
fn frame(code: &[bpf_insn]) -> u32 {
    const FRAME_POINTER: usize = 10;
    let mut pointers = [None; 16];
    pointers[FRAME_POINTER] = Some(0);
    let mut deepest: i32 = 0;
    for instruction in code {
        let (destination, source) = (usize::from(instruction.dst_reg()), usize::from(instruction.src_reg()));
        let place = match instruction.code {
            // 64-bit move of a register, and addition of a number.
            0xbf => {
                pointers[destination] = pointers[source];
                None
            }
            0x07 => {
                pointers[destination] = pointers[destination].map(|pointer: i32| pointer + instruction.imm);
                pointers[destination]
            }
            // A call keeps r6 to r10.
            0x85 => {
                pointers[..6].fill(None);
                None
            }
            code => match code & 7 {
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
            .map(|pointer| pointer + i32::from(instruction.off)),
        };
        deepest = deepest.min(place.unwrap_or(0));
    }
    deepest.unsigned_abs()
}
