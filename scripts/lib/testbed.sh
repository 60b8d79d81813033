# shellcheck shell=bash disable=SC2034  # what is set here is used by the scripts that source it
# The testbed's topology, how its parts are told from other people's, and its one hole in the firewall. Shared by setup
# and teardown; source lib/common.sh first.
#
#   local machine: veth0 ---- veth1 \
#   netns h2:      veth2 ---- veth3  \ bridge
#   netns h3:      veth4 ---- veth5  / br0
#   netns lb:      veth6 ---- veth7 /

bridge=br0
subnet=10.0.0.0/24

# Everything the setup makes carries this mark (as a link's alias, on lo for a namespace, as a firewall rule's comment).
# What does not carry it is not ours: the setup refuses to use it and the teardown does not touch it.
mark=evenkeel-testbed

# ip_in NAMESPACE ARGS...: `ip` in a named namespace, or in the current one if the name is empty.
ip_in() {
    if [ -n "$1" ]; then ip -n "$1" "${@:2}"; else ip "${@:2}"; fi
}

link_exists() { ip_in "$1" link show dev "$2" >/dev/null 2>&1; }
link_is_ours() { ip_in "$1" link show dev "$2" 2>/dev/null | grep "alias $mark\$" >/dev/null; }
namespace_exists() { [ -e "/run/netns/$1" ]; }
namespace_is_ours() { namespace_exists "$1" && link_is_ours "$1" lo; }

# --- bridge netfilter --------------------------------------------------------------------------------------------------
# With net.bridge.bridge-nf-call-iptables=1 (Docker and Kubernetes set it) bridged packets pass through the machine's
# FORWARD chains, and Docker's policy there is DROP. Opening the policy would open the host; one rule that accepts what
# both enters and leaves through our bridge opens nothing else. An accept ends only its own chain, so every forward chain
# of the machine needs the rule: iptables' own (old and new kind) and any made with nft (policy or last rule may drop).

bridge_netfilter_on() {
    [ "$(cat /proc/sys/net/bridge/bridge-nf-call-iptables 2>/dev/null)" = 1 ]
}

nft_works() { nft list tables >/dev/null 2>&1; }

# FAMILY TABLE CHAIN of every nft base chain that IPv4 packets being forwarded pass through. `ip filter FORWARD` is the
# one iptables-nft keeps; the rule we add there is one that iptables understands.
nft_forward_chains() {
    nft_works || return 0
    nft list chains 2>/dev/null | awk '
        $1 == "table" { family = $2; table = $3 }
        $1 == "chain" { chain = $2 }
        /type filter hook forward/ && (family == "ip" || family == "inet") { print family, table, chain }'
}

# The iptables commands that keep rules of their own: the old kernel tables, and the new kind where there is no nft.
# Asked of the kernel first: merely calling iptables creates its tables, and we leave nothing behind.
iptables_commands() {
    if grep -x filter /proc/net/ip_tables_names >/dev/null 2>&1; then
        command -v iptables-legacy || case $(iptables -V 2>/dev/null) in *legacy*) command -v iptables ;; esac
    fi
    if ! nft_works; then command -v iptables-nft; fi
    return 0
}

iptables_rule=(FORWARD -i "$bridge" -o "$bridge" -m comment --comment "$mark" -j ACCEPT)

# Prints one line per chain that it could not open.
open_firewall_for_bridge() {
    local family table chain iptables
    while read -r family table chain; do
        nft list chain "$family" "$table" "$chain" 2>/dev/null | grep "$mark" >/dev/null && continue
        nft insert rule "$family" "$table" "$chain" iifname "$bridge" oifname "$bridge" accept comment "\"$mark\"" 2>/dev/null ||
            echo "$family $table $chain"
    done < <(nft_forward_chains)
    for iptables in $(iptables_commands); do
        "$iptables" -w -C "${iptables_rule[@]}" 2>/dev/null || "$iptables" -w -I "${iptables_rule[@]}" 2>/dev/null ||
            echo "$iptables FORWARD"
    done
}

close_firewall_for_bridge() {
    local family table chain handle iptables
    while read -r family table chain; do
        for handle in $(nft -a list chain "$family" "$table" "$chain" 2>/dev/null | sed -n "s/.*$mark.* # handle \([0-9]*\)\$/\1/p"); do
            nft delete rule "$family" "$table" "$chain" handle "$handle"
        done
    done < <(nft_forward_chains)
    for iptables in $(iptables_commands); do
        while "$iptables" -w -D "${iptables_rule[@]}" 2>/dev/null; do :; done
    done
}
