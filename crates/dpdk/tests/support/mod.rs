//! The one EAL of a test's process.

use evenkeel_dpdk::Eal;
use std::sync::OnceLock;

/// EAL can be started once in a process, so all tests share it. It needs neither huge pages nor root.
pub(crate) fn eal() -> &'static Eal {
    static EAL: OnceLock<Eal> = OnceLock::new();
    EAL.get_or_init(|| {
        let prefix = format!("--file-prefix=evenkeel-test-{}", std::process::id());
        let arguments = [
            "-l",
            "0",
            "--no-huge",
            "-m",
            "128",
            "--no-pci",
            "--no-shconf",
            "--no-telemetry",
            "--iova-mode=va",
            &prefix,
        ];
        Eal::start("test", &arguments.map(str::to_owned)).0.expect("EAL starts anywhere with these")
    })
}
