#!/usr/bin/env bash
# The setup refuses what is not its own, naming it, and takes back what it made when a step fails.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

ip link add other0 type veth peer name other1
ip link set other0 up
ip link set other1 up

refused() { # PATTERN
    local before
    before=$(network_state)
    must_fail 1 "$1" "$scripts/testbed-setup.sh" ebpf
    [ "$(network_state)" = "$before" ] || fail "a refused setup changed something: $(diff <(echo "$before") <(network_state))"
}

# Addresses and routes that share addresses with 10.0.0.0/24.
for address in 10.0.0.77/24 10.0.0.77/32 10.1.2.3/8 10.0.0.5/30; do
    ip address add "$address" dev other0
    refused "$address on other0"
    ip address del "$address" dev other0
done
ip address add 10.9.9.1 peer 10.0.0.9 dev other0
refused '10\.0\.0\.9.* on other0'
ip address flush dev other0
ip address add 192.168.7.1/24 dev other0
for route in 10.0.0.0/16 10.0.0.128/25 10.0.0.8; do
    ip route add "$route" via 192.168.7.9
    refused "route for it \($route"
    ip route del "$route"
done
ip route add 10.0.0.0/24 via 192.168.7.9 table 52
refused 'route for it'
ip route flush table 52

# Neighbours of that network, and default routes however they are written, are no reason to refuse.
ip address add 10.0.1.1/24 dev other0
ip route add default via 192.168.7.9
ip route add 0.0.0.0/1 via 192.168.7.9
says 'is up' "$scripts/testbed-setup.sh" ebpf
must_ping_all local h2 h3
must "teardown" "$scripts/testbed-teardown.sh"

# Names that are taken.
ip link add br0 type bridge
refused "interface 'br0'"
ip link del br0
ip netns add h3
refused "namespace 'h3'"
ip netns del h3

# A step that fails half-way: everything is taken back, and the step is named.
failing=$(mktemp -d)
trap 'rm -rf "$failing"' EXIT
printf '#!/bin/sh\ncase "$*" in *veth4*) exit 1 ;; esac\nexec %s "$@"\n' "$(command -v ethtool)" >"$failing/ethtool"
chmod +x "$failing/ethtool"
PATH=$failing:$PATH refused 'failed while connecting veth4 \(h3\)'
