#!/usr/bin/env bash
# The power cuts must find bugs when there are some: the same runs, with a sync that is asked for and not carried out, or
# with a block that is written again. Each must end with something lost.
#
# Usage: BUILD=build/gcc-release tests/crash/planted.sh [SEED]
# limit: 300 s
set -uo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
SEED=${1:-1}
missed=0
absent=

"$BUILD/tests/crash/cuts" planted --cuts 6000 --seed "$SEED" || missed=1
for lie in seg dir data.mdb; do
    out=$(LIE=$lie "$(dirname "$0")/site.sh" 30 "$SEED" 2>&1)
    case $? in
    0) echo "planted in the file system: syncs of '$lie' lost: NOT CAUGHT" && missed=1 ;;
    77) absent=$(echo "$out" | tail -n 1) && echo "planted in the file system: not run: $absent" ;;
    *) echo "planted in the file system: syncs of '$lie' lost: caught after $(echo "$out" | tail -n 1)" ;;
    esac
done
[ "$missed" = 0 ] || exit 1
[ -z "$absent" ] || { echo "NOT RUN: ${absent#NOT RUN: }" && exit 77; }
