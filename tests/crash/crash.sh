#!/usr/bin/env bash
# All kinds of power cuts, at least CUTS together, and the proof that planted bugs are caught. What the kinds are is in
# README.md. Every part ends with "N power cuts, N transactions lost"; this adds them up.
#
# Usage: BUILD=build/gcc-release tests/crash/crash.sh [CUTS [SEED]]
set -uo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
CUTS=${1:-2000}
SEED=${2:-$((RANDOM * 32768 + RANDOM))}
HERE=$(dirname "$0")
sum=0 lost=0 bad=0

# part NAME COMMAND...: shows what it says, and adds its last line up.
part() {
    local name=$1 out line
    shift
    out=$("$@" 2>&1)
    case $? in
    0) ;;
    77)
        echo "$name: NOT RUN: $out"
        return
        ;;
    *) bad=1 ;;
    esac
    echo "$out" | sed "s/^/$name: /"
    line=$(echo "$out" | sed -n 's/^\([0-9]*\) power cuts, \([0-9]*\) transactions lost.*/\1 \2/p' | tail -n 1)
    [ -n "$line" ] || { bad=1 && return; }
    sum=$((sum + ${line% *}))
    lost=$((lost + ${line#* }))
}

part site "$HERE/site.sh" $((CUTS / 20 + 1)) "$SEED"
part kills "$BUILD/tests/crash/cuts" kills --seed "$SEED"
part all "$BUILD/tests/crash/cuts" all --length "${LENGTH:-2}" --seed "$SEED"
part chains "$BUILD/tests/crash/cuts" chains --cuts $((CUTS > sum + 100 ? CUTS - sum : 100)) --seed "$SEED"
"$HERE/planted.sh" "$SEED" || bad=1
"$HERE/stops.sh" "$SEED" || bad=1
"$BUILD/tests/crash/faults" || bad=1
"$BUILD/tests/crash/faults" --engine uring || bad=1
echo "$sum power cuts, $lost transactions lost"
[ "$bad" = 0 ] && [ "$lost" = 0 ]
