//! The second oracle: scapy, which shares neither code nor language nor author with us or with etherparse.

use crate::change::Change;
use crate::end::Mac;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// A packet, what had to become of it, and what did.
#[derive(Clone, Debug)]
pub struct Translation {
    /// The packet that went in.
    pub input: Vec<u8>,
    /// What had to be changed.
    pub change: Change,
    /// The packet that came out.
    pub output: Vec<u8>,
}

/// Debian's own, which is the one that python3-scapy is installed for.
const PYTHON: &str = "/usr/bin/python3";

/// Lets scapy rebuild all these packets, and fails unless every byte is the same.
pub fn judge(translations: &[Translation]) {
    let questions = translations.iter().map(|translation| question(&translation.input, Some(&translation.change)));
    for (translation, (answer, _)) in translations.iter().zip(ask(&questions.collect::<Vec<_>>())) {
        let Translation { input, change, output } = translation;
        let (input, sent) = (hex(input), hex(output));
        assert_eq!(sent, answer, "scapy would have sent other bytes (left: sent) for {input}, {change:?}");
    }
}

/// Lets scapy read these packets: fails unless it agrees with every length and checksum, and gives the names of the headers
/// that it has found in each, such as `Ether/IP/TCP/Raw`.
pub fn read(packets: &[Vec<u8>]) -> Vec<String> {
    let questions: Vec<_> = packets.iter().map(|packet| question(packet, None)).collect();
    let read = packets.iter().zip(ask(&questions)).map(|(packet, (answer, headers))| {
        assert_eq!(hex(packet), answer, "scapy would have built other bytes (right) of {headers}");
        headers
    });
    read.collect()
}

/// For each question a packet and the names of its headers.
fn ask(questions: &[String]) -> Vec<(String, String)> {
    if questions.is_empty() {
        return Vec::new();
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/oracle/rebuild.py");
    let mut oracle = Command::new(PYTHON)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run {PYTHON}: {error}: install Debian's python3-scapy."));
    let mut stdin = oracle.stdin.take().expect("a pipe");
    let text = questions.concat();
    // On a thread of its own: the oracle answers before it has read everything.
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let output = oracle.wait_with_output().expect("the oracle ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the scapy oracle failed: {}", said.trim());
    writer.join().expect("the writer does not panic").expect("the oracle reads everything");
    let answers = String::from_utf8(output.stdout).expect("hexadecimal and names");
    assert_eq!(answers.lines().count(), questions.len(), "the oracle answers every question");
    let answer = |line: &str| {
        let (packet, headers) = line.split_once(' ').expect("a packet and the names of its headers");
        (packet.to_owned(), headers.to_owned())
    };
    answers.lines().map(answer).collect()
}

fn question(packet: &[u8], change: Option<&Change>) -> String {
    let mut line = hex(packet);
    if let Some(Change { destination_mac, source_mac, source, destination, ttl }) = change {
        let _ = write!(
            line,
            " {} {} {} {} {} {} {ttl}",
            mac(destination_mac),
            mac(source_mac),
            source.ip(),
            source.port(),
            destination.ip(),
            destination.port()
        );
    }
    line + "\n"
}

fn mac(address: &Mac) -> String {
    address.map(|byte| format!("{byte:02x}")).join(":")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
