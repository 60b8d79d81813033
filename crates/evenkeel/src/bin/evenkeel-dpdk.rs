//! The balancer on DPDK: loads the library that is it, and so can say what is missing where a program that is linked to
//! libdpdk would not even start. `base-server` is a link to this program.

#[path = "../library.rs"]
mod library;

use library::{LIBRARY, library};
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    match start() {
        Ok(code) => ExitCode::from(code),
        Err(sentence) => {
            let called = std::env::args_os().next().unwrap_or_default();
            let name =
                Path::new(&called).file_name().map_or_else(|| "evenkeel-dpdk".into(), |name| name.to_string_lossy());
            // Nobody may be reading.
            let _ = writeln!(std::io::stderr(), "{name}: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<u8, String> {
    let program = std::env::current_exe().map_err(|error| format!("cannot find my own place: {error}."))?;
    let Some(path) = library(&program) else {
        return Err(format!(
            "this build has no DPDK plane ({LIBRARY} is not beside the program): install libdpdk (Debian: libdpdk-dev) and run `make`."
        ));
    };
    // SAFETY: our own library; what it does when it is loaded is what every library of Rust's and DPDK's does.
    let library = unsafe { libloading::Library::new(&path) }.map_err(|error| {
        format!("libdpdk cannot be loaded ({}): install it (Debian: dpdk and libdpdk-dev).", reason(&error))
    })?;
    // SAFETY: the library defines it with this type.
    let code = unsafe {
        match library.get::<extern "C" fn() -> i32>(b"evenkeel_dpdk_main\0") {
            Ok(entry) => entry(),
            Err(_) => return Err(format!("{} is of another version: run `make` again.", path.display())),
        }
    };
    // DPDK's threads may still be at work in it.
    std::mem::forget(library);
    Ok(u8::try_from(code).unwrap_or(1))
}

/// The loader's words, whose error holds them behind a general one.
fn reason(error: &libloading::Error) -> String {
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        words = inner.to_string();
        cause = inner.source();
    }
    words.replace('\n', " ")
}
