# shellcheck shell=sh
# To be sourced (bash, zsh, dash):  . scripts/aliases.sh
#
#   h2 COMMAND..., h3 COMMAND..., lb COMMAND...   run a command in that namespace of the testbed (none: a shell)
#   xdp_lb IFACE                                  start the balancer, in lb if that is where IFACE is
#
# It also puts the repository's build/ on PATH, so that `lb xdp_lb veth6` finds the program.

# Every shell has its own way to say which file it is reading. dash has none: there, source it from the repository or
# from scripts/.
if [ -n "${BASH_VERSION-}" ]; then
    # shellcheck disable=SC3028,SC3054  # bash only
    _evenkeel_here=${BASH_SOURCE[0]}
elif [ -n "${ZSH_VERSION-}" ]; then
    eval '_evenkeel_here=${(%):-%x}'
elif [ -f ./scripts/aliases.sh ]; then
    _evenkeel_here=./scripts/aliases.sh
else
    _evenkeel_here=./aliases.sh
fi
EVENKEEL_BUILD=$(cd "$(dirname "$_evenkeel_here")/.." && pwd)/build
unset _evenkeel_here
case :$PATH: in
    *:"$EVENKEEL_BUILD":*) ;;
    *) PATH=$EVENKEEL_BUILD:$PATH ;;
esac

# sudo has a PATH of its own, so ours is handed over.
_evenkeel_root() {
    if [ "$(id -u)" -eq 0 ]; then
        env "PATH=$PATH:/usr/sbin:/sbin" "$@"
    else
        sudo env "PATH=$PATH:/usr/sbin:/sbin" "$@"
    fi
}

_evenkeel_in() {
    if [ $# -eq 1 ]; then
        set -- "$1" "${SHELL:-/bin/sh}"
    fi
    _evenkeel_root ip netns exec "$@"
}

h2() { _evenkeel_in h2 "$@"; }
h3() { _evenkeel_in h3 "$@"; }
lb() { _evenkeel_in lb "$@"; }

# The walk-through types `xdp_lb veth6` on the local machine, and veth6 is in lb: go there when the interface is not
# here and is there. Everything else (no interface, --help, an interface of this machine) runs right here.
xdp_lb() {
    # The interface may stand behind options, or before them: every word is tried.
    _evenkeel_lb=
    for _evenkeel_word; do
        if ! _evenkeel_root ip link show dev "$_evenkeel_word" >/dev/null 2>&1 &&
            _evenkeel_root ip -n lb link show dev "$_evenkeel_word" >/dev/null 2>&1; then
            _evenkeel_lb=1
        fi
    done
    if [ -n "$_evenkeel_lb" ]; then
        lb "$EVENKEEL_BUILD/xdp_lb" "$@"
    else
        _evenkeel_root "$EVENKEEL_BUILD/xdp_lb" "$@"
    fi
}
