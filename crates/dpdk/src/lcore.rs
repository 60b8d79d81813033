//! Work on lcores (DPDK Programmer's Guide, "Launching processes on lcores").

use crate::eal::Eal;
use evenkeel_dpdk_sys as sys;
use std::any::Any;
use std::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Mutex, PoisonError};

/// A logical core: a thread of EAL's that is bound to a CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lcore(u32);

impl Lcore {
    /// Its number, as in `-l`.
    pub fn id(self) -> u32 {
        self.0
    }
}

impl Lcore {
    /// The CPUs that it may run on.
    pub fn cpus(self) -> Vec<usize> {
        // SAFETY: a number; the set that comes back is plain bits, laid out as the C library has it.
        unsafe {
            let set = sys::rte_lcore_cpuset(self.0);
            let set = &*(&raw const set).cast::<libc::cpu_set_t>();
            (0..libc::CPU_SETSIZE as usize).filter(|&cpu| libc::CPU_ISSET(cpu, set)).collect()
        }
    }
}

/// What an lcore shall do.
pub type Work<'env> = Box<dyn FnOnce() + Send + 'env>;

type Panicked = Mutex<Option<Box<dyn Any + Send>>>;

struct Launched<'env> {
    work: Work<'env>,
    panicked: &'env Panicked,
}

impl Eal {
    /// The lcores that the command line names, the main one first: the thread that has started EAL.
    pub fn lcores(&self) -> Vec<Lcore> {
        // SAFETY: EAL has been started; numbers only.
        unsafe {
            let main = sys::rte_get_main_lcore();
            let mut lcores = vec![Lcore(main)];
            let mut next = sys::rte_get_next_lcore(u32::MAX, 1, 0);
            while next < sys::RTE_MAX_LCORE {
                lcores.push(Lcore(next));
                next = sys::rte_get_next_lcore(next, 1, 0);
            }
            lcores
        }
    }

    /// Does work on the first so many lcores at once, the main one's on the calling thread, and returns when all of it
    /// is done. Work beyond the number of lcores is not done.
    ///
    /// # Panics
    /// Some of the work did.
    pub fn run<'env>(&self, work: Vec<Work<'env>>) {
        let panicked: Panicked = Mutex::new(None);
        let mut pairs = self.lcores().into_iter().zip(work);
        let main = pairs.next();
        let mut launched = Vec::new();
        for (lcore, work) in pairs {
            let argument = Box::into_raw(Box::new(Launched { work, panicked: &panicked }));
            // SAFETY: `start` takes the box back, once; if it is not launched we take it back here. All of it ends before
            // this function does, which is before anything it borrows does.
            unsafe {
                if sys::rte_eal_remote_launch(Some(start), argument.cast(), lcore.0) == 0 {
                    launched.push(lcore);
                } else {
                    drop(Box::from_raw(argument));
                }
            }
        }
        if let Some((_, work)) = main {
            attempt(Launched { work, panicked: &panicked });
        }
        for lcore in launched {
            // SAFETY: a number.
            unsafe { sys::rte_eal_wait_lcore(lcore.0) };
        }
        if let Some(cause) = panicked.into_inner().unwrap_or_else(PoisonError::into_inner) {
            resume_unwind(cause);
        }
    }
}

unsafe extern "C" fn start(argument: *mut c_void) -> c_int {
    // SAFETY: made by `Eal::run`, for this call alone. The lifetime is of things that outlive the call.
    attempt(*unsafe { Box::from_raw(argument.cast::<Launched<'_>>()) });
    0
}

/// Keeps a panic for [`Eal::run`]: it must not cross C.
fn attempt(Launched { work, panicked }: Launched<'_>) {
    if let Err(cause) = catch_unwind(AssertUnwindSafe(work)) {
        *panicked.lock().unwrap_or_else(PoisonError::into_inner) = Some(cause);
    }
}
