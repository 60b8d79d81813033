//! On which CPUs a thread may run. EAL binds the thread that starts it to one CPU, and threads inherit that.

use std::io;

/// The CPUs that a thread may run on.
pub(crate) struct Affinity(libc::cpu_set_t);

impl Affinity {
    /// The calling thread's.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn current() -> io::Result<Self> {
        // SAFETY: a CPU set is plain bits, for which zero is a value; the call writes one.
        unsafe {
            let mut set = std::mem::zeroed();
            match libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) {
                0 => Ok(Self(set)),
                _ => Err(io::Error::last_os_error()),
            }
        }
    }

    /// Lets the calling thread run on these. If that fails it runs where it is, only less well.
    pub(crate) fn restore(&self) {
        // SAFETY: reads the set.
        unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &self.0) };
    }
}
