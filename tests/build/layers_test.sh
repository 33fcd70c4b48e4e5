#!/bin/bash
# Plants one breach of each kind in a copy of the sources and demands that `make layers` names it; and that it passes without.
set -euo pipefail
cd "$(dirname "$0")/../.."
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -R --parents Makefile tests/build/*.sh store replication repository client tools "$copy" 2>/dev/null || :
cd "$copy"
mkdir -p build && touch build/deps.ok # this test compiles, so they are there
unset MAKEFLAGS MAKELEVEL

layers() {
    make --no-print-directory layers 2>&1
}

# breach FILE TEXT MESSAGE: FILE with TEXT at its end must make layers fail and say MESSAGE.
breach() {
    local file=$1 text=$2 message=$3 out
    cp -p "$file" saved 2>/dev/null || : >"$copy/absent"
    mkdir -p "$(dirname "$file")"
    printf '\n%s\n' "$text" >>"$file"
    if out=$(layers); then
        echo "layers did not see: $message"
        exit 1
    fi
    if ! grep -qF "$message" <<<"$out"; then
        printf 'layers failed without saying: %s\n%s\n' "$message" "$out"
        exit 1
    fi
    if [ -e absent ]; then rm "$file" absent; else mv saved "$file" && touch "$file"; fi
    echo "seen: $message"
}

layers
breach store/core/txn.c '#include <unistd.h>' 'a pure folder may not include <unistd.h>'
breach store/core/txn.h '#include "store/log.h"' 'store/core may not include "store/log.h"'
breach replication/core/wire.h '#include "repository/repository.h"' \
    'replication/core may not include "repository/repository.h"'
breach client/breach.h '#include "store/state.h"' 'client may not include "store/state.h"'
breach repository/core/breach.h '#include <time.h>' 'a pure folder may not include <time.h>'
# stdlib.h is there by way of store/core/banned.h, so only the symbols tell.
breach store/core/txn.c 'void *breach_heap(void); void *breach_heap(void) { return malloc(1); }' \
    'store/core/txn.o: a pure object may not call malloc'
breach store/core/txn.c 'long breach_clock(void); long breach_clock(void) { return time(0); }' \
    'store/core/txn.o: a pure object may not call time'
breach store/log.h 'struct err_alone { struct nowhere x; };' 'store/log.h: does not compile alone'
layers
