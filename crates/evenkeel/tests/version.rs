//! `evenkeel version`: what a report of a fault should name.
#![allow(clippy::unwrap_used, reason = "a test that fails may do so anywhere")]

use std::process::Command;

fn said(words: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_evenkeel")).args(words).output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn it_tells_version_commit_planes_layout_and_kernel() {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let layout = evenkeel_core::LAYOUT;
    let text = said(&["version"]);
    let first = format!("evenkeel {}", env!("CARGO_PKG_VERSION"));
    assert_eq!(text.lines().next(), Some(first.as_str()));
    for part in ["commit: ", "planes: ", &format!("table layout: {layout}\n"), &format!("kernel: Linux {kernel}")] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let told: serde_json::Value = serde_json::from_str(&said(&["version", "--json"])).unwrap();
    assert_eq!((&told["version"], &told["layout"]), (&env!("CARGO_PKG_VERSION").into(), &layout.into()));
    assert!(told["planes"].is_array() && told["commit"].is_string(), "{told}");
}
