#!/usr/bin/env bash
# Runs a command where it can build networks without touching the host: in private network, mount and process
# namespaces with their own /run (and so /run/netns), /sys, /sys/fs/bpf and /proc. When the command ends, however it
# ends, everything made inside is gone.
#
#   scripts/sandbox.sh COMMAND [ARGS...]     exit code: the command's (128+n if a signal n killed it)
#   scripts/sandbox.sh                       an interactive shell
#
# Any number of sandboxes may run side by side. Inside, EVENKEEL_SANDBOX=1 is set.
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"

usage() { sed -n '2,/^set /{s/^# \{0,1\}//;/^set /!p}' "${BASH_SOURCE[0]}"; }

# Runs "$@" and waits for it, handing on the signals that would otherwise stop at us. The command goes to the background
# because bash looks at its traps only between foreground commands; `env` undoes what bash does to background commands
# (interrupt and quit ignored), and <&0 what it does to their input.
run_and_forward_signals() {
    local child code signal
    for signal in TERM HUP INT QUIT; do
        # shellcheck disable=SC2064  # the signal's name is meant to be put in now
        trap "pass_on $signal" "$signal"
    done
    env --default-signal=INT,QUIT -- "$@" <&0 &
    child=$!
    while :; do
        code=0
        # bash would report the signal that ended the child; the exit code says it already.
        { wait "$child" || code=$?; } 2>/dev/null
        # A trapped signal ends `wait` early; the child is still there then.
        kill -0 "$child" 2>/dev/null || break
    done
    return "$code"
}

# A terminal sends Ctrl-C to everybody in the foreground, the command included; it must not get it twice.
# shellcheck disable=SC2317  # called by the traps
pass_on() {
    case $1 in
        INT | QUIT) [ -t 0 ] && return ;;
    esac
    if [ -n "${outer-}" ]; then
        # Our child is `unshare`, which ignores signals while it waits: aim at the one process below it.
        local inner
        inner=$(cat "/proc/$child/task/$child/children" 2>/dev/null) || inner=
        [ -n "${inner// /}" ] || inner=$child
        # shellcheck disable=SC2086  # one or more process ids
        kill -s "$1" $inner 2>/dev/null || :
    else
        kill -s "$1" "$child" 2>/dev/null || :
    fi
}

# --- inside the new namespaces; we are process 1 there -----------------------------------------------------------------

mount_or_note() {
    mount -t "$1" "evenkeel-$1" "$2" 2>/dev/null || note "cannot mount a private $2 here; going on without it."
}

prepare_inside() {
    mount -t tmpfs -o mode=0755 evenkeel-run /run || die "cannot mount a private /run: this environment does not allow mounts."
    mkdir -p /run/netns /run/lock
    # Temporary files of programs that are killed inside go with /run, too.
    mkdir -m 1777 /run/tmp
    export TMPDIR=/run/tmp
    # Namespaces made inside must show their own devices in /sys, which belongs to the network namespace that mounts it.
    mount_or_note sysfs /sys
    [ ! -d /sys/fs/bpf ] || mount_or_note bpf /sys/fs/bpf
    [ ! -d /sys/fs/cgroup ] || mount -t cgroup2 evenkeel-cgroup /sys/fs/cgroup 2>/dev/null || :
    [ ! -d /sys/kernel/tracing ] || mount -t tracefs evenkeel-tracing /sys/kernel/tracing 2>/dev/null || :
    ip link set lo up
}

if [ "${1-}" = --inside ]; then
    shift
    prepare_inside
    export EVENKEEL_SANDBOX=1
    code=0
    run_and_forward_signals "$@" || code=$?
    exit "$code"
fi

# --- outside -----------------------------------------------------------------------------------------------------------

case ${1-} in
    -h | --help) usage; exit 0 ;;
    -*) wrong_usage "unknown option '$1'; try --help." ;;
    '') set -- "${SHELL:-/bin/bash}" -i ;;
esac

become_root "$@"
need unshare util-linux
need setpriv util-linux
need ip iproute2

# Is it allowed at all? Asked first, so that the answer is one sentence and not the command's exit code.
private=(--net --mount --pid --fork --kill-child)
if ! why=$(unshare "${private[@]}" true 2>&1); then
    die "this environment does not allow private namespaces (${why#unshare: }): in a container, give it CAP_SYS_ADMIN (--privileged)."
fi
if unshare "${private[@]}" --mount-proc true 2>/dev/null; then
    private+=(--mount-proc)
else
    note "cannot mount a private /proc here; going on without it."
fi

# Death comes down the line even by kill -9: setpriv makes unshare die with us, --kill-child the process below it, and
# with that first process of a process namespace the kernel ends all others, and their namespaces.
outer=1
code=0
run_and_forward_signals setpriv --pdeathsig KILL -- unshare "${private[@]}" "$0" --inside "$@" || code=$?
exit "$code"
