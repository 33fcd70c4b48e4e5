#!/bin/sh
# Usage: deps.sh PACKAGE...: installs the Debian packages that are missing, or says the one command that does.
set -eu

if ! command -v dpkg-query >/dev/null; then
    echo "deps: this is not a Debian system; the equivalents of these packages are needed: $*" >&2
    exit 0
fi

missing=
for p in "$@"; do
    case $(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null || :) in
    installed) ;;
    *) missing="$missing $p" ;;
    esac
done
[ -n "$missing" ] || exit 0

as_root=
if [ "$(id -u)" != 0 ]; then
    as_root=sudo
    if ! sudo -n true 2>/dev/null && ! { [ -t 0 ] && command -v sudo >/dev/null; }; then
        echo "deps: packages are missing and this user may not install them; run as root, then again:" >&2
        echo "    apt-get update && apt-get install --no-install-recommends$missing" >&2
        exit 1
    fi
fi

echo "deps: installing$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# The package lists may be absent (a fresh container) or too old: then they are fetched and it is tried again.
# shellcheck disable=SC2086 # the list is meant to be split
install() {
    $as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -q --no-install-recommends $missing >"$log" 2>&1
}
if ! install; then
    if ! $as_root apt-get update -q >"$log" 2>&1 || ! install; then
        tail -n 20 "$log" >&2
        echo "deps: could not install$missing (see above)" >&2
        exit 1
    fi
fi
