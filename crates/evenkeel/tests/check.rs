//! `evenkeel check`, as a user runs it. It needs no privileges.
#![allow(clippy::unwrap_used, reason = "a test that fails may do so anywhere")]

use std::path::PathBuf;
use std::process::{Command, Output};

const RIGHT: &str = r#"
[nat]
addresses = ["192.0.2.10"]

[[service]]
name = "web"
address = "192.0.2.10"
port = 80
protocol = "tcp"
backends = [{ address = "192.0.2.21", port = 8080 }, { address = "192.0.2.22", port = 8080 }]
"#;

fn check(file: &str, text: &str) -> (PathBuf, Output) {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let path = directory.join(format!("check-{}-{file}.toml", std::process::id()));
    std::fs::write(&path, text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_evenkeel")).arg("check").arg(&path).output().unwrap();
    std::fs::remove_file(&path).unwrap();
    (path, output)
}

#[test]
fn a_file_that_is_right_is_said_to_be_and_ends_with_0() {
    let (path, output) = check("right", RIGHT);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        format!("{}: right (services: 1, backends: 2)\n", path.display())
    );
    assert!(output.stderr.is_empty());
}

#[test]
fn every_fault_has_a_line_of_its_own_and_the_end_is_2() {
    let (path, output) = check("wrong", &RIGHT.replace("port = 80\n", "port = 80000\n").replace("\"tcp\"", "\"sctp\""));
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    let said = String::from_utf8(output.stderr).unwrap();
    let path = path.display();
    let beginnings = [format!("evenkeel: {path}:8:8: port: "), format!("evenkeel: {path}:9:12: protocol: ")];
    assert_eq!(said.lines().count(), 2, "{said}");
    assert!(said.lines().zip(&beginnings).all(|(line, beginning)| line.starts_with(beginning)), "{said}");
}

#[test]
fn a_file_that_is_not_there_ends_with_2() {
    let output = Command::new(env!("CARGO_BIN_EXE_evenkeel")).args(["check", "/nowhere.toml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "evenkeel: cannot read /nowhere.toml: No such file or directory (os error 2)\n"
    );
}

#[test]
fn every_example_is_right() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut count = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let output =
            Command::new(env!("CARGO_BIN_EXE_evenkeel")).arg("check").arg(entry.unwrap().path()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        count += 1;
    }
    assert!(count >= 3, "{count} examples");
}
