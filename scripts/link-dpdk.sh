#!/usr/bin/env bash
# Connects DPDK's TAP device to the testbed's bridge. The device lives as long as the DPDK program that made it: run this
# again each time that is started.
#
#   scripts/link-dpdk.sh [DEVICE]     tapdpdk if not given
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
# shellcheck source=lib/testbed.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/testbed.sh"

[ $# -le 1 ] || wrong_usage "usage: scripts/link-dpdk.sh [DEVICE]"
become_root "$@"
need ip iproute2
device=${1-tapdpdk}

link_exists "" "$bridge" || die "there is no bridge $bridge: run scripts/testbed-setup.sh first."
link_is_ours "" "$bridge" || die "the bridge $bridge is not the testbed's: nothing is connected to it."
link_exists "" "$device" || die "there is no TAP device $device: start the DPDK program first (base-server -l 0 --vdev=net_tap0,iface=$device)."

if ip link show dev "$device" | grep " master $bridge " >/dev/null; then
    already=" already"
fi
ip link set dev "$device" master "$bridge" up
say "$device is connected to $bridge${already-}."
