#!/usr/bin/env bash
# Bridge netfilter with FORWARD DROP, as Docker leaves it: the testbed's ports reach each other, the policy stays, and
# nothing else gets through.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

[ -e /proc/sys/net/bridge/bridge-nf-call-iptables ] || { echo "no bridge netfilter in this kernel: nothing to test"; exit 0; }

# check NAME POLICY-COMMAND: the chains in place, is the testbed alive with them and gone without a trace after?
check() {
    local name=$1 before
    echo "- $name"
    before=$(network_state)
    must "$name: setup" "$scripts/testbed-setup.sh" ebpf
    must_ping_all local h2 h3 lb
    must "$name: setup again" "$scripts/testbed-setup.sh" ebpf
    [ "$(firewall_state | grep -c 'evenkeel-testbed')" -le "$(firewall_state | grep -cE 'hook forward|:FORWARD')" ] || fail "$name: a second run added rules again"
    # Another bridge on this machine is still behind the policy.
    must_fail 1 '100% packet loss' ip netns exec other ping -q -c 1 -W 1 192.168.5.2
    must "$name: teardown" "$scripts/testbed-teardown.sh"
    [ "$(network_state)" = "$before" ] || fail "$name: the teardown left something: $(diff <(echo "$before") <(network_state))"
}

# Two strangers on a bridge of their own.
ip link add br9 type bridge forward_delay 0
ip link set br9 up
for n in 1 2; do
    ip netns add "other${n/1/}"
    ip link add "o$n" type veth peer name eth0 netns "other${n/1/}"
    ip link set "o$n" master br9 up
    ip -n "other${n/1/}" address add "192.168.5.$n/24" dev eth0
    ip -n "other${n/1/}" link set eth0 up
done
must "strangers reach each other while nothing forbids it" ip netns exec other ping -q -c 1 -w 3 192.168.5.2

sysctl -qw net.bridge.bridge-nf-call-iptables=1
sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.default.rp_filter=1

iptables-nft -P FORWARD DROP
# What Docker adds: jumps that say nothing about our bridge.
iptables-nft -N DOCKER-USER
iptables-nft -A DOCKER-USER -j RETURN
iptables-nft -A FORWARD -j DOCKER-USER
iptables-nft -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
check "iptables-nft, policy DROP"
must "iptables still understands its table" iptables-nft -S FORWARD

nft add table inet fw
nft 'add chain inet fw forward { type filter hook forward priority 10; policy drop; }'
check "iptables-nft and an nft chain, both DROP"

nft delete table inet fw
nft delete table ip filter
nft add table inet fw
nft 'add chain inet fw forward { type filter hook forward priority 0; policy accept; }'
nft add rule inet fw forward reject
check "an nft chain that rejects in its last rule"
nft delete table inet fw

if iptables-legacy -P FORWARD DROP 2>/dev/null; then
    check "iptables-legacy, policy DROP"
    iptables-legacy -P FORWARD ACCEPT
fi

# Without nft installed, iptables has to do.
iptables-nft -P FORWARD DROP
echo "- iptables-nft, no nft program"
mount --bind /dev/null "$(readlink -f "$(command -v nft)")" # cannot be run: as good as not installed
must "no nft: setup" "$scripts/testbed-setup.sh"
must_ping_all local h2 h3
must "no nft: teardown" "$scripts/testbed-teardown.sh"
! iptables-nft -S FORWARD | grep evenkeel || fail "no nft: the teardown left its rule"
