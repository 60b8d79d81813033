//! Embeds the commit that is built, where git can tell it, and the BPF object that `scripts/build-bpf.sh` has built. Does not build it: `cargo check` stays quick, and a
//! program without the object says so when it is asked to use it.

use std::path::Path;
use std::process::Command;
use std::{env, fs, io};

/// What git says in the directory of this crate.
fn git(arguments: &[&str]) -> Option<String> {
    let directory = env::var_os("CARGO_MANIFEST_DIR")?;
    let output = Command::new("git").arg("-C").arg(directory).args(arguments).output().ok()?;
    let said = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !said.is_empty()).then_some(said)
}

/// The commit: of the checkout, or what the builder of an archive says.
fn tell_commit() {
    println!("cargo::rerun-if-env-changed=EVENKEEL_COMMIT");
    // It grows with every commit and every checkout.
    if let Some(log) = git(&["rev-parse", "--path-format=absolute", "--git-path", "logs/HEAD"])
        && Path::new(&log).exists()
    {
        println!("cargo::rerun-if-changed={log}");
    }
    let told = env::var("EVENKEEL_COMMIT").ok();
    let commit = told.or_else(|| git(&["rev-parse", "--short=12", "HEAD"]));
    println!("cargo::rustc-env=EVENKEEL_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
}

fn main() -> io::Result<()> {
    tell_commit();
    // Asked when this runs and not when it is compiled: a target directory may be copied from one checkout to another.
    let object = Path::new(&env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("../../build/evenkeel.bpf.o");
    println!("cargo::rerun-if-changed={}", object.display());
    let out = Path::new(&env::var_os("OUT_DIR").unwrap_or_default()).join("evenkeel.bpf.o");
    match fs::read(&object) {
        Ok(bytes) => fs::write(out, bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::write(out, []),
        Err(error) => Err(error),
    }
}
