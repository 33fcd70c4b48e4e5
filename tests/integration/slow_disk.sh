#!/usr/bin/env bash
# Slow disks and processes that are stopped for a moment, under writers: pauses of 100 to 300 ms elect nobody; disks that are all slow
# move nothing; a primary whose disk alone is slow steps aside for one that is in step, once, and takes part as a standby.
#
# Usage: BUILD=build/gcc-release tests/integration/slow_disk.sh
# suite: drills
# limit: 120 s
set -euo pipefail
: "${BUILD:?set BUILD to the folder of the programs}"
export TRIVENI=$BUILD/triveni
PRELOAD=$(realpath "$BUILD/tests/lib/slow_disk.so")
DIR=$(mktemp -d "${TMPDIR:-/tmp}/triveni-slow-disk.XXXXXX")
. "$(dirname "$0")/../lib/cluster.sh"
finish() {
    local code=$?
    cluster_stop
    [ "$code" -eq 0 ] || tail -n 20 "$DIR"/cluster/*.log 2>/dev/null || true
    rm -rf "$DIR"
    exit "$code"
}
trap finish EXIT

fail() { echo "$*"; exit 1; }
# slow SITE MS: each synchronous write of the site takes so much longer.
slow() { echo "$2" >"$DIR/slow.new" && mv "$DIR/slow.new" "$DIR/slow.$1"; }
term() { tv status -o json 2>/dev/null | jq -r .term; }
stepped() { cat "$DIR"/cluster/*.log | grep -c "stepping aside" || true; }

cluster_create "$DIR/cluster"
for site in dc dr gsr; do
    sed -i 's/^store: {/store: {engine: plain, /' "$DIR/cluster/$site.yaml"
    grep -q "engine: plain" "$DIR/cluster/$site.yaml"
    slow "$site" 0
    LD_PRELOAD=$PRELOAD SLOW_DISK_FILE=$DIR/slow.$site site_start "$site"
done
old=$(wait_primary)
other=$([ "$old" = dc ] && echo dr || echo dc)
uri=$(cat "$DIR/cluster/client.uri")
before=$(term)
"$BUILD/tests/writers/writers" run --uri "$uri" --ledger "$DIR/ledger" --seconds 100 --threads 4 >"$DIR/writers.json" 2>"$DIR/writers.log" &
writers=$!
sleep 2

# ---- pauses ----
for round in 1 2 3 4; do
    for site in dc dr gsr; do
        site_kill "$site" STOP
        sleep 0.$((RANDOM % 21 + 10))
        site_kill "$site" CONT
        sleep 0.2
    done
done
[ "$(term)" = "$before" ] || fail "pauses of 100 to 300 ms led to term $(term), it was $before"
[ "$(stepped)" = 0 ] || fail "a pause was taken for a slow disk"

# ---- all disks are slow ----
for site in dc dr gsr; do slow $site 700; done
sleep 6
for site in dc dr gsr; do slow $site 0; done
sleep 1
[ "$(stepped)" = 0 ] || fail "all disks were slow, and somebody stepped aside: $(grep -h 'stepping aside' "$DIR"/cluster/*.log)"
[ "$(term)" = "$before" ] || fail "slow disks everywhere led to term $(term), it was $before"

# ---- the primary's alone ----
slow "$old" 1000
began=$(date +%s%3N)
wait_primary "$other" >/dev/null
took=$(($(date +%s%3N) - began))
grep -h "stepping aside: the disk has not finished a batch in .* ms (usually .* ms), $other acknowledged it within .* ms -> handing over" \
    "$DIR/cluster/$old.log" || fail "no event explains it"
sleep 4
[ "$(stepped)" = 1 ] || fail "it went on: $(grep -h 'stepping aside' "$DIR"/cluster/*.log)"
[ "$(term)" -eq $((before + 1)) ] || fail "term $(term), it was $before"
site_status "$old" | jq -e '.role == "standby" and (.trouble | any(contains("the disk of its log is slow")))' >/dev/null || fail "status: $(site_status "$old")"
slow "$old" 0
sleep 1
kill -TERM "$writers" # they end when it is over, however long that took
wait "$writers" || fail "$(cat "$DIR/writers.log")"
wait_equal 300 >/dev/null
"$BUILD/tests/writers/writers" verify --uri "$uri" --ledger "$DIR/ledger" >"$DIR/verify.json"
[ "$(jq '.lost + .doubled' "$DIR/verify.json")" -eq 0 ] || fail "$(cat "$DIR/verify.json")"
[ "$(site_status "$old" | jq '[.trouble[] | select(contains("slow"))] | length')" = 0 ] || fail "still slow: $(site_status "$old")"
echo "12 pauses and slow disks everywhere: no election; a slow disk at $old: $other served after $took ms, nobody stepped aside again;" \
    "$(jq -c '{acknowledged, longest_gap_ms, resent}' "$DIR/writers.json"), 0 lost, 0 doubled"
