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

    /// The same without those that lcores work on, if any are left.
    pub(crate) fn without(&self, busy: impl IntoIterator<Item = usize>) -> Self {
        let mut rest = self.0;
        for cpu in busy.into_iter().filter(|&cpu| cpu < libc::CPU_SETSIZE as usize) {
            // SAFETY: a bit of the set.
            unsafe { libc::CPU_CLR(cpu, &mut rest) };
        }
        // SAFETY: reads the set.
        let any = unsafe { libc::CPU_COUNT(&rest) } > 0;
        Self(if any { rest } else { self.0 })
    }

    /// Lets the calling thread run on these. If that fails it runs where it is, only less well.
    pub(crate) fn restore(&self) {
        // SAFETY: reads the set.
        unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &self.0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(cpus: &[usize]) -> Affinity {
        // SAFETY: a CPU set is plain bits, for which zero is a value.
        let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        for &cpu in cpus {
            // SAFETY: a bit of the set.
            unsafe { libc::CPU_SET(cpu, &mut set) };
        }
        Affinity(set)
    }

    #[test]
    fn lcores_have_their_cpus_to_themselves_unless_they_have_all() {
        let without = |all: &[usize], busy: &[usize], rest: &[usize]| of(all).without(busy.to_vec()).0 == of(rest).0;
        assert!(without(&[0, 1, 2], &[1], &[0, 2]));
        assert!(without(&[0, 1], &[5, usize::MAX], &[0, 1]));
        assert!(without(&[0, 1], &[0, 1], &[0, 1]), "somewhere the control side must be");
    }
}
