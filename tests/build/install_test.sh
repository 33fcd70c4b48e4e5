#!/bin/bash
# `make install` into an empty directory gives a program that runs, and a library that an application finds through
# pkg-config, shared and static, and that shows nothing but tvn_ symbols.
set -euo pipefail
cd "$(dirname "$0")/../.."
to=$(mktemp -d)
trap 'rm -rf "$to"' EXIT
unset MAKEFLAGS MAKELEVEL
make --no-print-directory install PREFIX="$to" >"$to/log"

export PKG_CONFIG_PATH=$to/lib/pkgconfig LD_LIBRARY_PATH=$to/lib
[ "$("$to/bin/triveni" --version)" = "triveni $(pkg-config --modversion triveni)" ] || { echo "two versions"; exit 1; }
foreign=$(nm -D --defined-only "$to/lib/libtriveni.so" | awk '$2 != "A" { print $3 }' | grep -v '^tvn_' || :)
[ -z "$foreign" ] || { echo "libtriveni.so shows: $foreign"; exit 1; }
foreign=$(nm --defined-only --extern-only "$to/lib/libtriveni.a" | awk 'NF == 3 { print $3 }' | grep -v '^tvn_' || :)
[ -z "$foreign" ] || { echo "libtriveni.a shows: $foreign"; exit 1; }

for source in client/examples/*.c; do
    example=$to/$(basename "$source")
    sed 's|"client/triveni.h"|<triveni.h>|' "$source" >"$example"
    # shellcheck disable=SC2046 # flags
    gcc -Wall -Werror "$example" $(pkg-config --cflags --libs triveni) -o "$to/shared"
    found=$(ldd "$to/shared") # not a pipe into grep -q: that may end ldd before it has written all
    grep -q "libtriveni.so.0 => $to/lib/" <<<"$found" || { echo "the installed library is not found: $found"; exit 1; }
    # shellcheck disable=SC2046
    gcc -Wall -Werror "$example" $(pkg-config --cflags triveni) "$to/lib/libtriveni.a" \
        $(pkg-config --static --libs-only-l triveni | sed 's/-ltriveni//') -o "$to/static"
done
