#!/usr/bin/env bash
# The balancer is killed, stopped and started again under connections that never pause: none of them may notice, unless it
# was to forget them. Nothing that a start refuses may cost anything; nothing is left behind where nothing was to be kept.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

evenkeel=$scripts/../build/evenkeel
peers=$scripts/tests/restart.py
pins=/sys/fs/bpf/evenkeel/veth6
work=$(mktemp -d)
background=()
balancer=

finish() {
    local process
    for process in "${background[@]}"; do kill "$process" 2>/dev/null || :; done
    rm -rf "$work"
}
trap finish EXIT

# configuration MAX-FLOWS PORTS BACKENDS...
configuration() {
    printf '[dataplane]\nkind = "xdp"\ninterface = "veth6"\nxdp-mode = "generic"\nmax-flows = %s\n' "$1"
    printf '[nat]\naddresses = ["10.0.0.10"]\nports = "%s"\n' "$2"
    printf '[[service]]\nname = "web"\naddress = "10.0.0.10"\nport = 8080\nprotocol = "tcp"\nbackends = ['
    printf '{ address = "%s", port = 8080 }, ' "${@:3}"
    printf ']\n'
}

# Not `ip netns exec`, which gives every command a /sys, and so a BPF file system, of its own.
in_lb() { nsenter --net=/run/netns/lb "$@"; }

log() { cat "$work/log" 2>/dev/null || :; }

# start OPTIONS...: the balancer, in the background, until it is ready.
start() {
    launch "$@"
    until_ready
}

until_ready() {
    local tries
    for tries in {1..200}; do
        if grep -q ': ready on' "$work/log"; then return; fi
        kill -0 "$balancer" 2>/dev/null || fail "it ended (try $tries): $(log)"
        sleep 0.1
    done
    fail "it is not ready after 20 s: $(log)"
}

launch() { launch_program "$evenkeel" --socket "$work/socket" run --config "$work/evenkeel.toml" "$@"; }

launch_program() {
    : >"$work/log"
    nsenter --net=/run/netns/lb "$@" 2>"$work/log" &
    balancer=$!
    background+=("$balancer")
}

# stop SIGNAL CODE: it ends, with that code.
stop() {
    local code=0
    kill -s "$1" "$balancer"
    { wait "$balancer" || code=$?; } 2>/dev/null
    [ "$code" = "$2" ] || fail "after SIG$1 it ended with $code, not $2: $(log)"
}

# refuses PATTERN OPTIONS...: it does not start, says so, and the program that is there stays.
refuses() {
    local before
    before=$(program)
    must_fail 1 "$1" in_lb "$evenkeel" --socket "$work/socket" run --config "$work/evenkeel.toml" "${@:2}"
    [ "$(program)" = "$before" ] || fail "a start that was refused has changed the program"
    flows_on
}

program() { in_lb ip -d link show veth6 | grep -oE 'prog/xdp id [0-9]+' || echo none; }

maps() {
    local map
    for map in FLOWS BACKENDS SERVICES MAGLEV OURS COUNTERS TRAFFIC; do
        bpftool -j map show pinned "$pins/$map" | grep -o '"id":[0-9]*'
    done
}

counted() { bpftool -j map dump pinned "$pins/COUNTERS" | cksum; }

# talk: twenty connections that never pause.
talk() {
    : >"$work/talk"
    "$peers" talk 10.0.0.10 8080 20 "$work/talk" &
    talker=$!
    background+=("$talker")
    flows_on
}

# The connections go on: two hundred more exchanges, and no complaint.
flows_on() {
    local before now tries
    before=$(grep -c '^[0-9]*$' "$work/talk" || :)
    for tries in {1..200}; do
        if grep -q '^connection' "$work/talk"; then fail "try $tries: $(grep '^connection' "$work/talk")"; fi
        now=$(grep -c '^[0-9]*$' "$work/talk" || :)
        [ "$now" -lt $((before + 2)) ] || return 0
        sleep 0.1
    done
    fail "the connections stand still"
}

must "setup" "$scripts/testbed-setup.sh" ebpf
for server in h2:10.0.0.2 h3:10.0.0.3; do
    ip netns exec "${server%:*}" "$peers" serve "${server%:*}" "${server#*:}" 8080 &
    background+=($!)
done
configuration 4096 1024-65535 10.0.0.2 10.0.0.3 >"$work/evenkeel.toml"
cp "$work/evenkeel.toml" "$work/usual.toml"

echo "- a clean end leaves nothing"
start
says 'STATE' ls "$pins"
says '^drwx------' ls -ld "$pins"
must_fail 1 'already runs on veth6' in_lb "$evenkeel" --socket "$work/second" run --config "$work/evenkeel.toml"
stop TERM 0
[ "$(program)" = none ] || fail "the program is still there"
[ ! -e /sys/fs/bpf/evenkeel ] || fail "left: $(find /sys/fs/bpf/evenkeel)"

echo "- killed and started again"
start
talk
first=$(program) tables=$(maps)
stop KILL 137
flows_on
start
says 'took over .*connections go on' log
[ "$(program)" != "$first" ] || fail "the program is the old one"
[ "$(maps)" = "$tables" ] || fail "the tables are others: $(maps) instead of $tables"
flows_on

stop TERM 0
says 'to-backend' log
! grep 'flow-missing' "$work/log" || fail "packets found no connection"

echo "- stopped with --keep and started again"
[ "$(program)" = none ] || fail "without --keep the program is detached"
kill "$talker" && { wait "$talker" || :; }
start --keep
tables=$(maps)
talk
for round in 1 2 3; do
    first=$(program)
    stop TERM 0
    says 'left at work' log
    [ "$(program)" = "$first" ] || fail "round $round: the program is gone"
    flows_on
    before=$(counted)
    start --keep
    says 'took over' log
    [ "$(program)" != "$first" ] || fail "round $round: the program is the old one"
    [ "$(maps)" = "$tables" ] || fail "round $round: the tables are others"
    [ "$(counted)" != "$before" ] || fail "round $round: the counters stand still"
    flows_on
done

echo "- killed at any moment of a start"
stop KILL 137
for pause in 0.02 0.1 0.2 0.3 0.4 0.5 0.6 0.8 1.0 1.3 1.6; do
    launch --keep
    sleep "$pause"
    kill -KILL "$balancer" 2>/dev/null || :
    { wait "$balancer" || :; } 2>/dev/null
    ! grep 'forgotten' "$work/log" || fail "killed after $pause s"
done
flows_on
start --keep
says 'took over' log
[ "$(maps)" = "$tables" ] || fail "the tables are others"

echo "- killed after attaching, before the pins were where they belong"
stop KILL 137
mv "$pins" "$pins%next"
start --keep
says 'took over' log
[ "$(maps)" = "$tables" ] || fail "the tables are others"
[ ! -e "$pins%next" ] || fail "left: $pins%next"

echo "- the pins are lost with their file system"
stop KILL 137
rm -r "$pins"
start --keep
says 'took over' log
[ "$(maps)" = "$tables" ] || fail "the tables are others"
flows_on

echo "- another configuration: backends may change, what the tables were made for may not"
stop TERM 0
configuration 8192 1024-65535 10.0.0.2 10.0.0.3 >"$work/evenkeel.toml"
refuses 'another value of max-flows \(4096, now 8192\).*--fresh'
configuration 4096 2000-65535 10.0.0.2 10.0.0.3 >"$work/evenkeel.toml"
refuses 'another value of \[nat\].*1024-65535.*2000-65535.*--fresh'
configuration 4096 1024-65535 10.0.0.2 >"$work/evenkeel.toml"
start --keep
says 'took over' log
flows_on
stop KILL 137
cp "$work/usual.toml" "$work/evenkeel.toml"
start --keep
flows_on

echo "- another layout"
stop TERM 0
state=$(bpftool -j map dump pinned "$pins/STATE" | grep -o '"value":\[[^]]*\]' | grep -o '0x[0-9a-f]*' | xargs)
# shellcheck disable=SC2086  # bytes
bpftool map update pinned "$pins/STATE" key 0 0 0 0 value 0x63 ${state#* }
refuses 'tables of layout 99 and this version has layout [0-9]+.*--fresh'
# shellcheck disable=SC2086
bpftool map update pinned "$pins/STATE" key 0 0 0 0 value $state
start --keep
says 'took over' log
flows_on

echo "- not a byte was lost"
kill "$talker"
code=0
wait "$talker" || code=$?
tail -n 1 "$work/talk"
[ "$code" = 0 ] || fail "$(grep '^connection' "$work/talk")"
says 'h2, h3: nothing lost' tail -n 1 "$work/talk"

echo "- --fresh forgets"
# What is left of a killed client's connections is given up soon: the next balancer shall not have to count it.
sysctl -q net.ipv4.tcp_orphan_retries=1
talk
stop TERM 0
! grep 'flow-missing' "$work/log" || fail "packets found no connection"
tables=$(maps)
start --fresh
says 'its connections are forgotten' log
[ "$(maps)" != "$tables" ] || fail "the tables are the old ones"
kill -KILL "$talker"
{ wait "$talker" || :; } 2>/dev/null
talk
kill "$talker"
{ wait "$talker" || :; } 2>/dev/null
stop INT 0
says 'flow-missing' log
[ ! -e /sys/fs/bpf/evenkeel ] || fail "left: $(find /sys/fs/bpf/evenkeel)"

orphans() { ss -Htn state fin-wait-1 dst 10.0.0.10; }
for tries in {1..200}; do
    [ -n "$(orphans)" ] || break
    sleep 0.1
done
[ -z "$(orphans)" ] || fail "after $tries tries there is still $(orphans)"

echo "- in native mode, where \`auto\` stays if a program was left there"
start --keep --xdp-mode native
talk
for mode in native auto native; do
    first=$(program)
    stop KILL 137
    start --keep --xdp-mode "$mode"
    says 'took over' log
    says 'native XDP' log
    [ "$(program)" != "$first" ] || fail "the program is the old one"
    flows_on
done
kill "$talker"
wait "$talker" || fail "$(grep '^connection' "$work/talk")"
stop TERM 0
! grep 'flow-missing' "$work/log" || fail "packets found no connection"
must "detaching" in_lb ip link set dev veth6 xdpdrv off

echo "- stale pins are not taken over: the program was detached, the interface is another one"
start
stop KILL 137
in_lb ip link set dev veth6 xdpgeneric off
start --keep
! grep -q 'took over\|forgotten' "$work/log" || fail "it took over what was detached: $(log)"
stop TERM 0
must "teardown" "$scripts/testbed-teardown.sh"
must "setup" "$scripts/testbed-setup.sh" ebpf
launch
sleep 3
if ! grep -q 'evenkeel: ready' "$work/log"; then
    says "another network namespace" log
    rm -r "$pins"
    start
fi
! grep -q 'took over\|forgotten' "$work/log" || fail "it took over another interface's tables: $(log)"
stop TERM 0
[ ! -e /sys/fs/bpf/evenkeel ] || fail "left: $(find /sys/fs/bpf/evenkeel)"

echo "- the walk-through's program leaves no names, and takes those of what it replaces away"
start --keep
stop TERM 0
ln -s "$evenkeel" "$work/xdp_lb"
launch_program "$work/xdp_lb" veth6
until_ready
says 'its connections are forgotten' log
[ ! -e /sys/fs/bpf/evenkeel ] || fail "left: $(find /sys/fs/bpf/evenkeel)"
stop TERM 0
