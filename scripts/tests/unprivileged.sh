#!/usr/bin/env bash
# The daemon as an ordinary user with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON alone, as packaging/evenkeel.service starts it:
# it balances, answers, is killed and takes over again; without any one of the three it says what is missing.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

work=$(mktemp -d)
background=()
finish() {
    local process
    for process in "${background[@]}"; do kill "$process" 2>/dev/null || :; done
    rm -rf "$work"
}
trap finish EXIT

user=65534
capabilities=(bpf net_admin perfmon)
# Where every user can read it: the repository may be in a private directory.
cp "$scripts/../build/evenkeel" "$work/evenkeel"
chmod 0755 "$work" "$work/evenkeel"
cat >"$work/evenkeel.toml" <<'END'
[nat]
addresses = ["10.0.0.10"]
[[service]]
name = "web"
address = "10.0.0.10"
port = 8080
protocol = "tcp"
backends = [{ address = "10.0.0.2", port = 8080 }, { address = "10.0.0.3", port = 8080 }]
END
# What ExecStartPre and RuntimeDirectory do.
chmod o+x /sys/fs/bpf
install -d -m 0700 -o "$user" -g "$user" /sys/fs/bpf/evenkeel
install -d -m 0755 -o "$user" -g "$user" /run/evenkeel

# with CAPABILITIES: makes `as_user` the words that run a command with these alone, separated by commas, and no way to more.
with() {
    local sets=${1//,/,+}
    as_user=(nsenter --net=/run/netns/lb setpriv --reuid="$user" --regid="$user" --clear-groups --no-new-privs
        --inh-caps="-all,+$sets" --ambient-caps="-all,+$sets" --bounding-set="-all,+$sets")
}

with "$(IFS=,; printf '%s' "${capabilities[*]}")"

start() {
    : >"$work/log"
    "${as_user[@]}" "$work/evenkeel" run --keep --config "$work/evenkeel.toml" --interface veth6 2>"$work/log" &
    balancer=$!
    background+=("$balancer")
    local tries
    for tries in {1..200}; do
        if grep -q ': ready on' "$work/log"; then return; fi
        kill -0 "$balancer" 2>/dev/null || fail "it ended (try $tries): $(cat "$work/log")"
        sleep 0.1
    done
    fail "it is not ready: $(cat "$work/log")"
}

must "setup" "$scripts/testbed-setup.sh" ebpf
for namespace in h2 h3; do
    ip netns exec "$namespace" python3 -m http.server -d "$work" 8080 >/dev/null 2>&1 &
    background+=($!)
done
for namespace in h2 h3; do
    for _ in {1..100}; do
        [ -z "$(ip netns exec "$namespace" ss -Hltn 'sport = :8080')" ] || break
        sleep 0.1
    done
done

start
must "a page through the balancer" curl -sS --fail --max-time 10 -o /dev/null http://10.0.0.10:8080/evenkeel.toml
says '"plane": "xdp"' "${as_user[@]}" "$work/evenkeel" status --json
says "^Uid:.*$user" cat "/proc/$balancer/status"
kill -9 "$balancer"
wait "$balancer" 2>/dev/null || :
must "a page while nobody looks after the program" curl -sS --fail --max-time 10 -o /dev/null http://10.0.0.10:8080/evenkeel.toml
start
must "a page after it was taken over" curl -sS --fail --max-time 10 -o /dev/null http://10.0.0.10:8080/evenkeel.toml
kill "$balancer"
wait "$balancer" || fail "it ended with $?: $(cat "$work/log")"

for missing in "${capabilities[@]}"; do
    with "$(printf '%s\n' "${capabilities[@]}" | grep -vx "$missing" | paste -sd,)"
    if "${as_user[@]}" timeout 20 "$work/evenkeel" run --config "$work/evenkeel.toml" --interface veth6 2>"$work/log"; then
        fail "it started without $missing"
    fi
    grep -qi "CAP_BPF.*CAP_NET_ADMIN.*CAP_PERFMON" "$work/log" || fail "without $missing it says: $(cat "$work/log")"
done
