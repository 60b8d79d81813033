//! Watches the real loader at work: every program that it hands to the kernel, with the verifier's log, which it asks for
//! itself only when a program is refused.
//!
//! So there is no second loader, which would sooner or later load something else than the real one does. The linker sends
//! every call of `syscall` in this program to [`__wrap_syscall`] (build.rs); all but two kinds go straight on.

use crate::btf;
use crate::program::{Function, Linked};
use aya_obj::generated::{bpf_attr, bpf_btf_info, bpf_cmd, bpf_func_info, bpf_insn, bpf_prog_info};
use libc::{c_int, c_long};
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A program that the kernel took, or did not.
#[derive(Debug)]
pub(crate) struct Load {
    /// What was handed over.
    pub(crate) program: Linked,
    /// The verifier's log with every instruction that it walked, and its statistics.
    pub(crate) log: Vec<u8>,
    /// What the kernel tells of the program that it made.
    pub(crate) made: Option<Made>,
}

/// What the kernel tells of a program.
#[derive(Debug)]
pub(crate) struct Made {
    /// Instructions that the verifier walked.
    pub(crate) walked: u32,
    /// Bytes of instructions after the verifier.
    pub(crate) translated: u32,
    /// The same by function, if all are still there.
    pub(crate) translated_by_function: Option<Vec<u32>>,
    /// Bytes of machine code; 0 if the kernel does not compile.
    pub(crate) jited: u32,
    /// The same by function, if the kernel tells.
    pub(crate) jited_by_function: Option<Vec<u32>>,
}

/// What the verifier is asked to write down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// Sums.
    Sums,
    /// Every instruction that it walks, and what it knows there: hundreds of bytes each, which takes it many times as long.
    Everything,
}

impl Detail {
    /// Levels of the kernel's bpf_verifier.h.
    fn level(self) -> u32 {
        const LEVEL2: u32 = 2;
        const STATS: u32 = 4;
        match self {
            Self::Sums => STATS,
            Self::Everything => LEVEL2 | STATS,
        }
    }
}

/// Runs `work`, and returns what it loaded besides what it returns.
pub(crate) fn during<T>(detail: Detail, work: impl FnOnce() -> T) -> (T, Vec<Load>) {
    *watch() = Some(Watch { detail, loads: Vec::new() });
    let outcome = work();
    (outcome, watch().take().map(|watch| watch.loads).unwrap_or_default())
}

struct Watch {
    detail: Detail,
    loads: Vec<Load>,
}

/// Nothing while nobody watches.
static WATCH: Mutex<Option<Watch>> = Mutex::new(None);

fn watch() -> MutexGuard<'static, Option<Watch>> {
    WATCH.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The kernel takes no larger buffer for a log.
const LARGEST_LOG: usize = u32::MAX as usize >> 2;

unsafe extern "C" {
    /// The C library's.
    fn __real_syscall(number: c_long, ...) -> c_long;
}

/// What every `syscall` of this program calls. It has arguments, not `...`, since Rust can only call such functions; the
/// registers are the same ones on every machine that Linux runs BPF on.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_syscall(
    number: c_long,
    a: c_long,
    b: c_long,
    c: c_long,
    d: c_long,
    e: c_long,
    f: c_long,
) -> c_long {
    // SAFETY: the caller's own arguments, or whatever is in the places of those that it did not give, which the kernel does
    // not look at.
    let call = |attributes: c_long| unsafe { __real_syscall(number, a, attributes, c, d, e, f) };
    if number != libc::SYS_bpf || a != bpf_cmd::BPF_PROG_LOAD as c_long {
        return call(b);
    }
    let Some(detail) = watch().as_ref().map(|watch| watch.detail) else { return call(b) };
    if c as usize != size_of::<bpf_attr>() {
        return call(b);
    }
    // SAFETY: what aya passes is a `bpf_attr` of the same bindings: it has that size.
    let attributes = unsafe { *(b as *const bpf_attr) };
    // SAFETY: the command says which part of the union it is; all of them are plain numbers.
    let asked = unsafe { attributes.__bindgen_anon_3 };
    // Without names of functions it is a probe of what the kernel can do; and who wants a log shall get it.
    if asked.func_info_cnt == 0 || asked.log_level != 0 {
        return call(b);
    }
    let mut size = LARGEST_LOG / 8;
    loop {
        let mut log = vec![0; size];
        let mut attributes = attributes;
        attributes.__bindgen_anon_3.log_level = detail.level();
        attributes.__bindgen_anon_3.log_buf = log.as_mut_ptr() as u64;
        attributes.__bindgen_anon_3.log_size = size as u32;
        let outcome = call(&raw const attributes as c_long);
        let errno = io::Error::last_os_error().raw_os_error().unwrap_or_default();
        if outcome < 0 && errno == libc::ENOSPC && size < LARGEST_LOG {
            size = LARGEST_LOG.min(2 * size);
            continue;
        }
        log.truncate(log.iter().position(|byte| *byte == 0).unwrap_or(size));
        log.shrink_to_fit();
        // SAFETY: aya's pointers are to as many records as it says, and they live until it returns from the call.
        let (instructions, functions) = unsafe {
            (
                std::slice::from_raw_parts(asked.insns as *const bpf_insn, asked.insn_cnt as usize),
                std::slice::from_raw_parts(asked.func_info as *const bpf_func_info, asked.func_info_cnt as usize),
            )
        };
        let names = btf::function_names(&types(asked.prog_btf_fd));
        let functions = functions.iter().map(|record| Function {
            name: names.get(&record.type_id).cloned().unwrap_or_else(|| format!("function at {}", record.insn_off)),
            start: record.insn_off,
        });
        let program = Linked { functions: functions.collect(), instructions: instructions.to_vec() };
        let made = (outcome >= 0).then(|| made(outcome as c_int));
        if let Some(watch) = watch().as_mut() {
            watch.loads.push(Load { program, log, made });
        }
        // SAFETY: a place of this thread's own.
        unsafe { *libc::__errno_location() = errno };
        return outcome;
    }
}

/// One of the kernel's structures.
///
/// # Safety
/// All its fields are numbers.
unsafe trait Numbers: Sized {
    /// With zero everywhere.
    fn zero() -> Self {
        // SAFETY: zero is a number.
        unsafe { std::mem::zeroed() }
    }
}

// SAFETY: as linux/bpf.h has them, where pointers are numbers of 64 bits.
unsafe impl Numbers for bpf_attr {}
// SAFETY: as above.
unsafe impl Numbers for bpf_btf_info {}
// SAFETY: as above.
unsafe impl Numbers for bpf_prog_info {}
// SAFETY: as above.
unsafe impl Numbers for bpf_func_info {}

/// `BPF_OBJ_GET_INFO_BY_FD` into `info`; what cannot be had stays zero.
fn info<T: Numbers>(fd: c_int, info: &mut T) {
    let mut attributes = bpf_attr::zero();
    attributes.info.bpf_fd = fd as u32;
    attributes.info.info_len = size_of::<T>() as u32;
    attributes.info.info = std::ptr::from_mut(info) as u64;
    let command = bpf_cmd::BPF_OBJ_GET_INFO_BY_FD as c_long;
    // SAFETY: the kernel writes at most `info_len` bytes to `info`, and to the buffers that are named there.
    unsafe { __real_syscall(libc::SYS_bpf, command, &raw mut attributes, size_of::<bpf_attr>()) };
}

/// The bytes of the types that a program was loaded with.
fn types(fd: u32) -> Vec<u8> {
    let (mut about, mut bytes) = (bpf_btf_info::zero(), Vec::new());
    // The first time for the size.
    for _ in 0..2 {
        bytes = vec![0; about.btf_size as usize];
        about.btf = bytes.as_mut_ptr() as u64;
        about.btf_size = bytes.len() as u32;
        info(fd as c_int, &mut about);
    }
    bytes
}

fn made(fd: c_int) -> Made {
    let mut sizes = bpf_prog_info::zero();
    info(fd, &mut sizes);
    let mut functions = vec![bpf_func_info::zero(); sizes.nr_func_info as usize];
    let mut lengths = vec![0_u32; sizes.nr_jited_func_lens as usize];
    // Field by field: the kernel wants zero between and behind the fields as well.
    let mut about = bpf_prog_info::zero();
    about.func_info = functions.as_mut_ptr() as u64;
    about.nr_func_info = sizes.nr_func_info;
    about.func_info_rec_size = size_of::<bpf_func_info>() as u32;
    about.jited_func_lens = lengths.as_mut_ptr() as u64;
    about.nr_jited_func_lens = sizes.nr_jited_func_lens;
    info(fd, &mut about);
    let instruction = size_of::<bpf_insn>() as u32;
    let starts = functions.iter().map(|function| function.insn_off * instruction);
    let ends = starts.clone().skip(1).chain([sizes.xlated_prog_len]);
    let translated = starts.zip(ends).map(|(start, end)| end.saturating_sub(start)).collect();
    Made {
        walked: sizes.verified_insns,
        translated: sizes.xlated_prog_len,
        translated_by_function: Some(translated).filter(|_| about.nr_func_info == sizes.nr_func_info),
        jited: sizes.jited_prog_len,
        jited_by_function: Some(lengths).filter(|lengths| !lengths.is_empty() && about.nr_jited_func_lens > 0),
    }
}
