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
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said.lines().next(), Some(format!("{}: right (services: 1, backends: 2)", path.display()).as_str()));
    assert!(output.stderr.is_empty());
}

#[test]
fn what_a_file_can_carry_and_where_it_is_weak_is_computed() {
    let (_, output) = check("carries", RIGHT);
    let said = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = said.lines().skip(1).collect();
    let expected = [
        "tables: 134217728 bytes for 1048576 connections (4194304 entries), 262148 bytes for the choice of backends",
        "service \"web\": 128512 connections at once (NAT ports), 2141 new ones a second for ever, or up to 128512 where \
         those that have ended give way after a second",
        "weak: one NAT address has 64256 ports towards each backend of service \"web\", and a flood of new connections soon \
         has them all in use: another one in [nat] addresses doubles them.",
    ];
    assert_eq!(lines, expected);
    let address = "addresses = [\"192.0.2.10\", \"192.0.2.11\"]";
    let (_, output) = check("strong", &RIGHT.replace("addresses = [\"192.0.2.10\"]", address));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(!said.contains("weak"), "{said}");
}

/// The loopback's address is every host's own; nothing goes out from it, so nothing but arithmetic is at stake.
#[test]
fn ports_that_the_host_connects_from_are_told() {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    let range = range.split_whitespace().collect::<Vec<_>>().join("-");
    let own = std::net::UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    // A host without a route has no address that could be meant.
    let Ok(own) = own else { return };
    let nat = format!("addresses = [\"{}\"]\nports = \"{range}\"", own.ip());
    for (kind, expected) in [("xdp", true), ("dpdk", false)] {
        let file = RIGHT.replace("addresses = [\"192.0.2.10\"]", &nat);
        let (_, output) = check(kind, &format!("[dataplane]\nkind = \"{kind}\"\n{file}"));
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(said.contains("weak: full NAT sends from"), expected, "{said}");
    }
}

#[test]
fn a_secret_is_read_with_the_file() {
    let (path, output) = check("secret", &format!("[dataplane]\nsecret-file = \"/nowhere/secret\"\n{RIGHT}"));
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with(&format!("evenkeel: {}:2:15: secret-file: /nowhere/secret: ", path.display())), "{said}");
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
