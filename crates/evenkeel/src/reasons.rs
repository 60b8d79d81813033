//! The list of verdict reasons, for people.

use evenkeel_core::{Event, Reason};
use std::fmt::Write;

/// One line each.
pub(crate) fn plain() -> String {
    let mut out = String::new();
    for reason in Reason::ALL {
        let _ = writeln!(out, "{:<20} {:<9} {}", reason.name(), reason.verdict().name(), reason.help());
    }
    out
}

/// The page `docs/reasons.md`.
pub(crate) fn markdown() -> String {
    let mut out = String::from(
        "<!-- Made by `evenkeel reasons --markdown` from the list in crates/core/src/verdict.rs; a test compares them. -->\n\n\
         # Verdicts and their reasons\n\n\
         Every packet that the balancer sees gets one of these reasons, and each reason has its counter. A packet that\n\
         is *passed* is not ours: on XDP it goes on to the kernel's network stack as it came; on DPDK there is nobody behind\n\
         us, so ARP is answered and the rest ends here. One that is *transmitted* leaves by the interface it came in by.\n\n\
         | reason | verdict | meaning |\n|---|---|---|\n",
    );
    for reason in Reason::ALL {
        let _ = writeln!(out, "| `{}` | {} | {} |", reason.name(), reason.verdict().name(), reason.help());
    }
    out.push_str("\nCounted beside the verdicts:\n\n| event | meaning |\n|---|---|\n");
    for event in Event::ALL {
        let _ = writeln!(out, "| `{}` | {} |", event.name(), event.help());
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_is_what_the_list_says() {
        let page = include_str!("../../../docs/reasons.md");
        assert_eq!(page, super::markdown(), "write it anew: build/evenkeel reasons --markdown > docs/reasons.md");
    }
}
