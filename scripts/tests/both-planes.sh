#!/usr/bin/env bash
# A balancer on DPDK, then one on XDP, on one testbed, as the walk-through has them: the second is reached at once, though
# everybody has known 10.0.0.10 at another Ethernet address.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

build=$scripts/../build
[ -e "$build/libevenkeel_dpdk_daemon.so" ] || fail "there is no DPDK plane in this build: install libdpdk-dev and run make"
work=$(mktemp -d)
balancer=
finish() {
    [ -z "$balancer" ] || kill "$balancer" 2>/dev/null || :
    rm -rf "$work"
}
trap finish EXIT

# until_said TEXT: the balancer has said it.
until_said() {
    local tries
    for tries in {1..200}; do
        if grep -q "$1" "$work/log"; then return; fi
        kill -0 "$balancer" 2>/dev/null || fail "it ended (try $tries): $(cat "$work/log")"
        sleep 0.1
    done
    fail "it never said '$1': $(cat "$work/log")"
}

cpu=$(taskset -cp $$)
cpu=${cpu##* }
must "setup" "$scripts/testbed-setup.sh"
"$build/base-server" -l "${cpu%%[,-]*}" --no-huge -m 256 --no-pci --vdev=net_tap0,iface=tapdpdk 2>"$work/log" &
balancer=$!
until_said ': ready on net_tap0'
must "link-dpdk.sh" "$scripts/link-dpdk.sh"
until_said 'backend 10.0.0.2 is at'
until_said 'backend 10.0.0.3 is at'
for from in '' h2 h3; do
    must "10.0.0.10 answers ${from:-the local machine}" ${from:+ip netns exec "$from"} ping -c 1 -w 10 10.0.0.10
done
kill "$balancer"
wait "$balancer" || fail "it ended with $?"

must "setup with lb" "$scripts/testbed-setup.sh" ebpf
ip netns exec lb "$build/xdp_lb" veth6 2>"$work/log" &
balancer=$!
until_said ': ready on veth6'
for from in '' h2 h3; do
    must "10.0.0.10 answers ${from:-the local machine} at once" ${from:+ip netns exec "$from"} ping -c 1 -w 2 10.0.0.10
done
kill "$balancer"
wait "$balancer" || fail "it ended with $?"
balancer=
