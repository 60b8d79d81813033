# shellcheck shell=bash
# Installing with apt. Source lib/common.sh first.

apt_patience=600 # seconds

# apt_get ARGS...: as root, without questions, with apt's words only where it has some to say. Another process that holds a
# lock of apt's (an unattended upgrade, another `make`) is waited for. apt does that by itself for dpkg's lock alone.
apt_get() {
    local code words until=$((SECONDS + apt_patience)) told='' as_root=()
    is_root || as_root=(sudo)
    while :; do
        code=0
        words=$("${as_root[@]}" env LC_ALL=C DEBIAN_FRONTEND=noninteractive \
            apt-get -qq -o "DPkg::Lock::Timeout=$apt_patience" "$@" 2>&1 >/dev/null) || code=$?
        case $words in
            *"Could not get lock"* | *"Unable to lock"* | *"Unable to acquire"*) [ "$SECONDS" -lt "$until" ] || break ;;
            *) break ;;
        esac
        [ -n "$told" ] || say "Another process is using apt; waiting for it"
        told=1
        sleep 1
    done
    [ -z "$words" ] || printf '%s\n' "$words" >&2
    return "$code"
}

# apt_update: new lists of what there is.
apt_update() {
    apt_get update || note "apt-get update failed; going on with the package lists that are there."
}

# apt_install PACKAGE...: with new lists of what there is.
apt_install() {
    is_root || command -v sudo >/dev/null || die "this needs root, and there is no sudo: as root, apt-get install $*."
    say "Installing with apt: $*"
    apt_update
    apt_get install -y --no-install-recommends "$@" || die "apt-get could not install: $*; see its words above."
}
