#!/usr/bin/env bash
# kill -9 of each site in turn, under writers that keep a ledger: nothing acknowledged may be lost or doubled, the killed site comes
# back, and in the end all three are equal.
#
# Usage: BUILD=build/gcc-release tests/integration/kill.sh [ROUNDS]
# suite: drills
# limit: 240 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
ROUNDS=${1:-4}
export TRIVENI=$BUILD/triveni
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-kill.XXXXXX")
. "$(dirname "$0")/../lib/cluster.sh"
finish() {
    local code=$?
    cluster_stop
    [ "$code" -eq 0 ] || tail -n 15 "$DIR"/cluster/*.log "$DIR"/*.log 2>/dev/null || true
    rm -rf "$DIR"
    exit "$code"
}
trap finish EXIT

cluster_create "$DIR/cluster"
sites_start
wait_primary >/dev/null
uri=$(cat "$DIR/cluster/client.uri")
for round in $(seq 1 "$ROUNDS"); do
    "$BUILD/tests/writers/writers" run --uri "$uri" --ledger "$DIR/ledger.$round" --seconds 5 --threads 8 \
        >"$DIR/writers.json" 2>"$DIR/writers.log" &
    writers=$!
    sleep 1.$((RANDOM % 10))
    case $((round % 3)) in
        0) victim=gsr ;;
        1) victim=$(wait_primary) ;;
        2) victim=$(wait_primary | sed 's/dc/x/; s/dr/dc/; s/x/dr/') ;;
    esac
    site_kill "$victim" KILL
    sleep 1.$((RANDOM % 10))
    site_start "$victim"
    wait "$writers" || { echo "round $round: writers failed after the kill of $victim"; cat "$DIR/writers.log"; exit 1; }
    wait_primary >/dev/null
    equal=$(wait_equal 300)
    echo "round $round: killed $victim; $(jq -c '{acknowledged, longest_gap_ms, resent, unknown_committed, unknown_absent}' "$DIR/writers.json"); equal at lsn ${equal% *}"
    for past in $(seq 1 "$round"); do
        [ "$past" -ge $((round - 1)) ] || continue
        "$BUILD/tests/writers/writers" verify --uri "$uri" --ledger "$DIR/ledger.$past" >"$DIR/verify.json"
    done
done
echo "kill: $ROUNDS kills, 0 lost, 0 doubled"
