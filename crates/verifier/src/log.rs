//! What the verifier's log says: each instruction that it walked, and its statistics.

use crate::program::Linked;

/// What a log of the level of `watch.rs` says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// Instructions walked, by the function that they are in.
    pub(crate) walked: Vec<u32>,
    /// The verifier's own sum.
    pub(crate) processed: Option<u32>,
    /// Bytes of stack by function, if it names as many as there are.
    pub(crate) stack: Option<Vec<u32>>,
}

pub(crate) fn read(log: &[u8], program: &Linked) -> Told {
    let mut told = Told { walked: vec![0; program.functions.len()], ..Told::default() };
    for line in log.split(|byte| *byte == b'\n') {
        let Ok(line) = std::str::from_utf8(line) else { continue };
        if let Some(instruction) = walked(line) {
            if let Some(function) = told.walked.get_mut(program.function_of(instruction)) {
                *function += 1;
            }
        } else if let Some(rest) = line.strip_prefix("stack depth ") {
            let depths: Result<Vec<_>, _> = rest.trim().split('+').map(str::parse).collect();
            told.stack = depths.ok().filter(|depths| depths.len() == program.functions.len());
        } else if let Some(rest) = line.strip_prefix("processed ") {
            told.processed = rest.split(' ').next().and_then(|number| number.parse().ok());
        }
    }
    told
}

/// The number of the instruction that a line says was looked at: one that was walked, or one where the verifier stopped
/// because it had been there before in a state that covers this one. Both count.
fn walked(line: &str) -> Option<u32> {
    if let Some(way) = line.strip_suffix(": safe") {
        // "from 12 to 20: safe", "from 12 to 20 (speculative execution): safe", "20: safe".
        let place = match way.strip_prefix("from ") {
            Some(way) => way.split_once(" to ")?.1.split(' ').next()?,
            None => way,
        };
        return place.parse().ok();
    }
    // "20: (b7) r0 = 0   ; R0_w=0". Without the byte in brackets it is a state: "20: R0=0 R10=fp0".
    let (number, rest) = line.split_once(": (")?;
    let is_opcode = rest.as_bytes().get(2) == Some(&b')') && rest.as_bytes()[..2].iter().all(u8::is_ascii_hexdigit);
    if is_opcode { number.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::Function;

    #[test]
    fn every_instruction_counts_for_its_function_and_so_does_each_stop() {
        let log = b"func#0 @0\n\
            func#1 @7\n\
            0: R1=ctx() R10=fp0\n\
            ; let x = 1; @ main.rs:1\n\
            0: (b7) r6 = 1                        ; R6_w=1\n\
            1: (85) call pc+5\n\
            Func#1 ('callee') is global and assumed valid.\n\
            2: (15) if r0 == 0x0 goto pc+1        ; R0=scalar()\n\
            mark_precise: frame0: regs=r0 stack= before 1: (85) call pc+5\n\
            3: (95) exit\n\
            \n\
            from 2 to 4: R0=0 R10=fp0\n\
            4: (95) exit\n\
            from 3 to 4: safe\n\
            from 3 to 4 (speculative execution): safe\n\
            Validating callee() func#1...\n\
            7: R1=scalar() R10=fp0\n\
            7: (b7) r0 = 0                        ; R0_w=0\n\
            8: safe\n\
            Func#1 ('callee') is safe for any args that match its prototype\n\
            verification time 5 usec\n\
            stack depth 8+256\n\
            processed 9 insns (limit 1000000) max_states_per_insn 0 total_states 1 peak_states 1 mark_read 1\n";
        let function = |name: &str, start| Function { name: name.to_owned(), start };
        let program = Linked { functions: vec![function("body", 0), function("callee", 7)], instructions: Vec::new() };
        let told = Told { walked: vec![7, 2], processed: Some(9), stack: Some(vec![8, 256]) };
        assert_eq!(read(log, &program), told);
    }
}
