#!/bin/bash
# Plants one breach of each kind in a copy of the sources and demands that `make layers` names it; and that it passes without.
# limit: 300 s
set -euo pipefail
cd "$(dirname "$0")/../.."
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
# With their times, and with the objects where there are any, so that make has little to do.
cp -a --parents Makefile tests/build/*.sh store replication repository client tools build/gcc-release/*/core "$copy" 2>/dev/null || :
cd "$copy"
mkdir -p build && touch build/deps.ok # this test compiles, so they are there
unset MAKEFLAGS MAKELEVEL

layers() {
    make --no-print-directory layers 2>&1
}

# Nothing but the includes: no object need be made anew.
includes() {
    tests/build/layers.sh build/gcc-release includes 2>&1
}

# breach HOW FILE TEXT MESSAGE: FILE with TEXT at its end must make HOW fail and say MESSAGE.
breach() {
    local how=$1 file=$2 text=$3 message=$4 out
    cp -p "$file" saved 2>/dev/null || : >absent
    printf '\n%s\n' "$text" >>"$file"
    if out=$($how); then
        echo "$how did not see: $message"
        exit 1
    fi
    if ! grep -qF "$message" <<<"$out"; then
        printf '%s failed without saying: %s\n%s\n' "$how" "$message" "$out"
        exit 1
    fi
    if [ -e absent ]; then rm "$file" absent; else mv saved "$file"; fi
    echo "seen: $message"
}

layers
breach includes store/core/txn.c '#include <unistd.h>' 'a pure folder may not include <unistd.h>'
breach includes store/core/txn.h '#include "store/log.h"' 'store/core may not include "store/log.h"'
breach includes replication/core/wire.h '#include "repository/repository.h"' \
    'replication/core may not include "repository/repository.h"'
breach includes client/breach.h '#include "store/state.h"' 'client may not include "store/state.h"'
breach includes repository/core/breach.h '#include <time.h>' 'a pure folder may not include <time.h>'
# stdlib.h is there by way of store/core/banned.h, so only the symbols tell.
breach layers store/core/txn.c 'void *breach_heap(void); void *breach_heap(void) { return malloc(1); }' \
    'store/core/txn.o: a pure object may not call malloc'
breach layers replication/core/marks.c 'long breach_clock(void); long breach_clock(void) { return time(0); }' \
    'replication/core/marks.o: a pure object may not call time'
touch store/core/txn.c replication/core/marks.c # they are back, but their times are older than the objects'
breach layers store/state.h 'struct err_alone { struct nowhere x; };' 'store/state.h: does not compile alone'
