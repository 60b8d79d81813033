//! Sends the calls of `syscall(2)` in this program, the loader's among them, through `src/watch.rs`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg=-Wl,--wrap=syscall");
}
