# shellcheck shell=bash disable=SC2034  # what is set here is used by the scripts that source it
# What every script here shares: messages and becoming root. To be sourced; the sourcing script sets its own options.

# (The directory above scripts/.)
repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

say() { printf '%s\n' "$*"; }
note() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() { note "$*"; exit 1; }
wrong_usage() { note "$*"; exit 2; }

# Debian keeps ip, ethtool and friends in sbin, which an ordinary user's PATH may lack.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

is_root() { [ "$(id -u)" -eq 0 ]; }

# become_root ARGS...: run this script again through sudo when we are not root. sudo resets PATH and drops variables,
# so what the script needs is handed over by name.
become_root() {
    is_root && return
    command -v sudo >/dev/null || die "this needs root, and there is no sudo: run it as root."
    local name kept=("PATH=$PATH")
    for name in ${!EVENKEEL_*}; do kept+=("$name=${!name}"); done
    exec sudo -- env "${kept[@]}" "$0" "$@"
}

# need COMMAND PACKAGE: stop with a clear word if a program is missing.
need() {
    command -v "$1" >/dev/null || die "the program '$1' is missing: install it first (Debian: apt-get install $2)."
}
