#!/usr/bin/env bash
# Tries the balancer on another kernel: boots it in an emulator, builds the testbed there, and runs xdp_lb in generic and
# in native mode, with pings and connections through it. This machine's own kernel and network are not touched.
#
#   scripts/test-kernel.sh [PACKAGE]     PACKAGE: a Debian kernel that apt knows, or a package that depends on one
#                                        (default: linux-image-cloud-amd64, the release's own; 6.1 in Debian 12)
#
# One line for each thing tried, then `N passed, N failed`; exit code 0 if nothing failed, 1 otherwise. The kernel is
# downloaded into .tools/kernel/ and unpacked, never installed. It runs build/evenkeel as it is: run make first.
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"

case $#:${1-} in
    1:-h | 1:--help) sed -n '2,/^set /{s/^# \{0,1\}//;/^set /!p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    0: | 1:[a-z]*) package=${1-linux-image-cloud-amd64} ;;
    *) wrong_usage "usage: scripts/test-kernel.sh [PACKAGE]" ;;
esac

at_most=170 # seconds: an emulator that hangs shall not hang us; without a hang it takes less than a minute
cache=$repo/.tools/kernel
modules=(veth bridge) # and what they depend on
# Programs of this machine that the other kernel runs. bpftool is for the verifier's log, should it refuse the program.
programs=(bash ip bridge ethtool nc.openbsd bpftool)

[ "$(uname -m)" = x86_64 ] || die "this emulates x86-64 with the programs of this machine, which is $(uname -m)."
[ -x "$repo/build/xdp_lb" ] || die "there is no build/xdp_lb: run make first."
need apt-get apt
need bash bash
need ip iproute2
need bridge iproute2
need ethtool ethtool
need nc.openbsd netcat-openbsd
need bpftool bpftool

install_emulator() {
    ! command -v qemu-system-x86_64 >/dev/null || return 0
    [ "${EVENKEEL_NO_INSTALL-}" != 1 ] || die "missing, and EVENKEEL_NO_INSTALL=1 forbids to install: qemu-system-x86."
    local as_root=()
    if ! is_root; then
        command -v sudo >/dev/null || die "this needs an emulator, and there is no sudo: as root, apt-get install qemu-system-x86."
        as_root=(sudo)
    fi
    say "Installing with apt: qemu-system-x86"
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends qemu-system-x86 >/dev/null ||
        die "apt-get could not install qemu-system-x86; see its words above."
}

# --- packages ------------------------------------------------------------------------------------------------------------

# field PACKAGE NAME: of the version that apt would install.
field() { apt-cache show --no-all-versions "$1" 2>/dev/null | sed -n "s/^$2: //p" | head -n 1; }

# Prints the package with the kernel in it, following packages that only depend on the newest.
kernel_package() {
    local package=$1 next
    while :; do
        [ -n "$(field "$package" Version)" ] || die "apt knows no package '$package': apt-cache search '^linux-image' lists kernels."
        next=$(field "$package" Depends | grep -o '^linux-image-[^ ,]*') || break
        package=$next
    done
    say "$package"
}

# fetch PACKAGE: sets fetched to the package's file in the cache.
fetch() {
    local version
    version=$(field "$1" Version)
    [ -n "$version" ] || die "apt knows no package '$1'."
    # The name that `apt-get download` gives.
    fetched=$cache/$1_${version/:/%3a}_amd64.deb
    [ ! -f "$fetched" ] || return 0
    say "Downloading $1 $version into .tools/kernel/"
    # By way of a temporary folder, so that what is in the cache is whole. apt's own user could not write to that.
    (cd "$work" && apt-get -qq -o APT::Sandbox::User=root download "$1=$version") ||
        die "could not download $1 $version: run apt-get update and try again."
    mv "$work/${fetched##*/}" "$fetched"
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
    ln -s evenkeel "$root/evenkeel/build/xdp_lb"
    cp "$repo/build/evenkeel.bpf.o" "$root/evenkeel/build/"
    cp "$repo"/scripts/testbed-setup.sh "$root/evenkeel/scripts/"
    cp "$repo"/scripts/lib/*.sh "$root/evenkeel/scripts/lib/"
    cp "$repo/scripts/kernel/init" "$root/init"
    for name in "${modules[@]}"; do add_module "$name"; done
    (cd "$root" && find . | "$busybox" cpio -o -H newc -R 0:0 2>/dev/null) >"$work/initrd"
}

# --- the run -----------------------------------------------------------------------------------------------------------------

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
root=$work/root
mkdir -p "$cache"
install_emulator

package=$(kernel_package "$package")
fetch busybox-static
unpack "$fetched" "$work/busybox" '*bin/busybox'
busybox=$(find "$work/busybox" -type f -name busybox)
fetch "$package"
unpack "$fetched" "$work/kernel" './boot/vmlinuz-*' '*/modules.builtin' '*/kernel/net/*' '*/veth.ko*'
make_initial_file_system

say "Booting $package $(field "$package" Version)"
# Its report has a serial line of its own, so that no word of the kernel's comes between. It ends by powering off; a panic
# reboots, which ends the emulator as well.
code=0
timeout "$at_most" qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 -m 768 -nic none -display none -monitor none -no-reboot \
    -kernel "$work"/kernel/boot/vmlinuz-* -initrd "$work/initrd" -append "console=ttyS0 loglevel=4 panic=-1" \
    -serial "file:$work/console" -serial stdio </dev/null |
    tr -d '\r' | tee "$work/report" || code=$?

passed=$(grep -c '^kernel-test: ok ' "$work/report" || :)
failed=$(grep -c '^kernel-test: failed ' "$work/report" || :)
if ! grep -x 'kernel-test: end' "$work/report" >/dev/null; then
    failed=$((failed + 1))
    if [ "$code" -eq 124 ]; then why="did not end within $at_most s"; else why="ended early"; fi
    say "kernel-test: failed boot: the kernel $why; its last words:"
    tail -n 60 "$work/console" | tr -d '\r' | sed 's/^/    /'
fi
say "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
