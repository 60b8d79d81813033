//! The machine's CPUs.

use std::io;

/// The CPUs that this process may run on, as the system numbers them: at least one.
pub fn cpus() -> Vec<usize> {
    // SAFETY: a CPU set is plain bits; the calls write and read only what they are given.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(libc::getpid(), size_of::<libc::cpu_set_t>(), &mut set);
        let cpus: Vec<_> = (0..libc::CPU_SETSIZE as usize).filter(|&cpu| libc::CPU_ISSET(cpu, &set)).collect();
        if cpus.is_empty() { vec![0] } else { cpus }
    }
}

/// Keeps the calling thread on one of them: the one with this place in the list, counted round.
pub fn pin(place: usize) {
    let cpus = cpus();
    let cpu = cpus[place % cpus.len()];
    // SAFETY: as above, and `cpu` is below the set's size.
    let failed = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)
    };
    assert_eq!(failed, 0, "cannot stay on CPU {cpu}: {}", io::Error::last_os_error());
}
