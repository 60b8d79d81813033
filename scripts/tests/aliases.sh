#!/usr/bin/env bash
# aliases.sh, in every shell there is: h2, h3 and lb run a command there, and a plain xdp_lb finds where veth6 is.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

must "setup" "$scripts/testbed-setup.sh" ebpf

# A repository with a program that only says where it runs.
repository=$(mktemp -d)
trap 'rm -rf "$repository"' EXIT
mkdir "$repository/build"
cp -r "$scripts" "$repository/scripts"
# shellcheck disable=SC2016  # for the program to expand
printf '#!/bin/sh\necho "in $(ip netns identify $$) with $*"\n' >"$repository/build/xdp_lb"
chmod +x "$repository/build/xdp_lb"

tried=0
for shell in bash dash zsh; do
    command -v "$shell" >/dev/null || continue
    tried=$((tried + 1))
    for place in "" scripts; do
        cd "$repository/$place"
        source=". ./${place:+}aliases.sh"
        [ -n "$place" ] || source=". ./scripts/aliases.sh"
        says 'inet 10\.0\.0\.2/24' "$shell" -c "$source; h2 ip address"
        says 'inet 10\.0\.0\.3/24' "$shell" -c "$source; h3 ip address"
        says '1 received' "$shell" -c "$source; lb ping -c 1 10.0.0.1"
        says '^in lb with veth6$' "$shell" -c "$source; lb xdp_lb veth6"
        says '^in lb with veth6 --more$' "$shell" -c "$source; xdp_lb veth6 --more"
        says '^in  with veth0$' "$shell" -c "$source; xdp_lb veth0"
        says '^in  with --help$' "$shell" -c "$source; xdp_lb --help"
        must_fail 3 '' "$shell" -c "$source; h2 sh -c 'exit 3'"
    done
done
[ "$tried" -ge 2 ] || fail "only $tried shell was there to try"

# In a shell that is already in lb, it stays there.
cd "$repository"
says '^in lb with veth6$' ip netns exec lb bash -c '. scripts/aliases.sh; xdp_lb veth6'
