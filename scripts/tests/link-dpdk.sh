#!/usr/bin/env bash
# link-dpdk.sh connects a TAP device to the bridge, twice if need be, and says what is missing.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

must_fail 1 'no bridge br0.*testbed-setup' "$scripts/link-dpdk.sh"
must "setup" "$scripts/testbed-setup.sh"
must_fail 1 'no TAP device tapdpdk.*base-server' "$scripts/link-dpdk.sh"
if ! ip tuntap add dev tapdpdk mode tap; then
    echo "no TAP devices here: the rest is not tested"
    exit 0
fi
says 'is connected to br0' "$scripts/link-dpdk.sh"
says 'is connected to br0 already' "$scripts/link-dpdk.sh"
says 'master br0' ip link show tapdpdk
must_fail 2 usage "$scripts/link-dpdk.sh" a b

# The setup can be run again beside it, and the teardown leaves it to its owner.
says 'is up' "$scripts/testbed-setup.sh" ebpf
must "teardown" "$scripts/testbed-teardown.sh"
must "the TAP device is still there" ip link show tapdpdk
