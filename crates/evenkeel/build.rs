//! Embeds the BPF object that `scripts/build-bpf.sh` has built. Does not build it: `cargo check` stays quick, and a
//! program without the object says so when it is asked to use it.

use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
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
