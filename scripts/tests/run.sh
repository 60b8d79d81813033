#!/usr/bin/env bash
# Runs the tests of the scripts, each in a sandbox of its own, and closes with `N passed, N failed`.
#
#   scripts/tests/run.sh [NAME...]     the named ones (testbed, sandbox, ...) or all
#
# They build networks, which needs root or sudo. EVENKEEL_SKIP_PRIVILEGED=1 skips them, and says so.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

if [ "${EVENKEEL_SKIP_PRIVILEGED-}" = 1 ]; then
    echo "skipped: the scripts' tests need root, and EVENKEEL_SKIP_PRIVILEGED=1 is set"
    exit 0
fi

names=("$@")
if [ ${#names[@]} -eq 0 ]; then
    for file in "$here"/*.sh; do
        case ${file##*/} in lib.sh | run.sh) ;; *) names+=("$(basename "$file" .sh)") ;; esac
    done
fi

passed=0 failed=0
for name in "${names[@]}"; do
    if [ ! -x "$here/$name.sh" ]; then
        echo "there is no test '$name'" >&2
        exit 2
    fi
    if output=$(timeout --foreground 300 "$here/../sandbox.sh" "$here/$name.sh" 2>&1); then
        passed=$((passed + 1))
        printf 'ok      %s\n' "$name"
    else
        failed=$((failed + 1))
        printf 'FAILED  %s\n' "$name"
        printf '%s\n' "$output" | sed 's/^/        /'
    fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
