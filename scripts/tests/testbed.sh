#!/usr/bin/env bash
# The testbed: right addresses, everybody reaches everybody, twice is as good as once, and the teardown leaves nothing.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

before=$(network_state)

must_fail 2 usage "$scripts/testbed-setup.sh" sctp
says 'is up' "$scripts/testbed-setup.sh"
must_ping_all local h2 h3
says 'already there' "$scripts/testbed-setup.sh"
! ip netns list | grep '^lb' >/dev/null || fail "lb is there, though nobody asked for it"

says 'is up.*10\.0\.0\.10 in lb' "$scripts/testbed-setup.sh" ebpf
says 'already there' "$scripts/testbed-setup.sh" ebpf
must_ping_all local h2 h3 lb
for from in local h2 h3 lb; do must "$from reaches lb" in_namespace "$from" ping -q -c 1 -W 2 10.0.0.10; done

# namespace, device, the last byte of its MAC address and its address
for row in local:veth0:01:1 h2:veth2:02:2 h3:veth4:03:3 lb:veth6:10:10; do
    IFS=: read -r where device mac address <<<"$row"
    says "de:ad:be:ef:00:$mac" in_namespace "$where" ip link show "$device"
    says "inet 10\.0\.0\.$address/24" in_namespace "$where" ip -o address show "$device"
    says 'tx-checksumming: off' in_namespace "$where" ethtool -k "$device"
    says 'state UNKNOWN|LOOPBACK,UP' in_namespace "$where" ip link show lo
done
for peer in veth1 veth3 veth5 veth7; do says 'tx-checksumming: off' ethtool -k "$peer"; done
says 'prog/xdp' ip -d link show veth7

# One address, one MAC address: nobody else (the bridge, say) answers for 10.0.0.1.
answers=$(ip netns exec lb arping -c 3 -I veth6 10.0.0.1 | { grep -oiE "([0-9a-f]{2}:){5}[0-9a-f]{2}" || :; } | sort -u) || :
[ "${answers,,}" = de:ad:be:ef:00:01 ] || fail "ARP for 10.0.0.1 is answered by: $answers"

# Half a testbed is completed: a namespace that was deleted by hand, a cable cut.
ip netns del h3
ip link del veth1
says 'is up' "$scripts/testbed-setup.sh" ebpf
must_ping_all local h2 h3 lb

# Things of other people stay.
ip link add other0 type veth peer name other1
ip link set other1 master br0
says 'is removed' "$scripts/testbed-teardown.sh"
says 'no testbed' "$scripts/testbed-teardown.sh"
must "somebody else's interface is still there" ip link show other0
ip link del other0
[ "$(network_state)" = "$before" ] || fail "the teardown left something: $(diff <(echo "$before") <(network_state))"

# Half a testbed is removed.
must "setup" "$scripts/testbed-setup.sh" ebpf
ip netns del lb
ip link del br0
says 'is removed' "$scripts/testbed-teardown.sh"
[ "$(network_state)" = "$before" ] || fail "the teardown left something: $(diff <(echo "$before") <(network_state))"
