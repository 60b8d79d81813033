#!/usr/bin/env bash
# lib/apt.sh: waits while another process holds a lock of apt's, says so once, and does not wait for anything else.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# An apt-get that finds the lists locked twice, then works; asked for `nothing`, it has never heard of it.
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
cat >"$bin/apt-get" <<'END'
#!/bin/bash
case $* in *nothing*) echo "E: Unable to locate package nothing" >&2; exit 100 ;; esac
echo called >>"${0%/*}/calls"
if [ "$(wc -l <"${0%/*}/calls")" -le 2 ]; then
    echo "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 1 (other)" >&2
    exit 100
fi
END
chmod +x "$bin/apt-get"
# shellcheck disable=SC2329  # called by must and its kind
apt() { PATH=$bin:$PATH bash -euc '. "$0/lib/common.sh"; . "$0/lib/apt.sh"; apt_patience=$1; apt_get "${@:2}"' "$scripts" "$@"; }

output=$(apt 20 update 2>&1) || fail "it gave up: $output"
[ "$output" = "Another process is using apt; waiting for it" ] || fail "it says: $output"
[ "$(wc -l <"$bin/calls")" -eq 3 ] || fail "it called apt-get $(wc -l <"$bin/calls") times"
rm "$bin/calls"
must_fail 100 'Could not get lock' apt 0 update
must_fail 100 'Unable to locate package' apt 20 install nothing
