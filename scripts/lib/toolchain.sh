# shellcheck shell=bash disable=SC2034  # what is set here is used by the scripts that source it
# Which cargo and rustc to use. Source lib/common.sh first: it sets $repo.
# shellcheck disable=SC2154

rust_minimum=1.95
# The LLVM of the rustc that compiles the BPF program and the LLVM of bpf-linker, which reads its output, must be one.
llvm_major=22
bpf_linker_version=0.13.0

# usable_toolchain DIRECTORY: a cargo and a rustc that run and are new enough. A rustup shim whose rustup has no default
# toolchain (another HOME, say) is there but does not run.
usable_toolchain() {
    local version
    "$1/cargo" --version >/dev/null 2>&1 || return 1
    version=$("$1/rustc" --version 2>/dev/null) || return 1
    version=${version#rustc }
    [ "$(printf '%s\n%s\n' "$rust_minimum" "${version%% *}" | sort -V | head -n 1)" = "$rust_minimum" ]
}

# Puts a usable cargo and rustc first on PATH: the user's own, rustup's usual place, or Debian's. Fails if there is none.
use_toolchain() {
    local directory
    for directory in "$(dirname "$(command -v cargo || echo /nowhere/cargo)")" "${CARGO_HOME:-${HOME:-}/.cargo}/bin" /usr/bin; do
        if usable_toolchain "$directory"; then
            PATH=$directory:$PATH
            return
        fi
    done
    return 1
}

# Prints a rustc that can build `core` for BPF: the right LLVM, and the library's sources beside it.
bpf_rustc() {
    local rustc
    for rustc in rustc /usr/bin/rustc; do
        if "$rustc" -vV 2>/dev/null | grep "^LLVM version: $llvm_major\." >/dev/null &&
            [ -d "$("$rustc" --print sysroot)/lib/rustlib/src/rust/library" ]; then
            command -v "$rustc"
            return
        fi
    done
    return 1
}

# Prints a bpf-linker of the right version: the project's own, or one on PATH.
bpf_linker() {
    local linker
    for linker in "$repo/.tools/bin/bpf-linker" bpf-linker; do
        if [ "$("$linker" --version 2>/dev/null)" = "bpf-linker $bpf_linker_version" ]; then
            command -v "$linker"
            return
        fi
    done
    return 1
}
