#!/usr/bin/env bash
# Builds the testbed: a bridge with the local machine (10.0.0.1) and two servers, h2 (10.0.0.2) and h3 (10.0.0.3), each a
# network namespace of its own. With `ebpf`, also lb (10.0.0.10), where the XDP balancer runs.
#
#   scripts/testbed-setup.sh [ebpf]
#
# Can be run again: it adds what is missing. scripts/testbed-teardown.sh removes it all. To leave this machine's network
# alone altogether, run it inside scripts/sandbox.sh.
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
# shellcheck source=lib/testbed.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/testbed.sh"
# shellcheck source=lib/xdp-pass.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/xdp-pass.sh"

with_lb=
case $#:${1-} in
    0:) ;;
    1:ebpf) with_lb=1 ;;
    1:-h | 1:--help) sed -n '2,/^set /{s/^# \{0,1\}//;/^set /!p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) wrong_usage "usage: scripts/testbed-setup.sh [ebpf]" ;;
esac

become_root "$@"
need ip iproute2
need ethtool ethtool

# --- undo --------------------------------------------------------------------------------------------------------------
# What this run made, newest first; undone if the run does not reach its end.

undo=()
step="starting"
finished=

undo_unless_finished() {
    [ -z "$finished" ] || return 0
    trap - EXIT
    set +e
    local action
    for action in "${undo[@]}"; do eval "$action" 2>/dev/null; done
    note "failed while $step; what this run had made is removed again."
    exit 1
}
trap undo_unless_finished EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

made() { undo=("$1" "${undo[@]}"); }

# --- refusals: nothing is made before all of them passed -----------------------------------------------------------------

refuse() { finished=1; die "$*"; }

refuse_foreign_parts() {
    local name
    for name in "$bridge" veth0 veth1 veth3 veth5 ${with_lb:+veth7}; do
        if link_exists "" "$name" && ! link_is_ours "" "$name"; then
            refuse "there is an interface '$name' that this script did not make: remove or rename it, or use scripts/sandbox.sh."
        fi
    done
    for name in h2 h3 ${with_lb:+lb}; do
        if namespace_exists "$name" && ! namespace_is_ours "$name"; then
            refuse "there is a network namespace '$name' that this script did not make: remove it (ip netns del $name), or use scripts/sandbox.sh."
        fi
    done
}

# overlaps PREFIX: does it share addresses with 10.0.0.0/24? Prefixes shorter than /8 count as default routes: they are
# how VPNs write "everything", and a /24 beside them takes nothing from anybody.
overlaps() {
    local address=${1%/*} length=32 a b c d bits
    [[ $1 == */* ]] && length=${1#*/}
    [ "$length" -ge 8 ] || return 1
    IFS=. read -r a b c d <<<"$address"
    bits=$((length < 24 ? length : 24))
    (((((a << 24 | b << 16 | ${c:-0} << 8 | ${d:-0}) ^ (10 << 24)) >> (32 - bits)) == 0))
}

refuse_address_clash() {
    local line prefix words
    while read -r line; do
        read -r -a words <<<"$line" # INDEX: DEVICE inet ADDRESS/LENGTH ...
        [ "${words[1]}" != veth0 ] || continue
        # A point-to-point address is written `inet LOCAL peer REMOTE/LENGTH`: look at both.
        for prefix in "${words[3]}" $([ "${words[4]-}" != peer ] || echo "${words[5]}"); do
            ! overlaps "$prefix" || refuse "the testbed needs $subnet, and this machine has $prefix on ${words[1]}: use scripts/sandbox.sh."
        done
    done < <(ip -4 -o address show)
    while read -r line; do
        read -r -a words <<<"$line" # [TYPE] PREFIX ... dev DEVICE ...
        case ${words[0]} in
            default | local | broadcast | multicast | anycast) continue ;; # local ones follow from addresses, seen above
            [0-9]*) prefix=${words[0]} ;;
            *) prefix=${words[1]-default} ;;
        esac
        [[ $prefix == [0-9]* && " $line " != *" dev veth0 "* ]] || continue
        ! overlaps "$prefix" || refuse "the testbed needs $subnet, and this machine has a route for it ($line): use scripts/sandbox.sh."
    done < <(ip -4 route show table all)
}

# --- the parts; each makes itself only if it is not there -----------------------------------------------------------------

make_bridge() {
    link_exists "" "$bridge" || {
        step="making the bridge $bridge"
        made "ip link del $bridge"
        new_bridge=1
        # Not a spanning tree, and no wait before it forwards: it is the only bridge here.
        ip link add name "$bridge" type bridge stp_state 0 forward_delay 0
        ip link set dev "$bridge" alias "$mark"
    }
    # The bridge sees every broadcast and would answer ARP for 10.0.0.1 as well, with its own MAC address, in a race with
    # veth0. Whoever believes it sends to the wrong interface: dropped where rp_filter is strict.
    ip link set dev "$bridge" arp off up
}

make_namespace() {
    namespace_exists "$1" || {
        step="making the network namespace $1"
        made "ip netns del $1"
        ip netns add "$1"
        ip -n "$1" link set dev lo alias "$mark"
    }
    ip -n "$1" link set dev lo up
}

# make_port NAMESPACE DEVICE PEER ADDRESS MAC: a cable from DEVICE, in NAMESPACE (empty: here), to PEER on the bridge.
make_port() {
    local namespace=$1 device=$2 peer=$3 address=$4 mac=$5
    step="connecting $device (${namespace:-local machine}) to $bridge"
    # Half a cable (the namespace was deleted by hand, say) is replaced.
    if link_exists "" "$peer" && ! link_exists "$namespace" "$device"; then ip link del "$peer"; fi
    if ! link_exists "" "$peer"; then
        made "ip link del $peer"
        local here=$namespace
        # Made in its namespace at once: no moment in which it is here under that name.
        ip link add name "$peer" type veth peer name "$device" address "$mac" ${here:+netns "$here"}
        ip link set dev "$peer" alias "$mark"
        ip_in "$namespace" link set dev "$device" alias "$mark"
    fi
    # Without these, a sender leaves the L4 checksum to hardware that is not there: the kernel at the far end does not
    # mind, but whoever rewrites the packet on the way (XDP, DPDK) sees a checksum that is only half a sum.
    ethtool_in "$namespace" "$device" tx off
    ethtool_in "" "$peer" tx off
    ip link set dev "$peer" master "$bridge" up
    ip_in "$namespace" address replace "$address" dev "$device"
    ip_in "$namespace" link set dev "$device" up
}

ethtool_in() {
    local namespace=$1
    shift
    if [ -n "$namespace" ]; then ip netns exec "$namespace" ethtool -K "$@" >/dev/null; else ethtool -K "$@" >/dev/null; fi
}

# A packet that native XDP sends back out of veth6 reaches veth7 outside the usual path. Without polling (NAPI) on veth7
# it is dropped in silence; with polling that only GRO switched on it is queued, but nothing wakes the poller, and it
# waits for the next ordinary packet. Only with a native XDP program on veth7 itself it arrives at once.
attach_pass_program() {
    step="attaching an XDP program to $1"
    ! ip -d link show dev "$1" | grep 'prog/xdp' >/dev/null || return 0
    local object why
    object=$(mktemp)
    xdp_pass_object >"$object"
    why=$(ip link set dev "$1" xdpdrv object "$object" section xdp.frags 2>&1) ||
        note "no XDP program on $1 (${why//$'\n'/ }): use the balancer in generic mode only, native answers would be lost."
    rm -f "$object"
}

# A port starts to forward a moment after its cable is in; a first packet in that moment would be lost.
wait_until_forwarding() {
    step="waiting for the ports of $bridge to forward"
    local tries waiting
    for tries in {1..50}; do
        # Our own ports only: a TAP device that somebody added may be without its program.
        waiting=$(bridge -o link show master "$bridge" | grep -E ' veth[1357]@' | grep -v 'state forwarding' || :)
        [ -n "$waiting" ] || return 0
        sleep 0.1
    done
    note "not forwarding after $((tries / 10)) s: $waiting"
    return 1
}

open_firewall() {
    bridge_netfilter_on || return 0
    step="letting the bridge's own traffic through the firewall"
    [ -z "${new_bridge-}" ] || made close_firewall_for_bridge
    local refused
    refused=$(open_firewall_for_bridge)
    [ -z "$refused" ] || note "could not add a rule for $bridge to: $refused. If pings get no answer, allow $bridge to $bridge there."
}

# Before lb there may have been a balancer on DPDK, with the same address at another Ethernet address.
forget_former_balancer() {
    step="forgetting where 10.0.0.10 was"
    ip neigh flush to 10.0.0.10 dev veth0
    ip -n h2 neigh flush to 10.0.0.10
    ip -n h3 neigh flush to 10.0.0.10
}

already_there() {
    link_is_ours "" "$bridge" && namespace_is_ours h2 && namespace_is_ours h3 && link_is_ours "" veth0 &&
        link_is_ours h2 veth2 && link_is_ours h3 veth4 &&
        { [ -z "$with_lb" ] || { namespace_is_ours lb && link_is_ours lb veth6; }; }
}

refuse_foreign_parts
refuse_address_clash
! already_there || before="was already there"

ip link set dev lo up
make_bridge
make_namespace h2
make_namespace h3
make_port "" veth0 veth1 10.0.0.1/24 de:ad:be:ef:00:01
make_port h2 veth2 veth3 10.0.0.2/24 de:ad:be:ef:00:02
make_port h3 veth4 veth5 10.0.0.3/24 de:ad:be:ef:00:03
if [ -n "$with_lb" ]; then
    make_namespace lb
    make_port lb veth6 veth7 10.0.0.10/24 de:ad:be:ef:00:10
    attach_pass_program veth7
    forget_former_balancer
fi
open_firewall
wait_until_forwarding
finished=1

say "The testbed ${before:-is up}: 10.0.0.1 here, 10.0.0.2 in h2, 10.0.0.3 in h3${with_lb:+, 10.0.0.10 in lb (veth6)}."
say "Try: . scripts/aliases.sh && h2 ping -c 1 10.0.0.1. Remove it with scripts/testbed-teardown.sh."
