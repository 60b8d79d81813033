#!/usr/bin/env bash
# Builds BPF objects: binaries of crates/ebpf become build/NAME.bpf.o. The crate is not in the workspace, because it is for
# another target (bpfel-unknown-none), which needs `core` built from source and so flags of its own.
#
#   scripts/build-bpf.sh [NAME...]     `evenkeel` is what balances, `bench` what measures; all if nothing is named
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
# shellcheck source=lib/toolchain.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/toolchain.sh"

case ${1-} in
    -h | --help) sed -n '2,/^set /{s/^# \{0,1\}//;/^set /!p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    -*) wrong_usage "usage: scripts/build-bpf.sh [NAME...]" ;;
esac
programs=("$@")

crate=$repo/crates/ebpf
target=bpfel-unknown-none
advice="run scripts/install-prerequisites.sh build."

use_toolchain || die "there is no cargo and rustc $rust_minimum or newer that runs: $advice"
rustc=$(bpf_rustc) || die "there is no rustc with LLVM $llvm_major and its library sources (rustup component add rust-src; Debian: rustc-web and rust-web-src): $advice"
linker=$(bpf_linker) || die "there is no bpf-linker $bpf_linker_version: $advice"
[ -f "$crate/Cargo.toml" ] || die "there is no crate at crates/ebpf."

flags=(
    -Cdebuginfo=2        # line information for the verifier's log
    -Clink-arg=--btf     # types of maps and functions, which the kernel wants
    "-Clinker=$linker"
    -Ctarget-cpu=v3      # 32-bit jumps and arithmetic: fewer instructions; Linux 5.1 and newer
    # x86 and arm64 read packet fields at any address; without this every field is put together byte by byte.
    -Clink-arg=--cpu-features=+allows-misaligned-mem-access
    "--cfg=bpf_target_arch=\"$(uname -m)\""
    # No path of this machine in the object: it shall be the same wherever it is built.
    "--remap-path-prefix=$repo=/evenkeel"
    "--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
    "--remap-path-prefix=$("$rustc" --print sysroot)=/rust"
)

# RUSTC_BOOTSTRAP allows `-Z build-std` on a stable compiler. The lock file of the library comes with its sources.
cd "$crate"
(
    IFS=$'\x1f'
    export CARGO_ENCODED_RUSTFLAGS="${flags[*]}" RUSTC=$rustc RUSTC_BOOTSTRAP=1
    unset RUSTFLAGS
    cargo build --release --locked --target "$target" -Z build-std=core --target-dir "$repo/target/bpf" "${programs[@]/#/--bin=}"
)

mkdir -p "$repo/build"
if [ ${#programs[@]} -eq 0 ]; then
    mapfile -t programs < <(cargo metadata --no-deps --format-version 1 --locked |
        grep -o '"kind":\["bin"\],"crate_types":\["bin"\],"name":"[^"]*"' | cut -d'"' -f12)
fi
for program in "${programs[@]}"; do
    # Copied only when changed, so that cargo does not rebuild what embeds it.
    cmp -s "$repo/target/bpf/$target/release/$program" "$repo/build/$program.bpf.o" ||
        cp "$repo/target/bpf/$target/release/$program" "$repo/build/$program.bpf.o"
done
