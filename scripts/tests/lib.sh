# shellcheck shell=bash disable=SC2034  # what is set here is used by the tests that source it
# For the shell tests: each sources this, then states what must hold. The first thing that does not hold ends the test.
# run.sh gives every test a sandbox of its own; a test run by hand makes itself one.
set -euo pipefail

scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
[ -n "${EVENKEEL_SANDBOX-}" ] || exec "$scripts/sandbox.sh" "$0" "$@"

fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }

# must WHAT COMMAND...: the command succeeds.
must() {
    local what=$1 output
    shift
    output=$("$@" 2>&1) || fail "$what: '$*' ended with $?: $output"
}

# must_fail CODE PATTERN COMMAND...: it fails with that code, and its output matches the pattern.
must_fail() {
    local code=$1 pattern=$2 output actual=0
    shift 2
    output=$("$@" 2>&1) || actual=$?
    [ "$actual" = "$code" ] || fail "'$*' ended with $actual, not $code: $output"
    grep -E "$pattern" <<<"$output" >/dev/null || fail "'$*' does not say '$pattern' but: $output"
}

# says PATTERN COMMAND...: it succeeds, and its output matches.
says() { must_fail 0 "$@"; }

in_namespace() {
    if [ "$1" = local ]; then "${@:2}"; else ip netns exec "$@"; fi
}

# Everybody reaches everybody: must_ping_all NAMESPACE... (local: where we are)
must_ping_all() {
    local from address
    for from in "$@"; do
        for address in 10.0.0.1 10.0.0.2 10.0.0.3; do
            must "$from reaches $address" in_namespace "$from" ping -q -c 1 -W 2 "$address"
        done
    done
}

# What of the machine's network could be left behind, as text to compare.
network_state() {
    ip -o link show | sed 's/^[0-9]*: //'
    ip -o address show scope global
    ip netns list
    firewall_state
}

firewall_state() {
    nft list ruleset 2>/dev/null | sed 's/packets [0-9]* bytes [0-9]*//'
    { iptables-legacy-save 2>/dev/null || :; } | sed '/^#/d; s/\[.*\]//'
}
