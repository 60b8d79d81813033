#!/usr/bin/env bash
# Sees to it that what the project needs is there, and installs what is missing (Debian 12; apt, cargo).
#
#   scripts/install-prerequisites.sh [build] [dpdk] [test] [kernel] [demo] [bench] [lint]     everything if nothing is named
#
# `dpdk` is what the DPDK plane is built with. All else does without, so where it is missing and cannot be installed, that
# is said and no failure, unless the tests want it. `kernel` is what other kernels are tried in, which the tests do where
# they can: there it is never a failure.
#
# Says what it installs before it does. With EVENKEEL_NO_INSTALL=1 it installs nothing, names what is missing, and ends
# with 1 if anything is.
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
# shellcheck source=lib/apt.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/apt.sh"
# shellcheck source=lib/toolchain.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/toolchain.sh"

# What is needed: group, Debian package, and what shows that it is there: a program's name or a file's path. The program
# rather than the package, because it may have come another way.
needs="
build gcc               gcc
build libc6-dev         /usr/include/stdio.h
build make              make
build pkg-config        pkg-config
build ca-certificates   /etc/ssl/certs/ca-certificates.crt
dpdk  libdpdk-dev       /usr/include/dpdk/rte_eal.h
dpdk  libclang-dev      /usr/lib/llvm-14/lib/libclang.so
bench dpdk-dev          dpdk-testpmd
demo  iproute2          ip
demo  ethtool           ethtool
demo  util-linux        unshare
demo  util-linux        setpriv
demo  procps            sysctl
demo  netcat-openbsd    nc.openbsd
demo  iputils-ping      ping
demo  iputils-arping    arping
demo  python3-minimal   python3
test  iptables          iptables
test  nftables          nft
test  bpftool           bpftool
test  iperf3            iperf3
test  tcpdump           tcpdump
test  curl              curl
test  tmux              tmux
test  bsdutils          script
test  bind9-dnsutils    dig
test  python3-scapy     /usr/lib/python3/dist-packages/scapy/__init__.py
test  python3-prometheus-client /usr/lib/python3/dist-packages/prometheus_client/__init__.py
lint  shellcheck        shellcheck
"
# An emulator of this machine's kind, with the programs of this machine.
if [ "$HOSTTYPE" = x86_64 ]; then needs+="kernel qemu-system-x86 qemu-system-x86_64"; fi

groups=()
dpdk_is_optional=1
for argument in "$@"; do
    case $argument in
        build | dpdk | kernel | demo | bench | lint) groups+=("$argument") ;;
        test) groups+=(test demo dpdk kernel) dpdk_is_optional= ;; # the tests run on the testbed, on every plane
        -h | --help) sed -n '2,/^set /{s/^# \{0,1\}//;/^set /!p}' "${BASH_SOURCE[0]}"; exit 0 ;;
        *) wrong_usage "unknown group '$argument': build, dpdk, test, kernel, demo, bench or lint." ;;
    esac
done
[ ${#groups[@]} -gt 0 ] || groups=(build dpdk demo test kernel bench lint)

in_groups() { [[ " ${groups[*]} " == *" $1 "* ]]; }

there() {
    case $1 in
        /*) [ -e "$1" ] ;;
        *) command -v "$1" >/dev/null ;;
    esac
}

# --- what is missing ---------------------------------------------------------------------------------------------------

packages=() # Debian packages to install
optional=() # those that can be done without
declare -A without # the same by group
linker=     # bpf-linker to build?
promtool=   # promtool to unpack? Debian has it in the package of Prometheus itself, whose installation starts a server.

want() {
    [[ " ${packages[*]-} " == *" $1 "* ]] || packages+=("$1")
}

look() {
    local group package evidence
    packages=() optional=() without=() linker='' promtool=''
    if in_groups test && ! there promtool && ! there "$repo/.tools/bin/promtool"; then promtool=1; fi
    while read -r group package evidence; do
        if [ -z "$group" ] || ! in_groups "$group" || there "$evidence"; then continue; fi
        case $group:$dpdk_is_optional in
            dpdk:1) optional+=("$package") without[dpdk]+=" $package" ;;
            kernel:*) optional+=("$package") without[kernel]+=" $package" ;;
            *) want "$package" ;;
        esac
    done <<<"$needs"
    if in_groups build; then
        if ! use_toolchain; then
            # Debian 12's own `cargo` is too old; this is its current one, kept for web browsers. It brings rustc-web.
            want cargo-web
        fi
        if ! bpf_rustc >/dev/null; then
            want rustc-web
            want rust-web-src
        fi
        if ! bpf_linker >/dev/null; then
            linker=1
            there "/usr/lib/llvm-$llvm_major/bin/llvm-config" || want "llvm-$llvm_major-dev"
            there "/usr/lib/llvm-$llvm_major/lib/libPolly.a" || want "libpolly-$llvm_major-dev"
            there g++ || want g++ # LLVM is C++
            for library in zlib1g-dev libzstd-dev libxml2-dev libffi-dev; do
                dpkg-query -W -f '${db:Status-Status}' "$library" 2>/dev/null | grep '^installed' >/dev/null || want "$library"
            done
        fi
    fi
}

# rustfmt and clippy belong to a toolchain; which one it is decides where they come from.
lint_components() {
    if ! use_toolchain; then
        # cargo-web comes, and these belong to it.
        want rustfmt-web
        want rust-web-clippy
        return
    fi
    local component missing=()
    for component in fmt clippy; do
        cargo "$component" --version >/dev/null 2>&1 || missing+=("$component")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$(command -v cargo)" = /usr/bin/cargo ]; then
        for component in "${missing[@]}"; do
            case $component in fmt) want rustfmt-web ;; clippy) want rust-web-clippy ;; esac
        done
    else
        note "cargo ${missing[*]} is missing: rustup component add ${missing[*]/fmt/rustfmt}."
        unmet=1
    fi
}

unmet=
look
! in_groups lint || lint_components

# The name of the release is looked at only when something is missing: where nothing is, any Linux will do.
on_debian_12() { (. /etc/os-release && [ "$ID:$VERSION_ID" = debian:12 ]) 2>/dev/null && command -v apt-get >/dev/null; }

if [ ${#optional[@]} -gt 0 ]; then
    if [ "${EVENKEEL_NO_INSTALL-}" != 1 ] && on_debian_12; then
        packages+=("${optional[@]}")
    else
        [ -z "${without[dpdk]-}" ] || note "missing, so that there will be no DPDK plane:${without[dpdk]} (by Debian's names)."
        [ -z "${without[kernel]-}" ] || note "missing, so that no other kernels will be tried:${without[kernel]} (by Debian's names)."
    fi
fi
[ -n "${packages[*]-}$linker$promtool" ] || exit "${unmet:-0}"

named="${packages[*]-}${linker:+${packages[*]:+, }bpf-linker $bpf_linker_version}"
named+="${promtool:+${named:+, }promtool (of the package prometheus)}"
if [ "${EVENKEEL_NO_INSTALL-}" = 1 ]; then
    die "missing, and EVENKEEL_NO_INSTALL=1 forbids to install: $named."
fi

# --- install -----------------------------------------------------------------------------------------------------------

if [ ${#packages[@]} -gt 0 ]; then
    on_debian_12 || die "this script installs on Debian 12 only; please install first (by Debian's names): $named."
    apt_install "${packages[@]}"
fi

if [ -n "$promtool" ]; then
    on_debian_12 || die "this script installs on Debian 12 only; please install first: $named."
    [ ${#packages[@]} -gt 0 ] || apt_update
    say "Unpacking promtool of Debian's package prometheus into .tools/"
    unpacked=$(mktemp -d)
    trap 'rm -rf "$unpacked"' EXIT
    mkdir -p "$repo/.tools/bin"
    # Root's directory is closed to apt's own user, about which it has words that do not matter.
    (cd "$unpacked" && apt-get -qq download prometheus 2>/dev/null &&
        dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x ./usr/bin/promtool &&
        mv usr/bin/promtool "$repo/.tools/bin/") ||
        die "could not get promtool out of Debian's package prometheus: try \`apt-get download prometheus\`."
fi

if [ -n "$linker" ]; then
    use_toolchain || die "there is still no cargo and rustc $rust_minimum or newer that runs."
    say "Building bpf-linker $bpf_linker_version into .tools/ (about a minute)"
    # From the root directory: a configuration of the project's has no say in how tools are built. Not optimised: its work is
    # LLVM's, and it is compiled in half the time.
    (cd / && LLVM_PREFIX=/usr/lib/llvm-$llvm_major CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_DEBUG=0 \
        cargo install bpf-linker --version "$bpf_linker_version" --locked --force \
        --no-default-features --features "llvm-$llvm_major" --root "$repo/.tools" --quiet) ||
        die "could not build bpf-linker $bpf_linker_version; see cargo's words above."
fi

look
[ -z "${packages[*]-}$linker$promtool" ] ||
    die "still missing after the installation: ${packages[*]-}${linker:+ bpf-linker}${promtool:+ promtool}."
exit "${unmet:-0}"
