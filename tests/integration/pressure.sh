#!/usr/bin/env bash
# Back-pressure: sites with store.memory_mib 16 under clients that have several times as much in flight, in values of 100 KiB.
# Clients are paused and not refused: none fails, all is acknowledged and there; and no site takes more memory of its own than
# memory_mib and what docs/OPERATIONS.md states beside it. What is mapped from files is the page cache's and does not count.
#
# Usage: BUILD=build/gcc-release tests/integration/pressure.sh
# suite: drills
# limit: 180 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
MEMORY_MIB=16
BESIDE_MIB=${BESIDE_MIB:-112} # docs/OPERATIONS.md, "Memory"
CLIENTS=${CLIENTS:-16} THREADS=64 VALUE=102400
export TRIVENI=$BUILD/triveni
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-pressure.XXXXXX")
. "$(dirname "$0")/../lib/cluster.sh"
writers=()
finish() {
    local code=$?
    [ ${#writers[@]} -eq 0 ] || kill "${writers[@]}" 2>/dev/null || true
    cluster_stop
    [ "$code" -eq 0 ] || tail -n 15 "$DIR"/cluster/*.log "$DIR"/*.log 2>/dev/null || true
    rm -rf "$DIR"
    exit "$code"
}
trap finish EXIT

# Of its own, in KiB: not what is mapped from files.
own_kib() { sed -n 's/^RssAnon:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$1/status"; }

cluster_create "$DIR/cluster"
sed -i "s/memory_mib: 64/memory_mib: $MEMORY_MIB/" "$DIR"/cluster/*.yaml
grep -q "memory_mib: $MEMORY_MIB" "$DIR/cluster/dc.yaml"
sites_start
primary=$(wait_primary)
declare -A peak=([dc]=0 [dr]=0 [gsr]=0)
for ((i = 0; i < CLIENTS; i++)); do
    "$BUILD/tests/writers/writers" run --uri "$(cat "$DIR/cluster/client.uri")&timeout_ms=60000" --ledger "$DIR/ledger$i" --seconds 6 \
        --threads $THREADS --value $VALUE >"$DIR/writers$i.json" 2>"$DIR/writers$i.log" &
    writers+=($!)
done
while [ "$(jobs -rp | wc -l)" -gt 0 ]; do
    for site in dc dr gsr; do
        now=$(own_kib "${SITE_PID[$site]}")
        [ "$now" -le "${peak[$site]}" ] || peak[$site]=$now
    done
    sleep 0.02
done
for pid in "${writers[@]}"; do wait "$pid"; done
writers=()
acknowledged=$(jq -s 'map(.acknowledged) | add' "$DIR"/writers*.json)
bad=$(jq -s 'map(.failed + .unknown_committed + .unknown_absent + .unresolved) | add' "$DIR"/writers*.json)
echo "pressure: $((CLIENTS * THREADS * VALUE >> 20)) MiB in flight against $MEMORY_MIB, $acknowledged acknowledged, $bad failed; \
most memory of its own: dc $((peak[dc] >> 10)), dr $((peak[dr] >> 10)), gsr $((peak[gsr] >> 10)) MiB (primary: $primary)"
[ "$bad" -eq 0 ] || { echo "clients failed where they should have been paused"; exit 1; }
for site in dc dr gsr; do
    [ "${peak[$site]}" -le $(((MEMORY_MIB + BESIDE_MIB) << 10)) ] || { echo "$site took more than $((MEMORY_MIB + BESIDE_MIB)) MiB"; exit 1; }
done
for ((i = 0; i < CLIENTS; i++)); do
    "$BUILD/tests/writers/writers" verify --uri "$(cat "$DIR/cluster/client.uri")" --ledger "$DIR/ledger$i" >"$DIR/verify.json" ||
        { cat "$DIR/verify.json"; exit 1; }
done
wait_equal 300 >/dev/null
