#!/usr/bin/env bash
# Tries the balancer on other kernels: boots each in an emulator, holds what its verifier makes of the XDP programs against
# crates/tests/verifier-budget.toml, builds the testbed there, and runs xdp_lb in generic and in native mode, with pings and
# connections through it; then from within a VRF, and in front of 20,000 hosts that the kernel has to find by ARP, which needs a
# larger neighbour table than other network namespaces of this machine would like. Its own kernel and network are not touched.
#
#   scripts/test-kernel.sh [--if-possible] [--walked] [PACKAGE...]
#
# PACKAGE: a Debian kernel that apt knows, or a package that depends on one (default: both that Debian 12 has, 6.1 and 6.12).
# --walked: only tells what the verifier walks in each function, which takes minutes.
#
# One line for each thing tried, then `N passed, N failed`; exit code 0 if nothing failed, 1 otherwise. What cannot be tried
# because the emulator or the kernel cannot be had is a failure; with --if-possible it is said, counted as skipped, and no
# failure. A kernel is downloaded into .tools/kernel/ and unpacked, never installed. It runs build/evenkeel as it is: run
# make first.
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
# shellcheck source=lib/apt.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/apt.sh"

if_possible=
task=all
# Seconds: an emulator that hangs shall not hang us; without a hang two side by side take two to four minutes.
at_most=800
memory=768 # MiB
packages=()
for argument in "$@"; do
    case $argument in
        -h | --help) sed -n '2,/^set /{s/^# \{0,1\}//;/^set /!p}' "${BASH_SOURCE[0]}"; exit 0 ;;
        --if-possible) if_possible=1 ;;
        --walked) task=walked at_most=1500 memory=2048 ;;
        [a-z]*) packages+=("$argument") ;;
        *) wrong_usage "usage: scripts/test-kernel.sh [--if-possible] [--walked] [PACKAGE...]" ;;
    esac
done
[ ${#packages[@]} -gt 0 ] || packages=(linux-image-cloud-amd64 linux-image-6.12-cloud-amd64)

cache=$repo/.tools/kernel
modules=(veth bridge vrf) # and what they depend on
# Programs of this machine that the other kernel runs. bpftool is for the verifier's log, should it refuse the program.
programs=(bash ip bridge ethtool nc.openbsd bpftool)

# --- packages ------------------------------------------------------------------------------------------------------------

# field PACKAGE NAME: of the version that apt would install.
field() { apt-cache show --no-all-versions "$1" 2>/dev/null | sed -n "s/^$2: //p" | head -n 1; }

# refresh_lists: once, since those that are there may be old, or none.
refresh_lists() {
    [ -z "$refreshed" ] && [ "${EVENKEEL_NO_INSTALL-}" != 1 ] || return 1
    refreshed=1
    is_root || command -v sudo >/dev/null || return 1
    apt_get update
}
refreshed=

# kernel_package PACKAGE: sets kernel to the package with the kernel in it, following packages that only depend on the
# newest. What apt does not know is a failure.
kernel_package() {
    local next
    kernel=$1
    while :; do
        [ -n "$(field "$kernel" Version)" ] || return 1
        next=$(field "$kernel" Depends | grep -o '^linux-image-[^ ,]*') || break
        kernel=$next
    done
}

# fetch PACKAGE: sets fetched to the package's file in the cache.
fetch() {
    local version
    version=$(field "$1" Version)
    [ -n "$version" ] || return 1
    # The name that `apt-get download` gives.
    fetched=$cache/$1_${version/:/%3a}_amd64.deb
    [ ! -f "$fetched" ] || return 0
    say "Downloading $1 $version into .tools/kernel/"
    # By way of a temporary folder, so that what is in the cache is whole. apt's own user could not write to that.
    (cd "$all" && apt-get -qq -o APT::Sandbox::User=root download "$1=$version") || return 1
    mv "$all/${fetched##*/}" "$fetched"
}

# obtain PACKAGE: sets kernel, and sees to it that everything to boot it is in the cache.
obtain() {
    local try
    for try in first second; do
        if kernel_package "$1" && fetch busybox-static && fetch "$kernel"; then return 0; fi
        [ "$try" = second ] || refresh_lists || break
    done
    return 1
}

# unpack FILE FOLDER PATTERN...: the members that match.
unpack() {
    mkdir -p "$2"
    dpkg-deb --fsys-tarfile "$1" | tar -x -C "$2" --wildcards "${@:3}"
}

# --- the initial file system -----------------------------------------------------------------------------------------------

# copy_program FILE FOLDER: with the libraries it is linked with, which stay in their places.
copy_program() {
    local library
    cp -L "$1" "$root$2/"
    for library in $(ldd "$1" | grep -o '/[^ ]*'); do
        mkdir -p "$root${library%/*}"
        cp -L "$library" "$root$library"
    done
}

# add_module NAME: after those that it depends on, which it names itself; no index is in the package.
add_module() {
    local file needed
    file=$(find "$work/kernel" -name "$1.ko*" | head -n 1)
    if [ -z "$file" ]; then
        find "$work/kernel" -name modules.builtin -exec grep -q "/$1\.ko\$" {} + ||
            die "the kernel of $package has no module '$1', and the testbed needs it."
        return 0
    fi
    [ ! -f "$root/modules/$1.ko" ] || return 0
    # Decompressed here: not every kernel does it itself.
    case $file in
        *.xz) "$busybox" xzcat "$file" ;;
        *.gz) "$busybox" zcat "$file" ;;
        *.ko) cat "$file" ;;
        *) die "cannot decompress the kernel module ${file##*/}." ;;
    esac >"$root/modules/$1.ko"
    for needed in $(tr '\0' '\n' <"$root/modules/$1.ko" | sed -n 's/^depends=//p' | tr ',' ' '); do add_module "$needed"; done
    say "$1" >>"$root/modules/order"
}

make_initial_file_system() {
    local name
    mkdir -p "$root"/{dev,proc,sys,run,tmp,root,modules,applets,usr/{bin,sbin,lib,lib64},evenkeel/{build,scripts/lib}}
    for name in bin sbin lib lib64; do ln -s "usr/$name" "$root/$name"; done
    cp "$busybox" "$root/usr/bin/busybox"
    ln -s busybox "$root/usr/bin/env"
    for name in "${programs[@]}"; do copy_program "$(command -v "$name")" /usr/bin; done
    copy_program "$repo/build/evenkeel" /evenkeel/build
    copy_program "$verifier" /evenkeel/build
    cp "$repo/crates/tests/verifier-budget.toml" "$root/evenkeel/"
    ln -s evenkeel "$root/evenkeel/build/xdp_lb"
    cp "$repo/build/evenkeel.bpf.o" "$root/evenkeel/build/"
    cp "$repo"/scripts/testbed-setup.sh "$root/evenkeel/scripts/"
    cp "$repo"/scripts/lib/*.sh "$root/evenkeel/scripts/lib/"
    cp "$repo/scripts/kernel/init" "$root/init"
    for name in "${modules[@]}"; do add_module "$name"; done
    (cd "$root" && find . | "$busybox" cpio -o -H newc -R 0:0 2>/dev/null) >"$work/initrd"
}

# --- a run -------------------------------------------------------------------------------------------------------------------

# boot PACKAGE FOLDER: a kernel that was obtained. Reports to standard output, and fails if anything did.
boot() {
    local package=$1 work=$2 root=$2/root busybox code=0 why
    fetch busybox-static
    unpack "$fetched" "$work/busybox" '*bin/busybox'
    busybox=$(find "$work/busybox" -type f -name busybox)
    fetch "$package"
    unpack "$fetched" "$work/kernel" './boot/vmlinuz-*' '*/modules.builtin' '*/kernel/net/*' '*/veth.ko*' '*/vrf.ko*'
    make_initial_file_system
    # Its report has a serial line of its own, so that no word of the kernel's comes between. It ends by powering off; a
    # panic reboots, which ends the emulator as well.
    timeout "$at_most" qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 -m "$memory" -nic none -display none -monitor none -no-reboot -pidfile "$work/emulator" \
        -kernel "$work"/kernel/boot/vmlinuz-* -initrd "$work/initrd" -append "console=ttyS0 loglevel=4 panic=-1 evenkeel.task=$task" \
        -serial "file:$work/console" -serial stdio </dev/null |
        tr -d '\r' | tee "$work/report" || code=$?
    if ! grep -x 'kernel-test: end' "$work/report" >/dev/null; then
        if [ "$code" -eq 124 ]; then why="did not end within $at_most s"; else why="ended early"; fi
        say "kernel-test: failed boot: the kernel $why; its last words:"
        tail -n 60 "$work/console" | tr -d '\r' | sed 's/^/    /'
    fi
}

# --- all of them -------------------------------------------------------------------------------------------------------------

# cannot WHAT WHY: something cannot be tried.
cannot() {
    if [ -n "$if_possible" ]; then
        skipped=$((skipped + 1))
        say "kernel-test: skipped $1: $2"
    else
        failed=$((failed + 1))
        say "kernel-test: failed $1: $2"
    fi
}
passed=0 failed=0 skipped=0

# end: with the sum.
end() {
    local skips=
    [ "$skipped" -eq 0 ] || skips=", $skipped skipped"
    say "$passed passed, $failed failed$skips"
    [ "$failed" -eq 0 ]
    exit
}

[ -x "$repo/build/xdp_lb" ] || die "there is no build/xdp_lb: run make first."
verifier=$repo/target/release/verifier
[ -x "$verifier" ] || die "there is no target/release/verifier: run make verifier first."
if [ "$HOSTTYPE" != x86_64 ]; then
    cannot emulator "this emulates x86-64 with the programs of this machine, which is $HOSTTYPE."
    end
fi
if ! command -v apt-get >/dev/null; then
    cannot kernel "Debian's kernels come by apt, and there is no apt-get."
    end
fi
if ! command -v qemu-system-x86_64 >/dev/null; then
    if [ "${EVENKEEL_NO_INSTALL-}" = 1 ]; then
        cannot emulator "qemu-system-x86 is missing, and EVENKEEL_NO_INSTALL=1 forbids to install it."
        end
    fi
    apt_install qemu-system-x86
fi
need bash bash
need ip iproute2
need bridge iproute2
need ethtool ethtool
need nc.openbsd netcat-openbsd
need bpftool bpftool

all=$(mktemp -d)
# shellcheck disable=SC2317  # called by the trap
clean_up() {
    local emulator
    for emulator in "$all"/*/emulator; do
        [ ! -f "$emulator" ] || kill "$(cat "$emulator")" 2>/dev/null || :
    done
    wait
    rm -rf "$all"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
cache=$repo/.tools/kernel
mkdir -p "$cache"

# Side by side: each has most of its time for waiting.
running=()
for package in "${packages[@]}"; do
    if ! obtain "$package"; then
        cannot "$package" "apt has no such kernel, or cannot download it: apt-cache search '^linux-image' lists kernels."
        continue
    fi
    say "Booting $kernel $(field "$kernel" Version)"
    mkdir "$all/$kernel"
    boot "$kernel" "$all/$kernel" >"$all/$kernel/words" 2>&1 &
    running+=("$kernel:$!")
done
for run in "${running[@]}"; do
    kernel=${run%:*} words=$all/${run%:*}/words
    code=0
    wait "${run#*:}" || code=$?
    say "$kernel:"
    cat "$words"
    passed=$((passed + $(grep -c '^kernel-test: ok ' "$words" || :)))
    failed=$((failed + $(grep -c '^kernel-test: failed ' "$words" || :)))
    if [ "$code" -ne 0 ]; then
        failed=$((failed + 1))
        say "kernel-test: failed boot: it could not be prepared; see above."
    fi
done
end
