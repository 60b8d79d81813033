//! A program with its functions, as it is handed to the kernel, and the ways through its calls.

use aya_obj::generated::bpf_insn;

/// A program and the functions that it calls, one behind the other.
#[derive(Debug)]
pub(crate) struct Linked {
    /// In the order of their places; the first is the program's own body.
    pub(crate) functions: Vec<Function>,
    pub(crate) instructions: Vec<bpf_insn>,
}

/// A function's place in a program.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// Number of its first instruction.
    pub(crate) start: u32,
}

/// Functions that call each other, by their index, and the stack that they take together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) functions: Vec<usize>,
    /// Bytes.
    pub(crate) stack: u32,
}

/// Bytes that the kernel rounds a function's stack up to: 32 before Linux 6.8 and where programs are not compiled, else 16.
/// A function without any has one byte.
pub(crate) fn rounded(stack: u32) -> u32 {
    const UNIT: u32 = 32;
    stack.max(1).next_multiple_of(UNIT)
}

impl Linked {
    /// The program's name: its body's, which the kernel cuts off after 15 bytes.
    pub(crate) fn name(&self) -> &str {
        self.functions.first().map_or("", |body| &body.name)
    }

    /// The index of the function that an instruction belongs to.
    pub(crate) fn function_of(&self, instruction: u32) -> usize {
        self.functions.partition_point(|function| function.start <= instruction).saturating_sub(1)
    }

    /// The instructions of a function.
    pub(crate) fn code(&self, function: usize) -> &[bpf_insn] {
        let start = self.functions[function].start as usize;
        let end = self.functions.get(function + 1).map_or(self.instructions.len(), |next| next.start as usize);
        self.instructions.get(start..end).unwrap_or_default()
    }

    /// The way through the calls that needs the most stack; `frames`: bytes by function.
    pub(crate) fn deepest(&self, frames: &[u32]) -> Chain {
        self.deepest_from(0, frames, self.functions.len())
    }

    /// `depth`: calls that may still be nested. The verifier refuses recursion; we only shall not follow it for ever.
    fn deepest_from(&self, function: usize, frames: &[u32], depth: usize) -> Chain {
        let below = self.callees(function).into_iter().filter(|_| depth > 0);
        let below = below.map(|callee| self.deepest_from(callee, frames, depth - 1)).max_by_key(|chain| chain.stack);
        let Chain { functions, stack } = below.unwrap_or_default();
        let own = rounded(frames.get(function).copied().unwrap_or_default());
        Chain { functions: [vec![function], functions].concat(), stack: own + stack }
    }

    /// The functions that a function calls, or hands to a helper that calls them.
    fn callees(&self, function: usize) -> Vec<usize> {
        const CALL: u8 = 0x85; // BPF_JMP | BPF_CALL
        const PSEUDO_CALL: u8 = 1;
        const LOAD_WIDE: u8 = 0x18; // BPF_LD | BPF_IMM | BPF_DW
        const PSEUDO_FUNCTION: u8 = 4;
        let start = self.functions[function].start;
        let targets = (start..).zip(self.code(function)).filter_map(|(at, instruction)| {
            let calls =
                matches!((instruction.code, instruction.src_reg()), (CALL, PSEUDO_CALL) | (LOAD_WIDE, PSEUDO_FUNCTION));
            calls.then(|| self.function_of(at.wrapping_add_signed(instruction.imm + 1)))
        });
        let mut callees: Vec<_> = targets.collect();
        callees.sort_unstable();
        callees.dedup();
        callees
    }
}
