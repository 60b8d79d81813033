#!/usr/bin/env bash
# Removes everything scripts/testbed-setup.sh made, and nothing else. Can be run twice, and on half a testbed.
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
# shellcheck source=lib/testbed.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/testbed.sh"

[ $# -eq 0 ] || wrong_usage "usage: scripts/testbed-teardown.sh"
become_root "$@"
need ip iproute2

removed=0
left=0

# try_to_remove WHAT COMMAND...: goes on with the rest if one part cannot be removed, and says so at the end.
try_to_remove() {
    local what=$1 why
    shift
    if why=$("$@" 2>&1); then
        removed=$((removed + 1))
    else
        note "could not remove $what: $why"
        left=1
    fi
}

close_firewall_for_bridge
# The cables first: a namespace takes its end with it only when its last process is gone.
for link in veth1 veth3 veth5 veth7 "$bridge"; do
    if link_is_ours "" "$link"; then
        try_to_remove "the interface $link" ip link del "$link"
    fi
done
for namespace in h2 h3 lb; do
    if namespace_is_ours "$namespace"; then
        try_to_remove "the namespace $namespace" ip netns del "$namespace"
    fi
done

[ "$left" -eq 0 ] || exit 1
if [ "$removed" -eq 0 ]; then say "There is no testbed to remove."; else say "The testbed is removed."; fi
