#!/usr/bin/env bash
# All kinds of power cuts, and the proof that planted bugs are caught. What the kinds are is in README.md. CUTS counts cuts alone
# after which the real process was started again; log and state in a process of their own lose power beside that, as often as
# it takes. Every part ends with "N power cuts, N transactions lost"; this adds them up.
#
# Usage: BUILD=build/gcc-release tests/crash/crash.sh [CUTS [SEED]]
# RIGS=N file systems with a site each, at once; default: one more than there are processors, since a site that starts waits
# for its election. LENGTH=L of the workloads of `all`, default 3, CHAINS=N cuts of `chains`.
# ENGINES='plain' where io_uring is forbidden; default: uring and plain in turn.
set -uo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
CUTS=${1:-2000}
SEED=${2:-$((RANDOM * 32768 + RANDOM))}
RIGS=${RIGS:-$(($(nproc) + 1))}
ENGINES=${ENGINES:-uring plain}
HERE=$(dirname "$0")
OUT=$(mktemp -d "${TMPDIR:-/tmp}/triveni-crash.XXXXXX")
trap 'rm -rf "$OUT"' EXIT
sum=0 lost=0 bad=0

# add NAME CODE FILE: shows what a part said, and adds its last line up. A part that could not run is a failure: the
# sum would say less than it seems to.
add() {
    local line
    sed "s|^|$1: |" "$3"
    [ "$2" = 0 ] || bad=1
    [ "$2" != 77 ] || echo "$1: FAILED: it cannot run here" >&2
    line=$(sed -n 's/^\([0-9]*\) power cuts, \([0-9]*\) transactions lost.*/\1 \2/p' "$3" | tail -n 1)
    [ -n "$line" ] || { bad=1 && return; }
    sum=$((sum + ${line% *}))
    lost=$((lost + ${line#* }))
}

# part NAME COMMAND...: one after the other.
part() {
    local name=$1
    shift
    "$@" >"$OUT/part" 2>&1
    add "$name" $? "$OUT/part"
}

# Each engine of the log has its share.
rigs() {
    local i pids=() engines
    read -ra engines <<<"$ENGINES"
    for ((i = 0; i < RIGS; i++)); do
        ENGINE=${engines[i % ${#engines[@]}]} "$HERE/site.sh" $(((CUTS + i) / RIGS)) $((SEED + i)) >"$OUT/rig$i" 2>&1 &
        pids+=($!)
    done
    for ((i = 0; i < RIGS; i++)); do
        wait "${pids[i]}"
        add "site $((i + 1))" $? "$OUT/rig$i"
    done
}

# All workloads, a share for each processor.
all() {
    local i n pids=()
    n=$(nproc)
    for ((i = 0; i < n; i++)); do
        "$BUILD/tests/crash/cuts" all --length "${LENGTH:-3}" --seed "$SEED" --part "$i/$n" >"$OUT/all$i" 2>&1 &
        pids+=($!)
    done
    for ((i = 0; i < n; i++)); do
        wait "${pids[i]}"
        add "all $((i + 1))/$n" $? "$OUT/all$i"
    done
}

began=$SECONDS
rigs
real=$sum sum=0
echo "site: $real power cuts in $((SECONDS - began)) s, $RIGS at once"
part kills "$BUILD/tests/crash/cuts" kills --seed "$SEED"
all
part chains "$BUILD/tests/crash/cuts" chains --cuts "${CHAINS:-1000}" --seed "$SEED"
"$HERE/planted.sh" "$SEED" || bad=1
"$HERE/stops.sh" "$SEED" || bad=1
"$BUILD/tests/crash/faults" --deep || bad=1
"$BUILD/tests/crash/faults" --deep --engine uring || bad=1
[ "$real" -ge "$CUTS" ] || { bad=1 && echo "crash: $real cuts of $CUTS were made" >&2; }
echo "beside them $sum power cuts under log and state alone, in the process"
echo "$real power cuts, $lost transactions lost"
[ "$bad" = 0 ] && [ "$lost" = 0 ]
