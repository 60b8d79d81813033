//! What this process may do.

/// Numbers of linux/capability.h.
const SYS_ADMIN: u32 = 21;
const PERFMON: u32 = 38;

/// Whether the verifier trusts our programs with pointers. To one that it does not trust with them it says what it says to
/// a wrong one: EACCES.
pub(crate) fn may_use_pointers() -> bool {
    // Where it cannot be told, the verifier's own words are the better guess.
    std::fs::read_to_string("/proc/thread-self/status")
        .ok()
        .and_then(|status| effective(&status))
        .is_none_or(|capabilities| [SYS_ADMIN, PERFMON].iter().any(|capability| capabilities >> capability & 1 != 0))
}

fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effective_set_is_found_among_the_others() {
        let status = "Name:\tx\nCapPrm:\t0000000000000001\nCapEff:\t000000c000001000\nCapBnd:\tffffffffffffffff\n";
        assert_eq!(effective(status), Some(0xc0_0000_1000));
        assert_eq!(effective("Name:\tx\n"), None);
    }
}
