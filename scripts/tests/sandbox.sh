#!/usr/bin/env bash
# The sandbox: passes on exit codes, input and signals, is separate from its neighbours, and leaves nothing behind.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

sandbox=$scripts/sandbox.sh

must_fail 7 '' "$sandbox" sh -c 'exit 7'
must_fail 137 '' "$sandbox" sh -c 'kill -9 $$'
must_fail 2 'unknown option' "$sandbox" --frobnicate
[ "$(echo hello | "$sandbox" cat)" = hello ] || fail "standard input does not arrive"
[ "$("$sandbox" printenv EVENKEEL_SANDBOX)" = 1 ] || fail "EVENKEEL_SANDBOX is not set"
[ "$("$sandbox" ls /run/netns /sys/class/net | xargs)" = "/run/netns: /sys/class/net: lo" ] || fail "a sandbox does not start empty"
must "lo is up" "$sandbox" ping -q -c 1 -W 1 127.0.0.1
says '^[0-9]+: lo' "$sandbox" sh -c 'ip netns add a && ip netns exec a ip link'

before=$(network_state; mount)

# Two testbeds side by side, same names, each its own.
"$sandbox" sh -c "$scripts/testbed-setup.sh ebpf && sleep 1 && ping -q -c 1 10.0.0.10" >/dev/null &
first=$!
must "a second testbed beside the first" "$sandbox" sh -c "$scripts/testbed-setup.sh ebpf && sleep 1 && ping -q -c 1 10.0.0.10"
wait "$first" || fail "the first testbed does not work beside a second one"

# A marker in the arguments of the processes tells them from everybody else's.
nap=$((RANDOM + 30000)).5
survivors() { pgrep -f "^sleep $nap" || :; }
gone() {
    local tries
    for tries in {1..40}; do [ -n "$(survivors)" ] || return 0; sleep 0.05; done
    fail "$1: after $((tries / 20)) s there is still: $(survivors | xargs)"
}
start() {
    # bash starts background commands deaf to INT
    env --default-signal=INT "$sandbox" sh -c "ip netns add a; ip netns exec a sleep $nap & setsid sleep $nap & exec sleep $nap" &
    started=$!
    local tries
    for tries in {1..100}; do [ "$(survivors | wc -l)" -lt 3 ] || return 0; sleep 0.05; done
    fail "the processes did not start in $((tries / 20)) s"
}

for signal in KILL TERM INT; do
    start
    kill -s "$signal" "$started"
    { wait "$started" || :; } 2>/dev/null
    gone "$signal"
done

[ "$(network_state; mount)" = "$before" ] || fail "something is left: $(diff <(echo "$before") <(network_state; mount))"

# Where it is not allowed, one sentence says so.
must_fail 1 'does not allow private namespaces' setpriv --bounding-set -sys_admin --inh-caps -sys_admin "$sandbox" true
