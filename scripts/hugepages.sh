#!/usr/bin/env bash
# Gives DPDK its huge pages: reserves them and mounts hugetlbfs. Can be run again; it never takes pages away.
#
#   scripts/hugepages.sh [COUNT]     COUNT pages of the machine's default huge page size (512 if not given)
#
# Huge pages belong to the whole machine, not to a namespace, and stay until the next boot or
# `echo 0 > /proc/sys/vm/nr_hugepages`.
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"

wanted=${1-512}
if [ $# -gt 1 ] || ! [[ $wanted =~ ^[1-9][0-9]*$ ]]; then wrong_usage "usage: scripts/hugepages.sh [COUNT]"; fi
become_root "$@"

pool=/proc/sys/vm/nr_hugepages
[ -e "$pool" ] || die "this kernel has no huge pages (CONFIG_HUGETLBFS): run DPDK with --no-huge."
size=$(awk '$1 == "Hugepagesize:" { print $2 / 1024 }' /proc/meminfo)

had=$(<"$pool")
if [ "$had" -ge "$wanted" ]; then
    say "$had huge pages of $size MB are reserved already."
else
    { echo "$wanted" >"$pool"; } 2>/dev/null || die "cannot write $pool: in a container, reserve huge pages on the host."
    got=$(<"$pool")
    # The kernel gives what it finds in one piece, and says nothing when that is less.
    if [ "$got" -lt "$wanted" ]; then
        echo "$had" >"$pool"
        die "only $got of $wanted huge pages of $size MB are free in one piece: close programs or ask for fewer (scripts/hugepages.sh $got)."
    fi
    say "Reserved $got huge pages of $size MB (there were $had)."
fi

if mounted=$(findmnt -n -t hugetlbfs -o TARGET | head -n 1) && [ -n "$mounted" ]; then
    say "hugetlbfs is mounted at $mounted already."
else
    mkdir -p /dev/hugepages
    mount -t hugetlbfs hugetlbfs /dev/hugepages || die "cannot mount hugetlbfs at /dev/hugepages; DPDK also works without a mount, with --in-memory."
    say "Mounted hugetlbfs at /dev/hugepages."
fi
