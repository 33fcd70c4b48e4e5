#!/usr/bin/env bash
# A real history, replayed through a failover, restored at every point, compared with the truth.
#
# The visa requirements between 199 passports and destinations from 2019 to 2025 come as 56 dated updates. Each is written as one
# transaction, followed by a restore point; in the middle the primary is killed. Then every point is restored from the repository alone and
# compared with what visa_truth.py, which knows nothing of Triveni, makes of the same file.
#
# Usage: BUILD=build/gcc-release tests/integration/visa.sh [HISTORY.tsv.zst]. Without the data it says so and counts as not run.
# suite: drills
# limit: 300 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
HERE=$(dirname "$0")
DATA=${1:-${VISA_HISTORY:-$HERE/../../../shared/data/visa-history.tsv.zst}}
export TRIVENI=$BUILD/triveni
if [ ! -r "$DATA" ]; then
    echo "the history is not here ($DATA): give its path as the argument or in VISA_HISTORY"
    exit 77
fi
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-visa.XXXXXX")
. "$HERE/../lib/cluster.sh"
finish() {
    local code=$?
    cluster_stop
    [ "$code" -eq 0 ] || tail -n 15 "$DIR"/cluster/*.log "$DIR"/*.log 2>/dev/null || true
    rm -rf "$DIR"
    exit "$code"
}
trap finish EXIT

zstd -qd "$DATA" -o "$DIR/history.tsv"
mkdir "$DIR/truth"
python3 "$HERE/visa_truth.py" "$DIR/history.tsv" "$DIR/truth" >"$DIR/updates"
total=$(wc -l <"$DIR/updates")

cluster_create "$DIR/cluster"
sites_start
wait_primary >/dev/null
count=0
while read -r time; do
    count=$((count + 1))
    awk -F'\t' -v t="$time" '$1 == t { print ($2 == "put" ? "put visa " $3 " " $4 : "del visa " $3) }' "$DIR/history.tsv" >"$DIR/txn"
    if [ "$count" -eq $((total / 2)) ]; then
        victim=$(wait_primary)
        site_kill "$victim" KILL
    fi
    tv txn <"$DIR/txn" >/dev/null
    tv point "update-$time" >/dev/null
    if [ "$count" -eq $((total / 2 + 5)) ]; then
        site_start "$victim"
    fi
done <"$DIR/updates"
wait_equal 300 >"$DIR/equal"
echo "visa: $count updates written, the primary ($victim) killed at update $((total / 2)); equal at lsn $(cut -d' ' -f1 "$DIR/equal")"

archive=(--repository "$DIR/cluster/gsr/archive" --kek "$DIR/cluster/kek")
last=$(tail -n 1 "$DIR/updates")
for i in $(seq 1 300); do # until the last point is sealed
    grep -q "update-$last" <<<"$("$TRIVENI" archive points "${archive[@]}" -o json 2>/dev/null)" && break
    sleep 0.1
done
wrong=0
while read -r time; do
    "$TRIVENI" restore "${archive[@]}" --to-point "update-$time" --into "$DIR/restored"  >"$DIR/restore.log" 2>&1
    "$TRIVENI" dump visa --data-dir "$DIR/restored" |
        jq -r '"\(.key)\t\(.value)"' | LC_ALL=C sort -t$'\t' -k1,1 >"$DIR/restored.tsv"
    if ! cmp -s "$DIR/restored.tsv" "$DIR/truth/$time.tsv"; then
        echo "visa: update $time differs:"
        diff "$DIR/restored.tsv" "$DIR/truth/$time.tsv" | head -n 5
        wrong=$((wrong + 1))
    fi
    rm -rf "$DIR/restored"
done <"$DIR/updates"
echo "visa: $total restore points restored and compared, $wrong wrong"
[ "$wrong" -eq 0 ]
