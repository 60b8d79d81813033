#!/usr/bin/env bash
# `evenkeel top` as a user sees it, in a terminal of tmux's: traffic shows as rates, keys do what they say, a balancer that
# goes and comes back is waited for, and the terminal is as it was afterwards, however it ended.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

evenkeel=$scripts/../build/evenkeel
peers=$scripts/tests/top.py
work=$(mktemp -d)
background=()
balancer=
# tmux is told what it shall be by nobody but us.
export TERM=xterm-256color LC_ALL=C.UTF-8
terminal() { tmux -S "$work/tmux" -f /dev/null "$@"; }

finish() {
    local process
    terminal kill-server 2>/dev/null || :
    for process in "${background[@]}"; do kill "$process" 2>/dev/null || :; done
    rm -rf "$work"
}
trap finish EXIT

screen() { terminal capture-pane -p -t top; }

# within SECONDS WHAT COMMAND...: the command succeeds in that time at the latest.
within() {
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$deadline" ] || fail "$what: not in time; the screen is"$'\n'"$(screen)"
        sleep 0.1
    done
}

shows() { screen | grep -E -- "$1"; }
shows_not() { ! shows "$1"; }
keys() { terminal send-keys -t top "$@"; }

start_balancer() {
    nsenter --net=/run/netns/lb "$evenkeel" --socket "$work/socket" run --config "$work/evenkeel.toml" 2>>"$work/log" &
    balancer=$!
    background+=("$balancer")
    within 20 "the balancer answers" "$evenkeel" --socket "$work/socket" status
}

stop_balancer() {
    kill "$balancer"
    { wait "$balancer" || :; } 2>/dev/null
}

# What follows at the shell's prompt is the terminal's settings, and how the program ended.
start_top() {
    keys "clear; stty -g >$work/before; $evenkeel --socket $work/socket top; echo ended with \$?; stty -g >$work/after" Enter
    within 10 "the screen is there" shows '^evenkeel .* on xdp, up '
}

# ended CODE: it has ended with that, and left the terminal as it was.
ended() {
    within 10 "it ends" shows "^ended with $1"
    within 5 "the settings are read" test -s "$work/after"
    cmp -s "$work/before" "$work/after" || fail "the terminal's settings are others: $(cat "$work/before" "$work/after")"
    [ "$(terminal display-message -p -t top '#{alternate_on} #{cursor_flag}')" = "0 1" ] ||
        fail "the screen or the cursor was not given back"
    rm "$work/after"
}

must "setup" "$scripts/testbed-setup.sh" ebpf
cat >"$work/evenkeel.toml" <<'END'
[dataplane]
kind = "xdp"
interface = "veth6"
xdp-mode = "generic"
max-flows = 4096
[nat]
addresses = ["10.0.0.10"]
[[service]]
name = "echo"
address = "10.0.0.10"
port = 9000
protocol = "udp"
backends = [{ address = "10.0.0.2", port = 9000 }, { address = "10.0.0.3", port = 9000 }]
[[service]]
name = "empty"
address = "10.0.0.10"
port = 9001
protocol = "udp"
backends = [{ address = "10.0.0.2", port = 9001, drain = true }]
END

for server in h2 h3; do
    ip netns exec "$server" python3 "$peers" serve 9000 &
    background+=($!)
done
python3 "$peers" ask 10.0.0.10 9000 9001 &
background+=($!)
start_balancer

# --- without a terminal ------------------------------------------------------------------------------------------------

must_fail 2 'needs a terminal' "$evenkeel" --socket "$work/socket" top
must_fail 2 'interval' "$evenkeel" --socket "$work/socket" top --interval 0
must_fail 1 'is it running' "$evenkeel" --socket "$work/nobody" top --once
says '10\.0\.0\.2:9000 +up +1 +[0-9]+ +[0-9.]+' "$evenkeel" --socket "$work/socket" top --once
says '^no-backend +drop ' "$evenkeel" --socket "$work/socket" top --once

# --- with one ----------------------------------------------------------------------------------------------------------

must "a terminal" terminal new-session -d -s top -x 80 -y 24 "env PS1='prompt ' bash --norc --noprofile"
start_top
within 10 "traffic shows" shows '^ 10\.0\.0\.[23]:9000 +up +1 +[0-9]+ +[1-9][0-9.]*k? .*[▁▂▃▄▅▆▇█]'
within 10 "drops show" shows '^no-backend +drop +[0-9]+ +[0-9.]+'
within 10 "all of it shows" shows 'connections [1-9][0-9]*  new [0-9.]+/s  packets [0-9.]+k?/s'
shows '^ 10\.0\.0\.2:9001 +draining' >/dev/null || fail "a draining backend does not show: $(screen)"

keys d
within 5 "only drops show" shows_not '^to-backend'
keys w
within 5 "reasons show" shows '^ 10\.0\.0\.2:9001 +draining .* drained by the'
keys w d s
within 5 "the order changes" shows 'sort: packets'
keys '?'
within 5 "help shows" shows '^q, Esc, Ctrl-C +quit'
keys Escape
within 5 "help goes" shows '^SERVICE, BACKEND'
keys p
within 5 "it pauses" shows '^PAUSED'
keys p
within 5 "it goes on" shows_not '^PAUSED'

terminal resize-window -t top -x 39 -y 9
within 5 "it says that this is too small" shows 'too small: 39x9'
terminal resize-window -t top -x 40 -y 10
within 5 "it is shown small" shows '^ 10\.0\.0\.2:9000 +up +[0-9.]+'
terminal resize-window -t top -x 200 -y 50
within 5 "it is shown large" shows 'udp 10\.0\.0\.10:9000 fullnat'
terminal resize-window -t top -x 80 -y 24

stop_balancer
within 10 "it says that nobody answers" shows '^NO ANSWER for [0-9]+ s, trying again'
start_balancer
within 10 "it finds the balancer again" shows_not '^NO ANSWER'
within 10 "rates are there again" shows '^ 10\.0\.0\.[23]:9000 +up +1 +[0-9]+ +[1-9]'
! shows ' -[0-9]' >/dev/null || fail "a rate is negative: $(screen)"

# --- how it ends -------------------------------------------------------------------------------------------------------

of_top() { pgrep -f -- "--socket $work/socket top"; }

keys q
ended 0
start_top
keys C-c
ended 0
start_top
keys Escape
ended 0
for signal in TERM INT HUP; do
    start_top
    kill -s "$signal" "$(of_top)"
    ended 0
done
