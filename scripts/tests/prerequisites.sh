#!/usr/bin/env bash
# install-prerequisites.sh: quick and silent when nothing is missing; names what is missing and installs nothing when told.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

install=$scripts/install-prerequisites.sh
export EVENKEEL_NO_INSTALL=1

must_fail 2 'unknown group' "$install" everything
[ -z "$("$install" build test demo)" ] || fail "it has something to say although nothing is missing"
start=$(date +%s%N)
must "nothing is missing" "$install" build test demo
took=$((($(date +%s%N) - start) / 1000000))
[ "$took" -lt 1000 ] || fail "it took $took ms to find that nothing is missing"

# A PATH with next to nothing on it, and a /usr/sbin, which the scripts add themselves, that is empty.
bare=$(mktemp -d)
trap 'rm -rf "$bare"' EXIT
for program in bash env sed grep sort head id dirname cat dpkg-query; do ln -s "$(command -v "$program")" "$bare/"; done
mount -t tmpfs empty /usr/sbin
mount -t tmpfs empty /usr/local/sbin
must_fail 1 'missing.*gcc.*iperf3' env -i HOME="$bare" PATH="$bare" EVENKEEL_NO_INSTALL=1 "$install" build test
must_fail 1 'missing.*ethtool' env -i HOME="$bare" PATH="$bare" EVENKEEL_NO_INSTALL=1 "$install" demo
must_fail 1 'missing.*shellcheck' env -i HOME="$bare" PATH="$bare" EVENKEEL_NO_INSTALL=1 "$install" lint
# Whatever has been installed there already, for the tests themselves.
mkdir -p "$scripts/../.tools/bin"
mount -t tmpfs empty "$scripts/../.tools/bin"
must_fail 1 'missing.*promtool' env -i HOME="$bare" PATH="$bare" EVENKEEL_NO_INSTALL=1 "$install" test
