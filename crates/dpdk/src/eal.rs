//! DPDK's environment (DPDK Programmer's Guide, "Environment Abstraction Layer").

use crate::captured::captured;
use crate::error::DpdkError;
use crate::signals::NoFreeSignals;
use evenkeel_dpdk_sys as sys;
use std::ffi::{CStr, CString, NulError};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

static STARTED: AtomicBool = AtomicBool::new(false);

/// The environment, started. Everything else of DPDK borrows from it; dropped last, it gives back what EAL holds.
#[derive(Debug)]
pub struct Eal {
    /// Ports, pools and rings are made and closed one at a time: DPDK does not promise more (Programmer's Guide, "Thread
    /// safety of DPDK functions").
    configuration: Mutex<()>,
    names: AtomicU32,
}

impl Eal {
    /// Starts the environment with the arguments of a command line, the program's name not among them. The calling
    /// thread becomes the main lcore and is bound to its CPU. What EAL says is returned, whether it starts or not.
    ///
    /// # Errors
    /// The arguments are wrong, EAL lacks something, or it has been started before.
    pub fn start(program: &str, arguments: &[String]) -> (Result<Self, DpdkError>, String) {
        let mut log = String::new();
        (Self::start_and_log(program, arguments, &mut log), log)
    }

    fn start_and_log(program: &str, arguments: &[String], log: &mut String) -> Result<Self, DpdkError> {
        if STARTED.swap(true, Ordering::AcqRel) {
            return Err(DpdkError::AlreadyStarted);
        }
        let words: Result<Vec<_>, NulError> =
            std::iter::once(program).chain(arguments.iter().map(String::as_str)).map(CString::new).collect();
        let words = words.map_err(|_| DpdkError::Argument("one of them holds a zero byte".to_owned()))?;
        // EAL keeps pointers to its arguments for as long as it lives, which is as long as the process.
        let mut pointers: Vec<_> = words.into_iter().map(CString::into_raw).collect();
        let count = pointers.len();
        // C wants a null pointer at the end (ISO C, 5.1.2.2.1).
        pointers.push(std::ptr::null_mut());
        let pointers = pointers.leak();
        let _taken = NoFreeSignals::take();
        // SAFETY: `count` C strings, followed by null; EAL may put them in another order.
        let started = captured(|| unsafe {
            let parsed = sys::rte_eal_init(count as i32, pointers.as_mut_ptr());
            (parsed, sys::evenkeel_rte_errno())
        });
        let ((parsed, errno), said) = started.map_err(|error| DpdkError::Eal(error.to_string()))?;
        *log = said;
        if parsed < 0 {
            return Err(diagnosis(log, &strerror(errno)));
        }
        let eal = Self { configuration: Mutex::new(()), names: AtomicU32::new(0) };
        // EAL moves what it does not know behind what it has parsed.
        if let Some(&left) = pointers[..count].get(parsed as usize + 1) {
            // SAFETY: one of the strings above.
            let left = unsafe { CStr::from_ptr(left) }.to_string_lossy().into_owned();
            return Err(DpdkError::Argument(format!("\"{left}\" belongs to none of them")));
        }
        Ok(eal)
    }

    /// Held while something is made or closed.
    pub(crate) fn configure(&self) -> MutexGuard<'_, ()> {
        self.configuration.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A name that nothing else has: DPDK keeps pools and rings by name.
    pub(crate) fn name(&self, kind: &str) -> CString {
        let number = self.names.fetch_add(1, Ordering::Relaxed);
        CString::new(format!("evenkeel_{kind}{number}")).unwrap_or_default()
    }

    /// DPDK's release, such as "DPDK 22.11.11".
    pub fn version() -> String {
        // SAFETY: a constant string.
        unsafe { CStr::from_ptr(sys::rte_version()) }.to_string_lossy().into_owned()
    }
}

impl Drop for Eal {
    fn drop(&mut self) {
        // It says that it has closed this and that, which nobody has asked.
        // SAFETY: everything that was made from EAL has been given back: it borrowed from `self`.
        let _ = captured(|| unsafe { sys::rte_eal_cleanup() });
    }
}

/// DPDK's words for the last error of the calling thread.
pub(crate) fn last_error() -> String {
    // SAFETY: reads a variable of the calling thread.
    strerror(unsafe { sys::evenkeel_rte_errno() })
}

/// DPDK's words for an error that a function returned, as it is or negative.
pub(crate) fn strerror(errno: i32) -> String {
    // SAFETY: a number; the string that comes back belongs to the calling thread until its next call.
    unsafe { CStr::from_ptr(sys::rte_strerror(errno.abs())) }.to_string_lossy().into_owned()
}

/// What made EAL give up, from what it wrote and from the error that it left.
fn diagnosis(log: &str, errno: &str) -> DpdkError {
    let line_with = |text: &str| log.lines().find(|line| line.contains(text));
    let after = |text: &str| line_with(text).and_then(|line| line.split_once(text)).map(|(_, rest)| rest.trim());
    if let Some(option) = after("unrecognized option ").or_else(|| after("invalid option -- ")) {
        return DpdkError::Argument(format!("there is no option {}", option.trim_matches('\'')));
    }
    if let Some(option) = after("option requires an argument -- ") {
        return DpdkError::Argument(format!("-{} needs a value", option.trim_matches('\'')));
    }
    if let Some(line) = line_with("requires an argument") {
        let option = line.split('\'').nth(1).unwrap_or_default();
        return DpdkError::Argument(format!("{option} needs a value"));
    }
    if let Some(lcore) = after("EAL: lcore ").and_then(|rest| rest.strip_suffix("unavailable")) {
        return DpdkError::Argument(format!("there is no CPU {} here", lcore.trim()));
    }
    if line_with("primary process running").is_some() {
        return DpdkError::Running;
    }
    if line_with("hugepage information").is_some()
        || line_with("No free hugepages").is_some()
        || line_with("No mounted hugetlbfs").is_some()
    {
        return DpdkError::NoHugePages;
    }
    if let Some(device) = after("failed to parse device ") {
        return DpdkError::NoDriver(device.trim_matches('"').to_owned());
    }
    if log.contains("Usage: ") {
        // It shows its usage, hundreds of lines of it, after the one that says why.
        let reasons = log.split("Usage: ").next().unwrap_or_default();
        return DpdkError::Argument(last_words(reasons).unwrap_or_else(|| errno.to_owned()));
    }
    if log.contains("Permission denied") || log.contains("Operation not permitted") || errno == "Permission denied" {
        return DpdkError::Privileges("EAL".to_owned());
    }
    match last_words(log) {
        Some(words) => DpdkError::Eal(format!("{words} ({errno})")),
        None => DpdkError::Eal(errno.to_owned()),
    }
}

/// The last thing that EAL said before it gave up.
fn last_words(log: &str) -> Option<String> {
    let line = log.lines().rev().map(str::trim).find(|line| line.starts_with("EAL: "))?;
    Some(line.trim_start_matches("EAL: ").trim_start_matches("FATAL: ").trim_end_matches(['.', '!']).to_owned())
}

/// Why there is no port though devices were named, from what EAL wrote while it started.
pub(crate) fn why_no_port(log: &str) -> DpdkError {
    if let Some(line) = log.lines().find(|line| line.contains("TUNSETIFF")) {
        let device = line.split("for ").nth(1).and_then(|rest| rest.split(':').next()).unwrap_or_default().to_owned();
        return match line.rsplit(": ").next() {
            Some("Operation not permitted") => DpdkError::Privileges(format!("the TAP device {device}")),
            // Busy: another program has it. Invalid: it is no TAP device, or one of another kind.
            _ => DpdkError::TapTaken(device),
        };
    }
    if log.contains("/dev/net/tun") {
        return DpdkError::Privileges("a TAP device (/dev/net/tun)".to_owned());
    }
    let failed = log.lines().find_map(|line| line.split("failed to initialize ").nth(1));
    DpdkError::NoPort(failed.map_or_else(String::new, |device| format!(", since it could not start {}", device.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What EAL 22.11 writes, shortened.
    #[test]
    fn what_eal_writes_is_told_in_one_sentence() {
        let no_pages = "EAL: Detected CPU lcores: 2\nEAL: FATAL: Cannot get hugepage information.\nEAL: Cannot get hugepage information.\n";
        assert_eq!(diagnosis(no_pages, "Permission denied"), DpdkError::NoHugePages);
        let unknown = "base-server: unrecognized option '--foo'\nEAL: Detected CPU lcores: 2\n\nUsage: base-server [options]\n\nEAL common options:\n  -l CORELIST\n";
        assert_eq!(diagnosis(unknown, ""), DpdkError::Argument("there is no option --foo".to_owned()));
        let lcore = "EAL: Detected CPU lcores: 2\nEAL: lcore 9 unavailable\nEAL: invalid core list, please check specified cores are part of 0-1\n\nUsage: x\n";
        assert_eq!(diagnosis(lcore, ""), DpdkError::Argument("there is no CPU 9 here".to_owned()));
        let second = "EAL: Cannot create lock on '/var/run/dpdk/rte/config'. Is another primary process running?\nEAL: FATAL: Cannot init config\n";
        assert_eq!(diagnosis(second, "Operation not permitted"), DpdkError::Running);
        let device = "EAL: failed to parse device \"net_nothing0\"\nEAL: Unable to parse device 'net_nothing0'\n";
        assert_eq!(diagnosis(device, "No such device"), DpdkError::NoDriver("net_nothing0".to_owned()));
        let usage = "EAL: invalid parameters for -l\n\nUsage: x [options]\nEAL common options:\n";
        assert_eq!(diagnosis(usage, ""), DpdkError::Argument("invalid parameters for -l".to_owned()));
        assert_eq!(
            diagnosis("EAL: Options X and Y\nEAL: FATAL: Something else.\n", "No such file"),
            DpdkError::Eal("Something else (No such file)".to_owned())
        );
        assert_eq!(diagnosis("", "No such file"), DpdkError::Eal("No such file".to_owned()));
    }

    #[test]
    fn a_device_that_could_not_be_made_is_the_reason_for_no_port() {
        let busy = "tun_alloc(): Unable to set TUNSETIFF for tapdpdk: Device or resource busy\nvdev_probe(): failed to initialize net_tap0 device\n";
        assert_eq!(why_no_port(busy), DpdkError::TapTaken("tapdpdk".to_owned()));
        let other_kind = "tun_alloc(): Unable to set TUNSETIFF for tapdpdk: Invalid argument\n";
        assert_eq!(why_no_port(other_kind), DpdkError::TapTaken("tapdpdk".to_owned()));
        let forbidden = "tun_alloc(): Unable to set TUNSETIFF for tapdpdk: Operation not permitted\n";
        assert_eq!(why_no_port(forbidden), DpdkError::Privileges("the TAP device tapdpdk".to_owned()));
        let other = "vdev_probe(): failed to initialize net_pcap0 device\nEAL: Bus (vdev) probe failed.\n";
        assert_eq!(why_no_port(other), DpdkError::NoPort(", since it could not start net_pcap0 device".to_owned()));
        assert_eq!(why_no_port("EAL: Detected CPU lcores: 2\n"), DpdkError::NoPort(String::new()));
    }
}
