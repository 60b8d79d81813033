#!/usr/bin/env bash
# The walk-through, on every plane that exists: two servers behind 10.0.0.10, one client that connects again and again
# until both servers were reached. Every byte must come back right.
#
#   scripts/sandbox.sh scripts/demo.sh     exit code 0 if both servers were reached and every byte came back right, else 1
#
# Meant for a sandbox: it makes itself one if it is not in one.
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"

[ $# -eq 0 ] || wrong_usage "usage: scripts/demo.sh"
scripts=$repo/scripts
[ -n "${EVENKEEL_SANDBOX-}" ] || exec "$scripts/sandbox.sh" "$0"

service=10.0.0.10
port=8080
at_least=20 # connections, even if both servers were reached earlier
at_most=200 # connections, if one server is not reached

work=$(mktemp -d)
background=() # processes to end
# shellcheck disable=SC2317  # called by the trap
clean_up() {
    stop_background
    "$scripts/testbed-teardown.sh" >/dev/null 2>&1 || :
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

stop_background() {
    [ ${#background[@]} -gt 0 ] || return 0
    local process
    for process in "${background[@]}"; do kill "$process" 2>/dev/null || :; done
    # bash would report each process that a signal ended.
    { wait "${background[@]}" || :; } 2>/dev/null
    background=()
}

# Colour for people, not for files.
bold='' green='' red='' plain=''
if [ -t 1 ]; then bold=$'\e[1m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'; fi
title() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
# wait_for SECONDS COMMAND...: until the command succeeds.
wait_for() {
    local tries=$(($1 * 20))
    shift
    until "$@" >/dev/null 2>&1; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || return 1
        sleep 0.05
    done
}

show_topology() {
    cat <<'PICTURE'

        local machine 10.0.0.1
                 | veth0
                 |
   ==========  br0  ==================== bridge
      |           |              |
      | veth2     | veth4        | veth6 (or tapdpdk)
   h2 10.0.0.2   h3 10.0.0.3    lb 10.0.0.10   evenkeel
   a server      a server       the balancer: hashes each connection's
                                addresses and ports, picks h2 or h3
PICTURE
}

ping_everybody() {
    local pair from to
    for pair in local:10.0.0.2 local:10.0.0.3 h2:10.0.0.1 h3:10.0.0.2; do
        from=${pair%:*} to=${pair#*:}
        if [ "$from" = local ]; then
            say "  \$ ping -c 1 $to" >&3
            ping -q -c 1 -W 2 "$to"
        else
            say "  \$ $from ping -c 1 $to" >&3
            ip netns exec "$from" ping -q -c 1 -W 2 "$to"
        fi >"$work/ping" || die "$to does not answer $from: $(tail -n 2 "$work/ping" | head -n 1)"
    done 3>&1
    say "  everybody answers"
}

# --- the servers ---------------------------------------------------------------------------------------------------------

# start_echo_servers tcp|udp: sends every byte back, and keeps one line per connection in $work/NAMESPACE.tcp or .udp.
# Plain nc sends nothing back, so this is a small server of the demo's own; nc has its turn in look_with_nc.
start_echo_servers() {
    local namespace
    for namespace in h2 h3; do
        : >"$work/$namespace.$1"
        ip netns exec "$namespace" python3 -c "$echo_server" "$1" "$port" "$work/$namespace.$1" &
        background+=($!)
    done
    for namespace in h2 h3; do
        wait_for 10 grep -q ready "$work/$namespace.$1" || die "the $1 server in $namespace did not start."
    done
}

echo_server='
import socketserver, sys
protocol, port, log = sys.argv[1], int(sys.argv[2]), open(sys.argv[3], "a", buffering=1)
class Tcp(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(65536):
            self.request.sendall(data)
        log.write("connection from %s:%d\n" % self.client_address)
class Udp(socketserver.BaseRequestHandler):
    def handle(self):
        self.request[1].sendto(self.request[0], self.client_address)
        log.write("datagram from %s:%d\n" % self.client_address)
class TcpServer(socketserver.ThreadingTCPServer):
    allow_reuse_address, daemon_threads, request_queue_size = True, True, 128
server = (TcpServer if protocol == "tcp" else socketserver.UDPServer)(("", port), Tcp if protocol == "tcp" else Udp)
log.write("ready\n")
server.serve_forever()
'

reached() { grep -c ' from ' "$work/$1.$2" || :; }

# shellcheck disable=SC2317  # called by wait_for
all_counted() { [ $(($(reached h2 "$1") + $(reached h3 "$1"))) -ge $((sent - wrong)) ]; }

# --- the client ------------------------------------------------------------------------------------------------------------

# exchange tcp|udp PAYLOAD: sends it to the service, prints what comes back. -N ends the sending side after the payload, so
# that the server ends its own; UDP has no end, so nc leaves once it has waited a second for more.
exchange() {
    case $1 in
        tcp) printf '%s' "$2" | timeout 5 nc -N -w 3 "$service" "$port" ;;
        udp) printf '%s' "$2" | timeout 5 nc -u -W 1 -w 1 "$service" "$port" ;;
    esac
}

# connect_until_both_reached tcp|udp: sets sent and wrong; prints every connection.
connect_until_both_reached() {
    local payload length answer before server
    sent=0 wrong=0
    while [ "$sent" -lt "$at_most" ]; do
        sent=$((sent + 1))
        # Distinct, and of different lengths, so that an answer to another connection would be noticed; over TCP now and
        # then one of many packets.
        length=$((sent % 7 * 50 + 16))
        if [ "$1" = tcp ] && [ $((sent % 10)) -eq 0 ]; then length=100000; fi
        payload="$1 connection $sent: $(head -c "$length" /dev/urandom | base64 -w 0)"
        before=$(reached h2 "$1")
        answer=$(exchange "$1" "$payload") || :
        if [ "$answer" != "$payload" ]; then
            wrong=$((wrong + 1))
            printf '  %3d  %s%s%s\n' "$sent" "$red" "$([ -n "$answer" ] && echo "came back wrong" || echo "no answer")" "$plain"
            # Nothing works: no need to try that two hundred times.
            [ "$wrong" -lt 5 ] || break
            continue
        fi
        wait_for 1 all_counted "$1" || : # the server writes its line just after it has answered
        if [ "$(reached h2 "$1")" -gt "$before" ]; then server=h2; else server=h3; fi
        printf '  %3d  10.0.0.1 -> %s:%s -> %s  %6d bytes there and back\n' "$sent" "$service" "$port" "$server" "${#payload}"
        if [ "$sent" -ge "$at_least" ] && [ "$(reached h2 "$1")" -gt 0 ] && [ "$(reached h3 "$1")" -gt 0 ]; then break; fi
    done
}

# shellcheck disable=SC2317  # called by wait_for
listening() { ip netns exec "$1" ss -Hltn "sport = :$port" | grep . >/dev/null; }

# The walk-through's own commands: nc as a server in each namespace, nc as the client, lines typed and lines seen.
look_with_nc() {
    title "The same with nc alone: what each server prints"
    local namespace n
    for namespace in h2 h3; do
        say "  \$ $namespace nc -l $port"
        ip netns exec "$namespace" nc -k -l "$port" >"$work/$namespace.nc" &
        background+=($!)
        wait_for 5 listening "$namespace" || die "nc in $namespace did not start."
    done
    for n in {1..12}; do
        say "  \$ echo hello $n | nc $service $port"
        echo "hello $n" | timeout 5 nc -N -w 3 "$service" "$port" || :
    done
    sleep 0.2
    for namespace in h2 h3; do say "  $namespace saw: $(paste -s -d ',' "$work/$namespace.nc" | sed 's/,/, /g')"; done
    if [ "$(sort "$work/h2.nc" "$work/h3.nc" | sort -u | wc -l)" -ne 12 ]; then
        note "some of the lines arrived nowhere."
        verdict=1
    fi
    stop_servers
}

# --- a plane -----------------------------------------------------------------------------------------------------------------

# Everything in the background except the balancer, which is the first.
stop_servers() {
    local balancer=${background[0]}
    background=("${background[@]:1}")
    stop_background
    background=("$balancer")
}

verdict=0
summary=()

# try_plane NAME: with the balancer running, TCP, then UDP, then nc as in the walk-through.
try_plane() {
    local plane=$1 protocol h2 h3 word
    for protocol in tcp udp; do
        title "$plane, ${protocol^^}: connections to $service:$port until both servers were reached"
        start_echo_servers "$protocol"
        connect_until_both_reached "$protocol"
        h2=$(reached h2 "$protocol") h3=$(reached h3 "$protocol")
        if [ "$wrong" -eq 0 ] && [ "$h2" -gt 0 ] && [ "$h3" -gt 0 ]; then
            word="${green}good${plain}"
        else
            word="${red}NOT GOOD${plain}"
            verdict=1
        fi
        summary+=("$(printf '%-5s %s: %3d connections, h2 got %3d, h3 got %3d, %d wrong   %s' "$plane" "${protocol^^}" "$sent" "$h2" "$h3" "$wrong" "$word")")
        stop_servers
    done
    look_with_nc
}

# start_balancer SHOWN SAYS COMMAND...: starts it, shows it as SHOWN, waits until it has said SAYS and shows what it said.
start_balancer() {
    local shown=$1 ready=$2 words=$work/balancer
    shift 2
    say "  \$ $shown"
    : >"$words"
    "$@" >"$words" 2>&1 &
    background=($!)
    if ! wait_for 20 grep -q "$ready" "$words"; then
        sed 's/^/    /' "$words" >&2
        die "${shown%% *} did not say that it is ready; its words are above."
    fi
    sed 's/^/    /' "$words"
}

# The balancer in user space, on a TAP device. Without huge pages, which belong to the whole machine.
demo_dpdk() {
    local eal=(-l "$(first_cpu)" --no-huge -m 256 --no-pci "--vdev=net_tap0,iface=tapdpdk")
    if [ ! -e "$repo/build/libevenkeel_dpdk_daemon.so" ]; then
        title "DPDK: not in this build, which was made without libdpdk"
        return
    fi
    title "DPDK: the balancer starts, and its TAP device is connected to the bridge"
    start_balancer "base-server ${eal[*]}" '^base-server: ready' "$repo/build/base-server" "${eal[@]}"
    say "  \$ scripts/link-dpdk.sh"
    "$scripts/link-dpdk.sh" | sed 's/^/    /'
    for backend in 10.0.0.2 10.0.0.3; do
        wait_for 20 grep -q "backend $backend is at" "$work/balancer" || die "the balancer does not find $backend."
    done
    try_plane DPDK
    stop_background
}

# A CPU that we may run on: EAL wants to be told.
first_cpu() {
    local cpus
    cpus=$(taskset -cp $$)
    cpus=${cpus##* }
    printf '%s' "${cpus%%[,-]*}"
}

# The balancer in the kernel: veth6 in lb.
demo_xdp() {
    [ -x "$repo/build/xdp_lb" ] || die "there is no build/xdp_lb: run make first."
    title "XDP: the balancer starts in lb"
    start_balancer "xdp_lb veth6" '^xdp_lb: ready' ip netns exec lb "$repo/build/xdp_lb" veth6
    try_plane XDP
    stop_background
}

title "The testbed"
show_topology
"$scripts/testbed-setup.sh" >/dev/null
title "Does everybody reach everybody?"
ping_everybody
demo_dpdk
# Anew: nobody remembers at which Ethernet address 10.0.0.10 was.
"$scripts/testbed-teardown.sh" >/dev/null
"$scripts/testbed-setup.sh" ebpf >/dev/null
demo_xdp

title "Verdict"
for line in "${summary[@]}"; do say "  $line"; done
if [ "$verdict" -eq 0 ]; then
    say "  ${green}Both servers were reached on every plane, and every byte came back right.${plain}"
else
    say "  ${red}Not good: see above.${plain}"
fi
exit "$verdict"
